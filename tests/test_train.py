"""A fine-tuning run: what is kept is what was measured, a stopped run ends as it would have, and
what cannot work is refused."""

import inspect
import json
import math
import multiprocessing
import os
import pickle
import shutil
import sys
import threading
import warnings
from dataclasses import asdict
from types import SimpleNamespace

import datasets
import pytest
import tokenizers
import torch
from small_models import small_model
from transformers import TrainerCallback

import imgcap.devices
import imgcap.model
import imgcap.train
from imgcap.config import Decoding
from imgcap.data.creatures import make_creatures
from imgcap.evaluate import evaluate_model, read_scores
from imgcap.files import held
from imgcap.infer import Captioner
from imgcap.metrics import CiderReward, caption_scores
from imgcap.model import load_model, new_git_tiny
from imgcap.model.decoding import decoding_for
from imgcap.preprocess import CaptionCollator
from imgcap.fingerprints import settings_fingerprints
from imgcap.share import model_card
from imgcap.train import (
    FeatureFile,
    RunLog,
    TrainConfig,
    WeightAverage,
    advantages,
    best_validation,
    caption_rows,
    choose_parts,
    chosen_by,
    fill_defaults,
    finetune,
    save_checkpoint,
    self_critical_loss,
    validation_scores,
    weights_fingerprint,
)
from imgcap.train.checkpoints import read_progress, write_progress
from imgcap.train.trainer import ValidationLines, make_trainer, training_arguments

datasets.disable_progress_bars()


@pytest.fixture(scope="session")
def data():
    return make_creatures({"train": 24, "validation": 12})


def tiny(seed=0, dropout=0.0):
    model, processor = new_git_tiny(seed=seed, vision_layers=1, text_layers=1, hidden_size=32)
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = dropout
    return model, processor


SHORT = TrainConfig(
    max_steps=6, batch_size=8, validations=3, precision="float32", augment=False, learning_rate=3e-3
)


def train(model, data, out, config=SHORT, **changes):
    return finetune(*model, data, config, out=out, **{"echo": lambda line: None, **changes})


def about(run):
    return json.loads((run / "run.json").read_text())


def log(run):
    return [json.loads(line) for line in open(run / "log.jsonl")]


def validations(run):
    return [entry for entry in log(run) if "eval_loss" in entry]


def weights(run):
    return weights_fingerprint(load_model(run, device="cpu")[0])


class Stop(Exception):
    pass


def stop_at(step):
    def echo(line):
        if line.startswith(f"step {step}/"):
            raise Stop

    return echo


def stopped(model, data, out, step=6, **changes):
    with pytest.raises(Stop):
        train(model, data, out, echo=stop_at(step), **changes)
    return out


class Watch(TrainerCallback):
    "Calls a function when something happens."

    def __init__(self, **calls):
        self.calls = calls

    def _call(self, name, args, state, **kwargs):
        self.calls.get(name, lambda **_: None)(args=args, state=state, **kwargs)

    def on_train_begin(self, args, state, control, **kwargs):
        self._call("begin", args, state, **kwargs)

    def on_evaluate(self, args, state, control, **kwargs):
        self._call("evaluate", args, state, **kwargs)

    def on_step_end(self, args, state, control, **kwargs):
        self._call("step", args, state, **kwargs)

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self._call("gradient", args, state, **kwargs)


# --- one precision, one decoding: what chose the checkpoint is what evaluation and captions give


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bfloat16"},
        {"precision": "bfloat16", "ema": 0.5},
        {"precision": "bfloat16", "freeze": "vision"},
        {"precision": "bfloat16", "lora": 8, "learning_rate": 0.05},
    ],
    ids=lambda c: "-".join(c) or "plain",
)
def test_validation_evaluation_and_captions_agree_to_the_last_digit(data, tmp_path, changes):
    if "lora" in changes:
        pytest.importorskip("peft")
    model = small_model("git", dropout=0.1)
    run = train(model, data, tmp_path / "run", **{"max_steps": 12, "max_new_tokens": 20, **changes})
    best = best_validation(log(run))
    scores = evaluate_model(run, data, "validation", resamples=10, max_new_tokens=20).scores[
        "model"
    ]
    loaded, processor = load_model(run, device="cpu")
    captions = Captioner(loaded, processor=processor).many(
        list(data["validation"]["image"]), max_new_tokens=20
    )
    written = caption_scores(
        {row["image_id"]: caption.text for row, caption in zip(data["validation"], captions)},
        {row["image_id"]: row["captions"] for row in data["validation"]},
    )
    for name in ("cider_d", "wer"):
        assert (
            best[f"eval_{name}"]
            == scores[name]
            == written[name]
            == about(run)["finished"]["best_validation"][name]
        )
    assert about(run)["finished"]["best_step"] == best["step"]
    assert about(run)["validation"] == {
        "precision": "float32",
        "decoding": json.loads(json.dumps(asdict(Decoding(max_new_tokens=20)))),
    }
    again = validation_scores(
        loaded, CaptionCollator(processor, choose="first"), list(data["validation"])
    )
    assert again["loss"] == pytest.approx(
        best["eval_loss"], rel=1e-6 if "lora" in changes else 1e-12
    )


@pytest.mark.parametrize("family", ["blip", "vision-encoder-decoder"])
def test_other_families_agree_too(data, tmp_path, family):
    # So large that a later step is worse; which one that is differs between machines.
    for rate in {"blip": (5.0, 20.0, 1.0), "vision-encoder-decoder": (3e-3, 1e-2, 3e-2)}[family]:
        changes = dict(precision="bfloat16", max_new_tokens=8, learning_rate=rate)
        run = train(small_model(family), data, tmp_path / f"run-{rate}", **changes)
        best = best_validation(log(run))
        if best["step"] < 6:
            break
    scores = evaluate_model(run, data, "validation", resamples=10, max_new_tokens=8).scores["model"]
    assert (best["eval_cider_d"], best["eval_wer"]) == (scores["cider_d"], scores["wer"])
    loaded, processor = load_model(run, device="cpu")
    collator = CaptionCollator(processor, max_length=64, choose="first")
    again = validation_scores(loaded, collator, list(data["validation"]), max_new_tokens=8)
    assert best["step"] < 6, "the best checkpoint is not the last, so it was loaded"
    assert again["loss"] == pytest.approx(best["eval_loss"], rel=1e-9)


@pytest.mark.parametrize("family", ["blip", "vision-encoder-decoder"])
def test_other_families_resume_too(data, tmp_path, family):
    whole = train(small_model(family, dropout=0.0), data, tmp_path / "whole", max_new_tokens=4)
    stopped(small_model(family, dropout=0.0), data, tmp_path / "half", max_new_tokens=4)
    half = train(
        small_model(family, dropout=0.0), data, tmp_path / "half", resume=True, max_new_tokens=4
    )
    assert about(half)["finished"]["weights"] == about(whole)["finished"]["weights"]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_autocast_is_for_training_only(data, tmp_path, precision):
    model, processor = tiny()
    seen = {True: set(), False: set()}
    model.git.visual_projection.visual_projection[0].register_forward_hook(
        lambda module, args, result: seen[model.training].add(result.dtype)
    )
    train((model, processor), data, tmp_path / "run", precision=precision)
    assert seen == {True: {getattr(torch, precision)}, False: {torch.float32}}


# --- the caller's model is given back as it was


@pytest.mark.parametrize("end", ["finished", "stopped"])
@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "bfloat16"},
        {"freeze": "vision"},
        {"lora": 2},
        {"ema": 0.9},
        {"gradient_checkpointing": True},
        {"threads": 1},
    ],
    ids=lambda c: next(iter(c)),
)
def test_the_model_is_given_back(data, tmp_path, changes, end):
    if "lora" in changes:
        pytest.importorskip("peft")
    model, processor = tiny(dropout=0.1)
    model.train()
    model.git.embeddings.eval()
    next(model.parameters()).requires_grad_(False)
    before, threads = set(vars(model)), 1 + ("threads" in changes)
    torch.set_num_threads(threads)
    state = (
        [(name, part.training) for name, part in model.named_modules()],
        [p.requires_grad for p in model.parameters()],
    )
    if end == "finished":
        run = train(
            (model, processor), data, tmp_path / "run", max_steps=2, validations=1, **changes
        )
    else:
        stopped((model, processor), data, tmp_path / "run", step=2, **changes)
        (tmp_path / "run/notes.txt").touch()
        with pytest.raises(FileExistsError):
            train((model, processor), data, tmp_path / "run", overwrite=True, **changes)
    assert (
        set(vars(model)) == before
        and torch.get_num_threads() == threads
        and not model.is_activation_checkpointing
    )
    assert (
        [(name, part.training) for name, part in model.named_modules()],
        [p.requires_grad for p in model.parameters()],
    ) == state
    assert all(p.grad is None for p in model.parameters())
    torch.set_num_threads(1)
    if end != "finished":
        return
    assert weights_fingerprint(model) == weights(run) == about(run)["finished"]["weights"]
    assert model.config._name_or_path == str(run), "it is no longer what it was loaded as"


def test_twice_on_one_model_is_recorded_as_that(data, tmp_path):
    model = load_model("git-tiny", device="cpu")
    short = {"max_steps": 2, "validations": 1}
    first = about(train(model, data, tmp_path / "run", **short))
    with pytest.raises(ValueError, match="the model .*/run lies in"):
        train(model, data, tmp_path / "run", overwrite=True, **short)
    second = about(train(model, data, tmp_path / "again", **short))
    assert first["model"]["name"] == "git-tiny" != second["model"]["name"]
    assert first["model"]["weights"] != second["model"]["weights"] == first["finished"]["weights"]
    assert first["model"]["weights"] == weights_fingerprint(load_model("git-tiny", device="cpu")[0])


def test_the_allocator_of_the_process_is_left_alone(data, tmp_path, monkeypatch):
    def called(*args): pytest.fail("a library call changes the process")
    monkeypatch.setattr(imgcap.devices.ctypes, "CDLL", called)
    train(tiny(), data, tmp_path / "run", max_steps=1, validations=1)


@pytest.mark.parametrize("change", ["one bit", "swap", "dtype", "shape"])
def test_a_fingerprint_knows_its_weights(change):
    model = tiny()[0]
    before = weights_fingerprint(model)
    assert weights_fingerprint(tiny()[0]) == before
    with torch.no_grad():
        weight = model.output.weight
        if change == "one bit":
            weight[3, 5] = torch.nextafter(weight[3, 5], torch.tensor(9.0))
        if change == "swap":
            weight.copy_(weight.flip(0))
        if change == "dtype":
            model.bfloat16()
        if change == "shape":
            model.output.weight = torch.nn.Parameter(weight.view(weight.shape[1], -1))
    assert weights_fingerprint(model) != before


# --- which checkpoint is the best


def validation(step, cider_d, loss):
    return {"step": step, "eval_cider_d": cider_d, "eval_loss": loss, "eval_wer": 1.0}


@pytest.mark.parametrize(
    "history, by, best",
    [
        ([(2, 0, 16.4), (4, 0, 9.0), (6, 0, 4.3)], "cider_d", 6),
        ([(2, 0, 4.0), (4, 0, 4.0)], "cider_d", 2),
        ([(2, 0.1, 9.0), (4, 0.0, 4.0), (6, 0.1, 8.0)], "cider_d", 6),
        ([(2, 0.2, 9), (4, 0.1, 4)], "cider_d", 2),
        ([(2, 0.2, 9.0), (4, 0.1, 4.0), (6, 0.3, 4.0)], "loss", 4),
    ],
)
def test_equals_go_to_the_lower_loss(history, by, best):
    assert (
        best_validation([{"step": 1, "loss": 3}, *(validation(*each) for each in history)], by)[
            "step"
        ]
        == best
    )


@pytest.mark.parametrize("by", ["cider_d", "loss"])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_no_number_never_wins(by, wrong, place):
    history = [validation(2, 0.1, 4.0), validation(4, 0.2, 3.0)]
    for bad in (validation(3, 0.9, wrong), validation(3, wrong, 1.0)):
        with_bad = [*history[:place], bad, *history[place:]]
        assert best_validation(with_bad, by)["step"] == 4
        assert best_validation([bad, bad], by) is None


def no_numbers(monkeypatch, *validations):
    "These validations, counted from 1, give a loss that is no number."
    scores, calls = imgcap.train.trainer.validation_scores, []

    def measured(*args, **options):
        calls.append(1)
        wrong = {"loss": math.nan} if len(calls) in validations else {}
        return {**scores(*args, **options), **wrong}

    monkeypatch.setattr(imgcap.train.trainer, "validation_scores", measured)


@pytest.mark.parametrize("which", [[1], [3], [1, 2], [2, 3]], ids=str)
def test_a_validation_that_is_no_number_does_not_choose(data, tmp_path, monkeypatch, which):
    no_numbers(monkeypatch, *which)
    said = []
    run = train(tiny(), data, tmp_path / "run", echo=said.append)
    assert about(run)["finished"]["best_step"] not in [2 * each for each in which]
    assert sum("cannot be the best" in line for line in said) == len(which)


def test_validations_without_any_number_are_one_error(data, tmp_path, monkeypatch):
    no_numbers(monkeypatch, 1, 2, 3)
    for resume in (False, True):
        with pytest.raises(FloatingPointError, match="at the steps 2, 4, 6") as error:
            train(tiny(), data, tmp_path / "run", resume=resume)
        assert "\n" not in str(error.value) and not (tmp_path / "run/model").exists()


def with_captions(data, captions):
    "The same pictures with other captions."

    def other(split):
        return split.remove_columns("captions").add_column(
            "captions", [captions(i) for i in range(len(split))]
        )

    return datasets.DatasetDict({name: other(split) for name, split in data.items()})


CANNOT_MOVE = {
    "identical": lambda i: ["a red creature near a tree"] * 2,
    "punctuation": lambda i: ["...", "!?"],
    "alike": lambda i: ["a red creature", "a creature that is red"],
}


@pytest.mark.parametrize("kind", CANNOT_MOVE)
def test_a_score_that_cannot_move_does_not_choose(data, tmp_path, kind):
    said = []
    run = train(tiny(), with_captions(data, CANNOT_MOVE[kind]), tmp_path / "run", echo=said.append)
    steps = [i for i, line in enumerate(said) if line.startswith("step")]
    assert any("lowest validation loss" in line for line in said[: steps[0]])
    losses = {entry["step"]: entry["eval_loss"] for entry in validations(run)}
    assert (
        about(run)["finished"]["best_step"] == min(losses, key=losses.get)
        and about(run)["finished"]["chosen_by"] == "loss"
    )


@pytest.mark.parametrize(
    "captions",
    [
        lambda i: [f"κόκκινο πλάσμα {i}", f"ένα κόκκινο πλάσμα κοντά στο σπίτι {i}"],
        lambda i: [f"wings{i} sea"],
    ],
    ids=["Greek", "two words"],
)
def test_scores_of_0_throughout_do_not_keep_the_first(data, tmp_path, captions):
    model, processor = new_git_tiny(
        [captions(i)[0] for i in range(24)], vision_layers=1, text_layers=1, hidden_size=32
    )
    rows = with_captions(data, captions)
    if captions(0)[0].startswith("κ"):
        rows = datasets.DatasetDict(
            {
                name: split.add_column("language", ["el"] * len(split))
                for name, split in rows.items()
            }
        )
    run = train((model, processor), rows, tmp_path / "run", learning_rate=1e-3)
    scores = [
        (entry["eval_cider_d"], -entry["eval_loss"], entry["step"]) for entry in validations(run)
    ]
    assert (
        about(run)["finished"]["best_step"] == max(scores)[2]
        and about(run)["finished"]["chosen_by"] == "cider_d"
    )
    saved, _ = load_model(run, device="cpu")
    assert weights_fingerprint(saved) == about(run)["finished"]["weights"]


def test_few_pictures(data, tmp_path):
    few = {"train": data["train"], "validation": data["validation"].select(range(3))}
    said = []
    train(tiny(), few, tmp_path / "run", echo=said.append)
    assert "too few validation pictures for CIDEr-D (3)" in said[0]
    assert chosen_by(data["validation"].select(range(9)))[0] == "loss"
    assert chosen_by(data["validation"].select(range(10))) == ("cider_d", "")


@pytest.mark.parametrize(
    "losses, patience, last", [((5, 4, 3, 2), 1, 8), ((5, 6, 7, 8), 1, 4), ((5, 6, 4, 9, 9), 2, 10)]
)
def test_patience_counts_equals_by_their_loss(data, tmp_path, monkeypatch, losses, patience, last):
    scores = iter(losses)
    monkeypatch.setattr(
        imgcap.train.trainer,
        "validation_scores",
        lambda *args, **options: {"loss": float(next(scores)), "cider_d": 0.0, "wer": 1.0},
    )
    run = train(
        tiny(),
        data,
        tmp_path / "run",
        max_steps=2 * len(losses),
        validations=len(losses),
        patience=patience,
    )
    assert validations(run)[-1]["step"] == last == about(run)["finished"]["steps"]
    assert about(run)["finished"]["best_step"] == 2 * (1 + losses.index(min(losses[: last // 2])))


# --- resuming


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ema": 0.9},
        {"precision": "bfloat16"},
        {"lora": 2},
        {"freeze": "vision"},
        {"objective": "cider", "samples": 2, "learning_rate": 1e-3, "max_new_tokens": 6},
        {"workers": 1},
    ],
    ids=lambda c: next(iter(c), "plain"),
)
def test_a_resumed_run_ends_as_if_never_stopped(data, tmp_path, changes):
    if "lora" in changes:
        pytest.importorskip("peft")
    whole = train(tiny(dropout=0.1), data, tmp_path / "whole", **changes)
    stopped(tiny(dropout=0.1), data, tmp_path / "half", **changes)
    progress = tmp_path / "half/checkpoints/checkpoint-4/progress.json"
    progress.write_text(json.dumps({**json.loads(progress.read_text()), "seconds": 1000.0}))
    half = train(tiny(dropout=0.1), data, tmp_path / "half", resume=True, **changes)
    assert about(half)["finished"]["train_seconds"] > 1000, "the time before counts"
    assert (
        about(half)["finished"]["weights"] == about(whole)["finished"]["weights"] == weights(half)
    )
    assert [entry["step"] for entry in log(half)] == [entry["step"] for entry in log(whole)]
    assert [entry["eval_loss"] for entry in validations(half)] == [
        entry["eval_loss"] for entry in validations(whole)
    ]
    assert about(half)["resumed"][0]["step"] == 4


def different(data, **changes):
    shuffled = {**data, "train": data["train"].select(range(23, -1, -1))}
    fewer = {**data, "validation": data["validation"].select(range(11))}
    said = {name: split.add_column("language", ["de"] * len(split)) for name, split in data.items()}
    return {
        "other training data": (tiny(), shuffled, {}),
        "other validation data": (tiny(), fewer, {}),
        "other language": (tiny(), said, {}),
        "other weights": (tiny(seed=5), data, {}),
        "other batch size": (tiny(), data, {"batch_size": 4}),
        "other steps": (tiny(), data, {"max_steps": 12}),
        "other seed": (tiny(), data, {"seed": 1}),
        "other objective": (tiny(), data, {"objective": "cider"}),
    }


def test_another_run_is_not_resumed(data, tmp_path):
    run = stopped(tiny(), data, tmp_path / "run")
    before = (run / "run.json").read_text(), (run / "log.jsonl").read_text()
    for name, (model, rows, changes) in different(data).items():
        with pytest.raises(ValueError, match=" → ") as error:
            train(model, rows, run, resume=True, **changes)
        assert "\n" not in str(error.value), name
        assert ((run / "run.json").read_text(), (run / "log.jsonl").read_text()) == before, name


def replaced(data, split):
    "The same rows, in which one picture is another drawing."
    rows = data[split].cast_column("image", datasets.Image(decode=False))
    other = rows[0]["image"]
    rows = rows.map(
        lambda row, i: {"image": other} if i == 1 else row,
        with_indices=True,
        load_from_cache_file=False,
    )
    return datasets.DatasetDict({**data, split: rows.cast_column("image", datasets.Image())})


@pytest.mark.parametrize("split", ["train", "validation"])
def test_replaced_pictures_are_another_run(data, tmp_path, split):
    run = stopped(tiny(), data, tmp_path / "run")
    with pytest.raises(ValueError, match=f"of the pictures of the split {split} .* → "):
        train(tiny(), replaced(data, split), run, resume=True)
    record = about(run)
    for rows in record["data"].values():
        rows.pop("picture_fingerprint")  # as an earlier version wrote it
    (run / "run.json").write_text(json.dumps(record))
    train(tiny(), replaced(data, split), run, resume=True)


def change_settings(model, processor):
    return {
        "config.json": lambda: setattr(model.config, "layer_norm_eps", 0.1),
        "image processor": lambda: setattr(processor.image_processor, "image_mean", [0, 0, 0]),
        "tokenizer": lambda: setattr(
            processor.tokenizer.backend_tokenizer, "normalizer", tokenizers.normalizers.NFKD()
        ),
    }


@pytest.mark.parametrize("part", change_settings(None, None))
def test_other_settings_are_another_run(data, tmp_path, part):
    run = stopped(tiny(), data, tmp_path / "run")
    model, processor = tiny()
    change_settings(model, processor)[part]()
    with pytest.raises(ValueError, match=f"{part}.* → "):
        train((model, processor), data, run, resume=True)


@pytest.mark.parametrize("family", ["git", "blip", "vision-encoder-decoder"])
def test_settings_are_the_same_after_saving(tmp_path, family):
    model, processor = small_model(family)
    save_checkpoint(model, processor, tmp_path / "model")
    first = load_model(tmp_path, device="cpu")
    processor = first[1]
    processor.tokenizer(["a", "a long one"], padding=True, truncation=True, max_length=3)
    save_checkpoint(*first, tmp_path / "model")
    again = load_model(tmp_path, device="cpu")
    assert settings_fingerprints(*again) == settings_fingerprints(*first)


def test_resume_and_overwrite_are_one_too_many(data, tmp_path):
    run = stopped(tiny(), data, tmp_path / "run")
    with pytest.raises(ValueError, match="resume .* overwrite .* one of the two"):
        train(tiny(), data, run, resume=True, overwrite=True)
    assert (run / "checkpoints/checkpoint-4/trainer_state.json").exists()


@pytest.mark.parametrize("lost", ["max_length None", "max_length", "as now"])
def test_a_run_of_an_earlier_version_is_resumed(data, tmp_path, lost):
    run, record = stopped(tiny(), data, tmp_path / "run"), about(tmp_path / "run")
    if lost != "as now":
        record["config"].pop("max_length")
    if lost == "max_length None":
        record["config"]["max_length"] = None
    record["config"].pop("report_to")
    record["model"] = {name: record["model"][name] for name in ("type", "name", "parameters")}
    (run / "run.json").write_text(json.dumps(record))
    assert about(train(tiny(), data, run, resume=True))["finished"]["steps"] == 6


@pytest.mark.parametrize(
    "name, changes",
    [
        ("model.safetensors", {}),
        ("optimizer.pt", {}),
        ("rng_state.pth", {}),
        ("raw_weights.safetensors", {"ema": 0.9}),
    ],
)
def test_a_damaged_checkpoint_is_passed_over(data, tmp_path, name, changes):
    whole = train(tiny(), data, tmp_path / "whole", **changes)
    run, said = stopped(tiny(), data, tmp_path / "run", **changes), []
    file = run / "checkpoints/checkpoint-4" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    train(tiny(), data, run, resume=True, echo=said.append, **changes)
    assert f"in checkpoint-4 {name} is damaged; going on from checkpoint-2" in said
    assert weights(run) == weights(whole) and about(run)["resumed"][0]["step"] == 2


def test_a_model_that_was_stopped_is_not_what_it_was_loaded_as(data, tmp_path):
    said, (model, processor) = [], tiny()
    model.config._name_or_path = "git-small"
    run = stopped((model, processor), data, tmp_path / "run")
    left = weights_fingerprint(model)
    assert model.config._name_or_path == f"{run}, stopped at step 6"
    other = train((model, processor), data, tmp_path / "other", echo=said.append, max_steps=2)
    assert about(other)["model"]["weights"] == left != about(run)["model"]["weights"]
    assert about(other)["model"]["name"] == f"{run}, stopped at step 6"
    assert sum("load it again to begin from its own" in line for line in said) == 1


@pytest.mark.parametrize("changes", [{}, {"lora": 2}, {"freeze": "vision"}], ids=str)
def test_the_same_model_goes_on_in_its_run(data, tmp_path, changes):
    if "lora" in changes:
        pytest.importorskip("peft")
    whole, said, model = train(tiny(), data, tmp_path / "whole", **changes), [], tiny()
    run = stopped(model, data, tmp_path / "run", **changes)
    train(model, data, run, resume=True, echo=said.append, **changes)
    assert weights(run) == weights(whole) and not any("load it again" in line for line in said)
    assert model[0].config._name_or_path == str(run)


def test_a_start_that_fails_changes_no_name(data, tmp_path):
    model, processor = tiny()
    model.config._name_or_path = "git-small"
    with pytest.raises(RuntimeError):
        train((model, processor), data, tmp_path / "run", **FAILING["memory"])
    assert model.config._name_or_path == "git-small"


def test_a_finished_run_is_finished(data, tmp_path):
    run = train(tiny(), data, tmp_path / "run")
    before = weights(run), about(run)
    for changes in ({}, {"max_steps": 12}):
        with pytest.raises(FileExistsError, match="is finished, at step 6"):
            train(tiny(), data, run, resume=True, **changes)
    assert (weights(run), about(run)) == before


@pytest.mark.parametrize(
    "changes",
    [{}, {"ema": 0.9}, {"lora": 2}, {"patience": 1, "learning_rate": 3.0}],
    ids=lambda c: next(iter(c), "plain"),
)
def test_a_run_that_only_has_to_be_saved_takes_no_further_step(data, tmp_path, changes):
    if "lora" in changes:
        pytest.importorskip("peft")
    model, processor = tiny()
    changes = {"max_steps": 5, **changes}  # in the middle of an epoch, where a step more would fit

    class Full(type(processor)):
        def save_pretrained(self, *args, **kwargs):
            raise OSError(28, "no space left")

    with pytest.raises(OSError, match="end the run with resume"):
        train(
            (model, Full(processor.image_processor, processor.tokenizer)),
            data,
            tmp_path / "run",
            **changes,
        )
    assert not (tmp_path / "run/model").exists() and not list((tmp_path / "run").glob(".*"))
    run = train(tiny(), data, tmp_path / "run", resume=True, **changes)
    whole = train(tiny(), data, tmp_path / "whole", **changes)
    assert about(run)["finished"]["weights"] == about(whole)["finished"]["weights"]
    assert about(run)["finished"]["steps"] == about(whole)["finished"]["steps"]
    assert [entry["step"] for entry in validations(run)] == [
        entry["step"] for entry in validations(whole)
    ]


def test_a_moved_run_keeps_its_best_checkpoint(data, tmp_path):
    changes = {"learning_rate": 0.2, "max_steps": 10, "validations": 5}
    whole = train(tiny(), data, tmp_path / "whole", **changes)
    stopped(tiny(), data, tmp_path / "run", step=8, **changes)
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    run = train(tiny(), data, tmp_path / "elsewhere", resume=True, **changes)
    assert about(run)["finished"]["best_step"] == about(whole)["finished"]["best_step"]
    assert weights(run) == weights(whole)


def other_weights(path):
    "The same length, the same header, other numbers: nothing is left of the last third."
    content = path.read_bytes()
    third = len(content) // 3
    path.write_bytes(content[:-third] + bytes(third))


@pytest.mark.parametrize(
    "changes", [{}, {"lora": 2}, {"ema": 0.9}], ids=lambda c: next(iter(c), ""))
def test_scores_belong_to_the_weights_that_had_them(data, tmp_path, changes):
    if "lora" in changes:
        pytest.importorskip("peft")
    name = "adapter_model.safetensors" if "lora" in changes else "model.safetensors"
    whole = train(tiny(), data, tmp_path / "whole", **changes)
    run, said = stopped(tiny(), data, tmp_path / "run", **changes), []
    other_weights(run / "checkpoints/checkpoint-4" / name)
    train(tiny(), data, run, resume=True, echo=said.append, **changes)
    assert f"in checkpoint-4 {name} is damaged; going on from checkpoint-2" in said
    assert weights(run) == weights(whole)


def test_the_best_weights_are_looked_at_before_they_are_kept(data, tmp_path):
    def harm(args, state, **kwargs):
        if state.global_step == state.max_steps:
            best = f"checkpoints/checkpoint-{state.best_global_step}/model.safetensors"
            other_weights(tmp_path / "run" / best)

    changes = {"learning_rate": 0.2, "max_steps": 10, "validations": 5}
    with pytest.raises(OSError, match="model.safetensors is damaged since it was saved"):
        train(tiny(), data, tmp_path / "run", callbacks=[Watch(step=harm)], **changes)
    assert not (tmp_path / "run/model").exists() and "finished" not in about(tmp_path / "run")


def test_a_run_does_not_end_in_what_a_link_leads_to(data, tmp_path):
    save_checkpoint(*tiny(seed=3), tmp_path / "precious")
    before = weights(tmp_path / "precious")

    def link(**kwargs):
        if not (tmp_path / "run/model").is_symlink():
            (tmp_path / "run/model").symlink_to(tmp_path / "precious")

    with pytest.raises(OSError, match="has links .*model"):
        train(tiny(), data, tmp_path / "run", max_steps=1, callbacks=[Watch(step=link)])
    assert weights(tmp_path / "precious") == before
    (tmp_path / "run/model").unlink()
    train(tiny(), data, tmp_path / "run", max_steps=1, resume=True)
    assert weights(tmp_path / "precious") == before


@pytest.mark.parametrize("start", ["", "model", "model, in a link"])
def test_a_run_does_not_delete_the_weights_it_starts_from(data, tmp_path, monkeypatch, start):
    run = train(tiny(), data, tmp_path / "run", max_steps=2, validations=1)
    if "link" in start:
        (tmp_path / "link").symlink_to(run / "model")
    before, name = weights(run), tmp_path / "link" if "link" in start else run / start
    monkeypatch.chdir(tmp_path)
    model = load_model(name.relative_to(tmp_path), device="cpu")
    monkeypatch.chdir(run)
    with pytest.raises(ValueError, match="the model .* lies in .*/run") as error:
        train(model, data, run, overwrite=True)
    assert weights(run) == before and "\n" not in str(error.value)
    train(model, data, tmp_path / "next", max_steps=1)


def test_a_run_does_not_delete_the_data_it_starts_from(data, tmp_path):
    run = train(tiny(), data, tmp_path / "run", max_steps=2, validations=1)
    evaluate_model(run, data, "validation", resamples=10).save(run)
    own = run / "predictions-validation.jsonl"
    with pytest.raises(ValueError, match="the data .*predictions-validation.jsonl lies in"):
        train(tiny(), data, run, overwrite=True, source=str(own))
    assert own.exists()
    train(tiny(), data, run, overwrite=True, source=run.name, max_steps=1)


@pytest.mark.parametrize("loaded", [False, True])
def test_a_model_knows_its_run_in_another_folder(data, tmp_path, monkeypatch, loaded):
    (tmp_path / "away/runs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    model, processor = tiny()
    train((model, processor), data, "runs/mine", max_steps=1, max_new_tokens=7)
    if loaded:
        model, processor = load_model("runs/mine", device="cpu")
    for there in (tmp_path, tmp_path / "away"):
        monkeypatch.chdir(there)
        assert Captioner(model, processor=processor).decoding.max_new_tokens == 7
        assert decoding_for(model).max_new_tokens == 7
    save_checkpoint(model, processor, tmp_path / "saved")
    for path in [*(tmp_path / "saved").iterdir(), tmp_path / "runs/mine/run.json"]:
        assert str(tmp_path).encode() not in path.read_bytes(), path
    model.generation_config.max_new_tokens = 9
    assert decoding_for(model).max_new_tokens == 7, "what the run says comes first"
    model.config._name_or_path = "another"
    assert decoding_for(model).max_new_tokens == 9, "it was given another name"


def test_a_card_says_the_same_from_anywhere(data, tmp_path, monkeypatch):
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path)
    save_checkpoint(*tiny(), "ada/git")
    (tmp_path / "ada/birds").mkdir()
    once = {"max_steps": 1, "validations": 1}
    local = train(load_model("ada/git", device="cpu"), data, "x/1", source="ada/birds", **once)
    model, processor = tiny()
    model.config._name_or_path = "bob/git"
    source = "https://ada:secret@example.org/photos.tar?token=secret"
    web = train((model, processor), data, "x/2", source=source, **once)
    hub = train(tiny(), data, "x/3", source="bob/birds", **once)
    runs = [(tmp_path / run).rename(tmp_path / "away" / run.name) for run in (local, web, hub)]
    shutil.rmtree(tmp_path / "ada")
    monkeypatch.chdir(tmp_path / "away")
    local, web, hub = (model_card(run.name) for run in runs)
    assert "ada/" not in local and "base_model" not in local and "datasets:" not in local
    assert "base_model: bob/git" in web and "datasets: bob/birds" in hub
    assert "https://example.org/photos.tar" in web and "secret" not in web
    assert not any(b"secret" in (run / "run.json").read_bytes() for run in runs)


SCORES = json.dumps({"test": {"model": {"cider_d": 1.0}}})


def test_scores_of_earlier_weights_go(data, tmp_path):
    run = stopped(tiny(), data, tmp_path / "run")
    for name in ("metrics.json", "predictions.jsonl", "report.html"):
        (run / name).write_text(SCORES)
    train(tiny(), data, run, resume=True)
    assert not any(
        (run / name).exists() for name in ("metrics.json", "predictions.jsonl", "report.html")
    )
    (run / "metrics.json").write_text(SCORES)
    (run / "README.md").write_text("mine")
    save_checkpoint(*tiny(seed=3), run / "model")
    assert not (run / "metrics.json").exists() and (run / "README.md").exists()
    (run / "metrics.json").write_text(SCORES)
    save_checkpoint(*tiny(), run / "another")
    assert (run / "metrics.json").exists(), "the run's weights are the old ones"


# --- the folder


def test_a_running_run_is_held(data, tmp_path):
    run, refused = tmp_path / "run", []

    def intrude(**kwargs):
        for changes in ({"overwrite": True}, {"resume": True}):
            thread = threading.Thread(target=attempt, args=(changes,))
            thread.start(), thread.join()

    def attempt(changes):
        try:
            train(tiny(), data, run, **changes)
        except BlockingIOError as error:
            refused.append(str(error))

    train(tiny(), data, run, callbacks=[Watch(evaluate=intrude)], validations=1)
    assert len(refused) == 2 and "is being written by" in refused[0] and about(run)["finished"]
    with held(run), pytest.raises(BlockingIOError):
        train(tiny(), data, run, overwrite=True)
    train(tiny(), data, run, overwrite=True, max_steps=1)
    assert about(run)["finished"]["steps"] == 1


def test_overwriting_takes_the_run_and_nothing_else(data, tmp_path):
    run = train(tiny(), data, tmp_path / "run", max_steps=2)
    evaluate_model(run, data, "validation", resamples=10).save(run)
    with pytest.raises(FileExistsError, match="holds another run"):
        train(tiny(), data, run)
    for name in ("thesis.txt", "model/notes.txt"):
        (run / name).write_text("two years of work")
        with pytest.raises(FileExistsError, match=name):
            train(tiny(), data, run, overwrite=True)
        assert (run / name).exists() and (run / "model/model.safetensors").exists()
        (run / name).unlink()
    train(tiny(), data, run, overwrite=True, max_steps=1)
    assert about(run)["finished"]["steps"] == 1 and not (run / "metrics.json").exists()


def test_scores_of_a_run_of_an_earlier_version_are_still_its_own(data, tmp_path):
    run = train(tiny(), data, tmp_path / "run", max_steps=1)
    evaluate_model(run, data, "validation", resamples=10).save(run)
    record = about(run)
    for digits, own in (("0123456789ab", True), ("0123456789abcdef", False)):
        record["data"]["validation"]["picture_fingerprint"] = digits
        (run / "run.json").write_text(json.dumps(record))
        scores, left_out = read_scores(run)
        assert ("validation" in scores) == own == (not left_out)


def test_all_that_training_writes_is_known_to_be_its_own(data, tmp_path):
    "Whatever the library begins to write some day has to be added to the list."
    for changes in ({"ema": 0.9}, {"lora": 2}, {"report_to": "tensorboard"}):
        if "lora" in changes:
            pytest.importorskip("peft")
        if "report_to" in changes:
            pytest.importorskip("tensorboard")
        train(tiny(), data, tmp_path / "run", overwrite=True, **changes)
        stopped(tiny(), data, tmp_path / "half", overwrite=True, **changes)
    train(tiny(), data, tmp_path / "half", overwrite=True)


FAILING = {
    "seed": {"seed": -1},
    "freeze": {"freeze": "eyes"},
    "all frozen": {"freeze": "git, output"},
    "report": {"report_to": "nowhere"},
    "positions": {"max_length": 65},
    "new tokens": {"max_new_tokens": 64},
    "precision": {"precision": "float16"},
    "no peft": {"lora": 2},
    "memory": {
        "callbacks": [Watch(begin=lambda **_: (_ for _ in ()).throw(RuntimeError("out of memory")))]
    },
    "first step": {
        "callbacks": [
            Watch(gradient=lambda **_: (_ for _ in ()).throw(RuntimeError("out of memory")))
        ]
    },
}


@pytest.mark.parametrize(
    "name, was_there", [*((name, False) for name in FAILING), ("freeze", True), ("memory", True)]
)
def test_a_failed_start_leaves_nothing(data, tmp_path, monkeypatch, name, was_there):
    run = tmp_path / "run"
    if was_there:
        run.mkdir()
    with monkeypatch.context() as patch:
        if name == "no peft":
            patch.setitem(sys.modules, "peft", None)
        with pytest.raises((ValueError, OSError, RuntimeError)) as error:
            train(tiny(), data, run, **FAILING[name])
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == [run] * was_there and not (was_there and list(run.iterdir()))
    if name in ("memory", "first step"):
        train(tiny(), data, run, max_steps=1, validations=1)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(data, tmp_path):
    model, processor = tiny()
    save_checkpoint(model, processor, tmp_path / "checkpoint")

    class Full(type(processor)):
        def save_pretrained(self, *args, **kwargs):
            raise OSError(28, "no space left")

    with pytest.raises(OSError):
        save_checkpoint(
            tiny(seed=1)[0],
            Full(processor.image_processor, processor.tokenizer),
            tmp_path / "checkpoint",
        )
    assert weights(tmp_path / "checkpoint") == weights_fingerprint(model)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize(
    "names",
    [["thesis.txt"], ["notes/thesis.txt"], ["config.json", "thesis.txt"], ["mine.model"],
     ["run.json"]],
    ids=str,
)
def test_a_checkpoint_takes_no_other_place(tmp_path, names):
    folder = tmp_path / "thesis"
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("two years of work")
    with pytest.raises(FileExistsError, match=names[-1].split("/")[0]) as error:
        save_checkpoint(*tiny(), folder)
    assert "\n" not in str(error.value) and list(tmp_path.iterdir()) == [folder]
    assert all((folder / name).read_text() == "two years of work" for name in names)


def test_a_checkpoint_takes_the_place_of_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    for seed, folder in enumerate(["~/empty", "~/link", tmp_path / "link", tmp_path / "new"]):
        save_checkpoint(*tiny(seed), folder)
    assert (tmp_path / "link").is_symlink(), "what it leads to was written"
    assert weights(tmp_path / "empty") == weights_fingerprint(tiny(2)[0])
    assert {path.name for path in tmp_path.iterdir()} == {"empty", "link", "new"}
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        save_checkpoint(*tiny(), tmp_path / "file")
    for family in ("blip", "vision-encoder-decoder"):
        for seed in range(2):
            save_checkpoint(*small_model(family), tmp_path / family)


@pytest.mark.parametrize("family", ["git", "blip", "vision-encoder-decoder"])
def test_added_tokens_need_room(data, tmp_path, family):
    model, processor = small_model(family)
    processor.tokenizer.add_tokens(["zebra", "okapi"])
    room = model.config.get_text_config(decoder=True).vocab_size
    for refused in (
        lambda: train((model, processor), data, tmp_path / "run"),
        lambda: save_checkpoint(model, processor, tmp_path / "checkpoint"),
    ):
        with pytest.raises(ValueError, match=rf"has {room + 2} tokens.*resize_token_emb") as error:
            refused()
        assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
    part = model.decoder if family == "vision-encoder-decoder" else model
    part.resize_token_embeddings(len(processor.tokenizer))
    save_checkpoint(model, processor, tmp_path / "checkpoint")
    assert load_model(tmp_path / "checkpoint", device="cpu")


# --- pictures that cannot be read


def damaged(data, *numbers, split="train"):
    def damage(row, i):
        return {"image": {"bytes": b"damaged", "path": None}} if i in numbers else row

    rows = data[split].cast_column("image", datasets.Image(decode=False))
    return datasets.DatasetDict(
        {**data, split: rows.map(damage, with_indices=True, load_from_cache_file=False)}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"workers": 1},
        {"workers": 2, "max_steps": 9},
        {"freeze": "vision"},
        {"freeze": "vision", "workers": 1, "max_steps": 7},
        {"batch_size": 1, "max_steps": 24},
        {"batch_size": 1, "max_steps": 24, "workers": 1},
    ],
    ids=str,
)
def test_skipped_pictures_are_named(data, tmp_path, changes):
    bad = damaged(damaged(data, 3, 8), 5, split="validation")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run = train(tiny(), bad, tmp_path / "run", **{"validations": 1, **changes})
    ids = [
        data["train"][3]["image_id"],
        data["train"][8]["image_id"],
        data["validation"][5]["image_id"],
    ]
    assert sorted(about(run)["finished"]["skipped_pictures"]) == sorted(ids)
    said = [str(w.message) for w in caught if "is skipped" in str(w.message)]
    assert len(said) == 3 and all(any(i in line for line in said) for i in ids)


def test_a_resumed_run_still_names_them(data, tmp_path):
    numbers = (3, 8, 13, 20)  # one of them at least comes before the checkpoint, and not again
    bad = damaged(data, *numbers)
    with pytest.warns(UserWarning, match="is skipped"):
        stopped(tiny(), bad, tmp_path / "run")
    run = train(tiny(), bad, tmp_path / "run", resume=True)
    skipped = about(run)["finished"]["skipped_pictures"]
    assert sorted(skipped) == [data["train"][number]["image_id"] for number in numbers]


@pytest.mark.filterwarnings("ignore:picture")
@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_split_without_a_readable_picture(data, tmp_path, split, workers):
    with pytest.raises(ValueError, match="^none of the .* can be read, the first: ") as error:
        train(tiny(), damaged(data, *range(24), split=split), tmp_path / "run", workers=workers)
    assert "\n" not in str(error.value)


# --- language

CHINESE = [
    "一只红色的小狗在草地上跑",
    "一只白色的猫坐在窗边",
    "两个孩子在海边玩沙子",
    "天空中有很多彩色的气球",
]


def test_the_language_of_the_data_is_that_of_scores_and_reward(data, tmp_path, monkeypatch):
    rows = with_captions(data, lambda i: [CHINESE[i % 4], CHINESE[i % 4] + "呢"])
    said = []
    model = new_git_tiny(CHINESE, vision_layers=1, text_layers=1, hidden_size=32)
    train(model, rows, tmp_path / "unsaid", echo=said.append)
    assert "language" in said[0] and "zh" in said[0] and not said[0].startswith("step")
    rows = datasets.DatasetDict(
        {name: split.add_column("language", ["zh"] * len(split)) for name, split in rows.items()}
    )
    said.clear()
    model = new_git_tiny(CHINESE, vision_layers=1, text_layers=1, hidden_size=32)
    run = train(model, rows, tmp_path / "run", echo=said.append, max_steps=40, learning_rate=1e-2)
    assert said[1].startswith("step") and about(run)["language"] == "zh"
    loaded, processor = load_model(run, device="cpu")
    written = {
        row["image_id"]: caption.text
        for row, caption in caption_rows(loaded, CaptionCollator(processor), rows["validation"])
    }
    references = {row["image_id"]: row["captions"] for row in rows["validation"]}
    zh, en = (caption_scores(written, references, language=language) for language in ("zh", "en"))
    best = about(run)["finished"]["best_validation"]
    assert best["cider_d"] == zh["cider_d"] != en["cider_d"] and best["wer"] == zh["wer"]
    made = []

    class Reward(CiderReward):
        def __init__(self, *args, **options):
            made.append(options.get("language"))
            super().__init__(*args, **options)

    monkeypatch.setattr(imgcap.train.rewards, "CiderReward", Reward)
    train(
        load_model(run, device="cpu"),
        rows,
        tmp_path / "cider",
        max_steps=1,
        objective="cider",
        samples=2,
    )
    assert set(made) == {"zh"}


# --- learning from whole captions


def exactly(model, processor, pixels, reward, allowed):
    "Minus the mean reward of captions of at most two tokens, from the probability of each."
    end, total = allowed[0], 0
    for picture, name in zip(pixels, "ab"):
        for row in [[end]] + [[a, b] for a in allowed[1:] for b in allowed]:
            ids = torch.tensor([[model.config.bos_token_id, *row]])
            logits = model(
                pixel_values=picture[None], input_ids=ids, logits_to_keep=len(row) + 1
            ).logits[0, :-1]
            logp = logits.log_softmax(-1)[range(len(row)), row].sum()
            total -= (
                logp.exp()
                * reward([name], [processor.tokenizer.decode(row, skip_special_tokens=True)])[0]
                / 2
            )
    return total


HOSTILE = {
    "temperature": 0.2,
    "top_k": 1,
    "top_p": 0.3,
    "repetition_penalty": 9.0,
    "no_repeat_ngram_size": 1,
    "min_new_tokens": 2,
}


@pytest.mark.parametrize("hostile", [{}, HOSTILE], ids=["plain", "hostile"])
def test_the_gradient_of_the_reward_is_unbiased(hostile):
    model, processor = tiny(
        dropout=0.3
    )  # sampling does without, and so does what it is compared with
    model.generation_config.update(**hostile)
    pixels = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    allowed = [processor.tokenizer.sep_token_id, *processor.tokenizer("red wings").input_ids[1:-1]]
    with torch.no_grad():
        model.output.bias.fill_(-1e4)
        model.output.bias[allowed] = torch.tensor([1.0, 0.0, 0.6])

    def reward(ids, captions):
        return [
            len(set(c.split())) + (c.strip() == "red") * (i == "a") for i, c in zip(ids, captions)
        ]

    def gradient(loss):
        model.zero_grad()
        loss.backward()
        return model.output.bias.grad[allowed].clone()

    torch.manual_seed(0)
    batch = {"pixel_values": pixels, "image_id": ["a", "b"]}
    sampled = torch.stack(
        [
            gradient(
                self_critical_loss(
                    model, model, processor.tokenizer, reward, batch, samples=400, max_new_tokens=2
                )
            )
            for _ in range(10)
        ]
    )
    error = (
        (sampled.mean(0) - gradient(exactly(model, processor, pixels, reward, allowed))).abs().max()
    )
    assert error < 4 * (sampled.std(0) / 10**0.5).max() < 0.05


def test_an_advantage_leaves_its_own_caption_out():
    assert torch.allclose(
        advantages(torch.tensor([[1.0, 2.0, 6.0]])), torch.tensor([[1 - 4, 2 - 3.5, 6 - 1.5]])
    )


def test_sampling_happens_without_dropout_and_modes_come_back():
    model, processor = tiny(dropout=0.3)
    model.train()
    model.git.embeddings.eval()
    modes, seen = [part.training for part in model.modules()], []

    def reward(ids, captions):
        raise Stop

    model.output.register_forward_hook(lambda *args: seen.append(model.training))
    with pytest.raises(Stop):
        self_critical_loss(
            model,
            model,
            processor.tokenizer,
            reward,
            {"pixel_values": torch.zeros(1, 3, 64, 64), "image_id": ["a"]},
            samples=2,
            max_new_tokens=3,
        )
    assert seen and not any(seen) and [part.training for part in model.modules()] == modes


@pytest.mark.parametrize("accumulate, steps", [(1, 3), (3, 1), (2, 2)])
def test_batches_of_the_reward_are_averaged(data, tmp_path, monkeypatch, accumulate, steps):
    "Also where the last step of an epoch has fewer batches."
    monkeypatch.setattr(
        imgcap.train.rewards,
        "self_critical_loss",
        lambda model, *args, **options: model.output.bias.sum(),
    )
    seen = []
    watch = Watch(gradient=lambda model, **_: seen.append(model.output.bias.grad[0].item()))
    train(
        tiny(),
        data,
        tmp_path / "run",
        objective="cider",
        accumulate=accumulate,
        max_steps=steps,
        validations=1,
        max_grad_norm=1e9,
        callbacks=[watch],
    )
    assert seen == pytest.approx([1.0] * steps)


def trainer_with(loss, model, processor, data, folder):
    config = TrainConfig(
        out=str(folder), max_steps=2, validations=1, batch_size=4, accumulate=1,
        learning_rate=1e-3, weight_decay=0.0, precision="float32", max_length=16)
    args = training_arguments(model, data, config)
    return make_trainer(model, processor, data, config, args, folder, [], by="loss", loss=loss)


def test_a_trainer_is_given_its_loss(data, tmp_path):
    "It need not be one of ours: what it asks for is what the weights follow."
    (model, processor), seen = tiny(), []

    def loss(trainer, model, batch, n_tokens):
        seen.append(sorted(batch))
        return -model.output.bias.sum()

    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trainer_with(loss, model, processor, data, tmp_path).train()
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"output.bias"} and (model.output.bias > before["output.bias"]).all()
    text = ["attention_mask", "image_id", "input_ids", "labels", "pixel_values"]
    assert seen == [text] * 2


def test_only_who_writes_a_checkpoint_notes_what_it_holds(data, tmp_path, monkeypatch):
    "Another process would note the digest of half a file."
    trainer, folder = trainer_with(None, *tiny(), data, tmp_path), tmp_path / "checkpoint-1"
    progress = {"seconds": 1.0, "skipped": {}}
    write_progress(folder, progress)
    (folder / "model.safetensors").write_bytes(b"half of it")
    monkeypatch.setattr(type(trainer.args), "should_save", property(lambda self: False))
    trainer.save_model(str(folder))
    assert read_progress(folder) == progress
    assert (folder / "model.safetensors").read_bytes() == b"half of it"


@pytest.mark.parametrize("kind", CANNOT_MOVE)
def test_a_reward_that_cannot_move_is_refused(data, tmp_path, kind):
    with pytest.raises(ValueError, match="choose objective likelihood"):
        train(tiny(), with_captions(data, CANNOT_MOVE[kind]), tmp_path / "run", objective="cider")
    assert not (tmp_path / "run").exists()


# --- steps, averages, schedules


@pytest.mark.parametrize("batch_size, accumulate", [(8, 2), (4, 4), (2, 8)])
def test_a_step_of_several_batches_is_the_step_of_one(data, tmp_path, batch_size, accumulate):
    "24 pictures by 16: the second step has but 8, in fewer batches."
    one = train(tiny(), data, tmp_path / "one", max_steps=4, batch_size=16)
    more = train(
        tiny(), data, tmp_path / "more", max_steps=4, batch_size=batch_size, accumulate=accumulate
    )
    a, b = (load_model(run, device="cpu")[0] for run in (one, more))
    assert max((p - q).abs().max().item() for p, q in zip(a.parameters(), b.parameters())) < 1e-4
    for x, y in zip(log(one), log(more)):
        if "grad_norm" in x:
            assert x["grad_norm"] == pytest.approx(y["grad_norm"], rel=1e-3)


def test_the_average_forgets_the_start():
    model = torch.nn.Linear(1, 1, bias=False)
    average, by_hand = WeightAverage(model, 0.999), model.weight.item()
    for step, value in enumerate((3.0, -1.0, 2.0, 5.0), 1):
        with torch.no_grad():
            model.weight.fill_(value)
        average.on_step_end(None, type("State", (), {"global_step": step}), None)
        decay = min(0.999, (1 + step) / (10 + step))
        by_hand = decay * by_hand + (1 - decay) * value
    with average.in_place():
        assert model.weight.item() == pytest.approx(by_hand, rel=1e-5)
    assert model.weight.item() == 5.0, "training goes on from its own weights"
    late = WeightAverage(model, 0.5)
    with torch.no_grad():
        model.weight.fill_(7.0)
    late.on_step_end(None, type("State", (), {"global_step": 10**6}), None)
    with late.in_place():
        assert model.weight.item() == 6.0
    with pytest.raises(Stop), late.in_place():
        raise Stop
    assert model.weight.item() == 7.0


def test_the_average_is_one_step_of_all_that_learns_and_of_nothing_else():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Operations(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append((function.name(), len(args[0])))
            return function(*args, **(kwargs or {}))

    model, seen = torch.nn.Sequential(*(torch.nn.Linear(3, 3) for _ in range(4))), []
    model[0].requires_grad_(False)
    average = WeightAverage(model, 0.9)
    expected = {name: p.detach().clone() for name, p in average.learning.items()}
    with torch.no_grad():
        for p in average.learning.values():
            p.add_(torch.rand_like(p))
    with Operations():
        average.on_step_end(None, type("State", (), {"global_step": 1000}), None)
    assert seen == [("aten::_foreach_lerp_.Scalar", 6)]
    for name, p in average.learning.items():
        assert torch.equal(average.average[name], expected[name].lerp(p, 1 - 0.9)), "to the bit"


def test_checkpoints_hold_the_average_and_what_goes_on(data, tmp_path):
    raw = {}

    def keep(model, state, **_):
        raw[state.global_step] = model.output.weight.detach().clone()

    run = train(tiny(), data, tmp_path / "run", ema=0.9, callbacks=[Watch(step=keep)])
    from safetensors.torch import load_file

    folder = run / "checkpoints/checkpoint-6"
    assert torch.equal(load_file(folder / "raw_weights.safetensors")["output.weight"], raw[6])
    assert not torch.equal(load_file(folder / "model.safetensors")["output.weight"], raw[6])


@pytest.mark.parametrize(
    "warmup, steps, rises",
    [(0.05, 100, 30), (0.5, 100, 50), (0.4, 100, 40), (0.9, 100, 50), (0.05, 6, 3)],
)
def test_the_learning_rate_rises_and_falls(data, tmp_path, warmup, steps, rises):
    args = imgcap.train.trainer.training_arguments(
        tiny()[0],
        data,
        fill_defaults(
            TrainConfig(out=str(tmp_path), warmup=warmup, max_steps=steps, precision="float32"),
            tiny()[0],
        ),
    )
    assert (
        args.warmup_steps == rises
        and args.lr_scheduler_type == "cosine"
        and args.max_steps == steps
    )


def test_the_learning_rate_of_a_run(data, tmp_path):
    run = train(tiny(), data, tmp_path / "run", max_steps=8, validations=8, learning_rate=0.01)
    rates = [entry["learning_rate"] for entry in log(run) if "learning_rate" in entry]
    by_hand = [
        step / 4 if step < 4 else (1 + math.cos(math.pi * (step - 4) / 4)) / 2 for step in range(8)
    ]
    assert rates == pytest.approx([0.01 * rate for rate in by_hand], abs=1e-6)


@pytest.mark.parametrize(
    "epochs, batch_size, accumulate, steps",
    [(3, 8, 1, 9), (3, 8, 2, 6), (0.5, 8, 1, 2), (0.01, 24, 1, 1)],
)
def test_epochs_are_steps(data, tmp_path, epochs, batch_size, accumulate, steps):
    config = TrainConfig(
        out=str(tmp_path),
        epochs=epochs,
        batch_size=batch_size,
        accumulate=accumulate,
        precision="float32",
    )
    assert (
        imgcap.train.trainer.training_arguments(
            tiny()[0], data, fill_defaults(config, tiny()[0])
        ).max_steps
        == steps
    )


@pytest.mark.parametrize(
    "changes", [{}, {"freeze": "git.embeddings"}, {"lora": 2}], ids=lambda c: next(iter(c), "plain")
)
def test_checkpointing_activations_changes_no_weights(data, tmp_path, changes):
    if "lora" in changes:
        pytest.importorskip("peft")
    usual, saving = (
        train(tiny(), data, tmp_path / str(on), gradient_checkpointing=on, **changes)
        for on in (False, True)
    )
    a, b = (load_model(run, device="cpu")[0] for run in (usual, saving))
    assert all(torch.allclose(p, q, atol=1e-6) for p, q in zip(a.parameters(), b.parameters()))


def test_the_same_seed_gives_the_same_additions(data, tmp_path):
    pytest.importorskip("peft")
    torch.manual_seed(1)
    one = train(tiny(), data, tmp_path / "one", lora=4)
    torch.manual_seed(2)
    assert weights(one) == weights(train(tiny(), data, tmp_path / "two", lora=4))


def test_a_frozen_part_does_not_move(data, tmp_path):
    before = tiny()[0].state_dict()
    after = load_model(train(tiny(), data, tmp_path / "run", freeze="vision"), device="cpu")[
        0
    ].state_dict()
    moved = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert moved and not any("image_encoder" in name for name in moved)


# --- features of a frozen encoder


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_features_are_kept_as_the_model_computes(data, tmp_path, precision):
    kinds, encoded = [], []

    def note(model, train_dataloader, **_):
        kinds.append(train_dataloader.base_dataloader.collate_fn.features.features.dtype)
        model.git.image_encoder.register_forward_pre_hook(
            lambda module, args: encoded.append(len(args[0])) if model.training else None
        )

    def forget(train_dataloader, **_):
        train_dataloader.base_dataloader.collate_fn.features = None

    options = dict(freeze="vision", max_steps=9, precision=precision)
    kept = train(tiny(), data, tmp_path / "kept", callbacks=[Watch(begin=note)], **options)
    again = train(tiny(), data, tmp_path / "again", callbacks=[Watch(begin=forget)], **options)
    assert (
        kinds == [getattr(torch, precision)]
        and sum(encoded) == 24
        and not list(kept.glob("features*"))
    )
    a, b = (load_model(run, device="cpu")[0] for run in (kept, again))
    assert max((p - q).abs().max().item() for p, q in zip(a.parameters(), b.parameters())) < 1e-7


def test_a_feature_file_is_shared(tmp_path):
    kept = FeatureFile(tmp_path / "features", 4, (2, 3), torch.bfloat16)
    assert not kept.has([0])
    kept.put([2, 0], torch.arange(12.0).view(2, 2, 3))
    again = FeatureFile(tmp_path / "features", 4, (2, 3), torch.bfloat16)
    assert (
        again.has([0, 2])
        and not again.has([0, 1])
        and torch.equal(again.features[2].float(), torch.arange(6.0).view(2, 3))
    )
    assert torch.equal(again.features[0].float(), torch.arange(6.0, 12.0).view(2, 3))
    again.remove()
    assert list(tmp_path.iterdir()) == []


class FromFile:
    "A collate function that says what is kept of each row, and where it was opened."

    def __init__(self, kept):
        self.kept = kept

    def __call__(self, rows):
        return os.getpid(), [(row, self.kept.has([row]), self.kept.features[row].sum().item())
                             for row in rows]


@pytest.mark.parametrize("start", [way for way in multiprocessing.get_all_start_methods()
                                   if way != "forkserver"])
def test_a_feature_file_is_shared_with_workers_however_they_start(tmp_path, monkeypatch, start):
    monkeypatch.chdir(tmp_path)
    kept = FeatureFile("features", 4, (2, 3), torch.float32)
    kept.put([2], torch.ones(1, 2, 3))
    loader = torch.utils.data.DataLoader(
        [0, 2], 2, collate_fn=FromFile(kept), num_workers=1, multiprocessing_context=start
    )
    ((process, said),) = loader
    assert process != os.getpid() and said == [(0, False, 0.0), (2, True, 6.0)]
    assert kept.has([2]) and kept.features[2].sum() == 6, "it stays open here"
    kept.remove()
    assert pickle.loads(pickle.dumps(kept)).features is None and not list(tmp_path.iterdir())


# --- captions of rows


@pytest.mark.parametrize("training", [False, True])
def test_rows_that_nobody_waits_for(data, training):
    model, processor = tiny(dropout=0.3)
    model.train(training)
    model.git.embeddings.train(not training)
    modes = [part.training for part in model.modules()]
    rows = caption_rows(
        model, CaptionCollator(processor), data["validation"], batch_size=4, max_new_tokens=4
    )
    next(rows)
    assert [part.training for part in model.modules()] == modes
    rows.close()
    assert [part.training for part in model.modules()] == modes


def test_rows_are_captioned_as_by_a_captioner(data):
    model, processor = small_model("git")
    rows = [
        (row["image_id"], caption)
        for row, caption in caption_rows(
            model.train(), CaptionCollator(processor), data["validation"], max_new_tokens=12
        )
    ]
    captions = Captioner(model.eval(), processor=processor).many(
        list(data["validation"]["image"]), max_new_tokens=12
    )
    assert rows == list(zip(data["validation"]["image_id"], captions))
    with pytest.raises((TypeError, ValueError)):
        next(caption_rows(model, CaptionCollator(processor), data["validation"], beams=3))


# --- choices

WRONG = [
    {"epochs": 0},
    {"epochs": math.nan},
    {"epochs": math.inf},
    {"max_steps": 0},
    {"batch_size": 0},
    {"captions_per_picture": 0},
    {"accumulate": 0},
    {"learning_rate": 0},
    {"learning_rate": -1},
    {"learning_rate": math.inf},
    {"learning_rate": math.nan},
    {"warmup": -0.1},
    {"warmup": 1.1},
    {"weight_decay": -1},
    {"max_grad_norm": 0},
    {"label_smoothing": 1},
    {"label_smoothing": -0.1},
    {"objective": "bleu"},
    {"samples": 1},
    {"lora": -1},
    {"ema": 0},
    {"ema": 1},
    {"max_length": 2},
    {"validations": 0},
    {"patience": 0},
    {"max_new_tokens": 0},
    {"precision": "int8"},
    {"seed": -1},
    {"seed": 2**32},
    {"threads": 0},
    {"workers": -1},
    {"batch_size": 2.5},
    {"augment": "yes"},
    {"freeze": None},
    {"objective": "cider", "label_smoothing": 0.1},
    {"samples": 3},
    {"captions_per_picture": 2, "objective": "cider"},
    {"lora": 2, "freeze": "vision"},
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_choice_out_of_its_limits_is_refused_at_birth(wrong):
    with pytest.raises(ValueError) as error:
        TrainConfig(**wrong)
    assert next(iter(wrong)) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "right",
    [
        {"label_smoothing": 0.0},
        {"warmup": 0},
        {"warmup": 1},
        {"weight_decay": 0},
        {"seed": 2**32 - 1},
        {"max_length": 3},
        {"workers": 0},
        {"patience": None},
        {"patience": 1},
        {"epochs": 0.1},
        {"samples": 5},
        {"samples": 3, "objective": "cider"},
    ],
    ids=str,
)
def test_a_choice_at_its_limit_is_taken(right):
    TrainConfig(**right)


def test_every_choice_has_its_help():
    from dataclasses import fields

    assert all(len(field.metadata["help"]) > 5 for field in fields(TrainConfig))


@pytest.mark.parametrize(
    "changes, numbers", [({"max_length": 65}, "65.*64"), ({"max_new_tokens": 64}, "64.*64")]
)
def test_captions_longer_than_the_model(changes, numbers):
    with pytest.raises(ValueError, match=numbers):
        fill_defaults(TrainConfig(precision="float32", **changes), tiny()[0])


@pytest.mark.parametrize("wrong, said", [
    (lambda data: data["train"], "training needs splits.* this is a Dataset"),
    (lambda data: {name: list(rows) for name, rows in data.items()}, "'train' is a list of rows"),
    (lambda data: data.rename_column("captions", "text"), "no column .captions., only: image, "),
    (lambda data: data.rename_column("image", "img"), "no column .image., only: img, "),
    (lambda data: data.map(lambda row: {"captions": row["captions"][0]},
                           features=datasets.Features(data["train"].features
                                                      | {"captions": datasets.Value("string")})),
     "one text for captions: creatures-train-00000, .*; give a list of texts$"),
])
def test_data_in_another_form(data, tmp_path, wrong, said):
    "What a newcomer hands over is refused in a line that says what is wanted; nothing is written."
    with pytest.raises(ValueError, match=said):
        finetune(*tiny(), wrong(data), out=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_weights_in_half_precision_are_refused_on_a_cpu(data, tmp_path):
    model, processor = tiny()
    with pytest.raises(ValueError, match="load them in float32"):
        train((model.bfloat16(), processor), data, tmp_path / "run")


def test_defaults_by_size():
    small = fill_defaults(TrainConfig(precision="float32"), tiny()[0], tiny()[1].tokenizer)
    assert (small.batch_size, small.learning_rate, small.max_length) == (64, 1e-3, 64)
    assert fill_defaults(TrainConfig(objective="cider"), tiny()[0]).learning_rate == 1e-3 / 20


@pytest.mark.parametrize(
    "captions",
    [lambda i: [] if i == 7 else ["a cat"], lambda i: ["a cat", " \n"] if i == 7 else ["a cat"]],
)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_row_without_a_caption_is_named(data, tmp_path, split, captions):
    bare = {**data, split: with_captions(data, captions)[split]}
    with pytest.raises(ValueError, match=data[split][7]["image_id"]) as error:
        train(tiny(), bare, tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


def test_ids_are_unique(data, tmp_path):
    twice = {**data, "train": data["train"].select([0, 1, 2, 1])}
    with pytest.raises(ValueError, match=data["train"][1]["image_id"]):
        train(tiny(), twice, tmp_path / "run")


def test_choices_reach_the_training(data, tmp_path):
    seen = []

    def note(model, train_dataloader, **_):
        collator = train_dataloader.base_dataloader.collate_fn
        seen.append(
            (
                collator.captions_per_picture,
                collator.max_length,
                collator.seed,
                collator.augment is not None,
            )
        )

    choices = dict(captions_per_picture=3, max_length=8, seed=7, augment=True)
    with pytest.warns(UserWarning, match="longer than 8 tokens"):
        train(tiny(), data, tmp_path / "run", callbacks=[Watch(begin=note)], max_steps=1, **choices)
    assert seen == [tuple(choices.values())]
    losses = [
        log(train(tiny(), data, tmp_path / str(smoothing), label_smoothing=smoothing, max_steps=1))[
            0
        ]["loss"]
        for smoothing in (0.0, 0.5)
    ]
    assert losses[0] != pytest.approx(losses[1], rel=1e-6)


def test_captions_are_drawn_anew_each_epoch(data, tmp_path):
    seen = {}

    class Tokenizer(type(tiny()[1].tokenizer)):
        def __call__(self, texts, *args, **options):
            if "max_length" in options and len(texts) == 8:
                seen.setdefault(len(seen), set()).update(texts)
            return super().__call__(texts, *args, **options)

    model, processor = tiny()
    processor.tokenizer.__class__ = Tokenizer
    train((model, processor), data, tmp_path / "run", max_steps=9, validations=1)
    epochs = [set.union(*(seen[i] for i in range(first, first + 3))) for first in (0, 3, 6)]
    assert len(set.union(*epochs)) > 24 and epochs[0] != epochs[1] != epochs[2]


def test_freezing_names_parts():
    with pytest.raises(ValueError, match="its larger parts are: vision, git"):
        choose_parts(tiny()[0], TrainConfig(freeze="eyes"))



@pytest.mark.parametrize("freeze", [
    "git.encoder", "git.embeddings", "git.image_encoder", "vision", "git.encoder, vision"])
def test_what_is_frozen_is_what_was_named(freeze):
    model, names = choose_parts(tiny()[0], TrainConfig(freeze=freeze)), freeze.split(", ")
    parts = tuple("git.image_encoder" if name == "vision" else name for name in names)
    for name, weights in model.named_parameters():
        assert weights.requires_grad is not name.startswith(parts), name


def test_validation_writes_captions_as_long_as_the_captioner_does():
    longest = inspect.signature(validation_scores).parameters["max_new_tokens"].default
    assert longest == Decoding().max_new_tokens


def shown_by(log, *histories, steps=6):
    "What a `RunLog` shows of validations, each with the log up to it."
    for history in histories:
        entry = history[-1]
        state = SimpleNamespace(
            global_step=entry["step"], max_steps=steps, epoch=1.0, is_world_process_zero=True,
            log_history=history,
        )
        if log.lines is None:
            log.on_train_begin(None, SimpleNamespace(**{**vars(state), "log_history": []}), None)
        log.on_evaluate(None, state, None, metrics={"eval_wer": 1.0, **entry})


@pytest.mark.parametrize("by, stars", [("cider_d", [1, 2]), ("loss", [1, 3])])
def test_the_best_validation_so_far_has_a_star(tmp_path, by, stars):
    said, scores = [], [validation(1, 0.1, 2.0), validation(2, 0.4, 2.5), validation(3, 0.2, 1.5)]
    log = RunLog(tmp_path, echo=said.append, by=by)
    shown_by(log, *(scores[:n] for n in (1, 2, 3)))
    head, *lines = said
    assert [i for i, line in enumerate(lines, 1) if line.endswith("* best")] == stars
    assert len({len(line.removesuffix(" * best")) for line in said}) == 1, "below one another"
    assert head.split() == ["epoch", "loss", "val.", "loss", "CIDEr-D", "WER", "left"]
    again = RunLog(tmp_path, echo=said.append, by=by)
    state = SimpleNamespace(global_step=3, max_steps=6, log_history=scores)
    state.is_world_process_zero = True
    again.on_train_begin(None, state, None)
    assert again.best["step"] == stars[-1], "also where a run goes on"


@pytest.mark.parametrize("columns", [80, 60, 40])
@pytest.mark.parametrize("steps", [40, 5000])
def test_lines_of_validations_fit_a_terminal(columns, steps):
    lines = ValidationLines(steps, columns)
    state = SimpleNamespace(global_step=steps, max_steps=steps, epoch=123.4)
    line = lines.of(state, -10.123, validation(steps, 2.5, 10.5) | {"eval_wer": 1.5}, 86399, True)
    assert len(lines.head()) <= len(line) <= columns - 3 and "2.500" in line and "best" in line


def test_a_loss_that_is_no_number_stops_the_run(data, tmp_path):
    model, processor = tiny()
    with torch.no_grad():
        model.output.weight[0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="at step 1, with the pictures creatures-train-"):
        train((model, processor), data, tmp_path / "run")
