"The code and the notebooks agree, and ruff and mypy have nothing to say."

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def contents(folder, *patterns):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
    }


@pytest.mark.parametrize(
    "command, patterns",
    [
        ("nbdev_clean", ["nbs/**/*.ipynb"]),
        ("nbdev_export", ["imgcap/**/*.py", "pyproject.toml"]),
    ],
)
def test_nothing_is_left_to_write(checkout, run, command, patterns):
    before = contents(checkout, *patterns)
    run(BIN / command, cwd=checkout)
    after = contents(checkout, *patterns)
    changed = [name for name in sorted(before | after) if before.get(name) != after.get(name)]
    assert not changed, f"run {command}; it would change {', '.join(changed)}"


def test_ruff(run):
    run(sys.executable, "-m", "ruff", "check", "-q", "imgcap", "tests", "bench", "scripts", "docs")


def test_mypy(run):
    run(sys.executable, "-m", "mypy")


def test_no_output_names_a_place_of_the_machine_that_made_it():
    "As a warning does that is not caught: the file that warned, and the line."
    place = re.compile(r"/[^\s\"']*\.py:\d+|ipykernel_\d+|/site-packages/")
    found = []
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            text = json.dumps(cell.get("outputs", []))
            found += [f"{path} #{cell['id']}: {one}" for one in place.findall(text)]
    assert not found, "\n".join(found)


def prose(files):
    "(where, text) of what is written for people: Markdown files, and text cells of notebooks."
    for name, text in files.items():
        if name.endswith(".md") and name != "CHANGELOG.md":
            yield name, text
        elif name.endswith(".ipynb"):
            for cell in json.loads(text)["cells"]:
                if cell["cell_type"] == "markdown":
                    yield f"{name} #{cell['id']}", "".join(cell["source"])


NAMED_FILE = re.compile(
    r"(?<![\w/.-])(?:tests|scripts|bench|nbs|docs|imgcap)/[\w/]+\.(?:py|ipynb)\b")


def test_files_that_prose_names_are_there(files):
    found = [f"{where}: {one}" for where, text in prose(files)
             for one in NAMED_FILE.findall(text) if one not in files]
    assert not found, "\n".join(found)


def test_private_names_in_prose_are_in_the_code(files):
    "A name that moved or went leaves its mention behind, and nothing else notices."
    code = "\n".join(text for name, text in files.items() if name.endswith(".py"))
    known = set(re.findall(r"\b_[a-zA-Z]\w+", code))
    found = [f"{where}: {one}" for where, text in prose(files)
             for one in re.findall(r"`(_[a-zA-Z]\w+)`", text) if one not in known]
    assert not found, "\n".join(found)


def test_headings_go_down_one_step_at_a_time(files):
    "The site's outline is made of them, and its build says so only after a minute."
    found, before = [], {}
    for where, text in prose(files):
        name = where.partition(" #")[0]
        for marks in re.findall(r"^(#+) ", re.sub(r"```.*?```", "", text, flags=re.S), flags=re.M):
            if len(marks) > before.get(name, 1) + 1:
                found.append(f"{where}: {marks} after {'#' * before.get(name, 1)}")
            before[name] = len(marks)
    assert not found, "\n".join(found)
