"""Two processes on one machine train as one does: shared data, gathered validation, one writer of files.

    python tests/two_processes.py
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path


def train(run, batch_size, objective="likelihood"):
    import datasets
    from imgcap.creatures import make_creatures
    from imgcap.model import new_git_tiny
    from imgcap.train import finetune

    datasets.disable_progress_bars()
    finetune(*new_git_tiny(vision_layers=1, text_layers=1), make_creatures({"train": 48, "validation": 13}), out=run,
             max_steps=8, validations=2, batch_size=int(batch_size), precision="float32", threads=1, objective=objective, learning_rate=1e-3)


def start(*args, processes=1):
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else [sys.executable]
    return subprocess.Popen([*launcher, __file__, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def log(run): return [json.loads(line) for line in open(run / "log.jsonl")]


def main():
    from safetensors.torch import load_file

    with tempfile.TemporaryDirectory() as home:
        one, two, cider = (Path(home) / name for name in ("one", "two", "cider"))
        alone, together = start(one, 16), start(two, 8, processes=2)
        finish(alone)
        said = finish(together)
        a, b = log(one), log(two)
        assert [line["step"] for line in a] == [line["step"] for line in b], "the log was written by more or less than one process"
        for x, y in zip(a, b):
            for name in ("loss", "eval_loss", "eval_cider_d", "eval_wer"):
                if name in x: assert abs(x[name] - y[name]) < 1e-4, (name, x[name], y[name])
        losses = [(x["loss"], y["loss"]) for x, y in zip(a, b) if "loss" in x]
        print(f"loss a token at {len(losses)} steps: largest difference {max(abs(x - y) for x, y in losses):.1e}")
        w, v = (load_file(run / "model" / "model.safetensors") for run in (one, two))
        gap = max((w[name] - v[name]).abs().max().item() for name in w)
        print(f"largest difference of a weight {gap:.1e}")
        assert gap < 1e-3
        about = json.loads((two / "run.json").read_text())
        assert about["machine"]["processes"] == 2 and about["finished"]["steps"] == 8
        assert said.count("validation loss") == 2, f"progress was not shown by one process:\n{said}"
        assert not list(two.rglob("*.partial*")), "half a file was left"
        finish(start(cider, 4, "cider", processes=2))
        assert json.loads((cider / "run.json").read_text())["finished"]["steps"] == 8


if __name__ == "__main__":
    if sys.argv[1:]: train(*sys.argv[1:])
    else: main()
