"A file is there whole or not at all, and one process writes it."

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import pytest

from imgcap.data import load_captions
from imgcap.files import (
    beside,
    cut,
    held,
    open_file,
    read_file,
    read_json_lines,
    replacing,
    write_atomic,
)
from imgcap.metrics import (
    DocumentFrequencies,
    caption_scores,
    read_file_names,
    read_predictions,
    read_references,
)


def hidden(folder):
    return sorted(file.name for file in folder.iterdir() if file.name.startswith("."))


@pytest.mark.parametrize(
    "name", ["a.txt", "n" * 251 + ".txt", "猫" * 80 + ".txt", os.fsdecode(b"\xff.txt"), "a\nb.txt"]
)
def test_any_name_can_be_written_and_held(tmp_path, name):
    with held(tmp_path / name):
        write_atomic(tmp_path / name, "a")
    assert os.listdir(tmp_path) == [name]


def test_long_names_that_begin_alike_are_two_names(tmp_path):
    with held(tmp_path / ("n" * 240 + "1")), held(tmp_path / ("n" * 240 + "2")):
        pass
    assert beside("n" * 240 + "1", ".lock") != beside("n" * 240 + "2", ".lock")


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    write_atomic(tmp_path / "a", "old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as new:
        new.write_text("new")
        raise ZeroDivisionError
    assert (tmp_path / "a").read_text() == "old" and hidden(tmp_path) == []


def test_a_link_stays_a_link_and_permissions_stay(tmp_path):
    write_atomic(tmp_path / "a", "old")
    os.chmod(tmp_path / "a", 0o640)
    os.symlink(tmp_path / "a", tmp_path / "link")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "a").read_text() == "new"
    assert os.stat(tmp_path / "a").st_mode & 0o777 == 0o640


def test_threads_that_write_one_folder_do_not_meet(tmp_path):
    def write(i):
        for _ in range(50):
            write_atomic(tmp_path / f"{i}", str(i) * 1000)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        str(i): str(i) * 1000 for i in range(4)
    }


def test_held_by_this_process_another_thread_and_through_a_link(tmp_path):
    os.symlink(tmp_path / "a", tmp_path / "link")
    refused = []
    with held(tmp_path / "a"):
        for path in (tmp_path / "a", tmp_path / "link"):

            def ask(path=path):
                try:
                    with held(path):
                        pass
                except BlockingIOError as error:
                    refused.append(str(error))

            ask()
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
    assert len(refused) == 4 and all(
        f", process {os.getpid()} on" in said and "\n" not in said for said in refused
    )
    with held(tmp_path / "link"):
        pass
    assert hidden(tmp_path) == []


def test_what_a_killed_process_leaves_holds_nobody_up(tmp_path):
    code = (
        f"import os, signal\nfrom imgcap.files import held\n"
        f"with held({str(tmp_path / 'a')!r}): os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code])
    assert hidden(tmp_path) == [".a.lock", ".a.owner"]
    with held(tmp_path / "a"):
        assert f"process {os.getpid()}" in (tmp_path / ".a.owner").read_text()
    assert hidden(tmp_path) == []


def test_never_two_at_once(tmp_path):
    inside, most, turns = [], [], []

    def work():
        while len(turns) < 40:
            try:
                with held(tmp_path / "a"):
                    inside.append(1)
                    most.append(len(inside))
                    turns.append(1)
                    inside.pop()
            except BlockingIOError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1


@pytest.mark.parametrize("deep", ["[" * 50_000, "[" * 50_000 + "]" * 50_000, '{"a":' * 50_000])
def test_json_that_is_nested_too_deep_is_an_error_with_file_and_line(tmp_path, deep):
    file = tmp_path / "c.jsonl"
    file.write_text('{"a": 1}\n' + deep + "\n")
    with pytest.raises(ValueError, match="c.jsonl, line 2: no JSON .brackets are nested too deep"):
        list(read_json_lines(file))


# --- what is no file


def make(kind, path):
    "Something at a path that is no regular file."
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        os.mkdir(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    else:
        os.symlink("/dev/zero", path)


@pytest.mark.skipif(os.name == "nt", reason="no such things on Windows")
@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device"])
@pytest.mark.parametrize("act", [open_file, read_file, lambda path: write_atomic(path, "a")])
def test_what_is_no_file_is_neither_read_nor_replaced(tmp_path, kind, act):
    path = tmp_path / "a"
    make(kind, path)
    with pytest.raises(OSError, match=f"a is a {kind}, not a regular file; give a file") as error:
        act(path)
    assert "\n" not in str(error.value) and os.listdir(tmp_path) == ["a"]
    assert not path.is_file()


@pytest.mark.skipif(os.name == "nt", reason="no such things on Windows")
@pytest.mark.parametrize("kind", ["pipe", "folder", "socket", "device"])
@pytest.mark.parametrize(
    "read", [read_predictions, read_references, read_file_names, DocumentFrequencies.load]
)
def test_captions_are_read_from_files_only(tmp_path, kind, read):
    make(kind, tmp_path / "a")
    with pytest.raises(OSError, match=f"a is a {kind}, not a regular file"):
        read(tmp_path / "a")


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="no /dev/fd")
def test_predictions_from_a_shell_are_scored():
    lines = "".join(f'{{"image_id": {i}, "caption": "{c}"}}\\n' for i, c in [(1, "a"), (2, "b")])
    code = "import sys; from imgcap.metrics import read_predictions as r; print(r(sys.argv[1]))"
    shell = f'"$0" -c "$1" <(printf \'{lines}\')'
    told = subprocess.run(["bash", "-c", shell, sys.executable, code], capture_output=True)
    assert told.stdout == b"{'1': 'a', '2': 'b'}\n", told.stderr


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="no /dev/fd")
def test_a_pipe_that_a_shell_opened_is_read():
    code = "import sys; from imgcap.files import read_file; print(read_file(sys.argv[1]))"
    for shell in ('echo hi | "$0" -c "$1" /dev/stdin', '"$0" -c "$1" <(echo hi)'):
        told = subprocess.run(["bash", "-c", shell, sys.executable, code], capture_output=True)
        assert told.stdout == b"b'hi\\n'\n", told.stderr


# --- where no lock can be had


@pytest.fixture
def read_only():
    "A folder with a folder in it, of which only the inner one can be written to."
    if not hasattr(os, "geteuid"):
        pytest.skip("folders have no owner here")
    outer = Path(tempfile.mkdtemp())
    (outer / "run").mkdir()
    (outer / "run").chmod(0o777)
    outer.chmod(0o555)
    with held(outer / "run" / "a"):
        pass  # what is imported when it is needed
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)
    yield outer
    os.seteuid(me)
    outer.chmod(0o755)
    shutil.rmtree(outer)


def test_a_read_only_parent_refuses_no_work(read_only):
    with pytest.warns(UserWarning) as said, held(read_only / "run"):
        write_atomic(read_only / "run" / "a", "a")
    (line,) = map(str, (warning.message for warning in said))
    assert f"{read_only / 'run'} is not locked (permission denied)" in line
    with pytest.raises(PermissionError) as error:
        write_atomic(read_only / "b", "b")
    assert error.value.filename == str(read_only / "b")


@pytest.mark.parametrize("inside", ["missing/c.jsonl", "missing/far/c.jsonl"])
def test_a_parent_that_cannot_be_made_is_said(read_only, inside):
    with pytest.raises(OSError, match="its folder .* is not there, and cannot be made") as error:
        with held(read_only / inside):
            pass
    assert not isinstance(error.value, BlockingIOError)


def test_a_parent_that_is_a_file_is_said(tmp_path):
    write_atomic(tmp_path / "a", "a")
    with pytest.raises(OSError, match="its folder .*a is not there, and cannot be made"):
        with held(tmp_path / "a" / "c.jsonl"):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_a_folder_that_takes_no_files_is_not_called_held():
    with pytest.warns(UserWarning, match="is not locked"), held("/proc/self/a"):
        pass


@pytest.mark.skipif(os.name == "nt", reason="Windows locks in another way")
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EIO])
def test_a_file_system_without_locks(tmp_path, monkeypatch, number):
    import fcntl

    def flock(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with held(tmp_path / "a"):
            write_atomic(tmp_path / "a", "a")
    assert len(said) == 1 and "\n" not in str(said[0].message)
    assert (tmp_path / "a").read_text() == "a"


@pytest.mark.parametrize(
    "argv, name",
    [
        (["/x/imgcap/__main__.py", "caption", "a.png"], "imgcap caption"),
        (["/usr/bin/imgcap", "train", "--data", "a"], "imgcap train"),
        (["train.py", "--fast"], "train.py"),
        (["-c"], "python"),
        ([], "python"),
    ],
)
def test_the_owner_is_a_command(tmp_path, monkeypatch, argv, name):
    monkeypatch.setattr(sys, "argv", argv)
    with held(tmp_path / "a"), pytest.raises(BlockingIOError) as error, held(tmp_path / "a"):
        pass
    assert f"a is being written by {name}, process {os.getpid()} on" in str(error.value)


def test_what_stands_beside_a_link_stands_beside_its_target(tmp_path):
    (tmp_path / "far").mkdir()
    os.symlink(tmp_path / "far" / "a", tmp_path / "link")
    assert beside(tmp_path / "link", ".x") == beside(tmp_path / "far" / "a", ".x")


@pytest.mark.parametrize("images", [3, "x", None, {"a": 1}, [3], [{"file_name": 3, "id": 1}]])
def test_annotations_without_a_list_of_images_have_no_names(tmp_path, images):
    (tmp_path / "a.json").write_text(json.dumps({"images": images}))
    assert read_file_names(tmp_path / "a.json") == {}


@pytest.mark.parametrize("n", [1, 7, 200])
def test_a_long_name_is_cut_to_so_many_letters_and_a_short_one_stays(n):
    assert cut("ä" * n, n) == "ä" * n
    assert cut("ä" * (n + 1), n) == "ä" * (n - 1) + "…"


def test_every_long_name_in_a_message_is_cut(tmp_path):
    name = "n" * 5000
    with pytest.raises(ValueError, match="…'?; ") as caught:
        caption_scores({name: "a dog"}, {"1": ["a dog"]})
    assert len(str(caught.value)) < 400
    with pytest.raises(FileNotFoundError) as caught:
        load_captions(str(tmp_path / name))
    assert len(str(caught.value)) < 300 and str(caught.value).endswith("…")
