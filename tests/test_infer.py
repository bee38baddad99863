"A Captioner: whatever stands for many pictures, one that is damaged, and what it leaves as it was."

import io
import json
import os
import time
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from small_models import pictures, small_model

from imgcap.infer import Caption, Captioner, CaptionError, caption_files
from imgcap.infer.jobs import make_wishes
from imgcap.infer.row_files import one_line, picture_state

SHORT = {"max_new_tokens": 5}
DAMAGED = b"\x89PNG\r\n\x1a\n cut off"


@pytest.fixture(scope="module")
def captioner():
    model, processor = small_model("git")
    return Captioner(model, processor=processor, batch_size=2)


@pytest.fixture(scope="module")
def expected(captioner):
    return [caption.text for caption in captioner.many(pictures(6), **SHORT)]


def encoded():
    "Six pictures as bytes, the fourth of them damaged."
    found = []
    for picture in pictures(6):
        file = io.BytesIO()
        picture.save(file, "PNG")
        found.append(file.getvalue())
    found[3] = DAMAGED
    return found


def told(results):
    return [result.text if isinstance(result, Caption) else None for result in results]


def with_a_gap(expected):
    return [None if i == 3 else text for i, text in enumerate(expected)]


def make_dataset(column="image", **others):
    rows = {
        column: [{"bytes": each, "path": None} for each in encoded()],
        "captions": [["a"]] * 6,
        **others,
    }
    features = datasets.Features(
        {
            name: datasets.Image()
            if name in (column, "other")
            else datasets.List(datasets.Value("string"))
            for name in rows
        }
    )
    return datasets.Dataset.from_dict(rows, features=features)


# --- data sets with a damaged picture


@pytest.mark.parametrize(
    "kind",
    [
        "Dataset",
        "column",
        "iterable",
        "iterable column",
        "other name",
        "numpy",
        "select",
        "rows",
        "parquet stream",
    ],
)
def test_a_data_set_goes_on_after_a_damaged_picture(captioner, expected, kind, tmp_path):
    data = make_dataset("picture" if kind == "other name" else "image")
    if kind == "column":
        data = data["image"]
    if kind.startswith("iterable"):
        data = data.to_iterable_dataset()
    if kind == "iterable column":
        data = data["image"]
    if kind == "numpy":
        data = data.with_format("numpy")
    if kind == "select":
        data = data.select(range(6))
    if kind == "rows":
        data = [
            {"image": row["image"], "n": 1}
            for row in data.cast_column("image", datasets.Image(decode=False))
        ]
    if kind == "parquet stream":
        data.to_parquet(tmp_path / "d.parquet")
        data = datasets.load_dataset(
            "parquet",
            data_files=str(tmp_path / "d.parquet"),
            split="train",
            streaming=True,
            cache_dir=str(tmp_path),
        )
    for results in (captioner(data, **SHORT), captioner.many(data, **SHORT)):
        results = list(results)
        assert told(results) == with_a_gap(expected) and isinstance(results[3], CaptionError)


def test_splits_are_chosen_by_the_caller(captioner):
    for kind in (datasets.DatasetDict, datasets.IterableDatasetDict):
        data = (
            make_dataset() if kind is datasets.DatasetDict else make_dataset().to_iterable_dataset()
        )
        for call in (captioner, captioner.many):
            with pytest.raises(
                ValueError, match=r"splits train, test: give one of them, such as data\['train'\]"
            ):
                call(kind({"train": data, "test": data}))


def test_two_columns_of_pictures(captioner, expected):
    pictures_ = [{"bytes": each, "path": None} for each in encoded()]
    assert told(captioner(make_dataset(other=pictures_), **SHORT)) == with_a_gap(expected), (
        "image is the usual name"
    )
    with pytest.raises(ValueError, match="several columns hold pictures: left, other"):
        captioner.many(make_dataset("left", other=pictures_))


def test_a_way_of_ones_own_to_make_rows(captioner, expected):
    data = make_dataset().cast_column("image", datasets.Image(decode=False))
    data.set_transform(lambda rows: {"image": [row["bytes"] for row in rows["image"]]})
    assert told(captioner(data, **SHORT)) == with_a_gap(expected)


def test_paths_in_a_data_set(captioner, expected, tmp_path):
    for i, each in enumerate(encoded()):
        (tmp_path / f"{i}.png").write_bytes(each)
    paths = [str(tmp_path / f"{i}.png") for i in range(6)]
    assert told(
        captioner(datasets.Dataset.from_dict({"path": paths, "n": [0] * 6}), **SHORT)
    ) == with_a_gap(expected)
    assert told(
        captioner(datasets.Dataset.from_dict({"path": paths})["path"], **SHORT)
    ) == with_a_gap(expected)


# --- other things that stand for many


def test_tables_and_lists(captioner, expected, tmp_path):
    pandas = pytest.importorskip("pandas")
    for i, each in enumerate(encoded()):
        (tmp_path / f"{i}.png").write_bytes(each)
    paths = [str(tmp_path / f"{i}.png") for i in range(6)]
    table = pandas.DataFrame({"path": paths, "n": range(6)}, index=range(10, 16))
    for many in (
        table["path"],
        paths,
        tuple(paths),
        np.array(paths),
        (path for path in paths),
        dict.fromkeys(paths, 1).keys(),
    ):
        assert told(captioner.many(many, **SHORT)) == with_a_gap(expected)
    with pytest.raises(ValueError, match=r"columns path, n: give the one with the pictures"):
        captioner.many(table)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        3,
        float("nan"),
        {},
        {"text": "a"},
        b"",
        "nowhere.png",
        "http://[bad/x.png",
        "a\0.png",
        "n" * 5000,
        torch.zeros(3, 4, 4),
        Image.new("RGB", (1000, 1)),
        np.zeros((2, 2, 7), np.uint8),
        [],
        {"path": None},
    ],
)
def test_one_thing_that_is_no_picture_costs_its_place(captioner, expected, bad):
    good = pictures(6)
    results = list(captioner.many([good[0], bad, good[1], good[2]], **SHORT))
    assert told(results) == [expected[0], None, expected[1], expected[2]]
    assert "\n" not in results[1].error and results[1].error


def test_a_generator_that_raises_gives_what_it_gave_before(captioner, expected):
    for n in range(6):

        def some(n=n):
            yield from pictures(6)[:n]
            raise OSError("the disk is gone")

        results, found = captioner.many(some(), **SHORT), []
        with pytest.raises(OSError, match="the disk is gone"):
            for result in results:
                found.append(result.text)
        assert found == expected[:n]


class Map:
    "A data set as PyTorch has them: by number, and without a way to go through it."

    def __len__(self):
        return 6

    def __getitem__(self, i):
        picture = Image.open(io.BytesIO(encoded()[i]))
        picture.load()
        return picture, i


def test_a_set_of_pytorch_goes_on_after_a_damaged_picture(captioner, expected):
    for data in (Map(), torch.utils.data.Subset(Map(), range(6))):
        results = list(captioner(data, **SHORT))
        assert (
            told(results) == with_a_gap(expected) and "UnidentifiedImageError" in results[3].error
        )


@pytest.mark.parametrize("columns", [["image"], None])
def test_a_transform_of_ones_own_goes_on_after_a_damaged_picture(captioner, expected, columns):
    def brighter(rows):
        return {"image": [picture.convert("RGB") for picture in rows["image"]]}

    results = list(captioner.many(make_dataset().with_transform(brighter, columns), **SHORT))
    assert told(results) == with_a_gap(expected)
    assert results[3].name == "#3" and "\n" not in results[3].error


def test_a_set_that_ends_its_own_way_through_is_asked_by_number(captioner, expected):
    class Both(Map):
        def __iter__(self):
            return (self[i] for i in range(6))

    assert told(captioner.many(Both(), **SHORT)) == with_a_gap(expected)


def test_batches_of_a_loader_are_told_what_they_are(captioner):
    loader = torch.utils.data.DataLoader(torch.zeros(4, 3, 8, 8), batch_size=2)
    results = list(captioner(loader, **SHORT))
    assert len(results) == 2 and all("cannot decode a Tensor" in result.error for result in results)


def test_rows_with_other_columns(captioner, expected):
    good = pictures(3)
    rows = [
        {"picture": good[0], "text": "a"},
        {"image": good[1], "path": "nowhere"},
        {"x": {"bytes": encoded()[2], "path": None}, "y": 1},
    ]
    assert told(captioner.many(rows, **SHORT)) == expected[:3]
    assert told(captioner.many(list(good), progress=True, **SHORT)) == expected[:3]


# --- what stays as it was


# --- every form in which many come, and what a captioner cannot be made of


def test_many_in_every_form(captioner, expected, tmp_path):
    made = pictures(6)
    for i, picture in enumerate(made):
        picture.save(tmp_path / f"{i}.png")
    set_ = datasets.Dataset.from_dict({"image": made})
    forms = [tmp_path, f"{tmp_path}/*.png", np.stack(list(map(np.asarray, made))), set_]
    for form in [*forms, set_["image"], made]:
        assert told(captioner(form, **SHORT)) == expected


@pytest.mark.parametrize("options", [{}, {"num_beams": 4}])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_captions_do_not_depend_on_the_size_of_a_batch(captioner, size, options):
    other = Captioner(captioner.model, processor=captioner.processor, batch_size=size)
    alone = [captioner(picture, **options, **SHORT).text for picture in pictures(6)]
    assert told(other(pictures(6), **options, **SHORT)) == alone


def test_a_bar_tells_how_far_it_is(captioner, capsys):
    list(captioner(pictures(6), progress=True, **SHORT))
    known = capsys.readouterr().err
    assert "6/6" in known and "pictures/s" in known
    list(captioner(iter(pictures(6)), progress=True, **SHORT))
    list(captioner(pictures(6), **SHORT))  # not on a terminal
    unknown = capsys.readouterr().err
    assert "6 pictures" in unknown and unknown.count("\n") == 1


@pytest.mark.parametrize(
    "options, said",
    [
        ({}, "needs its processor"),
        ({"processor": ..., "dtype": "bfloat16"}, "model.to"),
        ({"processor": ..., "batch_size": 0}, "at least 1"),
        ({"processor": ..., "workers": 0}, "at least 1"),
    ],
)
def test_what_no_captioner_is_made_of(captioner, options, said):
    if "processor" in options:
        options = {**options, "processor": captioner.processor}
    with pytest.raises(ValueError, match=said):
        Captioner(captioner.model, **options)


@pytest.mark.parametrize(
    "further, options",
    [
        (0, {}),
        (0, {"num_beams": 3}),
        (0, {"force_words": "wings"}),
        (0, {"do_sample": True, "seed": 1}),
        (1, {"num_beams": 3, "num_return_sequences": 2}),
        (2, {"diversity_penalty": 5.0, "num_return_sequences": 3}),
        (3, {"do_sample": True, "seed": 1, "num_return_sequences": 4}),
    ],
    ids=str,
)
def test_a_picture_gives_one_caption_whatever_the_options_are(captioner, further, options):
    "The further ones of several are its `others`, which have none themselves."
    one = captioner(pictures(1)[0], **options, **SHORT)
    first, *more = captioner(pictures(3), **options, **SHORT)
    assert {type(each) for each in [one, first, *more]} == {Caption}
    assert told([first, *first.others]) == told([one, *one.others])
    *_, streamed = captioner.stream(pictures(1)[0], **options, **SHORT)
    assert streamed == one
    assert len({each.text for each in [one, *one.others]}) == 1 + further
    assert all(type(each) is Caption and each.others == () for each in one.others)
    if "num_beams" in options and further:  # the best of them is what one alone would be
        assert captioner(pictures(1)[0], num_beams=3, **SHORT).text == one.text


def test_what_is_no_picture_alone_is_an_error(captioner):
    with pytest.raises(ValueError, match="cannot decode a int"):
        captioner(3)


def test_the_allocator_of_the_process_is_left_alone(monkeypatch):
    class Allocator:
        def CDLL(*given):
            raise AssertionError("the allocator was changed")

    monkeypatch.setattr("imgcap.devices.ctypes", Allocator)
    assert Captioner("git-tiny")(pictures(1)[0], **SHORT).text


@pytest.mark.parametrize(
    "how", [{}, {"num_beams": 2}, {"do_sample": True}, {"force_words": "wings"}]
)
def test_the_mode_of_the_model_stays(expected, how):
    model, processor = small_model("git")
    model.train()
    model.git.eval()
    before = [part.training for part in model.modules()]
    captioner = Captioner(model, processor=processor, batch_size=2)
    captioner(pictures(1)[0], **how, **SHORT)
    results = captioner.many(pictures(6), **how, **SHORT)
    first = next(results)
    assert [part.training for part in model.modules()] == before
    results.close()
    stream = captioner.stream(pictures(1)[0], **how, max_new_tokens=30)
    next(stream)
    stream.close()
    assert [part.training for part in model.modules()] == before
    if not how:
        assert first.text == expected[0], "dropout was on"


def test_a_stream_is_checked_before_it_begins(captioner):
    with pytest.raises(ValueError, match="num_beams"):
        captioner.stream(pictures(1)[0], num_beams=0)
    with pytest.raises(ValueError, match="nowhere.png"):
        captioner.stream("nowhere.png")
    *states, caption = captioner.stream(pictures(1)[0], **SHORT)
    assert caption == captioner(pictures(1)[0], **SHORT) and len(states) > 2
    assert "generate" not in vars(captioner.model)


@pytest.mark.parametrize("family", ["git", "blip", "vision-encoder-decoder"])
def test_what_a_checkpoint_says_about_generation_does_not_count(tmp_path, family):
    model, processor = small_model(family)
    model.save_pretrained(tmp_path / "m")
    processor.save_pretrained(tmp_path / "m")
    plain = [caption.text for caption in Captioner(tmp_path / "m")(pictures(3))]
    file = tmp_path / "m" / "generation_config.json"
    said = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(
        json.dumps(
            said
            | {
                "do_sample": True,
                "temperature": 9.0,
                "num_beams": 3,
                "repetition_penalty": 9.0,
                "min_new_tokens": 30,
                "no_repeat_ngram_size": 1,
                "length_penalty": -3.0,
                "max_length": 4,
                "suppress_tokens": [3, 4, 5],
            }
        )
    )
    assert [caption.text for caption in Captioner(tmp_path / "m")(pictures(3))] == plain
    pictures(1)[0].save(tmp_path / "p.png")
    lines = []
    caption_files(str(tmp_path / "p.png"), str(tmp_path / "m"), echo=lines.append)
    assert json.loads(lines[0])["caption"] == one_line(plain[0])


def test_captions_do_not_depend_on_the_batch():
    model, processor = small_model("git")
    for how in (
        {},
        {"num_beams": 3, "num_return_sequences": 2},
        {"do_sample": True, "seed": 3, "num_return_sequences": 2},
    ):
        one, three = (
            [
                [c.text for c in [r, *r.others]]
                for r in Captioner(model, processor=processor, batch_size=n).many(
                    pictures(6), **how, **SHORT
                )
            ]
            for n in (1, 3)
        )
        assert one == three


def test_a_file_that_is_replaced_while_it_is_read_is_noticed(tmp_path, captioner):
    file = tmp_path / "a.png"
    pictures(1)[0].save(file)
    before = picture_state(str(file))
    os.utime(file, (5, 5))
    assert picture_state(str(file)) != before and picture_state(
        "http://127.0.0.1/x.png"
    ) == {} == picture_state("a\0b")


@pytest.mark.parametrize("size, out, sidecar", [
    (1, None, False), (2, "c.jsonl", False), (2, None, True), (2, None, False)])
def test_several_processes_need_a_file_each(size, out, sidecar):
    team = SimpleNamespace(size=size)
    told = (out, sidecar, False, False, False, team)
    if size == 1 or out or sidecar:
        assert make_wishes(*told).out == out
    else:
        with pytest.raises(ValueError, match="several processes cannot share the screen"):
            make_wishes(*told)


# --- a caption does not depend on what it is written beside


def wild_model(seed):
    "Large random weights: another token for every picture and at every step."
    torch.manual_seed(seed)
    model, processor = small_model("git")
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.mul_(5)
    return model, processor


WAYS = {
    "greedy": {},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
    "sampled": {"do_sample": True, "seed": 3, "top_p": 0.9, "num_return_sequences": 2},
    "diverse": {"diversity_penalty": 5.0, "num_return_sequences": 3},
    "with words": {"force_words": ["blue cat", "night"], "forbid_words": ["a"]},
    "all limits": {
        "no_repeat_words": 1,
        "no_repeat_ngram_size": 2,
        "min_new_tokens": 4,
        "repetition_penalty": 1.2,
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_a_caption_is_the_same_in_any_batch(way):
    model, processor = wild_model(0)
    made, order = pictures(8), [5, 2, 7, 0, 3, 6, 1, 4]

    def tokens(images, size):
        results = Captioner(model, processor=processor, batch_size=size).many(
            images, max_new_tokens=12, **WAYS[way]
        )
        return [[c.tokens for c in [best, *best.others]] for best in results]

    alone = tokens(made, 1)
    assert len(set(map(str, alone))) > 4
    assert tokens(made, 3) == tokens(made, 8) == alone
    assert tokens([made[i] for i in order], 3) == [alone[i] for i in order]


def by_the_book(model, processor, pixels, penalty, steps):
    "Three captions, without a cache: no token is free where an earlier caption has it."
    end, written = processor.tokenizer.sep_token_id, []
    for _ in range(3):
        ids = [processor.tokenizer.cls_token_id]
        while len(ids) <= steps and ids[-1] != end:
            logits = model(pixel_values=pixels, input_ids=torch.tensor([ids])).logits[0, -1]
            for other in written:
                if len(ids) < len(other) and other[len(ids)] != end:
                    logits[other[len(ids)]] -= penalty
            ids.append(int(logits.argmax()))
        written.append(ids)
    return [processor.tokenizer.batch_decode([[i] for i in ids[1:]]) for ids in written]


@pytest.mark.parametrize("seed", [0, 2])
def test_diverse_captions_are_those_of_the_definition(seed):
    model, processor = wild_model(seed)
    model.eval()
    best = Captioner(model, processor=processor)(
        pictures(1)[0], diversity_penalty=6.0, num_return_sequences=3, no_repeat_words=0,
        max_new_tokens=10,
    )
    pixels = processor(images=pictures(1), return_tensors="pt").pixel_values
    with torch.inference_mode():
        expected = by_the_book(model, processor, pixels, 6.0, 10)
    assert [c.tokens for c in [best, *best.others]] == expected


# --- reading ahead


def test_what_is_open_may_be_closed_and_an_array_used_again(captioner, expected, tmp_path):
    made = pictures(6)
    for i, picture in enumerate(made):
        picture.save(tmp_path / f"{i}.png")

    def opened():
        for i in range(3):
            with Image.open(tmp_path / f"{i}.png") as picture:
                yield picture
        frame = np.empty_like(np.asarray(made[0]))
        for picture in made[3:]:
            frame[:] = np.asarray(picture)
            yield frame

    assert told(captioner(opened(), **SHORT)) == expected


def test_no_more_files_are_read_at_once_than_there_are_workers(captioner, tmp_path):
    pictures(1)[0].save(tmp_path / "a.png")
    reading, most = [], []

    class Slow(os.PathLike):
        def __fspath__(self):
            reading.append(self)
            most.append(len(reading))
            time.sleep(0.02)
            reading.remove(self)
            return str(tmp_path / "a.png")

    two = Captioner(captioner.model, processor=captioner.processor, workers=2)
    assert len(list(two([Slow() for _ in range(8)], **SHORT))) == 8
    assert max(most) == 2
