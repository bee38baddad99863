"The code and the notebooks agree, and ruff and mypy have nothing to say."

import sys
from pathlib import Path

import pytest

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
