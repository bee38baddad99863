"""Do the tests notice when the code is wrong? Changes one place of the package at a time (a < into
a <=, an `and` into an `or`, a number by one), and runs the tests that pass through that place.

    make mutants                                100 mutants of the whole package
    python scripts/mutants.py [MODULE …]        of some modules (metrics.ngrams) or stages (data)
    python scripts/mutants.py --survivors       only say what is known; try nothing
    python scripts/mutants.py --again           try the survivors again, when tests were added

A survivor is a mutant that no test notices. Each wants a stricter test of what a user relies on,
or, if it changes nothing that a user could see, an entry in scripts/mutants.json with the reason.

The first call copies the project into .mutants and runs its tests once, a file after the other, to
measure which test passes through which line: as long as `make test`, and a half more. A mutant that
these tests do not notice is put into the cell that it came from, and the notebook is run. All of it
refers to that copy, but for the tests: a file of tests/ that has changed is copied and measured
again. After a change of the package, begin anew: rm -r .mutants

Ctrl-C loses only what is being measured or tried: the next call goes on. The operators are
cosmic-ray's; which mutants there are, depends on the package and the seed alone.
"""
import argparse
import ast
import difflib
import filecmp
import functools
import itertools
import json
import os
import queue
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".mutants"
PROJECT, MEASURED, RESULTS = WORK / "project", WORK / "measured", WORK / "results.jsonl"
HARMLESS = ROOT / "scripts" / "mutants.json"
# Names in the place of others are left out, since Python itself notices them, and so is `is` in the
# place of ==, which small numbers do not tell apart.
LEFT_OUT = re.compile("Variable|.*_(Is|IsNot)$")
# These look at pages, at texts, or at the package from outside: coverage does not see where.
NOT_MEASURED = """app_page browser caption_killed cli_start code house interrupted lab names
    notebooks pretrain readme repository rerun site stopped two_processes wheel""".split()
TESTS, ALIKE, SECONDS = 40, 5, 120  # tests a mutant; of one function; for one test
NOT_FOUND = 4, 5  # how pytest ends when a test's name is not there, as where a mutant is in it


# --- which mutants


class Mutant(NamedTuple):
    module: str      # imgcap/data/splits.py
    line: int        # from 1
    operator: str    # cosmic-ray's name
    occurrence: int  # of the operator in the module, from 0


@functools.cache
def operators():
    "{name: an operator of cosmic-ray}. It is needed here only."
    from cosmic_ray.operators.provider import OperatorProvider

    return {name: OperatorProvider()[name]() for name in sorted(OperatorProvider())
            if not LEFT_OUT.match(name)}


def places(modules, folder):
    "{(module, line, kind of operator): [(operator, occurrence)]} of all that could be changed."
    from cosmic_ray.ast import ast_nodes, get_ast

    found = defaultdict(list)
    for module in modules:
        nodes = list(ast_nodes(get_ast((folder / module).read_text(encoding="utf-8"))))
        for name, operator in operators().items():
            starts = [start for node in nodes for start, _ in operator.mutation_positions(node)]
            for occurrence, (line, _) in enumerate(starts):
                found[module, line, name.partition("_")[0]].append((name, occurrence))
    return found


def draw(found, count, seed, counts=lambda mutant: True):
    "`count` mutants (module, line, operator, occurrence). Each place is as likely as another."
    chance = random.Random(seed)
    chosen = (Mutant(*place[:2], *chance.choice(found[place]))
              for place in chance.sample(sorted(found), len(found)))
    return list(itertools.islice(filter(counts, chosen), count))


def runs(mutant):
    "Whether a mutant is Python, and more than an annotation is changed."
    before, after = mutated(mutant)
    try: return code_of(before) != code_of(after)
    except SyntaxError: return False


def code_of(text):
    "What a module does, without its annotations."
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for name in {"annotation", "returns"} & set(node._fields): setattr(node, name, None)
    return ast.dump(tree)


def mutated(mutant):
    "The text of the mutant's module, before and after."
    from cosmic_ray.mutating import mutate_code

    text = (PROJECT / mutant.module).read_text(encoding="utf-8")
    return text, mutate_code(text, operators()[mutant.operator], mutant.occurrence)


def changed_lines(before, after):
    "(index of the first changed line, the lines as they were, the lines as they are)."
    old, new = before.split("\n"), after.split("\n")
    changes = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changes = [change for change in changes if change[0] != "equal"]
    (_, start, _, new_start, _), (_, _, end, _, new_end) = changes[0], changes[-1]
    return start, "\n".join(old[start:end]), "\n".join(new[new_start:new_end])


def modules_of(words):
    "Files of the package, as imgcap/data/splits.py; all, or those of the modules and stages named."
    every = [path.relative_to(PROJECT) for path in sorted((PROJECT / "imgcap").rglob("*.py"))
             if path.stem not in ("_modidx", "__main__") and ".ipynb #" in path.read_text("utf-8")]
    names = {path.as_posix(): ".".join(path.with_suffix("").parts[1:]).removesuffix(".__init__")
             for path in every}
    found = [path for path, name in names.items()
             if not words or any(f"{name}.".startswith(f"{word}.") for word in words)]
    if not found: raise SystemExit(f"no module is named {', '.join(words)}; try data.splits")
    return found


# --- which tests


def copy_project():
    "The files that git knows, as a repository of its own: some tests ask git what there is."
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (PROJECT / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, PROJECT / name)
    for words in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", *words], cwd=PROJECT, check=True)


def environment(folder, **more):
    return {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "CI": "", **more}


def take_tests():
    "Copy what has changed in tests/. A file of tests that has is measured again; of helpers, all."
    changed = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py")
               if not (PROJECT / path.relative_to(ROOT)).is_file()
               or not filecmp.cmp(path, PROJECT / path.relative_to(ROOT), shallow=False)]
    for path in changed:
        shutil.copy2(ROOT / path, PROJECT / path)
        (MEASURED / path.stem).unlink(missing_ok=True)


def not_measured():
    names = {path.stem for path in (PROJECT / "tests").glob("test_*.py")}
    return sorted(names - {f"test_{name}" for name in NOT_MEASURED}
                  - {path.name for path in MEASURED.iterdir()})


def measure(name, processes):
    "Run a file of tests, and keep which test passes through which line, and which fail."
    partial, note = MEASURED / f"{name}.partial", MEASURED / f"{name}.failed"
    words = ["--cov=imgcap", "--cov-report=", "--cov-context=test", f"tests/{name}.py"]
    ended = processes.run(PROJECT, note, words, partial)
    done = ended in (0, 1) and partial.is_file()
    if done: partial.replace(MEASURED / name)
    return "" if done else f", which could not be measured: {note.with_suffix('.log')}"


def failing():
    "The tests that fail without a mutant; they notice nothing."
    return {test for path in MEASURED.glob("*.failed")
            for test in path.read_text(encoding="utf-8").splitlines()}


def measured(module):
    "(TEST|setup, TEST|run or TEST|teardown; the lines of a module that it runs, as bits)."
    for path in sorted(MEASURED.glob("test_*")):
        if path.suffix: continue
        base = sqlite3.connect(path)
        yield from base.execute(
            "select context, numbits from line_bits join context on context.id = context_id "
            "join file on file.id = file_id where path like ?", [f"%/{module}"]).fetchall()
        base.close()


def tests_of(module, line, without=frozenset()):
    """The tests that pass through a line, a few of each function; first those that pass through
    the fewest lines of the module, which say most about this one."""
    of_function = defaultdict(list)
    for context, bits in measured(module):
        test = context.rpartition("|")[0]
        passes = len(bits) > line // 8 and bits[line // 8] >> line % 8 & 1
        if test and test not in without and passes:
            lines = sum(map(int.bit_count, bits))
            of_function[test.partition("[")[0]].append((lines, test))
    few = [sorted(set(tests))[:ALIKE] for tests in of_function.values()]
    return list(dict.fromkeys(test for _, test in sorted(sum(few, []))))[:TESTS]


# --- what notices a mutant


class Notes:
    "A plugin of pytest that writes down which tests fail, into a file opened before any test runs."
    def __init__(self, path): self.file = open(path, "w", encoding="utf-8")

    def add(self, name): print(name, file=self.file, flush=True)

    def pytest_runtest_logreport(self, report):
        if report.failed: self.add(report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed: self.add(report.nodeid)


def run_tests(folder, note, words, coverage):
    "In a process of its own: pytest, which ends when one test takes longer than `SECONDS`."
    import pytest

    os.setpgrp()
    os.environ.update(environment(folder, COVERAGE_FILE=str(coverage)))
    os.chdir(folder)
    ours = [str(ROOT / name) for name in (".", "scripts", "tests")]
    sys.path[:] = [str(folder), *(path for path in sys.path if path not in ours)]
    sys.exit(pytest.main(
        ["-q", "-p", "no:cacheprovider", "-o", f"faulthandler_timeout={SECONDS}",
         "-o", "faulthandler_exit_on_timeout=true", *words], plugins=[Notes(note)]))


class Processes:
    "What runs, so that it can be ended with all that it has started."
    def __init__(self): self.groups, self.stopped = set(), False

    def run(self, folder, note, words, coverage=os.devnull):
        "How pytest ends. It starts quickly: tests/copies.py has loaded the libraries."
        from copies import start

        log = note.with_suffix(".log")
        process = start(log, run_tests, folder, note, words, coverage)
        return self.end_of(process.pid, lambda: process.join() or process.exitcode)

    def end_of(self, group, wait):
        self.groups.add(group)
        try: return None if self.stopped else wait()
        finally:
            self.groups.discard(group)
            end_group(group)

    def stop(self):
        self.stopped = True
        for group in list(self.groups): end_group(group)


def end_group(group):
    try: os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError): pass


class Trials:
    "Copies of the project in which mutants are tried, one in each at a time."
    def __init__(self, jobs, processes):
        self.processes, self.free = processes, queue.Queue()
        for number in range(jobs):
            folder = WORK / f"copy{number}"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(PROJECT, folder, symlinks=True)
            self.free.put(folder)

    def failed_test(self, folder, tests):
        "The test that fails, or nothing. Tests that end the process, or never end, fail as well."
        note = folder.with_suffix(".failed")
        note.unlink(missing_ok=True)
        ended = self.processes.run(folder, note, ["-x", "-p", "no:cov", *tests])
        failed = note.read_text(encoding="utf-8").splitlines() if note.is_file() else []
        return "".join(failed[:1]) or ("" if ended in (0, *NOT_FOUND) else "tests that do not end")

    def failed_notebook(self, folder, mutant, before, after):
        "The notebook that fails with the mutant in its cell, or nothing."
        name, cell = notebook_of(mutant, before)
        path = folder / name
        kept = path.read_text(encoding="utf-8")
        changed = with_change(kept, cell, before, after)
        if not changed: return ""
        path.write_text(changed, encoding="utf-8")
        run = "import sys; from nbdev.test import nbdev_test; nbdev_test(path=sys.argv[1])"
        process = subprocess.Popen(
            [sys.executable, "-c", run, name], cwd=folder, env=environment(folder),
            start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try: ended = self.processes.end_of(process.pid, lambda: process.wait(10 * SECONDS))
        except subprocess.TimeoutExpired: ended = None
        finally: path.write_text(kept, encoding="utf-8")
        return "" if ended == 0 else name

    def attempt(self, mutant):
        "What notices a mutant, or nothing; None when there was no time to find out."
        folder = self.free.get()
        before, after = mutated(mutant)
        (folder / mutant.module).write_text(after, encoding="utf-8")
        try:
            tests = tests_of(mutant.module, mutant.line, failing())
            by = tests and self.failed_test(folder, tests)
            if not by and not self.processes.stopped:
                by = self.failed_notebook(folder, mutant, before, after)
        finally:
            (folder / mutant.module).write_text(before, encoding="utf-8")
            self.free.put(folder)
        return None if self.processes.stopped else by or ""


def notebook_of(mutant, text):
    "(notebook, cell id) that a line of a module came from."
    earlier = "\n".join(text.split("\n")[:mutant.line])
    name, cell = re.findall(r"^# %% (\S+\.ipynb) #(\w+)$", earlier, re.M)[-1]
    return os.path.normpath(Path(mutant.module).parent / name).replace(os.sep, "/"), cell


def with_change(book, cell, before, after):
    """A notebook's text with the changed lines in the cell that they came from; nothing where the
    cell does not have them, since imports are written otherwise there."""
    start, old, new = changed_lines(before, after)
    first = before[:before.index(f" #{cell}\n")].count("\n")
    nth = "\n".join([*before.split("\n")[first:start], ""]).count(f"\n{old}\n")
    book = json.loads(book)
    for one in book["cells"]:
        parts = f"\n{''.join(one['source'])}\n".split(f"\n{old}\n")
        if one["id"] == cell and len(parts) > nth + 1:
            halves = [f"\n{old}\n".join(half) for half in (parts[:nth + 1], parts[nth + 1:])]
            one["source"] = f"\n{new}\n".join(halves)[1:-1]
            return json.dumps(book)
    return ""


# --- the run


def results():
    "{mutant: what is known of it}; of a mutant tried twice the last."
    if not RESULTS.is_file(): return {}
    rows = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    return {Mutant(*row["mutant"]): row for row in rows}


def each(function, items, jobs, processes):
    "(item, result) for each, side by side and in their order; Ctrl-C ends what runs."
    with ThreadPoolExecutor(jobs) as pool:
        try: yield from zip(items, pool.map(function, items))
        except BaseException:
            processes.stop()
            pool.shutdown(cancel_futures=True)
            raise


def measure_all(jobs, processes):
    "Measure the files of tests that are not."
    MEASURED.mkdir(parents=True, exist_ok=True)
    if not PROJECT.is_dir(): copy_project()
    take_tests()
    names = not_measured()
    if names: print(f"which test passes through which line: {len(names)} files", flush=True)
    for name, lost in each(lambda name: measure(name, processes), names, jobs, processes):
        print(f"  {name}{lost}", flush=True)


def try_all(mutants, jobs, processes):
    "Try mutants, and write down each when it is known."
    if not mutants: return
    trials = Trials(jobs, processes)
    for number, (mutant, by) in enumerate(
            each(trials.attempt, mutants, jobs, processes), 1):
        _, old, new = changed_lines(*mutated(mutant))
        row = dict(mutant=mutant, before=old.strip(), after=new.strip(), noticed=by)
        with RESULTS.open("a", encoding="utf-8") as file: file.write(json.dumps(row) + "\n")
        print(f"{number} of {len(mutants)}  {mutant.module}:{mutant.line}  {mutant.operator}  "
              f"{by or 'SURVIVES'}", flush=True)


def harmless():
    "{(module, line before, line after)} of the survivors that change nothing a user could see."
    return {(one["module"], one["before"], one["after"])
            for one in json.loads(HARMLESS.read_text(encoding="utf-8"))}


def survivors(mutants, known):
    "The rows of mutants that no test notices and that are not known to be harmless."
    rows = [known[one] for one in mutants if one in known and not known[one]["noticed"]]
    fine = harmless()
    return [row for row in rows if (row["mutant"][0], row["before"], row["after"]) not in fine]


def report(mutants):
    known = results()
    left = survivors(mutants, known)
    for row in left:
        module, line, operator, _ = row["mutant"]
        print(f"\n{module}:{line}  {operator}\n- {row['before']}\n+ {row['after']}")
    tried = [known[one] for one in mutants if one in known]
    noticed = sum(bool(row["noticed"]) for row in tried)
    print(f"\n{len(tried)} of {len(mutants)} tried: {noticed} noticed, "
          f"{len(tried) - noticed - len(left)} change nothing, {len(left)} survive")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="without: all")
    parser.add_argument("--count", type=int, default=100, help="how many mutants (100)")
    parser.add_argument("--seed", type=int, default=0, help="which mutants (0)")
    parser.add_argument("--jobs", type=int, default=2, help="how many are tried side by side (2)")
    parser.add_argument("--survivors", action="store_true", help="only say what is known")
    parser.add_argument("--again", action="store_true", help="try the survivors again")
    options = parser.parse_args()
    if not hasattr(os, "killpg"): parser.error("mutants are tried on Linux and macOS only")
    if options.survivors and not PROJECT.is_dir():
        parser.error("nothing has been tried yet: leave --survivors out")
    sys.path.append(str(ROOT / "tests"))
    processes = Processes()
    try:
        if not options.survivors: measure_all(options.jobs, processes)
        found = places(modules_of(options.modules), PROJECT)
        mutants = draw(found, options.count, options.seed, runs)
        known = results()
        todo = [one for one in mutants if one not in known]
        if options.again: todo = [Mutant(*row["mutant"]) for row in survivors(mutants, known)]
        if not options.survivors: try_all(todo, options.jobs, processes)
    except KeyboardInterrupt:
        print("stopped; the next call goes on", flush=True)
        return 130
    report(mutants)
    return 0


if __name__ == "__main__": sys.exit(main())
