"Two processes train as one does: shared data, gathered validation, one writer of files."

import json
import subprocess
import sys

import copies
import pytest

pytestmark = pytest.mark.first
TWO = 2
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={TWO}"]


def train(run, batch_size, objective):
    "What each process does; this file is its own script."
    import datasets

    from imgcap.data.creatures import make_creatures
    from imgcap.model import new_git_tiny
    from imgcap.train import finetune

    datasets.disable_progress_bars()
    data = make_creatures({"train": 48, "validation": 13})
    finetune(
        *new_git_tiny(vision_layers=1, text_layers=1),
        data,
        out=run,
        max_steps=8,
        validations=2,
        batch_size=int(batch_size),
        precision="float32",
        threads=1,
        objective=objective,
        learning_rate=1e-3,
    )


TRAIN = "import sys; from test_two_processes import train; train(*sys.argv[1:])"


def torchrun(*words):
    "What two processes say that torchrun starts."
    command = [sys.executable, *TORCHRUN, __file__, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


def log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    "The run of one process, that of two, and what the two said."
    home = tmp_path_factory.mktemp("runs")
    alone = copies.Program(TRAIN, home / "one", 16, "likelihood")
    said = torchrun(home / "two", 8, "likelihood")
    assert alone.finish(300)[0] == 0
    return home / "one", home / "two", said


def test_log_is_that_of_one(runs):
    one, two = map(log, runs[:2])
    assert [line["step"] for line in one] == [line["step"] for line in two]
    for name in ("loss", "eval_loss", "eval_cider_d", "eval_wer"):
        pairs = [(x[name], y[name]) for x, y in zip(one, two) if name in x]
        assert pairs and all(x == pytest.approx(y, abs=1e-4) for x, y in pairs), (name, pairs)


def test_weights_are_those_of_one(runs):
    from safetensors.torch import load_file

    one, two = (load_file(run / "model" / "model.safetensors") for run in runs[:2])
    assert one.keys() == two.keys()
    assert max((one[name] - two[name]).abs().max().item() for name in one) < 1e-3


def test_one_process_writes_and_speaks(runs):
    _, two, said = runs
    about = json.loads((two / "run.json").read_text())
    assert about["machine"]["processes"] == TWO and about["finished"]["steps"] == 8
    assert sum(line.startswith("step ") for line in said.splitlines()) == 2, said
    assert not list(two.rglob("*.partial*"))


def test_reward_in_two_processes(tmp_path):
    ends = [each.finish(300) for each in copies.team(TWO, TRAIN, tmp_path / "cider", 4, "cider")]
    assert [status for status, *_ in ends] == [0, 0], ends
    assert json.loads((tmp_path / "cider" / "run.json").read_text())["finished"]["steps"] == 8


if __name__ == "__main__":
    train(*sys.argv[1:])
