"""`imgcap caption` is killed in the middle, several times, alone and as two processes; resumed, no caption is lost, doubled or out of order. Two minutes on a busy machine."""
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from glob import glob
from pathlib import Path

import psutil

from imgcap.creatures import ATTRIBUTES, draw_creature

PICTURES = 120
IMGCAP = [sys.executable, "-m", "imgcap"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "imgcap"]
SLOWLY = ["caption", "photos", "--batch-size", "1", "--num-beams", "4", "--out"]


def start(command): return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def lines(out):
    "Lines written so far, in whatever files they are."
    return sum(Path(file).read_bytes().count(b"\n") for file in [*([out] if out.endswith(".jsonl") and os.path.exists(out) else []), *glob(f"{out}.part*")])


def stop_in_the_middle(command, out, how, more=12):
    "Start, wait for some lines, stop; gives the exit status and what was said."
    before, process, deadline = lines(out), start(command), time.monotonic() + 240
    while lines(out) < before + more:
        assert process.poll() is None, f"{' '.join(command)} ended early: {process.stderr.read()}"
        assert time.monotonic() < deadline, f"nothing was written to {out}"
        time.sleep(0.005)
    for each in [*psutil.Process(process.pid).children(recursive=True), process]: each.send_signal(how) # torchrun's processes outlive it
    return process.wait(60), process.stderr.read()


def finish(command):
    process = start(command)
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 0, said
    return said


def rows(out):
    if out.endswith(".csv"):
        with open(out, encoding="utf-8", newline="") as text: return [{name: float(value) if name == "score" else value for name, value in row.items() if value} for row in csv.DictReader(text)]
    return [json.loads(line) for line in Path(out).read_text(encoding="utf-8").splitlines()]


def draw(folder):
    "Drawings, with a file that is no picture among them."
    folder.mkdir()
    for i in range(PICTURES):
        attributes = {name: values[i % len(values)] for name, values in ATTRIBUTES.items()}
        draw_creature(attributes, seed=i, image_size=64).save(folder / f"{i:03}.jpg")
    (folder / "050.jpg").write_bytes(b"\xff\xd8 half a photograph")


def main():
    with tempfile.TemporaryDirectory() as home:
        os.chdir(home)
        draw(Path("photos"))
        finish([*IMGCAP, *SLOWLY, "whole.jsonl"])
        whole = rows("whole.jsonl")
        assert len(whole) == PICTURES and [row["path"] for row in whole] == sorted(row["path"] for row in whole) and sum("error" in row for row in whole) == 1

        for name, command, kills in [("alone.jsonl", IMGCAP, 2), ("alone.csv", IMGCAP, 1), ("two.csv", TORCHRUN, 1)]:
            for kill in range(kills): stop_in_the_middle([*command, *SLOWLY, name, *(["--resume"] if kill else [])], name, signal.SIGKILL)
            written = lines(name)
            assert 0 < written < PICTURES, f"{name}: killed too late to be a test"
            said = finish([*command, *SLOWLY, name, "--resume"])
            assert rows(name) == whole, f"{name}: not what a run without a kill writes"
            assert not glob(f"{name}.part*"), f"{name}: parts are left"
            print(f"{name}: killed with {written} of {PICTURES} lines; {said.strip().splitlines()[-1]}", flush=True)

        # what two processes began, one can finish
        stop_in_the_middle([*TORCHRUN, *SLOWLY, "mixed.jsonl"], "mixed.jsonl", signal.SIGKILL)
        finish([*IMGCAP, *SLOWLY, "mixed.jsonl", "--resume"])
        assert rows("mixed.jsonl") == whole
        print("mixed.jsonl: begun by two, finished by one", flush=True)

        status, said = stop_in_the_middle([*IMGCAP, *SLOWLY, "interrupted.jsonl"], "interrupted.jsonl", signal.SIGINT)
        assert status == 130 and said.startswith("imgcap: stopped; the same command with --resume goes on with interrupted.jsonl\n") and said.count("\n") <= 2, (status, said)
        finish([*IMGCAP, *SLOWLY, "interrupted.jsonl", "--resume"])
        assert rows("interrupted.jsonl") == whole
        print("interrupted.jsonl: Ctrl-C, and resumed", flush=True)
        os.chdir("/")


if __name__ == "__main__": main()
