"""Puts the "Open in Colab" badge and the set-up cell into every notebook, from the owner and name in settings.ini.

    python scripts/colab.py           write them
    python scripts/colab.py --check   say which notebooks would change, and exit with 1 when some would
"""
import json
import sys
from configparser import ConfigParser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
config = ConfigParser(delimiters=["="])
config.read(ROOT / "settings.ini", encoding="utf-8")
settings = config["DEFAULT"]

BADGE = "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{user}/{repo}/blob/{branch}/{path})"
# Outside Colab this only silences a remark about widgets, which these notebooks do not use.
SETUP = """#| hide
import sys, warnings
warnings.filterwarnings("ignore", message="IProgress not found")
if "google.colab" in sys.modules: get_ipython().run_line_magic("pip", "install -q git+{git_url}")"""


def cells(path):
    "The two cells of one notebook."
    badge = BADGE.format(**{name: settings[name] for name in ("user", "repo", "branch")}, path=path.relative_to(ROOT).as_posix())
    setup = SETUP.format(git_url=settings["git_url"])
    return [{"cell_type": "markdown", "id": "colab-badge", "metadata": {}, "source": badge.splitlines(True)},
            {"cell_type": "code", "execution_count": None, "id": "colab-setup", "metadata": {}, "outputs": [], "source": setup.splitlines(True)}]


def main(check):
    changed = []
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts: continue
        before = path.read_text(encoding="utf-8")
        notebook = json.loads(before)
        ours = [c for c in notebook["cells"] if c.get("id") not in ("colab-badge", "colab-setup")]
        notebook["cells"] = ours[:1] + cells(path) + ours[1:]
        after = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        if after == before: continue
        changed.append(path.relative_to(ROOT).as_posix())
        if not check: path.write_text(after, encoding="utf-8", newline="\n")
    if changed: print(("would change: " if check else "changed: ") + ", ".join(changed))
    return 1 if check and changed else 0


if __name__ == "__main__": sys.exit(main("--check" in sys.argv[1:]))
