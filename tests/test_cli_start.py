"""How a command starts and ends: Ctrl-C at any time, libraries that are missing, words that are
wrong."""

import ast
import inspect
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

import imgcap.cli
from imgcap.cli import _COMMANDS, main
from imgcap.cli.errors import _with_option_names
from imgcap.config import CommandOptions, Decoding, TrainConfig
from imgcap.data.creatures import make_creatures
from imgcap.run_record import read_run, run_of

START = "import sys, os; from imgcap.cli import main; print('ready', flush=True); sys.exit(main())"


def start(*words, **options):
    "A command in a process of its own, at the first line of its `main`."
    command = [sys.executable, "-c", START, *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **pipes, **options)
    assert process.stdout.readline() == "ready\n"
    return process


def finished(*words, **options):
    "Status and standard error of a command."
    process = start(*words, **options)
    _, err = process.communicate(timeout=120)
    return process.returncode, err


@pytest.mark.parametrize("delay", [0.2, 0.8, 1.6])
@pytest.mark.parametrize(
    "words", ["train --data creatures --out run", "caption creature.png", "check --data creatures"]
)
def test_an_interrupt_at_the_start_is_one_line(words, delay, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "creature.png")
    process = start(*words.split(), cwd=tmp_path)
    time.sleep(delay)
    if process.poll() is not None:
        pytest.skip("it had ended")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "imgcap: interrupted\n")


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    "Pictures with captions, few but enough for a validation split."
    folder = tmp_path_factory.mktemp("photos")
    for i, row in enumerate(make_creatures({"train": 32}, image_size=64)["train"]):
        row["image"].save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(row["captions"][0])
    return folder


LEARNING = ["train --data PHOTOS", "evaluate --data x --model git-tiny"]


@pytest.mark.parametrize("library", ["torch", "transformers", "datasets"])
@pytest.mark.parametrize("words", LEARNING)
def test_a_library_that_is_missing_is_one_line(library, words, photos, tmp_path):
    blocked = tmp_path / "sitecustomize.py"
    blocked.write_text(f"import sys\nsys.modules['{library}'] = None\n")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    words = [word.replace("PHOTOS", str(photos)) for word in words.split()]
    status, err = finished(*words, env=os.environ | {"PYTHONPATH": path}, cwd=tmp_path)
    assert status == 2 and len(err.splitlines()) == 1, err
    assert err.startswith("imgcap: ") and err.endswith(f"; pip install {library}\n"), err


@pytest.mark.parametrize("words", LEARNING)
def test_a_library_that_is_broken_is_one_line(words, photos, tmp_path):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("from torch._C import nothing\n")
    path = os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])
    words = [word.replace("PHOTOS", str(photos)) for word in words.split()]
    status, err = finished(*words, env=os.environ | {"PYTHONPATH": path}, cwd=tmp_path)
    assert status == 2 and len(err.splitlines()) == 1, err
    assert err.endswith("; pip install --force-reinstall torch\n"), err


@pytest.mark.parametrize(
    "words, said",
    [
        ("train --data x --batch-size wrong", "--batch-size is 'wrong'; it must be a whole number"),
        ("train --data x --batch-size 1.5", "--batch-size is '1.5'; it must be a whole number"),
        ("train --data x --epochs wrong", "--epochs is 'wrong'; it must be a number"),
        ("bench --batch-size 16 --batch-size ''",
         "--batch-size is \"''\"; it must be a whole number"),
        ("app --port 80a", "--port is '80a'; it must be a whole number"),
        ("caption x --top-p half", "--top-p is 'half'; it must be a number"),
    ],
)
def test_a_wrong_number_is_shown(words, said, capsys):
    assert main(words.split()) == 2
    assert capsys.readouterr().err == f"imgcap: {said}\n"


@pytest.mark.parametrize(
    "message, typed, shown",
    [
        ("freeze names 'x', and the model has", [], "--freeze names 'x', and the model has"),
        ("lora needs the library peft", [], "--lora needs the library peft"),
        ("warning: lora needs the library peft", [], "warning: --lora needs the library peft"),
        ("warning: say language='zh'", [], "warning: say --language 'zh'"),
        ("lora needs the library peft", ["--out", "lora"], "lora needs the library peft"),
        ("lora holds another run", [], "lora holds another run"),
    ],
)
def test_an_option_that_begins_a_message_has_its_own_name(message, typed, shown):
    parameters = [
        SimpleNamespace(name=name, opts=[f"--{name}"])
        for name in ("freeze", "lora", "language", "out")
    ]
    assert _with_option_names(message, parameters, typed) == shown


def test_a_warning_speaks_of_options(tmp_path, capsys):
    photo = tmp_path / "photos"
    photo.mkdir()
    for number, row in enumerate(make_creatures({"train": 3})["train"]):
        row["image"].save(photo / f"{number}.png")
        (photo / f"{number}.txt").write_text("一只红色的鸟在树上", encoding="utf-8")
    assert main(["check", "--data", str(photo)]) in (0, 2)
    said = "".join(capsys.readouterr())
    assert "--language 'zh'" in said and "language=" not in said, said


@pytest.mark.skipif(sys.platform != "linux", reason="names are in Unicode")
@pytest.mark.parametrize(
    "words",
    [
        "train --data creatures --out NAME",
        "demo --quick --out NAME",
        "export git-tiny --out NAME",
        "export NAME --out x",
        "caption x.png --model NAME",
        "push NAME --repo-id a/b",
    ],
)
def test_a_name_that_is_no_text_is_refused_first(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"caf\xe9")
    assert main([name if word == "NAME" else word for word in words.split()]) == 2
    err = capsys.readouterr().err
    assert "is 'caf\\udce9', which is no text in UTF-8" in err and len(err.splitlines()) == 1, err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="names are in Unicode")
def test_captions_are_written_to_a_file_of_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_creatures({"train": 1})["train"][0]["image"].save(tmp_path / "creature.png")
    name = os.fsdecode(b"caf\xe9.jsonl")
    assert main(["caption", "creature.png", "--out", name]) == 0
    assert (tmp_path / name).read_text().count('"caption"') == 1


def test_an_export_to_a_file_is_refused_before_anything_is_loaded(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    began = time.perf_counter()
    assert main(["export", "git-tiny", "--out", str(file)]) == 2
    assert time.perf_counter() - began < 0.5 and file.read_text() == "mine"


@pytest.mark.parametrize("words, said", [("--license MIT!", "license"), ("", "not a run folder")])
def test_a_push_is_looked_at_before_a_login_is_asked_for(
    words, said, tiny_run, monkeypatch, capsys
):
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", "/nowhere")
    run = tiny_run if words else tiny_run / "checkpoints"
    assert main(["push", str(run), "--repo-id", "you/name", *words.split()]) == 2
    err = capsys.readouterr().err
    assert said in err and "logged in" not in err and len(err.splitlines()) == 1, err


DAMAGED = ["", "{", "[]", "3", "{}", '{"config": {}}', "\0" * 99]
WRONG = [
    ("finished", None),
    ("finished", 5),
    ("finished", "x"),
    ("finished", [1]),
    ("source", 5),
    ("source", [1]),
    ("data", 3),
    ("data", {"train": 5}),
    ("model", [1]),
]


@pytest.fixture
def own_run(tiny_run, tmp_path):
    return shutil.copytree(tiny_run, tmp_path / "run")


@pytest.mark.parametrize("place", ["", "model"])
@pytest.mark.parametrize("content", DAMAGED)
def test_a_run_whose_record_is_damaged_is_still_a_run(content, place, own_run):
    (own_run / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        run_of(own_run / place)


@pytest.mark.parametrize("name, value", WRONG)
def test_a_record_with_wrong_types_in_it_is_damaged(name, value, own_run):
    about = json.loads((own_run / "run.json").read_text()) | {name: value}
    (own_run / "run.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=rf"run\.json is damaged: {name}"):
        read_run(own_run)


@pytest.fixture
def few(tmp_path):
    "A folder of twelve pictures, each with a caption."
    (tmp_path / "set").mkdir()
    for number, row in enumerate(make_creatures({"train": 12})["train"]):
        row["image"].save(tmp_path / "set" / f"{number}.png")
        (tmp_path / "set" / f"{number}.txt").write_text(row["captions"][0], encoding="utf-8")
    return str(tmp_path / "set")


@pytest.mark.parametrize("words", ["evaluate --model RUN", "train --resume --out RUN"])
@pytest.mark.parametrize("content", ["{", '{"finished": 5}'])
def test_a_run_whose_record_is_damaged_is_left_alone(words, content, own_run, few, capsys):
    record = own_run / "run.json"
    about = json.loads(record.read_text())
    record.write_text(json.dumps(about | json.loads(content)) if "5" in content else content)
    assert main([*words.replace("RUN", str(own_run)).split(), "--data", few]) == 2
    err = capsys.readouterr().err
    assert f"imgcap: {record} is damaged" in err and "--overwrite" not in err, err


def test_a_file_of_others_called_run_json_does_not_matter(own_run, tmp_path, capsys):
    checkpoint = shutil.copytree(own_run / "model", tmp_path / "other")
    (checkpoint / "run.json").write_text('{"command": "make"}')
    make_creatures({"train": 1})["train"][0]["image"].save(tmp_path / "creature.png")
    assert main(["caption", str(tmp_path / "creature.png"), "--model", str(checkpoint)]) == 0


def test_a_refusal_comes_before_what_is_said_of_the_set(own_run, few, capsys):
    assert main(["train", "--data", few, "--out", str(own_run)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "holds another run" in err, (out, err)


def test_the_help_of_every_command_waits_for_no_library():
    "In one process, so that what one of them loads is seen by the next."
    code = """
import contextlib, io, sys
from imgcap.cli import _COMMANDS, main
for words in [["--help"], *([command.__name__, "--help"] for command in _COMMANDS)]:
    with contextlib.redirect_stdout(io.StringIO()) as out: status = main(words)
    assert status == 0 and "Usage: imgcap" in out.getvalue(), (words, out.getvalue())
    slow = {"torch", "transformers", "datasets", "numpy", "matplotlib", "PIL", "imgcap.words"}
    if loaded := slow & set(sys.modules): raise SystemExit(f"{words} loads {loaded}")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_help_text_and_a_limit_stand_in_one_place():
    "A text that several commands show is that of a field, and so is every limit."
    texts = {field.metadata["help"]
             for made in (CommandOptions, Decoding, TrainConfig) for field in fields(made)}
    found = Counter()
    for path in Path(imgcap.cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.keyword): continue
            assert node.arg not in ("at_least", "above", "at_most", "below", "choices"), path
            if node.arg == "help" and isinstance(node.value, ast.Constant):
                found[node.value.value] += 1
    again = [text for text, n in found.items() if n > 1 or text in texts]
    assert found and not again


@pytest.mark.parametrize("command", [one.__name__ for one in _COMMANDS])
def test_a_default_is_that_of_the_field_and_of_the_function(command):
    from imgcap.app import launch
    from imgcap.infer import Captioner
    from imgcap.metrics import caption_scores
    of_fields = {field.name: field.default for field in fields(CommandOptions)}
    functions = {"app": launch, "caption": Captioner, "score": caption_scores}
    below = inspect.signature(functions.get(command, lambda: None)).parameters
    for name, taken in inspect.signature(getattr(imgcap.cli, command)).parameters.items():
        if taken.default is taken.empty: continue
        if name in below and below[name].default is not taken.empty:
            assert taken.default == below[name].default, name
        if name in of_fields and (command, name) not in EXCEPTIONS:
            assert taken.default == of_fields[name], name


# A score of a file takes the language of the metrics; an evaluation knows no model's size yet.
EXCEPTIONS = {("score", "language"), ("evaluate", "batch_size")}


WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = None
from imgcap.cli import main
sys.exit(sum(main(words) != 2 for words in json.loads(sys.argv[1])))
"""


def test_a_wrong_place_is_told_before_anything_is_loaded_or_drawn(tmp_path):
    for name in ("file", "there.jsonl", "photo.png", "mine/thesis.txt", "old/x", "a.csv.part"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    ended = {"config": {}, "versions": {"imgcap": "1"}, "finished": {"steps": 5}}
    (tmp_path / "ended").mkdir()
    (tmp_path / "ended" / "run.json").write_text(json.dumps(ended))
    before = sorted(tmp_path.rglob("*"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = {
            "demo --out file": "file is a file; --out names a folder",
            "demo --out file --overwrite": "file is a file; --out names a folder",
            "demo --out file/run": f"file/run cannot be made: {tmp_path / 'file'} is no folder",
            "demo --out mine": "mine is not empty and not a run (it holds thesis.txt)",
            "demo --out mine --overwrite": "mine is not empty and not a run",
            "train --data creatures --out file": "file is a file; --out names a folder",
            "train --data creatures --out mine": "mine is not empty and not a run",
            "train --data creatures --out new --resume": "there is nothing to resume in new",
            "train --data creatures --out old --resume": "; begin it anew without --resume",
            "train --data creatures --out ended --resume": "ended is finished, at step 5; to train",
            "caption photo.png none.png": "none.png does not exist",
            "caption mine *.gif --out new.csv": "*.gif: no pictures",
            "evaluate --data creatures --model git-tiny --out file": "file is a file; --out names",
            "evaluate --data creatures --model git-tiny --out file/x": "file/x cannot be made",
            "export git-tiny --out file/x": "file/x cannot be made",
            "caption photo.png --out old": "old is a folder; --out names a file",
            "caption photo.png --out a.txt": "a.txt: give a name that ends in one of .jsonl",
            "caption photo.png --out there.jsonl": "there.jsonl exists; resume it, overwrite it",
            "caption photo.png --out a.csv": "a.csv.part is left of a run that was stopped",
            "caption photo.png --out file/a.csv": "file/a.csv cannot be made",
            f"app --port {port}": f"cannot listen on 127.0.0.1, port {port}",
        }
        program = [sys.executable, "-c", WITHOUT_TORCH, json.dumps([w.split() for w in said])]
        done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert len(lines) == len(said), done.stderr
    for words, line, part in zip(said, lines, said.values()): assert part in line, words
    assert done.returncode == 0 and sorted(tmp_path.rglob("*")) == before


def test_an_evaluation_takes_as_many_pictures_at_a_time_from_either_side():
    from imgcap.evaluate import evaluate_model
    takes = [inspect.signature(function).parameters["batch_size"].default
             for function in (evaluate_model, imgcap.cli.evaluate)]
    assert takes == [CommandOptions.scored_together] * 2


@pytest.mark.parametrize("words", ["--samples 7", "--samples 5", "--samples 7 --epochs 2"])
def test_samples_are_for_the_objective_that_samples(words, capsys):
    assert main(["train", "--data", "nowhere", *words.split()]) == 2
    assert capsys.readouterr().err == (
        "imgcap: --samples is for captions that objective cider draws: "
        "add --objective 'cider', or leave samples out\n")


def test_a_command_lets_the_process_keep_freed_memory_once(tmp_path, monkeypatch):
    "Whatever it does, since the process is its own."
    times = []
    monkeypatch.setattr("imgcap.cli.options.keep_freed_memory", lambda: times.append(1))
    make_creatures({"train": 1})["train"][0]["image"].save(tmp_path / "creature.png")
    assert main(["caption", str(tmp_path / "creature.png"), "--max-new-tokens", "2"]) == 0
    assert times == [1]
