"Writing tokens, states that come back, and what `load_model` refuses."
import json
import shutil
import threading
from dataclasses import astuple

import pytest
import torch
import transformers
from huggingface_hub.utils import are_progress_bars_disabled
from small_models import BUILDERS, pixels, small_model

from imgcap.model import (
    FAMILIES, evaluating, generate_captions, generate_tokens, load_model, quiet_transformers)

FAMILY = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    "A folder for each family, and the model and processor that were written to it."
    folder, found = tmp_path_factory.mktemp("checkpoints"), {}
    for family in FAMILIES:
        model, processor = small_model(family)
        with quiet_transformers():
            model.save_pretrained(folder / family)
            processor.save_pretrained(folder / family)
        found[family] = folder / family, model, processor
    return found


def test_every_family_is_tried(): assert set(BUILDERS) == set(FAMILIES)


# --- what the checkpoint's generation_config.json says does not count

HOSTILE = [
    {"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2}, {"do_sample": True, "num_return_sequences": 2},
    {"do_sample": True, "temperature": 0.01}, {"temperature": 9.0}, {"top_k": 1}, {"top_p": 0.01}, {"min_p": 0.9},
    {"typical_p": 0.01}, {"epsilon_cutoff": 0.5}, {"eta_cutoff": 0.5}, {"repetition_penalty": 50.0},
    {"no_repeat_ngram_size": 1}, {"encoder_no_repeat_ngram_size": 1}, {"length_penalty": 9.0}, {"early_stopping": "never"},
    {"min_length": 30}, {"min_new_tokens": 10}, {"max_length": 3}, {"max_new_tokens": 2}, {"max_time": 1e-9},
    {"forced_bos_token_id": 5}, {"forced_eos_token_id": 5}, {"suppress_tokens": list(range(3, 250))},
    {"begin_suppress_tokens": list(range(3, 250))}, {"bad_words_ids": [[i] for i in range(3, 250)]},
    {"exponential_decay_length_penalty": [1, 50.0]}, {"sequence_bias": [[[9], 90.0]]}, {"stop_strings": ["a"]},
    {"prompt_lookup_num_tokens": 3}, {"guidance_scale": 3.0}, {"renormalize_logits": True}, {"penalty_alpha": 0.6},
    {"watermarking_config": {"bias": 50.0, "greenlist_ratio": 0.1}}, {"cache_implementation": "static"},
    {"return_dict_in_generate": False, "output_logits": False, "output_scores": True}, {"output_attentions": True},
    {"eos_token_id": list(range(3, 99))}, {"pad_token_id": 77}, {"bos_token_id": 77}, {"use_cache": False}]


@FAMILY
@pytest.mark.parametrize("hostile", HOSTILE, ids=lambda h: next(iter(h)))
def test_generation_config_does_not_count(checkpoints, tmp_path, family, hostile):
    folder, model, processor = checkpoints[family]
    folder = shutil.copytree(folder, tmp_path / "checkpoint")
    own = json.loads((folder / "generation_config.json").read_text()) | hostile | {"_from_model_config": False}
    (folder / "generation_config.json").write_text(json.dumps(own))
    loaded, its_processor = load_model(folder, device="cpu")
    for part in loaded.modules(): # BLIP's decoder writes, and has a configuration of its own
        if isinstance(part, transformers.GenerationMixin): part.generation_config.update(**loaded.generation_config.to_dict())
    pictures = pixels(processor)
    for options in {}, {"num_beams": 2}, {"do_sample": True, "num_return_sequences": 2}, {"prefix": "a red", "max_new_tokens": 8}:
        torch.manual_seed(0)
        wanted = generate_captions(model, processor, pictures, **options)
        torch.manual_seed(0)
        found = generate_captions(loaded, its_processor, pictures, **options)
        assert [astuple(c) for c in found] == [astuple(c) for c in wanted], options


@FAMILY
def test_zero_is_an_answer(checkpoints, tmp_path, family):
    "What is asked for explicitly is done, although it is the library's default."
    folder, model, processor = checkpoints[family]
    model, processor = load_model(folder, device="cpu")
    for part in model.modules():
        if isinstance(part, transformers.GenerationMixin): part.generation_config.no_repeat_ngram_size = 1
    tokens = generate_tokens(model, processor.tokenizer, pixels(processor), no_repeat_ngram_size=0)[1]
    once = generate_tokens(model, processor.tokenizer, pixels(processor), no_repeat_ngram_size=1)[1]
    assert not torch.equal(tokens, once)


def test_samples_come_from_the_whole_distribution():
    "Otherwise a policy gradient would be biased: as often as the probabilities say, within four deviations."
    model, processor = small_model("git", wildness=2)
    model.generation_config.update(temperature=0.3, top_k=2, top_p=0.5)
    torch.manual_seed(1)
    n = 2000
    _, new, logp = generate_tokens(model, processor.tokenizer, pixels(processor, 1), max_new_tokens=1,
                                   do_sample=True, num_return_sequences=n)
    for token in new[:, 0].unique():
        p = float(logp[new[:, 0] == token][0].exp())
        assert abs(int((new[:, 0] == token).sum()) - n * p) < 4 * (n * p * (1 - p)) ** 0.5 + 2
    assert len(new.unique()) > 20


@pytest.mark.parametrize("n", [0, -3])
def test_max_new_tokens_is_at_least_one(n):
    model, processor = small_model("git")
    with pytest.raises(ValueError, match=f"max_new_tokens is {n}"):
        generate_captions(model, processor, pixels(processor, 1), max_new_tokens=n)


# --- evaluation mode

def modes(model): return [part.training for part in model.modules()]


@FAMILY
def test_written_in_evaluation_mode(family):
    model, processor = small_model(family)
    wanted = generate_captions(model, processor, pixels(processor))
    model.train()
    next(model.children()).eval() # a part that is frozen
    before = modes(model)
    assert generate_captions(model, processor, pixels(processor)) == wanted
    assert modes(model) == before and True in before and False in before


def test_modes_come_back_after_an_error():
    model, processor = small_model("git")
    model.train()
    with pytest.raises(ValueError): generate_captions(model, processor, pixels(processor), num_return_sequences=3)
    assert all(modes(model))
    with pytest.raises(KeyError), evaluating(model):
        assert not any(modes(model))
        raise KeyError
    assert all(modes(model))


def test_modes_come_back_from_a_generator_that_is_closed():
    model, _ = small_model("git")

    def endless():
        with evaluating(model.train()):
            while True: yield model.training

    numbers = endless()
    assert next(numbers) is False
    numbers.close()
    assert all(modes(model))


# --- silence

def loudness():
    logging = transformers.utils.logging
    return logging.get_verbosity(), logging.is_progress_bar_enabled(), are_progress_bars_disabled()


def test_silence_nests():
    before = loudness()
    with quiet_transformers():
        within = loudness()
        with pytest.raises(KeyError), quiet_transformers(): raise KeyError
        assert loudness() == within != before
    assert loudness() == before


def test_silence_of_two_threads_that_overlap():
    "The first to enter is the first to leave."
    before, entered, leave = loudness(), threading.Event(), threading.Event()

    def first():
        with quiet_transformers():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait(10)
    with quiet_transformers():
        within = loudness()
        leave.set()
        thread.join()
        assert loudness() == within
    assert loudness() == before


@pytest.mark.parametrize("level", [transformers.logging.INFO, transformers.logging.ERROR])
@pytest.mark.parametrize("bars", [True, False])
def test_silence_restores_what_was(level, bars):
    logging, before = transformers.utils.logging, loudness()
    try:
        logging.set_verbosity(level)
        (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
        changed = loudness()
        with quiet_transformers(), quiet_transformers(): pass
        assert loudness() == changed
    finally:
        logging.set_verbosity(before[0])
        logging.enable_progress_bar()
