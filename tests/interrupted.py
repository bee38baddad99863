"""Training that is killed ends where it would have ended: SIGKILL at random moments, in the middle of a checkpoint, and a full disk.

    python tests/interrupted.py [SEED]
"""
import hashlib
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STEPS, VALIDATIONS = 60, 10


def train(run, limit=0):
    "One attempt: begin the run, or go on with it. Files may not grow beyond `limit` bytes, as if the disk were full."
    import datasets
    from imgcap.creatures import make_creatures
    from imgcap.model import new_git_tiny
    from imgcap.train import finetune

    datasets.disable_progress_bars()
    if limit: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    resume = any(Path(run).glob("checkpoints/checkpoint-*/trainer_state.json"))
    try:
        finetune(*new_git_tiny(vision_layers=1, text_layers=1), make_creatures({"train": 40, "validation": 12}), out=run, resume=resume, overwrite=not resume,
                 max_steps=STEPS, validations=VALIDATIONS, batch_size=16, precision="float32", threads=1, ema=0.9, echo=lambda line: None)
    except OSError as error: sys.exit(f"error: {error}")


def attempt(run, *args):
    return subprocess.Popen([sys.executable, __file__, "train", str(run), *map(str, args)], stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def weights(run): return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()[:16]
def whole(run): return {p.parent.name for p in run.glob("checkpoints/checkpoint-*/trainer_state.json")}
def half(run): return {p.name for p in run.glob("checkpoints/checkpoint-*")} - whole(run)


def last_step(run):
    "The last step in the log, which may be in the middle of being written."
    lines = [line for line in (run / "log.jsonl").read_text().splitlines() if line.endswith("}")] if (run / "log.jsonl").exists() else []
    return json.loads(lines[-1])["step"] if lines else 0


def kill_when(process, condition):
    "SIGKILL as soon as something is so, or not at all if the process ends first."
    while process.poll() is None and not condition(): time.sleep(0.0005)
    process.kill()
    process.communicate()


def main(seed):
    rng = random.Random(seed)
    print(f"seed {seed}")
    home = Path(tempfile.mkdtemp())
    uninterrupted, run = home / "uninterrupted", home / "killed"
    finish(attempt(uninterrupted))

    process = attempt(run)
    kill_when(process, lambda: half(run) - {"checkpoint-6"} and whole(run))
    print(f"killed with {sorted(half(run))} half written and {sorted(whole(run))} whole")
    for low, high in ((18, 30), (36, 48)):
        after = rng.randrange(low, high)
        process = attempt(run)
        kill_when(process, lambda after=after: last_step(run) >= after)
        print(f"killed after step {after}; whole: {sorted(whole(run))}, half: {sorted(half(run))}")

    before = whole(run)
    process = attempt(run, 3_000_000)
    _, errors = process.communicate(timeout=300)
    if process.returncode:  # the run was not over yet
        message = errors.strip().splitlines()[-1]
        print("full disk:", message.replace(str(home), "HOME"))
        assert message.startswith("error: cannot write") and "resume" in message and "Traceback" not in errors, errors
        assert before <= whole(run) and not half(run) - before, "an earlier checkpoint was lost, or half a one was left"
    finish(attempt(run))
    assert weights(run) == weights(uninterrupted), "the interrupted run ended with other weights"
    steps = [json.loads(line)["step"] for line in open(run / "log.jsonl")]
    assert steps == sorted(steps) and steps == [json.loads(line)["step"] for line in open(uninterrupted / "log.jsonl")], "the log has gaps or repeats itself"
    print(f"the same weights: {weights(run)}")
    shutil.rmtree(home)


if __name__ == "__main__":
    if sys.argv[1:2] == ["train"]: train(sys.argv[2], *map(int, sys.argv[3:]))
    else: main(int(sys.argv[1]) if sys.argv[1:] else random.randrange(10 ** 6))
