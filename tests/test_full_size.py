"""Commands in prose go stale without anybody noticing: every option on the page of the tutorial
`full_size`, and of `chat_model`, is one that the installed command line, or the launcher, knows."""

import ast
import re
import shlex
from pathlib import Path

import nbformat
import pytest
import typer
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

from imgcap.cli import _make_app

TUTORIALS = Path(__file__).resolve().parents[1] / "nbs" / "tutorials"
CELLS = [
    cell
    for name in ("full_size", "chat_model")
    for cell in nbformat.read(TUTORIALS / f"{name}.ipynb", as_version=4).cells
]
TEXT = "\n".join(cell.source for cell in CELLS if cell.cell_type == "markdown")
RUN = next(
    ast.literal_eval(node.value)
    for cell in CELLS
    if cell.cell_type == "code" and "COMMAND = (" in cell.source
    for node in ast.parse(cell.source).body
    if isinstance(node, ast.Assign) and node.targets[0].id == "COMMAND"
)
LINES = [
    line
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if re.match(r"(imgcap|torchrun|accelerate) ", line)
] + [RUN]


def options_of(parser):
    return {word for action in parser._actions for word in action.option_strings}


def known_options(command):
    "Options of `imgcap COMMAND`."
    params = typer.main.get_command(_make_app()).commands[command].params
    return {word for p in params for word in (*p.opts, *p.secondary_opts)}


def unknown_options(line):
    "Options of a command that do not exist."
    words = shlex.split(line, comments=True)
    at = words.index("imgcap")
    launchers = {"torchrun": get_args_parser, "accelerate": launch_command_parser}
    before, after = (
        {word for word in part if word.startswith("--")} for part in (words[:at], words[at + 2 :])
    )
    known = options_of(launchers[words[0]]()) if words[0] in launchers else set()
    return (before - known) | (after - known_options(words[at + 1]))


def test_the_page_has_commands():
    assert len(LINES) >= 12


@pytest.mark.parametrize("line", LINES)
def test_options_in_commands_exist(line):
    assert not unknown_options(line)


def test_options_in_the_text_exist():
    mentioned = set(re.findall(r"(?<=`)--[a-z-]+", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL)))
    assert len(mentioned) >= 10
    assert not mentioned - options_of(get_args_parser()) - known_options("train")


@pytest.mark.parametrize(
    "line, wrong",
    [
        ("imgcap train --bach-size 3", "--bach-size"),
        ("torchrun --nproc-per-nod 2 -m imgcap train", "--nproc-per-nod"),
        ("torchrun --standalone -m imgcap train --epoch 2", "--epoch"),
    ],
)
def test_a_wrong_option_is_noticed(line, wrong):
    assert unknown_options(line) == {wrong}
