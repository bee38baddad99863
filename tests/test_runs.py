"A run folder: what is deleted in it, whose it is, and when it can be resumed."

import json
import subprocess
import sys

import pytest

from imgcap import runs, share

RECORD = {
    "config": {"batch_size": 16, "patience": None, "threads": 1, "out": "a"},
    "language": "en",
    "versions": {"imgcap": "0.1.0"},
    "model": {"type": "git", "weights": "ab12"},
    "machine": {"processes": 1},
    "data": {"train": {"fingerprint": "c91116fec23a"}, "validation": {"fingerprint": "0b23"}},
}

OURS = """log.jsonl metrics.json measured.json predictions.jsonl predictions-novel.jsonl gallery.png
gallery-novel.png report.html report-novel.html features features.done creatures.png
captions.png .4711.partial .0a1b2c3d4e5f6a7b.partial .metrics.json.lock .metrics.json.owner
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
data/train.jsonl predictions.jsonl.gz README.txt""".split()


def written(folder, *names, record=RECORD):
    folder.mkdir(parents=True, exist_ok=True)
    if record is not None:
        (folder / "run.json").write_text(json.dumps(record))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
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
    assert runs.strangers(run) == []
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
    assert runs.strangers(run) == ["evaluations/linked/", "gallery-linked.png", "linked/"]
    with pytest.raises(FileExistsError):
        runs.clear_run(run)
    for name in ("linked", "evaluations/linked", "gallery-linked.png"):
        (run / name).unlink()
    (run / "model").rename(tmp_path / "moved")
    (run / "model").symlink_to(tmp_path / "moved")
    with pytest.raises(FileExistsError, match="model"):
        runs.clear_run(run)
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
        runs.read_run(folder)


def test_a_card_is_ours_by_its_mark(run):
    assert runs.CARD_MARK in share._MARK
    (run / "README.md").write_text("# my model\n\nTwo years of work.")
    assert runs.strangers(run) == ["README.md"]
    (run / "README.md").write_text(f"---\nlicense: mit\n---\n{share._MARK}\n# my model")
    assert runs.strangers(run) == []


def test_a_file_in_the_place_of_a_run(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(FileExistsError, match="is a file"):
        runs.begin_run(tmp_path / "run", RECORD, overwrite=True)


# --- whose folder, and when it may be used again


@pytest.mark.parametrize(
    "results",
    [
        ["checkpoints/checkpoint-5/trainer_state.json"],
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
    (run / "README.md").write_text(share._MARK)
    (run / "evaluations/photos-ab12/mine.txt").write_text("mine")
    runs.drop_scores(run)
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
        "evaluations/photos-ab12/mine.txt",
    } <= everything(run)
    (run / "README.md").write_text("mine")
    runs.drop_scores(run)
    assert (run / "README.md").read_text() == "mine"


# --- resuming


def resumable(tmp_path, *more):
    return written(tmp_path / "run", "checkpoints/checkpoint-5/trainer_state.json", *more)


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
        dict(data__test={"fingerprint": "99"}),
    ],
)
def test_what_cannot_change_the_weights_may_differ(tmp_path, parts):
    run = resumable(
        tmp_path, "metrics.json", "report.html", ".model.7.partial/config.json", ".7.partial"
    )
    about, checkpoint = runs.resume_run(run, changed(**parts))
    assert checkpoint.name == "checkpoint-5"
    assert {name: about[name] for name in RECORD} == RECORD and about["resumed"][0]["step"] == 5
    assert not {"metrics.json", "report.html", ".model.7.partial", ".7.partial"} & everything(run)


def test_a_finished_run_says_so(tmp_path):
    run = written(
        tmp_path / "run",
        "checkpoints/checkpoint-5/trainer_state.json",
        "metrics.json",
        record={**RECORD, "finished": {"steps": 6}},
    )
    with pytest.raises(FileExistsError, match="finished, after 6 steps"):
        runs.resume_run(run, RECORD)
    assert (run / "metrics.json").exists()


def test_nothing_to_resume(tmp_path):
    for name in (
        "checkpoints/checkpoint-5/model.safetensors",
        "checkpoints/checkpoint-five/trainer_state.json",
    ):
        with pytest.raises(FileNotFoundError, match="nothing to resume"):
            runs.resume_run(written(tmp_path / "run", name), RECORD)


def test_the_newest_whole_checkpoint(tmp_path):
    run = written(
        tmp_path / "run",
        *(f"checkpoints/checkpoint-{n}/trainer_state.json" for n in (5, 10, 100, 9)),
    )
    (run / "checkpoints/checkpoint-100/trainer_state.json").write_text('{"half')
    assert runs.last_checkpoint(run).name == "checkpoint-10"


# --- the log


@pytest.mark.parametrize(
    "torn", ["", '{"step": 7, "lo', '{"step": 7, "a": {"b": 1}', '{"step": 7}']
)
def test_the_log_is_cut_at_the_checkpoint(tmp_path, torn):
    run = resumable(tmp_path)
    for step in (1, 5, 6):
        runs.append_log(run, {"step": step, "loss": 1 / 3, "note": "a\u2028b"})
    runs.append_log(run, {"step": 5, "train_runtime": 3})
    with open(run / "log.jsonl", "a") as file:
        file.write(torn)
    runs.resume_run(run, RECORD)
    assert [(entry["step"], entry["loss"]) for entry in runs.read_log(run)] == [
        (1, 1 / 3),
        (5, 1 / 3),
    ]


def test_a_log_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OSError, match="cannot write .*log.jsonl"):
        runs.append_log(tmp_path / "nowhere", {"step": 1})
