"What a person sees in a terminal: help in sections, a line at once, captions, a verdict."

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import typer
from chat_models import make_chat_model
from PIL import Image
from terminal import COLUMNS, on_terminal, screen, terminal

from imgcap.cli import _COMMANDS, _make_app, main
from imgcap.cli.help import EXAMPLES, SECTIONS, examples
from imgcap.data.creatures import make_creatures

NAMES = [command.__name__ for command in _COMMANDS]
PROGRAM = typer.main.get_command(_make_app())


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    "A folder of five drawings with a text file each."
    folder = tmp_path_factory.mktemp("some photos") / "my photos"
    folder.mkdir()
    for number, row in enumerate(make_creatures({"train": 5})["train"]):
        row["image"].save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(row["captions"][0], encoding="utf-8")
    return folder


# --- help


def help_of(name, capsys):
    assert main([name, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_a_help_text_fits_and_says_what_is_taken(name, capsys):
    said = help_of(name, capsys)
    assert all(len(line) <= COLUMNS for line in said.splitlines())
    assert not re.search(r"<\w+>|\[default: no-|`", said), said
    for param in PROGRAM.commands[name].params:
        if param.param_type_name == "option":
            assert len(re.findall(rf"^  {param.opts[0]}\b(?!-)", said, re.M)) == 1, param.opts
    off = [p for p in PROGRAM.commands[name].params if p.secondary_opts and p.default is False]
    assert not any(p.secondary_opts[0] in said for p in off)
    assert said.rstrip().endswith(examples(name)[-1])


@pytest.mark.parametrize("name", SECTIONS)
def test_a_long_help_text_has_sections_with_what_is_needed_first(name, capsys):
    said = help_of(name, capsys)
    heads = re.findall(r"^([A-Z][\w ]+):$", said, re.M)
    assert heads == [*SECTIONS[name], "Rare", "Examples"]
    first = {"train": ["--data"], "evaluate": ["--model", "--data"], "caption": ["PATH…"]}[name]
    assert re.findall(r"^  (-\S+|PATH…)", said, re.M)[:len(first)] == first
    rare = said.partition("Rare:")[2].count("\n  -")
    assert rare < said.count("\n  -") / 2


@pytest.mark.parametrize("line", [line for name in EXAMPLES for line in examples(name)])
def test_an_example_can_be_pasted(line):
    "The command takes its words; what they name need not be there."
    words = shlex.split(line.rpartition("| ")[2])
    words = words[words.index("imgcap") + 1:]
    command = PROGRAM.commands[words[0]]
    with command.make_context(words[0], words[1:], parent=typer.Context(PROGRAM)): pass


@pytest.mark.parametrize("words, said", [
    ("hlep", "Did you mean 'help'?"), ("captoin x", "Did you mean 'caption'?"),
    ("train --hlep", "--help"), ("train --dta x", "--data")])
def test_a_word_that_is_nearly_right_is_told(words, said, capsys):
    assert main(words.split()) == 2
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1


def test_help_may_be_asked_for_in_any_way(capsys):
    texts = []
    for words in ["train --help", "train -h", "help train", "--help", "-h", "help"]:
        assert main(words.split()) == 0
        texts.append(capsys.readouterr().out)
    assert len(set(texts)) == 2 and texts[0] == texts[2] and texts[3] == texts[5]
    assert main([]) == 2 and capsys.readouterr().err.startswith("Usage: imgcap")


# --- a line at once

FIRST_LINES = {
    "demo": "loading PyTorch …", "bench --quick": "loading PyTorch …",
    "check --data creatures": "drawing creatures …", "check --data set": "reading set …",
    "train --data set": "reading set …", "caption a.png --model m": "loading m …",
    "evaluate --data set --model m": "reading set …", "score a.jsonl b.jsonl": "reading a.jsonl …",
    "export m --out onnx": "loading m …",
    "push runs/mine --repo-id you/mine": "reading runs/mine …",
    "app --model m --port 0": "loading m …"}
WITHOUT_LIBRARIES = """
import json, sys
for library in "torch", "transformers", "datasets", "numpy", "PIL": sys.modules[library] = None
from imgcap.cli import main
for words in json.loads(sys.argv[1]):
    print("$", file=sys.stderr, flush=True)
    main(words)
"""


def first_lines(is_terminal, folder):
    "What each command says on standard error when no library can be loaded."
    lines = json.dumps([words.split() for words in FIRST_LINES])
    program = [sys.executable, "-c", WITHOUT_LIBRARIES, lines]
    with terminal() as (end, got):
        done = subprocess.run(program, cwd=folder, stdout=subprocess.PIPE, text=True,
                              stderr=end if is_terminal else subprocess.PIPE)
    err = b"".join(got).decode() if is_terminal else done.stderr
    return [each.strip("\r\n") for each in err.replace("\r\n", "\n").split("$\n")[1:]]


def test_a_command_says_what_it_begins_with_before_any_library_is_loaded(tmp_path):
    assert {words.split()[0] for words in FIRST_LINES} == set(NAMES)
    for words, said in zip(FIRST_LINES, first_lines(True, tmp_path)):
        assert re.split("[\r\n]", said)[0] == FIRST_LINES[words], (words, said)


def test_what_is_no_terminal_gets_no_first_line(tmp_path):
    for said in first_lines(False, tmp_path):
        assert said.startswith("imgcap: ") and "…" not in said and "\n" not in said


# --- captions

WORDS = ["--max-new-tokens", "5"]


def test_one_picture_shows_its_caption_alone(photos, capsys):
    assert main(["caption", str(photos / "0.png"), *WORDS]) == 0
    row = json.loads(capsys.readouterr().out)
    status, written = on_terminal("caption", photos / "0.png", *WORDS)
    assert status == 0 and screen(written) == [row["caption"], ""]
    assert written.startswith("loading git-tiny …\r")


def test_several_captions_of_one_picture_have_a_line_each(photos):
    several = ["--num-beams", "2", "--num-return-sequences", "2"]
    status, written = on_terminal("caption", photos / "0.png", *WORDS, *several)
    first, second, end = screen(written)
    assert status == 0 and first != second and end == ""


def test_several_pictures_have_their_names_and_what_is_skipped_a_reason(photos, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "photos")
    (folder / "4.png").write_bytes(b"no picture")
    status, written = on_terminal("caption", folder, *WORDS)
    *lines, last, end = screen(written)
    assert status == 0 and end == "" and len(lines) == 5
    for number, line in enumerate(lines[:4]): assert line.startswith(f"{folder}/{number}.png  ")
    assert lines[4] == f"{folder}/4.png: not a picture in a format that can be read"
    assert last == "4 captioned, 1 unreadable; --out captions.csv keeps them in a file"


def test_a_warning_leaves_no_piece_of_a_bar(photos, tmp_path):
    "Nor of the line that waits for the model."
    model = make_chat_model("idefics3", tmp_path / "chat")
    folder = shutil.copytree(photos, tmp_path / "photos")
    (folder / "0.txt").unlink()
    asked = "--model", model, "--prompt", "{tags}"
    status, written = on_terminal("caption", folder, *WORDS, *asked)
    warned = [line for line in screen(written) if "imgcap: " in line]
    assert status == 0 and len(warned) == 1 and warned[0].startswith("imgcap: warning: there is no")


def test_pictures_with_a_text_file_say_what_replaces_it(photos, tmp_path):
    folder = shutil.copytree(photos, tmp_path / "photos")
    status, written = on_terminal("caption", folder, *WORDS, "--sidecar")
    counts, said, end = screen(written)
    assert status == 0 and counts.endswith("5 skipped") and end == ""
    assert said.endswith("have a .txt file, which stays; --overwrite replaces it")
    (folder / "0.txt").unlink()
    *_, last, _ = screen(on_terminal("caption", folder / "0.png", *WORDS, "--sidecar")[1])
    assert last == "1 captioned, 0 unreadable"


def test_a_picture_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no picture")
    status, written = on_terminal("caption", tmp_path / "a.png")
    reason, end = screen(written)
    assert status == 2 and reason == f"{tmp_path}/a.png: not a picture in a format that can be read"


@pytest.mark.parametrize("words", [["--json"], []])
def test_programs_get_json_lines(words, photos, capsys):
    "With --json, or where standard output is no terminal; it is the same in either case."
    assert main(["caption", str(photos), *WORDS]) == 0
    lines = capsys.readouterr().out.splitlines()
    out = None if words else io.StringIO()
    status, written = on_terminal("caption", photos, *WORDS, *words, stdout=out)
    shown = out.getvalue().splitlines() if out else screen(written)[:5]
    assert status == 0 and shown == lines and all("caption" in json.loads(line) for line in lines)
    assert screen(written)[-2] == "5 captioned, 0 unreadable"


def test_a_name_or_a_caption_cannot_move_the_cursor(capsys):
    from imgcap.cli.screen import CaptionScreen
    shown = CaptionScreen()
    for name in "a\x1b[2J", "b\r": shown(json.dumps({"path": name, "caption": "x\x1b[A\u202e"}))
    assert all(line.isprintable() for line in capsys.readouterr().out.splitlines())


# --- a verdict


def checked(*words):
    "Status and the lines of a check, without those of its table."
    status, written = on_terminal("check", *words)
    lines = screen(written)
    assert lines[0].startswith("reading ") and lines[-1] == ""
    return status, lines[-4:-1]


def test_a_set_that_is_ready_names_the_command_that_trains_on_it(
        photos, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "a b.csv"
    table.write_text("photo,text\n0.png,an owl\n1.png,a red fox\n2.png,two old cats\n")
    given = ["--data", "a b.csv", "--images", str(photos), "--image-column", "photo",
             "--caption-column", "text", "--language", "en"]
    status, said = checked(*given)
    start, _, command = said[-1].partition(": ")
    assert (status, start) == (0, "ready to train")
    assert shlex.split(command) == ["imgcap", "train", *given]
    table.write_text("photo,text\n0.png,an owl\n1.png,an owl\n2.png,an owl\n")
    assert main(["check", *given]) == 0
    said = "ready to train, if the warning above does not matter: imgcap train --data 'a b.csv'"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5])
def test_check_and_train_agree_on_a_few_pictures(n, photos, tmp_path, capsys):
    folder = tmp_path / "few"
    folder.mkdir()
    for i in range(n):
        for ending in "png", "txt": shutil.copy(photos / f"{i}.{ending}", folder)
    if n < 3:
        assert main(["train", "--data", str(folder), "--out", str(tmp_path / "run")]) == 2
        err = capsys.readouterr().err
        assert (len(err.splitlines()) == 1 and "add" in err) or not n, err
        assert not re.search(r"\w_\w|\w\(", err.replace(str(folder), "")), err
    if not n: return
    status, said = checked("--data", folder)
    assert status == 2 * (n < 3)
    if n < 3:
        assert said[-2].endswith(f"add {3 - n} or more") and said[-1].startswith("not ready")
    else: assert said[-2].startswith("few pictures") and said[-1].startswith("ready to train: ")


# --- what Python calls by its names


def test_a_remedy_is_one_for_a_terminal(photos, tmp_path, monkeypatch, capsys):
    "Not a function to call, nor a parameter that is no option."
    monkeypatch.chdir(tmp_path)
    rows = [{"file_name": f"{n}.png", "caption": "an owl", "language": tag, "image_id": "same"}
            for n, tag in enumerate(["en", "de", "de"])]
    files = {"two.jsonl": rows, "sep.jsonl": [{"image_id": 1, "caption": "an owl [SEP]"}],
             "people.jsonl": [{"image_id": 1, "captions": ["an owl"]}]}
    for name, lines in files.items():
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "set").mkdir()
    Image.new("RGB", (3000, 10)).save(tmp_path / "set" / "strip.png")
    (tmp_path / "set" / "strip.txt").write_text("a line")
    said = {
        f"train --data two.jsonl --images '{photos}'": "keep the rows of one in a file",
        "score sep.jsonl people.jsonl": "which count as words; take them out",
        "check --data set": "one side is more than 100 times the other",
        "caption set/strip.png --json --out a.csv": "leave it away"}
    for words, remedy in said.items():
        main(shlex.split(words))
        told = "".join(capsys.readouterr())
        assert remedy in told and not re.search(r"load_captions|lambda|\w_\w+=", told), told


def test_a_stream_is_refused_in_words_of_files(photos, tmp_path, capsys):
    with tarfile.open(tmp_path / "birds.tar", "w") as shard:
        for path in sorted(photos.iterdir()): shard.add(path, path.name)
    assert main(["train", "--data", str(tmp_path / "birds.tar"), "--out", str(tmp_path / "r")]) == 2
    err = capsys.readouterr().err
    assert "unpack the shards into a folder" in err and len(err.splitlines()) == 1, err


def test_ctrl_c_while_the_command_line_is_being_read_is_one_line():
    "The script that is installed begins where `python -m imgcap` does."
    code = """
import sys
class Stopped:
    def find_spec(self, name, *others):
        if name == "typer": raise KeyboardInterrupt
sys.meta_path.insert(0, Stopped())
from imgcap.__main__ import main
sys.exit(main())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "imgcap: interrupted\n")
    about = (Path(__file__).parents[1] / "settings.ini").read_text(encoding="utf-8")
    assert "console_scripts = imgcap=imgcap.__main__:main\n" in about
