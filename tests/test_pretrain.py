"The recipe of the model that comes with the package still runs."

import json
import math
import sys
from pathlib import Path

from imgcap.model import load_model

ROOT = Path(__file__).resolve().parents[1]


def test_a_few_steps_make_a_model_that_can_be_loaded(run, tmp_path):
    script = ROOT / "scripts" / "pretrain" / "pretrain.py"
    run(sys.executable, script, "--out", tmp_path, "--samples=16", "--batch-size=8",
        "--warmup=1", "--threads=1", "--log-every=1")
    model, processor = load_model(tmp_path / "model")
    first, *_ = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    # before it has learned anything, each token of the vocabulary is as likely
    assert abs(first["loss"] - math.log(len(processor.tokenizer))) < 0.1
    assert model.config.model_type == "git"
