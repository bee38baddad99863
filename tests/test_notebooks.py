"""Every notebook runs from top to bottom, but for its cells that are marked as slow.

Each runs in a process of its own. On Linux they are copies of one that has loaded what most of them
load, which alone takes longer than many a notebook does; elsewhere each starts from nothing.
"""

import multiprocessing
import os
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
# What most notebooks load; nothing of the package, which is loaded anew in each.
LOADED = ["nbdev.test", "matplotlib.pyplot", "matplotlib_inline.backend_inline", "pandas",
          "torch", "datasets", "transformers.trainer", "transformers.generation",
          "transformers.models.git.modeling_git", "transformers.models.auto.processing_auto"]


def run_notebook(notebook, heard):
    "What `nbdev_test --path` does, in this process; what it says goes into a file."
    with open(heard, "w", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    from nbdev.test import nbdev_test

    nbdev_test(path=notebook)


@pytest.fixture(scope="session")
def processes():
    if sys.platform != "linux": return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(LOADED)
    return context


@pytest.mark.first
@pytest.mark.parametrize("notebook", [path.relative_to(ROOT).as_posix() for path in NOTEBOOKS])
def test_notebook(notebook, processes, tmp_path, monkeypatch):
    if not find_spec(needed := NEEDS.get(notebook, "imgcap")):
        pytest.skip(f"{needed} is not installed")
    monkeypatch.chdir(ROOT)
    process = processes.Process(target=run_notebook, args=(notebook, tmp_path / "said"))
    process.start()
    process.join(timeout=1200)
    process.kill()
    process.join()
    said = (tmp_path / "said").read_text(encoding="utf-8", errors="replace")
    assert process.exitcode == 0 and "Success." in said, said
