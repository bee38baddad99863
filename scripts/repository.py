"""Says where the repository is: in settings.ini, and from there in badges, links and set-up cells.

    python scripts/repository.py owner/name   the address on GitHub, written wherever it is named;
                                              also as https://github.com/owner/name
    python scripts/repository.py --unset      no address: no badge, no link; set-up cells say so
    python scripts/repository.py              write it all again, after a notebook was added
    python scripts/repository.py --check      say what that would change; exit with 1 when it would
"""
import json
import re
import subprocess
import sys
import sysconfig
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = ROOT / "settings.ini"
# What follows from owner and name. Without an address they are empty.
ADDRESS = {
    "user": "{owner}",
    "repo": "{name}",
    "git_url": "https://github.com/{owner}/{name}",
    "doc_host": "https://{owner}.github.io",
    "doc_baseurl": "/{name}",
}
# GitHub's rules: single hyphens inside an owner's name; no repository is called ., .. or NAME.git.
NAME = re.compile(r"(?=[^/]{1,39}/)[A-Za-z0-9]+(-[A-Za-z0-9]+)*/"
                  r"(?!\.{1,2}$)(?!.*\.(git|wiki)$)[A-Za-z0-9._-]{1,100}", re.IGNORECASE)
# What people copy: the page's address, or what `git clone` takes.
WRITTEN = re.compile(r"(?:(?:https?://|(?:ssh://)?git@)?(?:www\.)?github\.com[/:])?"
                     r"(.+?)(?:\.git)?/?", re.IGNORECASE)
BADGE = ("[Open this notebook in Colab]"
         "(https://colab.research.google.com/github/{user}/{repo}/blob/{branch}/{path})")
# Outside Colab a set-up cell only silences the bars of `datasets.map`, which take no time here, and
# a remark about widgets, which the notebooks do not use.
SETUP = """#| hide
import os, sys, warnings
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
warnings.filterwarnings("ignore", message="IProgress not found")
if "google.colab" in sys.modules: get_ipython().run_line_magic("pip", "install -q git+{git_url}")"""
SETUP_WITHOUT_ADDRESS = """#| hide
import importlib.util, os, sys, warnings
os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
warnings.filterwarnings("ignore", message="IProgress not found")
if "google.colab" in sys.modules and not importlib.util.find_spec("imgcap"):
    raise SystemExit("These notebooks have no public address yet: "
                     "upload the repository as imgcap.zip and run %pip install ./imgcap.zip first.")
"""
CELLS = ("colab-badge", "colab-setup")


def settings_with(address):
    "The text of settings.ini with an owner and a name, or with none."
    owner, _, name = address.partition("/")
    text = SETTINGS.read_text(encoding="utf-8")
    for key, value in ADDRESS.items():
        line = f"{key} = {value.format(owner=owner, name=name) if address else ''}".rstrip()
        text, found = re.subn(rf"^{key} *=.*$", line, text, flags=re.MULTILINE)
        if found != 1: raise ValueError(f"settings.ini has {found} lines {key} = ..., not one")
    return text


def notebook_with(path, settings):
    "The text of a notebook with its badge and its set-up cell, after the title."
    notebook = json.loads(path.read_text(encoding="utf-8"))
    setup = SETUP.format(**settings) if settings["git_url"] else SETUP_WITHOUT_ADDRESS
    cell = {"cell_type": "code", "execution_count": None, "id": "colab-setup",
            "metadata": {"jupyter": {"source_hidden": True}}}  # folded in JupyterLab
    new = [cell | {"outputs": [], "source": setup.strip().splitlines(True)}]
    if settings["git_url"]:
        badge = BADGE.format(**settings, path=path.relative_to(ROOT).as_posix())
        cell = {"cell_type": "markdown", "id": "colab-badge", "metadata": {}}
        new.insert(0, cell | {"source": [badge]})
    others = [cell for cell in notebook["cells"] if cell.get("id") not in CELLS]
    notebook["cells"] = others[:1] + new + others[1:]
    return json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def wanted(address=None):
    "{path: text} of everything that names the address; without one, the one in settings.ini."
    text = SETTINGS.read_text(encoding="utf-8") if address is None else settings_with(address)
    config = ConfigParser(delimiters=["="])
    config.read_string(text)
    settings = {key: config["DEFAULT"][key] for key in (*ADDRESS, "branch")}
    notebooks = [path for path in sorted((ROOT / "nbs").rglob("*.ipynb"))
                 if not any(part.startswith(".") for part in path.relative_to(ROOT).parts)]
    return {SETTINGS: text, **{path: notebook_with(path, settings) for path in notebooks}}


def main(words):
    word = words[0].strip() if len(words) == 1 else ""
    if found := WRITTEN.fullmatch(word): word = found[1]
    if words and word not in ("--check", "--unset") and not NAME.fullmatch(word):
        print("expected owner/name, --unset, --check or nothing, "
              f"found {' '.join(words)!r}", file=sys.stderr)
        return 2
    check = word == "--check"
    files = wanted(None if check or not words else "" if word == "--unset" else word)
    changed = {path: text for path, text in files.items()
               if path.read_text(encoding="utf-8") != text}
    for path, text in changed.items():
        print(("would change " if check else "changed ") + path.relative_to(ROOT).as_posix())
        if not check: path.write_text(text, encoding="utf-8", newline="\n")
    if SETTINGS in changed: export()
    return int(check and bool(changed))


def export():
    "imgcap/_modidx.py repeats the address, and nbdev writes it."
    nbdev_export = Path(sysconfig.get_path("scripts")) / "nbdev_export"
    try: subprocess.run([nbdev_export], cwd=ROOT, check=True)
    except FileNotFoundError: print("now run nbdev_export, which is not in this environment")


if __name__ == "__main__": sys.exit(main(sys.argv[1:]))
