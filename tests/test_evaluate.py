"Scores: what they are of, where they are saved, and what the systems beside the model are."
import copy
import io
import json
import os
import re
import shutil
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import datasets
import numpy as np
import copies
import pytest
import torch
from PIL import Image

from imgcap.cli import main
from imgcap.config import Decoding
from imgcap.data.creatures import attribute_scores, make_creatures
from imgcap.evaluate import (
    Report,
    ScoreTable,
    evaluate_model,
    picture_uri,
    read_scores,
    typical_caption,
)
from imgcap.evaluate.baselines import TrainingPictures, caption_systems, other_pictures
from imgcap.evaluate.examples import best_worst_random, row_titles
from imgcap.evaluate.groups import group_rows, group_scores
from imgcap.evaluate.pages import example_card
from imgcap.evaluate.records import strict_json
from imgcap.evaluate.report import score_systems
from imgcap.evaluate.scoring import Measured, differences, statistics_in_blocks
from imgcap.evaluate.verdicts import how_to_read, on_skipped, report_title, variety, verdict
from imgcap.files import held, write_atomic
from imgcap.infer import Captioner
from imgcap.metrics import caption_scores, caption_statistics, cider_document_frequencies
from imgcap.model import load_model, new_git_tiny, weights_fingerprint
from imgcap.data.rows import keep_encoded
from imgcap.fingerprints import describe_data, fingerprint

datasets.disable_progress_bars()
FEATURES = datasets.Features({"image": datasets.Image(), "image_id": datasets.Value("string"),
                              "captions": datasets.List(datasets.Value("string"))})
WORDS = "a red blue green cat dog bird sits runs on the grass sea in".split()


def png(colour):
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), colour).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def row(i, colour=(0, 0, 0), captions=("a red cat", "the blue dog sits"), image=None):
    return {"image": image or png(colour), "image_id": str(i), "captions": list(captions)}


def table(rows):
    rows = list(rows)
    return datasets.Dataset.from_dict(
        {name: [r[name] for r in rows] for name in FEATURES}, features=FEATURES
    )


def stream(rows):
    return datasets.IterableDataset.from_generator(lambda: iter(list(rows)), features=FEATURES)


def shades(n, start=0):
    return [
        row(
            start + i,
            (40 * i % 256, 90, 200),
            (f"a {WORDS[i % 7]} cat {i}", f"the {WORDS[i % 7]} one sits"),
        )
        for i in range(n)
    ]


DAMAGED = {"bytes": b"no picture", "path": None}


@pytest.fixture(scope="module")
def small():
    "A model of one layer each, in which dropout would be seen."
    model, processor = new_git_tiny(
        [" ".join(WORDS)] * 3, vision_layers=1, text_layers=1, hidden_size=32
    )
    for part in model.modules():
        if isinstance(part, torch.nn.Dropout): part.p = .5
        for name in ("dropout", "p"):
            if isinstance(getattr(part, name, None), float): setattr(part, name, .5)
    return model, processor


@pytest.fixture(scope="module")
def creatures(): return make_creatures({"train": 6, "test": 12}, image_size=64)


@pytest.fixture(scope="module")
def score(small):
    model, processor = small
    def score(data, split="test", **options):
        return evaluate_model(
            model, data, split, **{"processor": processor, "resamples": 20, **options}
        )
    return score


@pytest.fixture
def make_run(small, tmp_path):
    "A run folder as training leaves it, of the small model and some data."
    def make(data, model=None, name="run"):
        run = tmp_path / name
        (model or small[0]).save_pretrained(run / "model")
        small[1].save_pretrained(run / "model")
        about = {"data": {split: {"pictures": len(rows), "fingerprint": fingerprint(rows)}
                          for split, rows in data.items()}}
        (run / "run.json").write_text(json.dumps(about), encoding="utf-8")
        return run
    return make


def other_weights(model, by=1e-6):
    other = copy.deepcopy(model)
    with torch.no_grad(): next(other.parameters()).view(-1)[0] += by
    return other


def read(path): return json.loads(path.read_text(encoding="utf-8"))


# ---- what the scores are of

def test_the_runs_own_scores_are_in_the_run_folder(score, make_run):
    data = {"train": table(shades(3)), "test": table(shades(5, 10))}
    run = make_run(data)
    assert score(data).save(run) == run
    assert set(read(run / "metrics.json")) == {"test"}
    scores, left_out = read_scores(run)
    assert scores == read(run / "metrics.json") and not left_out


def test_another_set_gets_a_folder_of_its_own(score, make_run, tmp_path):
    data = {"train": table(shades(3)), "test": table(shades(5, 10))}
    run = make_run(data)
    score(data).save(run)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    other = {"train": table(shades(3, 50)), "test": table(shades(4, 60))}
    where = score(other, source="/home/ada/secret/other set").save(run)
    assert where.parent == run / "evaluations"
    assert re.fullmatch("other_set-[0-9a-f]{12}", where.name)
    names = {"metrics.json", "measured.json", "predictions.jsonl", "gallery.png", "report.html"}
    assert {path.name for path in where.iterdir()} == names
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    assert list(read_scores(run)[0]["test"]["model"]) and read_scores(run)[0] == read(
        run / "metrics.json"
    )


@pytest.mark.parametrize("change", ["captions", "ids", "order", "fewer"])
def test_any_difference_in_the_data_is_another_set(score, make_run, change):
    rows = shades(4, 10)
    data = {"train": table(shades(3)), "test": table(rows)}
    run = make_run(data)
    if change == "captions": rows[2]["captions"][1] += " here"
    if change == "ids": rows[2]["image_id"] = "x"
    if change == "order": rows.reverse()
    if change == "fewer": rows.pop()
    assert (
        score({"train": data["train"], "test": table(rows)}).save(run).parent == run / "evaluations"
    )
    assert read_scores(run) == ({}, {})


def test_a_split_that_training_did_not_get_is_the_runs_when_the_others_are(score, make_run):
    data = {
        "train": table(shades(3)),
        "validation": table(shades(2, 5)),
        "test": table(shades(4, 10)),
    }
    run = make_run({name: data[name] for name in ("train", "validation")})
    assert score(data).save(run) == run and set(read_scores(run)[0]) == {"test"}
    assert score(data, "all").save(run) == run and (run / "report-all.html").is_file()
    foreign = {**data, "train": table(shades(3, 70))}
    assert score(foreign).save(run).parent == run / "evaluations"
    assert (
        score({"test": data["test"]}).save(run).parent == run / "evaluations"
    )  # nothing says whose it is


def test_scores_of_other_weights_do_not_count(score, small, make_run):
    data = {"train": table(shades(3)), "test": table(shades(5, 10))}
    run = make_run(data)
    other = other_weights(small[0])
    report = evaluate_model(other, data, processor=small[1], resamples=20)
    where = report.save(run)
    assert where.parent == run / "evaluations"
    assert where.name.endswith(f"-of-{weights_fingerprint(other)}")
    score(data).save(run)
    other.save_pretrained(run / "model") # trained on
    scores, left_out = read_scores(run)
    assert not scores and "other weights" in left_out["test"]


def test_older_splits_go_when_the_weights_change(score, small, make_run):
    data = {"train": table(shades(3)), "test": table(shades(5, 10))}
    run = make_run(data)
    score(data, "train").save(run)
    other = other_weights(small[0])
    other.save_pretrained(run / "model")
    assert evaluate_model(other, data, processor=small[1], resamples=20).save(run) == run
    assert set(read(run / "metrics.json")) == set(read(run / "measured.json")) == {"test"}
    assert not list(run.glob("*-train.*"))


def test_scores_without_a_record_or_changed_by_hand_do_not_count(score, make_run):
    data = {"train": table(shades(3)), "test": table(shades(5, 10))}
    run = make_run(data)
    score(data).save(run)
    metrics = read(run / "metrics.json")
    metrics["test"]["model"]["cider_d"] = 9.9
    metrics["novel"] = {"model": {"cider_d": 1.0}}
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    scores, left_out = read_scores(run)
    assert not scores and set(left_out) == {"test", "novel"}


def test_a_folder_that_is_no_run_keeps_the_first_set(score, small, tmp_path):
    first, second = {"test": table(shades(4))}, {"test": table(shades(4, 20))}
    assert score(first).save(tmp_path) == tmp_path
    before = (tmp_path / "metrics.json").read_bytes()
    assert score(second, source="b").save(tmp_path).parent == tmp_path / "evaluations"
    assert evaluate_model(other_weights(small[0]), first, processor=small[1],
                          resamples=20).save(tmp_path).parent == tmp_path / "evaluations"
    assert (tmp_path / "metrics.json").read_bytes() == before
    assert score(first).save(tmp_path) == tmp_path


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*") if path.is_file()}


def test_a_second_model_takes_nothing_from_the_first(score, small, tmp_path):
    data = {"test": table(shades(4)), "novel": table(shades(4, 20))}
    score(data).save(tmp_path)
    before = contents(tmp_path)
    others = [other_weights(small[0], by) for by in (1e-6, 2e-6)]
    folders = {evaluate_model(other, data, split, processor=small[1], resamples=20).save(tmp_path)
               for other in others for split in data}
    assert len(folders) == 4 and {f.parent for f in folders} == {tmp_path / "evaluations"}
    assert contents(tmp_path).items() >= before.items()
    assert score(data, "novel").save(tmp_path) == tmp_path


def test_different_sets_have_different_folders(score, make_run):
    rows = shades(4, 10)
    run = make_run({"train": table(shades(3))})
    painted = [{**each, "image": png((9, 9, i))} for i, each in enumerate(rows)]
    words = [{**each, "captions": ["a blue dog", "a cat"]} for each in rows]
    reports = [score({"test": table(each)}, source="x") for each in (rows, painted, words)]
    reports += [score({"test": table(rows)}, source="x", language=each) for each in ("de", None)]
    folders = [report.save(run) for report in reports]
    assert len(set(folders)) == 5 and {each.parent for each in folders} == {run / "evaluations"}
    again = score({"test": table(rows)}, source="x", max_new_tokens=3).save(run)
    assert again == folders[0]
    assert read(again / "measured.json")["test"]["decoding"]["max_new_tokens"] == 3


# ---- files of others, and files that were edited

@pytest.mark.parametrize("name", ["report.html", "predictions.jsonl", "gallery.png"])
@pytest.mark.parametrize("a_run", [False, True])
def test_a_file_that_no_evaluation_wrote_is_not_replaced(score, make_run, tmp_path, name, a_run):
    data = {"train": table(shades(3)), "test": table(shades(4, 10))}
    folder = make_run(data) if a_run else tmp_path / "mine"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("a thesis", encoding="utf-8")
    before, report = contents(folder), score(data)
    with pytest.raises(FileExistsError, match=f"holds {name}, which no evaluation wrote"):
        report.save(folder)
    assert contents(folder) == before
    assert score(data, "train").save(folder) == folder, "those of another split are in no way"
    with pytest.raises(FileExistsError, match=name): report.save(folder)
    assert (folder / name).read_text(encoding="utf-8") == "a thesis"
    (folder / name).rename(folder / "thesis")
    assert report.save(folder) == folder


@pytest.mark.parametrize("name, content", [
    ("metrics.json", {"test": {"accuracy": .9}}), ("metrics.json", {"train": {"loss": 1}}),
    ("measured.json", {"table": {"height": 1}})])
def test_a_record_of_something_else_is_not_replaced(score, tmp_path, name, content):
    (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FileExistsError, match=name):
        score({"test": table(shades(3))}).save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("kind", ["a folder", "a link", "a link to nowhere"])
def test_what_is_no_file_is_not_replaced(score, tmp_path, kind):
    out, path = tmp_path / "out", tmp_path / "precious"
    out.mkdir()
    if kind == "a folder": (out / "report.html").mkdir()
    else: (out / "report.html").symlink_to(path)
    if kind == "a link": path.write_text("precious", encoding="utf-8")
    with pytest.raises(FileExistsError, match="report.html"):
        score({"test": table(shades(3))}).save(out)
    assert os.listdir(out) == ["report.html"] and path.exists() == (kind == "a link")


@pytest.mark.parametrize("a_run", [False, True])
@pytest.mark.parametrize(
    "name", ["report.html", "predictions.jsonl", "gallery.png", "metrics.json"])
def test_an_edited_file_is_put_aside(score, make_run, tmp_path, name, a_run):
    data = {"train": table(shades(3)), "test": table(shades(4, 10))}
    folder, report = make_run(data) if a_run else tmp_path / "mine", score(data)
    report.save(folder)
    score(data, "train").save(folder)
    first = contents(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2): report.save(folder) # nothing was edited
    assert contents(folder).keys() == first.keys()
    for i in (1, 2):
        with open(folder / name, "ab") as file: file.write(b" ")
        mine = (folder / name).read_bytes()
        with pytest.warns(UserWarning, match=rf"{name} was edited .*{name}.kept-{i}"):
            report.save(folder)
        assert (folder / f"{name}.kept-{i}").read_bytes() == mine
    now = contents(folder)
    assert now.keys() - first.keys() == {f"{name}.kept-1", f"{name}.kept-2"}
    assert {key: now[key] for key in first if key != "measured.json"} == {
        key: first[key] for key in first if key != "measured.json"}


def test_an_edited_page_of_other_weights_is_kept(score, small, make_run):
    data = {"train": table(shades(3)), "test": table(shades(5, 10))}
    run = make_run(data)
    score(data, "train").save(run)
    with open(run / "report-train.html", "a", encoding="utf-8") as file: file.write("my notes")
    other = other_weights(small[0])
    other.save_pretrained(run / "model")
    with pytest.warns(UserWarning, match="report-train.html was edited"):
        evaluate_model(other, data, processor=small[1], resamples=20).save(run)
    assert [path.name for path in run.glob("*-train*")] == ["report-train.html.kept-1"]


def test_files_of_an_earlier_version_have_no_digests(score, tmp_path):
    report = score({"test": table(shades(3))})
    report.save(tmp_path)
    record = read(tmp_path / "measured.json")
    del record["test"]["files"]
    (tmp_path / "measured.json").write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "report.html").write_text("written by an earlier version", encoding="utf-8")
    assert report.save(tmp_path) == tmp_path and not list(tmp_path.glob("*.kept-*"))


def test_weights_have_the_same_fingerprint_wherever_they_are(small, tmp_path):
    model, processor = small
    known = weights_fingerprint(model)
    for name, size in {"one": "1GB", "many": "20KB"}.items():
        model.save_pretrained(tmp_path / name / "model", max_shard_size=size)
        processor.save_pretrained(tmp_path / name / "model")
        for folder in (tmp_path / name, tmp_path / name / "model"):
            assert weights_fingerprint(folder) == known
        assert weights_fingerprint(load_model(tmp_path / name, device="cpu")[0]) == known
    assert len(list((tmp_path / "many" / "model").glob("*.safetensors"))) > 1
    assert weights_fingerprint(other_weights(model)) != known
    assert weights_fingerprint(tmp_path) == ""
    half = copy.deepcopy(model).to(torch.bfloat16)
    half.save_pretrained(tmp_path / "half" / "model")
    assert weights_fingerprint(tmp_path / "half") == weights_fingerprint(half) != known


def test_the_record_says_how(score, small):
    rows = [*shades(3, 10), row("bad", image=DAMAGED), row("mute", captions=())]
    data = {"train": table(shades(2)), "test": table(rows)}
    report = score(data, num_beams=2, source="../photos")
    record = report.record
    assert (
        record["data"]["fingerprint"] == fingerprint(data["test"])
        and record["data"]["pictures"] == 5
    )
    assert record["data"]["name"] == "photos" and record["weights"] == weights_fingerprint(small[0])
    assert (record["language"], record["precision"]) == ("en", "float32")
    assert record["decoding"]["num_beams"] == 2 and record["decoding"]["no_repeat_words"] == 3
    streamed = score({"train": data["train"], "test": stream(rows)}, source="../photos").record
    for each in (record, streamed):  # a stream's pictures come one by one
        splits = {"train"} if each is streamed else {"train", "test"}
        assert set(each["data"].pop("picture_splits")) == splits
    assert record["data"] == streamed["data"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_replaced_pictures_are_another_set(score, make_run, split):
    data = {"train": table(shades(2)), "validation": table(shades(3, 10)),
            "test": table(shades(3, 20))}
    run = make_run(data)
    about = read(run / "run.json")
    known = {name: keep_encoded(data[name]) for name in ("train", "validation")}
    about["data"] = describe_data(known)
    (run / "run.json").write_text(json.dumps(about))
    assert score(data, split).save(run) == run
    theirs = [{**r, "image": other["image"]} for r, other in zip(shades(3, 10), shades(6)[3:])]
    where = score({**data, "validation": table(theirs)}, split).save(run)
    assert where.parent == run / "evaluations", "same ids and captions, other pictures"


def test_metrics_json_keeps_its_shape(score, make_run):
    data = {"train": table(shades(3)), "test": table(shades(5, 10))}
    run = score(data).save(make_run(data))
    score(data, "train").save(run)
    metrics = read(run / "metrics.json")
    assert set(metrics) == {"test", "train"}
    for systems in metrics.values():
        assert list(systems) == [
            "model",
            "shuffled_pictures",
            "constant_caption",
            "nearest_picture",
            "human",
        ]
        for scores in systems.values():
            for name, value in scores.items():
                if not name.endswith("_ci"):
                    assert isinstance(value, float), name
                elif not name.endswith("difference_ci"):
                    assert value[0] <= scores[name[:-3]] + 1e-9 and len(value) == 2


# ---- one way of writing

def test_evaluate_writes_what_captioner_writes(score, small, creatures):
    pictures = creatures["test"]
    report = score(creatures, batch_size=5)
    said = [
        caption.text
        for caption in Captioner(small[0], processor=small[1]).many(list(pictures["image"]))
    ]
    assert [r["caption"] for r in report.predictions] == said
    forced = score(creatures, force_words=("grass",))
    assert all("grass" in r["caption"] for r in forced.predictions)


def say(run, **about):
    "Make a folder a run that says this."
    known = read(run / "run.json")
    about = {"config": {}, "versions": {"imgcap": "1"}, **known, **about}
    (run / "run.json").write_text(json.dumps(about), encoding="utf-8")
    return run


RECORDED = [
    {"validation": {"decoding": {"max_new_tokens": 3, "no_repeat_words": 0, "of a later time": 1}}},
    {"config": {"max_new_tokens": 3, "batch_size": 2}},  # of an earlier version
]


@pytest.mark.parametrize("recorded", RECORDED)
def test_a_run_writes_as_it_was_validated(make_run, creatures, recorded, tmp_path, monkeypatch):
    run, pictures = say(make_run(creatures), **recorded), list(creatures["test"]["image"][:3])
    quick, rows = {"resamples": 2, "batch_size": 4}, {"test": creatures["test"].select(range(3))}

    def longest(captions):
        return max(len(caption.tokens) for caption in captions)

    for name in (run, run / "model", str(run)):
        assert longest(Captioner(name).many(pictures, progress=False)) == 3
        assert longest(Captioner(name).many(pictures, progress=False, max_new_tokens=7)) == 7
    model, processor = load_model(run)[:2]
    assert longest(Captioner(model, processor=processor).many(pictures)) == 3
    assert len(Captioner(run)(pictures[0]).tokens) == 3
    assert len(list(Captioner(run).stream(pictures[0]))[-1].tokens) == 3
    report = evaluate_model(run, rows, **quick)
    assert report.record["decoding"]["max_new_tokens"] == 3
    assert "max_new_tokens" not in recorded.get("validation", {}).get("decoding", {}) or (
        report.record["decoding"]["no_repeat_words"] == 0
    )
    assert [each["caption"] for each in report.predictions] == [
        caption.text for caption in Captioner(run).many(pictures, progress=False)
    ]
    assert evaluate_model(run, rows, max_new_tokens=40, **quick).record["decoding"][
        "max_new_tokens"] == 40
    whole = evaluate_model(run, rows, decoding=Decoding(), **quick).record["decoding"]
    assert whole["max_new_tokens"] == 40


@pytest.mark.parametrize("typed, found", [([], 3), (["--max-new-tokens", "40"], 40)])
def test_the_commands_write_as_the_run_was_validated(
    make_run, creatures, photos, tmp_path, typed, found
):
    run, out = say(make_run(creatures), **RECORDED[0]), tmp_path / "c.jsonl"
    command = ["caption", str(photos / "0.png"), "--model", str(run), "--out", str(out)]
    assert main(command + typed) == 0
    assert read(tmp_path / ".c.jsonl.run.json")["decoding"]["max_new_tokens"] == found
    words = ["--data", str(photos), "--model", str(run), "--split", "all", "--out"]
    assert main(["evaluate", *words, str(tmp_path / "scores"), *typed]) == 0
    assert read(tmp_path / "scores" / "measured.json")["all"]["decoding"]["max_new_tokens"] == found


def test_a_run_that_says_what_cannot_be_is_named(make_run, creatures):
    run = say(make_run(creatures), validation={"decoding": {"max_new_tokens": "many"}})
    for work in (Captioner, lambda name: evaluate_model(name, creatures)):
        with pytest.raises(ValueError, match="run.json: max_new_tokens is 'many'") as error:
            work(run)
        assert "\n" not in str(error.value)


def test_dropout_is_off_and_the_mode_comes_back(score, small, creatures):
    model = small[0]
    quiet = score(creatures)
    model.train()
    try:
        loud = score(creatures)
        assert model.training
    finally: model.eval()
    assert [r["caption"] for r in loud.predictions] == [r["caption"] for r in quiet.predictions]
    assert [r["score"] for r in loud.predictions] == [r["score"] for r in quiet.predictions]


def test_autocast_around_it_changes_nothing(score, creatures):
    plain = score(creatures)
    with torch.autocast("cpu", dtype=torch.bfloat16): inside = score(creatures)
    assert [r["score"] for r in inside.predictions] == [r["score"] for r in plain.predictions]


def test_sampling_is_repeatable(score, creatures):
    first, second = (score(creatures, do_sample=True, seed=3) for _ in range(2))
    assert [r["caption"] for r in first.predictions] == [r["caption"] for r in second.predictions]
    assert first.record["decoding"]["seed"] == 3


# ---- the systems

@pytest.mark.parametrize("n", [2, 3, 50])
def test_nobody_keeps_the_own_picture(n):
    for seed in range(20):
        other = other_pictures(n, seed)
        assert sorted(other) == list(range(n)) and (other != np.arange(n)).all()


def test_shuffled_pictures_are_other_pictures(score, creatures):
    report = score(creatures)
    written = {r["image_id"]: r["caption"] for r in report.predictions}
    references = {r["image_id"]: r["references"] for r in report.predictions}
    assert report.scores["model"]["cider_d"] == caption_scores(written, references)["cider_d"]
    ids, other = list(written), other_pictures(len(written), seed=0)
    shuffled = caption_scores({ids[i]: written[ids[other[i]]] for i in range(len(ids))}, references)
    assert report.scores["shuffled_pictures"]["wer"] == shuffled["wer"]


def test_people_are_scored_against_the_others(score, creatures, small):
    report = score(creatures)
    references = {r["image_id"]: r["references"] for r in report.predictions}
    rest = {k: r[1:] for k, r in references.items()}
    human = caption_scores({k: r[0] for k, r in references.items()}, rest)
    assert all(report.scores["human"][name] == human[name] for name in ("cider_d", "bleu_4", "wer"))
    assert report.scores["human"]["wer"] > 0.1, (
        "a person who is compared with himself makes no mistake"
    )
    written = {r["image_id"]: r["caption"] for r in report.predictions}
    same = caption_scores(written, rest)["cider_d"] - human["cider_d"]
    assert abs(report.scores["human"]["cider_d_difference"] - same) < 1e-12


def test_the_constant_caption_is_from_the_training_split(score):
    train = table(row(i, captions=["a red cat sits" if i else "x", f"one{i}"]) for i in range(4))
    test = table(
        row(i + 10, captions=["the blue dog runs" if i else "y", f"two{i}"]) for i in range(4)
    )
    def constant(data, split="test"):
        note, = (n for n in score(data, split).notes if n.startswith("constant_caption"))
        return note

    assert "'a red cat sits', from the training captions" in constant(
        {"train": train, "test": test}
    )
    assert "'the blue dog runs', chosen on the split test itself" in constant({"test": test})
    turned = train.map(lambda r: {"captions": r["captions"][::-1]}, load_from_cache_file=False)
    assert "'a red cat sits', chosen on the split train" in constant({"train": turned}, "train")


def test_captions_of_one_picture_do_not_vote_for_each_other():
    few = [
        ["a bus", "a bus", "a bus"],
        ["a dog runs", "the dog sits"],
        ["a dog runs fast", "one dog jumps"],
    ]
    assert typical_caption(few) in few[1] + few[2]


def test_a_picture_does_not_vote_for_its_own_caption():
    odd = ["seven purple engines"] * 5
    assert typical_caption([odd, ["a cat sat down"], ["a cat sat down"], ["one dog"]]) \
        == "a cat sat down"


def test_the_nearest_picture_is_another_picture(score, creatures):
    pictures = TrainingPictures(creatures["train"], 100, 0)
    for i, each in enumerate(creatures["train"]):
        assert pictures.nearest(each["image"]) == i
        assert pictures.nearest(each["image"], but=each["image_id"]) not in (i, None)
    report = score(creatures, "train")
    itself = {r["image_id"]: r["references"][0] for r in report.predictions}
    references = {r["image_id"]: r["references"] for r in report.predictions}
    assert (
        report.scores["nearest_picture"]["cider_d"] < caption_scores(itself, references)["cider_d"]
    )


def test_the_nearest_picture_is_the_one_with_the_smallest_difference(score):
    train = table(
        [
            row("dark", (10, 10, 10), ["a dark one", "x"]),
            row("light", (240, 240, 240), ["a light one", "y"]),
        ]
    )
    test = table(
        [row(1, (30, 30, 30), ["a dark one", "x"]), row(2, (220, 220, 220), ["a light one", "y"])]
    )
    assert score({"train": train, "test": test}).scores["nearest_picture"]["wer"] == 0


def test_a_sample_of_the_training_pictures(creatures):
    few = TrainingPictures(creatures["train"], limit=3, seed=1)
    assert len(few.ids) == 3 and few.total == 6
    streamed = TrainingPictures(creatures["train"].to_iterable_dataset(), limit=3, seed=1)
    assert streamed.ids == creatures["train"]["image_id"][:3] and streamed.total is None


TRAIN = {
    "none": None,
    "damaged": [row("t", image=DAMAGED)],
    "two damaged": [row(f"t{i}", image=DAMAGED) for i in range(2)],
    "no captions": [row("t", captions=())],
    "empty": [],
    "one": [row("t", captions=["a red cat", "b"])],
    "some damaged": [row("t", image=DAMAGED), row("u", captions=["a red cat", "b"])],
    "some mute": [row("t", captions=()), row("u", captions=["a red cat", "b"])],
}


@pytest.mark.parametrize("made", [table, stream])
@pytest.mark.parametrize("kind", TRAIN)
def test_whatever_training_pictures_there_are(score, kind, made):
    data = {"test": made(shades(3, 10))} | (
        {} if TRAIN[kind] is None else {"train": made(TRAIN[kind])}
    )
    report = score(data)
    usable = kind in ("one", "some damaged", "some mute")
    assert ("nearest_picture" in report.scores) == usable
    assert any("nearest_picture is left out" in note for note in report.notes) != usable
    assert ("from the training captions" in str(report)) == (usable or "damaged" in kind)
    assert report.page() and str(report)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_pictures(score, tmp_path, n):
    report = score({"train": table(shades(1)), "test": table(shades(n, 5))})
    assert ("shuffled_pictures" in report.scores) == (n > 1)
    few = "one picture is" if n == 1 else f"{n} pictures are"
    assert f"{few} too few" in report.verdict()
    assert (report.save(tmp_path) / "gallery.png").is_file()


def test_a_training_split_of_one_picture_is_not_nearest_to_itself(score):
    report = score({"train": table(shades(1))}, "train")
    assert "nearest_picture" not in report.scores and "no other training picture" in str(report)


def test_one_caption_a_picture_leaves_people_out(score):
    report = score({"test": table([*shades(2), row(9, captions=["a cat"])])})
    assert "human" not in report.scores and "human is left out" in str(report)


def test_pictures_that_cannot_be_scored_are_named(score):
    rows = [*shades(3), row("bad", image=DAMAGED), row("mute", captions=())]
    report = score({"test": table(rows)}, batch_size=2)
    assert set(report.skipped) == {"bad", "mute"} and report.scores["model"]["skipped"] == 2
    assert report.scores["model"]["n"] == 3 and "2 pictures are in no score" in str(report)


def test_one_picture_is_not_several(score):
    report = str(score({"test": table([row(0), row("bad", image=DAMAGED)])}))
    assert "1 picture is in no score: bad" in report and "1 picture of the split" in report
    assert "The model wrote 1 caption" in report and "CIDEr-D is always 0 then" in report


# ---- what is refused, in one line

NUMBERS = [
    ("batch_size", 0),
    ("batch_size", -1),
    ("num_beams", 0),
    ("num_beams", -2),
    ("max_new_tokens", 0),
    ("resamples", 0),
    ("train_pictures", -1),
    ("num_return_sequences", 2),
]


@pytest.mark.parametrize("name, value", NUMBERS)
def test_numbers_that_cannot_be(score, name, value):
    more = {"num_beams": 2} if name == "num_return_sequences" else {}
    with pytest.raises(ValueError, match=rf"^{name} is {value}; .*\Z"):
        score({"test": table(shades(2))}, **{name: value}, **more)


DATA = [
    ({"test": table(shades(2))}, "validation", "the data has no split 'validation', only: test"),
    ({"test": table([])}, "test", "it is empty"),
    ({"test": table([row(1, captions=())])}, "test", "no caption to compare with"),
    ({"test": stream([row(1, captions=())])}, "test", "no caption to compare with"),
    ({"test": table([row(1, image=DAMAGED)])}, "test", "not a picture"),
    ({"test": table([row(1), row(1)])}, "test", "two pictures have the image_id '1'"),
    (
        {"test": table(shades(2)).remove_columns("captions")},
        "test",
        "no column 'captions', only: image, image_id",
    ),
    (
        {"test": table(shades(2)), "train": table(shades(2)).remove_columns("image")},
        "test",
        "no column 'image'",
    ),
    ({"a": stream(shades(2)), "b": stream(shades(2))}, "all", "streams: name one of a, b"),
]


@pytest.mark.parametrize("data, split, says", DATA)
def test_data_that_cannot_be_scored(score, data, split, says):
    with pytest.raises(ValueError, match=re.escape(says)) as caught: score(data, split)
    assert "\n" not in str(caught.value)


def test_other_refusals(score, small):
    data = {"test": table(shades(2))}
    with pytest.raises(ValueError, match="needs its processor"): evaluate_model(small[0], data)
    with pytest.raises(TypeError, match="no option 'beams'"): score(data, beams=2)
    with pytest.raises(ValueError, match="language is 'english!'"): score(data, language="english!")
    for column, says in [
        ("weather", "no column 'weather' to group by"),
        ("captions.x", "there is no field 'x'"),
    ]:
        with pytest.raises(ValueError, match=says): score(data, groups=(column,))
        with pytest.raises(ValueError, match=says): score(data).by(column)
    with pytest.raises(ValueError, match="no system 'baseline', only: model"):
        score(data).by(system="baseline")


# ---- nothing half

class Interrupted(Report):
    "Stopped while the page is made."
    def page(self, *args, **options): raise KeyboardInterrupt


def test_an_interruption_writes_nothing(score, tmp_path, small):
    report = score({"test": table(shades(3))})
    report.save(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt): Interrupted(**vars(report)).save(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    def rows():
        yield from shades(3)
        raise KeyboardInterrupt
    small[0].train()
    try:
        with pytest.raises(KeyboardInterrupt):
            score(
                {"test": datasets.IterableDataset.from_generator(rows, features=FEATURES)},
                batch_size=2,
            )
        assert small[0].training
    finally: small[0].eval()


def test_scores_saved_halfway_are_not_cited(score, make_run):
    data = {"train": table(shades(3)), "test": table(shades(5, 10))}
    run = make_run(data)
    score(data).save(run)
    record = (run / "measured.json").read_bytes()
    score(data, force_words=("cat",)).save(run)
    (run / "measured.json").write_bytes(record) # as if it had been stopped before the last file
    assert not read_scores(run)[0]


@pytest.mark.parametrize("name", ["metrics.json", "measured.json"])
@pytest.mark.parametrize("content", ["{half", "[]", '{"test": 3}'])
def test_a_damaged_file_is_refused_before_anything_is_written(score, tmp_path, name, content):
    report = score({"test": table(shades(3))})
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(name)): report.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["metrics.json", "measured.json"])
def test_a_pipe_in_place_of_a_file_is_refused(score, tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(OSError, match=f"{name} is a pipe, not a regular file"):
        score({"test": table(shades(3))}).save(tmp_path)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("data", [None, [], "x", {"splits": 3}, {"fingerprint": 3}, {}])
def test_a_damaged_record_of_the_data_does_not_count(score, make_run, data):
    rows = {"train": table(shades(2)), "test": table(shades(3, 10))}
    run = score(rows).save(make_run(rows))
    record = read(run / "measured.json")
    record["test"]["data"] = data
    (run / "measured.json").write_text(json.dumps(record), encoding="utf-8")
    assert read_scores(run)[0] == {} and "damaged" in read_scores(run)[1]["test"]
    score(rows).save(run)
    assert list(read_scores(run)[0]) == ["test"]


@pytest.mark.parametrize("data", [[], {"test": 3}, {"test": {}}, "x", None])
def test_a_damaged_run_is_one_that_says_nothing_of_its_data(score, make_run, data):
    rows = {"test": table(shades(3, 10))}
    run = make_run(rows)
    (run / "run.json").write_text(json.dumps({"data": data}), encoding="utf-8")
    assert list(read_scores(score(rows).save(run))[0]) == ["test"] or data == {"test": {}}


def test_one_waits_for_the_other(score, tmp_path):
    data = {"a": table(shades(2)), "b": table(shades(2, 5))}
    score(data, "a").save(tmp_path)
    second = score(data, "b")
    with ThreadPoolExecutor(1) as pool:
        with held(tmp_path / "metrics.json"):
            saving = pool.submit(second.save, tmp_path)
            time.sleep(1)
            assert not saving.done()
        assert saving.result(60) == tmp_path
    for name in ("metrics.json", "measured.json"):
        assert set(read(tmp_path / name)) == {"a", "b"}


@pytest.mark.parametrize("captions", [["", "a cat"], ["", ""], ["...", "!"], ["a", "a"]])
def test_captions_that_say_little(score, captions):
    report = score({"train": table([row(i, captions=captions) for i in range(2)]),
                    "test": table([row(i + 5, captions=captions) for i in range(3)])})
    assert report.page() and report.scores["model"]["n"] == 3


def test_long_and_odd_names(score, tmp_path):
    for split in ("s" * 240, "../../etc/x", "ein/teil: ä", "è" * 200):
        report = score({split: table(shades(2))}, split, source="n" * 240)
        assert report.save(tmp_path / "run") == tmp_path / "run"
    assert len(list((tmp_path / "run").glob("predictions-*.jsonl"))) == 4
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    other = score({"s" * 240: table(shades(2, 30))}, "s" * 240, source="n" * 240).save(
        tmp_path / "run"
    )
    assert other.parent == tmp_path / "run" / "evaluations" and len(other.name) < 120


def test_what_is_no_number_or_no_character_is_still_json():
    no_numbers = {"a": float("nan"), "b": (1, float("inf"))}
    assert strict_json(no_numbers) == b'{"a": null, "b": [1, null]}'
    assert json.loads(strict_json({"a": "caf\udce9"})) == {"a": "caf\udce9"}


# ---- language

@pytest.mark.parametrize("said, language", [("zh", "data"), (None, "zh")])
def test_the_language_goes_everywhere(score, said, language):
    rows = [row(i, captions=[f"一只{c}猫在草地上", f"草地上的{c}猫"])
            for i, c in enumerate("红蓝绿黄")]
    data = {"train": table(rows[:2]), "test": table(rows[2:])}
    if said:
        data = {
            name: part.add_column("language", [said] * len(part)) for name, part in data.items()
        }
    report = score(data, language=language)
    assert report.record["language"] == "zh"
    references = {r["image_id"]: r["references"] for r in report.predictions}
    human = caption_scores(
        {k: r[0] for k, r in references.items()},
        {k: r[1:] for k, r in references.items()},
        language="zh",
    )
    assert report.scores["human"]["wer"] == human["wer"]
    assert (
        human["wer"]
        != caption_scores(
            {k: r[0] for k, r in references.items()}, {k: r[1:] for k, r in references.items()}
        )["wer"]
    )
    assert 'lang="zh"' in report.page() and "language" not in str(report)
    lengths = [float(r[0].split(" ")[0]) for r in report.by("length").rows]
    assert all(length > 5 for length in lengths), "characters are words"


@pytest.mark.parametrize("part", ["", "model", "checkpoints/checkpoint-2"])
def test_the_language_is_that_of_the_run_however_its_model_is_named(
    small, make_run, part, tmp_path, monkeypatch
):
    data = {"train": table(shades(3)), "test": table(shades(3, 10))}
    run = make_run(data)
    shutil.copytree(run / "model", run / "checkpoints/checkpoint-2")
    say(run, language="zh")
    monkeypatch.chdir(tmp_path)
    for name in (run / part, Path("run", part)):
        report = evaluate_model(name, data, resamples=20, device="cpu")
        assert report.record["language"] == "zh"


def test_scores_in_another_language_are_not_the_runs(score, make_run):
    data = {"train": table(shades(3)), "test": table(shades(3, 10))}
    run = make_run(data)
    say(run, language="zh-Hans")
    assert score(data, language="zh").save(run) == run and read_scores(run)[0]
    before = contents(run)
    assert score(data, language="en").save(run).parent == run / "evaluations"
    assert score(data, language=None).save(run).parent == run / "evaluations"
    assert contents(run).items() >= before.items()
    say(run, language="de")
    assert "captions in zh, and the run's are de" in read_scores(run)[1]["test"]


@pytest.mark.parametrize("language, said, reference, marked", [
    ("hi", "एक बिल्ली।", "एक बिल्ली", []), ("th", "แมวดำ", "แมวแดง", ["ดำ"]),
    ("zh", "红色的熊", "黑色的熊", ["红"]), (None, "红色 的 熊", "黑色 的 熊", ["红色"]),
    ("en", "A cat.", "a cat", []),
])
def test_the_page_marks_the_words_of_the_language(score, language, said, reference, marked):
    report = score({"test": table(shades(2))})
    report.record["language"] = language
    for each in report.predictions: each |= {"caption": said, "references": [reference]}
    written = re.findall(r'<p class="written".*?</p>', report.page(), re.S)
    assert written
    for each in written: assert re.findall("<mark[^>]*>(.*?)</mark>", each) == marked
    assert report.gallery().size


def test_a_language_that_does_not_fit_is_said(score):
    rows = [row(i, captions=[f"一只{c}猫在草地上", f"草地上的{c}猫"])
            for i, c in enumerate("红蓝绿")]
    report = score({"test": table(rows)})
    assert "say language='zh'" in str(report) and "say language='zh'" in json.dumps(report.notes)
    assert "say language=&#x27;zh&#x27;" in report.page()


# ---- what the report says

def oracle(creatures, captions):
    "A report of a model that wrote these captions."
    rows = [
        {
            "image_id": r["image_id"],
            "caption": c,
            "references": r["captions"],
            "score": 1.0,
            "attributes": r["attributes"],
            "nearest": None,
        }
        for r, c in zip(creatures["test"], captions)
    ]
    systems, notes = caption_systems(rows, None, "test", 0, "en")
    report = score_systems(
        systems, rows, "test", resamples=50, seed=0, language="en", training_captions=None
    )
    return Report(**{**vars(report), "notes": notes, "rows": creatures["test"]})


def test_word_errors_are_said_the_right_way_round(creatures):
    good = oracle(creatures, [r["captions"][2] for r in creatures["test"]])
    assert good.scores["model"]["wer"] == 0 and "WER: lower is better" in str(good)
    low, high = good.scores["shuffled_pictures"]["wer_difference_ci"]
    assert good.scores["shuffled_pictures"]["wer_difference"] < 0 and high < 0, (
        "the model minus the system"
    )
    cells = dict(
        zip(good.table().head, next(r for r in good.table().rows if r[0] == "- shuffled_pictures"))
    )
    assert cells["WER"].startswith("-") and cells["CIDEr-D"].startswith("+")
    assert "; it looks at the pictures: with captions swapped it gets" in good.verdict()


def test_people_and_the_model_are_compared_on_the_same_references(creatures):
    report = oracle(creatures, [r["captions"][0] for r in creatures["test"]])
    human = report.scores["human"]
    assert human["cider_d"] < report.scores["model"]["cider_d"] - 0.5
    assert all(human[f"{m}_difference"] == 0 for m in ("cider_d", "bleu_4", "rouge_l", "wer"))


def told(part="", captions=("a cat", "a dog") * 3, split="test", **differences):
    "The verdict on scores of 1.00, 0.50 of other systems, and these intervals of differences."
    def system(interval):
        return {"cider_d": 0.5, "cider_d_ci": (0.4, 0.6), "cider_d_difference_ci": interval}
    clear = dict(shuffled_pictures=(0.1, 0.9), constant_caption=(0.1, 0.9))
    scores = {name: system(each) for name, each in {**clear, **differences}.items()}
    scores["model"] = {"cider_d": 1.0, "cider_d_ci": (0.9, 1.1)}
    return verdict(scores, list(captions), split, "my-model", part)


@pytest.mark.parametrize("low, looks", [(-0.1, False), (0, False), (0.05, True)])
def test_a_difference_that_may_be_chance_is_no_sign(low, looks):
    said = told(shuffled_pictures=(low, 0.4))
    assert ("; it looks at" in said) == looks and ("nothing shows that it looks" in said) != looks


@pytest.mark.parametrize("interval, better", [
    ((0.1, 0.4), "better"), ((-0.1, 0.4), "not clearly better"), ((-0.4, -0.1), "less")])
def test_the_verdict_says_whether_one_caption_for_all_does_as_well(interval, better):
    assert f"agree with people's {better} than one caption for all" in told(
        constant_caption=interval)


@pytest.mark.parametrize("part, split, said", [
    ("none", "test", "On 6 pictures kept from its training, my-model writes"),
    ("train", "train", "On 6 pictures that it was trained on, my-model writes"),
    ("train", "test", "On 6 pictures that it was trained on, "),
    ("validation", "validation", "On 6 pictures of its own validation split, "),
    ("some", "all", "On 6 pictures some of which it was trained on, "),
    ("", "test", "On 6 pictures of the split test, "),
    ("", "all", "On 6 pictures of the whole set, "),
])
def test_the_verdict_says_which_pictures(part, split, said):
    assert told(part, split=split).startswith(said)


def test_the_verdict_of_what_cannot_be_judged():
    assert told(captions=["", " "]).endswith("my-model wrote nothing: every caption is empty.")
    assert "1.00" not in told(captions=["a cat"]) and "looks" in told(captions=["a cat"])
    for n in range(2, 6):
        few = told(captions=["a cat"] * n)
        assert f"{n} pictures are too few" in few and "it looks at" not in few and "1.00" not in few
    people = told(human=(-0.6, -0.4))
    assert "and 0.50 for people;" in people and "people;" not in told()
    copied = "; a copy from the most similar training picture gets 0.50;"
    assert copied in told(nearest_picture=(-0.6, -0.4))
    assert copied not in told(nearest_picture=(-0.6, 0.1))


def test_what_five_pictures_show_may_be_chance():
    "Of two equal systems one is better on all of five pictures once in 16 times, six once in 32."
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1)
    assert (abs(signs.sum(0)) == 6).mean() < 0.05 < (abs(signs[:5].sum(0)) == 5).mean()
    assert "too few" in told(captions=["a cat"] * 5) and "too few" not in told()


@pytest.mark.parametrize("captions, said", [
    (["a", "b", "a"], "The model wrote 2 different captions."),
    (["a", "a"], "The model wrote the same caption for every picture."),
    (["a", " ", ""], "The model wrote 1 caption, and nothing for 2 pictures."),
    (["a", "b", ""], "The model wrote 2 different captions, and nothing for 1 picture."),
    (["a"], "The model wrote 1 caption."), (["", " "], "The model wrote no caption."),
])
def test_how_many_captions_differ(captions, said):
    assert variety(captions, None) == said
    copied = variety(captions, 0.5)
    assert ("50% of what it wrote" in copied) == any(map(str.strip, captions))


def test_a_picture_in_no_score_is_named_once():
    assert on_skipped({"a.png": "a.png: damaged"}) == ["1 picture is in no score: a.png (damaged)"]


def test_all_pictures_are_the_whole_set():
    assert report_title("all", {"data": {"name": "shades"}}) == "Captions: shades, whole set"
    assert how_to_read(9, "all").startswith("9 pictures of the whole set, 95 % intervals")
    assert "intervals" not in how_to_read(1, "test")


@pytest.mark.parametrize("scores, titles", [
    ([0.5], ["The only picture"]), ([0.5, 0.2], ["Closest", "Furthest"]),
    ([0.3] * 3, ["None is closer to people's captions than another", "Others", "Drawn"]),
    ([0.0] * 11 + [1.0], ["Closest", "Furthest", "Drawn"]),
])
def test_the_gallery_says_no_picture_is_closer_where_none_is(scores, titles):
    written = [{"image_id": f"{i}", "caption": "a cat", "references": ["a cat"], "score": 0.5,
                "cider_d": score} for i, score in enumerate(scores)]
    kinds = {kind: [{"score": each["cider_d"]} for each in rows]
             for kind, rows in best_worst_random(written, 4, 0).items() if rows}
    found = row_titles(kinds)
    assert list(found) == list(kinds)
    assert all(found[kind].startswith(title) for kind, title in zip(kinds, titles))


def test_the_record_knows_what_the_run_was_trained_on(score, make_run):
    data = {name: table(shades(n, start)) for name, n, start in
            (("train", 3, 0), ("validation", 3, 5), ("test", 4, 10))}
    run = make_run({name: data[name] for name in ("train", "validation")})
    weights = weights_fingerprint(run)
    about = {**read(run / "run.json"), "config": {}, "versions": {"imgcap": "0"}}
    write_atomic(run / "run.json", json.dumps({**about, "finished": {"weights": weights}}))
    def part(split, data):
        report = evaluate_model(run, data, split, resamples=10, max_new_tokens=2, source="shades")
        return report.record["part_in_training"], report
    found, report = part("test", data)
    assert found == "none" and "kept from its training" in report.verdict()
    assert report.title().startswith(f"Captions by {run.name}: shades, split test, ")
    assert str(date.today().year) in report.title()
    assert [part(split, data)[0] for split in ("train", "validation", "all")] == [
        "train", "validation", "some"]
    assert part("test", {"test": data["train"]})[0] == "train", "whatever the split is called"
    half, processor = load_model(run, device="cpu", dtype="bfloat16") # as on a GPU
    how = dict(processor=processor, resamples=10, max_new_tokens=2)
    rounded = evaluate_model(half, data, "train", **how)
    assert rounded.record["part_in_training"] == "train"
    assert rounded.record["precision"] == "bfloat16" and rounded.record["weights"] == weights
    rounded.save(run)
    assert "train" in read_scores(run)[0], "and belongs to the run"
    changed = evaluate_model(other_weights(half, by=1), data, "train", **how)
    assert changed.record["weights"] != weights
    assert part("test", {"test": table(shades(4, 30))})[0] == "", "a set of others"
    write_atomic(run / "run.json", json.dumps({**about, "finished": {"weights": "others"}}))
    assert part("test", data)[0] == ""


def test_a_model_that_does_not_look_is_said(creatures):
    blind = oracle(creatures, ["a red creature"] * 12)
    assert "nothing shows that it looks at the pictures" in blind.verdict()


def test_intervals_of_differences_are_paired(creatures):
    captions = [r["captions"][0] for r in creatures["test"]]
    same = oracle(creatures, captions)
    other = differences(
        *[Measured(same.statistics["model"], same.facts["model"], same.scores["model"])] * 2,
        50,
        0,
    )
    assert all(other[name] == 0 for name in other if not name.endswith("_ci"))
    assert all(other[name] == (0, 0) for name in other if name.endswith("_ci")), (
        "not drawn from the same pictures"
    )


def test_facts_add_up(creatures):
    report = oracle(creatures, [r["captions"][0] for r in creatures["test"]])
    by_hand = attribute_scores(
        [r["captions"][0] for r in creatures["test"]],
        list(creatures["test"]["captions"]),
        list(creatures["test"]["attributes"]),
    )
    assert abs(report.scores["model"]["attribute_f1"] - by_hand["attribute_f1"]) < 1e-12
    for name, rates in by_hand["by_attribute"].items():
        assert abs(report.scores["model"][f"attribute_recall_{name}"] - rates["recall"]) < 1e-12
    low, high = report.scores["model"]["attribute_f1_ci"]
    assert low <= report.scores["model"]["attribute_f1"] <= high


def test_statistics_in_blocks_are_the_same(creatures):
    references = dict(zip(creatures["test"]["image_id"], creatures["test"]["captions"]))
    first = {k: r[0] for k, r in references.items()}
    frequencies = cider_document_frequencies(references)
    blocks = statistics_in_blocks(first, references, frequencies, block=5)
    assert blocks.ids == list(references)
    assert np.allclose(
        blocks.table, caption_statistics(first, references).table, rtol=0, atol=1e-12
    )


# ---- groups

def test_groups_of_everything_are_the_split(creatures):
    report = oracle(creatures, [r["captions"][0] for r in creatures["test"]])
    measured = Measured(report.statistics["model"], report.facts["model"], {})
    everybody = group_scores(measured, np.arange(12), 50, 0)
    assert all(everybody[name] == report.scores["model"][name] for name in everybody)
    tables = {
        name: report.by(name, resamples=20)
        for name in ("attributes.place", "attributes.mood", "length")
    }
    for found in tables.values(): assert sum(int(r[1]) for r in found.rows) == 12
    assert [r[0] for r in tables["attributes.place"].rows] == sorted(
        {a["place"] for a in creatures["test"]["attributes"]}
    )


def test_groups_of_words_and_numbers():
    group = group_rows
    many = group([str(i % 7) for i in range(20)] + ["rare", "rarer"], bins=3, most=7)
    assert list(many)[-1] == "2 others" and many["2 others"].tolist() == [20, 21] and len(many) == 8
    assert list(group([True, False, True], 3, 12)) == ["False", "True"]
    assert list(group([[], None], 3, 12)) == ["none given"]

    def sizes(values):
        return {name: len(rows) for name, rows in group(values, bins=3, most=12).items()}
    assert sizes([0.0] * 50 + [float(i) for i in range(20)]) == {"0": 51, "1 to 19": 19}
    assert sizes([20.0] * 50 + [float(i) for i in range(20)]) == {"0 to 19": 20, "20": 50}
    assert sizes([2, 1, 2, 10]) == {"1": 1, "2": 2, "10": 1}
    assert sizes(list(range(30))) == {"0 to 9": 10, "10 to 19": 10, "20 to 29": 10}


@pytest.mark.parametrize("values, sizes", [
    (["none given", None, "none given", "sea"], {"none given": 2, "sea": 1, "(none given)": 1}),
    (["none given", "(none given)", []], {"none given": 1, "(none given)": 1, "((none given))": 1}),
    (["1 other"] * 2 + ["a"] * 2 + ["b"], {"1 other": 2, "a": 2, "(1 other)": 1}),
    (["a"] * 2 + ["b"] * 2 + ["1 other"], {"a": 2, "b": 2, "(1 other)": 1}),
    (["a", "1 other", "b", "b", None], {"a": 1, "b": 2, "(1 other)": 1, "none given": 1}),
])
def test_a_value_called_like_one_of_our_groups_is_kept_apart(values, sizes):
    groups = group_rows(values, bins=3, most=2)
    assert {name: len(rows) for name, rows in groups.items()} == sizes


def test_bins_of_numbers_that_are_nearly_the_same_are_kept_apart():
    groups = group_rows([1 + i * 1e-6 for i in range(30)], bins=3, most=12)
    assert [len(rows) for rows in groups.values()] == [10, 10, 10]
    large = group_rows([1e9 + i for i in range(30)], bins=2, most=12)
    assert [len(rows) for rows in large.values()] == [15, 15]


class Counted(float):
    "A number that counts how often it is compared or hashed."
    times = 0
    def __lt__(self, other):
        Counted.times += 1
        return float(self) < float(other)
    def __gt__(self, other):
        Counted.times += 1
        return float(self) > float(other)
    __hash__ = float.__hash__


def test_many_numbers_are_put_into_bins_in_one_pass():
    n, Counted.times = 1000, 0
    group_rows([Counted(i) for i in range(n)], bins=3, most=12)
    assert Counted.times < 40 * n  # a pass for each number would be more than that
    values = [i * 0.001 for i in range(200_000)]
    groups = group_rows(values, bins=3, most=12)
    assert [len(rows) for rows in groups.values()] == [66_667, 66_666, 66_667]


# ---- the page

class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)
    def handle_starttag(self, tag, attributes): self.found.append((tag, dict(attributes)))


HOSTILE = ["</script><script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "<b>a</b> & 'b'"]


def test_the_page_escapes_what_people_wrote(score):
    rows = [row(f"{text}", (60 * i, 9, 9), [text, "a cat"]) for i, text in enumerate(HOSTILE)]
    page = score(
        {"test": table([*rows, row('<script>x"', image=DAMAGED)])}, groups=("length", "image_id")
    ).page()
    tags = Tags(page).found
    assert [tag for tag, _ in tags].count("script") == 1 and "b" not in {tag for tag, _ in tags}
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == 3 and all(
        a["src"].startswith("data:image/jpeg;base64,") and a["alt"] for a in images
    )
    assert not any(name.startswith("on") for _, attributes in tags for name in attributes)
    assert "<cat>" not in ScoreTable("", ["animal", "legs"], [["<cat>", "4"]])._repr_html_()


def test_the_page_names_no_folder(score):
    ids = [
        "/home/ada/secret/1.png",
        r"C:\Users\Ada\secret\2.png",
        "clients/secret/3.png",
        "other/secret/3.png",
        "4",
    ]
    rows = [row(name, (50 * i, 9, 9), ["a red/blue cat", "a dog"]) for i, name in enumerate(ids)]
    rows.append(row("~/secret/5.png", image={"bytes": None, "path": "/home/ada/secret/5.png"}))
    report = score({"test": table(rows)}, groups=("length", "image_id"))
    page = report.page()
    assert not re.search("secret|home|ada|Users|clients", re.sub("base64,[^\"]+", "", page))
    assert "1.png" in page and "2.png" in page and "5.png" in page and "red/blue" in page
    assert "/home/ada/secret/5.png" in str(report) or "~/secret/5.png" in str(report), (
        "one's own screen may show it"
    )


def test_long_texts_and_large_pictures_stay_small():
    wide = np.random.default_rng(0).integers(
        0, 256, (300, 4000, 3), dtype=np.uint8
    )  # what JPEG likes least
    assert len(picture_uri(wide)) < 10_000 and len(picture_uri(wide[:, :300])) < 60_000
    card = {
        "number": 1,
        "groups": [],
        "picture": picture_uri(wide),
        "name": "x",
        "prediction": "word " * 10_000,
        "references": ["word " * 10_000] * 5,
        "score": 1.0,
        "confidence": 0.5,
    }
    assert len(example_card(card, "en")) < 40_000


def test_only_texts_are_kept_of_pictures(score, small):
    "What is kept does not grow with the pictures' size."
    import pickle
    large = io.BytesIO()
    Image.new("RGB", (1600, 1200), "red").save(large, "JPEG")
    rows = [row(i, image={"bytes": large.getvalue(), "path": None}) for i in range(4)]
    report = score({"test": stream(rows)})
    assert len(pickle.dumps((report.predictions, report.statistics))) < 40_000


# ---- the command

@pytest.fixture(scope="module")
def photos(tmp_path_factory, creatures):
    folder = tmp_path_factory.mktemp("set") / "photos"
    folder.mkdir()
    for i, each in enumerate(creatures["test"]):
        each["image"].save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text("\n".join(each["captions"]) + "\n", encoding="utf-8")
    return folder


def test_a_terminal_that_cannot_show_it_costs_no_score(photos, tmp_path):
    for name in list(photos.iterdir()): (tmp_path / f"猫{name.name}").write_bytes(name.read_bytes())
    scores = tmp_path / "scores"
    words = ["--data", tmp_path, "--model", "git-tiny", "--split", "all", "--language", "en"]
    program = copies.Program(
        copies.IMGCAP, "evaluate", *words, "--out", scores, PYTHONIOENCODING="ascii"
    )
    status, _, errors = program.finish()
    assert status == 0 and b"Traceback" not in errors, errors
    assert read(scores / "metrics.json")["all"]["model"]["n"] == 12
    assert read(scores / "measured.json")["all"]["language"] == "en"
    assert "猫" in (scores / "predictions-all.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "words, says",
    [
        ("--num-beams 0", "--num-beams is 0"),
        ("--batch-size -1", "--batch-size is -1"),
        ("--out 1.png", "1.png is a file"),
        ("--language x-y-z!", "language is"),
        ("--num-beams 2 --num-return-sequences 2", "leave it at 1"),
    ],
)
def test_a_wrong_option_is_one_line(words, says, photos, capsys, monkeypatch):
    monkeypatch.chdir(photos)
    assert main(["evaluate", "--data", str(photos), "--model", "git-tiny", *words.split()]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert len(said) == 1 and says in said[0]


def test_a_model_whose_numbers_are_none_is_one_line(small, photos, tmp_path, capsys):
    broken = copy.deepcopy(small[0])
    with torch.no_grad():
        for parameter in broken.parameters(): parameter.fill_(torch.nan)
    for part in (broken, small[1]): part.save_pretrained(tmp_path / "broken")
    words = ["--data", str(photos), "--model", str(tmp_path / "broken"), "--split", "all"]
    assert main(["evaluate", *words, "--out", str(tmp_path / "scores")]) == 1
    out, err = capsys.readouterr()
    said = [line for line in err.splitlines() if line.startswith("imgcap: ")]
    assert not out and len(said) == 1 and "broken" in said[0] and "no numbers" in said[0]
    assert not (tmp_path / "scores").exists()


def test_the_command_writes_as_it_is_told(photos, tmp_path, capsys):
    assert (
        main(
            [
                "evaluate",
                "--data",
                str(photos),
                "--model",
                "git-tiny",
                "--split",
                "all",
                "--out",
                str(tmp_path),
                "--prefix",
                "a drawing of",
                "--max-new-tokens",
                "6",
            ]
        )
        == 0
    )
    assert f"{tmp_path}/report-all.html" in capsys.readouterr().out
    rows = [
        json.loads(line)
        for line in (tmp_path / "predictions-all.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert all(r["caption"].startswith("a drawing of") for r in rows)
    assert read(tmp_path / "measured.json")["all"]["decoding"]["prefix"] == "a drawing of"
    assert read(tmp_path / "measured.json")["all"]["data"]["name"] == "photos"
