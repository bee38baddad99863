"The command line: mistakes in one line, options under their own names, any terminal."
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest

from imgcap.cli import _with_option_names, main
from imgcap.creatures import make_creatures
from imgcap.data import load_captions, split_captions
from imgcap.model import new_git_tiny
from imgcap.train import save_checkpoint


def run(*words):
    "Status, standard output and standard error of one command line."
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err): status = main(list(words))
    return status, out.getvalue(), err.getvalue()


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
    ("num_beams is 0; it must be at least 1", ["num", "0"], "--num-beams is 0; it must be at least 1"),
    ("batch_size=0, out= is taken", [], "--batch-size 0, --out is taken"),
    ("look at what comes out", [], "look at what comes out"),
])
def test_option_names_stand_for_options_only(message, typed, shown):
    assert _with_option_names(message, PARAMETERS, typed) == shown


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
    "caption DATA --num-beams -3",
])
def test_a_value_out_of_range_is_one_line_and_status_2(words, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*words.replace("DATA", str(photos)).split())
    lines = [line for line in err.splitlines() if not line.startswith("imgcap: warning")]
    assert status == 2 and len(lines) == 1 and lines[0].startswith("imgcap: "), err
    assert not (tmp_path / "runs").exists(), "nothing is made before everything was checked"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("words", ["check --data photos", "caption photos"])
def test_any_terminal_will_do(words, encoding, photos, tmp_path):
    named = tmp_path / "photos"
    named.mkdir()
    for file in photos.iterdir(): (named / f"猫 → {file.name}").write_bytes(file.read_bytes())
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run([sys.executable, "-m", "imgcap", *words.split()], cwd=tmp_path,
                          env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr.decode(encoding)
    assert b"Traceback" not in done.stderr
    if words.startswith("caption"): assert done.stdout.count(b'"caption"') == 4


def test_a_language_can_be_said_where_captions_are_checked(tmp_path, photos):
    chinese = tmp_path / "chinese"
    chinese.mkdir()
    for file in photos.glob("*.png"): (chinese / file.name).write_bytes(file.read_bytes())
    for file in photos.glob("*.txt"): (chinese / file.name).write_text("一只猫坐在垫子上。", encoding="utf-8")
    doubt = "say language='zh'"
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
        coco["annotations"].append({"id": number, "image_id": number, "caption": row["captions"][0]})
    (home / "captions_val2017.json").write_text(json.dumps(coco), encoding="utf-8")
    (home / "others.json").write_text(json.dumps(coco), encoding="utf-8")
    model, processor = new_git_tiny(rows["captions"][0], vision_layers=1, text_layers=1, hidden_size=32)
    save_checkpoint(model, processor, home / "small")
    status, _, err = run("train", "--data", str(home / "photos"), "--model", str(home / "small"), "--out",
                         str(home / "run"), "--max-steps", "2", "--validations", "1", "--seed", "7")
    assert status == 0, err
    return home


def scored(home, *words):
    "The split that evaluate scored, its pictures, and the folder it was written to."
    status, out, err = run("evaluate", "--model", str(home / "run"), "--max-new-tokens", "5", *words)
    assert status == 0, err
    folder = Path(out.rsplit(" are in ", 1)[1].splitlines()[0])
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
    ([], "validation", 30), (["--split", "validation"], "validation", 30), (["--split", "all"], "all", 30)])
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
    words = ["--data", str(thirty / "photos"), "--model", str(thirty / "small"), "--max-new-tokens", "5"]
    out = ["--out", str(tmp_path / "scores")]
    status, _, err = run("evaluate", *words, *out)
    assert status == 0 and "all 30 pictures were scored" in err and "--split test" in err
    assert json.loads((tmp_path / "scores/metrics.json").read_text())["all"]["model"]["n"] == 30


def test_the_model_in_a_run_is_scored_on_the_test_pictures_of_the_run(thirty, tmp_path):
    words = ["--data", str(thirty / "photos"), "--model", str(thirty / "run/model"), "--max-new-tokens", "5"]
    status, _, err = run("evaluate", *words, "--out", str(tmp_path / "scores"))
    assert status == 0, err
    assert list(json.loads((tmp_path / "scores/metrics.json").read_text())) == ["test"]


def test_the_language_of_the_run_counts_where_the_set_says_none(thirty, tmp_path):
    folder = thirty / "photos with a space"
    shutil.copytree(thirty / "photos", folder)
    status, out, err = run("train", "--data", str(folder), "--model", str(thirty / "small"), "--out",
                           str(tmp_path / "run"), "--max-steps", "2", "--validations", "1", "--language", "de")
    assert status == 0, err
    command = shlex.split(out.rsplit("next: imgcap ", 1)[1])  # as it was printed
    status, _, err = run(*command, "--max-new-tokens", "5")
    assert status == 0, err
    record = json.loads((tmp_path / "run/measured.json").read_text())
    assert record["test"]["language"] == "de"


def test_all_pictures_of_the_runs_own_set_are_scored_in_the_run(thirty):
    found, folder = scored(thirty, "--data", str(thirty / "photos"), "--split", "all")
    assert found["all"] == 30 and folder == thirty / "run"
