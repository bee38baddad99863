"Writing tokens, states that come back, and what `load_model` refuses."

import copy
import json
import os
import platform
import random
import shutil
import subprocess
import sys
import threading
from dataclasses import astuple
from importlib.resources import files
from itertools import zip_longest

import pytest
import torch
import transformers
from huggingface_hub.utils import are_progress_bars_disabled
from safetensors.torch import load_file, save_file
from small_models import BUILDERS, TEXTS, pixels, small_model

from imgcap.data.creatures import make_creatures
from imgcap.families.git import set_image_size
from imgcap.model import (
    FAMILIES,
    caption_loss,
    evaluating,
    generate_captions,
    generate_tokens,
    load_model,
    new_git_tiny,
    quiet_transformers,
    weights_fingerprint,
)

FAMILY = pytest.mark.parametrize("family", BUILDERS)


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "abacus:1"])
def test_a_device_that_is_not_here(device):
    said = f"^device '{device}' cannot be used here .*; try auto or cpu$"
    with pytest.raises(ValueError, match=said) as caught:
        load_model("git-tiny", device=device)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    "A folder for each family, and the model and processor that were written to it."
    folder, found = tmp_path_factory.mktemp("checkpoints"), {}
    for family in BUILDERS:
        model, processor = small_model(family)
        with quiet_transformers():
            model.save_pretrained(folder / family)
            processor.save_pretrained(folder / family)
        found[family] = folder / family, model, processor
    return found


def test_every_family_is_tried():
    assert {*BUILDERS, "florence2"} == set(FAMILIES)  # which has tests of its own


# --- what the checkpoint's generation_config.json says does not count

HOSTILE = [
    {"num_beams": 3},
    {"num_beams": 3, "num_return_sequences": 2},
    {"do_sample": True, "num_return_sequences": 2},
    {"do_sample": True, "temperature": 0.01},
    {"temperature": 9.0},
    {"top_k": 1},
    {"top_p": 0.01},
    {"min_p": 0.9},
    {"typical_p": 0.01},
    {"epsilon_cutoff": 0.5},
    {"eta_cutoff": 0.5},
    {"repetition_penalty": 50.0},
    {"no_repeat_ngram_size": 1},
    {"encoder_no_repeat_ngram_size": 1},
    {"length_penalty": 9.0},
    {"early_stopping": "never"},
    {"min_length": 30},
    {"min_new_tokens": 10},
    {"max_length": 3},
    {"max_new_tokens": 2},
    {"max_time": 1e-9},
    {"forced_bos_token_id": 5},
    {"forced_eos_token_id": 5},
    {"suppress_tokens": list(range(3, 250))},
    {"begin_suppress_tokens": list(range(3, 250))},
    {"bad_words_ids": [[i] for i in range(3, 250)]},
    {"exponential_decay_length_penalty": [1, 50.0]},
    {"sequence_bias": [[[9], 90.0]]},
    {"stop_strings": ["a"]},
    {"prompt_lookup_num_tokens": 3},
    {"guidance_scale": 3.0},
    {"renormalize_logits": True},
    {"penalty_alpha": 0.6},
    {"watermarking_config": {"bias": 50.0, "greenlist_ratio": 0.1}},
    {"cache_implementation": "static"},
    {"return_dict_in_generate": False, "output_logits": False, "output_scores": True},
    {"output_attentions": True},
    {"eos_token_id": list(range(3, 99))},
    {"pad_token_id": 77},
    {"bos_token_id": 77},
    {"use_cache": False},
    {"decoder_start_token_id": 5},
    {"decoder_start_token_id": 10**9},
]

# Two at once: where one counts, the other does not take that back.
HOSTILE = [a | b for a, b in zip_longest(HOSTILE[:22], HOSTILE[22:], fillvalue={})]


WAYS = [
    {},
    {"num_beams": 2},
    {"do_sample": True, "num_return_sequences": 2},
    {"prefix": "a red", "max_new_tokens": 8},
]


def written(model, processor):
    "What a model writes in each of the ways."
    found = []
    for options in WAYS:
        torch.manual_seed(0)
        captions = generate_captions(model, processor, pixels(processor), **options)
        found.append([astuple(c) for c in captions])
    return found


@pytest.fixture(scope="module")
def as_they_are(checkpoints):
    "What each model writes whose generation_config.json says nothing."
    return {family: written(*checkpoints[family][1:]) for family in BUILDERS}


@FAMILY
@pytest.mark.parametrize("hostile", HOSTILE, ids=", ".join)
def test_generation_config_does_not_count(checkpoints, as_they_are, tmp_path, family, hostile):
    folder = shutil.copytree(checkpoints[family][0], tmp_path / "checkpoint")
    own = json.loads((folder / "generation_config.json").read_text())
    own |= hostile | {"_from_model_config": False}
    (folder / "generation_config.json").write_text(json.dumps(own))
    loaded, its_processor = load_model(folder, device="cpu")
    for part in loaded.modules():  # BLIP's decoder writes, and has a configuration of its own
        if isinstance(part, transformers.GenerationMixin):
            part.generation_config.update(**loaded.generation_config.to_dict())
    for options, found, wanted in zip(
        WAYS, written(loaded, its_processor), as_they_are[family], strict=True
    ):
        assert found == wanted, options


@FAMILY
def test_zero_is_an_answer(checkpoints, tmp_path, family):
    "What is asked for explicitly is done, although it is the library's default."
    folder, model, processor = checkpoints[family]
    model, processor = load_model(folder, device="cpu")
    for part in model.modules():
        if isinstance(part, transformers.GenerationMixin):
            part.generation_config.no_repeat_ngram_size = 1
    tokens = generate_tokens(model, processor.tokenizer, pixels(processor), no_repeat_ngram_size=0)[
        1
    ]
    once = generate_tokens(model, processor.tokenizer, pixels(processor), no_repeat_ngram_size=1)[1]
    assert not torch.equal(tokens, once)


def test_samples_come_from_the_whole_distribution():
    """Otherwise a policy gradient would be biased: as often as the probabilities say, within four
    deviations."""
    model, processor = small_model("git", wildness=2)
    model.generation_config.update(temperature=0.3, top_k=2, top_p=0.5)
    torch.manual_seed(1)
    n = 2000
    _, new, logp = generate_tokens(
        model,
        processor.tokenizer,
        pixels(processor, 1),
        max_new_tokens=1,
        do_sample=True,
        num_return_sequences=n,
    )
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


def modes(model):
    return [part.training for part in model.modules()]


@FAMILY
def test_written_in_evaluation_mode(family):
    model, processor = small_model(family)
    wanted = generate_captions(model, processor, pixels(processor))
    model.train()
    model.get_submodule(FAMILIES[family].vision).eval()  # a part that is frozen
    before = modes(model)
    assert generate_captions(model, processor, pixels(processor)) == wanted
    assert modes(model) == before and True in before and False in before


def test_modes_come_back_after_an_error():
    model, processor = small_model("git")
    model.train()
    with pytest.raises(ValueError):
        generate_captions(model, processor, pixels(processor), num_return_sequences=3)
    assert all(modes(model))
    with pytest.raises(KeyError), evaluating(model):
        assert not any(modes(model))
        raise KeyError
    assert all(modes(model))


def test_modes_come_back_from_a_generator_that_is_closed():
    model, _ = small_model("git")

    def endless():
        with evaluating(model.train()):
            while True:
                yield model.training

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
        with pytest.raises(KeyError), quiet_transformers():
            raise KeyError
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
        with quiet_transformers(), quiet_transformers():
            pass
        assert loudness() == changed
    finally:
        logging.set_verbosity(before[0])
        logging.enable_progress_bar()


# --- checkpoints that are not whole


@pytest.fixture(params=BUILDERS)
def checkpoint(request, checkpoints, tmp_path):
    "A copy to spoil."
    return shutil.copytree(checkpoints[request.param][0], tmp_path / "RUN" / "model"), request.param


@pytest.fixture
def git(checkpoints, tmp_path):
    return shutil.copytree(checkpoints["git"][0], tmp_path / "RUN" / "model")


def refused(folder, *words):
    "The one line with which `load_model` refuses."
    with pytest.raises((OSError, ValueError)) as caught:
        load_model(folder, device="cpu")
    message = str(caught.value)
    assert str(folder) in message and "\n" not in message, message
    for word in words:
        assert word in message, message
    return message


def change(file, **values):
    "Other values in a JSON file, at any depth; None takes a key out."
    content = json.loads(file.read_text())

    def visit(part):
        if isinstance(part, dict):
            for key in list(part):
                if key not in values:
                    visit(part[key])
                elif values[key] is None:
                    del part[key]
                else:
                    part[key] = values[key]

    visit(content)
    file.write_text(json.dumps(content))


def change_weights(folder, edit):
    file = folder / "model.safetensors"
    weights = load_file(file)
    edit(weights)
    save_file(weights, file, metadata={"format": "pt"})


def vocabulary(folder):
    return json.loads((folder / "tokenizer.json").read_text())


@pytest.mark.parametrize(
    "name, word",
    [
        ("tokenizer.json", "no tokenizer (tokenizer.json)"),
        ("tokenizer_config.json", "no tokenizer_config.json"),
        ("processor_config.json", "no image processor"),
        ("model.safetensors", "no weights (model.safetensors)"),
        ("config.json", "no config.json"),
    ],
)
def test_a_missing_file_is_named(checkpoint, name, word):
    folder, _ = checkpoint
    (folder / name).unlink()
    refused(folder, word)


def test_missing_files_are_named_together(git):
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (git / name).unlink()
    refused(git, "no tokenizer (tokenizer.json), no image processor")


@pytest.mark.parametrize("has_model", [True, False])
def test_part_of_a_run(git, has_model):
    "What training writes for itself is no model to caption with; the message says which one is."
    run = git.parent
    saved = shutil.copytree(git, run / "checkpoints" / "checkpoint-5")
    for name in ("tokenizer.json", "tokenizer_config.json", "processor_config.json"):
        (saved / name).unlink()
    if not has_model:
        shutil.rmtree(git)
    word = f"the model of this run is {run / 'model'}" if has_model else "finish it with resume"
    refused(saved, word)
    refused(run / "checkpoints", word)
    if not has_model:
        refused(run, word)


def test_an_empty_folder(tmp_path):
    refused(tmp_path, "no config.json")


def test_pickled_weights_only(checkpoint):
    folder, family = checkpoint
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    refused(
        folder, "pytorch_model.bin", "safetensors", "convert", FAMILIES[family].model_class.__name__
    )


def test_the_conversion_works(git, monkeypatch):
    "The command in the message makes a checkpoint that loads."
    wanted = load_model(git)[0].state_dict()
    torch.save(load_file(git / "model.safetensors"), git / "pytorch_model.bin")
    (git / "model.safetensors").unlink()
    command = refused(git).partition("convert it: ")[2]
    with quiet_transformers():
        eval(command, {"transformers": transformers})
    assert all(torch.equal(wanted[name], p) for name, p in load_model(git)[0].state_dict().items())


@pytest.mark.parametrize("share", [0, 0.001, 0.5, 0.99])
def test_a_truncated_file(checkpoint, share):
    folder, _ = checkpoint
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: int(len(data) * share)])
    refused(folder)


def test_weights_in_several_files(git, tmp_path):
    model, _ = load_model(git)
    (git / "model.safetensors").unlink()
    with quiet_transformers():
        model.save_pretrained(git, max_shard_size="50KB")
    parts = sorted(git.glob("model-*.safetensors"))
    assert len(parts) > 2
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), load_model(git)[0].parameters())
    )
    parts[1].unlink()
    refused(git, f"1 of {len(parts)} files is missing", parts[1].name)


def test_a_weight_that_is_missing(checkpoint):
    folder, _ = checkpoint
    name = sorted(
        n
        for n in load_file(folder / "model.safetensors")
        if "pooler" not in n and "position_ids" not in n
    )[-1]
    change_weights(folder, lambda weights: weights.pop(name))
    refused(folder, name, "random")


def test_a_weight_of_another_shape(checkpoint):
    folder, _ = checkpoint
    name = next(
        n
        for n, w in load_file(folder / "model.safetensors").items()
        if "embeddings.patch_embedding" in n or "projection.weight" in n
    )
    change_weights(folder, lambda weights: weights.update({name: weights[name][:5].clone()}))
    refused(folder, name, "(5,")


def test_weights_of_a_deeper_model(git):
    def deeper(weights):
        for name in [n for n in weights if "encoder.layer.0" in n]:
            weights[name.replace("layer.0", "layer.1")] = weights[name].clone()

    change_weights(git, deeper)
    refused(git, "layer.1", "config.json")


def test_a_config_of_another_size(checkpoint):
    folder, _ = checkpoint
    change(folder / "config.json", vocab_size=777)
    refused(folder, "777")


def test_weights_that_nobody_needs_are_no_reason(git):
    "Checkpoints of other versions and tasks carry some."
    change_weights(
        git,
        lambda weights: weights.update(
            {"itm_head.weight": torch.zeros(2, 2), "git.embeddings.old_ids": torch.zeros(3)}
        ),
    )
    load_model(git)


@pytest.mark.parametrize("n", [1, 40])
def test_tokens_without_room(checkpoint, n):
    "Added to the tokenizer, and not to the model."
    folder, family = checkpoint
    processor = load_model(folder)[1]
    had = len(processor.tokenizer)
    processor.tokenizer.add_tokens([f"word{i}" for i in range(n)])
    processor.save_pretrained(folder)
    refused(folder, f"{had + n} tokens", f"room for {had}", "resize_token_embeddings")


def test_tokens_with_room(git):
    "Resized, it loads; more room than tokens is no fault."
    model, processor = load_model(git)
    processor.tokenizer.add_tokens(["octopus"])
    model.resize_token_embeddings(len(processor.tokenizer) + 7)
    with quiet_transformers():
        model.save_pretrained(git)
        processor.save_pretrained(git)
    loaded, its_processor = load_model(git)
    assert generate_captions(loaded, its_processor, pixels(its_processor), prefix="octopus")[
        0
    ].text.startswith("octopus")


def test_another_models_tokenizer(git):
    shutil.copy(files("imgcap") / "checkpoints" / "git-tiny" / "tokenizer.json", git)
    refused(git, "1024 tokens", "model's own tokenizer")


SETTINGS = [
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "preprocessor_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.json",
    "chat_template.jinja",
]
OLDER = {"special_tokens_map.json": {"pad_token": "[PAD]"}, "added_tokens.json": {"[PAD]": 0}}
DAMAGE = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "all but its end": lambda data: data.rstrip()[:-1],
    "a list": lambda data: b"[]",
    "a text": lambda data: b'"x"',
    "a number": lambda data: b"3",
    "nothing": lambda data: b"null",
    "nonsense": lambda data: b"{not json",
    "other letters": lambda data: b'{"a": "\xe4"}',
    "bytes": lambda data: random.Random(0).randbytes(300),
    "too deep": lambda data: b'{"a": ' + b"[" * 100_000,
}


@pytest.fixture(scope="module")
def older(checkpoints, tmp_path_factory):
    "A checkpoint with all the files that earlier versions of the library wrote too."
    folder = shutil.copytree(checkpoints["git"][0], tmp_path_factory.mktemp("older") / "model")
    load_model(folder, device="cpu")[1].image_processor.save_pretrained(folder)
    for name in SETTINGS:
        if not (folder / name).is_file():
            (folder / name).write_text(json.dumps(OLDER.get(name, {"chat_template": "{{ a }}"})))
    load_model(folder, device="cpu")
    return folder


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", SETTINGS)
def test_a_damaged_file_is_named(older, tmp_path, name, damage):
    folder = shutil.copytree(older, tmp_path / "model")
    (folder / name).write_bytes(DAMAGE[damage]((older / name).read_bytes()))
    if name.endswith(".jinja") and damage not in ("other letters", "bytes"):
        load_model(folder, device="cpu")  # a template is any text
    else:
        refused(folder, f"its {name} is", "empty" if damage == "empty" else "")


@pytest.mark.parametrize("name", [*SETTINGS, "model.safetensors"])
def test_a_folder_is_no_file(older, tmp_path, name):
    folder = shutil.copytree(older, tmp_path / "model")
    (folder / name).unlink()
    (folder / name).mkdir()
    refused(folder, name)


@pytest.mark.parametrize(
    "name, values",
    [
        ("config.json", {"hidden_size": "x"}),
        ("config.json", {"hidden_size": [1]}),
        ("config.json", {"hidden_size": 33}),
        ("config.json", {"hidden_dropout_prob": -3}),
        ("config.json", {"vision_config": 3}),
        ("config.json", {"model_type": ["git"]}),
        ("config.json", {"model_type": "elephant"}),
        ("config.json", {"dtype": []}),
        ("config.json", {"num_hidden_layers": 0}),
        ("config.json", {"num_hidden_layers": -1}),
        ("config.json", {"num_attention_heads": -1}),
        ("config.json", {"patch_size": 0}),
        ("config.json", {"hidden_size": 0}),
        ("generation_config.json", {"pad_token_id": "x"}),
        ("generation_config.json", {"pad_token_id": {}}),
        ("generation_config.json", {"eos_token_id": [1, "x"]}),
        ("generation_config.json", {"eos_token_id": 1.5}),
        ("processor_config.json", {"image_processor": "x"}),
        ("processor_config.json", {"processor_class": [1]}),
        ("processor_config.json", {"image_mean": "x"}),
        ("processor_config.json", {"size": [3]}),
        ("tokenizer.json", {"model": {"type": "BPE"}}),
        ("tokenizer.json", {"added_tokens": "x"}),
        ("tokenizer.json", {"normalizer": 3}),
        ("tokenizer.json", {"version": 3}),
        ("tokenizer_config.json", {"model_max_length": "x"}),
        ("tokenizer_config.json", {"sep_token": 3}),
        ("tokenizer_config.json", {"tokenizer_class": 3}),
    ],
)
def test_a_file_with_wrong_types_in_it_is_named(git, name, values):
    change(git / name, **values)
    refused(git, f"its {name}")


@pytest.mark.parametrize("wrong", ["x", {}, [[1]], True])
@pytest.mark.parametrize("name", ["bos_token_id", "decoder_start_token_id"])
def test_a_token_that_is_no_number_is_named(checkpoint, name, wrong):
    folder, _ = checkpoint
    content = json.loads((folder / "generation_config.json").read_text()) | {name: wrong}
    (folder / "generation_config.json").write_text(json.dumps(content))
    refused(folder, "its generation_config.json", name)


@pytest.mark.parametrize("wrong", [10**9, -1])
@pytest.mark.parametrize("name", ["bos_token_id", "sep_token_id"])
def test_a_token_that_blip_does_not_have_is_named(checkpoints, tmp_path, name, wrong):
    folder = shutil.copytree(checkpoints["blip"][0], tmp_path / "model")
    change(folder / "config.json", **{name: wrong})
    refused(folder, "its config.json cannot be used", f"{name} is {wrong}")


@FAMILY
@pytest.mark.parametrize("side", [True, 3])
def test_pictures_smaller_than_a_patch(checkpoints, tmp_path, family, side):
    folder = shutil.copytree(checkpoints[family][0], tmp_path / "model")
    change(folder / "processor_config.json", size={"height": side, "width": side})
    refused(folder, "processor_config.json", "the model's patches have 8")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [10**9, 1001, 0, -1])
def test_layers_are_counted_before_they_are_made(checkpoint, value):
    folder, family = checkpoint
    name = "n_layer" if family == "vision-encoder-decoder" else "num_hidden_layers"
    change(folder / "config.json", **{name: value})
    refused(folder, f"its config.json cannot be used: {name} is {value}; it must be from 1 to")


@pytest.mark.parametrize("name", ["num_image_with_embedding", "num_labels"])
def test_what_is_made_one_by_one_has_a_limit(git, name):
    content = json.loads((git / "config.json").read_text())
    (git / "config.json").write_text(json.dumps(content | {name: 10**9}))
    refused(git, name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("name", [*SETTINGS[1:], "model.safetensors", "spiece.model", "vocab.txt"])
def test_a_pipe_is_not_waited_for(older, tmp_path, name):
    folder = shutil.copytree(older, tmp_path / "model")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    refused(folder, f"its {name} is a pipe, not a regular file")


def test_a_fingerprint_does_not_wait_for_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "model.safetensors")
    with pytest.raises(OSError, match="is a pipe"):
        weights_fingerprint(tmp_path)


@pytest.mark.parametrize("names", [["special_tokens_map.json"], ["added_tokens.json"]])
def test_an_older_file_with_wrong_types_in_it_is_named(older, tmp_path, names):
    folder = shutil.copytree(older, tmp_path / "model")
    (folder / names[0]).write_text(json.dumps({"pad_token": [1], "[PAD]": [1]}))
    refused(folder, names[0])


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "processor_config.json"])
def test_an_empty_object_is_named(checkpoint, name):
    folder, _ = checkpoint
    (folder / name).write_text("{}")
    refused(folder, name)


@pytest.mark.parametrize(
    "content", [{}, [], {"weight_map": 3}, {"weight_map": {"a": 3}}, {"weight_map": []}]
)
def test_a_damaged_list_of_weights_is_named(git, content):
    (git / "model.safetensors").rename(git / "model-00001-of-00001.safetensors")
    (git / "model.safetensors.index.json").write_text(json.dumps(content))
    refused(git, "model.safetensors.index.json")


def test_a_damaged_part_of_the_weights_is_named(git):
    model, _ = load_model(git)
    (git / "model.safetensors").unlink()
    with quiet_transformers():
        model.save_pretrained(git, max_shard_size="50KB")
    part = sorted(git.glob("model-*.safetensors"))[1]
    part.write_bytes(part.read_bytes()[:-1])
    refused(git, part.name)


@pytest.mark.parametrize("content", ["", "[]", "nonsense"])
def test_files_of_others_in_the_folder_do_not_matter(git, content):
    (git / "notes.json").write_text(content)
    (git / "trainer_state.json").write_text(content)
    load_model(git)


@pytest.mark.parametrize(
    "values",
    [
        {"vocab_size": 10**9},
        {"image_size": 10**6},
        {"intermediate_size": 10**10},
        {"max_position_embeddings": 10**10},
    ],
)
def test_a_huge_model_is_refused_before_it_is_made(git, values):
    change(git / "config.json", **values)
    refused(git, "config.json", "weights")


def test_huge_pictures_are_refused_before_one_is_made(git):
    change(git / "processor_config.json", size={"height": 10**6, "width": 10**6})
    refused(git, "processor_config.json", "1000000 pixels")


def test_a_tokenizer_without_an_end(git):
    change(git / "tokenizer_config.json", eos_token=None, sep_token=None)
    refused(git, "end of a caption", "sep_token or eos_token")


def test_a_tokenizer_without_words(git):
    content = vocabulary(git)
    content["model"] |= {
        "vocab": {
            t: i for t, i in content["model"]["vocab"].items() if t in ("[PAD]", "[CLS]", "[SEP]")
        },
        "merges": [],
    }
    (git / "tokenizer.json").write_text(json.dumps(content))
    refused(git, "knows no words")


@pytest.mark.parametrize("dtype", ["float33", "int8", "Tensor", torch.int64, 16])
def test_dtypes_that_are_none(dtype):
    with pytest.raises(ValueError, match=f"dtype is {dtype}"):
        load_model("git-tiny", dtype=dtype)


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_dtypes(dtype):
    assert load_model("git-tiny", device="cpu", dtype=dtype)[0].dtype == torch.bfloat16


# --- a prefix is text


@FAMILY
def test_a_prefix_cannot_end_a_caption(family):
    model, processor = small_model(family)
    for prefix in ("[SEP]", "a [SEP]", "[CLS] a [PAD]"):
        start, *_ = generate_tokens(
            model, processor.tokenizer, pixels(processor, 1), prefix=prefix, max_new_tokens=2
        )
        assert not set(start[1:]) & set(processor.tokenizer.all_special_ids)
        assert generate_captions(model, processor, pixels(processor, 1), prefix=prefix)[
            0
        ].text.startswith(prefix)


@FAMILY
@pytest.mark.parametrize("words", [20, 58, 61])
def test_a_prefix_takes_room(family, words):
    "As many tokens as there are positions, and not one more."
    model, processor = small_model(family)
    start, new, _ = generate_tokens(
        model,
        processor.tokenizer,
        pixels(processor, 2),
        prefix="a" + " a" * words,
        max_new_tokens=99,
        min_new_tokens=64 - words - 2,
    )
    assert len(start) == words + 2 and new.shape[1] == 64 - words - 2


@FAMILY
def test_a_prefix_without_room(family):
    model, processor = small_model(family)
    with pytest.raises(
        ValueError, match="prefix has 7[0-9] tokens, and the model has room for 64 in all"
    ):
        generate_captions(model, processor, pixels(processor, 1), prefix="a " * 70)


# --- the tests that every family owes: they would have caught the library's bugs


@pytest.fixture(scope="module")
def eight():
    rows = make_creatures({"train": 8})["train"]
    return list(rows["image"]), [row["captions"][0] for row in rows]


def batch_of(processor, pictures, captions):
    text = processor.tokenizer(captions, padding=True, return_tensors="pt")
    return {
        "pixel_values": processor.image_processor(
            images=pictures, return_tensors="pt"
        ).pixel_values,
        **text,
        "labels": text["input_ids"].masked_fill(text["attention_mask"] == 0, -100),
    }


def first_token(model):
    config = model.config
    if config.model_type == "blip":
        return config.text_config.bos_token_id
    return config.bos_token_id if config.model_type == "git" else config.decoder_start_token_id


def next_scores(model, pixel_values, tokens):
    "Scores of the token after a row of tokens: the library's own forward pass without a cache."
    if model.config.model_type == "blip":
        return model(pixel_values=pixel_values, input_ids=tokens).logits[:, -1]
    name = "input_ids" if model.config.model_type == "git" else "decoder_input_ids"
    return model(pixel_values=pixel_values, **{name: tokens}, use_cache=False).logits[:, -1]


@FAMILY
@torch.no_grad()
def test_loss_is_the_cross_entropy(family, eight):
    model, processor = small_model(family)
    batch, losses = batch_of(processor, eight[0][:2], eight[1][:2]), []
    for pixel_values, ids, mask in zip(
        batch["pixel_values"], batch["input_ids"], batch["attention_mask"]
    ):
        ids = ids[mask == 1]
        for t in range(1, len(ids)):
            seen = torch.cat([torch.tensor([first_token(model)]), ids[1:t]])[None]
            losses.append(-next_scores(model, pixel_values[None], seen)[0].log_softmax(-1)[ids[t]])
    assert caption_loss(model, batch) == pytest.approx(float(torch.stack(losses).mean()), abs=1e-4)
    twice = {
        name: x if name == "pixel_values" else x.repeat_interleave(2, dim=0)
        for name, x in batch.items()
    }
    assert caption_loss(model, twice) == pytest.approx(float(caption_loss(model, batch)), abs=1e-4)


@FAMILY
@torch.no_grad()
def test_cached_generation_is_the_uncached_one(family, eight):
    model, processor = small_model(family)
    seen = batch_of(processor, *eight)["pixel_values"]
    ids = torch.full((8, 1), first_token(model))
    for _ in range(12):
        scores = next_scores(model, seen, ids)
        scores[:, 2] = -torch.inf  # the end
        ids = torch.cat([ids, scores.argmax(-1, keepdim=True)], dim=1)
    new = generate_tokens(model, processor.tokenizer, seen, max_new_tokens=12, min_new_tokens=12)[1]
    assert torch.equal(new, ids[:, 1:]) and len(new.unique()) > 4


@FAMILY
def test_eight_pictures_are_learned_word_for_word(family, eight, tmp_path):
    "Ends included; continued from a prefix; saved, and read by plain transformers."
    images, captions = eight
    torch.manual_seed(0)
    model, processor = small_model(family, dropout=0, wildness=1, texts=captions, size=64)
    batch = batch_of(processor, images, captions)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0)
    for _ in range(150):
        caption_loss(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
    written = generate_captions(model, processor, batch["pixel_values"])
    assert [c.text for c in written] == captions and all(c.tokens[-1] == "[SEP]" for c in written)
    begun = generate_captions(
        model, processor, batch["pixel_values"], prefix=captions[0][:12].rpartition(" ")[0]
    )[0]
    assert begun.text == captions[0] and len(begun.tokens) < len(written[0].tokens)
    assert [
        c.text for c in generate_captions(model, processor, batch["pixel_values"], num_beams=3)
    ] == captions
    one = batch_of(processor, images[:1], captions[:1])
    with torch.no_grad():
        assert torch.exp(-caption_loss(model, one)) == pytest.approx(written[0].score, abs=1e-3)
    with quiet_transformers():
        model.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        kind = (
            transformers.AutoModelForCausalLM
            if family == "git"
            else transformers.AutoModelForImageTextToText
        )
        plain = kind.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), model.parameters()))
    assert [
        c.text
        for c in generate_captions(*load_model(tmp_path, device="cpu"), batch["pixel_values"])
    ] == captions
    assert isinstance(model.get_submodule(FAMILIES[family].vision), torch.nn.Module)


# --- the fingerprint


@pytest.mark.parametrize("place", [0, 1, 17, 5000, -1])
def test_a_fingerprint_sees_each_value(checkpoints, place):
    model = copy.deepcopy(checkpoints["git"][1])
    before, weight = weights_fingerprint(model), model.output.weight.data.view(-1)
    weight[place] = torch.nextafter(weight[place], torch.tensor(9.0))
    assert weights_fingerprint(model) != before


def test_what_a_fingerprint_does_not_see(checkpoints):
    "As its docstring says; whatever compares fingerprints has to live with that."
    model = copy.deepcopy(checkpoints["git"][1])
    before, weight = weights_fingerprint(model), model.output.weight.data.view(-1)
    assert len(weight) // 64 > 3
    weight[[1, 2]] = weight[[2, 1]]
    assert weights_fingerprint(model) == before
    weight[[0, 1]] = weight[[1, 0]]  # the first is one of those it takes
    assert weights_fingerprint(model) != before


# --- the size of pictures


@pytest.mark.parametrize("wrong", [100_000, 10**30, 4104, 0, -8, 36, 32.0, "32", None, True])
def test_a_size_that_cannot_be_is_refused_before_anything_is_made(git, wrong):
    model, processor = load_model(git, device="cpu")
    before, size = model.state_dict(), dict(processor.image_processor.size)
    for refuse in (
        lambda: set_image_size(model, processor, wrong),
        lambda: new_git_tiny(TEXTS, vision_layers=1, text_layers=1, image_size=wrong),
    ):
        with pytest.raises(ValueError, match="image_size is") as caught:
            refuse()
        assert "\n" not in str(caught.value)
    assert model.state_dict().keys() == before.keys()
    assert processor.image_processor.size == size and model.config.vision_config.image_size == 32


def test_the_size_of_a_loaded_model(git):
    model, processor = load_model(git, device="cpu", image_size=64)
    assert processor.image_processor.size == {"height": 64, "width": 64}
    pictures = torch.zeros(1, 3, 64, 64)
    assert generate_captions(model, processor, pictures, max_new_tokens=3)[0].tokens
    with pytest.raises(ValueError, match="up to 4096, such as 4096"):
        load_model(git, device="cpu", image_size=100_000)


# --- the allocator

PAGE_FAULTS = """
import resource, torch
from imgcap.model import keep_freed_memory, load_model
def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10_000_000)  # more than glibc's own largest threshold, 32 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
usual = [page_faults() for _ in range(3)]
load_model("git-tiny")
loaded = [page_faults() for _ in range(3)]
keep_freed_memory()
kept = [page_faults() for _ in range(3)]
print(usual[-1], loaded[-1], kept[-1])
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is no glibc")
def test_freed_memory_is_kept_only_when_asked_for():
    said = subprocess.run(
        [sys.executable, "-c", PAGE_FAULTS], capture_output=True, text=True, check=True
    ).stdout
    usual, loaded, kept = map(int, said.split())
    assert usual > 10 * kept and loaded > 10 * kept
