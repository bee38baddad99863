"""Every notebook runs from top to bottom, but for its cells that are marked as slow; each in a
process of its own."""

from importlib.util import find_spec
from pathlib import Path

import copies
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
NEEDS = {
    "nbs/share/export.ipynb": "onnxruntime",
    "nbs/doors/app.ipynb": "gradio",
    "nbs/tutorials/chat_model.ipynb": "peft",
}
# Run by test_lab.py where that can, all cells in the same mode, which takes as long again
IN_JUPYTERLAB = "nbs/tutorials/finetune.ipynb"


def run_notebook(notebook):
    "What `nbdev_test --path` does."
    from nbdev.test import nbdev_test

    nbdev_test(path=notebook)


@pytest.mark.first
@pytest.mark.parametrize("notebook", [path.relative_to(ROOT).as_posix() for path in NOTEBOOKS])
def test_notebook(notebook, tmp_path, monkeypatch, request):
    if not find_spec(needed := NEEDS.get(notebook, "imgcap")):
        pytest.skip(f"{needed} is not installed")
    if notebook == IN_JUPYTERLAB and find_spec("jupyterlab"):
        if "missing" not in request.getfixturevalue("browser_choice"):
            pytest.skip("test_lab.py runs it in JupyterLab")
    monkeypatch.chdir(ROOT)
    process = copies.start(tmp_path / "said", run_notebook, notebook)
    process.join(timeout=1200)
    process.kill()
    process.join()
    said = copies.said(tmp_path / "said")
    assert process.exitcode == 0 and "Success." in said, said
