"""The models that come with the package: their recipe still runs, they say what they see, and they
were made from another world than the creatures."""

import ast
import importlib
import json
import math
import random
import re
import sys
import time
from importlib.resources import files
from itertools import chain
from pathlib import Path

import pytest

from imgcap.data import load_captions, split_captions
from imgcap.data.creatures import NOVEL_COMBINATIONS, caption_creature, deal_attributes
from imgcap.evaluate import evaluate_model
from imgcap.families import caption_tokenizer, is_chat
from imgcap.infer import Captioner
from imgcap.model import load_model
from imgcap.train import finetune

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "scripts" / "pretrain"
TINY = ["git-tiny", "smol-tiny"]


@pytest.fixture
def recipe(monkeypatch):
    "A module of the recipe by its name."
    monkeypatch.syspath_prepend(RECIPE)
    return importlib.import_module


@pytest.mark.parametrize("kind, architecture", [("git", "git"), ("smol", "idefics3")])
def test_a_few_steps_make_a_model_that_can_be_loaded(run, tmp_path, kind, architecture):
    script = RECIPE / "pretrain.py"
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


@pytest.mark.parametrize("name", TINY)
def test_what_comes_with_the_package_says_what_it_sees(name, recipe):
    world, pretrain = recipe("world"), recipe("pretrain")
    drawn = [world.draw(pretrain.CHECK_SEED, i) for i in range(32)]
    references = [captions[0] for _, captions in drawn]
    captioner = Captioner(name, device="cpu")
    written = [caption.text for caption in captioner([picture for picture, _ in drawn])]
    assert pretrain.word_f1(written, references) > 0.7
    random.Random(0).shuffle(written)
    assert pretrain.word_f1(written, references) < 0.4


@pytest.mark.parametrize("name", TINY)
def test_it_is_small_and_has_a_card_and_a_log(name):
    folder = files("imgcap") / "checkpoints" / name
    assert sum(file.stat().st_size for file in folder.iterdir()) < 8e6
    card = (folder / "README.md").read_text()
    log = RECIPE / ("log-smol.jsonl" if name == "smol-tiny" else "log.jsonl")
    last = json.loads(log.read_text().splitlines()[-1])
    assert f"word F1 of greedy captions {last['check_f1']}" in card
    assert f"{last['step']:,} steps" in card


def imports(file):
    "What a module imports of the package."
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("imgcap"):
            yield from ((node.module, each.name) for each in node.names)
        if isinstance(node, ast.Import):
            yield from ((each.name, "") for each in node.names if each.name.startswith("imgcap"))


def test_the_drawn_world_is_none_of_the_creatures(recipe):
    "Neither drawing code nor a caption of the one is in the other, nor a pair that is kept back."
    assert set(imports(RECIPE / "world.py")) == {("imgcap.data.creatures", "NOVEL_COMBINATIONS")}
    assert not [name for name, _ in imports(RECIPE / "pretrain.py") if "data" in name]
    world = recipe("world")
    captions = [caption.lower() for i in range(600) for caption in world.draw(0, i)[1]]
    dealt = [deal_attributes(42, split, i)
             for split in ("train", "validation", "test", "novel") for i in range(500)]
    said = chain.from_iterable(caption_creature(each, seed=i) for i, each in enumerate(dealt))
    assert not {text.lower() for text in said} & set(captions)
    pairs = "|".join(f"{colour} {body}" for colour, body in NOVEL_COMBINATIONS)
    assert not [text for text in captions if re.search(rf"\b({pairs})\b", text)]


@pytest.mark.slow
def test_smol_tiny_learns_the_creatures(tmp_path):
    "In 40 epochs, less than four minutes on one core."
    data = split_captions(load_captions("creatures"))
    started = time.process_time()
    run = finetune(*load_model("smol-tiny", device="cpu"), data, out=tmp_path / "run",
                   epochs=40, validations=4, threads=1)
    print(f"{time.process_time() - started:.0f} s of one processor")
    for split, least in {"test": 0.95, "novel": 0.90}.items():
        before, after = (evaluate_model(model, data, split).scores["model"]["attribute_f1"]
                         for model in ("smol-tiny", run))
        print(f"{split}: attribute F1 {before:.3f} before, {after:.3f} after")
        assert before < least < after
