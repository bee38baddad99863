"""What scripts/mutants.py does, but for cosmic-ray: which mutants and which tests it takes, and
what it says of tests that pass, fail, are not there or never end.
"""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import mutants  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")
FOUND = {("imgcap/a.py", line, "AddNot"): [("AddNot", line), ("AddNot", -line)]
         for line in range(1, 60)}


# --- which mutants


def test_the_seed_alone_decides_which_mutants_there_are():
    first = mutants.draw(FOUND, 20, 0, bool)
    assert first == mutants.draw(dict(reversed(FOUND.items())), 20, 0, bool)
    assert first != mutants.draw(FOUND, 20, 1, bool)
    assert len({line for _, line, *_ in first}) == 20
    assert first[:5] == mutants.draw(FOUND, 5, 0, bool)
    assert len(mutants.draw(FOUND, 1000, 0, bool)) == len(FOUND)


def test_a_mutant_that_does_not_count_is_replaced_by_the_next():
    odd = mutants.draw(FOUND, 20, 0, lambda mutant: mutant[1] % 2)
    assert len(odd) == 20 and all(line % 2 for _, line, *_ in odd)


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
    assert mutants.changed_lines(before, "a = 1\nb = 3\nc = 3\n") == ["b = 2", "b = 3"]
    assert mutants.changed_lines(before, "a = 1\nc = 3\n") == ["b = 2", ""]
    assert mutants.changed_lines("'\u2028'\nb = 2", "'\u2028'\nb = 3") == ["b = 2", "b = 3"]


# --- which tests


@pytest.fixture
def work(tmp_path, monkeypatch):
    "Where a run keeps what it knows."
    monkeypatch.setattr(mutants, "WORK", tmp_path)
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


@pytest.mark.parametrize(("line", "lines"), [
    (1, [1]), (3, [3, 4, 5, 6]), (4, [4, 5, 6]), (5, [5]), (6, [6]), (8, [8])])
def test_a_signature_is_used_where_its_function_is(line, lines):
    text = "a = 1\n\n@wrap\ndef f(b=2):\n    c = b\n    return c\n\ndef g(b=2): return b\n"
    assert list(mutants.lines_with(text, line)) == lines


def test_tests_that_pass_through_a_line_those_of_the_fewest_lines_first(work):
    for name in "ab":
        (work / "PROJECT" / "imgcap").mkdir(exist_ok=True)
        (work / "PROJECT" / "imgcap" / f"{name}.py").write_text("")
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


# --- what tests say


TESTS = """
import os, time
def test_right(): pass
def test_wrong(): assert 1 == 2
def test_wrong_too(): assert 1 == 3
def test_ends(): os._exit(3)
def test_waits(): time.sleep(60)
"""


@pytest.mark.parametrize(("tests", "said"), [
    (["right"], ""),
    (["right", "wrong", "wrong_too"], "test_a.py::test_wrong"),
    (["ends"], "tests that do not end"),
    (["waits"], "tests that do not end"),
    (["that_is_not_there"], ""),
])
def test_what_fails_is_named(work, monkeypatch, tests, said):
    monkeypatch.setattr(mutants, "PYTEST", mutants.PYTEST.replace("=120", "=3"))
    (work / "PROJECT" / "test_a.py").write_text(TESTS)
    assert mutants.failed_test([f"test_a.py::test_{name}" for name in tests]) == said


def test_what_a_test_leaves_running_is_ended(work):
    (work / "PROJECT" / "holds.py").write_text("""
import filelock, time
with filelock.FileLock("lock"):
    open("held", "w").close()
    time.sleep(60)
""")
    start = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, "holds.py"])
while not os.path.exists("held"): time.sleep(.1)
print("held")
"""
    assert mutants.call("-c", start) == (0, "held\n")
    with FileLock(work / "PROJECT" / "lock", timeout=9): pass


@pytest.fixture
def clone(checkout, work, monkeypatch):
    "The project, with a notebook for another module that fails."
    monkeypatch.setattr(mutants, "PROJECT", checkout)
    return checkout


def test_a_notebook_takes_what_its_module_has(clone):
    "All that nbdev_update takes back are the cells as they were, whatever they import."
    before = {path: path.read_bytes() for path in (clone / "nbs").rglob("*.ipynb")}
    assert mutants.call("-c", "from nbdev.sync import nbdev_update; nbdev_update()")[0] == 0
    for path, kept in before.items():
        assert json.loads(path.read_bytes())["cells"] == json.loads(kept)["cells"], path


@pytest.mark.parametrize(("line", "changed", "said"), [
    ("", "", ""),
    ("an archive; unpack it\"", "an archive; do\"", "nbs/ground/formats.ipynb"),
    ("file.read(16)", "file.read(17)", ""),
])
def test_a_notebook_notices_what_is_changed_in_its_cell(clone, line, changed, said):
    path = clone / "imgcap" / "formats.py"
    kept = path.read_text(encoding="utf-8")
    assert line in kept
    path.write_text(kept.replace(line, changed), encoding="utf-8")
    assert mutants.failed_notebook("imgcap/formats.py") == said
    path.write_text(kept, encoding="utf-8")


# --- what is said


def test_a_survivor_is_said_unless_it_is_harmless_or_was_noticed_later(work, capsys):
    some = [("imgcap/a.py", line, "AddNot", 0) for line in range(1, 5)]
    by = [*zip(some, ["tests/test_a.py::test", "", ""]), (some[1], "nbs/a.ipynb")]
    rows = [dict(mutant=one, before=f"if a{one[1]}:", after=f"if not a{one[1]}:", noticed=name)
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
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "mutants.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--again" in done.stdout and "Ctrl-C" in done.stdout
