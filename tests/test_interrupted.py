"""Training that is killed ends where it would have ended: SIGKILL at random moments, in the middle
of a checkpoint, and a full disk. IMGCAP_SEED=7 tries other moments."""

import hashlib
import json
import os
import random
import sys
import time
from pathlib import Path

import copies
import pytest

resource = pytest.importorskip("resource", reason="a full disk cannot be acted out on this system")
STEPS, VALIDATIONS = 60, 10
SEED = int(os.environ.get("IMGCAP_SEED", random.randrange(10**6)))
FULL = 3_000_000  # bytes that a file may have, where the disk is full


def train(run, limit=0):
    "One attempt: begin the run, or go on with it. Files may not grow beyond `limit` bytes."
    import datasets

    from imgcap.data.creatures import make_creatures
    from imgcap.model import new_git_tiny
    from imgcap.train import finetune

    datasets.disable_progress_bars()
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    resume = any(Path(run).glob("checkpoints/checkpoint-*/trainer_state.json"))
    data = make_creatures({"train": 40, "validation": 6})
    try:
        finetune(
            *new_git_tiny(vision_layers=1, text_layers=1),
            data,
            out=run,
            resume=resume,
            overwrite=not resume,
            max_steps=STEPS,
            validations=VALIDATIONS,
            batch_size=8,
            precision="float32",
            threads=1,
            ema=0.9,
            echo=lambda line: None,
        )
    except OSError as error:
        sys.exit(f"error: {error}")


def heard(run):
    "Where an attempt's words go."
    return run.with_suffix(".said")


def attempt(run, *args):
    return copies.start(heard(run), train, str(run), *args)


def finish(run):
    process = attempt(run)
    process.join(timeout=300)
    assert process.exitcode == 0, copies.said(heard(run))


def weights(run):
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


def steps(run):
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def whole(run):
    return {path.parent.name for path in run.glob("checkpoints/checkpoint-*/trainer_state.json")}


def half(run):
    return {path.name for path in run.glob("checkpoints/checkpoint-*")} - whole(run)


def last_step(run):
    "The last step in the log, which may be in the middle of being written."
    log = run / "log.jsonl"
    lines = (
        [line for line in log.read_text().splitlines() if line.endswith("}")]
        if log.exists()
        else []
    )
    return json.loads(lines[-1])["step"] if lines else 0


def kill_when(process, condition):
    "SIGKILL as soon as something is so, or not at all if the process ends first."
    while process.is_alive() and not condition():
        time.sleep(0.0005)
    process.kill()
    process.join()


@pytest.mark.first
def test_killed_again_and_again(tmp_path):
    rng = random.Random(SEED)
    print(f"seed {SEED}")
    uninterrupted, run = tmp_path / "uninterrupted", tmp_path / "killed"
    finish(uninterrupted)

    kill_when(attempt(run), lambda: half(run) - {"checkpoint-6"} and whole(run))
    print(f"killed with {sorted(half(run))} half written and {sorted(whole(run))} whole")
    for low, high in ((18, 30), (36, 48)):
        after = rng.randrange(low, high)
        kill_when(attempt(run), lambda after=after: last_step(run) >= after)
        print(f"killed after step {after}; whole: {sorted(whole(run))}, half: {sorted(half(run))}")

    before, process = whole(run), attempt(run, FULL)
    process.join(timeout=300)
    errors = copies.said(heard(run))
    if process.exitcode:  # the run was not over yet
        message = errors.strip().splitlines()[-1]
        assert message.startswith("error: cannot write") and "resume" in message, errors
        assert "Traceback" not in errors
        assert before <= whole(run), "an earlier checkpoint was lost"
        assert not half(run) - before, "half a checkpoint was left"
    finish(run)
    assert weights(run) == weights(uninterrupted), "the interrupted run ended with other weights"
    assert steps(run) == sorted(steps(run)) == steps(uninterrupted), (
        "the log has gaps or repeats itself"
    )
