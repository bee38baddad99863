"The command line: mistakes in one line, options under their own names, any terminal."
import dataclasses
import inspect
import json
import re
import shlex
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import copies
import pytest
from one_command import run
from typer.models import OptionInfo

import imgcap.bench
import imgcap.cli
from imgcap.cli import _with_options, demonstration
from imgcap.cli.errors import _with_option_names
from imgcap.config import Decoding
from imgcap.data.creatures import make_creatures
from imgcap.data import load_captions, split_captions
from imgcap.model import new_git_tiny
from imgcap.train import TrainConfig, save_checkpoint


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    "A folder of four drawings with a text file each."
    folder = tmp_path_factory.mktemp("set") / "photos"
    folder.mkdir()
    for number, row in enumerate(make_creatures({"train": 4})["train"]):
        row["image"].save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(row["captions"][0], encoding="utf-8")
    return folder


PARAMETERS = [SimpleNamespace(name=name, opts=["--" + name.replace("_", "-")])
              for name in ("num_beams", "out", "top_k", "do_sample", "batch_size")]


@pytest.mark.parametrize("message, typed, shown", [
    ("num_beams.jpg does not exist", ["num_beams.jpg"], "num_beams.jpg does not exist"),
    ("my num_beams x.jpg is empty", ["my num_beams x.jpg"], "my num_beams x.jpg is empty"),
    ("photos/num_beams: no pictures", [], "photos/num_beams: no pictures"),
    ("num_beams.jpg, num_beams-2.png", [], "num_beams.jpg, num_beams-2.png"),
    ("prefix says 'num_beams'", [], "prefix says 'num_beams'"),
    ("top_k is for sampling: add do_sample=True", [], "--top-k is for sampling: add --do-sample"),
    ("num_beams is 0; it must be at least 1", ["num", "0"],
     "--num-beams is 0; it must be at least 1"),
    ("batch_size=0, out= is taken", [], "--batch-size 0, --out is taken"),
    ("look at what comes out", [], "look at what comes out"),
    ("num_beams=-3 is too few", [], "--num-beams -3 is too few"),
    ("out='a b' is there, top_k=.5", [], "--out 'a b' is there, --top-k .5"),
    ("give out=, or num_beams=.", [], "give --out, or --num-beams."),
    ("out is 3; it must be text", [], "--out is 3; it must be text"),
    ("out is 3; it must be text", ["out"], "out is 3; it must be text"),
    ("num_beams holds a run", ["--out=num_beams"], "num_beams holds a run"),
])
def test_option_names_stand_for_options_only(message, typed, shown):
    assert _with_option_names(message, PARAMETERS, typed) == shown


@pytest.mark.parametrize("config", [TrainConfig, Decoding])
def test_every_option_has_its_own_name_in_messages(config):
    fields = dataclasses.fields(config)
    options = {f.name: "--" + f.name.replace("_", "-") for f in fields}
    parameters = [SimpleNamespace(name=name, opts=[option]) for name, option in options.items()]
    for name, option in options.items():
        if name != "out":  # which may be any path
            with pytest.raises(ValueError) as error: config(**{name: object()})
            said = _with_option_names(str(error.value), parameters, [])
            assert said == str(error.value).replace(name, option, 1)
            assert said.startswith(f"{option} is <")
        for value in ("3", "-3", "'a b'", '"x"', ".5", "(1, 2)", "[3]", "…"):
            said = _with_option_names(f"with {name}={value}, no", parameters, [])
            assert said == f"with {option} {value}, no"
        assert _with_option_names(f"say {name}=; no", parameters, []) == f"say {option}; no"


def test_a_picture_called_like_an_option_keeps_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("caption", "num_beams.jpg")
    assert status == 2 and err.startswith("imgcap: num_beams.jpg does not exist"), err


@pytest.mark.parametrize("words", [
    "train --data DATA --threads -1", "train --data DATA --label-smoothing 2",
    "train --data DATA --max-length 100000", "train --data DATA --epochs nan",
    "train --data DATA --patience -1", "train --data DATA --seed -1",
    "train --data DATA --max-length 1", "train --data DATA --workers -1",
    "train --data DATA --learning-rate nan", "train --data DATA --batch-size 0",
    "train --data DATA --warmup 2", "train --data DATA --max-grad-norm -1",
    "train --data DATA --precision half", "train --data DATA --freeze nothing-like-it",
    "evaluate --data DATA --model git-tiny --batch-size 0",
    "evaluate --data DATA --model git-tiny --num-beams 0",
    "evaluate --data DATA --model git-tiny --split nowhere",
    "caption DATA --batch-size 0", "caption DATA --max-new-tokens 0",
    "caption DATA --do-sample --temperature nan", "caption DATA --do-sample --top-p 1.5",
    "caption DATA --num-beams -3", "caption DATA --length-penalty 2", "caption DATA --overwrite",
    "train --data DATA --threads 100000000", "train --data DATA --image-size 100000",
    "demo --quick --epochs nan", "demo --quick --epochs 0", "demo --quick --epochs -1",
    "demo --threads 100000000", "bench --batch-size 0", "bench --batch-size 16 --batch-size -1",
    "app --port -1", "app --port 70000", "check --data DATA --image-column zz",
    "train --data DATA --caption-column zz", "train --data DATA --resume --overwrite",
])
def test_a_value_out_of_range_is_one_line_and_status_2(words, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*words.replace("DATA", str(photos)).split())
    lines = [line for line in err.splitlines() if not line.startswith("imgcap: warning")]
    assert status == 2 and len(lines) == 1 and lines[0].startswith("imgcap: "), err
    assert not (tmp_path / "runs").exists(), "nothing is made before everything was checked"


COMMANDS = ("demo", "train", "evaluate", "caption", "check", "score", "bench", "push", "export",
            "app")


def parameters(command):
    "{name: (type, whether it is an option, default)} of all that a command takes."
    function = _with_options(command, getattr(imgcap.cli, command))
    found = inspect.signature(function).parameters.items()
    return {name: (p.annotation.__origin__, isinstance(p.annotation.__metadata__[0], OptionInfo),
                   p.default) for name, p in found if name != "context"}


def of_type(*kinds):
    "(command, name) of each option and argument of one of these types."
    return [(command, name) for command in COMMANDS
            for name, (kind, *_, default) in parameters(command).items()
            if set(kinds) & {kind, *get_args(kind)} and default != ""]


def said_of(command, name, value):
    "The line about a value of one option or argument."
    words = []
    for other, (_, is_option, default) in parameters(command).items():
        if other != name and default is not inspect.Parameter.empty: continue
        given = str(value) if other == name else "x"
        words += [f"--{other.replace('_', '-')}={given}" if is_option else given]
    status, _, err = run(command, *words)
    assert status == 2 and len(err.splitlines()) == 1, err
    return err


@pytest.mark.parametrize("value", [10**40, -10**40])
@pytest.mark.parametrize("command, name", of_type(int, float, list[int]))
def test_every_number_has_limits(command, name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f"--{name.replace('_', '-')} is " in said_of(command, name, value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command, name", of_type(str, list[str]))
def test_every_empty_text_is_refused(command, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    err = said_of(command, name, "")
    assert "is empty; imgcap" in err or f"{name} is ''; choose " in err or name == "device", err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("device", [
    "meta", "cuda:99", "xpu", "hpu", "mkldnn", "vulkan", "privateuseone", "nonsense", "cuda:-1"])
def test_a_device_that_is_not_here_is_one_line(device, photos):
    for words in ("train --data DATA", "evaluate --data DATA --model git-tiny", "caption DATA",
                  "bench"):
        status, _, err = run(*words.replace("DATA", str(photos)).split(), "--device", device)
        assert status == 2 and len(err.splitlines()) == 1, err
        assert err.startswith(f"imgcap: device '{device}' cannot be used here")


@pytest.mark.parametrize("options", [{"batch_sizes": [16, 0]}, {"batch_size": -1}, {"rounds": 0}])
def test_the_bench_looks_at_its_sizes_first(options):
    said = []
    with pytest.raises(ValueError, match=f"{next(iter(options))} is .*at least 1"):
        imgcap.bench.bench(quick=True, echo=said.append, **options)
    assert not said


def contents(folder):
    "{path: bytes} of all files in a folder."
    return {p.relative_to(folder).as_posix(): p.read_bytes()
            for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory):
    "A demo of a few drawings, and the words that made it."
    folder = tmp_path_factory.mktemp("demo") / "run"
    with pytest.MonkeyPatch.context() as patch:
        few = {"train": 8, "validation": 4, "test": 4, "novel": 4}
        patch.setattr(demonstration, "_QUICK_DRAWINGS", few)
        words = ["demo", "--quick", "--epochs", "2", "--threads", "1"]
        status, out, err = run(*words, "--out", str(folder))
        assert status == 0 and "6  share" in out, err
        yield folder, words


@pytest.fixture
def demo_of(small_demo, tmp_path):
    "A copy of the demo, and the words that would make it there."
    folder = tmp_path / "run"
    shutil.copytree(small_demo[0], folder)
    return folder, [*small_demo[1], "--out", str(folder)]


def test_a_second_demo_shows_the_first_and_takes_nothing_away(demo_of):
    folder, words = demo_of
    for name in ("report.html", "run.json", "captions.png", "README.md"):
        with open(folder / name, "ab") as file: file.write(b"\n")
    for name in ("evaluations/other/metrics.json", "predictions-mine.jsonl", "adapter/x.bin"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    before = contents(folder)
    status, out, err = run(*words)
    assert status == 0 and not err and len(out.splitlines()) == 5
    for word in ("report.html", f"imgcap app --model {folder}", "--overwrite", "--out"):
        assert word in out
    for other in (["--seed", "3"], ["--epochs", "3"], ["--no-quick"]):
        status, _, err = run(*words, *other)
        assert status == 2 and "other choices" in err and len(err.splitlines()) == 1
    assert contents(folder) == before


def test_a_demo_leaves_what_a_run_leaves_and_its_pictures(small_demo):
    folder, _ = small_demo
    left = {path.name for path in folder.iterdir()}
    assert {"model", "checkpoints", "run.json", "log.jsonl", "metrics.json", "predictions.jsonl",
            "gallery.png", "README.md", "creatures.png", "captions.png"} <= left, left
    scores = json.loads((folder / "metrics.json").read_text())
    assert set(scores) == {"test", "novel"}
    assert {"model", "shuffled_pictures", "constant_caption", "nearest_picture", "human"} <= set(
        scores["test"])
    assert {"cider_d", "cider_d_ci", "bleu_4", "rouge_l", "wer", "attribute_f1"} <= set(
        scores["test"]["model"])


def test_help_says_what_an_option_takes():
    status, said, _ = run("caption", "--help")
    takes = dict(re.findall(r"^  (--[a-z-]+) (\S+) ", said, re.M))
    assert status == 0 and takes["--force-words"] == takes["--forbid-words"] == "WORD"
    assert takes["--num-beams"] == "N" and list(takes.values()).count("WORD") == 2
    assert (takes["--top-p"], takes["--temperature"], takes["--out"]) == ("0-1", "NUMBER", "FILE")


def test_a_demo_does_not_replace_another_run(demo_of):
    folder, words = demo_of
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "command": "train"}))
    before = contents(folder)
    status, _, err = run(*words)
    assert status == 2 and "no demo" in err and contents(folder) == before


def test_a_demo_begins_anew_when_asked_but_deletes_nothing_of_others(demo_of):
    folder, words = demo_of
    (folder / "thesis.txt").write_text("two years of work")
    before = contents(folder)
    status, _, err = run(*words, "--overwrite")
    assert status == 2 and "thesis.txt" in err and contents(folder) == before
    (folder / "thesis.txt").unlink()
    (folder / "predictions-novel.jsonl").write_text("old")
    status, out, err = run(*words, "--overwrite")
    assert status == 0 and "step 2/2" in out, err
    assert (folder / "predictions-novel.jsonl").read_text() != "old"


def test_a_demo_that_was_stopped_goes_on(demo_of):
    folder, words = demo_of
    whole = contents(folder)
    for name in ("captions.png", "predictions-novel.jsonl", "README.md"): (folder / name).unlink()
    metrics = json.loads(whole["metrics.json"])
    (folder / "metrics.json").write_text(json.dumps({"test": metrics["test"]}))
    (folder / "report.html").write_text("edited")
    status, out, err = run(*words)
    assert status == 0 and "was done before" in out and "step " not in out, err
    assert json.loads((folder / "metrics.json").read_text()).keys() == {"test", "novel"}
    assert (folder / "report.html").read_text() == "edited"
    (folder / "metrics.json.kept-1").unlink()  # it was cut by hand
    assert contents(folder).keys() == whole.keys()
    record = json.loads((folder / "run.json").read_text())
    shutil.rmtree(folder / "checkpoints/checkpoint-2")
    shutil.rmtree(folder / "model")
    (folder / "captions.png").unlink()
    (folder / "run.json").write_text(json.dumps({k: record[k] for k in record if k != "finished"}))
    status, out, err = run(*words)
    assert status == 0 and "step 2/2" in out and "step 1/2" not in out, err
    assert (folder / "report.html.kept-1").read_text() == "edited"
    (folder / "report.html.kept-1").unlink()
    assert contents(folder).keys() == whole.keys()
    assert json.loads((folder / "run.json").read_text())["resumed"][0]["step"] == 1


def test_a_demo_leaves_an_edited_card(demo_of):
    folder, words = demo_of
    (folder / "captions.png").unlink()
    with open(folder / "README.md", "a") as file: file.write("mine")
    mine = (folder / "README.md").read_bytes()
    status, _, err = run(*words)
    assert status == 0 and (folder / "README.md").read_bytes() == mine
    assert len([line for line in err.splitlines() if "README.md was edited by hand" in line]) == 1


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("words", ["check --data photos", "caption photos"])
def test_any_terminal_will_do(words, encoding, photos, tmp_path, monkeypatch):
    named = tmp_path / "photos"
    named.mkdir()
    for file in photos.iterdir(): (named / f"猫 → {file.name}").write_bytes(file.read_bytes())
    monkeypatch.chdir(tmp_path)
    program = copies.Program(copies.IMGCAP, *words.split(), PYTHONIOENCODING=encoding)
    status, said, errors = program.finish()
    assert status == 0, errors.decode(encoding)
    assert b"Traceback" not in errors
    if words.startswith("caption"): assert said.count(b'"caption"') == 4


def test_a_language_can_be_said_where_captions_are_checked(tmp_path, photos):
    chinese = tmp_path / "chinese"
    chinese.mkdir()
    for file in photos.glob("*.png"): (chinese / file.name).write_bytes(file.read_bytes())
    for file in photos.glob("*.txt"):
        (chinese / file.name).write_text("一只猫坐在垫子上。", encoding="utf-8")
    doubt = "say --language 'zh'"
    assert doubt in run("check", "--data", str(chinese))[1]
    assert doubt not in run("check", "--data", str(chinese), "--language", "zh")[1]
    status, _, err = run("check", "--data", str(chinese), "--language", "Chinese!")
    assert status == 2 and "Chinese!" in err and len(err.splitlines()) == 1


@pytest.fixture(scope="module")
def thirty(tmp_path_factory):
    "Thirty drawings in a folder, another thirty beside a COCO file, and a run on the first."
    home = tmp_path_factory.mktemp("thirty")
    rows = make_creatures({"train": 60})["train"]
    for name in ("photos", "val2017"): (home / name).mkdir()
    coco = {"images": [], "annotations": []}
    for number, row in enumerate(rows):
        if number < 30:
            row["image"].save(home / f"photos/{number}.png")
            (home / f"photos/{number}.txt").write_text(row["captions"][0], encoding="utf-8")
            continue
        row["image"].save(home / f"val2017/{number}.png")
        coco["images"].append({"id": number, "file_name": f"{number}.png"})
        coco["annotations"].append(
            {"id": number, "image_id": number, "caption": row["captions"][0]})
    (home / "captions_val2017.json").write_text(json.dumps(coco), encoding="utf-8")
    (home / "others.json").write_text(json.dumps(coco), encoding="utf-8")
    model, processor = new_git_tiny(
        rows["captions"][0], vision_layers=1, text_layers=1, hidden_size=32)
    save_checkpoint(model, processor, home / "small")
    status, _, err = run(
        "train", "--data", str(home / "photos"), "--model", str(home / "small"),
        "--out", str(home / "run"), "--max-steps", "2", "--validations", "1", "--seed", "7")
    assert status == 0, err
    return home


def scored(home, *words):
    "The split that evaluate scored, its pictures, and the folder it was written to."
    run_folder = str(home / "run")
    status, out, err = run("evaluate", "--model", run_folder, "--max-new-tokens", "5", *words)
    assert status == 0, err
    folder = Path(out.rsplit(" are in ", 1)[1].splitlines()[0].removesuffix("; next:"))
    found = json.loads((folder / "metrics.json").read_text())
    return {split: int(systems["model"]["n"]) for split, systems in found.items()}, folder


def test_evaluate_scores_the_test_pictures_of_the_run(thirty):
    data = load_captions(str(thirty / "photos"))
    test = split_captions(data, seed=7)["test"]
    assert test["image_id"] != split_captions(data, seed=42)["test"]["image_id"]
    assert scored(thirty, "--data", str(thirty / "photos")) == ({"test": len(test)}, thirty / "run")
    written = (thirty / "run/predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["image_id"] for line in written] == test["image_id"]


@pytest.mark.parametrize("words, split, n", [
    ([], "validation", 30),
    (["--split", "validation"], "validation", 30),
    (["--split", "all"], "all", 30),
])
def test_a_file_of_validation_captions_is_scored_whole(thirty, words, split, n):
    found, folder = scored(thirty, "--data", str(thirty / "captions_val2017.json"),
                           "--images", str(thirty / "val2017"), *words)
    assert found[split] == n and folder.parent == thirty / "run/evaluations"


def test_another_set_is_scored_whole_unless_a_part_is_asked_for(thirty):
    words = ["--data", str(thirty / "others.json"), "--images", str(thirty / "val2017")]
    found, folder = scored(thirty, *words)
    assert found["all"] == 30 and folder.parent == thirty / "run/evaluations"
    assert 0 < scored(thirty, *words, "--split", "test")[0]["test"] < 30


def test_a_model_that_is_no_run_is_scored_on_all_pictures(thirty, tmp_path):
    words = ["--data", str(thirty / "photos"), "--model", str(thirty / "small"),
             "--max-new-tokens", "5"]
    out = ["--out", str(tmp_path / "scores")]
    status, _, err = run("evaluate", *words, *out)
    assert status == 0 and "all 30 pictures were scored: nothing says whether" in err
    assert "--split test" in err
    assert json.loads((tmp_path / "scores/metrics.json").read_text())["all"]["model"]["n"] == 30


def test_a_copy_of_the_set_is_not_said_to_be_unknown_to_the_model(thirty, tmp_path):
    shutil.copytree(thirty / "photos", tmp_path / "copy")
    for end in ("png", "txt"): (tmp_path / f"copy/3.{end}").unlink()
    words = ["--data", str(tmp_path / "copy"), "--model", str(thirty / "run"),
             "--max-new-tokens", "5"]
    status, _, err = run("evaluate", *words)
    assert status == 0 and "all 29 pictures were scored: this is not known to be" in err
    assert "may have seen" in err


def test_the_test_pictures_are_those_of_the_run_that_a_run_began_from(thirty, tmp_path):
    status, _, err = run("train", "--data", str(thirty / "others.json"), "--images",
                         str(thirty / "val2017"), "--model", str(thirty / "run"), "--out",
                         str(tmp_path / "child"), "--max-steps", "2", "--validations", "1")
    assert status == 0, err
    words = ["--data", str(thirty / "photos"), "--model", str(tmp_path / "child")]
    status, out, err = run("evaluate", *words, "--max-new-tokens", "5")
    assert status == 0 and "were scored" not in err, err
    folder = Path(out.rsplit(" are in ", 1)[1].splitlines()[0].removesuffix("; next:"))
    rows = (folder / "predictions.jsonl").read_text().splitlines()
    test = split_captions(load_captions(str(thirty / "photos")), seed=7)["test"]
    assert [json.loads(row)["image_id"] for row in rows] == test["image_id"]


def test_files_of_others_are_seen_before_the_work(thirty, tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("a thesis")
    words = ["--data", str(thirty / "photos"), "--model", str(thirty / "run"),
             "--out", str(tmp_path)]
    monkeypatch.setattr("imgcap.evaluate.evaluate_model", None)
    status, _, err = run("evaluate", *words)
    assert status == 2 and "holds report.html, which no evaluation wrote" in err
    assert len(err.splitlines()) == 1 and contents(tmp_path) == {"report.html": b"a thesis"}


def test_the_model_in_a_run_is_scored_on_the_test_pictures_of_the_run(thirty, tmp_path):
    words = ["--data", str(thirty / "photos"), "--model", str(thirty / "run/model"),
             "--max-new-tokens", "5"]
    status, _, err = run("evaluate", *words, "--out", str(tmp_path / "scores"))
    assert status == 0, err
    assert list(json.loads((tmp_path / "scores/metrics.json").read_text())) == ["test"]


def test_the_language_of_the_run_counts_where_the_set_says_none(thirty, tmp_path):
    folder = thirty / "photos with a space"
    shutil.copytree(thirty / "photos", folder)
    status, out, err = run(
        "train", "--data", str(folder), "--model", str(thirty / "small"),
        "--out", str(tmp_path / "run"), "--max-steps", "2", "--validations", "1",
        "--language", "de")
    assert status == 0, err
    line = next(line for line in out.splitlines() if line.startswith("  imgcap evaluate"))
    _, *command = shlex.split(line)  # as it was printed
    status, _, err = run(*command, "--max-new-tokens", "5")
    assert status == 0, err
    record = json.loads((tmp_path / "run/measured.json").read_text())
    assert record["test"]["language"] == "de"
    status, _, err = run("evaluate", "--data", str(folder), "--model", str(tmp_path / "run/model"),
                         "--max-new-tokens", "5", "--out", str(tmp_path / "scores"))
    assert status == 0, err
    record = json.loads((tmp_path / "scores/measured.json").read_text())
    assert record["test"]["language"] == "de"
    before = contents(tmp_path / "run")
    status, out, err = run(*command, "--max-new-tokens", "5", "--language", "en")
    assert status == 0 and "run/evaluations/" in out, err
    assert contents(tmp_path / "run").items() >= before.items()


def test_all_pictures_of_the_runs_own_set_are_scored_in_the_run(thirty):
    found, folder = scored(thirty, "--data", str(thirty / "photos"), "--split", "all")
    assert found["all"] == 30 and folder == thirty / "run"


def test_a_set_is_the_runs_by_its_captions_and_pictures():
    from imgcap.cli import learning
    from imgcap.data.creatures import make_creatures
    from imgcap.data import keep_encoded
    from imgcap.fingerprints import describe_data
    rows = make_creatures({"train": 9, "validation": 3, "test": 3})
    described = describe_data({name: keep_encoded(part) for name, part in rows.items()})
    turned = rows["train"].map(lambda row, i: {"image": rows["train"][8 - i]["image"]},
                               with_indices=True)
    earlier = {"train": {"fingerprint": described["train"]["fingerprint"]}}
    for data, expected in ((described, [True, False]), (earlier, [True, True])):
        about = {"source": "elsewhere", "data": data}
        sets = [{**rows, "train": train} for train in (rows["train"], turned)]
        assert [learning._is_set_of(each, about, "here") for each in sets] == expected
    about = {"source": "./ada/birds", "data": {}}
    is_folder = learning._is_set_of(rows, about, "ada/birds")
    assert not is_folder, "there is no such folder: it is on the Hub"
