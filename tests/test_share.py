"What leaves this machine: the card, the files of a push, and nothing that names a place."
import contextlib
import functools
import io
import json
import logging
import os
import re
import shutil
import subprocess
import sys
import traceback
import warnings
from pathlib import Path

import huggingface_hub
import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import RepositoryNotFoundError
from little_hub import TOKEN, little_hub
from places import PLACES
from safetensors.torch import load_file, save_file

from imgcap import share as room
from imgcap.cli import main
from imgcap.config import Decoding
from imgcap.evaluate import evaluate_model, read_scores, records
from imgcap.hub import refuse_tokens
from imgcap.infer import Captioner
from imgcap.model import load_model, new_git_tiny, weights_fingerprint
from imgcap.model.decoding import decoding_for
from imgcap.share import model_card, published_files, push_run, write_card
from imgcap.share import cards
from imgcap.share.front_matter import CARD_METRICS
from imgcap.train import finetune


@pytest.fixture(scope="module")
def scored(tiny_run, creatures, tmp_path_factory):
    "A run that was measured."
    run = tmp_path_factory.mktemp("scored") / "first-captioner"
    shutil.copytree(tiny_run, run, ignore=shutil.ignore_patterns("checkpoints"))
    evaluate_model(run, creatures, resamples=50, device="cpu").save(run)
    return run


@pytest.fixture
def run(scored, tmp_path):
    "A copy of it to change."
    return Path(shutil.copytree(scored, tmp_path / scored.name))


def change(run, **values):
    "Change run.json; a value of None takes the field out."
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    for name, value in values.items():
        *path, last = name.split("__")
        inner = about
        for key in path: inner = inner[key]
        if value is None: inner.pop(last, None)
        else: inner[last] = value
    (run / "run.json").write_text(json.dumps(about), encoding="utf-8")
    return run


def metrics_of(run): return json.loads((run / "metrics.json").read_text(encoding="utf-8"))


def replace_weights(run):
    "One weight is another's."
    path = run / "model" / "model.safetensors"
    weights = load_file(path)
    next(iter(weights.values())).view(-1)[0] += 1e-3
    save_file(weights, path, {"format": "pt"})


def train_on(run):
    "One weight changes in training."
    replace_weights(run)
    change(run, finished__weights=weights_fingerprint(run))


def quiet(function, *args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **options)


def everything(run, **fields):
    "All bytes that a push would send, but weights and pictures in the page."
    quiet(write_card, run, **fields)
    files = quiet(published_files, run)
    texts = {
        name: content if isinstance(content, bytes) else content.read_bytes()
        for name, content in files.items()
        if not name.endswith((".safetensors", ".png"))
    }
    return re.sub(rb'base64,[^"]+', b"", b"\n".join(texts.values())).decode("utf-8")


# ---- the card

def test_the_card_cites_what_was_measured(run):
    card = model_card(run, license="apache-2.0", language="en")
    measured, data = metrics_of(run)["test"], ModelCard(card).data
    cited = {(r.dataset_split, r.metric_type): r.metric_value for r in data.eval_results}
    assert cited == {("test", m): round(measured["model"][m], 4) for m in CARD_METRICS}
    first = data.eval_results[0]
    assert first.metric_args["interval"] == [
        round(end, 4) for end in measured["model"]["cider_d_ci"]
    ]
    assert first.metric_args["baselines"] == {
        name: round(s["cider_d"], 4) for name, s in measured.items() if name != "model"
    }
    for system, scores in measured.items():
        low, high = scores["cider_d_ci"]
        assert (
            f"| {cards._SYSTEMS[system]} | {scores['cider_d']:.2f} ({low:.2f} to {high:.2f}) |"
            in card
        )
    assert "WER ↓" in card and "CIDEr-D ↑" in card and "↓ less is better" in card
    record = json.loads((run / "measured.json").read_text(encoding="utf-8"))["test"]
    assert f"fingerprint `{record['data']['fingerprint']}`; captions in float32:" in card
    assert (data.library_name, data.pipeline_tag, data.license, data.language) == (
        "transformers",
        "image-to-text",
        "apache-2.0",
        "en",
    )


def test_the_tables_of_the_card_are_tables(run):
    "Markdown shows one only where the line under the head has as many parts as the head."
    tables = re.findall(r"(?:^\|.*\n)+", model_card(run), re.M)
    assert any("CIDEr-D" in table for table in tables)
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


@pytest.mark.parametrize("low, warned", [(-.1, True), (0, True), (.1, False)])
def test_a_model_that_does_not_look_is_told(low, warned):
    assert (
        bool(cards._does_not_look({"shuffled_pictures": {"cider_d_difference_ci": [low, 0.2]}}))
        == warned
    )
    assert not cards._does_not_look({})


def test_scores_of_other_weights_are_not_cited(run):
    train_on(run)
    with pytest.warns(
        UserWarning, match="test are left out of the card: they were measured on other weights"
    ):
        card = model_card(run)
    assert "It has not been measured" in card and ModelCard(card).data.eval_results is None
    files = quiet(published_files, run)
    assert not {
        "metrics.json",
        "measured.json",
        "predictions.jsonl",
        "report.html",
        "gallery.png",
    } & set(files)


def test_scores_of_another_set_are_not_cited(run, creatures):
    before = model_card(run)
    where = evaluate_model(
        run, {"test": creatures["validation"]}, resamples=50, device="cpu", source="other"
    ).save(run)
    assert model_card(run) == before and where.parent.name == "evaluations"
    assert not any("evaluations" in name for name in published_files(run))
    for file in where.iterdir(): shutil.copy(file, run) # put there by hand
    assert "It has not been measured" in quiet(model_card, run)


def test_only_splits_that_belong_are_sent(run, creatures):
    evaluate_model(run, creatures, "train", resamples=50, device="cpu").save(run)
    metrics = metrics_of(run)
    metrics["train"]["model"]["cider_d"] = 9.0
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (run / "predictions-mine.jsonl").write_text("{}\n", encoding="utf-8")
    files = quiet(published_files, run)
    assert "predictions.jsonl" in files and not any(
        "-" in name and name.endswith((".jsonl", ".html")) for name in files
    )
    assert (
        set(json.loads(files["metrics.json"]))
        == set(json.loads(files["measured.json"]))
        == {"test"}
    )
    assert "gallery-train" not in quiet(model_card, run)


def test_the_card_says_how_captions_were_written(run, creatures):
    evaluate_model(run, creatures, resamples=50, device="cpu", num_beams=3, prefix="a").save(run)
    assert "captions in float32 with num_beams=3, prefix='a':" in model_card(run)


def test_a_run_that_is_young_or_strange(run, tmp_path):
    for name in ("metrics.json", "measured.json"): (run / name).unlink()
    assert "It has not been measured" in model_card(run)
    assert "not finished" in model_card(change(run, finished=None))
    change(run, model=None)
    with pytest.raises(ValueError, match="says nothing of model"): model_card(run)
    (run / "run.json").write_text("{half", encoding="utf-8")
    with pytest.raises(ValueError, match="is damaged"): model_card(run)
    with pytest.raises(FileNotFoundError, match="is not a run folder"): model_card(tmp_path)


@pytest.mark.parametrize("chosen, said", [
    ("cider_d", "the one with the best CIDEr-D on the validation split"),
    ("loss", "the one with the lowest loss on the validation split"),
    (None, "the one with the best score on the validation split"),
])
def test_what_decided_which_step_is_kept(run, chosen, said):
    change(run, finished__chosen_by=chosen, finished__best_step=2)
    assert f"kept is step 2, {said}" in " ".join(model_card(run).split())


# ---- damaged files

def with_each_value(value, path=()):
    "A JSON value, many times, each time with one part taken out or replaced."
    parts = value.items() if isinstance(value, dict) else []
    for name, part in list(parts):
        yield (*path, name), {k: v for k, v in value.items() if k != name}
        for other in ([], {}, "x", 3, None, float("nan"), ["x"], {"x": "y"}):
            yield (*path, name), {**value, name: other}
        for where, changed in with_each_value(part, (*path, name)):
            yield where, {**value, name: changed}


def said_in_one_line(work, run, name):
    "What is said of a damaged file; nothing where the damage does not matter."
    try: quiet(work, run)
    except (ValueError, OSError) as error:
        assert "\n" not in str(error) and name in str(error), error
        return str(error)


WORKS = [model_card, published_files, write_card, read_scores]


@pytest.mark.parametrize("name", ["run.json", "measured.json", "metrics.json"])
def test_a_part_of_a_record_that_is_missing_or_another(run, name, monkeypatch):
    # the weights stay, and are read once
    monkeypatch.setattr(records, "weights_fingerprint", functools.cache(weights_fingerprint))
    whole = json.loads((run / name).read_text(encoding="utf-8"))
    if name == "metrics.json": whole = {"test": {"model": whole["test"]["model"]}}
    said = 0
    for where, changed in with_each_value(whole):
        if len(where) > 4: continue
        (run / name).write_text(json.dumps(changed), encoding="utf-8")
        for work in (model_card, read_scores):
            said += said_in_one_line(work, run, name) is not None
    assert said > 10


DAMAGE = {
    "empty": lambda text: b"", "half": lambda text: text[:len(text) // 2],
    "list": lambda text: b"[]", "number": lambda text: b"3", "null": lambda text: b"null",
    "word": lambda text: b'"x"', "object": lambda text: b"{}", "NaN": lambda text: b"NaN",
    "bytes": lambda text: b"\xff\xfe\0\1" * 9, "deep": lambda text: b"[" * 90_000,
    "line": lambda text: text + b"\n[3]\n",
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(
    "name", ["run.json", "measured.json", "metrics.json", "predictions.jsonl", "log.jsonl"])
def test_a_damaged_file_is_named_in_one_line(run, name, damage):
    (run / name).write_bytes(DAMAGE[damage]((run / name).read_bytes()))
    said = [said_in_one_line(work, run, name) for work in WORKS]
    harmless = name == "log.jsonl" or (name, damage) == ("predictions.jsonl", "empty")
    assert harmless or damage == "object" or any(said)


@pytest.mark.parametrize("name", ["README.md", "model/config.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_card_or_configuration_is_named(run, name, damage):
    quiet(write_card, run)
    (run / name).write_bytes(DAMAGE[damage]((run / name).read_bytes()))
    for work in WORKS: said_in_one_line(work, run, name)


@pytest.mark.parametrize(
    "name", ["measured.json", "metrics.json", "predictions.jsonl", "README.md"])
def test_a_pipe_or_a_folder_in_a_run_holds_nobody_up(run, name):
    for make in (os.mkfifo, os.mkdir):
        (run / name).unlink() if (run / name).is_file() else None
        make(run / name)
        for work in WORKS: said_in_one_line(work, run, name)
        (run / name).unlink() if make is os.mkfifo else (run / name).rmdir()


def test_pictures_that_could_not_be_read_are_counted(run):
    change(
        run,
        finished__skipped_pictures={
            "/home/ada/secret/7.png": "cannot read /home/ada/secret/7.png",
            "8": "empty",
        },
    )
    assert "could not be read and were left out: 2 (7.png, 8)." in model_card(run)
    change(run, finished__skipped_pictures=["clients/secret/7.png"])
    assert "left out: 1 (7.png)." in model_card(run)


def test_what_a_person_chose_or_wrote_stays(run):
    card = write_card(run, repo_id="ada/birds", license="mit", language="en", tags="birds")
    first = card.read_text(encoding="utf-8")
    assert write_card(run).read_text(encoding="utf-8") == first
    assert 'Captioner("ada/birds")' in first and "birds" in ModelCard(first).data.tags


def append(path, text="Mine."):
    with open(path, "a", encoding="utf-8") as file: file.write(text)


EDITS = {
    "a sentence at the end": lambda text: text + "\nMine.\n",
    "a sentence inside": lambda text: text.replace(
        "## How good it is", "Mine.\n\n## How good it is"),
    "a licence": lambda text: text.replace("license: mit", "license: mit\nthumbnail: x.png"),
    "without our mark": lambda text: text.replace(cards._WRITTEN_BY, "Mine."),
    "without its seal": lambda text: text[: text.rindex("<!-- ")] + "Mine.\n",
    "of an earlier version, which had no seal": lambda text: text[: text.rindex("<!-- ")],
    "line ends of Windows": lambda text: text.replace("\n", "\r\n"),
    "all new": lambda text: "# Mine\n",
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_card_stays(run, hub, edit, capsys):
    card = write_card(run, repo_id="ada/birds", license="mit")
    mine = EDITS[edit](card.read_text(encoding="utf-8")).encode()
    card.write_bytes(mine)
    with pytest.warns(UserWarning, match="README.md was edited by hand and stays") as said:
        write_card(run)
    assert card.read_bytes() == mine and "delete it" in str(said[0].message)
    with pytest.raises(ValueError, match="write license into its front matter"):
        write_card(run, license="mit")
    with pytest.warns(UserWarning, match="was edited by hand"):
        push_run(run, "ada/x", token=TOKEN, endpoint=hub.endpoint)
    assert card.read_bytes() == hub.files("ada/x")["README.md"] == mine
    hub.refuse = {"commit": (500, {"error": "no"})}
    quiet(refused, ConnectionError, run, endpoint=hub.endpoint)
    assert card.read_bytes() == mine


def test_evaluate_says_that_an_edited_card_stays(run, photos, capsys):
    card = write_card(change(run, data={}))
    append(card)
    mine = card.read_bytes()
    for name in ("metrics.json", "measured.json"): (run / name).unlink()
    words = ["evaluate", "--model", str(run), "--data", str(photos), "--split", "all"]
    assert main(words) == 0 and card.read_bytes() == mine
    said = [line for line in capsys.readouterr().err.splitlines() if "README.md" in line]
    assert len(said) == 1 and "stays as it is" in said[0] and "delete it" in said[0]


def test_an_edited_card_that_is_out_of_date_is_not_pushed(run, hub):
    card = write_card(run)
    append(card)
    train_on(run)
    said = quiet(refused, ValueError, run, endpoint=hub.endpoint)
    assert "README.md was edited by hand, and cites" in said and not hub.asked
    cited = re.findall(r"(\w+) [\d.]+ on the split (\w+)", said)
    assert len(cited) > 1 and cited == sorted(cited), "all of them, in one order"
    text = "---\nlicense: [mit\n---\n# Mine\n"
    card.write_text(text, encoding="utf-8")
    assert "front matter" in quiet(refused, ValueError, run, endpoint=hub.endpoint)
    assert not hub.asked and card.read_text(encoding="utf-8") == text


def test_weights_that_the_run_did_not_train_have_no_history(run, creatures, hub):
    change(run, model__name="microsoft/git-base", source="ada/birds")
    line = "are not those that the run trained"
    fresh = model_card(run)
    assert line not in fresh and ModelCard(fresh).data.base_model == "microsoft/git-base"
    replace_weights(run)
    report = evaluate_model(run, creatures, resamples=50, device="cpu")
    assert [line in note for note in report.notes].count(True) == 1 and line in report.page()
    assert report.save(run) == run
    card = model_card(run)
    data = ModelCard(card).data
    assert card.count(line) == 1 and "Split `test`" in card and data.eval_results
    for word in ("microsoft", "ada/birds", "learning rate", "trained with imgcap"):
        assert word not in card
    assert (data.base_model, data.datasets) == (None, None)
    assert line in refused(ValueError, run, endpoint=hub.endpoint) and not hub.asked
    assert not (run / "README.md").exists()


def test_weights_in_memory_and_older_runs_are_not_called_foreign(creatures, run):
    model, processor = load_model(run, device="cpu")
    with torch.no_grad(): next(model.parameters()).view(-1)[0] += 1e-2
    replace_weights(run)
    report = evaluate_model(model, creatures, processor=processor, resamples=20)
    assert not any("trained (" in note for note in report.notes)
    change(run, finished__weights=None) # of an earlier version
    assert "not those that the run trained" not in quiet(model_card, run)


FIELDS = [
    ("license", "Apache 2.0"),
    ("license", ["mit", "My Own"]),
    ("license", 3),
    ("language", "english language"),
    ("language", ["en", "x"]),
    ("tags", ["birds", ""]),
    ("tags", [3]),
    ("tags", "two\nlines"),
    ("tags", "x" * 200),
    ("datasets", "photos"),
    ("datasets", "./owner/photos"),
    ("datasets", ["owner/birds", "/home/ada/birds"]),
    ("base_model", "./my/model"),
    ("base_model", "my model"),
    ("library_name", "Tensor Flow"),
    ("pipeline_tag", "Image To Text"),
    ("model_name", "two\nlines"),
    ("thumbnail", object()),
    ("eval_results", []),
]


@pytest.mark.parametrize("name, value", FIELDS)
def test_front_matter_that_the_hub_would_show_wrongly(run, name, value):
    with pytest.raises(ValueError, match=rf"^{name} (is|come)") as caught:
        model_card(run, **{name: value})
    assert "\n" not in str(caught.value)


GOOD = [
    ("license", "cc-by-nc-sa-4.0"),
    ("license", ["mit", "openrail++"]),
    ("language", ["en", "pt-BR"]),
    ("tags", ("birds", "made by hand")),
    ("datasets", ["owner/birds", "owner/fish"]),
    ("base_model", "owner/model"),
    ("thumbnail", "https://example.org/x.png"),
    ("license", None),
]


@pytest.mark.parametrize("name, value", GOOD)
def test_front_matter_that_is_right(run, name, value):
    data = ModelCard(model_card(run, **{name: value})).data.to_dict()
    if name == "tags":
        assert data["tags"] == ["image-captioning", "imgcap", "git", "birds", "made by hand"]
    else: assert data.get(name) == (list(value) if isinstance(value, tuple) else value)


def test_the_language_of_the_run_stands_in_the_card(run):
    assert ModelCard(model_card(change(run, language="zh"))).data.language == "zh"
    assert ModelCard(model_card(run, language="en")).data.language == "en"


@pytest.fixture
def photos(creatures, tmp_path):
    "The test pictures, with captions in text files beside them."
    photos = tmp_path / "photos"
    photos.mkdir()
    for i, row in enumerate(creatures["test"]):
        row["image"].save(photos / f"{i}.png")
        (photos / f"{i}.txt").write_text("\n".join(row["captions"]), encoding="utf-8")
    return photos


def test_a_new_score_is_written_into_the_card(run, photos):
    for name in ("metrics.json", "measured.json"): (run / name).unlink()
    card = write_card(change(run, data={}), repo_id="ada/x", license="mit")
    assert "It has not been measured" in card.read_text(encoding="utf-8")
    assert main(["evaluate", "--model", str(run), "--data", str(photos), "--split", "all"]) == 0
    text = card.read_text(encoding="utf-8")
    assert "Split `all`, 6 pictures" in text and 'Captioner("ada/x")' in text and "mit" in text


# ---- paths

@pytest.mark.parametrize("place", PLACES)
def test_no_place_leaves(run, place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if place == "secret/birds/":
        (tmp_path / place).mkdir(parents=True)  # the same string could be a repository
    message = f"cannot read '{place}/7.png': no such file"
    change(run, model__name=place, source=place, config__out=place, images=place, note=message,
           finished__skipped_pictures={f"{place}/7.png": message})
    said = everything(run)
    assert not re.search("secret|ada|Users", said), re.findall(".*(?:secret|ada|Users).*", said)
    assert "base_model" not in said and "datasets:" not in said and "type: unknown" in said


def test_no_secret_of_an_address_leaves(run):
    address = "https://ada:pass3@example.org/photos.tar?token=se3cret"
    sent = everything(change(run, source=address, model__name=address, note=f"from {address}"))
    assert "example.org/photos.tar" in sent
    for secret in ("pass3", "token=", "se3cret"): assert secret not in sent


def test_names_on_the_hub_are_linked(run):
    change(run, model__name="microsoft/git-base", source="owner/birds:small")
    data = ModelCard(model_card(run)).data
    assert data.base_model == "microsoft/git-base" and data.datasets == "owner/birds"
    assert data.eval_results[0].dataset_type == "owner/birds"
    assert "[microsoft/git-base](https://huggingface.co/microsoft/git-base)" in model_card(run)


@pytest.mark.parametrize("where", ["here", "beside the run", "where training ran"])
def test_a_folder_like_a_name_on_the_hub_is_a_folder(run, where, tmp_path, monkeypatch):
    folder = {
        "here": tmp_path / "elsewhere",
        "beside the run": run.parent,
        "where training ran": tmp_path,
    }[where]
    if where == "where training ran":
        (tmp_path / "runs").mkdir()
        run = Path(shutil.move(run, tmp_path / "runs" / "x"))
    (folder / "my" / "model").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir(exist_ok=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    change(run, model__name="my/model", source="my/model")
    data = ModelCard(model_card(run)).data.to_dict()
    assert "base_model" not in data and "datasets" not in data and "my/model" not in everything(run)


def test_ids_that_are_paths_stay_ids(tiny_run, creatures, tmp_path):
    run = Path(
        shutil.copytree(tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    )
    def rename(row, i): return {"image_id": f"/home/ada/secret/{'ab'[i % 2]}/{i // 2}.png"}

    data = {
        **creatures,
        "test": creatures["test"].map(rename, with_indices=True, load_from_cache_file=False),
    }
    report = evaluate_model(run, data, resamples=20, device="cpu", groups=("length", "image_id"))
    where = report.save(run)
    assert where.parent.name == "evaluations" # other ids: another set
    for file in where.iterdir(): shutil.move(file, run)
    record = json.loads((run / "measured.json").read_text(encoding="utf-8"))
    change(
        run,
        data__test={
            "pictures": 6,
            "captions": 30,
            "fingerprint": record["test"]["data"]["fingerprint"],
        },
    )
    assert "secret" not in everything(run)
    sent = [json.loads(line) for line in published_files(run)["predictions.jsonl"].splitlines()]
    assert len({row["image_id"] for row in sent}) == 6 and all(
        re.fullmatch(r"\d-\w{6}\.png", row["image_id"]) for row in sent
    )
    page = (run / "report.html").read_text(encoding="utf-8")
    assert all(row["image_id"] in page for row in sent), (
        "page and file call a picture by the same name"
    )
    assert "/home/ada/secret" in (run / "predictions.jsonl").read_text(encoding="utf-8"), (
        "the file here is left alone"
    )


def test_the_card_labels_its_galleries(run):
    "Which split, what the rows are, and a text for those who do not see it."
    shutil.copy(run / "gallery.png", run / "gallery-validation.png")  # of no score: not shown
    (*_, label, picture) = re.search(
        r"(.*)\n\n(!\[.*gallery.png\))", model_card(run), re.DOTALL)[0].rsplit("\n\n", 2)
    assert label.startswith("Pictures of the split `test` with the captions that this model wrote")
    assert "closest to people's captions, those furthest" in label and "at random" in label
    alt = re.fullmatch(r"!\[(.*)\]\(gallery.png\)", picture)[1]
    assert "split test" in alt and "caption" in alt and "gallery-val" not in model_card(run)


def test_configurations_of_the_checkpoint_name_no_folder(run):
    for name in ("config.json", "tokenizer_config.json"):
        path = run / "model" / name
        config = {
            **json.loads(path.read_text(encoding="utf-8")),
            "_name_or_path": "/home/ada/secret/git",
            "vocab_file": "secret/a/vocab.txt",
            "base_model_name_or_path": "microsoft/git-base",
            "sep": "/",
        }
        path.write_text(json.dumps(config), encoding="utf-8")
    files = published_files(run)
    for name in ("config.json", "tokenizer_config.json"):
        sent = json.loads(files[name])
        assert (sent["_name_or_path"], sent["vocab_file"], sent["sep"]) == ("git", "vocab.txt", "/")
        assert sent["base_model_name_or_path"] == "microsoft/git-base"
    assert isinstance(files["tokenizer.json"], Path), "a vocabulary is not touched"


@pytest.mark.parametrize("place", [str(Path.home()) + "/notes.txt", "PARENT/x"])
def test_a_text_by_hand_that_names_a_folder_is_refused(run, place):
    place = place.replace("PARENT", str(run.resolve().parent))
    card = write_card(run)
    text = card.read_text(encoding="utf-8").replace(cards._WRITTEN_BY, place)
    card.write_text(text, encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"README.md is refused: it names a folder of this machine"
    ):
        push_run(run, "ada/x", token=TOKEN, endpoint="http://127.0.0.1:9")


# ---- what goes, and what is refused

def test_hidden_files_and_checkpoints_stay(run):
    for name in ("model/.DS_Store", "model/.cache/x.json", ".env"):
        (run / name).parent.mkdir(exist_ok=True)
        (run / name).write_text("x", encoding="utf-8")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "optimizer.pt").write_bytes(b"x")
    (run / "notes.txt").write_text("x", encoding="utf-8")
    assert set(published_files(run)) == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "metrics.json",
        "measured.json",
        "predictions.jsonl",
        "gallery.png",
        "report.html",
        "run.json",
    }


@pytest.mark.parametrize(
    "name, content",
    [
        ("pytorch_model.bin", b"\x80\x02pickle"),
        ("training_args.pt", b"x"),
        ("x.pkl", b"x"),
        ("modeling.py", b"x"),
        ("deep/x.bin", b"x"),
        ("second.safetensors", b"\x80\x02pickle"),
        ("model.safetensors", None),
        ("config.json", b"{half"),
    ],
)
def test_what_could_run_code_or_is_not_whole_is_refused(run, name, content):
    path = run / "model" / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(path.read_bytes()[:-100] if content is None else content)
    with pytest.raises(ValueError, match=re.escape(path.name)) as caught: published_files(run)
    assert "\n" not in str(caught.value)


def test_a_model_whose_replacing_was_cut_short_is_published(run, hub):
    def push(run): push_run(run, "ada/x", token=TOKEN, endpoint=hub.endpoint)

    files = published_files(run)
    for act in (published_files, push):
        (run / "model").rename(run / ".model.0a.old")
        with pytest.warns(UserWarning, match="model is back"):
            act(run)
        assert published_files(run).keys() - {"README.md"} == files.keys() - {"README.md"}


def test_a_run_without_weights_is_refused(run):
    (run / "model" / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="holds no trained model"): published_files(run)


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "model/tokenizer.json",
        "model/config.json",
        "run.json",
        "report.html",
        "gallery.png",
        "predictions.jsonl",
        "model/model.safetensors",
    ],
)
@pytest.mark.parametrize("secret", [TOKEN, "hf_" + "x" * 34])
def test_no_file_with_a_token_is_sent(run, name, secret):
    write_card(run)
    path = run / name
    if name == "run.json":
        change(run, note=f"HF_TOKEN={secret}")
    elif name.endswith("config.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "x": secret}), encoding="utf-8")
    elif name == "README.md":
        path.write_text(
            path.read_text(encoding="utf-8").replace(cards._WRITTEN_BY, secret), encoding="utf-8"
        )
    elif name == "predictions.jsonl":
        path.write_bytes(
            path.read_bytes().replace(b'"caption": "', f'"caption": "{secret}'.encode(), 1)
        )
    elif name.endswith("safetensors"):
        save_file({**load_file(path), secret: torch.zeros(1)}, path, {"format": "pt"})
    else: path.write_bytes(path.read_bytes() + secret.encode())
    with pytest.raises(
        ValueError, match=rf"{path.name} is refused: there is an access token in it"
    ) as caught:
        quiet(refuse_tokens, quiet(published_files, run), TOKEN)
    assert secret not in str(caught.value)


def test_ones_own_token_is_found_whatever_it_looks_like():
    with pytest.raises(ValueError, match="README.md is refused"):
        refuse_tokens({"a": b"x", "README.md": b"key: api_org_mine"}, "api_org_mine")


def test_a_token_in_one_file_of_many_is_found(tmp_path):
    paths = [tmp_path / name for name in "abc"]
    for path in paths: path.write_bytes(b"")
    files = {path.name: path for path in paths} | {"d": b"x"}
    refuse_tokens(files, TOKEN)
    for name in [*files, "last"]:
        with pytest.raises(ValueError, match=name):
            refuse_tokens({**files, name: TOKEN.encode()}, TOKEN)


# ---- pushing

@pytest.fixture
def hub():
    with little_hub() as hub: yield hub


@contextlib.contextmanager
def every_word_in(file):
    "Meanwhile all that any library has to say goes into the file."
    loggers = (logging.root, logging.getLogger("huggingface_hub"))
    before = [(logger.level, logger.handlers) for logger in loggers]
    for logger in loggers:
        logger.level, logger.handlers = logging.DEBUG, [logging.StreamHandler(file)]
    logging.root.manager._clear_cache()
    try:
        with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file): yield
    finally:
        for logger, (level, handlers) in zip(loggers, before):
            logger.level, logger.handlers = level, handlers
        logging.root.manager._clear_cache()


def test_what_is_pushed_is_what_is_pulled(run, hub, creatures, tmp_path):
    heard = io.StringIO()
    with every_word_in(heard):
        url = push_run(
            run, "ada/first-captioner", token=TOKEN, endpoint=hub.endpoint, license="mit"
        )
    assert url == f"{hub.endpoint}/ada/first-captioner" and TOKEN not in heard.getvalue()
    assert sum("/commit/" in asked for asked in hub.asked) == 1, "one commit holds everything"
    pulled = Path(huggingface_hub.snapshot_download("ada/first-captioner", endpoint=hub.endpoint,
                                                    cache_dir=tmp_path / "cache", token=False))
    expected = published_files(run)
    assert {path.name for path in pulled.iterdir()} == set(expected)
    for name, content in expected.items():
        assert (pulled / name).read_bytes() == (
            content if isinstance(content, bytes) else content.read_bytes()
        )
    said = [
        json.loads(line)["caption"]
        for line in (pulled / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [
        caption.text
        for caption in Captioner(pulled, device="cpu").many(list(creatures["test"]["image"]))
    ] == said
    sent = b"".join(path.read_bytes() for path in pulled.iterdir())
    assert str(run.parent).encode() not in sent and TOKEN.encode() not in sent
    assert ModelCard.load(pulled / "README.md").data.model_name == "first-captioner"


HUB_NAME = """
from imgcap.infer import Captioner
from imgcap.model import load_model
from imgcap.model.decoding import decoding_for
model = load_model("ada/short")[0]
beams = Captioner("ada/short").how(num_beams=2)
for how in (decoding_for("ada/short"), decoding_for(model), beams):
    print(how.max_new_tokens, how.num_beams)
print(decoding_for("ada/short", max_new_tokens=9).max_new_tokens)
"""


def test_a_run_writes_as_long_captions_under_its_name_on_the_hub(creatures, hub, tmp_path):
    run = finetune(*new_git_tiny(vision_layers=1, text_layers=1), creatures, out=tmp_path / "run",
                   max_steps=1, batch_size=4, validations=1, max_new_tokens=7, threads=1,
                   precision="float32", echo=lambda line: None)
    model = shutil.copytree(run / "model", tmp_path / "copy")
    assert decoding_for(run).max_new_tokens == decoding_for(model).max_new_tokens == 7
    assert decoding_for("git-tiny") == Decoding()
    push_run(run, "ada/short", token=TOKEN, endpoint=hub.endpoint)
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", HUB_NAME], env=environment, capture_output=True,
                          text=True, cwd=tmp_path)
    assert done.stdout == "7 1\n7 1\n7 2\n9\n", done.stderr


def test_the_code_in_the_card_runs(run, creatures, tmp_path):
    creatures["test"][0]["image"].save(tmp_path / "picture.png")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for code in re.findall(r"```python\n(.*?)```", model_card(run, repo_id="ada/x"), re.S):
            exec(
                code.replace("ada/x", str(run / "model")).replace(
                    "picture.png", str(tmp_path / "picture.png")
                ),
                {},
            )
    assert (
        printed.getvalue().splitlines()[0]
        == Captioner(run, device="cpu")(tmp_path / "picture.png").text
    )


def test_a_second_push_removes_what_belonged_to_the_first(run, hub):
    push_run(run, "ada/x", token=TOKEN, endpoint=hub.endpoint)
    main = hub.repos["ada/x"]["main"]
    main["model-00001-of-00002.safetensors"], main["LICENSE"] = (
        main["model.safetensors"],
        main["config.json"],
    )
    train_on(run)
    quiet(push_run, run, "ada/x", token=TOKEN, endpoint=hub.endpoint, revision="trained")
    gone = {
        "metrics.json",
        "measured.json",
        "predictions.jsonl",
        "gallery.png",
        "report.html",
        "model-00001-of-00002.safetensors",
    }
    assert set(hub.files("ada/x")) - set(hub.files("ada/x", "trained")) == gone
    assert "LICENSE" in hub.files("ada/x", "trained")


def test_a_private_repository(run, hub, tmp_path):
    push_run(run, "ada/secret", token=TOKEN, endpoint=hub.endpoint, private=True)
    options = {"endpoint": hub.endpoint, "cache_dir": tmp_path / "cache"}
    with pytest.raises(RepositoryNotFoundError):
        huggingface_hub.hf_hub_download("ada/secret", "config.json", token=False, **options)
    assert huggingface_hub.hf_hub_download("ada/secret", "config.json", token=TOKEN, **options)
    assert "config.json" in HfApi(endpoint=hub.endpoint, token=TOKEN).list_repo_files("ada/secret")


def refused(error, run, repo_id="ada/x", token=TOKEN, **options):
    "The line that says why; never with the token in it."
    with pytest.raises(error) as caught: push_run(run, repo_id, token=token, **options)
    line = str(caught.value)
    assert "\n" not in line and (
        not token or token not in "".join(traceback.format_exception(caught.value))
    )
    return line


@pytest.mark.parametrize(
    "repo_id",
    [
        "first",
        "ada/first captioner",
        "https://huggingface.co/ada/x",
        "ada/x--y",
        "ada/" + "n" * 240,
        "a/b/c",
        "/x",
        "ada/",
    ],
)
def test_names_that_the_hub_would_not_take(run, hub, repo_id):
    refused(ValueError, run, repo_id, endpoint=hub.endpoint)
    assert not hub.asked, "refused only after something was sent"


def test_what_is_wrong_here_is_found_before_anything_is_sent(run, hub, monkeypatch):
    monkeypatch.setattr(room, "get_token", lambda: None)
    assert "not logged in" in refused(PermissionError, run, token=None, endpoint=hub.endpoint)
    refused(FileNotFoundError, run / "nothing", endpoint=hub.endpoint)
    refused(ValueError, run, endpoint=hub.endpoint, license="Apache 2.0")
    assert not (run / "README.md").exists()
    (run / "model" / "x.bin").write_bytes(b"x")
    refused(ValueError, run, endpoint=hub.endpoint)
    assert not hub.asked


@pytest.mark.parametrize(
    "part, status, error",
    [
        ("create", 403, PermissionError),
        ("preupload", 403, PermissionError),
        ("batch", 413, ConnectionError),
        ("lfs/", 507, ConnectionError),
        ("commit", 500, ConnectionError),
    ],
)
def test_what_the_hub_refuses_is_one_line(run, hub, part, status, error):
    hub.refuse = {part: (status, {"error": f"no, Bearer {TOKEN}"})}
    assert str(status) in refused(error, run, endpoint=hub.endpoint)


def test_no_hub(run, hub):
    assert "(401)" in refused(
        PermissionError, run, token="hf_" + "expired" * 5, endpoint=hub.endpoint
    )
    hub.refuse = {"create": (200, b"<html>Welcome!</html>")}
    assert "does not answer like the Hub" in refused(ConnectionError, run, endpoint=hub.endpoint)
    assert "is there a network?" in refused(ConnectionError, run, endpoint="http://127.0.0.1:9")


def test_a_run_folder_with_a_long_name(scored, tmp_path):
    run = Path(shutil.copytree(scored, tmp_path / ("n" * 240)))
    card = write_card(run).read_text(encoding="utf-8")
    assert "# " + "n" * 240 in card and ModelCard(card).data.model_name == "n" * 240
