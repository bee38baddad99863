"Every notebook runs from top to bottom, but for its cells that are marked as slow."

import sys
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


@pytest.mark.first
@pytest.mark.parametrize("notebook", [path.relative_to(ROOT).as_posix() for path in NOTEBOOKS])
def test_notebook(notebook, run):
    said = run(Path(sys.executable).parent / "nbdev_test", "--path", notebook, timeout=1200)
    assert "Success." in said, said
