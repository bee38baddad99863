"How extras are installed, and that nobody is ever led to a stranger's `imgcap`."

import re
import shlex
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import distributions
from pathlib import Path

import pytest

from imgcap.extras import EXTRAS, install_hint

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ConfigParser(delimiters=["="])
SETTINGS.read(ROOT / "settings.ini", encoding="utf-8")
NAME = SETTINGS["DEFAULT"]["lib_name"]  # on the package index
# `pip install imgcap`, `imgcap[peft]`, quoted or not: PyPI's imgcap is another package
STRANGER = re.compile(r"imgcap\[[a-z]+\]|pip3? install [^\n]*(?<![\w./:-])imgcap(?![\w/-])")


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(requirement):
    return canonical(re.match(r"[\w.-]+", requirement)[0])


@pytest.mark.parametrize(
    "line",
    [
        "pip install imgcap",
        "pip install -q 'imgcap'",
        "imgcap[peft]",
        "%pip install -U imgcap torch",
        "pip install imgcap==0.1",
    ],
)
def test_the_pattern_finds_a_stranger(line):
    assert STRANGER.search(line)


@pytest.mark.parametrize(
    "line",
    [
        f"pip install '{NAME}[peft]'",
        "pip install -e '.[peft]'",
        "pip install git+https://example.org/a/imgcap",
    ],
)
def test_the_pattern_leaves_ours_alone(line):
    assert not STRANGER.search(line)


def test_no_file_installs_a_stranger(files):
    found = [
        f"{name}: {match[0]}"
        for name, text in files.items()
        if name != "tests/test_extras.py"
        for match in STRANGER.finditer(text)
    ]
    assert not found, "PyPI's imgcap is somebody else's; see imgcap.extras: " + "; ".join(found)


def test_our_name_is_written_once(files):
    places = [name for name, text in files.items() if NAME in text]
    # nbdev_export writes the second
    assert set(places) <= {"settings.ini", "pyproject.toml"}, places


@pytest.mark.parametrize("extra", EXTRAS)
def test_hint_names_the_libraries_only(extra):
    pip, install, *requirements = shlex.split(install_hint(extra))
    assert (pip, install) == ("pip", "install") and requirements == EXTRAS[extra]
    assert not any("imgcap" in requirement for requirement in requirements)


@pytest.mark.parametrize("extra", EXTRAS)
def test_hint_is_satisfied_by_what_the_tests_use(extra):
    "pip accepts the line, and with the libraries there it asks no index for anything."
    requirements = shlex.split(install_hint(extra))[2:]
    installed = {canonical(each.name) for each in distributions()}
    if missing := [each for each in map(name_of, requirements) if each not in installed]:
        pytest.skip(f"{missing[0]} is not installed")
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--dry-run", *requirements]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Would install" not in done.stdout


def test_unknown_extra():
    known = ", ".join(EXTRAS)
    with pytest.raises(ValueError, match=f"no extra 'lora'; choose from {known}"):
        install_hint("lora")
