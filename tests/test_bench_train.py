"The benchmark of training runs, with a small model."

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_our_parts_beside_those_of_pytorch():
    command = [sys.executable, "bench/train.py", "--parts", "--quick", "--rounds", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == ["ours", "their attention", "their dropout", "both theirs"]
    assert found["ours"]["ratio"] == 1 and all(part["seconds"] > 0 for part in found.values())


@pytest.mark.slow
def test_scores_of_captions_beside_scores_of_everything():
    ways = ["step, all scores", "step, captions' scores"]
    command = [sys.executable, "bench/chat.py", "--quick", "--json", *ways]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    everything, kept = (found[way][0] for way in ways)
    assert abs(everything["loss"] - kept["loss"]) < 1e-3
    assert kept["language"] < everything["language"]
