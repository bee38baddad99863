"The recipe of the models that come with the package still runs."

import json
import math
import sys
from pathlib import Path

import pytest

from imgcap.families import caption_tokenizer, is_chat
from imgcap.model import load_model

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("kind, architecture", [("git", "git"), ("smol", "idefics3")])
def test_a_few_steps_make_a_model_that_can_be_loaded(run, tmp_path, kind, architecture):
    script = ROOT / "scripts" / "pretrain" / "pretrain.py"
    asked = ["--kind", kind, "--out", tmp_path, "--samples=16", "--batch-size=8"]
    run(sys.executable, script, *asked, "--warmup=1", "--threads=1", "--log-every=1")
    model, processor = load_model(tmp_path / "model")
    first, *_ = map(json.loads, (tmp_path / "log.jsonl").read_text().splitlines())
    # before it has learned anything, each token of the vocabulary is as likely
    assert abs(first["loss"] - math.log(len(processor.tokenizer))) < 0.1
    assert model.config.model_type == architecture
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"# {kind}-tiny" in card and ("Assistant:" in card) == is_chat(processor)
    # a caption ends where its end token is, which is a label as well
    ids = caption_tokenizer(processor)(["blue star"]).input_ids[0]
    assert ids[-1] == model.generation_config.eos_token_id
