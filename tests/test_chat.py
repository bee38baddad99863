"""Chat models and Florence-2 in the package: one loss, one way to write, and runs with LoRA, for
each type that `chat_models.py` can make."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from chat_models import KINDS, load_chat
from torch.nn.functional import cross_entropy
from transformers import TrainerCallback

from imgcap.config import TrainConfig
from imgcap.data.creatures import make_creatures
from imgcap.evaluate import evaluate_model, read_scores
from imgcap.evaluate.explain import word_heatmaps
from imgcap.families import caption_tokenizer, model_family
from imgcap.families.chat import ALIKE, QUESTION, QUESTIONS, encode_image, render, see_with_prompt
from imgcap.families.seen import PROMPT, seen_of
from imgcap.infer import Captioner
from imgcap.model import (
    caption_loss,
    generate_captions,
    generate_tokens,
    load_model,
    weights_fingerprint,
)
from imgcap.preprocess import CaptionCollator
from imgcap.train import finetune, self_critical_loss
from imgcap.train.batches import feature_file
from imgcap.train.parts import made_ready

TYPES = [kind for kind in KINDS if kind != "paligemma"]
CHATS = [kind for kind in TYPES if kind != "florence2"]


@pytest.fixture(scope="module")
def rows():
    return list(make_creatures({"train": 8})["train"])


@pytest.fixture(scope="module")
def data():
    return make_creatures({"train": 6, "validation": 10, "test": 4})


# Trained here in each run of the tests, the others with --slow
QUICK = ("idefics3", "qwen3_vl", "florence2")
TRAINED = [
    kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in TYPES
]


@pytest.fixture(params=TYPES)
def loaded(request, folders):
    return request.param, *load_model(folders(request.param), device="cpu")


def alone(kind, model, processor, row):
    "What the library takes for one picture with its caption, made without the package's batches."
    caption = row["captions"][0]
    if kind == "florence2":
        seen = processor(images=row["image"], text="<CAPTION>", return_tensors="pt")
        return dict(seen), processor.tokenizer(caption, return_tensors="pt").input_ids
    tiles = {"do_image_splitting": False} if "smolvlm" in kind or "idefics" in kind else {}
    if kind == "internvl":
        tiles = {"crop_to_patches": False}
    head = render(processor, QUESTION)
    start = processor.tokenizer.bos_token
    seen = processor(
        images=[[row["image"]]],
        text=[head],
        return_tensors="pt",
        add_special_tokens=not (start and head.startswith(start)),
        **tiles,
    )
    between = " " if kind in ("idefics3", "smolvlm", "llava") else ""
    ids = processor.tokenizer(between + caption, add_special_tokens=False).input_ids
    ends = model.generation_config.eos_token_id
    ends = [ends] if isinstance(ends, int) else ends
    closes = [
        i
        for i in processor.tokenizer(
            render(processor, QUESTION, answer="x").rsplit("x", 1)[1], add_special_tokens=False
        ).input_ids
        if i in ends
    ]
    return dict(seen), torch.tensor([[*ids, (closes or [processor.tokenizer.eos_token_id])[0]]])


@torch.no_grad()
def logits_of(kind, model, seen, ids):
    "Scores of each token of `ids`, by the whole model and nothing left out: (T, V)."
    if kind == "florence2":
        start = torch.tensor([[model.config.text_config.decoder_start_token_id]])
        told = torch.cat([start, ids[:, :-1]], dim=1)
        return model(**seen, decoder_input_ids=told).logits[0, 1:]
    inputs = dict(seen)
    for name, value in seen.items():
        if value.shape == seen["input_ids"].shape:
            more = ids if name == "input_ids" else torch.full_like(ids, name == "attention_mask")
            inputs[name] = torch.cat([value, more], dim=1)
    return model(**inputs).logits[0, -ids.shape[1] - 1 : -1]


def test_the_loss_is_the_cross_entropy_of_captions(loaded, rows):
    "Of the caption and its end, of pictures alone; nothing of a prompt, a picture or padding."
    kind, model, processor = loaded
    total = count = 0
    for row in rows[:3]:
        seen, ids = alone(kind, model, processor, row)
        logits = logits_of(kind, model, seen, ids)
        targets = ids[0, 1:] if kind == "florence2" else ids[0]  # <s> is given
        total += cross_entropy(logits.float(), targets, reduction="sum")
        count += len(targets)
    batch = CaptionCollator(processor, choose="first")(rows[:3])
    assert (batch["labels"][:, 1:] != -100).sum() == count
    with torch.no_grad():
        assert caption_loss(model, batch) == pytest.approx(float(total / count), abs=2e-5)


def test_scores_of_captions_are_those_of_everything(loaded, rows):
    "Within a millionth, and from states that lie together: else weights are copied for each."
    kind, model, processor = loaded
    batch, asked = CaptionCollator(processor, choose="first")(rows[:3]), []
    inner = model.forward

    def everything(*given, logits_to_keep=0, **named):
        return inner(*given, **named)

    def note(head, states):
        asked.append((states[0].shape[1], states[0].is_contiguous()))

    hook = model.get_output_embeddings().register_forward_pre_hook(note)
    with torch.no_grad():
        kept = caption_loss(model, batch)
        model.forward = everything
        assert kept == pytest.approx(float(caption_loss(model, batch)), abs=1e-6)
    hook.remove()
    model.forward = inner
    if kind in CHATS:
        assert asked[0] == (batch["input_ids"].shape[1], True) and asked[1][0] > asked[0][0]


@pytest.mark.parametrize("kind", ["idefics3", "qwen3_vl"])
def test_who_writes_puts_the_last_places_together(kind, folders, rows):
    model, processor = load_model(folders(kind), device="cpu")
    asked, head = [], model.get_output_embeddings()
    apply = head.forward
    head.forward = lambda states: asked.append(states.is_contiguous()) or apply(states)
    captioner = Captioner(model, processor=processor)
    assert len(list(captioner.many([row["image"] for row in rows[:2]], max_new_tokens=2))) == 2
    assert asked and all(asked) and not head._forward_pre_hooks


def test_a_type_that_names_no_output_layer_writes_all_the_same(folders, rows):
    "Of the library's chat models, Nemotron's is one."
    model, processor = load_model(folders("idefics3"), device="cpu")
    captioner, image = Captioner(model, processor=processor), rows[0]["image"]
    usual = captioner(image, max_new_tokens=3)
    model.get_output_embeddings = lambda: None
    assert captioner(image, max_new_tokens=3) == usual


def test_several_captions_of_a_picture_share_it(loaded, rows):
    kind, model, processor = loaded
    several = CaptionCollator(processor, captions_per_picture=2)(rows[:2])
    apart = [
        CaptionCollator(processor, choose="first")([{**row, "captions": [caption]}])
        for row in rows[:2]
        for caption in processor_captions(processor, several, row, rows[:2])
    ]
    with torch.no_grad():
        tokens = [(batch["labels"][:, 1:] != -100).sum() for batch in apart]
        total = sum(n * caption_loss(model, batch) for n, batch in zip(tokens, apart))
        assert caption_loss(model, several) == pytest.approx(float(total / sum(tokens)), abs=2e-5)


def processor_captions(processor, batch, row, rows):
    "The two captions that were drawn of a row."
    tokenizer, place = caption_tokenizer(processor), 2 * rows.index(row)
    pairs = zip(batch["input_ids"], batch["labels"])
    texts = [
        tokenizer.decode(ids[labels != -100][1:], skip_special_tokens=True).strip()
        for ids, labels in pairs
    ]
    return texts[place : place + 2]


def test_what_is_written_is_what_the_whole_model_would_say(loaded, rows):
    "Cached, in a batch, and in a stream: the likeliest token each time."
    kind, model, processor = loaded
    options = {"max_new_tokens": 6, "no_repeat_words": 0}
    captioner = Captioner(model, processor=processor)
    batch = list(captioner.many([row["image"] for row in rows[:3]], **options))
    tokenizer = caption_tokenizer(processor)
    for row, caption in zip(rows[:3], batch):
        seen, _ = alone(kind, model, processor, row)
        ids = torch.tensor([[0]]) if kind == "florence2" else torch.zeros(1, 0, dtype=int)
        if kind == "florence2":
            ids[:] = tokenizer.bos_token_id
        for token in caption.tokens:
            wanted = logits_of(kind, model, seen, torch.cat([ids, ids.new_zeros(1, 1)], dim=1))
            best = wanted[-1].argmax()
            assert tokenizer.decode([best]) == token
            ids = torch.cat([ids, best.view(1, 1)], dim=1)
            if best in processor.tokenizer.all_special_ids:
                break  # a picture's place, which random weights may write
        assert QUESTION not in caption.text
    *_, streamed = captioner.stream(rows[0]["image"], **options)
    assert streamed.text == batch[0].text and streamed.tokens == batch[0].tokens


@pytest.mark.parametrize("loaded", TRAINED, indirect=True)
def test_pictures_are_learned_word_for_word_and_saved(loaded, rows, tmp_path):
    "And read back by plain Auto classes."
    kind, model, processor = loaded
    batch = CaptionCollator(processor, choose="first")(rows)
    captions = [row["captions"][0] for row in rows]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(300):
        loss = caption_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if loss < 0.01:
            break
    images = [row["image"] for row in rows]
    written = list(Captioner(model.eval(), processor=processor).many(images, no_repeat_words=0))
    assert [caption.text for caption in written] == captions
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    plain, _ = load_chat(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters()))
    again = list(Captioner(tmp_path, device="cpu").many(images, no_repeat_words=0))
    assert [caption.text for caption in again] == captions


class StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("loaded", TRAINED, indirect=True)
def test_a_run_with_lora_from_start_to_captions(loaded, folders, data, tmp_path):
    "Stopped and resumed bit for bit, evaluated, and captioned with by its folder."
    pytest.importorskip("peft")
    kind = loaded[0]
    asked = {"lora": 2, "max_steps": 4, "validations": 2, "max_new_tokens": 4, "batch_size": 3}

    def train(out, **more):
        model, processor = load_model(folders(kind), device="cpu")
        options = {**asked, "augment": False, "precision": "float32", **more}
        return finetune(model, processor, data, out=tmp_path / out, echo=str, **options)

    whole = train("whole")
    with pytest.raises(KeyboardInterrupt):
        train("half", callbacks=[StopAt(3)])
    half = train("half", resume=True)
    about = [json.loads((run / "run.json").read_text())["finished"] for run in (whole, half)]
    assert about[0]["weights"] == about[1]["weights"] == weights_fingerprint(half)
    if model_family(loaded[1].config).reads_on:
        assert (half / "adapter/adapter_model.safetensors").is_file()
        assert not (half / "model").exists()
    report = evaluate_model(half, data, "test", resamples=5, device="cpu")
    report.save(half)
    assert read_scores(half)[0]["test"]["model"]["n"] == 4, read_scores(half)[1]
    captioner = Captioner(half, device="cpu")
    rows = data["test"]
    written = [caption.text for caption in captioner.many(list(rows["image"]))]
    assert written == [row["caption"] for row in report.predictions]


@pytest.mark.parametrize("kind", ["idefics3", "qwen3_vl"])
def test_lora_touches_the_language_model_only(kind, folders, data, tmp_path):
    pytest.importorskip("peft")
    from safetensors.torch import load_file

    for more, wanted in ({}, False), ({"lora_vision": True}, True):
        model, processor = load_model(folders(kind), device="cpu")
        run = finetune(
            model, processor, data, out=tmp_path / str(wanted), lora=2, max_steps=1, echo=str,
            validations=1, max_new_tokens=2, precision="float32", merge=True, **more
        )
        names = load_file(run / "adapter/adapter_model.safetensors")
        assert any("vision" in name or "visual" in name for name in names) is wanted
        assert (run / "model/model.safetensors").is_file(), "merged on request"


@pytest.mark.parametrize("kind", ["idefics3", "qwen3_vl", "gemma4", "florence2"])
def test_words_are_explained_by_painting_over_the_picture(kind, folders, rows):
    model, processor = load_model(folders(kind), device="cpu")
    image = rows[0]["image"]
    maps = word_heatmaps(model, processor, image, "a red creature", batch_size=32)
    assert [word.word for word in maps] == ["a", "red", "creature"]
    assert all(word.map.shape == (8, 8) and 0 < word.confidence < 1 for word in maps)
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    plain = word_heatmaps(model, processor, grey, "a red one")
    assert all(abs(word.map).max() < 1e-5 for word in plain), "grey over grey changes nothing"
    with pytest.raises(ValueError, match="attention maps are for GIT"):
        word_heatmaps(model, processor, image, "a red creature", method="attention")


def test_a_reward_for_whole_captions(folders, rows):
    "Its gradient is that of the log-probabilities that the model itself gives."
    model, processor = load_model(folders("idefics3"), device="cpu")
    batch = CaptionCollator(processor)(rows[:2]) | {"image_id": ["a", "b"]}

    def reward(ids, captions):
        return [float(len(caption)) for caption in captions]

    tokenizer = caption_tokenizer(processor)
    torch.manual_seed(0)
    loss = self_critical_loss(
        model, model, tokenizer, reward, batch, samples=2, max_new_tokens=4
    )
    loss.backward()
    assert torch.isfinite(loss) and any(p.grad.abs().sum() > 0 for p in model.parameters()
                                        if p.grad is not None)


# --- features of a frozen vision tower


@pytest.mark.parametrize("kind", CHATS)
def test_features_say_what_the_picture_says(kind, folders, rows):
    "To the last bit, also where a picture has several captions; of types that see all alike."
    model, processor = load_model(folders(kind), device="cpu")
    batch = CaptionCollator(processor, captions_per_picture=2)(rows[:3])
    pictures = {name for name in seen_of(batch) if not name.startswith(PROMPT)}
    with torch.no_grad():
        features = encode_image(model, seen_of(batch))
        assert (features is None) is (kind not in ALIKE)
        if features is None:
            return
        kept = {name: value for name, value in batch.items() if name not in pictures}
        loss = caption_loss(model, {**kept, "image_features": features})
        assert features.shape[0] == 3 and loss == caption_loss(model, batch)


class Encoded(TrainerCallback):
    "Counts the pictures that the vision tower sees in training; may take the feature file away."

    def __init__(self, keep=True):
        self.keep, self.seen, self.kept = keep, 0, None

    def note(self, module, args, kwargs):
        self.seen += len(kwargs["pixel_values"]) if module.training else 0

    def on_train_begin(self, args, state, control, model, train_dataloader, **kwargs):
        collator = train_dataloader.base_dataloader.collate_fn
        self.kept = collator.features
        if not self.keep:
            collator.features = None
        model.get_encoder(modality="image").register_forward_pre_hook(self.note, with_kwargs=True)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_with_features_is_the_run_without(precision, folders, tmp_path):
    "And reads each picture once; stopped and resumed with them it is the same, bit for bit."
    pytest.importorskip("peft")
    data = make_creatures({"train": 5, "validation": 1})

    def train(name, note, *more, **options):
        asked = {"max_steps": 6, "validations": 2, "max_new_tokens": 2, "batch_size": 3} | options
        run = finetune(
            *load_model(folders("idefics3"), device="cpu"), data, out=tmp_path / name, lora=2,
            callbacks=[note, *more], augment=False, precision=precision, echo=str, **asked
        )
        assert note.keep == (not list(run.glob("features*")))
        return weights_fingerprint(run)

    whole, without, half, rest = Encoded(), Encoded(keep=False), Encoded(), Encoded()
    weights = train("whole", whole)
    assert whole.kept.made_of == (5, (16, 64), getattr(torch, precision))
    assert whole.seen == 5, "two batches, three epochs"
    assert train("without", without) == weights and without.seen == 15
    with pytest.raises(KeyboardInterrupt):
        train("half", half, StopAt(5))
    assert train("half", rest, resume=True) == weights and rest.seen <= 7, "from step 3"


@pytest.mark.parametrize("options", [{"augment": True}, {"lora_vision": True}, {"lora": None}])
def test_no_features_where_they_would_change(options, folders, data, tmp_path):
    pytest.importorskip("peft")
    note = Encoded()
    asked = {"lora": 2, "augment": False, "max_steps": 1, "validations": 1, "max_new_tokens": 2}
    finetune(
        *load_model(folders("idefics3"), device="cpu"), data, out=tmp_path / "run", echo=str,
        callbacks=[note], **asked | options
    )
    assert note.kept is None and note.seen


@pytest.mark.parametrize(
    "dropout, weights, more, wanted",
    [
        (0.0, "float32", {}, torch.float32),
        (0.0, "bfloat16", {}, torch.bfloat16),
        (0.0, "float32", {"objective": "cider"}, None),
        (0.1, "float32", {}, None),
    ],
    ids=str,
)
def test_features_are_kept_where_each_epoch_would_have_the_same(
    dropout, weights, more, wanted, folders, tmp_path
):
    "In no more bytes than they have; a tower that drops some at random makes others each time."
    pytest.importorskip("peft")
    model, processor = load_model(folders("idefics3"), device="cpu", dtype=weights)
    tower = model.get_encoder(modality="image")
    for layer in tower.encoder.layers:
        layer.self_attn.dropout = dropout
    config = TrainConfig(augment=False, lora=2, precision="float32", **more)
    with made_ready(model, config) as learning:
        kept = feature_file(learning, config, tmp_path / "features", processor, 3)
        assert not tower.training
    assert (kept and kept.made_of[2]) == wanted


def test_features_that_do_not_fit_the_disk(folders, data, tmp_path, monkeypatch):
    "The run goes on without them, and says so."
    pytest.importorskip("peft")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    note = Encoded()
    with pytest.warns(UserWarning, match="features of 6 pictures need .* read anew in each epoch"):
        finetune(
            *load_model(folders("idefics3"), device="cpu"), data, out=tmp_path / "run", echo=str,
            callbacks=[note], lora=2, augment=False, max_steps=1, validations=1, max_new_tokens=2
        )
    assert note.kept is None and note.seen


# --- the prompt


@pytest.mark.parametrize("name", QUESTIONS)
def test_a_question_has_a_name(name, folders):
    _, processor = load_model(folders("qwen3_vl"), device="cpu")
    assert QUESTIONS[name] in render(processor, name)


def test_the_prompt_is_part_of_the_model(folders, rows):
    captioner = Captioner(folders("idefics3"), device="cpu")
    image, short = rows[0]["image"], {"max_new_tokens": 8}
    usual = captioner(image, **short)
    assert captioner(image, prompt=QUESTION, **short) == usual
    other = captioner(image, prompt="What colour is it?", **short)
    told = captioner(image, system="You are a pirate.", **short)
    assert len({usual.text, other.text, told.text}) == 3


def test_what_a_prompt_says_may_be_said_again(folders, rows):
    "No rule about words in captions is about the prompt."
    captioner = Captioner(folders("idefics3"), device="cpu")
    image = rows[0]["image"]
    usual = captioner(image, max_new_tokens=5, no_repeat_words=0).text
    prompt = " ".join([usual] * 4)
    free = captioner(image, prompt=prompt, max_new_tokens=5, no_repeat_words=0)
    for options in (
        {"no_repeat_words": 1},
        {"no_repeat_ngram_size": 1, "no_repeat_words": 0},
    ):
        first = captioner(image, prompt=prompt, max_new_tokens=1, **options)
        assert first.tokens == free.tokens[:1]


def test_diverse_captions_of_a_chat_differ(folders, rows):
    "The end token of the question is not that of a caption."
    captioner = Captioner(folders("qwen3_vl"), device="cpu")
    options = {"num_return_sequences": 2, "diversity_penalty": 50.0, "max_new_tokens": 4}
    written = captioner(rows[0]["image"], **options)
    assert written.tokens[0] != written.others[0].tokens[0]


def test_a_run_keeps_its_prompt(folders, data, tmp_path):
    model, processor = load_model(folders("idefics3"), device="cpu")
    prompt = "Name the creature."
    run = finetune(
        model, processor, data, out=tmp_path / "run", prompt=prompt, max_steps=1, validations=1,
        max_new_tokens=2, echo=str, precision="float32",
    )
    assert Captioner(run, device="cpu").decoding.prompt == prompt
    batch = CaptionCollator(processor, prompt=prompt)(list(data["train"])[:1])
    assert "Name the creature" in processor.tokenizer.decode(batch["prompt_input_ids"][0])


def test_a_prompt_is_refused_where_none_is_read(rows):
    with pytest.raises(ValueError, match="chat models"):
        Captioner("git-tiny", device="cpu")(rows[0]["image"], prompt="What is this?")


def test_a_processor_of_no_chat_model_is_asked_nothing(rows):
    processor = load_model("git-tiny", device="cpu")[1]
    for ask in (render, lambda *asked: see_with_prompt(asked[0], [rows[0]["image"]], asked[1])):
        with pytest.raises(ValueError, match="no chat template") as refused:
            ask(processor, "What is this?")
        assert "\n" not in str(refused.value)


def test_model_and_processor_of_two_kinds_are_refused(rows, data):
    pairs = [load_model(name, device="cpu") for name in ("git-tiny", "smol-tiny")]
    (git, its), (chat, own) = pairs
    for model, processor in ((git, own), (chat, its)):
        with pytest.raises(ValueError, match="do not belong together"):
            Captioner(model, processor=processor)(rows[0]["image"])
        with pytest.raises(ValueError, match="do not belong together"):
            evaluate_model(model, data, processor=processor)
    for model, processor in pairs: assert Captioner(model, processor=processor)(rows[0]["image"])


def test_a_batch_that_cannot_be_says_why(rows):
    processor = load_model("smol-tiny", device="cpu")[1]
    for wrong in ({"prompt": None}, {"system": 3}):
        with pytest.raises(ValueError, match="it must be text"):
            CaptionCollator(processor, **wrong)
    with pytest.raises(ValueError, match="at least one row"):
        CaptionCollator(processor)([])


def test_a_task_of_florence(folders, rows):
    captioner = Captioner(folders("florence2"), device="cpu")
    with pytest.raises(ValueError, match="<CAPTION>"):
        captioner(rows[0]["image"], prompt="What is this?")
    assert captioner(rows[0]["image"], prompt="<DETAILED_CAPTION>", max_new_tokens=3).tokens


def test_a_chat_model_without_a_template_is_refused(folders, tmp_path):
    folder = shutil.copytree(folders("idefics3"), tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match="chat template") as refused:
        load_model(folder, device="cpu")
    assert "\n" not in str(refused.value)


def test_an_adapter_without_its_base_is_refused(folders, data, tmp_path):
    pytest.importorskip("peft")
    base = shutil.copytree(folders("idefics3"), tmp_path / "base")
    model, processor = load_model(base, device="cpu")
    run = finetune(
        model, processor, data, out=tmp_path / "run", lora=2, max_steps=1, validations=1,
        max_new_tokens=2, echo=str, precision="float32",
    )
    shutil.rmtree(base)
    with pytest.raises(ValueError, match="trained with the model .*base") as refused:
        load_model(run, device="cpu")
    assert "\n" not in str(refused.value)


def test_a_prompt_without_room_for_a_caption_is_refused(folders, rows, tmp_path):
    folder = shutil.copytree(folders("idefics3"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="room for 32"):
        Captioner(folder, device="cpu")(rows[0]["image"])


@pytest.mark.parametrize("kind", ["gemma3", "qwen3_vl"])
def test_any_of_several_ends_ends_a_caption(kind, folders, rows):
    model, processor = load_model(folders(kind), device="cpu")
    tokenizer = caption_tokenizer(processor)
    seen = CaptionCollator(processor).see(rows[:1])[1]
    _, new, _ = generate_tokens(model, tokenizer, seen, max_new_tokens=5)
    second = new[0, 1:2].tolist()
    usual = Captioner(model, processor=processor)(rows[0]["image"], max_new_tokens=5)
    ends = model.generation_config.eos_token_id
    model.generation_config.eos_token_id = [*([ends] if isinstance(ends, int) else ends), *second]
    ended = Captioner(model, processor=processor)(rows[0]["image"], max_new_tokens=5)
    assert len(ended.tokens) < len(usual.tokens)


def test_generation_config_does_not_count(folders, rows):
    "Checkpoints of chat models ask for sampling and penalties that nobody here asked for."
    model, processor = load_model(folders("qwen2_5_vl"), device="cpu")
    seen = CaptionCollator(processor).see(rows[:1])[1]
    usual = generate_captions(model, processor, seen, max_new_tokens=4)
    model.generation_config.update(do_sample=True, temperature=9.0, repetition_penalty=9.0)
    assert generate_captions(model, processor, seen, max_new_tokens=4) == usual
