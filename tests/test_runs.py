"A run folder: what is deleted in it, whose it is, and when it can be resumed."

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile

import datasets
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from imgcap import fingerprints, run_checkpoints, run_files, run_record, runs
from imgcap.share import cards

RECORD = {
    "config": {"batch_size": 16, "patience": None, "threads": 1, "out": "a", "samples": 7},
    "language": "en",
    "versions": {"imgcap": "0.1.0", "transformers": "5"},
    "model": {
        "type": "git",
        "weights": "ab12",
        "config": "c0",
        "image_processor": "c1",
        "tokenizer": "c2",
    },
    "machine": {"processes": 1},
    "data": {
        "train": {"fingerprint": "c91116fec23a", "picture_fingerprint": "5e"},
        "validation": {"fingerprint": "0b23", "picture_fingerprint": "6e"},
    },
}

SCORED = {"metrics.json": {"novel": {"model": {}}}, "measured.json": {"test": {"weights": "ab12"}}}

OURS = """log.jsonl metrics.json measured.json predictions.jsonl predictions-novel.jsonl gallery.png
gallery-novel.png report.html report-novel.html features features.done .4711.partial
.0a1b2c3d4e5f6a7b.partial .metrics.json.lock .metrics.json.owner
evaluations/photos-ab12/measured.json model/config.json model/model.safetensors
model/model-00001-of-00002.safetensors model/tokenizer.json model/model.safetensors.index.json
model/.12.partial adapter/adapter_config.json model/spiece.model
adapter/adapter_model.safetensors .model.12.partial/config.json .model.12.old/model.safetensors
checkpoints/checkpoint-5/trainer_state.json checkpoints/checkpoint-5/optimizer.pt
checkpoints/checkpoint-5/rng_state_1.pth checkpoints/checkpoint-5/raw_weights.safetensors
checkpoints/checkpoint-15/progress.json checkpoints/runs/Nov25_host/events.out.tfevents.1.host.2
evaluations/photos-ab12/metrics.json evaluations/photos-ab12/report.html""".split()

THEIRS = """thesis.txt notes/thesis.txt model/notes.txt model/thesis.md checkpoints/thesis.txt
model/run.json checkpoints/checkpoint-5/notes.txt checkpoints/checkpoint-best/config.json
checkpoints/best/model.safetensors checkpoints/runs/notes.txt evaluations/notes.txt
evaluations/photos/notes.txt old/run.json config.json train.py Report.pdf metrics.json.bak
run.json.old model/sub/config.json .git/config report/index.html model/pytorch_model.bin
data/train.jsonl predictions.jsonl.gz README.txt report-thesis.html gallery-holiday.png
predictions-mine.jsonl model/mine.model model/model-old.safetensors model/model-1-of-2.safetensors
evaluations/mine/report.html evaluations/mine/predictions.jsonl
evaluations/photos-ab12/report-a.html
creatures.png captions.png .thesis.lock .thesis.ab.partial evaluations/photos-ab12/README.md
.model.12.old/thesis.txt""".split()


def written(folder, *names, record=RECORD):
    folder.mkdir(parents=True, exist_ok=True)
    if record is not None:
        (folder / "run.json").write_text(json.dumps(record))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(SCORED.get(name.split("/")[-1], {})))
    return folder


def checkpoint(run, step, **more):
    "A checkpoint as Trainer writes it, with next to nothing in it."
    folder = run / f"checkpoints/checkpoint-{step}"
    folder.mkdir(parents=True)
    save_file({"weight": np.zeros(99, "float32")}, folder / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        with zipfile.ZipFile(folder / name, "w") as file:
            file.writestr("archive/data.pkl", b"numbers" * 99)
    (folder / "progress.json").write_text(json.dumps({"seconds": 1.0, "skipped": {}}))
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step, **more}))
    return folder


@pytest.fixture
def run(tmp_path):
    return written(tmp_path / "run", *OURS)


def everything(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_torch_is_not_loaded():
    loads = "import sys, imgcap.runs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loads]).returncode == 0


# --- deleting


def test_all_that_a_run_wrote_is_deleted(run):
    assert run_files.strangers(run) == []
    runs.begin_run(run, RECORD, overwrite=True)
    assert everything(run) == {"run.json"}


@pytest.mark.parametrize("name", THEIRS)
def test_nothing_is_deleted_beside_somebody_elses_file(run, name):
    written(run, name)
    before = everything(run)
    with pytest.raises(FileExistsError, match="no run wrote") as error:
        runs.begin_run(run, RECORD, overwrite=True)
    assert name.split("/")[0] in str(error.value) and "\n" not in str(error.value)
    assert everything(run) == before


def test_links_are_somebodys(run, tmp_path):
    outside = written(tmp_path / "outside", "config.json", record=None)
    for name in ("linked", "evaluations/linked"):
        (run / name).symlink_to(outside)
    (run / "gallery-linked.png").symlink_to(outside / "config.json")
    assert run_files.strangers(run) == ["evaluations/linked/", "gallery-linked.png", "linked/"]
    with pytest.raises(FileExistsError):
        run_files.clear_run(run)
    for name in ("linked", "evaluations/linked", "gallery-linked.png"):
        (run / name).unlink()
    (run / "model").rename(tmp_path / "moved")
    (run / "model").symlink_to(tmp_path / "moved")
    with pytest.raises(FileExistsError, match="model"):
        run_files.clear_run(run)
    assert (tmp_path / "moved/config.json").exists() and (outside / "config.json").exists()


def test_a_run_that_is_itself_a_link_is_emptied_and_stays(run, tmp_path):
    (tmp_path / "link").symlink_to(run)
    runs.begin_run(tmp_path / "link", RECORD, overwrite=True)
    assert (tmp_path / "link").is_symlink() and everything(run) == {"run.json"}


@pytest.mark.parametrize(
    "record",
    [
        {},
        [],
        "text",
        {"config": {}},
        {"config": {}, "versions": {"torch": "2"}},
        {"name": "somebody's run", "version": 3},
        None,
    ],
)
def test_a_run_json_of_another_program(tmp_path, record):
    folder = written(tmp_path / "theirs", "log.jsonl", "model/model.safetensors", record=None)
    if record is not None:
        (folder / "run.json").write_text(json.dumps(record))
    before = everything(folder)
    with pytest.raises(FileExistsError, match="not a run"):
        runs.begin_run(folder, RECORD, overwrite=True)
    assert everything(folder) == before
    with pytest.raises((FileNotFoundError, ValueError)):
        run_record.read_run(folder)


CARD = run_files.sealed(f"---\nlicense: mit\n---\n{cards._WRITTEN_BY}\n# my model\n")


def test_a_card_is_ours_as_it_was_written(run):
    assert run_files.CARD_MARK in cards._WRITTEN_BY
    (run / "README.md").write_text(CARD)
    assert run_files.strangers(run) == []
    runs.begin_run(run, RECORD, overwrite=True)
    assert everything(run) == {"run.json"}


@pytest.mark.parametrize(
    "text",
    [
        "# my model\n\nTwo years of work.",
        CARD + "\nTwo years of work.\n",
        CARD.replace("# my", "Two years of work.\n\n# my"),
        CARD.replace("license: mit", "license: mit\ntags: [thesis]"),
        "Two years of work.\n" + CARD,
        CARD + CARD,
        f"{cards._WRITTEN_BY}\n# my model, of an earlier version\n",
        run_files.sealed("# somebody's\n"),
        "",
    ],
)
def test_a_card_with_a_persons_words_is_theirs(run, text):
    (run / "README.md").write_text(text)
    assert run_files.strangers(run) == ["README.md"]
    with pytest.raises(FileExistsError, match="README.md"):
        runs.begin_run(run, RECORD, overwrite=True)
    run_files.drop_scores(run)
    assert (run / "README.md").read_text() == text and (run / "model/config.json").exists()


@pytest.mark.parametrize(
    "record", ["[]", "{}", '{"accuracy": 0.9}', '{"novel": 1}', '{"nov', "[" * 9**5])
def test_scores_of_another_program_name_no_split(run, record):
    for name in ("metrics.json", "measured.json"):
        (run / name).write_text(record)
    scored = {"metrics.json", "report.html", "predictions-novel.jsonl"}
    assert scored <= set(run_files.strangers(run))


def test_a_long_split_is_known_by_its_name(tmp_path):
    split = "a split with spaces/and slashes " * 9
    run = written(tmp_path / "run", *run_files.split_files(split))
    assert len(run_files.strangers(run)) == 3
    (run / "metrics.json").write_text(json.dumps({split: {"model": {}}}))
    assert run_files.strangers(run) == []


def test_pictures_of_a_demo_are_a_demos(tmp_path):
    run = written(tmp_path / "run", "captions.png", record={**RECORD, "command": "demo"})
    assert run_files.strangers(run) == []


@pytest.mark.parametrize(
    "name", ["thesis.txt", "README.md", "mine.model", "notes/a.txt", "optimizer.pt", "run.json"]
)
def test_what_belongs_to_no_checkpoint(tmp_path, name):
    folder = written(tmp_path / "it", "config.json", "model.safetensors", name, record=None)
    top = name.split("/")[0]
    assert run_files.checkpoint_strangers(folder) == [top + "/" * (top != name)]
    assert run_files.checkpoint_strangers(folder, [name]) == ([] if top == name else [top + "/"])


def test_a_file_in_the_place_of_a_run(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(FileExistsError, match="is a file"):
        runs.begin_run(tmp_path / "run", RECORD, overwrite=True)


# --- whose folder, and when it may be used again


@pytest.mark.parametrize(
    "results",
    [
        ["checkpoints/checkpoint-5/trainer_state.json"],  # damaged, and yet hours of work
        ["model/config.json"],
        ["metrics.json"],
        ["adapter/adapter_config.json"],
    ],
)
def test_a_run_with_results_is_not_replaced_without_being_asked(tmp_path, results):
    run = written(tmp_path / "run", *results)
    with pytest.raises(FileExistsError, match="another run"):
        runs.begin_run(run, RECORD)
    assert set(results) <= everything(run)


def test_a_finished_run_is_not_replaced_without_being_asked(tmp_path):
    run = written(tmp_path / "run", record={**RECORD, "finished": {"steps": 6}})
    with pytest.raises(FileExistsError, match="another run"):
        runs.begin_run(run, RECORD)


@pytest.mark.parametrize(
    "left",
    [
        [],
        ["features", "log.jsonl"],
        ["checkpoints/checkpoint-5/model.safetensors"],
        [".77.partial"],
    ],
)
def test_what_a_failed_start_left_is_used_again(tmp_path, left):
    run = written(tmp_path / "run", *left)
    runs.begin_run(run, RECORD)
    assert everything(run) == {"run.json"}


def test_empty_folders_of_an_older_imgcap_are_used(tmp_path):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    runs.begin_run(tmp_path / "run", RECORD)
    assert everything(tmp_path / "run") == {"run.json"}


# --- scores belong to weights


def test_scores_go_and_the_rest_stays(run):
    (run / "README.md").write_text(CARD)
    (run / "report-thesis.html").write_text("mine")
    (run / "evaluations/photos-ab12/mine.txt").write_text("mine")
    run_files.drop_scores(run)
    gone = {
        "metrics.json",
        "measured.json",
        "predictions.jsonl",
        "predictions-novel.jsonl",
        "gallery.png",
        "gallery-novel.png",
        "report.html",
        "report-novel.html",
        "README.md",
        "evaluations/photos-ab12/metrics.json",
        "evaluations/photos-ab12/measured.json",
    }
    assert not gone & everything(run)
    assert {
        "run.json",
        "log.jsonl",
        "model/config.json",
        "report-thesis.html",
        "evaluations/photos-ab12/mine.txt",
    } <= everything(run)
    (run / "README.md").write_text("mine")
    run_files.drop_scores(run)
    assert (run / "README.md").read_text() == "mine"


def evaluated(folder, **files):
    "Files of an evaluation, with digests in measured.json as they were written."
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    digests = {name.replace("__", "."): hashlib.sha256(text.encode()).hexdigest()[:16]
               for name, text in files.items()}
    record = {"test": {"weights": "ab12", "files": digests}}
    (folder / "measured.json").write_text(json.dumps(record))


PAGES = {"report__html": "<p>9", "predictions__jsonl": "{}\n",
         "metrics__json": '{"test": {"model": {}}}'}


@pytest.mark.parametrize("where", ["", "evaluations/photos-ab12"])
@pytest.mark.parametrize("name", ["report.html", "predictions.jsonl", "metrics.json"])
def test_what_was_edited_is_put_aside(tmp_path, where, name):
    run = written(tmp_path / "run")
    evaluated(run / where, **PAGES)
    (run / where / name).write_text("two years of notes")
    (run / where / f"{name}.kept-1").write_text("earlier notes")
    with pytest.warns(UserWarning, match=f"{name} was edited .* kept as {name}.kept-2"):
        run_files.drop_scores(run)
    assert (run / where / f"{name}.kept-2").read_text() == "two years of notes"
    assert (run / where / f"{name}.kept-1").read_text() == "earlier notes"
    left = {f"{name}.kept-1", f"{name}.kept-2"}
    assert {path.name for path in (run / where).iterdir()} - {"run.json"} == left
    with pytest.raises(FileExistsError, match="kept-1"):
        runs.begin_run(run, RECORD, overwrite=True)


@pytest.mark.filterwarnings("error")
def test_what_nobody_edited_goes(tmp_path):
    run = written(tmp_path / "run")
    for where in ("", "evaluations/photos-ab12"):
        evaluated(run / where, **PAGES)
    run_files.drop_scores(run)
    assert everything(run) == {"run.json", "evaluations"}


@pytest.mark.parametrize("link", ["evaluations", "evaluations/compare-with"])
@pytest.mark.parametrize("begin", [run_files.drop_scores, lambda run: runs.resume_run(run, RECORD)])
def test_scores_behind_a_link_are_left_alone(tmp_path, link, begin):
    run = written(tmp_path / "run")
    checkpoint(run, 5)
    outside = tmp_path / "elsewhere/precious"
    for folder in (outside, outside / "photos-ab12"):
        evaluated(folder, **PAGES)
    before = everything(outside)
    (run / link).parent.mkdir(exist_ok=True)
    (run / link).symlink_to(outside)
    begin(run)
    assert everything(outside) == before and (run / link).is_symlink()


@pytest.mark.parametrize(
    "link", ["checkpoints", "checkpoints/checkpoint-9", "model", "adapter", "log.jsonl", "features"]
)
def test_a_run_does_not_go_on_through_a_link(tmp_path, link):
    run, other = written(tmp_path / "run"), written(tmp_path / "other", "log.jsonl", "features")
    checkpoint(run, 5), checkpoint(other, 5), checkpoint(other, 9)
    written(other, "model/config.json", "adapter/adapter_config.json")
    if link == "checkpoints":
        shutil.rmtree(run / link)
    (run / link).symlink_to(other / link)
    before = everything(other)
    with pytest.raises(FileExistsError, match=f"has links .*{link}") as error:
        runs.resume_run(run, RECORD)
    assert "\n" not in str(error.value) and everything(other) == before


@pytest.mark.parametrize(
    "note", [b"remember: rate too high\n", b'{"note": "too high"}\n', b'{"step":5}\n'])
def test_a_log_with_notes_is_not_replaced_without_being_asked(tmp_path, note):
    run = written(tmp_path / "run")
    (run / "log.jsonl").write_bytes(b'{"step": 5, "loss": 3.2}\n' + note + b'{"step": 6, "lo')
    with pytest.raises(FileExistsError, match="holds another run"):
        runs.begin_run(run, RECORD)
    (run / "log.jsonl").write_bytes(b'{"step": 5, "loss": 3.2}\n{"step": 6, "lo')
    runs.begin_run(run, RECORD)
    assert everything(run) == {"run.json"}


@pytest.mark.parametrize("name", ["measured.json", "captions.png", "creatures.png"])
def test_what_was_measured_is_not_replaced_without_being_asked(tmp_path, name):
    run = written(tmp_path / "run", name, record={**RECORD, "command": "demo"})
    with pytest.raises(FileExistsError, match="holds another run"):
        runs.begin_run(run, RECORD)
    assert (run / name).exists()


# --- resuming


def resumable(tmp_path, *more):
    run = written(tmp_path / "run", *more)
    checkpoint(run, 5)
    return run


def changed(**parts):
    record = json.loads(json.dumps(RECORD))
    for path, value in parts.items():
        *parents, name = path.split("__")
        place = record
        for parent in parents:
            place = place[parent]
        place[name] = value
    return record


@pytest.mark.parametrize(
    "parts, said",
    [
        (dict(config__batch_size=8), "batch_size 16 → 8"),
        (dict(config__patience=3), "patience None → 3"),
        (dict(language="zh"), "language en → zh"),
        (dict(model__type="blip"), "type of the model git → blip"),
        (dict(model__weights="cd34"), "weights to start from ab12 → cd34"),
        (dict(machine__processes=2), "processes 1 → 2"),
        (dict(data__train={"fingerprint": "77"}), "train c91116fec23a → 77"),
        (dict(data__validation={"fingerprint": "77"}), "validation 0b23 → 77"),
        (dict(data__train__picture_fingerprint="77"), "pictures of the split train 5e → 77"),
        (
            dict(data__validation__picture_fingerprint="77"),
            "pictures of the split validation 6e → 77",
        ),
        (dict(model__config="77"), "config.json c0 → 77"),
        (dict(model__image_processor="77"), "image processor's settings c1 → 77"),
        (dict(model__tokenizer="77"), "tokenizer c2 → 77"),
    ],
)
def test_another_run_is_not_resumed(tmp_path, parts, said):
    run = resumable(tmp_path, "metrics.json")
    before = everything(run), (run / "run.json").read_text()
    with pytest.raises(ValueError, match="cannot be resumed") as error:
        runs.resume_run(run, changed(**parts))
    assert said in str(error.value) and "\n" not in str(error.value)
    assert (everything(run), (run / "run.json").read_text()) == before, "a refusal changes nothing"


@pytest.mark.parametrize(
    "parts",
    [
        {},
        dict(config__threads=2, config__out="b"),
        dict(config__new_option=True),
        dict(config__samples=5, config__objective="likelihood"),
        dict(data__test={"fingerprint": "99"}),
        dict(versions__transformers="6", model__config="77", model__tokenizer="78"),
    ],
)
def test_what_cannot_change_the_weights_may_differ(tmp_path, parts):
    run = resumable(
        tmp_path,
        "measured.json",
        "report.html",
        ".model.7.partial/config.json",
        ".7.partial",
        ".thesis.partial",
        ".model.thesis.old/thesis.txt",
    )
    about, checkpoint = runs.resume_run(run, changed(**parts))
    assert checkpoint.name == "checkpoint-5"
    assert {name: about[name] for name in RECORD} == RECORD and about["resumed"][0]["step"] == 5
    assert not {"measured.json", "report.html", ".model.7.partial", ".7.partial"} & everything(run)
    assert {".thesis.partial", ".model.thesis.old/thesis.txt"} <= everything(run)


def earlier_version(config):
    "The record of a run as an earlier version wrote it."
    record = {**RECORD, "config": config, "model": {"type": "git", "weights": "ab12"}}
    return {**record, "data": {split: {"fingerprint": about["fingerprint"]}
                               for split, about in RECORD["data"].items()}}


@pytest.mark.parametrize("before", [{"max_length": None}, {}, {"max_length": 64}], ids=str)
def test_a_run_of_an_earlier_version_goes_on(tmp_path, before):
    run = resumable(tmp_path)
    run_record.write_run(run, earlier_version({"batch_size": 16, "precision": "auto", **before}))
    filled = {"batch_size": 16, "max_length": 64, "precision": "float32", "new": 1}
    asked = {"batch_size": None, "max_length": None, "precision": "auto", "new": 1}
    about = {**RECORD, "config": filled}
    assert runs.resume_run(run, about, asked=asked)[1].name == "checkpoint-5"
    with pytest.raises(ValueError, match="batch_size 16 → 8"):
        runs.resume_run(run, {**RECORD, "config": {**filled, "batch_size": 8}}, asked=asked)


def test_a_choice_that_was_open_is_another_choice(tmp_path):
    run = resumable(tmp_path)
    run_record.write_run(run, earlier_version({"max_length": None}))
    about = {**RECORD, "config": {"max_length": 32}}
    with pytest.raises(ValueError, match="max_length None → 32"):
        runs.resume_run(run, about, asked={"max_length": 32})


def test_a_finished_run_says_so(tmp_path):
    run = written(
        tmp_path / "run",
        "metrics.json",
        record={**RECORD, "finished": {"steps": 6}},
    )
    checkpoint(run, 6)
    with pytest.raises(FileExistsError, match="finished, at step 6"):
        runs.resume_run(run, RECORD)
    assert (run / "metrics.json").exists()


def test_nothing_to_resume(tmp_path):
    for name in (
        "checkpoints/checkpoint-5/model.safetensors",
        "checkpoints/checkpoint-five/trainer_state.json",
    ):
        with pytest.raises(FileNotFoundError, match="nothing to resume"):
            runs.resume_run(written(tmp_path / "run", name), RECORD)


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def half_json(path):
    path.write_text(path.read_text()[:-3])


DAMAGE = {
    "model.safetensors": [cut, os.unlink, lambda path: path.write_bytes(b"")],
    "optimizer.pt": [cut, os.unlink, lambda path: path.write_bytes(b"x" * 99)],
    "scheduler.pt": [cut, os.unlink],
    "rng_state.pth": [cut],
    "progress.json": [
        half_json, lambda path: path.write_text("{}x"), lambda path: path.write_text("[]")],
    "trainer_state.json": [half_json, lambda path: path.write_text("{}")],
}


def one_byte_less(path):
    os.truncate(path, path.stat().st_size - 1)


@pytest.mark.parametrize(
    "name, harm",
    [(name, harm) for name, harms in DAMAGE.items() for harm in [one_byte_less, *harms]],
)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, name, harm):
    run, said = written(tmp_path / "run"), []
    for step in (5, 10, 100):
        checkpoint(run, step)
    harm(run / "checkpoints/checkpoint-100" / name)
    assert run_checkpoints.last_checkpoint(run).name == "checkpoint-10"
    about, folder = runs.resume_run(run, RECORD, echo=said.append)
    assert folder.name == "checkpoint-10" and about["resumed"][0]["step"] == 10
    (line,) = said
    assert "checkpoint-100" in line and name in line and "going on from checkpoint-10" in line
    assert runs.resume_run(run, RECORD, echo=pytest.fail)[1] == folder, "said once"


def test_half_a_checkpoint_is_no_damage(tmp_path):
    run = written(tmp_path / "run")
    for step in (5, 10):
        checkpoint(run, step)
    (run / "checkpoints/checkpoint-10/trainer_state.json").unlink()
    assert runs.resume_run(run, RECORD, echo=pytest.fail)[1].name == "checkpoint-5"


def test_no_checkpoint_is_whole(tmp_path):
    run = written(tmp_path / "run")
    cut(checkpoint(run, 5) / "optimizer.pt")
    cut(checkpoint(run, 10) / "model.safetensors")
    before = everything(run)
    with pytest.raises(FileNotFoundError, match="nothing to resume") as error:
        runs.resume_run(run, RECORD)
    for said in ("checkpoint-10 model.safetensors is damaged", "checkpoint-5 optimizer.pt"):
        assert said in str(error.value)
    assert "\n" not in str(error.value) and everything(run) == before


def test_the_best_checkpoint_has_to_be_whole_too(tmp_path):
    run = written(tmp_path / "run")
    cut(checkpoint(run, 5) / "model.safetensors")
    checkpoint(run, 10, best_global_step=5)
    with pytest.raises(FileNotFoundError, match="in checkpoint-5, the best before it"):
        runs.resume_run(run, RECORD)


def zeroed(path):
    "The same length, the same header, other numbers."
    content = path.read_bytes()
    path.write_bytes(content[:-40] + bytes(8) + content[-32:])


def digested(folder):
    progress = {"seconds": 1.0, "skipped": {}, "weights": run_checkpoints.weight_digests(folder)}
    (folder / "progress.json").write_text(json.dumps(progress))
    return folder


@pytest.mark.parametrize("harmed, said", [(10, ""), (5, "in checkpoint-5, the best before it")])
def test_weights_that_are_not_those_that_were_saved(tmp_path, harmed, said):
    run = written(tmp_path / "run")
    for step, more in ((5, {}), (10, {"best_global_step": 5})):
        folder = checkpoint(run, step, **more)
        save_file({"weight": np.ones(99, "float32")}, folder / "model.safetensors")
        digested(folder)
    assert run_checkpoints.damage(folder) == ""
    zeroed(run / f"checkpoints/checkpoint-{harmed}/model.safetensors")
    assert run_checkpoints.damage(folder) == f"model.safetensors is damaged {said}".strip()
    progress = run / f"checkpoints/checkpoint-{harmed}/progress.json"
    progress.write_text('{"seconds": 1, "skipped": {}}')
    assert run_checkpoints.damage(folder) == "", "an earlier version kept no digests"


def test_an_average_needs_the_weights_that_go_on(tmp_path):
    run = written(tmp_path / "run", record={**RECORD, "config": {"ema": 0.9}})
    assert "raw_weights.safetensors is missing" in run_checkpoints.damage(checkpoint(run, 5))


def test_parts_of_weights_and_additions(tmp_path):
    run = written(tmp_path / "run")
    first, second = checkpoint(run, 5), checkpoint(run, 10)
    (first / "model.safetensors").rename(first / "model-00001-of-00002.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (first / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    assert run_checkpoints.damage(first) == "model-00002-of-00002.safetensors is missing"
    (second / "model.safetensors").rename(second / "adapter_model.safetensors")
    (second / "adapter_config.json").write_text("{}")
    assert run_checkpoints.damage(second) == ""


# --- the log


@pytest.mark.parametrize(
    "torn", ["", '{"step": 7, "lo', '{"step": 7, "a": {"b": 1}', '{"step": 7}']
)
def test_the_log_is_cut_at_the_checkpoint(tmp_path, torn):
    run = resumable(tmp_path)
    for step in (1, 5, 6):
        run_record.append_log(run, {"step": step, "loss": 1 / 3, "note": "a\u2028b"})
    run_record.append_log(run, {"step": 5, "train_runtime": 3})
    with open(run / "log.jsonl", "a") as file:
        file.write(torn)
    runs.resume_run(run, RECORD)
    assert [(entry["step"], entry["loss"]) for entry in run_record.read_log(run)] == [
        (1, 1 / 3),
        (5, 1 / 3),
    ]


def test_a_line_without_a_step_stays(tmp_path):
    run = resumable(tmp_path)
    notes = [{"note": "mine"}, {"step": None}, {"step": "seven"}]
    for entry in ({"step": 1}, *notes, {"step": 7}):
        run_record.append_log(run, entry)
    runs.resume_run(run, RECORD)
    assert run_record.read_log(run) == [{"step": 1}, *notes]


@pytest.mark.parametrize("line", ['{"step": 2', "[1]", "\\xff"])
def test_a_damaged_line_is_named_and_nothing_is_changed(tmp_path, line):
    run = resumable(tmp_path, "measured.json", "report.html")
    (run / "log.jsonl").write_text('{"step": 1}\n' + line + '\n{"step": 3}\n{"st')
    before = everything(run)
    with pytest.raises(ValueError, match="log.jsonl, line 2") as error:
        runs.resume_run(run, RECORD)
    assert "\n" not in str(error.value) and everything(run) == before


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="cannot write .*log.jsonl"):
        run_record.append_log(tmp_path / "nowhere", {"step": 1})


# --- which pictures


def png(number, side=40):
    noise = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "png")
    return file.getvalue()


def split(pictures):
    "Rows with encoded pictures: contents, or paths."
    rows = [
        {"bytes": each, "path": None} if isinstance(each, bytes) else {"bytes": None, "path": each}
        for each in pictures
    ]
    features = datasets.Features({"image": datasets.Image(decode=False)})
    return datasets.Dataset.from_dict({"image": rows}, features=features)


def test_pictures_are_known_wherever_they_are(tmp_path):
    pictures = [png(i) for i in range(5)]
    for i, content in enumerate(pictures):
        (tmp_path / f"{i}").write_bytes(content)
    known = fingerprints.picture_fingerprint(split(pictures))
    paths = split([str(tmp_path / f"{i}") for i in range(5)])
    assert fingerprints.picture_fingerprint(paths) == known
    for path in tmp_path.iterdir():
        os.utime(path, (1, 1))
    assert fingerprints.picture_fingerprint(paths) == known, "times say nothing"
    turned = split(pictures[::-1])
    assert fingerprints.picture_fingerprint(turned) != known
    assert fingerprints.picture_fingerprint(turned.select(range(4, -1, -1))) == known


@pytest.mark.parametrize("where", ["start", "middle", "end", "more", "other"])
def test_a_replaced_picture_is_noticed(tmp_path, where):
    pictures = [png(i) for i in range(3)]
    known = fingerprints.picture_fingerprint(split(pictures))
    changed = bytearray(pictures[1])
    at = {"start": 9, "middle": len(changed) // 2, "end": -9}.get(where)
    if at is not None:
        changed[at] ^= 1
    else:
        changed = changed + b"x" if where == "more" else png(9)
    (tmp_path / "changed").write_bytes(changed)
    for other in (bytes(changed), str(tmp_path / "changed")):
        assert fingerprints.picture_fingerprint(split([pictures[0], other, pictures[2]])) != known


def bmp(side, paint=()):
    "Uncompressed; `paint` says which rows are painted over."
    noise = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    for row in paint:
        noise[row] = 99
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "bmp")
    return file.getvalue()


@pytest.mark.parametrize("side, rows", [(300, [7]), (300, range(160, 280)), (900, range(460, 520))])
def test_a_picture_that_was_painted_over_is_noticed(tmp_path, side, rows):
    plain, painted = bmp(side), bmp(side, rows)
    assert len(plain) == len(painted)
    (tmp_path / "painted").write_bytes(painted)
    known = fingerprints.picture_fingerprint(split([plain]))
    assert fingerprints.picture_fingerprint(split([bmp(side)])) == known
    for other in (painted, str(tmp_path / "painted")):
        assert fingerprints.picture_fingerprint(split([other])) != known


def test_fingerprints_of_an_earlier_version_are_not_compared():
    old, new, other = "0123456789ab", "0123456789abcdef", "f123456789abcdef"
    assert fingerprints.same_pictures(old, new) and fingerprints.same_pictures(None, new)
    assert fingerprints.same_pictures(new, new) and not fingerprints.same_pictures(new, other)
    assert not fingerprints.same_pictures(old, old[::-1])
    before = changed(data__train__picture_fingerprint=old)
    assert runs.first_difference(before, changed(data__train__picture_fingerprint=new)) == ""
    before = changed(data__train__picture_fingerprint=other)
    assert other in runs.first_difference(before, changed(data__train__picture_fingerprint=new))


def test_a_record_holds_no_password(tmp_path):
    source = "https://ada:pw@example.org/photos.tar"
    skipped = {f"{source}/7": f"{source} is gone"}
    run_record.write_run(tmp_path, {"source": source, "skipped": skipped})
    text = (tmp_path / "run.json").read_text()
    assert "pw" not in text and text.count("https://example.org/photos.tar") == 3


def test_pictures_that_are_not_there(tmp_path):
    (tmp_path / "empty").touch()
    lost = split([str(tmp_path / "lost"), str(tmp_path / "empty"), str(tmp_path), b""])
    assert fingerprints.picture_fingerprint(lost) == fingerprints.picture_fingerprint(lost)
    assert fingerprints.picture_fingerprint({"image_id": ["a"], "captions": [["a cat"]]}) is None
