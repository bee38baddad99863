"""What a training of chat models chooses by their size, and the traps of libraries that it has to
go around: each would make a model worse without a word, or end in an error of somebody else's."""

import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import nn
from transformers import AutoConfig, AutoTokenizer, TrainerCallback

from imgcap.config import TrainConfig
from imgcap.data.creatures import make_creatures
from imgcap.families import caption_tokenizer
from imgcap.families.seen import count_pictures
from imgcap.model import caption_loss, load_model
from imgcap.model.checkpoints import weights_type
from imgcap.preprocess import CaptionCollator
from imgcap.train import fill_defaults, finetune
from imgcap.train.endings import _note_start, _start_of

from imgcap.train.parts import choose_parts, made_ready, what_is_saved
from imgcap.train.starts import describe_start, first_lines
from imgcap.train.trainer import make_trainer, training_arguments

SHORT = dict(max_steps=1, validations=1, max_new_tokens=2, precision="float32", echo=str)


@pytest.fixture(scope="module")
def data():
    return make_creatures({"train": 4, "validation": 10})


@pytest.fixture(scope="module")
def rows(data):
    return list(data["train"])


# --- what is chosen by size


class Sized(nn.Module):
    "A model of a type and a number of weights, which take no memory."

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self, kind, weights):
        super().__init__()
        self.config = AutoConfig.for_model(kind)
        self.weights = nn.Parameter(torch.empty(weights, device="meta"))


def chosen(model, **asked):
    filled = fill_defaults(TrainConfig(precision="float32", **asked), model)
    names = ("batch_size", "accumulate", "learning_rate", "lora", "gradient_checkpointing")
    return tuple(getattr(filled, name) for name in names)


SMALL, LARGE, CHAT, HUGE = (
    ("git", 10**6), ("git", 10**8), ("idefics3", 10**8), ("qwen3_vl", 2 * 10**9)
)  # fmt: skip


@pytest.mark.parametrize(
    "model, asked, wanted",
    [
        (SMALL, {}, (64, 1, 1e-3, None, False)),
        (SMALL, {"lora": 4}, (64, 1, 1e-3, 4, False)),
        (SMALL, {"objective": "cider"}, (64, 1, 5e-5, None, False)),
        (("idefics3", 10**6), {}, (64, 1, 1e-3, None, False)),
        (LARGE, {}, (8, 1, 5e-5, None, False)),
        (LARGE, {"lora": 4}, (8, 1, 2e-4, 4, False)),
        (("florence2", 10**8), {}, (8, 1, 5e-5, None, False)),
        (CHAT, {}, (4, 4, 2e-5, None, False)),
        (CHAT, {"lora": 8}, (4, 4, 2e-4, 8, False)),
        (CHAT, {"batch_size": 2}, (2, 8, 2e-5, None, False)),
        (CHAT, {"batch_size": 32}, (32, 1, 2e-5, None, False)),
        (CHAT, {"accumulate": 1}, (4, 1, 2e-5, None, False)),
        (HUGE, {}, (4, 4, 2e-4, 16, True)),
        (HUGE, {"lora": 0}, (4, 4, 2e-5, 0, True)),
        (HUGE, {"lora": 8, "gradient_checkpointing": False}, (4, 4, 2e-4, 8, False)),
        (HUGE, {"freeze": "weights"}, (4, 4, 2e-5, None, True)),
        (("git", 2 * 10**9), {}, (8, 1, 5e-5, None, False)),
    ],
    ids=str,
)
def test_what_nobody_chose_is_chosen_by_size(model, asked, wanted):
    assert chosen(Sized(*model), **asked) == pytest.approx(wanted)


def test_a_step_sees_as_many_pictures_with_several_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert chosen(Sized(*CHAT))[:2] == (4, 2)


def lines(model, args=None, **asked):
    asked = TrainConfig(**{"precision": "float32", **asked})
    return list(first_lines([], asked, fill_defaults(asked, model), model, args or Alone()))


class Alone:
    n_gpu, should_save = 1, True


@pytest.mark.parametrize(
    "model, asked, moved",
    [
        (SMALL, {"lora": 8}, True),
        (LARGE, {"lora": 8}, True),
        (CHAT, {}, True),
        (CHAT, {"lora": 8}, False),
        (CHAT, {"lora": 8, "augment": True}, True),
        (CHAT, {"lora": 8, "lora_vision": True}, True),
        (HUGE, {}, False),
        (HUGE, {"lora": 0}, True),
    ],
    ids=str,
)
def test_images_stay_as_they_are_where_what_sees_them_does(model, asked, moved):
    "Then each is read once."
    config = TrainConfig(precision="float32", **asked)
    assert fill_defaults(config, Sized(*model)).augment is moved
    unasked = not moved and "augment" not in asked
    assert ("augment=False" in " ".join(lines(Sized(*model), **asked))) is unasked


def test_it_is_said_how_much_of_a_large_chat_model_learns():
    chosen_, small_additions = lines(Sized(*HUGE))
    assert "2,000 million weights" in chosen_
    assert "lora=16, batch_size=4, accumulate=4, learning_rate=0.0002" in chosen_
    assert "gradient_checkpointing" in chosen_ and "lora=0" in small_additions
    assert lines(Sized(*SMALL)) == lines(Sized(*LARGE)) == []
    [line] = lines(Sized(*CHAT))
    assert "lora" not in line
    every = dict(lora=4, batch_size=1, accumulate=1, learning_rate=1e-4, augment=False)
    assert lines(Sized(*HUGE), gradient_checkpointing=True, **every) == []


def test_a_gpu_without_bfloat16_takes_float16_and_says_so(monkeypatch):
    model = Sized(*CHAT)
    model.device = torch.device("cuda")
    monkeypatch.setattr("imgcap.devices.has_bfloat16", lambda device: False)
    assert "float16 with a scaled loss" in lines(model, precision="auto")[0]
    small = Sized(*SMALL)
    small.device = model.device
    assert "float16 with a scaled loss" in lines(small, precision="auto")[0], "of any model"


def test_one_of_several_gpus_is_used_and_it_is_said(folders, data, tmp_path):
    "Trainer's way with several would tear the pictures of a Qwen, whose patches are one list."
    model, processor = load_model(folders("qwen3_vl"), device="cpu")
    config = TrainConfig(out=str(tmp_path), batch_size=2, accumulate=1, learning_rate=1e-3)
    args = training_arguments(model, data, config)
    args._n_gpu = 2
    assert "torchrun --nproc-per-node 2" in lines(Sized(*SMALL), args)[0]
    trainer = make_trainer(
        model, processor, data, config, args, tmp_path, [], by="loss", language="en", loss=None
    )
    assert trainer.args.train_batch_size == 2
    assert not isinstance(trainer._wrap_model(model), nn.DataParallel)


# --- whether it was of use


def test_a_run_that_only_got_worse_than_its_start_says_so(folders, data, tmp_path):
    pytest.importorskip("peft")
    few, last = {**data, "validation": data["validation"].select(range(5))}, {}  # by loss, then
    for name, rate in ("worse", 1.0), ("better", 1e-3):
        model, processor = load_model(folders("idefics3"), device="cpu")
        said = []
        options = SHORT | dict(max_steps=2, echo=said.append)
        out = tmp_path / name
        run = finetune(model, processor, few, out=out, lora=8, learning_rate=rate, **options)
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        assert log[0].keys() == {"step", "start_loss", "start_cider_d", "start_wer"}
        assert log[0]["step"] == 0 and sum("eval_loss" in entry for entry in log) == 1
        last[name] = said[-1]
    assert "of the model that training began from" in last["worse"]
    assert "no better" not in last["better"]


class StopAtOnce(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        raise KeyboardInterrupt


def test_a_run_that_came_to_no_step_leaves_nothing(folders, data, tmp_path):
    "Though it had scored its start."
    with pytest.raises(KeyboardInterrupt):
        finetune(
            *load_model(folders("idefics3"), device="cpu"), data, out=tmp_path / "run",
            callbacks=[StopAtOnce()], **SHORT
        )
    assert not (tmp_path / "run").exists()


def test_only_what_writes_already_is_scored_at_the_start(tmp_path):
    _note_start(SimpleNamespace(bare_model=Sized(*SMALL)), tmp_path)
    assert _start_of(tmp_path) is None


# --- LoRA, and weights of few bits


def lora_gradients(model, batch, **changes):
    "Of what LoRA adds to each layer, and how often the first layer was computed."
    times = []
    with made_ready(model, TrainConfig(lora=2, seed=1, **changes)) as learning:
        first = model.get_decoder().layers[0].self_attn
        hook = first.register_forward_pre_hook(lambda *_: times.append(1))
        caption_loss(learning.train(), batch).backward()
        hook.remove()
        return [p.grad.clone() for p in learning.parameters() if p.requires_grad], len(times)


@pytest.mark.parametrize("kind", ["idefics3", "qwen3_vl"])
def test_activations_are_computed_again_with_lora_too(kind, folders, rows):
    "Frozen embeddings must not cut the gradient off: the first layer learns as without."
    pytest.importorskip("peft")
    model, processor = load_model(folders(kind), device="cpu")
    batch = CaptionCollator(processor)(rows)
    kept, once = lora_gradients(model, batch)
    again, twice = lora_gradients(model, batch, gradient_checkpointing=True)
    assert (once, twice) == (1, 2)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(kept, again, strict=True))
    assert sum(bool(gradient.any()) for gradient in again) >= len(again) // 2  # B is 0 at first


@pytest.mark.parametrize("vision", [False, True])
def test_lora_passes_by_a_layer_that_it_cannot_wrap(vision, folders, data, tmp_path):
    "Gemma 4's tower wraps its linear layers in another of its own."
    pytest.importorskip("peft")
    model, _ = load_model(folders("gemma4"), device="cpu")
    learning = choose_parts(model, TrainConfig(lora=2, lora_vision=vision))
    adapted = [name for name, _ in learning.named_parameters() if "lora_A" in name]
    assert any("vision_tower" in name for name in adapted) is vision
    assert any("language_model" in name for name in adapted)


def test_lora_learns_in_float32_beside_half_weights(folders, data, tmp_path):
    pytest.importorskip("peft")
    model, processor = load_model(folders("idefics3"), device="cpu", dtype="bfloat16")
    with made_ready(model, TrainConfig(lora=2)) as learning:
        assert {p.dtype for p in learning.parameters() if p.requires_grad} == {torch.float32}
        assert model.dtype == torch.bfloat16
    with made_ready(model, TrainConfig()) as learning:
        assert {p.dtype for p in learning.parameters()} == {torch.float32}, "what learns"
    model, processor = load_model(folders("idefics3"), device="cpu", dtype="bfloat16")
    run = finetune(model, processor, data, out=tmp_path / "run", lora=2, **SHORT)
    about = json.loads((run / "run.json").read_text())
    assert about["validation"]["precision"] == "bfloat16"


def test_all_that_learns_is_said_to_be_float32(folders, data, tmp_path):
    "As it is by the first validation, whatever the model was loaded as."
    model, processor = load_model(folders("idefics3"), device="cpu", dtype="bfloat16")
    for lora, wanted in (0, "float32"), (2, "bfloat16"):
        asked = dict(out=str(tmp_path), batch_size=2, accumulate=1, learning_rate=1, lora=lora)
        config = TrainConfig(**asked)
        args = training_arguments(model, data, config)
        about = describe_start(model, processor, data, config, args, "en")
        assert about["validation"]["precision"] == wanted


def few_bits(folder):
    "A model that says so of itself, as bitsandbytes makes it say: that needs a GPU."
    model, processor = load_model(folder, device="cpu")
    model.is_quantized = True
    return model, processor


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"lora": 0}, "quantized weights cannot learn"),
        ({"freeze": "vision"}, "quantized weights cannot learn"),
        ({"lora": 4, "merge": True}, "nothing is merged into quantized weights"),
    ],
    ids=str,
)
def test_what_few_bits_cannot_do_is_refused(changes, said, folders, data, tmp_path):
    model, processor = few_bits(folders("idefics3"))
    with pytest.raises(ValueError, match=said) as refused:
        finetune(model, processor, data, out=tmp_path / "run", **SHORT, **changes)
    assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


def test_of_few_bits_lora_learns_and_stays_beside_them(folders, data):
    pytest.importorskip("peft")
    model, processor = few_bits(folders("idefics3"))
    config = fill_defaults(TrainConfig(), model)
    assert config.lora == 16
    assert what_is_saved(config, model) == ["adapter"]
    with made_ready(model, config), torch.inference_mode():
        bias = model.get_encoder(modality="image").encoder.layers[0].mlp.fc1.bias
        bias.data = bias.data.clone()  # as a layer of 8 bits does where another type comes in
    assert any("lora_A" in name for name, _ in model.named_modules())
    with pytest.raises(ValueError, match="LoRA's additions beside its weights"):
        finetune(model, processor, data, **SHORT)
    model, processor = few_bits(folders("idefics3"))
    with pytest.raises(KeyboardInterrupt), made_ready(model, config):
        raise KeyboardInterrupt
    assert not any("lora_A" in name for name, _ in model.named_modules())


def test_few_bits_are_computed_with_in_what_the_gpu_is_fast_in(monkeypatch, tmp_path):
    from imgcap.families import CHAT as chat

    gpu = torch.device("cuda")
    for there, wanted in (True, torch.bfloat16), (False, torch.float16):
        monkeypatch.setattr("imgcap.model.checkpoints.has_bfloat16", lambda device, x=there: x)
        assert weights_type("auto", tmp_path, chat, gpu, less=object()) == wanted
    assert weights_type("auto", tmp_path / "none", chat, gpu) == torch.float32


# --- traps of libraries, each by name


def test_florence_is_not_shifted_twice(folders, rows):
    "The loss is the library's own for the same labels, which it shifts once."
    model, processor = load_model(folders("florence2"), device="cpu")
    batch = CaptionCollator(processor, choose="first")(rows)
    labels = batch["labels"].clone()
    labels[:, 0] = -100  # <s> is given
    prompt = [name for name in batch if name.startswith("prompt_")]
    seen = {name.removeprefix("prompt_"): batch[name] for name in prompt}
    with torch.no_grad():
        own = model(**seen, pixel_values=batch["pixel_values"], labels=batch["labels"]).logits
        theirs = nn.functional.cross_entropy(own[:, 1:].flatten(0, 1), labels[:, 1:].flatten())
        assert caption_loss(model, batch) == pytest.approx(float(theirs), rel=1e-5)


@pytest.mark.parametrize("kind", ["idefics3", "qwen3_vl", "gemma3", "llava"])
def test_a_chat_tokenizer_stays_as_it_is(kind, folders, tmp_path):
    "First and last tokens of captions are put by a copy; saved with a run, it is the checkpoint's."
    plain = AutoTokenizer.from_pretrained(folders(kind))
    _, processor = load_model(folders(kind), device="cpu")
    caption_tokenizer(processor)("a red creature")
    processor.save_pretrained(tmp_path)
    text = "a red creature"
    for tokenizer in processor.tokenizer, AutoTokenizer.from_pretrained(tmp_path):
        assert tokenizer(text).input_ids == plain(text).input_ids
        assert tokenizer.padding_side == plain.padding_side
        assert tokenizer.eos_token == plain.eos_token


ENDS = {"idefics3": "<end_of_utterance>", "qwen3_vl": "<|im_end|>", "gemma3": "<end_of_turn>"}


@pytest.mark.parametrize("kind", ENDS)
def test_labels_end_with_the_end_of_the_answer(kind, folders, rows):
    """It stands in the prompt too, after the question, and a line end behind it: neither is
    learned. Gemma has two ends, and an answer has that of a turn."""
    _, processor = load_model(folders(kind), device="cpu")
    batch = CaptionCollator(processor, choose="first")(rows)
    tokenizer, end = processor.tokenizer, processor.tokenizer.convert_tokens_to_ids(ENDS[kind])
    assert (batch["prompt_input_ids"] == end).any(), "which is why it is tested"
    for labels, row in zip(batch["labels"], rows):
        learned = labels[1:][labels[1:] != -100].tolist()
        assert learned.count(end) == 1 and learned[-1] == end
        assert tokenizer.decode(learned[:-1]).strip() == row["captions"][0]


@pytest.mark.parametrize("kind", ENDS)
def test_only_the_caption_is_cut(kind, folders, rows):
    "A prompt that is cut has fewer places than the picture has vectors."
    model, processor = load_model(folders(kind), device="cpu")
    whole = CaptionCollator(processor)(rows)
    with pytest.warns(UserWarning, match="longer than 5 tokens"):
        batch = CaptionCollator(processor, max_length=5)(rows)
    assert batch["input_ids"].shape[1] == 5
    prompts = [name for name in whole if name.startswith("prompt_")]
    assert prompts and all(torch.equal(batch[name], whole[name]) for name in prompts)
    assert torch.isfinite(caption_loss(model, batch))
    assert count_pictures({name: batch[name] for name in prompts}) == len(rows)


@pytest.mark.parametrize("kind", ["idefics3", "qwen3_vl", "internvl"])
def test_a_large_picture_takes_no_more_places_than_captions_need(kind, folders):
    "As they come, checkpoints cut it in tiles or read up to 16 million pixels."
    model, processor = load_model(folders(kind), device="cpu")
    large = {"image": Image.new("RGB", (1600, 1200)), "image_id": "large"}
    _, seen = CaptionCollator(processor).see([large])
    places = int((seen["prompt_input_ids"] == model.config.image_token_id).sum())
    assert 1 < places <= 256
