"What a source that is no set is told: one line that names the file, the entry and what would do."
import json
import os
import warnings
import zipfile

import datasets
import pytest
from PIL import Image

from imgcap.data import load_captions

NO_TEXTS = [None, True, [], [1], {"a": 1}]


@pytest.fixture
def photos(tmp_path, monkeypatch):
    "Two pictures in ./photos."
    monkeypatch.chdir(tmp_path)
    (tmp_path/"photos").mkdir()
    for i in range(2): Image.new("RGB", (40, 40), (99 * i, 9, 9)).save(f"photos/0{i}.png")
    return tmp_path


def load(folder, data):
    (folder/"x.json").write_text(data if isinstance(data, str) else json.dumps(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_captions(folder/"x.json", images="photos")


def refusal(folder, data):
    with pytest.raises(ValueError) as caught: load(folder, data)
    message = str(caught.value)
    assert message.startswith(f"{folder/'x.json'}: ") and "\n" not in message
    assert "Error" not in message and "NoneType" not in message
    return message


def coco(image=None, annotation=None):
    return {"images": [{"id": 1, "file_name": "00.png"},
                       {"id": 2, "file_name": "01.png"} | (image or {})],
            "annotations": [{"id": 8, "image_id": 1, "caption": "a cat"},
                            {"id": 9, "image_id": 2, "caption": "a dog"} | (annotation or {})]}


def karpathy(**second):
    return {"images": [{"filename": "00.png", "sentences": [{"raw": "a cat"}]},
                       {"filename": "01.png", "sentences": [{"raw": "a dog"}]} | second]}


def rows(**second):
    first = {"image": "00.png", "caption": "a cat"}
    return [first, {"image": "01.png", "caption": "a dog"} | second]


@pytest.mark.parametrize("layout", [karpathy, rows])
@pytest.mark.parametrize("split", [5, *NO_TEXTS])
def test_a_split_that_is_no_text(photos, layout, split):
    if split is None: assert len(load(photos, layout(split=None))["train"]) == 2
    else: assert f"2: its split must be text, found {json.dumps(split)}" in refusal(
        photos, layout(split=split))


@pytest.mark.parametrize("value", NO_TEXTS)
def test_a_name_or_an_id_that_is_no_text(photos, value):
    said = f"must be text, found {json.dumps(value)}"
    for key in ("id", "file_name"):
        assert f"image 2: its {key} {said}" in refusal(photos, coco({key: value}))
    assert f"annotation 2: its image_id {said}" in refusal(photos, coco(None, {"image_id": value}))
    assert f"image 2: its filename {said}" in refusal(photos, karpathy(filename=value))
    if value:
        for key in ("filepath", "cocoid"):
            assert f"image 2: its {key} {said}" in refusal(photos, karpathy(**{key: value}))
    assert len(load(photos, rows(image=value if value != [1] else []))["train"]) == 1


@pytest.mark.parametrize("value", [None, 5, True, "a", [1]])
def test_an_entry_that_is_no_object(photos, value):
    said = f"2 must be an object, found {json.dumps(value)}"
    first, second = coco()["images"][0], coco()["annotations"][0]
    assert f"image {said}" in refusal(photos, coco() | {"images": [first, value]})
    assert f"annotation {said}" in refusal(photos, coco() | {"annotations": [second, value]})
    assert f"image {said}" in refusal(photos, {"images": [karpathy()["images"][0], value]})
    assert f"entry {said}" in refusal(photos, [rows()[0], value])
    if value is None or isinstance(value, list): return
    assert "its images must be a list" in refusal(photos, coco() | {"images": value})
    assert "its annotations must be a list" in refusal(photos, coco() | {"annotations": value})
    assert "must be a list" in refusal(photos, {"train": rows(), "val": value})
    assert f"entry {said}" in refusal(photos, {"train": rows(), "val": [rows()[0], value]})


def test_an_entry_without_what_it_needs(photos):
    assert "image 1 has no id" in refusal(photos, {"images": [{}], "annotations": []})
    assert "annotation 2 has no image_id" in refusal(
        photos, coco() | {"annotations": [coco()["annotations"][0], {"caption": "a dog"}]})


def test_a_caption_that_is_no_text_names_its_entry(photos):
    assert "annotation 9: a caption must be text" in refusal(photos, coco(None, {"caption": True}))
    for value in (5, [5], [{"raw": True}]):
        assert "image 2: a caption must be text" in refusal(photos, karpathy(sentences=value))
    for value in (5, {"caption": 5}, {"tags": 5}, [True]):
        names = {"00.png": "a cat", "01.png": value}
        assert "'01.png': a caption must be text" in refusal(photos, names)
    assert len(load(photos, {"00.png": "a cat", "01.png": None})["train"]) == 1


@pytest.mark.parametrize("text", [
    '[{"image": "00.png", ', '[{"image": "00.png", "cap', '[{"image": "00.png"',
    '{"images": [{"id": 1}], "annotations": [{"caption": nul', '{"a": "b", "c": ', "[1, "])
def test_a_file_that_ends_too_early(photos, text):
    message = refusal(photos, text)
    assert "the file ends too early" in message and "comma before" not in message


def test_a_comma_too_many_and_an_empty_file(photos):
    for text in ("[1, ]", '{"a": "b",\n}', "[1,, 2]"):
        assert "drop the comma before it" in refusal(photos, text)
    for text in ("", " \n"): assert refusal(photos, text).endswith(": the file is empty")


def refused(source, error=ValueError, **options):
    with pytest.raises(error) as caught: load_captions(source, **options)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 600
    return message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("name", ["pipe", "pipe.jsonl"])
@pytest.mark.parametrize("images", [None, "photos"])
def test_a_pipe_is_no_file(photos, name, images):
    os.mkfifo(name)
    for source in (name, os.devnull):
        assert "a pipe or a device; save what it gives as a file" in refused(source, images=images)


def test_a_link_to_nothing(photos):
    os.symlink("gone.jsonl", "x.jsonl")
    assert "a link to gone.jsonl, which is not there" in refused("x.jsonl", FileNotFoundError)


@pytest.mark.parametrize("picture", [True, False])
def test_a_run_or_a_model_is_no_set(photos, picture):
    step = photos/"run"/"checkpoints"/"checkpoint-3"
    for folder in (step, photos/"run"/"model"):
        folder.mkdir(parents=True)
        (folder/"config.json").write_text('{"model_type": "git"}')
        (folder/"model.safetensors").touch()
        if picture: Image.new("RGB", (9, 9)).save(folder/"plot.png")
    (step/"trainer_state.json").touch()
    with zipfile.ZipFile(step/"rng_state.pth", "w") as file: file.writestr("a", "b")
    (photos/"run"/"run.json").write_text('{"config": {}, "versions": {"imgcap": "1"}}')
    for folder in (photos/"run", step, step.parent, photos/"run"/"model"):
        assert "is a run or a model, no set of pictures" in refused(folder)


@pytest.mark.parametrize("text", ["a cat", "a cat, asleep"])
def test_one_picture_or_its_text_stands_for_a_folder(photos, text):
    for name in ("00.txt", "01.png.txt", "00.caption"): (photos/"photos"/name).write_text(text)
    for name in ("00.txt", "01.png.txt", "00.caption", "00.png"):
        assert "give their folder, photos" in refused(f"photos/{name}")
    (photos/"notes.txt").write_text(text)
    assert "their folder" not in refused("notes.txt")


def test_a_caption_column_without_text(photos):
    for value in (5, True, None):
        row = {"id": "x", "image": "photos/00.png", "caption": value}
        (photos/"x.jsonl").write_text(json.dumps(row))
        assert f"'caption' holds no text, but {json.dumps(value)}" in refused("x.jsonl")
    picture = {"bytes": (photos/"photos"/"00.png").read_bytes(), "path": None}
    rows = datasets.Dataset.from_list([{"image": picture, "caption": 5}])
    assert "'caption' holds no text, but int64" in refused(rows.cast_column("image",
                                                                            datasets.Image()))


def test_limits_of_python_in_plain_words(photos):
    digits, texts = "9" * 5000, {}
    texts["a.json"] = f'[{{"image": "00.png", "caption": "a", "n": {digits}}}]'
    texts["a.jsonl"] = texts["a.json"][1:-1]
    texts["a.csv"] = f"image,caption\n00.png,{'x' * 140_000}\n"
    for name, text in texts.items():
        (photos/name).write_text(text)
        message = refused(name, images="photos")
        assert "sys." not in message and "field" not in message
        assert "has more than" in message
    ids = {"images": [{"id": digits, "file_name": "00.png"}, {"id": 2, "file_name": "01.png"}],
           "annotations": [{"image_id": "2", "caption": "a"}, {"image_id": "3", "caption": "b"}]}
    assert len(load(photos, ids)["train"]) == 1  # an id is text


def test_a_name_too_long_is_cut(photos):
    for name in ("9" * 5000, "n" * 5000 + ".png", "d/" * 3000 + "n.png"):
        (photos/"x.jsonl").write_text(json.dumps({"image": name, "caption": "a cat"}))
        refused("x.jsonl", FileNotFoundError, image_column="image")
    refused("x" * 5000, FileNotFoundError)
    refused("x" * 5000 + ".jsonl", FileNotFoundError)
    refused("x.jsonl", FileNotFoundError, images="x" * 5000)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_damaged_parquet_file_is_told_once(photos, capfd, caplog, streaming):
    (photos/"x.parquet").write_bytes(b"PAR1 and no more" * 9)
    assert "x.parquet" in refused("x.parquet", streaming=streaming)
    assert "Failed" not in capfd.readouterr().err + caplog.text


@pytest.mark.parametrize("said", [5, True, {"a": 1}, [{"type": "text", "text": 5}]])
def test_what_is_said_in_a_talk_is_text(photos, said):
    turns = [{"role": "user", "content": "what?"}, {"role": "assistant", "content": said}]
    row = {"image": "00.png", "messages": turns}
    (photos/"x.jsonl").write_text(json.dumps(row) + "\n")
    assert "no text" in refused("x.jsonl", images="photos")
