"""The rules of the house: rooms of a readable size, lines that fit, one home for each name, arrows
one way. Where the house still breaks a rule, its number stands here as a ceiling, and may only
fall.
"""

import ast
import functools
import json
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "ext"))

import architecture  # noqa: E402

LINES, CELL, CLASS, COLUMNS = 400, 30, 90, 100
MODULES = architecture.modules()
# What was there when the rules were written: {rule: how often it is broken}
CEILING = {
    "modules of more than 400 lines": 0,
    "cells of more than 30 lines": 0,
    "lines of more than 100 columns in notebooks": 0,
    "lines of more than 100 columns elsewhere": 0,
    "private names in two modules": 0,
    "arrows that run backwards": 0,
}


def lines_of(path):
    return path.read_text(encoding="utf-8").splitlines()


def sources():
    "(notebook, cell id, the lines of a code cell that are neither empty nor directives)."
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        if any(part.startswith(".") for part in path.relative_to(ROOT).parts):
            continue
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            lines = "".join(cell["source"]).splitlines()
            lines = [line.rstrip() for line in lines if line.strip() and line[:2] != "#|"]
            if cell["cell_type"] == "code" and lines:
                yield path.relative_to(ROOT).as_posix(), cell["id"], lines


def one_class(lines):
    "Whether a cell is one class and its imports."
    try:
        body = ast.parse(re.sub(r"^[%!].*$", "", "\n".join(lines), flags=re.M)).body
    except SyntaxError:
        return False
    others = [node for node in body if not isinstance(node, (ast.Import, ast.ImportFrom))]
    return len(others) == 1 and isinstance(others[0], ast.ClassDef)


def private_names():
    "{private name: the modules that define it} of the package."
    found = defaultdict(set)
    for name in MODULES:
        for node in ast.parse(architecture.module_file(name).read_text(encoding="utf-8")).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                defined = [node.name]
            elif isinstance(node, ast.Assign):
                defined = [one.id for one in node.targets if isinstance(one, ast.Name)]
            else:
                defined = []
            for one in defined:
                if re.match(r"_(?!_|all_$)", one):
                    found[one].add(name)
    return found


@functools.cache
def broken():
    "{rule: where it is broken}."
    cells = list(sources())
    long = [f"{where} #{cell}: {len(lines)} lines" for where, cell, lines in cells
            if len(lines) > (CLASS if one_class(lines) else CELL)]
    wide = [f"{where} #{cell}: {line[:60]}" for where, cell, lines in cells
            for line in lines if len(line) > COLUMNS]
    others = [path for folder in ("tests", "scripts", "docs/ext", "bench")
              for path in sorted((ROOT / folder).rglob("*.py"))]
    wide_elsewhere = [f"{path.relative_to(ROOT).as_posix()}:{number}" for path in others
                      for number, line in enumerate(lines_of(path), 1) if len(line) > COLUMNS]
    sizes = {name: len(lines_of(architecture.module_file(name))) for name in MODULES}
    return dict(zip(CEILING, [
        [f"{name}: {size}" for name, size in sizes.items() if size > LINES],
        long,
        wide,
        wide_elsewhere,
        [f"{name} in {', '.join(sorted(where))}" for name, where in private_names().items()
         if len(where) > 1],
        list(architecture.backwards()),
    ]))


@pytest.mark.parametrize("rule", CEILING)
def test_rule(rule):
    where = broken()[rule]
    most = CEILING[rule]
    assert len(where) <= most, f"{len(where)} {rule}, at most {most}:\n" + "\n".join(where)


@pytest.mark.parametrize("name", MODULES)
def test_one_notebook_makes_each_module(name):
    """A module and its notebook have one name, in the same place; a stage's face is made by a
    lesson, or by the notebook in the stage's folder that says so."""
    made = Counter()
    for path in (ROOT / "nbs").rglob("*.ipynb"):
        text = path.read_text(encoding="utf-8")
        found = re.search(r"#\|\s*default_exp\s+([\w.]+)", text)
        if found and found[1].removesuffix(".__init__") == name:
            made[path.relative_to(ROOT / "nbs").as_posix()] += 1
    assert len(made) == 1, f"imgcap.{name} is made by {sorted(made)}"
    notebook = Path(next(iter(made)))
    room = name.split(".")[-1]
    is_face = architecture.module_file(name).name == "__init__.py"
    has_its_name = notebook.stem == room or re.fullmatch(rf"\d\d_{room}", notebook.stem)
    assert is_face or has_its_name, notebook
    if "." in name and not is_face:
        assert notebook.parent.as_posix() == name.rpartition(".")[0].replace(".", "/"), notebook


LIGHT = [name for name in MODULES if name != "pixels" and name.split(".")[0] in  # it makes tensors
         {*architecture.STAGES["ground"].split(), "data", "viz", "metrics", "cli"}]


def test_what_knows_no_model_does_not_load_torch():
    "Each as the first of the package that is loaded, in one process: what others load is kept."
    code = """
import importlib, sys
for name in sys.argv[1:]:
    for loaded in [m for m in sys.modules if m == "imgcap" or m.startswith("imgcap.")]:
        del sys.modules[loaded]
    importlib.import_module(f"imgcap.{name}")
    if "torch" in sys.modules: raise SystemExit(f"imgcap.{name} loads torch")
"""
    done = subprocess.run([sys.executable, "-c", code, *LIGHT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
def test_who_reads_the_arrows_may_stop_reading():
    program = [sys.executable, ROOT / "docs" / "ext" / "architecture.py"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_each_module_can_be_imported_first():
    "A face runs before its rooms: a circle shows only in who comes first."
    code = """
import importlib, sys
import torch, transformers, datasets, matplotlib.pyplot  # noqa, once for all
for name in sys.argv[1:]:
    for loaded in [m for m in sys.modules if m == "imgcap" or m.startswith("imgcap.")]:
        del sys.modules[loaded]
    try: importlib.import_module(f"imgcap.{name}")
    except ImportError as error:
        if "imgcap" in str(error): raise SystemExit(f"imgcap.{name} first: {error}")
"""
    done = subprocess.run([sys.executable, "-c", code, *MODULES], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
