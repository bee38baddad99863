"A file is there whole or not at all, and one process writes it."

import os
import subprocess
import sys
import threading

import pytest

from imgcap.files import beside, held, read_json_lines, replacing, write_atomic


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
        f"process {os.getpid()} on" in said and "\n" not in said for said in refused
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
