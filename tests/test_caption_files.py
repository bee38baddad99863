"Captions in files: resumed, shared, refused, with any name and on any terminal."

import csv
import json
import os
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import copies
import pytest
import torch
from PIL import Image
from servers import serving
from small_models import BUILDERS, pictures, small_model

from imgcap import targets
from imgcap.infer import jobs, row_files
from imgcap.config import Decoding
from imgcap.files import held
from imgcap.infer import Captioner, caption_files
from imgcap.infer.jobs import parts
from imgcap.infer.row_files import caption_row, read_rows, row_line, write_rows
from imgcap.model import Caption

SHORT = {"max_new_tokens": 6}


@pytest.fixture(scope="module")
def captioner():
    return Captioner(*small_model("git")[:1], processor=small_model("git")[1], batch_size=2)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    "Six noisy pictures in ./photos, one of them damaged."
    monkeypatch.chdir(tmp_path)
    os.mkdir("photos")
    for i, picture in enumerate(pictures(6)):
        picture.save(f"photos/{i}.png")
    with open("photos/3.png", "wb") as file:
        file.write(b"\x89PNG cut off")
    return tmp_path / "photos"


class Stops(Captioner):
    "Is interrupted after three pictures, as with Ctrl-C."

    def many(self, paths, **options):
        for number, result in enumerate(super().many(paths, **options)):
            if number == 3:
                raise KeyboardInterrupt
            yield result


def stopping(captioner):
    return Stops(captioner.model, processor=captioner.processor, batch_size=2)


def paths_in(out):
    return [row["path"] for row in read_rows(out)]


def told(file):
    return {row["path"]: row.get("caption", row.get("error")) for row in read_rows(file)}


# --- resume


@pytest.mark.parametrize("out", ["c.jsonl", "c.csv", "c.parquet"])
def test_interrupted_and_resumed_is_as_if_nothing_had_happened(photos, captioner, out):
    caption_files("photos", captioner, out=f"whole-{out}", **SHORT)
    with pytest.raises(KeyboardInterrupt):
        caption_files("photos", stopping(captioner), out=out, **SHORT)
    counts = caption_files("photos", captioner, out=out, resume=True, **SHORT)
    assert (counts.skipped, counts.captioned, counts.unreadable) in [(3, 2, 1), (3, 3, 0)]
    assert list(read_rows(out)) == list(read_rows(f"whole-{out}"))
    assert not parts(out)


def test_wherever_a_file_is_cut_each_picture_has_one_line(photos, captioner):
    caption_files("photos", captioner, out="c.jsonl", **SHORT)
    whole = open("c.jsonl", "rb").read()
    for at in range(0, whole.index(b"\n", 120) + 2, 23):
        with open("c.jsonl", "wb") as file:
            file.write(whole[:at])
        caption_files("photos", captioner, out="c.jsonl", resume=True, **SHORT)
        assert open("c.jsonl", "rb").read() == whole


@pytest.mark.parametrize("out", ["c.jsonl", "c.csv", "c.parquet"])
def test_more_pictures_come_after_those_that_are_there(photos, captioner, out):
    caption_files("photos", captioner, out=out, **SHORT)
    before = paths_in(out)
    Image.new("RGB", (32, 32)).save("photos/00.png")
    counts = caption_files("photos", captioner, out=out, resume=True, **SHORT)
    assert (counts.skipped, counts.captioned) == (6, 1)
    assert paths_in(out) == [*before, "photos/00.png"]


@pytest.mark.parametrize("out", ["c.jsonl", "c.csv", "c.parquet"])
@pytest.mark.parametrize("change", ["pixels", "repaired", "date"])
def test_a_replaced_picture_is_captioned_again(photos, captioner, out, change):
    caption_files("photos", captioner, out=out, **SHORT)
    before, name = told(out), "photos/3.png" if change == "repaired" else "photos/1.png"
    if change == "date":
        os.utime(name, (1, 1))
    else:
        Image.new("RGB", (32, 32), "red").save(name)
    counts = caption_files("photos", captioner, out=out, resume=True, **SHORT)
    assert (counts.skipped, counts.captioned) == ((6, 0) if change == "date" else (5, 1))
    after = told(out)
    assert sorted(paths_in(out)) == sorted(before)
    assert {path for path in before if before[path] != after[path]} == (
        {name} if change != "date" else set()
    )


def test_a_replaced_picture_in_a_part_is_captioned_again(photos, captioner):
    with pytest.raises(KeyboardInterrupt):
        caption_files("photos", stopping(captioner), out="c.csv", **SHORT)
    Image.new("RGB", (32, 32), "red").save("photos/0.png")
    counts = caption_files("photos", captioner, out="c.csv", resume=True, **SHORT)
    assert counts.skipped == 2 and sorted(paths_in("c.csv")) == [
        f"photos/{i}.png" for i in range(6)
    ]


@pytest.mark.parametrize("begun", ["photos/0.png", "photos"])  # with something to do, and nothing
@pytest.mark.parametrize("other", ["weights", "option", "precision"])
def test_another_run_does_not_go_on(photos, captioner, other, begun):
    caption_files(begun, captioner, out="c.jsonl", **SHORT)
    before, options, model = open("c.jsonl").read(), dict(SHORT), captioner
    if other == "option":
        options["prefix"] = "a red"
    else:
        model = Captioner(
            *small_model("git", wildness=3.0 if other == "weights" else 4.0)[:1],
            processor=captioner.processor,
        )
        if other == "precision":
            model.model.bfloat16()
    with pytest.raises(ValueError) as refused:
        caption_files("photos", model, out="c.jsonl", resume=True, **options)
    said = str(refused.value)
    assert "\n" not in said and said.startswith("c.jsonl was begun with") and "anyway=True" in said
    assert {"weights": "weights", "option": "prefix='a red'", "precision": "float32"}[other] in said
    assert open("c.jsonl").read() == before
    caption_files("photos", model, out="c.jsonl", resume=True, anyway=True, **options)
    assert len(paths_in("c.jsonl")) == 6
    caption_files(
        "photos", model, out="c.jsonl", resume=True, **options
    )  # the record is of the last run


CHANGES = {
    "mean": lambda model, processor: processor.image_processor.image_mean.__setitem__(0, 0.1),
    "size": lambda model, processor: processor.image_processor.size.update(height=16, width=16),
    "words": lambda model, processor: processor.tokenizer.add_tokens(["a new word"]),
    "layer norm": lambda model, processor: setattr(model.config, "layer_norm_eps", 0.5),
    "end": lambda model, processor: setattr(model.generation_config, "eos_token_id", 7),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_settings_of_model_or_processor_do_not_go_on(photos, captioner, change):
    caption_files(["photos/0.png"], captioner, out="c.jsonl", **SHORT)
    record = json.load(open(".c.jsonl.run.json"))
    model, processor = small_model("git")
    processor.image_processor.image_mean = list(processor.image_processor.image_mean)
    processor.image_processor.size = dict(processor.image_processor.size)
    CHANGES[change](model, processor)
    other = Captioner(model, processor=processor, batch_size=2)
    which = {"mean": "image processor", "size": "image processor", "words": "tokenizer"}
    named = which.get(change, "model")
    later = jobs.run_record(other, Decoding(**SHORT))
    with pytest.raises(ValueError, match=f"settings of the {named}") as refused:
        jobs.sign_run("c.jsonl", later, go_on=True, anyway=False)
    assert "\n" not in str(refused.value)
    del record["settings"]  # as an earlier version wrote it
    json.dump(record, open(".c.jsonl.run.json", "w"))
    jobs.sign_run("c.jsonl", jobs.run_record(other, Decoding(**SHORT)), go_on=True, anyway=False)


@pytest.mark.parametrize("family", BUILDERS)
def test_settings_are_the_same_saved_and_loaded_used_or_not(tmp_path, family):
    model, processor = small_model(family)
    captioner = Captioner(model, processor=processor)
    before = jobs.run_record(captioner, Decoding())
    list(captioner.many(pictures(2), progress=False, **SHORT))
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded = jobs.run_record(Captioner(tmp_path), Decoding())
    for name in ("settings", "weights"):
        assert before[name] == jobs.run_record(captioner, Decoding())[name] == loaded[name]


def test_a_file_that_does_not_say_what_wrote_it(photos, captioner):
    with open("c.jsonl", "w") as file:
        file.write('{"path": "photos/0.png", "caption": "old", "score": 0.5}\n')
    with pytest.raises(ValueError, match="nothing says which model"):
        caption_files("photos", captioner, out="c.jsonl", resume=True, **SHORT)
    caption_files("photos", captioner, out="c.jsonl", resume=True, anyway=True, **SHORT)
    assert told("c.jsonl")["photos/0.png"] == "old"
    with open(".c.jsonl.run.json", "w") as file:
        file.write("[]")
    with pytest.raises(ValueError, match="nothing says which model"):  # also with nothing to do
        caption_files("photos", captioner, out="c.jsonl", resume=True, **SHORT)


def test_the_same_weights_under_another_name_go_on(photos, captioner, tmp_path):
    caption_files(["photos/0.png"], captioner, out="c.jsonl", **SHORT)
    captioner.model.save_pretrained(tmp_path / "elsewhere")
    captioner.processor.save_pretrained(tmp_path / "elsewhere")
    counts = caption_files(
        "photos", str(tmp_path / "elsewhere"), out="c.jsonl", resume=True, **SHORT
    )
    assert counts.skipped == 1


def test_text_files_that_are_there_stay(photos, captioner):
    (photos / "0.txt").write_text("my own words\n")
    caption_files("photos", captioner, sidecar=True, **SHORT)
    assert (photos / "0.txt").read_text() == "my own words\n"
    assert (photos / "1.txt").read_text().count("\n") == 1 and not (photos / "3.txt").exists()
    caption_files("photos", captioner, sidecar=True, overwrite=True, **SHORT)
    assert (photos / "0.txt").read_text() != "my own words\n"


def test_where_nothing_is_left_to_do_no_model_is_loaded(photos):
    for i in range(6): (photos / f"{i}.txt").write_text("my own words\n")
    counts = caption_files("photos", "no such model", sidecar=True)
    assert (counts.captioned, counts.unreadable, counts.skipped) == (0, 0, 6)


# --- what is no number


@pytest.mark.parametrize("out", [None, "c.jsonl", "c.csv"])
def test_a_model_without_numbers_is_one_error(photos, captioner, out):
    model, processor = small_model("git")
    with torch.no_grad():
        model.output.weight[:] = float("nan")
    broken, lines = Captioner(model, processor=processor), []
    with pytest.raises(FloatingPointError, match="a git model in torch.float32: its scores"):
        caption_files("photos", broken, out=out, echo=lines.append, **SHORT)
    assert lines == [] and not (out == "c.jsonl" and paths_in(out))
    if out:
        caption_files("photos", captioner, out=out, overwrite=True, **SHORT)
        before = open(out, "rb").read()
        with pytest.raises(FloatingPointError):
            caption_files("photos", broken, out=out, overwrite=True, **SHORT)
        assert open(out, "rb").read() == before


def strict(text):
    "JSON as its standard has it, without NaN."

    def refuse(name):
        raise ValueError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("out", ["c.jsonl", "c.csv", "c.parquet"])
def test_a_score_that_is_no_number_is_null(tmp_path, number, out):
    caption = Caption("a dog", number, [], [], others=(Caption("a cat", number, [], []),))
    row = caption_row("a.png", caption, {})
    assert strict(row_line(row))["score"] is None and strict(row_line(row))["scores"] == [None] * 2
    old = row | {"score": number, "scores": [number, 0.5]}  # as an earlier version wrote it
    for line in (row_line(old), row_line(old, "ascii")):
        assert strict(line)["scores"] == [None, 0.5]
    write_rows(tmp_path / out, [old], several=True)
    (read,) = read_rows(tmp_path / out)
    assert read["caption"] == "a dog" and (out == "c.parquet" or read["scores"] == [None, 0.5])
    assert read.get("score") is None or out == "c.parquet"


# --- what a person corrected


def correct(out, path="photos/1.png", **changes):
    "Rows of a file of captions, one of them corrected by hand, and others changed."
    rows = [row | {"caption": "mine"} if row["path"] == path else row for row in read_rows(out)]
    rows = [{name: v for name, v in (row | changes).items() if v != "away"} for row in rows]
    write_rows(out, rows, several=False)


@pytest.mark.parametrize("out", ["c.jsonl", "c.csv", "c.parquet"])
@pytest.mark.parametrize("change", ["date", "bytes of one size", "date, and no digest"])
def test_a_corrected_caption_stays_while_the_picture_does(photos, captioner, out, change):
    caption_files("photos", captioner, out=out, **SHORT)
    correct(out, **({"digest": "away"} if "no digest" in change else {}))
    if "bytes" in change:
        content = bytearray((photos / "1.png").read_bytes())
        content[-1] ^= 1
        (photos / "1.png").write_bytes(content)
    os.utime("photos/1.png", (1, 1))
    counts = caption_files("photos", captioner, out=out, resume=True, **SHORT)
    assert (told(out)["photos/1.png"] == "mine") == (change == "date")
    assert counts.skipped == (6 if change == "date" else 5)


def test_a_picture_that_is_replaced_while_it_is_read_has_no_digest(photos):
    with ThreadPoolExecutor(1) as threads:
        noted = [row_files.note_picture("photos/1.png", threads) for _ in range(2)]
        assert set(noted[0]()) == {"size", "modified", "digest"}
        os.utime("photos/1.png", (1, 1))
        assert set(noted[1]()) == {"size", "modified"}
        assert row_files.note_picture("http://127.0.0.1/a.png", threads)() == {}


@pytest.mark.parametrize("end", ["", "\r", " ", "\n"])
@pytest.mark.parametrize("begin", ['{"path"', '{ "path"'])
def test_a_whole_last_row_without_the_end_of_its_line_is_kept(photos, captioner, begin, end):
    caption_files(["photos/0.png", "photos/1.png"], captioner, out="c.jsonl", **SHORT)
    correct("c.jsonl")
    text = open("c.jsonl").read().replace('{"path"', begin)
    with open("c.jsonl", "w", newline="") as file:
        file.write(text.removesuffix("\n") + end)
    assert caption_files("photos", captioner, out="c.jsonl", resume=True, **SHORT).skipped == 2
    assert told("c.jsonl")["photos/1.png"] == "mine"
    assert len(open("c.jsonl").read().splitlines()) == 6 == len(paths_in("c.jsonl"))


@pytest.mark.parametrize("where", ["c.jsonl", "c.csv"])
def test_such_a_row_is_kept_where_another_is_taken_out(photos, captioner, where):
    with pytest.raises(KeyboardInterrupt):
        caption_files("photos", stopping(captioner), out=where, **SHORT)
    file = where if where == "c.jsonl" else parts(where)[0]
    text = open(file).read()
    with open(file, "w") as lines:
        lines.write(text.removesuffix("\n"))
    Image.new("RGB", (32, 32), "red").save("photos/0.png")
    assert caption_files("photos", captioner, out=where, resume=True, **SHORT).skipped == 2
    assert sorted(paths_in(where)) == [f"photos/{i}.png" for i in range(6)]


def test_the_same_names_in_another_folder_are_other_pictures(photos, captioner, tmp_path):
    out = str(tmp_path / "c.jsonl")
    os.chdir("photos")
    caption_files(["0.png", "1.png"], captioner, out=out, **SHORT)
    before = open(out).read()
    (tmp_path / "others").mkdir()
    for name in ("0.png", "1.png"):
        Image.new("RGB", (32, 32), "red").save(tmp_path / "others" / name)
    os.chdir(tmp_path / "others")
    for _ in range(2):
        with pytest.raises(ValueError, match="photos, and this run has .*others") as refused:
            caption_files(["0.png", "1.png"], captioner, out=out, resume=True, **SHORT)
        assert "\n" not in str(refused.value) and open(out).read() == before
        # whole names are the same anywhere, and do not make the others' folder forgotten
        whole = [str(tmp_path / "photos/2.png")]
        caption_files(whole, captioner, out=out, resume=True, **SHORT)
        before = open(out).read()
    record = json.load(open(tmp_path / ".c.jsonl.run.json"))
    assert record.pop("folder") == "photos"
    json.dump(record, open(tmp_path / ".c.jsonl.run.json", "w"))  # as an earlier version wrote it
    os.chdir(tmp_path / "photos")
    assert caption_files("0.png", captioner, out=out, resume=True, **SHORT).skipped == 1


def test_file_and_pictures_may_be_moved_together(photos, captioner, tmp_path):
    caption_files(["photos/0.png"], captioner, out="c.jsonl", **SHORT)
    os.mkdir("moved")
    for name in ("photos", "c.jsonl", ".c.jsonl.run.json"):
        os.rename(name, f"moved/{name}")
    os.chdir("moved")
    assert caption_files("photos", captioner, out="c.jsonl", resume=True, **SHORT).skipped == 1


# --- overwriting


def record_of(out):
    return json.load(open(f".{out}.run.json"))["decoding"]["max_new_tokens"]


def hidden():
    return sorted(name for name in os.listdir() if name.startswith(".") and ".new" in name)


@pytest.mark.parametrize("out", ["c.jsonl", "c.csv", "c.parquet"])
def test_the_old_file_is_whole_until_there_is_a_new_one(photos, captioner, out):
    caption_files("photos", captioner, out=out, **SHORT)
    correct(out)
    before = open(out, "rb").read()
    with pytest.raises(KeyboardInterrupt):
        caption_files("photos", stopping(captioner), out=out, overwrite=True, max_new_tokens=3)
    assert open(out, "rb").read() == before and record_of(out) == 6
    counts = caption_files("photos", captioner, out=out, resume=True, **SHORT)
    assert counts.skipped == 6 and told(out)["photos/1.png"] == "mine"
    counts = caption_files(
        "photos", captioner, out=out, overwrite=True, resume=True, max_new_tokens=3
    )
    assert counts.skipped == 3 and record_of(out) == 3 and not hidden()
    assert paths_in(out) == [f"photos/{i}.png" for i in range(6)]
    assert told(out)["photos/1.png"] != "mine"
    with pytest.raises(ValueError, match="no overwriting of c.* was stopped; choose one"):
        caption_files("photos", captioner, out=out, overwrite=True, resume=True, max_new_tokens=3)


def test_overwriting_anew_forgets_what_was_overwriting(photos, captioner):
    caption_files("photos", captioner, out="c.jsonl", **SHORT)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            caption_files("photos", stopping(captioner), out="c.jsonl", overwrite=True, **SHORT)
    caption_files(["photos/5.png"], captioner, out="c.jsonl", overwrite=True, max_new_tokens=2)
    assert paths_in("c.jsonl") == ["photos/5.png"] and record_of("c.jsonl") == 2 and not hidden()


@pytest.mark.parametrize("out", ["c.jsonl", "c.csv", "c.parquet"])
def test_a_file_is_not_replaced_by_one_without_captions(photos, captioner, out, capsys):
    caption_files("photos", captioner, out=out, **SHORT)
    before = open(out, "rb").read()
    counts = caption_files("photos/3.png", captioner, out=out, overwrite=True, max_new_tokens=3)
    assert not counts.worked and (counts.captioned, counts.unreadable) == (0, 1)
    said = [line for line in capsys.readouterr().err.splitlines() if "stays as it was" in line]
    assert len(said) == 1 and "photos/3.png" in said[0]
    assert open(out, "rb").read() == before and record_of(out) == 6 and not hidden()


def test_overwriting_goes_where_a_link_leads_and_keeps_permissions(photos, captioner):
    os.mkdir("store")
    caption_files(["photos/0.png"], captioner, out="store/c.jsonl", **SHORT)
    os.chmod("store/c.jsonl", 0o640)
    os.symlink("store/c.jsonl", "c.jsonl")
    caption_files(["photos/1.png"], captioner, out="c.jsonl", overwrite=True, **SHORT)
    assert os.path.islink("c.jsonl") and paths_in("store/c.jsonl") == ["photos/1.png"]
    assert os.stat("store/c.jsonl").st_mode & 0o777 == 0o640


# --- one writer at a time


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
def test_a_second_process_is_refused_and_told_by_whom(photos, captioner, how):
    caption_files(["photos/0.png"], captioner, out="c.jsonl", **SHORT)
    before, refused = open("c.jsonl").read(), []
    with held("c.jsonl"):
        with pytest.raises(OSError) as refused:
            caption_files("photos", captioner, out="c.jsonl", **how, **SHORT)
    if how:
        assert f"process {os.getpid()}" in str(refused.value) and "\n" not in str(refused.value)
    assert open("c.jsonl").read() == before


@pytest.mark.parametrize("out", ["c.jsonl", "c.csv", "c.parquet"])
def test_a_link_and_its_target_are_one_file(photos, captioner, out):
    os.mkdir("store")
    os.symlink(os.path.abspath(f"store/{out}"), out)
    caption_files(["photos/0.png"], captioner, out=out, **SHORT)
    assert os.path.islink(out) and paths_in(f"store/{out}") == ["photos/0.png"]
    assert not [name for name in os.listdir() if name.startswith(".")]
    with pytest.raises(ValueError, match="was begun with"):
        caption_files("photos", captioner, out=f"store/{out}", resume=True, max_new_tokens=5)
    counts = caption_files("photos", captioner, out=f"store/{out}", resume=True, **SHORT)
    assert counts.skipped == 1
    caption_files(["photos/1.png"], captioner, out=out, overwrite=True, **SHORT)
    assert os.path.islink(out) and paths_in(f"store/{out}") == ["photos/1.png"]
    with pytest.raises(KeyboardInterrupt):
        caption_files("photos", stopping(captioner), out=out, overwrite=True, **SHORT)
    caption_files("photos", captioner, out=f"store/{out}", resume=True, **SHORT)
    assert os.path.islink(out) and len(paths_in(out)) == 6 and not parts(out)


@pytest.mark.parametrize("how", [{"overwrite": True}, {"resume": True}, {}])
@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_pipe_or_a_device_is_no_file_of_captions(photos, captioner, how, ending):
    os.mkfifo(f"pipe.{ending}")
    os.symlink("/dev/zero", f"zero.{ending}")
    for name in (f"pipe.{ending}", f"zero.{ending}"):
        with pytest.raises(ValueError, match="not a regular file") as refused:
            caption_files("photos", captioner, out=name, **how, **SHORT)
        assert name in str(refused.value) and "\n" not in str(refused.value)
        assert os.path.exists(name) and not os.path.isfile(name)


@pytest.mark.parametrize("name", ["c.jsonl.part", ".c.jsonl.run.json"])
def test_a_pipe_in_place_of_what_a_run_left_holds_nobody_up(photos, captioner, name):
    caption_files(["photos/0.png"], captioner, out="c.jsonl", **SHORT)
    if os.path.exists(name):
        os.unlink(name)
    os.mkfifo(name)
    with pytest.raises((OSError, ValueError), match="not a regular file|nothing says which model"):
        caption_files("photos", captioner, out="c.jsonl", resume=True, **SHORT)


def test_two_processes_at_once_leave_one_line_a_picture(photos):
    words = ["caption", "photos", "--out", "c.jsonl", "--max-new-tokens", 5]
    both = [copies.Program(copies.IMGCAP, *words) for _ in range(2)]
    ends = [program.finish() for program in both]
    assert sorted(status for status, *_ in ends) == [0, 2], ends
    assert sorted(paths_in("c.jsonl")) == [f"photos/{i}.png" for i in range(6)]
    assert [name for name in os.listdir() if name.endswith((".lock", ".owner", ".partial"))] == []


# --- names, terminals, lines

NAMES = [
    "n" * 240 + ".png",
    "line\nbreak.png",
    "return\rcarriage.png",
    "both\r\n.png",
    'a, "b".png',
    "\u2028.png",
    os.fsdecode(b"\xff \xe7\x8c\xab.png"),
    "-x.png",
    "猫 é.png",
]


@pytest.mark.parametrize("ending", ["jsonl", "csv"])
@pytest.mark.parametrize("name", NAMES)
def test_any_name(photos, captioner, name, ending):
    try:
        Image.new("RGB", (32, 32)).save(f"photos/{name}", "PNG")
    except OSError:
        pytest.skip("this file system has no such names")
    caption_files("photos", captioner, out=f"c.{ending}", **SHORT)
    assert f"photos/{name}" in paths_in(f"c.{ending}") and len(paths_in(f"c.{ending}")) == 7
    assert caption_files("photos", captioner, out=f"c.{ending}", resume=True, **SHORT).skipped == 7
    caption_files(f"photos/{name}", captioner, sidecar=True, **SHORT)
    assert os.path.exists(f"photos/{name[:-4]}.txt")


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_a_long_name_of_the_file_itself(photos, captioner, ending):
    out = "o" * (255 - len(ending) - 1) + f".{ending}"
    with pytest.raises(KeyboardInterrupt):
        caption_files("photos", stopping(captioner), out=out, **SHORT)
    assert caption_files("photos", captioner, out=out, resume=True, **SHORT).skipped == 3
    assert len(paths_in(out)) == 6 and not parts(out)
    with pytest.raises(ValueError, match="255 bytes"):
        caption_files("photos", captioner, out="o" + out)


def test_parquet_says_which_name_it_cannot_hold(photos, captioner):
    name = os.fsdecode(b"photos/\xff.png")
    try:
        Image.new("RGB", (32, 32)).save(name, "PNG")
    except OSError:
        pytest.skip("this file system has no such names")
    with pytest.raises(ValueError, match="not UTF-8"):
        caption_files("photos", captioner, out="c.parquet")


def test_home(photos, captioner, monkeypatch):
    monkeypatch.setenv("HOME", str(photos))
    caption_files("photos/0.png", captioner, out="~/c.jsonl", **SHORT)
    assert (photos / "c.jsonl").exists()


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x85", "\n", "\r\n", "\v", "\x1c"])
def test_a_caption_is_one_line(sign):
    row = caption_row("a.png", Caption(f"a dog{sign}on grass", 0.5, [], []), {})
    assert row["caption"] == "a dog on grass" and len(row_line(row).splitlines()) == 1
    assert len(row_line({"path": f"a{sign}.png", "error": f"no{sign}"}).splitlines()) == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "no-such-encoding"])
def test_a_row_on_any_terminal_is_json(encoding):
    row = {"path": "猫 é.png", "caption": "un café 猫"}
    line = row_line(row, encoding)
    assert json.loads(line) == row
    if encoding != "no-such-encoding":
        line.encode(encoding)


@pytest.mark.parametrize("encoding, out", [("cp1252", None), ("ascii", "c.csv")])
def test_a_terminal_that_is_not_utf8(photos, encoding, out):
    for i in range(3):
        Image.new("RGB", (32, 32)).save(f"photos/猫{i}.png")
    code = (
        f"from imgcap.infer import caption_files; caption_files('photos', 'git-tiny', out={out!r}, "
        "prefix='猫 é', max_new_tokens=3)"
    )
    status, said, errors = copies.Program(code, PYTHONIOENCODING=encoding).finish()
    assert status == 0, errors
    rows = (
        list(read_rows(out))
        if out
        else [json.loads(line) for line in said.decode(encoding).split("\n") if line]
    )
    assert len(rows) == 9 and sum(row.get("caption", "").startswith("猫 é") for row in rows) == 8


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
def test_rows_are_read_back_as_they_were_written(tmp_path, ending):
    rows = [
        {
            "path": "a\r.png",
            "caption": 'a cat,\na "dog"',
            "score": 0.25,
            "size": 5,
            "modified": 0.125,
        },
        {"path": "b.png", "error": "no such file"},
        {"path": "c.png", "caption": "", "score": 1.0},
    ]
    write_rows(tmp_path / f"r.{ending}", rows, several=False)
    read = [
        {k: v for k, v in row.items() if v is not None}
        for row in read_rows(tmp_path / f"r.{ending}")
    ]
    assert read == rows
    if ending == "csv":
        with open(tmp_path / "r.csv", newline="") as text:
            assert len(list(csv.reader(text))) == 4
        assert b"\r\n" not in (tmp_path / "r.csv").read_bytes()


DEEP = "[" * 50_000


@pytest.mark.parametrize(
    "content",
    [
        "path,score\na.png,much\n",
        "path,captions\na.png,no list\n",
        f"path,captions\na.png,{DEEP}\n",
    ],
)
def test_a_table_that_is_not_ours(tmp_path, content):
    (tmp_path / "c.csv").write_text(content)
    with pytest.raises(ValueError, match="c.csv, line 2"):
        list(read_rows(tmp_path / "c.csv"))


# --- passed over


def test_what_is_passed_over_in_a_folder_is_counted_and_said(photos, captioner, capsys):
    assert caption_files("photos", captioner, out="none.jsonl", **SHORT).passed_over == 0
    for name in ("raw.cr2", "drawing.heic"):
        (photos / name).write_bytes(b"II*\0")
    capsys.readouterr()
    counts = caption_files("photos", captioner, out="c.jsonl", **SHORT)
    said = capsys.readouterr().err
    assert counts.passed_over in (1, 2) and "passed over" in str(counts) and "raw.cr2" in said
    assert len(paths_in("c.jsonl")) == 6


# --- the web


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Web(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/good.png" else 404)
            self.end_headers()
            if self.path == "/good.png":
                self.wfile.write(open("photos/0.png", "rb").read())

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    with serving(server) as address:
        yield address


def test_dead_addresses_cost_a_line_each(photos, captioner, web):
    given = [
        "photos/0.png",
        f"{web}/gone.png",
        "http://127.0.0.1:9/closed.png",
        "http://[bad/x.png",
        "photos/1.png",
    ]
    lines = []
    counts = caption_files(given, captioner, echo=lines.append, **SHORT)
    assert (counts.captioned, counts.unreadable) == (2, 3)
    assert [json.loads(line)["path"] for line in lines] == given
    assert all(set(json.loads(line)) <= {"path", "caption", "score", "error"} for line in lines)


@pytest.mark.parametrize("out", ["c.jsonl", "c.csv", "c.parquet"])
def test_a_password_is_in_no_row_and_resume_knows_the_picture(
    photos, captioner, web, out, capsys, monkeypatch
):
    monkeypatch.setenv("IMGCAP_PRIVATE_ADDRESSES", "1")
    secret = web.replace("//", "//bob:secret@")
    given = [f"{secret}/good.png", f"{secret}/gone.png", "photos/0.png", "http://bob:secret@[x/"]
    counts = caption_files(given, captioner, out=out, **SHORT)
    assert (counts.captioned, counts.unreadable) == (2, 2)
    assert paths_in(out) == [f"{web}/good.png", f"{web}/gone.png", "photos/0.png", "http://[x/"]
    assert [row["error"] for row in read_rows(out) if row.get("error")][0] == "404 Not Found"
    before = open(out, "rb").read()
    counts = caption_files(given, captioner, out=out, resume=True, **SHORT)
    assert counts.skipped == 4 and open(out, "rb").read() == before
    caption_files(given, captioner, **SHORT)
    found = list(captioner.many(given, **SHORT))
    assert found[1].name == f"{web}/gone.png"
    with pytest.raises(ValueError) as refused:
        caption_files(given, captioner, sidecar=True, **SHORT)
    shown = [str(refused.value), str(found), *capsys.readouterr()]
    shown += [open(name, "rb").read().decode("latin-1") for name in os.listdir() if "c." in name]
    assert not any("secret" in text for text in shown)


# --- said before anything is loaded or written


@pytest.mark.parametrize(
    "wrong",
    [
        {"resume": True},
        {"resume": True, "overwrite": True, "out": "c.jsonl"},
        {"anyway": True},
        {"out": "c.txt"},
        {"out": "photos"},
        {"out": "c.jsonl", "top_k": 3},
        {"out": "c.jsonl", "temperature": "1"},
    ],
)
def test_mistakes_are_told_at_once(photos, wrong):
    with pytest.raises((ValueError, OSError)) as refused:
        caption_files("photos", "no/such/model/anywhere", **wrong)
    assert "\n" not in str(refused.value) and "no/such" not in str(refused.value)
    assert sorted(os.listdir()) == ["photos"]


def test_a_record_is_read_by_strangers(photos, captioner):
    caption_files("photos", captioner, out="c.jsonl", num_beams=2, **SHORT)
    record = json.load(open(".c.jsonl.run.json"))
    assert (
        record["decoding"]["num_beams"] == 2
        and record["precision"] == "float32"
        and len(record["weights"]) == 16
    )
    assert all(
        set(json.loads(line)) <= {"path", "caption", "score", "error", "size", "modified", "digest"}
        for line in open("c.jsonl")
    )
    assert targets.ENDINGS == (".jsonl", ".csv", ".parquet")


# --- several processes

TEAM = """
import datetime, os, sys, time
import torch.distributed as dist
from imgcap.infer.jobs import Team
store, way = sys.argv[1:]
rank = int(os.environ["RANK"])
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
team = Team()
assert team.first(lambda: "a plan") == "a plan"
dist.distributed_c10d._set_pg_timeout(datetime.timedelta(seconds=1))
if rank == 1 and way == "dies": os._exit(9)
if rank == 1: time.sleep(3)
print(team.sum(1, 2))
"""


REFUSED = """
import os, sys
import torch.distributed as dist
store, way = sys.argv[1:]
rank = int(os.environ["RANK"])
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
if way == "typed":
    from imgcap.cli import main
    sys.exit(main(["caption", "photos", "--out", "c.jsonl"]))
from imgcap.infer import caption_files
from imgcap.infer.jobs import Team
def taken(): caption_files("photos", "git-tiny", out="c.jsonl")
def lost(): caption_files("no-photos", "git-tiny", out="d.jsonl")
def missing(): Team().first(lambda: __import__("no_such_library"))
def odd(): Team().first(lambda: {}[1])
for work in taken, lost, missing, odd:
    try: work()
    except Exception as error: print(type(error).__name__, error)
"""


def two_of_a_team(store, way, program=TEAM):
    "How each of two processes ends, and what it says."
    ends = [each.finish() for each in copies.team(2, program, store, way)]
    return [(status, out.decode(), errors.decode()) for status, out, errors in ends]


def test_processes_wait_longer_than_a_training_before_them_would(tmp_path):
    "A training leaves a group whose patience is half an hour; here it is a second."
    found = two_of_a_team(tmp_path / "store", "is late")
    assert [each[:2] for each in found] == [(0, "[2, 4]\n")] * 2, found


def test_a_process_that_dies_does_not_keep_the_others_waiting(tmp_path):
    (status, said, error), (died, *_) = two_of_a_team(tmp_path / "store", "dies")
    assert died == 9 and status != 0 and said == "" and "Error" in error


def test_a_refusal_can_be_caught_in_each_process(photos):
    with open("c.jsonl", "w") as file: file.write("{}\n")
    store = os.path.abspath("store")
    (status, said, _), (other_status, other, _) = two_of_a_team(store, "called", REFUSED)
    assert (status, other_status) == (0, 0), (said, other)
    kinds = [line.split()[0] for line in said.splitlines()]
    assert kinds == ["FileExistsError", "FileNotFoundError", "ModuleNotFoundError", "KeyError"]
    others = [line.split()[0] for line in other.splitlines()]
    assert others == ["FileExistsError", "FileNotFoundError", "ImportError", "RuntimeError"]
    reasons = ([line.partition(" ")[2] for line in each.splitlines()] for each in (said, other))
    assert next(reasons) == next(reasons)


def test_the_command_line_says_a_refusal_once(photos):
    with open("c.jsonl", "w") as file: file.write("{}\n")
    store = os.path.abspath("store")
    (status, _, said), (other_status, _, other) = two_of_a_team(store, "typed", REFUSED)
    assert (status, other_status) == (2, 2), (said, other)
    assert "imgcap: c.jsonl" in said and "imgcap" not in other
