"Every command in the documents exists, with those options; every file a link names is there."

import re
import shlex
from pathlib import Path

import pytest
import typer

from imgcap.cli import _make_app

ROOT = Path(__file__).resolve().parents[1]
TEXTS = {
    name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md")
}
LINES = [
    (name, line)
    for name, text in TEXTS.items()
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
LINKS = [
    (name, link)
    for name, text in TEXTS.items()
    for link in re.findall(r"\]\((?!https?:|#|\.\./\.\./)([^)#]+)", text)
    + re.findall(r'src="(?!https?:)([^"]+)"', text)
]


def words(line):
    return shlex.split(line, comments=True)


def lines_of(program):
    return [(name, line) for name, line in LINES if words(line)[:1] == [program]]


def test_there_is_something_to_look_at():
    assert len(lines_of("imgcap")) >= 6 and len(lines_of("make")) >= 2 and len(LINKS) >= 10


@pytest.mark.parametrize("document, line", lines_of("imgcap"))
def test_command_parses(document, line):
    name, *arguments = words(line)[1:]
    typer.main.get_command(_make_app()).commands[name].make_context(name, arguments)  # runs nothing


@pytest.mark.parametrize("document, line", lines_of("make"))
def test_make_knows_the_target(document, line):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{words(line)[1]}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("document, link", LINKS)
def test_linked_file_is_there(document, link):
    assert (ROOT / link).exists()
