"Every notebook runs from top to bottom, but for its cells that are marked as slow."

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = [
    path
    for path in (ROOT / "nbs").rglob("*.ipynb")
    if not any(part.startswith((".", "_")) for part in path.relative_to(ROOT).parts)
]
# The larger take longer, and start earlier: then no process is left alone with one at the end.
NOTEBOOKS.sort(key=lambda path: -path.stat().st_size)


# Libraries that a notebook is about, and that only some have
NEEDS = {"nbs/share/export.ipynb": "onnxruntime", "nbs/doors/app.ipynb": "gradio"}


@pytest.mark.first
@pytest.mark.parametrize("notebook", [path.relative_to(ROOT).as_posix() for path in NOTEBOOKS])
def test_notebook(notebook, run):
    if not find_spec(needed := NEEDS.get(notebook, "imgcap")):
        pytest.skip(f"{needed} is not installed")
    said = run(Path(sys.executable).parent / "nbdev_test", "--path", notebook, timeout=1200)
    assert "Success." in said, said
