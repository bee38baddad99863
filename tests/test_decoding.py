"How words are chosen, and streams of them."

import ast
import gc
import itertools
import json
import math
import threading
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import BUILDERS, pictures, pixels, small_model

from imgcap import config
from imgcap.config import Decoding
from imgcap.model.constraints import ForceWords, _Forbid, _vocabulary, spell
from imgcap.model.decoding import CaptionWriter, _room_left, write_captions
from imgcap.preprocess import CaptionCollator
from imgcap.train import validation_scores
from imgcap.words import bare_words, says

SAMPLED = {"do_sample": True}


# --- options


@pytest.mark.parametrize(
    "options",
    [
        {**SAMPLED, "temperature": 1},
        {**SAMPLED, "temperature": np.int64(1)},
        {**SAMPLED, "top_p": 1},
        {**SAMPLED, "top_k": 3.0},
        {**SAMPLED, "seed": np.int64(3)},
        {"num_beams": np.int32(2)},
        {"repetition_penalty": 2},
        {"length_penalty": 0, "num_beams": 2},
        {"diversity_penalty": 1, "num_return_sequences": 2},
        {"do_sample": np.True_},
        {"max_new_tokens": 3.0},
        {"force_words": None},
        {"forbid_words": "dog"},
        {"no_repeat_ngram_size": 10_000},
        {**SAMPLED, "top_k": 10_000_000},
        {**SAMPLED, "temperature": 0.001},
        {**SAMPLED, "temperature": 1000},
        {**SAMPLED, "top_p": 1e-30},
        {"repetition_penalty": 0.01},
        {"repetition_penalty": 100},
        {"num_beams": 2, "length_penalty": 10},
        {"num_beams": 2, "length_penalty": -10},
        {"diversity_penalty": 1000, "num_return_sequences": 2},
    ],
)
def test_what_is_accepted_is_written(options):
    model, processor = small_model("git")
    how = Decoding(**{"max_new_tokens": 4, **options})
    for field in fields(how):
        assert type(getattr(how, field.name)) in (int, float, bool, str, tuple, type(None))
    assert len(write_captions(model, processor, pixels(processor, 2), how)) == 2


def test_words_that_have_to_be_said():
    assert Decoding(force_words="dog").force_words == ("dog",)
    with pytest.raises(ValueError, match="one caption a picture"):
        Decoding(force_words="dog", num_return_sequences=2)


def test_an_option_that_there_is_not():
    with pytest.raises(TypeError, match="num_beam"):
        Decoding(num_beam=3)


WRONG = [
    float("nan"),
    float("inf"),
    -float("inf"),
    "1",
    b"1",
    True,
    10**400,
    10**5000,
    [1],
    {"a": 1},
    np.array([1, 2]),
    1 + 1j,
    object(),
    -1e300,
]


@pytest.mark.parametrize(
    "name",
    [
        field.name
        for field in fields(Decoding)
        if field.type is not str and field.name not in ("force_words", "forbid_words", "do_sample")
    ],
)
@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: type(value).__name__)
def test_what_is_no_number_is_refused_in_a_line(name, wrong):
    with pytest.raises(ValueError) as refused:
        Decoding(**{**SAMPLED, name: wrong})
    assert (
        "\n" not in str(refused.value)
        and len(str(refused.value)) < 200
        and name in str(refused.value)
    )


@pytest.mark.parametrize(
    "options",
    [
        {"do_sample": 1},
        {"do_sample": "yes"},
        {"do_sample": None},
        {"prefix": None},
        {"prefix": b"a"},
        {"prefix": "a\udcff"},
        {"force_words": 3},
        {"force_words": [3]},
        {"force_words": b"dog"},
        {"forbid_words": {"dog": 1}},
        {"forbid_words": ["!"]},
        {"forbid_words": ["\udcff a"]},
        {"num_beams": 10**9},
        {"max_new_tokens": 10**9},
        {"temperature": 0, **SAMPLED},
        {"temperature": 1e-30, **SAMPLED},
        {"diversity_penalty": 1e300, "num_return_sequences": 2},
        {"repetition_penalty": 1e-300},
        {"length_penalty": 1e300},
    ],
)
def test_what_would_fail_later_is_refused_in_a_line(options):
    with pytest.raises(ValueError) as refused:
        Decoding(**options)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 200


# --- constraints


def test_tokens_that_come_later_count():
    _, processor = small_model("git")
    tokenizer, scores = processor.tokenizer, torch.zeros(1, 5000)
    before = _Forbid(tokenizer, ["umbrella"])
    tokenizer.add_tokens([" umbrella"])
    after = _Forbid(tokenizer, ["umbrella"])
    new, ids = len(tokenizer) - 1, torch.tensor([spell(tokenizer, "a")])
    assert not before(ids, scores)[0, new].isinf() and after(ids, scores)[0, new].isinf()
    _, again = small_model("git")
    assert _vocabulary(again.tokenizer) is before.vocabulary, "the same tokens are read once"


def test_a_vocabulary_that_is_smaller_than_the_table_of_the_model():
    model, processor = small_model("git")
    model.resize_token_embeddings(len(processor.tokenizer) + 13)
    model.output.bias.data[:] = 0
    how = Decoding(force_words="wings", forbid_words="red", max_new_tokens=6)
    assert "wings" in write_captions(model, processor, pixels(processor, 1), how)[0].text


@pytest.mark.parametrize("family", BUILDERS)
def test_control_tokens_in_forced_words_are_words(family):
    model, processor = small_model(family)
    tokenizer = processor.tokenizer
    for word in ["[SEP]", "[PAD]", "[CLS]"]:
        assert not set(spell(tokenizer, word)) & set(tokenizer.all_special_ids)
    (caption,) = write_captions(
        model, processor, pixels(processor, 1), Decoding(force_words="[SEP]", max_new_tokens=9)
    )
    assert "sep" in bare_words(caption.text)


@pytest.mark.parametrize("family", BUILDERS)
def test_control_tokens_in_a_prefix_are_words(family):
    model, processor = small_model(family)
    for end in ["[SEP]", "[PAD]"]:
        (caption,) = write_captions(
            model, processor, pixels(processor, 1), Decoding(prefix=f"a {end} b", max_new_tokens=3)
        )
        assert caption.text.startswith(f"a {end} b")


def test_what_the_prefix_says_is_said():
    model, processor = small_model("git")
    pixel, tokenizer = pixels(processor, 1), processor.tokenizer
    (free,) = write_captions(
        model, processor, pixel, Decoding(prefix="a red creature", max_new_tokens=5)
    )
    (forced,) = write_captions(
        model,
        processor,
        pixel,
        Decoding(prefix="a red creature", force_words="red", max_new_tokens=5),
    )
    assert forced.text == free.text, "a word of the prefix need not come again"
    (once,) = write_captions(
        model,
        processor,
        pixel,
        Decoding(prefix="red wings eyes", no_repeat_words=1, max_new_tokens=12),
    )
    words = bare_words(once.text)
    assert all(words.count(word) <= 1 for word in ("red", "wings", "eyes"))
    with pytest.raises(ValueError, match="prefix says 'red'"):
        Decoding(prefix="a red", forbid_words="red")
    assert says(bare_words(tokenizer.decode(spell(tokenizer, "a red"))), ["red"])


def test_a_word_that_had_to_be_said_does_not_grow():
    "Unlikely as all other words may be: `red` is said and shall not become `redder`."
    _, processor = small_model("git")
    tokenizer = processor.tokenizer
    glued = _vocabulary(tokenizer).glued
    (other,) = spell(tokenizer, "wings")
    scores = torch.full((1, len(tokenizer)), -9.0)
    scores[0, glued], scores[0, other] = -1, -2
    for text, chosen in ("a red", [other]), ("a", glued.tolist()):
        step = ForceWords(tokenizer, ["red"], room=20)
        after = step(torch.tensor([spell(tokenizer, text)]), scores)
        assert int(after.argmax()) in chosen, text


def test_promises_are_kept_by_models_without_sense():
    words = ["red", "wings", "night", "umbrella", "elephant", "sea"]
    for wildness in (3.0, 4.0):
        model, processor = small_model("git", wildness=wildness)
        for first, second, never in itertools.permutations(words[:4], 3):
            forced = [first, f"{second} elephant"]
            room = sum(len(spell(processor.tokenizer, phrase)) for phrase in forced)
            how = Decoding(force_words=forced, forbid_words=never, max_new_tokens=room)
            for caption in write_captions(model, processor, pixels(processor, 2), how):
                assert all(
                    says(bare_words(caption.text), bare_words(phrase)) for phrase in forced
                ), caption.text
                assert not says(bare_words(caption.text), [never]), caption.text


# --- one way of writing


def test_validation_evaluation_captioner_and_heat_maps_write_by_one_function():
    "Who else calls `generate` draws samples to learn from, or measures the guide's recipe."
    package = Path(config.__file__).parent
    calls = {"generate_captions": set(), "generate_tokens": set(), "generate": set()}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = isinstance(node, ast.Call) and node.func
            name = getattr(name, "attr", getattr(name, "id", None))
            if name in calls:
                calls[name].add(path.relative_to(package).as_posix())
    assert calls == {
        "generate_captions": {"model/decoding.py"},
        "generate_tokens": {"model/generation.py", "train/rewards.py"},
        "generate": {"model/generation.py", "bench_recipes.py"},
    }


def test_rows_are_captioned_in_batches_and_the_unreadable_cost_their_place():
    model, processor = small_model("git")
    sizes = []

    def read(batch):
        sizes.append(len(batch))
        good = [row for row in batch if row["image"] is not None]
        images = [row["image"] for row in good]
        if not images:
            return [], None
        return good, processor.image_processor(images=images, return_tensors="pt").pixel_values

    rows = [{"image": image} for image in [*pictures(3), None, pictures(4)[3], None, None]]
    writer = CaptionWriter(model, processor, Decoding(max_new_tokens=5))
    found = list(writer.rows(iter(rows), read, 2))
    assert sizes == [2, 2, 2, 1] and [row for row, _ in found] == [*rows[:3], rows[4]]
    expected = [caption.text for caption in writer(pixels(processor, 4))]
    assert [caption.text for _, caption in found] == expected
    assert list(writer.rows([], read, 2)) == []


# --- streams

LONG = Decoding(max_new_tokens=60, min_new_tokens=60, no_repeat_words=0)
WAYS = [
    Decoding(max_new_tokens=10),
    Decoding(max_new_tokens=8, do_sample=True, seed=1, num_return_sequences=3),
    Decoding(num_beams=3, num_return_sequences=2, max_new_tokens=8),
    Decoding(force_words="wings", max_new_tokens=8),
    Decoding(prefix="a red", max_new_tokens=8),
    Decoding(diversity_penalty=5.0, num_return_sequences=2, max_new_tokens=8),
]


@pytest.mark.parametrize("family", BUILDERS)
def test_a_stream_ends_with_what_a_call_gives(family):
    model, processor = small_model(family)
    for how in WAYS:
        writer = CaptionWriter(model, processor, how)
        *states, caption = writer.stream(pixels(processor, 1))
        assert [caption] == writer(pixels(processor, 1))
        if how.num_beams == 1 and not how.force_words:
            assert len(states) > 2
        for state in states[1:]:
            assert len(state) == 1 + len(caption.others)


def test_twenty_streams_at_once_have_their_own_words():
    model, processor = small_model("git")
    model.train()
    prefixes = [
        f"{colour} {thing}"
        for colour in ("red", "blue", "two", "green")
        for thing in ("eyes", "wings", "sea", "night", "a")
    ]
    writers = [
        CaptionWriter(model, processor, Decoding(prefix=prefix, max_new_tokens=8))
        for prefix in prefixes
    ]
    expected = [caption for writer in writers for caption in writer(pixels(processor, 1))]
    found = {}

    def listen(i):
        *states, found[i] = writers[i].stream(pixels(processor, 1))
        assert all(found[i].text.startswith(state) for (state,) in states[1:]), (
            "words of another stream"
        )

    threads = [threading.Thread(target=listen, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(20)] == expected
    assert all(part.training for part in model.modules()), "the mode should be as it was"


@pytest.mark.parametrize("way", ["close", "forget", "error"])
def test_a_stream_that_is_left_stops(way):
    model, processor = small_model("git")
    model.train()
    before, calls = threading.active_count(), []
    model.register_forward_hook(lambda *given: calls.append(1))
    stream = CaptionWriter(model, processor, LONG).stream(pixels(processor, 1))
    next(stream)
    if way == "close":
        stream.close()
    elif way == "forget":
        del stream
        gc.collect()
    else:
        with pytest.raises(ZeroDivisionError):
            for _ in stream:
                raise ZeroDivisionError
        del stream
        gc.collect()
    count = len(calls)
    time.sleep(0.1)
    assert threading.active_count() == before, "the model still writes"
    assert 0 < len(calls) == count < 30, "the model still writes"
    assert all(part.training for part in model.modules())


def test_a_stream_that_waits_for_its_turn_can_be_left():
    model, processor = small_model("git")
    first = CaptionWriter(model, processor, LONG).stream(pixels(processor, 1))
    next(first)
    second = CaptionWriter(model, processor, LONG).stream(pixels(processor, 1))
    reader = threading.Thread(target=lambda: list(second))
    reader.start()
    assert len(list(first)) > 30
    reader.join(30)
    assert not reader.is_alive()


def test_an_error_in_the_thread_is_raised_to_the_listener():
    model, processor = small_model("git")
    stream = CaptionWriter(model, processor).stream(torch.zeros(1, 3, 5, 5))
    with pytest.raises(Exception, match=r"."):
        list(stream)
    assert (
        len(
            list(
                CaptionWriter(model, processor, Decoding(max_new_tokens=3)).stream(
                    pixels(processor, 1)
                )
            )
        )
        > 1
    )


def test_captions_in_chinese_are_told_character_by_character():
    from imgcap.model.decoding import _whole_words

    assert [
        _whole_words(text) for text in ["a red bi", "一只猫", "一只ca", "一\ufffd", "a ", ""]
    ] == ["a red", "一只猫", "一只", "一", "", ""]


def test_random_numbers_of_others_are_not_touched():
    model, processor = small_model("git")
    before = torch.random.get_rng_state()
    write_captions(
        model, processor, pixels(processor, 2), Decoding(do_sample=True, max_new_tokens=4)
    )
    list(
        CaptionWriter(model, processor, Decoding(do_sample=True, max_new_tokens=4)).stream(
            pixels(processor, 1)
        )
    )
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("family", BUILDERS)
def test_a_checkpoint_with_ideas_of_its_own(tmp_path, family):
    from imgcap.infer import Captioner

    model, processor = small_model(family)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    given = pixels(processor, 3)
    asked = [
        Decoding(max_new_tokens=10),
        Decoding(num_beams=3, max_new_tokens=10),
        Decoding(do_sample=True, seed=1, max_new_tokens=10),
    ]
    plain = Captioner(tmp_path)
    before = [write_captions(plain.model, plain.processor, given, how) for how in asked]
    file = tmp_path / "generation_config.json"
    hostile = {
        "do_sample": True,
        "temperature": 3.0,
        "top_k": 5,
        "top_p": 0.5,
        "num_beams": 4,
        "repetition_penalty": 5.0,
        "no_repeat_ngram_size": 1,
        "length_penalty": -2.0,
        "min_new_tokens": 9,
        "max_length": 6,
        "num_return_sequences": 3,
        "early_stopping": True,
        "suppress_tokens": [5, 6, 7],
        "bad_words_ids": [[8]],
        "begin_suppress_tokens": [9],
    }
    file.write_text(json.dumps((json.loads(file.read_text()) if file.exists() else {}) | hostile))
    spoiled = Captioner(tmp_path)
    assert [write_captions(spoiled.model, spoiled.processor, given, how) for how in asked] == before


# --- weights that are no numbers


def damaged(family, value=float("nan")):
    model, processor = small_model(family)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(value)
    return model, processor


@pytest.mark.parametrize("family", BUILDERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3},
        {"do_sample": True, "seed": 1},
        {"force_words": ["red"]},
        {"diversity_penalty": 2.0, "num_return_sequences": 2},
        {"no_repeat_words": 0, "min_new_tokens": 3, "repetition_penalty": 1.5},
    ],
    ids=str,
)
def test_a_model_without_numbers_writes_nothing(family, options, value):
    model, processor = damaged(family, value)
    model.config._name_or_path = "runs/broken"
    with pytest.raises(FloatingPointError, match="runs/broken in torch.float32") as caught:
        write_captions(model, processor, pixels(processor), Decoding(**options))
    assert "\n" not in str(caught.value)
    with pytest.raises(FloatingPointError):
        list(CaptionWriter(model, processor, Decoding(**options)).stream(pixels(processor, 1)))
    assert not model.training


def test_validation_of_a_model_without_numbers_is_a_loss_without_one():
    model, processor = damaged("git")
    rows = [
        {"image": image, "image_id": str(i), "captions": ["a red creature"]}
        for i, image in enumerate(pictures(3))
    ]
    collator = CaptionCollator(processor, choose="first")
    scores = validation_scores(model, collator, rows)
    assert math.isnan(scores["loss"]) and scores["cider_d"] == 0


def test_the_name_of_a_special_token_is_not_a_word_that_was_said():
    "A caption begins with [CLS] or the like, whose letters nobody reads."
    model, processor = small_model("git")
    first = bare_words(processor.tokenizer.decode([processor.tokenizer.cls_token_id]))[0]
    batch = pixels(processor, 1)
    (caption,) = write_captions(model, processor, batch, Decoding(force_words=(first,)))
    assert says(bare_words(caption.text), [first])


@pytest.mark.parametrize("family", BUILDERS)
def test_a_caption_ends_where_the_decoder_has_no_more_places(family):
    model, processor = small_model(family)
    places = {getattr(config, "max_position_embeddings", None) for config in (
        model.config, *(getattr(model.config, name, None) for name in ("text_config", "decoder")))}
    (most,) = places - {None}
    room = _room_left(model, processor.tokenizer, Decoding(max_new_tokens=10_000))
    assert most - 2 <= room <= most
