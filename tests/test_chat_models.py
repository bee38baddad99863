"""What the library does with each kind of vision-language model, as far as the package relies on
it: where the picture stands in a prompt, where a caption begins and ends, what its loss is.
"""

from types import SimpleNamespace

import pytest
import torch
from chat_models import KINDS, QUESTION, load_chat, load_processor, make_chat_model
from torch.nn.functional import cross_entropy
from transformers import AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
from transformers.utils import is_torchvision_available

from imgcap.data.creatures import deal_attributes, draw_creature

CAPTIONS = ["a red creature", "a long blue animal with wings, at night", "an angry monster"]
PROMPTS = {"florence2": "<CAPTION>", "paligemma": "<image>caption en"}  # all others chat
CHATS = sorted(set(KINDS) - set(PROMPTS))
READ_VIDEOS = ["smolvlm", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "gemma4", "internvl"]
QWEN = ["qwen2_5_vl", "qwen3_vl", "qwen3_5"]
SMALL = {  # options that make one small picture of one, where that is not what a checkpoint does
    "idefics3": {"do_image_splitting": False},
    "smolvlm": {"do_image_splitting": False},
    "internvl": {"crop_to_patches": False},
    **{kind: {"size": {"shortest_edge": 64 * 64, "longest_edge": 64 * 96}} for kind in QWEN},
}
END = {  # of a caption; nothing in the template says so where it is None
    **dict.fromkeys(["idefics3", "smolvlm"], "<end_of_utterance>"),
    **dict.fromkeys([*QWEN, "internvl"], "<|im_end|>"),
    "gemma3": "<end_of_turn>",
    "gemma4": "<turn|>",
    "llava": None,
}
ROWS = {"input_ids": None, "attention_mask": 0, "mm_token_type_ids": 0, "token_type_ids": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    kept = {}

    def make(kind):
        if kind not in kept:
            folder = make_chat_model(kind, tmp_path_factory.mktemp("chat") / kind)
            model, processor = load_chat(folder)
            parts = {"model": model, "processor": processor, "tokenizer": processor.tokenizer}
            kept[kind] = SimpleNamespace(kind=kind, folder=folder, **parts)
        return kept[kind]

    return make


@pytest.fixture(params=KINDS)
def chat(request, made):
    return made(request.param)


def some(kinds):
    return pytest.mark.parametrize("chat", kinds, indirect=True)


@pytest.fixture(scope="module")
def pictures():
    "Two that are square, and one that is not."
    facts = [deal_attributes(0, "train", i) for i in range(len(CAPTIONS))]
    drawn = [draw_creature(each, seed=i, image_size=96) for i, each in enumerate(facts)]
    return [drawn[0], drawn[1].crop((0, 0, 96, 64)), drawn[2]]


def render(chat, caption=None, **options):
    "A chat up to where the caption begins, or with the caption."
    asked = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    turns = [{"role": "user", "content": asked}]
    if caption is not None:
        turns.append({"role": "assistant", "content": [{"type": "text", "text": caption}]})
    options = {"enable_thinking": False, "add_generation_prompt": caption is None} | options
    template = chat.processor.chat_template
    return chat.tokenizer.apply_chat_template(
        turns, chat_template=template, tokenize=False, **options
    )


def prompt_of(chat):
    return PROMPTS.get(chat.kind) or render(chat)


def token_ids(chat, text):
    "Of a rendered chat, which has its start already where the template puts one."
    start = chat.tokenizer.bos_token
    has_start = bool(start) and text.startswith(start)
    return chat.tokenizer(text, add_special_tokens=not has_start).input_ids


def encode(chat, picture, **options):
    "What a model takes of one picture and the prompt."
    prompt, start = prompt_of(chat), chat.tokenizer.bos_token
    if chat.kind in CHATS and start and prompt.startswith(start):
        options["add_special_tokens"] = False
    one = {"images": [[picture]], "text": [prompt], "return_tensors": "pt"}
    batch = chat.processor(**one, **options)
    batch.pop("labels", None)  # PaliGemma's, of no caption
    return batch


def caption_ids(chat, caption):
    "Its tokens as they follow the prompt, and the end."
    if chat.kind == "florence2":
        caption = f"<s>{caption}"
    elif chat.kind in ("idefics3", "smolvlm", "llava"):
        caption = f" {caption}"
    ids = chat.tokenizer(caption, add_special_tokens=False).input_ids
    end = END.get(chat.kind) or chat.tokenizer.eos_token
    return [*ids, chat.tokenizer.convert_tokens_to_ids(end)]


def padded(rows, filler, side):
    width = max(map(len, rows))
    fill = [torch.full((width - len(row),), filler) for row in rows]
    pairs = zip(fill, rows) if side == "left" else zip(rows, fill)
    return torch.stack([torch.cat(pair) for pair in pairs])


def joined(chat, pictures, captions, side="left"):
    "What a model takes of several pictures, and the labels: the captions' tokens, all else -100."
    each = [encode(chat, picture, **SMALL.get(chat.kind, {})) for picture in pictures]
    said = [torch.tensor(caption_ids(chat, caption)) for caption in captions]
    batch = {name: torch.cat([one[name] for one in each]) for name in each[0] if name not in ROWS}
    if chat.kind == "florence2":
        said, writes = [torch.tensor([], dtype=int)] * len(each), said
    for name in set(ROWS) & set(each[0]):
        filler = chat.tokenizer.pad_token_id if name == "input_ids" else ROWS[name]
        new = {"input_ids": None, "attention_mask": 1, "mm_token_type_ids": 0}.get(
            name, int(chat.kind == "paligemma")
        )
        rows = [
            torch.cat([one[name][0], ids if new is None else torch.full_like(ids, new)])
            for one, ids in zip(each, said)
        ]
        batch[name] = padded(rows, filler, side)
    if chat.kind == "florence2":
        return batch, padded(writes, -100, "right")
    prompts = [torch.full_like(one["input_ids"][0], -100) for one in each]
    return batch, padded([torch.cat(pair) for pair in zip(prompts, said)], -100, side)


def loss_by_hand(chat, logits, labels):
    "The mean over the captions' tokens. A decoder of its own has been given them one later."
    if chat.kind != "florence2":
        logits, labels = logits[:, :-1], labels[:, 1:]
    return cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100).item()


def test_is_an_ordinary_small_checkpoint(chat):
    files = {path.name for path in chat.folder.iterdir()}
    wanted = {"config.json", "model.safetensors", "generation_config.json", "tokenizer.json"}
    assert wanted | {"tokenizer_config.json", "processor_config.json"} <= files
    assert ("chat_template.jinja" in files) == (chat.kind in CHATS)
    assert chat.model.config.model_type == chat.kind
    assert chat.model.num_parameters() < 500_000
    ends = chat.model.generation_config.eos_token_id
    end = END.get(chat.kind) or chat.tokenizer.eos_token
    assert chat.tokenizer.convert_tokens_to_ids(end) in (ends if isinstance(ends, list) else [ends])


def test_the_usual_loader_makes_the_same_or_wants_torchvision(chat, pictures):
    if chat.kind in READ_VIDEOS and not is_torchvision_available():
        with pytest.raises((OSError, ValueError, ImportError), match=r"[Vv]ideo|[Tt]orchvision"):
            AutoProcessor.from_pretrained(chat.folder)
        return
    processor = AutoProcessor.from_pretrained(chat.folder)
    assert type(processor).__name__ == type(chat.processor).__name__
    usual = SimpleNamespace(**vars(chat) | {"processor": processor})
    for name, value in encode(chat, pictures[1]).items():
        torch.testing.assert_close(encode(usual, pictures[1])[name], value)


def test_processor_can_be_saved_and_loaded(chat, pictures, tmp_path):
    chat.processor.save_pretrained(tmp_path)
    chat.model.config.save_pretrained(tmp_path)
    saved = load_processor(tmp_path, chat.kind)
    again = SimpleNamespace(**vars(chat) | {"processor": saved, "tokenizer": saved.tokenizer})
    assert type(saved).__name__ == PROCESSOR_MAPPING_NAMES[chat.kind]
    for name, value in encode(chat, pictures[1]).items():
        torch.testing.assert_close(encode(again, pictures[1])[name], value)


def test_prompt_has_one_picture(chat, pictures):
    placeholder = chat.processor.image_token
    if chat.kind != "florence2":  # puts it before the question itself
        assert prompt_of(chat).count(placeholder) == 1
    ids = encode(chat, pictures[0], **SMALL.get(chat.kind, {})).input_ids[0]
    where = (ids == chat.model.config.image_token_id).nonzero().flatten()
    assert len(where) > 1
    assert where.diff().eq(1).all()


@some(SMALL)
def test_as_it_comes_a_checkpoint_spends_more_tokens_on_a_large_picture(chat, pictures):
    large = pictures[0].resize((256, 256))
    many, few = (encode(chat, large, **options).input_ids for options in ({}, SMALL[chat.kind]))
    assert many.shape[1] > 1.5 * few.shape[1]


@some(["gemma3", "gemma4", "llava"])
def test_a_chat_starts_once(chat):
    "The tokenizer adds a start; a template that puts one too must be read without."
    start, text = chat.tokenizer.bos_token_id, render(chat)
    assert chat.tokenizer(text).input_ids[:2].count(start) == (1 if chat.kind == "llava" else 2)
    assert token_ids(chat, text).count(start) == 1


@some(CHATS)
def test_a_chat_goes_on_as_the_prompt_does(chat):
    prompt, whole = token_ids(chat, render(chat)), token_ids(chat, render(chat, CAPTIONS[0]))
    thought = chat.tokenizer("<|channel>thought\n<channel|>", add_special_tokens=False).input_ids
    if chat.kind == "gemma4":  # not a prefix: an empty thought stands in the prompt alone
        assert prompt[-len(thought) :] == thought
        prompt = prompt[: -len(thought)]
    said = caption_ids(chat, CAPTIONS[0])
    if END[chat.kind] is None:
        assert said[-1] not in whole
        said = said[:-1]
    assert whole[: len(prompt) + len(said)] == prompt + said
    assert chat.tokenizer.decode(whole[len(prompt) + len(said) :]).strip() == ""


@some(["idefics3", "smolvlm", "llava"])
def test_what_is_said_is_lost_where_it_is_a_string(chat):
    turns = [{"role": "assistant", "content": CAPTIONS[0]}]
    template = chat.processor.chat_template
    text = chat.tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
    assert CAPTIONS[0] not in text


def test_a_thinking_model_is_told_not_to(made):
    chat = made("qwen3_5")
    assert render(chat).endswith("assistant\n<think>\n\n</think>\n\n")
    assert render(chat, enable_thinking=True).endswith("assistant\n<think>\n")


@torch.no_grad()
def test_loss_is_that_of_the_caption(chat, pictures):
    losses = {}
    for side in ("left", "right"):
        batch, labels = joined(chat, pictures, CAPTIONS, side)
        losses[side] = chat.model(**batch, labels=labels).loss.item()
        decoder = {"decoder_input_ids": shifted(chat, labels)} if chat.kind == "florence2" else {}
        logits = chat.model(**batch, **decoder).logits
        assert losses[side] == pytest.approx(loss_by_hand(chat, logits, labels), rel=1e-5)
    assert losses["left"] == pytest.approx(losses["right"], rel=1e-5)


def shifted(chat, labels):
    "What Florence's decoder reads: its start `</s>`, then each token but the last."
    start = torch.full_like(labels[:, :1], chat.tokenizer.eos_token_id)
    read = torch.cat([start, labels[:, :-1]], dim=1)
    return read.where(read != -100, chat.tokenizer.pad_token_id)


@some(sorted(set(KINDS) - {"florence2"}))
@torch.no_grad()
def test_padded_left_all_captions_are_in_the_last_logits(chat, pictures):
    batch, labels = joined(chat, pictures, CAPTIONS, "left")
    longest = max(len(caption_ids(chat, caption)) for caption in CAPTIONS)
    few = chat.model(**batch, logits_to_keep=longest + 1).logits
    assert few.shape[1] == longest + 1
    loss = chat.model(**batch, labels=labels).loss.item()
    assert loss_by_hand(chat, few, labels[:, -longest - 1 :]) == pytest.approx(loss, rel=1e-5)


@torch.no_grad()
def test_first_written_token_is_the_likeliest(chat, pictures):
    options = dict(do_sample=False, num_beams=1, max_new_tokens=4)
    options |= dict(repetition_penalty=1.0, no_repeat_ngram_size=0)  # some come with others
    batch = together(chat, pictures)
    written = chat.model.generate(**batch, **options)
    if chat.kind == "florence2":
        assert written[:, :2].equal(start_of_decoder(chat, 3))
        logits = chat.model(**batch, decoder_input_ids=written[:, :2]).logits
        first = written[:, 2]
    else:
        width = batch["input_ids"].shape[1]
        assert written[:, :width].equal(batch["input_ids"])
        logits, first = chat.model(**batch).logits, written[:, width]
    assert first.equal(logits[:, -1].argmax(1))


def start_of_decoder(chat, n):
    return torch.tensor([chat.tokenizer.convert_tokens_to_ids(["</s>", "<s>"])] * n)


def together(chat, pictures):
    "What a model takes to write captions of several pictures."
    batch, labels = joined(chat, pictures, [""] * len(pictures), "left")
    if chat.kind != "florence2":
        new = int((labels != -100).sum(1).max())
        batch |= {name: batch[name][:, :-new] for name in ROWS if name in batch}
    return batch


@torch.no_grad()
def test_captions_of_a_batch_are_those_of_each_picture_alone(chat, pictures):
    def write(pictures):
        batch = together(chat, pictures)
        options = dict(do_sample=False, num_beams=2, num_return_sequences=2, max_new_tokens=6)
        written = chat.model.generate(**batch, **options)
        new = written if chat.kind == "florence2" else written[:, batch["input_ids"].shape[1] :]
        return chat.tokenizer.batch_decode(new, skip_special_tokens=True)

    alone = [caption for picture in pictures for caption in write([picture])]
    assert len(alone) == 6
    assert write(pictures) == alone


@some(["qwen2_5_vl", "qwen3_vl", "qwen3_5", "gemma3", "gemma4"])
@torch.no_grad()
def test_kinds_of_tokens_must_reach_the_model(chat, pictures):
    "Some models say so, the others write worse captions."
    batch = together(chat, pictures)
    logits = chat.model(**batch).logits[:, -1]
    lost = batch.pop("token_type_ids" if chat.kind == "gemma3" else "mm_token_type_ids")
    assert lost.unique().tolist() == [0, 1]
    if chat.kind in ("qwen3_vl", "qwen3_5"):
        with pytest.raises(ValueError, match="mm_token_type_ids"):
            chat.model(**batch)
    else:
        assert (logits - chat.model(**batch).logits[:, -1]).abs().max() > 1e-3


@torch.no_grad()
def test_what_is_written_depends_on_the_picture(chat, pictures):
    batch = together(chat, [pictures[0], pictures[2]])
    if chat.kind == "florence2":
        batch["decoder_input_ids"] = start_of_decoder(chat, 2)
    first, second = chat.model(**batch).logits[:, -1]
    assert (first - second).abs().max() > 1e-3


def test_part_that_sees_is_found_without_its_name(chat):
    seen = chat.model.get_encoder(modality="image")
    sizes = [sum(p.numel() for p in part.parameters()) for part in (seen, chat.model)]
    assert 0 < sizes[0] < sizes[1]


def test_model_can_be_saved_and_loaded(chat, tmp_path):
    chat.model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path).state_dict()
    for name, value in chat.model.state_dict().items():
        assert again[name].equal(value), name
