"""A run that an earlier state of the package began and that was stopped goes on in this one.

python tests/test_stopped.py    stops a run anew; only where an old one need no longer go on
"""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

STOPPED = Path(__file__).parent / "data" / "stopped"
COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200), "green": (30, 160, 30)}


def begin(folder, **more):
    "Two validations and a checkpoint each in six steps, from the weights in `start`."
    import datasets

    from imgcap.data import load_captions
    from imgcap.model import load_model
    from imgcap.train import finetune

    datasets.disable_progress_bars()
    os.chdir(folder)
    data = load_captions("pictures")
    options = dict(max_steps=6, validations=2, batch_size=4, precision="float32", threads=1)
    options |= dict(ema=0.5, learning_rate=1e-2, echo=lambda line: None)
    return finetune(*load_model("start"), data, out="run", **options, **more)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(STOPPED, tmp_path / "stopped")
    return tmp_path / "stopped"


def steps(run):
    return [json.loads(line)["step"] for line in (run / "log.jsonl").read_text().splitlines()]


def test_it_is_small():
    size = sum(path.stat().st_size for path in STOPPED.rglob("*") if path.is_file())
    assert size < 200_000


def test_it_goes_on(folder):
    from imgcap.model import load_model, weights_fingerprint

    before = steps(folder / "run")
    assert max(before) == 3 and not (folder / "run" / "model").exists()
    begin(folder, resume=True)
    after = steps(folder / "run")
    assert after[: len(before)] == before and max(after) == 6
    about = json.loads((folder / "run" / "run.json").read_text())
    assert about["finished"]["steps"] == 6
    assert weights_fingerprint(load_model("run")[0]) != weights_fingerprint(load_model("start")[0])


def test_it_ends_where_it_would_have_ended(folder):
    import torch
    from safetensors.torch import load_file

    begin(folder, resume=True)
    resumed = load_file(folder / "run" / "model" / "model.safetensors")
    shutil.rmtree(folder / "run")
    begin(folder)
    for name, tensor in load_file(folder / "run" / "model" / "model.safetensors").items():
        # The first three steps were taken on another machine
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-3, atol=1e-4)


def stop_anew():
    from PIL import Image

    import imgcap.train
    from imgcap.model import new_git_tiny
    from imgcap.train import save_checkpoint

    shutil.rmtree(STOPPED, ignore_errors=True)
    for split, count in {"train": 2, "validation": 1}.items():
        for colour, rgb in COLOURS.items():
            for k in range(count):
                place = STOPPED / "pictures" / split / f"{colour}-{k}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (16, 16), tuple(x + 5 * k + count for x in rgb)).save(place)
                place.with_suffix(".txt").write_text(f"a {colour} square\n")
    model, processor = new_git_tiny(
        [f"a {colour} square" for colour in COLOURS] * 9,
        image_size=16, hidden_size=32, vision_layers=1, text_layers=1,
    )  # fmt: skip
    for part in (model.config, model.config.vision_config):  # smaller than any that one would train
        part.hidden_size, part.intermediate_size, part.num_attention_heads = 4, 16, 2
    model = type(model)(model.config)
    save_checkpoint(model, processor, STOPPED / "start")

    def stop(*args, **options):
        raise KeyboardInterrupt

    imgcap.train.RunLog.on_save = stop
    with suppress(KeyboardInterrupt):
        begin(STOPPED)


if __name__ == "__main__":
    stop_anew()
