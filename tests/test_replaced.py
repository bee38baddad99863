"""A folder whose place a new one takes: whenever the process is killed, and whatever fails, the
old one is found again."""

import os
import shutil
import signal
import sys
import warnings
from pathlib import Path

import copies
import pytest
from small_models import git
from test_runs import RECORD, resumable, written

from imgcap import runs
from imgcap.files import held, put_back, replace_folder
from imgcap.model import load_model, weights_fingerprint
from imgcap.run_files import drop_halves, strangers
from imgcap.train import save_checkpoint

no_kill = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")


def stop_between(act, *args):
    "Do something in a process that is killed once a folder is moved aside."
    rename = Path.rename

    def move(path, to):
        moved = rename(path, to)
        if Path(to).suffix == ".old":
            os.kill(os.getpid(), signal.SIGKILL)
        return moved

    Path.rename = move
    act(*args)


def killed(tmp_path, act, *args):
    process = copies.start(tmp_path / "said", stop_between, act, *args)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL, copies.said(tmp_path / "said")
    (tmp_path / "said").unlink()


def save(folder):
    save_checkpoint(*git(), folder)


def export(source, folder):
    from imgcap.share.export import export_onnx

    export_onnx(source, folder)


def everything(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def content(folder):
    return {name: (folder / name).read_bytes() for name in everything(folder)}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "model"
    save_checkpoint(*git(), folder)
    return folder


@pytest.fixture(scope="module")
def run_of_a_killed_save(tmp_path_factory, checkpoint):
    folder = tmp_path_factory.mktemp("killed")
    place = shutil.copytree(checkpoint, folder / "run" / "model")
    killed(folder, save, place)
    assert not place.exists()
    return place.parent


@pytest.fixture
def half_saved(tmp_path, run_of_a_killed_save):
    "A folder in which nothing is in the place of the model, for its process was killed."
    return shutil.copytree(run_of_a_killed_save, tmp_path / "run") / "model"


def load_folder(place):
    load_model(place)


def load_run(place):
    load_model(place.parent)


def fingerprint_run(place):
    weights_fingerprint(place.parent)


def go_on(place):
    resumable(place.parents[1])
    runs.resume_run(place.parent, RECORD)


def begin(place):
    written(place.parent)
    with pytest.raises(FileExistsError, match="holds another run"):
        runs.begin_run(place.parent, RECORD)


def halves(place):
    drop_halves(place.parent)


@no_kill
@pytest.mark.parametrize("act", [load_folder, load_run, fingerprint_run, go_on, begin, halves])
def test_the_old_checkpoint_is_back_and_it_is_said(half_saved, checkpoint, act):
    with pytest.warns(UserWarning, match="model is back: a process was stopped") as said:
        act(half_saved)
    assert len(said) == 1 and content(half_saved) == content(checkpoint)
    assert not list(half_saved.parent.glob(".*.old"))


@no_kill
def test_the_next_save_finds_it_and_deletes_it_once_there_is_a_new_one(half_saved, tmp_path):
    with pytest.warns(UserWarning, match="is back"):
        killed(tmp_path, save, half_saved)  # again: it was back, and was moved aside again
        assert len(list(half_saved.parent.glob(".*.old"))) == 1
        save(half_saved)
    load_model(half_saved)
    left = everything(half_saved.parent) - {f"model/{name}" for name in everything(half_saved)}
    assert all(".partial" in name for name in left - {"model"}), "killed processes left more"


@no_kill
def test_a_save_that_fails_leaves_the_one_that_was_back(half_saved, checkpoint):
    model, processor = git()
    processor.tokenizer.add_tokens([f"more{i}" for i in range(9)])
    with pytest.raises(ValueError, match="room for"):
        save_checkpoint(model, processor, half_saved)
    with pytest.warns(UserWarning, match="is back"):
        load_model(half_saved)
    assert content(half_saved) == content(checkpoint)


@no_kill
def test_an_export_is_back(tmp_path):
    pytest.importorskip("onnxruntime")
    from imgcap.share.export import OnnxCaptioner, export_onnx

    first = export_onnx(git()[0], tmp_path / "first", processor=git()[1])
    place = shutil.copytree(first, tmp_path / "home" / "place")
    killed(tmp_path, export, first, place)
    assert not place.exists()
    for number, act in enumerate([OnnxCaptioner, lambda here: export_onnx(first, here),
                                  lambda here: export_onnx(here, tmp_path / "another")]):
        here = shutil.copytree(place.parent, tmp_path / f"home{number}") / "place"
        with pytest.warns(UserWarning, match="place is back"):
            act(here)
        assert content(here) == content(first)
        assert not list(here.parent.glob(".place.*.old"))


def folder_with(path, *names):
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_text(name)
    return path


def test_what_cannot_be_put_back_now_is_kept_and_put_back_later(tmp_path, monkeypatch):
    place, new = folder_with(tmp_path / "place", "a"), folder_with(tmp_path / "new", "b")
    rename = Path.rename

    def full(path, to):
        if Path(to) == place:
            raise OSError(28, "No space left on device")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="is kept as .*place.*old"):
        replace_folder(place, new, lambda old: True)
    with pytest.raises(OSError, match="cannot be put back .no space left.*; rename it"):
        put_back(place)
    monkeypatch.undo()
    with pytest.warns(UserWarning, match="is back"):
        put_back(place)
    assert everything(place) == {"a"}


@pytest.mark.parametrize("name", ["place", "pl[a]ce*", "p" * 220, "place.0a", "猫" * 80])
def test_only_what_was_moved_out_of_this_place_is_put_back(tmp_path, name):
    place = folder_with(tmp_path / name, "a")
    for other in (".place2.0a.old", ".place.thesis.old", ".place.0a.0b.0c.old", ".other.0a.old",
                  ".place.0a.partial"):
        folder_with(tmp_path / other, "b")
    before = everything(tmp_path)
    put_back(place)
    replace_folder(place, folder_with(tmp_path / "new", "a"), lambda old: True)
    assert everything(tmp_path) == before
    shutil.rmtree(place)
    with warnings.catch_warnings(action="error"):
        put_back(place)
    assert not place.exists()


def test_the_newest_is_put_back_also_in_place_of_an_empty_folder(tmp_path):
    for number in ("3", "1", "2"):
        folder_with(tmp_path / f"was{number}", number).rename(tmp_path / f".place.{number}.old")
    (tmp_path / "place").mkdir()
    with pytest.warns(UserWarning, match="is back"):
        put_back(tmp_path / "place")
    assert everything(tmp_path / "place") == {"2"}


def test_what_somebody_put_into_it_meanwhile_is_kept(tmp_path):
    place, new = folder_with(tmp_path / "place", "thesis"), folder_with(tmp_path / "new", "b")
    with pytest.warns(UserWarning, match="is kept: more is in it"):
        replace_folder(place, new, lambda old: not (old / "thesis").exists())
    (kept,) = tmp_path.glob(".place.*.old")
    assert everything(kept) == {"thesis"} and everything(place) == {"b"}


def test_nothing_is_put_back_while_somebody_replaces_it(tmp_path):
    folder_with(tmp_path / ".place.0a.old", "a")
    with held(tmp_path / "place"), pytest.raises(BlockingIOError, match="is being written by"):
        put_back(tmp_path / "place")
    assert not (tmp_path / "place").exists()


@pytest.mark.parametrize("name", ["run.json/model", "a\0b", "nowhere/place", "x" * 5000])
def test_names_of_nothing(tmp_path, name):
    (tmp_path / "run.json").touch()
    put_back(tmp_path / name)


def test_the_last_copy_outlives_a_model_without_weights(tmp_path):
    run = written(tmp_path / "run", "model/config.json", ".model.12.old/model.safetensors")
    drop_halves(run)
    assert (run / ".model.12.old" / "model.safetensors").exists()
    (run / "model" / "model.safetensors").touch()
    drop_halves(run)
    assert not (run / ".model.12.old").exists()


def test_a_run_knows_what_a_killed_save_left(tmp_path):
    run = written(tmp_path / "run", ".model.lock", ".model.owner", ".adapter.lock",
                  ".model.0123456789abcdef.old/model.safetensors",
                  ".model.0123456789abcdef.partial/config.json")
    assert strangers(run) == []
