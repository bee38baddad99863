"""`imgcap caption` is killed in the middle, alone and as two processes: resumed, no caption is
lost, doubled or moved."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import copies
import psutil
import pytest

from imgcap.data.creatures import ATTRIBUTES, draw_creature

pytestmark = [
    pytest.mark.first,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL"),
]
PICTURES = 120
ALONE = []  # a copy of a process that has loaded the libraries
COMMAND = [sys.executable, "-m", "imgcap"]
TWO = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node",
    "2",
    "-m",
    "imgcap",
]
SLOWLY = ["caption", "photos", "--batch-size", "1", "--num-beams", "4", "--out"]


def write(folder, words):
    "`imgcap` with these words, in a folder."
    from imgcap.cli import main

    os.chdir(folder)
    sys.exit(main(words))


class Copy:
    "`imgcap` with some words, as far as a `Popen` is needed here."

    def __init__(self, said, folder, words):
        self.process = copies.start(said, write, folder, words)
        self.pid = self.process.pid

    def poll(self):
        return self.process.exitcode

    def wait(self, seconds):
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"has not ended in {seconds} s"
        return self.process.exitcode

    def send_signal(self, number):
        os.kill(self.pid, number)


class Folder:
    "Drawings with a file that is no picture among them, and commands that write their captions."

    def __init__(self, path):
        self.path = path
        (path / "photos").mkdir()
        for i in range(PICTURES):
            attributes = {name: values[i % len(values)] for name, values in ATTRIBUTES.items()}
            draw_creature(attributes, seed=i, image_size=64).save(path / "photos" / f"{i:03}.jpg")
        (path / "photos" / "050.jpg").write_bytes(b"\xff\xd8 half a photograph")
        self.finish(ALONE, "whole.jsonl")
        self.whole = self.rows("whole.jsonl")

    def start(self, program, out, *options):
        words = [*SLOWLY, out, *options]
        said = self.path / f"said-of-{out}"
        if program is ALONE: return Copy(said, self.path, words)
        with open(said, "w") as file:
            return subprocess.Popen(
                [*program, *words], cwd=self.path, stderr=file, stdout=subprocess.DEVNULL
            )

    def said(self, out):
        return copies.said(self.path / f"said-of-{out}")

    def finish(self, program, out, *options):
        assert self.start(program, out, *options).wait(300) == 0, self.said(out)

    def parts(self, out):
        return list(self.path.glob(f"{out}.part*"))

    def lines(self, out):
        "Lines written so far, in whatever files they are."
        whole = self.path / out
        files = [*([whole] if out.endswith(".jsonl") and whole.exists() else []), *self.parts(out)]
        return sum(file.read_bytes().count(b"\n") for file in files)

    def stop_in_the_middle(self, program, out, *options, how, more=12):
        "Start, wait for some lines, stop; gives the exit status and what was said."
        before, process = self.lines(out), self.start(program, out, *options)
        deadline = time.monotonic() + 240
        while self.lines(out) < before + more:
            assert process.poll() is None, f"ended early: {self.said(out)}"
            assert time.monotonic() < deadline, f"nothing was written to {out}"
            time.sleep(0.005)
        # torchrun's processes outlive it
        for each in [*psutil.Process(process.pid).children(recursive=True), process]:
            each.send_signal(how)
        return process.wait(120), self.said(out)

    def rows(self, out):
        text = (self.path / out).read_text(encoding="utf-8")
        if out.endswith(".jsonl"):
            return [json.loads(line) for line in text.splitlines()]
        rows = csv.DictReader(text.splitlines())
        return [
            {
                name: {"score": float, "modified": float, "size": int}.get(name, str)(value)
                for name, value in row.items()
                if value
            }
            for row in rows
        ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return Folder(tmp_path_factory.mktemp("pictures"))


def test_without_a_kill(folder):
    paths = [Path(row["path"]).name for row in folder.whole]
    assert paths == [f"{i:03}.jpg" for i in range(PICTURES)]
    assert [Path(row["path"]).name for row in folder.whole if "error" in row] == ["050.jpg"]


@pytest.mark.parametrize(
    "out, program, kills, last",
    [
        ("alone.jsonl", ALONE, 2, ALONE),
        ("alone.csv", ALONE, 1, ALONE),
        ("two.csv", TWO, 1, TWO),
        ("mixed.jsonl", TWO, 1, ALONE),  # what two processes began, one can finish
    ],
)
def test_killed_and_resumed(folder, out, program, kills, last):
    for kill in range(kills):
        folder.stop_in_the_middle(program, out, *(["--resume"] if kill else []), how=signal.SIGKILL)
    assert 0 < folder.lines(out) < PICTURES, "killed too late to be a test"
    folder.finish(last, out, "--resume")
    assert folder.rows(out) == folder.whole and not folder.parts(out)


def test_ctrl_c_and_resumed(folder):
    status, said = folder.stop_in_the_middle(COMMAND, "interrupted.jsonl", how=signal.SIGINT)
    assert status == 130 and said.count("\n") <= 2, said
    assert said.startswith(
        "imgcap: stopped; the same command with --resume goes on with interrupted.jsonl\n"
    )
    folder.finish(ALONE, "interrupted.jsonl", "--resume")
    assert folder.rows("interrupted.jsonl") == folder.whole
