"""Every `imgcap` command in README.md and CONTRIBUTING.md exists, with those options; every file a link names is there."""
import re
import shlex
import sys
from pathlib import Path

import typer

from imgcap.cli import _make_app

ROOT = Path(__file__).resolve().parents[1]
root = typer.main.get_command(_make_app())
commands = links = 0
for document in ("README.md", "CONTRIBUTING.md"):
    text = (ROOT / document).read_text(encoding="utf-8")
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["make"]: assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), f"{document}: {line}"
            if words[:1] != ["imgcap"]: continue
            name, *arguments = words[1:]
            try: root.commands[name].make_context(name, arguments)  # parses the options, runs nothing
            except Exception as error: sys.exit(f"{document}: `{line}` does not parse: {error}")
            commands += 1
    for target in re.findall(r"\]\((?!https?:|#|\.\./\.\./)([^)#]+)", text) + re.findall(r'src="(?!https?:)([^"]+)"', text):
        assert (ROOT / target).exists(), f"{document} names {target}, which is not there"
        links += 1
assert commands >= 6 and links >= 10, (commands, links)
print(f"{commands} commands parse and {links} linked files exist")
