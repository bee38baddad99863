"""`imgcap caption` is killed in the middle, alone and as two processes: resumed, no caption is
lost, doubled or moved."""

import csv
import json
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
ALONE, TWO = 1, 2  # so many copies of a process that has loaded the libraries
COMMAND = [sys.executable, "-m", "imgcap"]
TORCHRUN = [
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


class Folder:
    "Drawings with a file that is no picture among them, and commands that write their captions."

    def __init__(self, path):
        self.path, self.heard = path, {}
        (path / "photos").mkdir()
        for i in range(PICTURES):
            attributes = {name: values[i % len(values)] for name, values in ATTRIBUTES.items()}
            draw_creature(attributes, seed=i, image_size=64).save(path / "photos" / f"{i:03}.jpg")
        (path / "photos" / "050.jpg").write_bytes(b"\xff\xd8 half a photograph")
        self.finish(ALONE, "whole.jsonl")
        self.whole = self.rows("whole.jsonl")

    def start(self, program, out, *options):
        "The processes that write; a number is that of the copies."
        words, said = [*SLOWLY, out, *options], self.path / f"said-of-{out}"
        if program in (ALONE, TWO):
            code = f"import os; os.chdir({str(self.path)!r}); {copies.IMGCAP}"
            started = copies.team(program, code, *words)
            self.heard[out] = [each.errors for each in started]
            return started
        self.heard[out] = [said]
        with open(said, "w") as file:
            return [
                subprocess.Popen(
                    [*program, *words], cwd=self.path, stderr=file, stdout=subprocess.DEVNULL
                )
            ]

    def said(self, out):
        return "".join(map(copies.said, self.heard[out]))

    def finish(self, program, out, *options):
        started = self.start(program, out, *options)
        assert {each.wait(300) for each in started} == {0}, self.said(out)

    def parts(self, out):
        return list(self.path.glob(f"{out}.part*"))

    def lines(self, out):
        "Lines written so far, in whatever files they are."
        whole = self.path / out
        files = [*([whole] if out.endswith(".jsonl") and whole.exists() else []), *self.parts(out)]
        return sum(file.read_bytes().count(b"\n") for file in files)

    def stop_in_the_middle(self, program, out, *options, how, more=12):
        "Start, wait for some lines, stop; gives the exit status and what was said."
        before, started = self.lines(out), self.start(program, out, *options)
        deadline = time.monotonic() + 240
        while self.lines(out) < before + more:
            assert started[0].poll() is None, f"ended early: {self.said(out)}"
            assert time.monotonic() < deadline, f"nothing was written to {out}"
            time.sleep(0.005)
        # torchrun's processes outlive it
        processes = [psutil.Process(each.pid) for each in started]
        for each in [*(child for p in processes for child in p.children(True)), *processes]:
            each.send_signal(how)
        return [each.wait(120) for each in started][0], self.said(out)

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
        ("two.csv", TORCHRUN, 1, TWO),
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
