"""Do the tests notice when the code is wrong? Changes one place of the package at a time (a < into
a <=, an `and` into an `or`, a number by one), runs the tests that pass through that place, and if
none of them fails, the notebook that the place came from. On Linux and macOS.

    make mutants                                100 mutants of the whole package
    python scripts/mutants.py [MODULE …]        of some modules (metrics.ngrams) or stages (data)
    python scripts/mutants.py --again           try the survivors again, when tests were added

A survivor, which nothing notices, wants a stricter test of what a user relies on, or, if it changes
nothing that a user could see, an entry in scripts/mutants.json with the reason.

The first call clones what was committed into .mutants and measures which test passes through which
line, as long as all tests on one core. Ctrl-C says what is known by then; the next call goes on.
Tests that you change are measured again; after a change of the package begin anew: rm -rf .mutants
"""
import argparse
import ast
import difflib
import itertools
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".mutants"
PROJECT, MEASURED, RESULTS = WORK / "project", WORK / "measured", WORK / "results.jsonl"
HARMLESS = ROOT / "scripts" / "mutants.json"
# What Python itself notices, a name in the place of another, and `is` in the place of ==, which
# small numbers do not tell apart
LEFT_OUT = re.compile("Variable|.*_(Is|IsNot)$")
# These look at pages, at texts, or at the package from outside: coverage does not see where.
NOT_MEASURED = """app_page browser caption_killed cli_start code house interrupted lab mutants names
    notebooks pretrain readme repository rerun site stopped two_processes wheel""".split()
TESTS, ALIKE, SECONDS = 80, 5, 120  # tests a mutant; of one function; for one test
PYTEST = f"-m pytest -qx -o faulthandler_timeout={SECONDS} -o faulthandler_exit_on_timeout=true"


def places(words):
    "{(module, line, kind of operator): [(operator, occurrence)]} of the modules and stages named."
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.plugins import get_operator, operator_names

    operators = {name: get_operator(f"core/{name}")() for name in sorted(
        name.removeprefix("core/") for name in operator_names()) if not LEFT_OUT.match(name)}
    found = defaultdict(list)
    begin = tuple(f"imgcap/{word.replace('.', '/')}{end}" for word in words for end in ("/", ".py"))
    for path in sorted((PROJECT / "imgcap").rglob("*.py")):
        text, module = path.read_text(encoding="utf-8"), path.relative_to(PROJECT).as_posix()
        if ".ipynb #" not in text or (words and not module.startswith(begin)): continue
        nodes = list(ast_nodes(get_ast(text)))
        for name, operator in operators.items():
            starts = [start for node in nodes for start, _ in operator.mutation_positions(node)]
            for occurrence, (line, _) in enumerate(starts):
                found[module, line, name.partition("_")[0]].append((name, occurrence))
    return found


def mutated(module, _, operator, occurrence):
    "The text of a mutant's module, before and after."
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    text = (PROJECT / module).read_text(encoding="utf-8")
    return text, mutate_code(text, get_operator(f"core/{operator}")(), occurrence)


def code_of(text):
    "What a module does, without its annotations; nothing where it is no Python."
    try: tree = ast.parse(text)
    except SyntaxError: return ""
    for node in ast.walk(tree):
        for name in {"annotation", "returns"} & set(node._fields): setattr(node, name, None)
    return ast.dump(tree)


def counts(mutant):
    before, after = map(code_of, mutated(*mutant))
    return after and before != after


def draw(found, count, seed, counts=counts):
    "`count` mutants. Each place is as likely as another."
    chance = random.Random(seed)
    chosen = ((*place[:2], *chance.choice(found[place]))
              for place in chance.sample(sorted(found), len(found)))
    return list(itertools.islice(filter(counts, chosen), count))


def changed_lines(before, after):
    "The lines as they were, and as they are."
    lines = list(difflib.unified_diff(before.split("\n"), after.split("\n"), n=0, lineterm=""))[3:]
    return ["\n".join(line[1:] for line in lines if line[0] == sign).strip() for sign in "-+"]


def call(*words, seconds=None, **more):
    "How Python ends in the clone, and what it said. What it started and left is ended with it."
    env = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1", "CI": "", **more}
    with open(WORK / "log.txt", "w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen([sys.executable, *words], cwd=PROJECT, env=env, stdout=log,
                                   stderr=log, start_new_session=True)
        try: ended = process.wait(seconds)
        except subprocess.TimeoutExpired: ended = None
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        log.seek(0)
        return ended, log.read()


def measure():
    "Run the files of tests that are new, and keep which test passes through which line."
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        kept, partial = MEASURED / path.stem, WORK / path.stem
        known = kept.is_file() and kept.stat().st_mtime > path.stat().st_mtime
        if known or path.stem.removeprefix("test_") in NOT_MEASURED: continue
        print(f"which test passes through which line: {path.name}", flush=True)
        ended, said = call(*PYTEST.split(), "--cov=imgcap", "--cov-report=", "--cov-context=test",
                           f"tests/{path.name}", COVERAGE_FILE=str(partial))
        if ended: raise SystemExit(f"{said}\nthese tests fail without any mutant: mend them first")
        if partial.is_file(): partial.replace(kept)


def lines_with(text, line):
    "The lines that run when a test makes use of one: the signature of a function runs only once."
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            begin = min(each.lineno for each in (node, *node.decorator_list))
            if begin <= line < node.body[0].lineno: return range(line, node.end_lineno + 1)
    return [line]


def tests_of(module, line):
    """The tests that pass through a line, a few of each function; first those that pass through
    the fewest lines of the module, which say most about this one."""
    text = (PROJECT / module).read_text(encoding="utf-8")
    wanted = sum(1 << each for each in lines_with(text, line))
    least, of_function = {}, defaultdict(list)
    for path in MEASURED.iterdir():
        rows = sqlite3.connect(path).execute(
            "select context, numbits from line_bits join context on context.id = context_id "
            "join file on file.id = file_id where path like ?", [f"%/{module}"]).fetchall()
        for context, bits in rows:  # TEST|setup, TEST|run or TEST|teardown; a bit for each line
            test, bits = context.rpartition("|")[0], int.from_bytes(bits, "little")
            if test and bits & wanted: least[test] = min(least.get(test, bits), bits.bit_count())
    for _, test in sorted((lines, test) for test, lines in least.items()):
        few = of_function[test.partition("[")[0]]
        if len(few) < ALIKE: few.append(test)
    return sorted(sum(of_function.values(), []), key=lambda test: (least[test], test))[:TESTS]


def failed_test(tests):
    "The test that fails, or nothing. Tests that end the process, or never end, fail as well."
    ended, said = call(*PYTEST.split(), "-p", "no:cov", *tests)
    if ended in (0, 4, 5): return ""  # 4, 5: a name is not there, as where the mutant is in it
    found = re.search(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", said, re.M)
    return found[1] if found else "tests that do not end"


def failed_notebook(module):
    "The notebook that fails with what its module has now, or nothing."
    name = re.search(r"(nbs/\S+\.ipynb) #", (PROJECT / module).read_text(encoding="utf-8"))[1]
    run = "import sys; from nbdev.{} import {} as run; run(sys.argv[1])"
    call("-c", run.format("sync", "nbdev_update"), module)
    ended, _ = call("-c", run.format("test", "nbdev_test"), name, seconds=10 * SECONDS)
    return "" if ended == 0 else name


def restore(): subprocess.run(["git", "checkout", "-q", "imgcap", "nbs"], cwd=PROJECT, check=True)


def attempt(mutant):
    "What is known of a mutant when it was tried."
    module, line, *_ = mutant
    texts, tests = mutated(*mutant), tests_of(module, line)
    (PROJECT / module).write_text(texts[1], encoding="utf-8")
    try: by = (tests and failed_test(tests)) or failed_notebook(module)
    finally: restore()
    return dict(zip(("before", "after"), changed_lines(*texts)), mutant=mutant, noticed=by)


def results(mutants):
    "{mutant: what is known of it}; of a mutant tried twice the last."
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.is_file() else []
    rows = {tuple(row["mutant"]): row for row in map(json.loads, lines)}
    return {mutant: rows[mutant] for mutant in mutants if mutant in rows}


def survivors(known):
    "Those that nothing notices and that are not known to be harmless."
    fine = [(one["module"], one["before"], one["after"])
            for one in json.loads(HARMLESS.read_text(encoding="utf-8"))]
    return [mutant for mutant, row in known.items() if not row["noticed"]
            and (mutant[0], row["before"], row["after"]) not in fine]


def report(mutants):
    known = results(mutants)
    left, noticed = survivors(known), sum(bool(row["noticed"]) for row in known.values())
    for one in left:
        print("\n{}:{}  {}".format(*one), "- {before}\n+ {after}".format(**known[one]), sep="\n")
    print(f"\n{len(known)} of {len(mutants)} tried: {noticed} noticed, "
          f"{len(known) - noticed - len(left)} change nothing, {len(left)} survive")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="without: all")
    parser.add_argument("--count", type=int, default=100, help="how many mutants (100)")
    parser.add_argument("--seed", type=int, default=0, help="which mutants (0)")
    parser.add_argument("--again", action="store_true", help="try the survivors again")
    options = parser.parse_args()
    if not PROJECT.is_dir(): subprocess.run(["git", "clone", "-q", ROOT, PROJECT], check=True)
    shutil.copytree(ROOT / "tests", PROJECT / "tests", dirs_exist_ok=True)
    MEASURED.mkdir(exist_ok=True)
    restore()
    mutants = draw(places(options.modules), options.count, options.seed)
    if not mutants: parser.error("no module is named so; try data.splits")
    with suppress(KeyboardInterrupt):
        measure()
        known = results(mutants)
        again = survivors(known) if options.again else []
        for one in [*again, *(one for one in mutants if one not in known)]:
            row = attempt(one)
            with RESULTS.open("a", encoding="utf-8") as file: file.write(json.dumps(row) + "\n")
            print("{}:{}  {}".format(*one), row["noticed"] or "SURVIVES", sep="  ", flush=True)
    report(mutants)


if __name__ == "__main__": main()
