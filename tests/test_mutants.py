"""What scripts/mutants.py does, but for cosmic-ray: which mutants and which tests it takes, and
what it says of tests that pass, fail, are not there or never end.
"""

import json
import sqlite3
import sys
import threading
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import mutants  # noqa: E402
from mutants import Mutant  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")
FOUND = {("imgcap/a.py", line, "AddNot"): [("AddNot", line), ("AddNot", -line)]
         for line in range(1, 60)}


# --- which mutants


def test_the_seed_alone_decides_which_mutants_there_are():
    first = mutants.draw(FOUND, 20, 0)
    assert first == mutants.draw(dict(reversed(FOUND.items())), 20, 0)
    assert first != mutants.draw(FOUND, 20, 1)
    assert len({one.line for one in first}) == 20
    assert first[:5] == mutants.draw(FOUND, 5, 0)
    assert len(mutants.draw(FOUND, 1000, 0)) == len(FOUND)


def test_a_mutant_that_does_not_count_is_replaced_by_the_next():
    odd = mutants.draw(FOUND, 20, 0, lambda mutant: mutant.line % 2)
    assert len(odd) == 20 and all(one.line % 2 for one in odd)


@pytest.mark.parametrize(("before", "after", "same"), [
    ("def f(a:int|None=None): return a", "def f(a:int-None=None): return a", True),
    ("def f(a) -> int|None: return a", "def f(a) -> int*None: return a", True),
    ("class A:\n    a: int|None = 1", "class A:\n    a: int&None = 1", True),
    ("a = 1 + 2", "a = 1+  2", True),
    ("def f(a:int=1): return a", "def f(a:int=2): return a", False),
    ("a: int = b | c", "a: int = b & c", False),
])
def test_an_annotation_is_no_code(before, after, same):
    assert (mutants.code_of(before) == mutants.code_of(after)) is same


def test_the_changed_lines_are_found():
    before = "a = 1\nb = 2\nc = 3\n"
    assert mutants.changed_lines(before, "a = 1\nb = 3\nc = 3\n") == (1, "b = 2", "b = 3")
    assert mutants.changed_lines("'\u2028'\nb = 2", "'\u2028'\nb = 3") == (1, "b = 2", "b = 3")


@pytest.mark.parametrize("module", ["words", "metrics/__init__", "infer/jobs"])
def test_a_line_of_a_module_is_changed_in_its_cell(module):
    "Every line of every cell but imports, which are written otherwise there."
    text = (ROOT / f"imgcap/{module}.py").read_text(encoding="utf-8")
    lines, changed = text.split("\n"), 0
    begin = next(i for i, line in enumerate(lines) if ".ipynb #" in line)
    for i, line in enumerate(lines[begin:], begin):
        if not line.strip() or ".ipynb #" in line or "import" in line: continue
        after = "\n".join([*lines[:i], f"{line}  # here", *lines[i + 1:]])
        name, cell = mutants.notebook_of(Mutant(f"imgcap/{module}.py", i + 1, "", 0), text)
        kept = json.loads((ROOT / name).read_text(encoding="utf-8"))
        book = json.loads(mutants.with_change(json.dumps(kept), cell, text, after))
        for old, new in zip(kept["cells"], book["cells"]):
            if old["id"] != cell: assert old == new
            else:
                old, new = ("".join(one["source"]).split("\n") for one in (old, new))
                (where,) = [j for j, (x, y) in enumerate(zip(old, new)) if x != y]
                assert (old[where], new[where]) == (line, f"{line}  # here")
                assert old[:where].count(line) == lines[:i][lines.index(
                    next(one for one in lines if one.endswith(f" #{cell}"))):].count(line)
        changed += 1
    assert changed > 100


def test_a_cell_without_the_line_is_left():
    book = json.dumps({"cells": [{"id": "aa", "source": ["from imgcap.words import a\n", "a()"]}]})
    before = "# %% ../nbs/a.ipynb #aa\nfrom .words import a\na()"
    assert not mutants.with_change(book, "aa", before, before.replace("import a", "import b"))
    changed = mutants.with_change(book, "aa", before, before.replace("a()", "not a()"))
    assert "not a()" in changed


# --- which tests


@pytest.fixture
def work(tmp_path, monkeypatch):
    "Where a run keeps what it knows."
    for name in ("PROJECT", "MEASURED"):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(mutants, name, tmp_path / name)
    monkeypatch.setattr(mutants, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setattr(mutants, "HARMLESS", tmp_path / "mutants.json")
    return tmp_path


def measured(work, name, lines):
    "A file of coverage's: {context: lines of imgcap/a.py}."
    base = sqlite3.connect(work / "MEASURED" / name)
    base.execute("create table file (id integer, path text)")
    base.execute("create table context (id integer, context text)")
    base.execute("create table line_bits (file_id integer, context_id integer, numbits blob)")
    base.execute("insert into file values (1, '/x/imgcap/a.py'), (2, '/x/imgcap/b.py')")
    for number, (context, passed) in enumerate(lines.items()):
        bits = bytearray(max(passed) // 8 + 1)
        for line in passed: bits[line // 8] |= 1 << line % 8
        base.execute("insert into context values (?, ?)", (number, context))
        base.execute("insert into line_bits values (1, ?, ?)", (number, bytes(bits)))
    base.commit()
    base.close()


def test_tests_that_pass_through_a_line_those_of_the_fewest_lines_first(work):
    measured(work, "test_a", {
        "tests/test_a.py::test_much|run": range(1, 50),
        "tests/test_a.py::test_little|run": [7, 8],
        "tests/test_a.py::test_little|setup": [7],
        "tests/test_a.py::test_other|run": [9],
        "": [7]})
    measured(work, "test_b", {f"tests/test_b.py::test_b[{i}|{i}]|run": [*range(i + 1), 7]
                              for i in range(8, 20)})
    found = mutants.tests_of("imgcap/a.py", 7)
    assert found[0] == "tests/test_a.py::test_little" and found.count(found[0]) == 1
    assert found[-1] == "tests/test_a.py::test_much"
    assert found[1:-1] == [f"tests/test_b.py::test_b[{i}|{i}]" for i in range(8, 13)]
    assert not mutants.tests_of("imgcap/b.py", 7) and not mutants.tests_of("imgcap/a.py", 400)
    (work / "MEASURED" / "test_a.failed").write_text("tests/test_a.py::test_little\n")
    assert found[1:] == mutants.tests_of("imgcap/a.py", 7, mutants.failing())


# --- what tests say


TESTS = """
import os, subprocess, sys, time
def test_right(): pass
def test_wrong(): assert 1 == 2
def test_wrong_too(): assert 1 == 3
def test_ends(): os._exit(3)
def test_waits():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    time.sleep(60)
"""


@pytest.fixture
def trials(work, monkeypatch):
    monkeypatch.setattr(mutants, "WORK", work)
    (work / "PROJECT" / "test_a.py").write_text(TESTS)
    return mutants.Trials(1, mutants.Processes())


@pytest.mark.parametrize(("tests", "said"), [
    (["right"], ""),
    (["right", "wrong", "wrong_too"], "test_a.py::test_wrong"),
    (["ends"], "tests that do not end"),
    (["that_is_not_there"], ""),
])
def test_what_fails_is_named(trials, tests, said):
    found = trials.failed_test(trials.free.get(), [f"test_a.py::test_{name}" for name in tests])
    assert found == said


@pytest.mark.parametrize(("source", "said"), [("assert x < 2", "nbs/a.ipynb"), ("x", "")])
def test_a_notebook_notices_alone_what_is_changed_in_its_cell(trials, source, said):
    folder = trials.free.get()
    (folder / "settings.ini").write_text("[DEFAULT]\nlib_name=a\nlib_path=a\nnbs_path=nbs\n")
    (folder / "nbs").mkdir()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    for name, cells in ("a", ["x = 1", source]), ("b", ["1 / 0"]):  # nobody runs the other one
        made = [new_code_cell(cell, id=f"{name}{i}") for i, cell in enumerate(cells)]
        book = new_notebook(cells=made, metadata={"kernelspec": kernel})
        (folder / "nbs" / f"{name}.ipynb").write_text(nbformat.writes(book))
    kept = (folder / "nbs" / "a.ipynb").read_text()
    before = "# %% ../nbs/a.ipynb #a0\nx = 1\n"
    change = Mutant("imgcap/a.py", 2, "", 0), before, before.replace("1", "2")
    assert trials.failed_notebook(folder, *change) == said
    assert (folder / "nbs" / "a.ipynb").read_text() == kept


def test_a_stop_ends_what_runs(trials):
    threading.Timer(3, trials.processes.stop).start()
    start = time.monotonic()
    trials.failed_test(trials.free.get(), ["test_a.py::test_waits"])
    assert time.monotonic() - start < 30 and not trials.processes.groups


def test_an_interrupt_stops_the_rest():
    processes, begun = mutants.Processes(), []
    with pytest.raises(KeyboardInterrupt):
        for item, _ in mutants.each(begun.append, range(100), 1, processes):
            if item == 2: raise KeyboardInterrupt
    # what was begun meanwhile sees that it is stopped
    assert processes.stopped


# --- what is said


def test_a_survivor_is_said_unless_it_is_harmless_or_was_noticed_later(work, capsys):
    some = [Mutant("imgcap/a.py", line, "AddNot", 0) for line in range(1, 5)]
    by = [*zip(some, ["tests/test_a.py::test", "", ""]), (some[1], "nbs/a.ipynb")]
    rows = [dict(mutant=one, before=f"if a{one.line}:", after=f"if not a{one.line}:", noticed=name)
            for one, name in by]
    mutants.RESULTS.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mutants.HARMLESS.write_text("[]")
    mutants.report(some)
    said = capsys.readouterr().out
    assert "imgcap/a.py:3  AddNot\n- if a3:\n+ if not a3:\n" in said and "a2" not in said
    assert "3 of 4 tried: 2 noticed, 0 change nothing, 1 survive" in said
    mutants.HARMLESS.write_text(json.dumps([dict(
        module="imgcap/a.py", before="if a3:", after="if not a3:", reason="it is not used")]))
    mutants.report(some)
    assert "3 of 4 tried: 2 noticed, 1 change nothing, 0 survive" in capsys.readouterr().out


HARMLESS = json.loads((ROOT / "scripts" / "mutants.json").read_text(encoding="utf-8"))


def test_what_is_harmless_is_still_there_and_has_a_reason():
    for one in HARMLESS:
        assert set(one) == {"module", "before", "after", "reason"} and one["reason"]
        assert one["before"] in (ROOT / one["module"]).read_text(encoding="utf-8"), one


def test_help_teaches():
    done = mutants.subprocess.run(
        [sys.executable, ROOT / "scripts" / "mutants.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--survivors" in done.stdout and "Ctrl-C" in done.stdout
