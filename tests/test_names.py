"The public names of the stages stay where they are: code that people have written goes on working."

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import imgcap

NAMES = {
    "data": """
        CaptionReport ImageError PICTURE_SUFFIXES caption_language decode_image
        describe_captions evaluation_rows keep_encoded load_captions offline_if_unreachable
        split_captions
    """,
    "viz": """
        BLUE Comparison GREEN ORANGE SKY VERMILLION compare_captions contact_sheet
        plot_history plot_lengths plot_words show_captions show_predictions show_references
    """,
    "preprocess": """
        CaptionCollator augment_picture choose_caption choose_captions decoding_side
        encode_text picture_pixels
    """,
    "model": """
        Caption FAMILIES Family add_ends begin_caption caption_from_tokens caption_loss
        evaluating generate_captions generate_tokens is_small keep_freed_memory last_token
        load_model model_family new_git_tiny pick_device quiet_transformers train_tokenizer
        weights_fingerprint
    """,
    "metrics": """
        CaptionStatistics CiderReward Comparison DocumentFrequencies bootstrap_intervals
        caption_scores caption_statistics cider_document_frequencies clip_scores
        compare_scores java_scores match_ids read_file_names read_predictions
        read_references sentence_similarity
    """,
    "train": """
        CaptionTrainer EpochRows FeatureFile RunLog TrainConfig WeightAverage advantages
        best_validation caption_rows choose_parts chosen_by fill_defaults finetune
        fingerprint has_bfloat16 save_checkpoint self_critical_loss validation_scores
        weights_fingerprint without_autocast write_atomic
    """,
    "evaluate": """
        Report ScoreTable evaluate_model html_page mark_words picture_uri read_scores
        typical_caption
    """,
    "infer": """
        AltTextReport Caption CaptionCounts CaptionError Captioner Decoding ImageError
        caption_files fetch_picture fill_alt_text find_pictures
    """,
    "share": """
        model_card published_files push_run write_card
    """,
}


@pytest.mark.parametrize("stage", NAMES)
def test_each_argument_can_be_given_by_its_name(stage):
    module = importlib.import_module(f"imgcap.{stage}")
    for name in NAMES[stage].split():
        if not inspect.isfunction(function := getattr(module, name)): continue
        kinds = {each.kind for each in inspect.signature(function).parameters.values()}
        assert inspect.Parameter.POSITIONAL_ONLY not in kinds, name


@pytest.mark.parametrize("stage", NAMES)
def test_public_names(stage):
    module = importlib.import_module(f"imgcap.{stage}")
    missing = [name for name in NAMES[stage].split() if not hasattr(module, name)]
    assert not missing, f"imgcap.{stage} no longer has {', '.join(missing)}"


FIRST = """load_captions split_captions describe_captions load_model finetune TrainConfig
    evaluate_model Captioner""".split()


def in_new_process(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_names_of_the_package_are_those_of_its_stages():
    homes = {name: stage for stage, names in NAMES.items() for name in names.split()}
    for name in FIRST:
        stage = importlib.import_module(f"imgcap.{homes[name]}")
        assert getattr(imgcap, name) is getattr(stage, name)
    assert set(FIRST) <= set(dir(imgcap))
    with pytest.raises(AttributeError, match="'imgcap' has no attribute 'load_caption'"):
        imgcap.load_caption


def test_the_package_alone_loads_nothing():
    "Neither a stage nor a library, and so in no time; a name of data loads no torch."
    code = "import sys; before = {*sys.modules}; import imgcap; print(*{*sys.modules} - before)"
    assert in_new_process(code) == ["imgcap"]
    code = "import sys, imgcap; imgcap.load_captions; print('torch' in sys.modules)"
    assert in_new_process(code) == ["False"]


@pytest.mark.parametrize("room, name", [
    ("cli.demonstration", "demo"), ("cli.learning", "train"), ("cli.learning", "evaluate"),
    *(("cli.commands", name)
      for name in "caption check score export push app bench".split()),
    ("config", "TrainConfig"), ("config", "Decoding"), ("config", "CommandOptions")])
def test_the_reference_tells_each_option_and_its_default(room, name, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "docs" / "ext"))
    reference = importlib.import_module("reference")
    made = getattr(importlib.import_module(f"imgcap.{room}"), name)
    text = "\n".join(reference.entry(reference.Module(room), name, []))
    for option, taken in inspect.signature(made).parameters.items():
        if taken.kind is taken.VAR_KEYWORD: continue
        assert f"* - ``{option}``" in text, option
        if taken.default is not taken.empty:
            assert re.search(rf"\b{option}: [^=]+ = {re.escape(repr(taken.default))}[,)]", text)
    assert "option(" not in text and "CommandOptions." not in text
