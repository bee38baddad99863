"What train, evaluate and demo show in a terminal: lines that fit, a bar, an end, Ctrl-C."

import os
import re
import shlex
import signal
import sys
import threading
import time
from types import SimpleNamespace

import pytest
import typer
from terminal import COLUMNS, on_terminal, screen, terminal

import imgcap.cli.learning
from imgcap.cli import _make_app, main
from imgcap.cli.learning import _on_screen, _whole_set, what_next
from imgcap.cli.screen import to_open, to_paste
from imgcap.config import TrainConfig
from imgcap.data.creatures import make_creatures
from imgcap.data.texts import counted_of
from imgcap.train.endings import _ending

PROGRAM = typer.main.get_command(_make_app())
SHORT = "--batch-size 8 --threads 1 --no-augment --precision float32".split()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    "Twenty-four drawings with a text file each."
    folder = tmp_path_factory.mktemp("my photos")
    for number, row in enumerate(make_creatures({"train": 24})["train"]):
        row["image"].save(folder / f"{number:02}.png")
        (folder / f"{number:02}.txt").write_text("\n".join(row["captions"]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(photos, tiny_run, tmp_path_factory):
    "(run, what was written) of a short training in a terminal."
    run = tmp_path_factory.mktemp("run") / "my run"
    words = ["--max-steps", "12", "--validations", "3", *SHORT]
    status, written = on_terminal(
        "train", "--data", photos, "--model", tiny_run, "--out", run, *words
    )
    assert status == 0, written
    return run, written


def commands_of(lines):
    "The words of the commands that are named last, each of which the program takes."
    named = [shlex.split(line, comments=True) for line in lines if line.startswith("  ")]
    for program, name, *words in (each for each in named if each[0] != to_open("")[0]):
        command = PROGRAM.commands[name]
        with command.make_context(name, words, parent=typer.Context(PROGRAM)):
            assert program == "imgcap"
    return named


def test_validations_stand_below_one_another(trained):
    lines = screen(trained[1])
    steps = [line for line in lines if line.startswith("step ")]
    head = lines[lines.index(steps[0]) - 1]
    assert [line.split()[1] for line in steps] == ["4/12", "8/12", "12/12"]
    assert {len(line.removesuffix(" * best")) for line in [head, *steps]} == {len(head)}
    assert steps[0].endswith(" * best") and len(steps[0]) <= COLUMNS - 3
    assert lines[0].startswith("reading ") and lines[1].startswith("loading ")


def test_the_bar_shows_what_is_true_and_keeps_its_width(trained):
    frames = [each for each in re.split("[\r\n]", trained[1]) if re.match("train|validate", each)]
    first = trained[1].index("step 4/12")
    early = [frame for frame in frames if trained[1].index(frame) < first]
    assert early and not any("best" in frame for frame in early)
    best = re.search(r"step 4/12\s+\S+\s+\S+\s+(\S+)", trained[1])[1]
    after = next(frame for frame in frames if "best" in frame)
    assert f"best val. loss {float(best):.2f}" in after and " 4/12 " in after
    assert all(len(frame) < COLUMNS and len(frame.split("|")[1]) > 9 for frame in frames)
    assert not any("train " in line or "validate " in line for line in screen(trained[1])[2:-4])


def test_a_training_ends_with_what_is_kept_and_what_to_do_next(trained, photos):
    run, written = trained
    *_, kept, where, first, second, third, end = screen(written)
    assert re.fullmatch(r"kept step \d+ of 12: validation loss \d+\.\d\d, lowest of 3.*", kept)
    assert where == f"the model is in {run}/model; next:" and end == ""
    assert commands_of([first, second, third]) == [
        ["imgcap", "evaluate", "--model", str(run), "--data", str(photos)],
        ["imgcap", "caption", "PICTURE", "--model", str(run)],
        ["imgcap", "app", "--model", str(run)],
    ]


def test_the_bar_says_that_it_validates_until_it_has(trained):
    _, written = trained
    before = re.findall("\r(train|validate) .*?\r", written.partition("epoch")[0])
    assert len(before) > 5 and before[-1] == "validate"


def test_scores_fit_the_screen_and_name_the_page(trained, photos):
    run, _ = trained
    words = ["--data", photos, "--split", "all", "--max-new-tokens", "5"]
    status, written = on_terminal("evaluate", "--model", run, *words)
    lines = screen(written)
    assert status == 0 and all(len(line) <= COLUMNS for line in lines if str(run) not in line)
    assert not any(line.startswith("evaluate") for line in lines), "the bar is gone"
    assert commands_of(lines[-5:])[0] == [*to_open(run / "report-all.html")]
    assert (run / "report-all.html").is_file()


def test_scores_that_are_not_kept_say_how_they_would_be(photos, capsys):
    words = ["--split", "all", "--max-new-tokens", "3"]
    assert main(["evaluate", "--model", "git-tiny", "--data", str(photos), *words]) == 0
    out = capsys.readouterr().out
    assert "--out" in out.splitlines()[-1] and "next:" not in out


@pytest.mark.parametrize("during", ["train", "validate", "evaluate"])
def test_an_interrupt_leaves_one_line_and_no_bar(during, photos, tiny_run, tmp_path):
    words = ["evaluate", "--model", tiny_run, "--data", photos, "--split", "all"]
    if during != "evaluate":
        words = ["train", "--data", photos, "--model", tiny_run, "--out", tmp_path / "run"]
        words += ["--max-steps", "500", "--validations", "250", *SHORT]
    before = sys.stdout, sys.stderr
    with terminal() as (end, got):
        def interrupt():
            until = time.monotonic() + 60
            while f"\r{during} ".encode() not in b"".join(got).replace(b":", b" "):
                if time.monotonic() > until: return
                time.sleep(.002)
            os.write(end, b"^C")  # as a terminal does
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        thread.start()
        out, err = (open(os.dup(end), "w", encoding="utf-8", buffering=1) for _ in range(2))
        sys.stdout, sys.stderr = out, err
        try: status = main([str(word) for word in words])
        finally:
            sys.stdout, sys.stderr = before
            thread.join()
            out.close(), err.close()
    *_, last, end = screen(b"".join(got).decode())
    assert status == 130 and last.startswith("imgcap: ") and end == "", last
    assert not any("|" in line or "^C" in line for line in screen(b"".join(got).decode()))


def made_up(scores, end, patience=None, by="cider_d"):
    "A trainer after validations at 10, 20, … with these scores."
    history = [
        {"step": 10 * i, "eval_loss": 9 - score, "eval_cider_d": score}
        for i, score in enumerate(scores, 1)
    ]
    state = SimpleNamespace(log_history=history, global_step=10 * len(scores), max_steps=end)
    return SimpleNamespace(state=state, by=by, config=TrainConfig(patience=patience))


@pytest.mark.parametrize(
    "trainer, said",
    [
        (made_up([1.5], 10), "kept step 10 of 10: CIDEr-D 1.50, the only one"),
        (made_up([0.5, 1.5], 20), "kept step 20 of 20: CIDEr-D 1.50, best of 2"),
        (made_up([1.5, 1.0], 20),
         "kept step 10 of 20: CIDEr-D 1.50, best of 2; 1 later one was no better"),
        (made_up([1.5, 1.0, 1.5], 30),
         "kept step 10 of 30: CIDEr-D 1.50, best of 3; 2 later ones were no better"),
        (made_up([1.0, 1.5, 1.0, 1.0], 80, patience=2),
         "kept step 20: CIDEr-D 1.50, best of 4; stopped at step 40 of 80 by patience 2"),
        (made_up([1.0, 1.5], 20, by="loss"),
         "kept step 20 of 20: validation loss 7.50, lowest of 2"),
    ],
)
def test_which_step_was_kept(trainer, said):
    assert _ending(trainer) == said and len(said) < COLUMNS


@pytest.mark.parametrize("system, page, pasted", [
    ("linux", "my runs/it's.html", """xdg-open 'my runs/it'"'"'s.html'"""),
    ("darwin", "runs/a.html", "open runs/a.html"),
    ("win32", r"runs\mine\report.html", r"explorer runs\mine\report.html"),
    ("win32", "C:\\my runs\\it's.html", "explorer \"C:\\my runs\\it's.html\"")])
def test_a_command_can_be_pasted_where_it_was_printed(system, page, pasted, monkeypatch):
    monkeypatch.setattr(sys, "platform", system)
    assert to_paste(*to_open(page)) == pasted


def test_what_an_app_needs_is_said_where_it_is_missing(monkeypatch):
    monkeypatch.setattr(imgcap.cli.learning, "find_spec", lambda name: None)
    *_, app = what_next("runs/my birds", *to_open("x.html")).splitlines()
    assert app.startswith("  imgcap app --model 'runs/my birds'  # first: pip install ")


@pytest.mark.parametrize("columns", [80, 60, 30])
def test_a_table_of_scores_is_as_wide_as_the_screen(columns):
    head = ["system", *["CIDEr-D"] * 4, "attribute F1"]
    table = SimpleNamespace(head=head, rows=[["- shuffled_pictures", *["+1.03 ±0.07"] * 5]])
    report = SimpleNamespace(table=lambda short: table, remarks=lambda: ["word " * 40])
    lines = _on_screen(report, columns).splitlines()
    assert max(map(len, lines)) <= max(columns, 33) and "+1.03 ±0.07" in lines[1]


def test_numbers_and_their_words_agree():
    said = [counted_of(n, whole, "picture has", "pictures have")
            for n, whole in ((1, 1), (1, 2), (2, 2))]
    assert said == ["1 of 1 picture has", "1 of 2 pictures has", "2 of 2 pictures have"]
    assert _whole_set([{}], [])[2].startswith("the one picture was scored")
    assert _whole_set([{}] * 2, [])[2].startswith("all 2 pictures were scored")
