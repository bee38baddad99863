"What scripts/rerun.py says of numbers that move, of a cell that fails, and at Ctrl-C."

import base64
import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from matplotlib.figure import Figure
from nbformat.v4 import new_code_cell, new_notebook, new_output
from PIL import Image, ImageChops, ImageStat

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))
import rerun  # noqa: E402

RERUN = [sys.executable, ROOT / "scripts" / "rerun.py"]
SHOW = (
    "from IPython.display import HTML, Markdown\n"
    "HTML('<style>td {width: 7em}</style><table><tr><th>WER<td>%s</tr></table>')"
)
FIGURE = (
    "class Figure:\n    def _repr_png_(self): return 'iVBORw0K'\n"
    "    def __repr__(self): return 'Figure size 300'\nFigure()"
)
TABLE = "text/html", "<table><tr><th>WER<td>0.40</tr></table>"


def cell(source, *outputs):
    "A cell with what it is said to have printed; of a pair (MIME type, data) what it showed."
    made = [
        new_output("stream", text=given)
        if isinstance(given, str)
        else new_output("execute_result", data={given[0]: given[1], "text/plain": "<object>"})
        for given in outputs
    ]
    return new_code_cell(source, outputs=made)


def write(path, *cells):
    path.write_text(nbformat.writes(new_notebook(cells=list(cells))), encoding="utf-8")


def run(*args):
    done = subprocess.run([*RERUN, *args], capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def numbers(text):
    return [number for _, found, _ in rerun.lines_with_numbers(text) for number in found]


@pytest.mark.parametrize(
    "text",
    [
        "git-tiny-2",
        "bleu_4",
        "0-5b8c2a02",
        "67d7bce6062b056c",
        "torch 2.13.0+cpu",
        "on 2026-11-22",
        "left 7:50",
        "16-bit",
        "0x7f3a",
        "127.0.0.1",
        "96x64",
        "img7.png",
    ],
)
def test_no_number(text):
    assert not numbers(text)


@pytest.mark.parametrize(
    "text, found",
    [
        ("1,709,824 parameters", ["1,709,824"]),
        ("97.1%, 5 %", ["97.1", "5"]),
        ("1e-06 and 5e-08.", ["1e-06", "5e-08"]),
        ("(-0.02 to +0.19)", ["-0.02", "+0.19"]),
        ("0.37 ±0.10", ["0.37", "0.10"]),
        ("tensor([1., -100])", ["1.", "-100"]),
        ("35/280, 64 × 64", ["35", "280", "64", "64"]),
        ("12ms, 3x, 1.5 s.", ["12", "3", "1.5"]),
        ("WER 0.5, CIDEr-D 2", ["0.5", "2"]),
    ],
)
def test_numbers(text, found):
    assert numbers(text) == found


@pytest.mark.parametrize(
    "source, tolerance",
    [
        ("#| hide\n#| tolerance: 5 %\nx", ["5%"]),
        ("#|tolerance: any", ["any"]),
        ("x = 1\n#| tolerance: any", []),
        ("#| hide", []),
    ],
)
def test_tolerance_of_a_cell(source, tolerance):
    assert rerun.tolerance_of(source) == tolerance


@pytest.mark.parametrize(
    "old, new, tolerance, passes",
    [
        ("0.50", "0.52", "0.02", True),
        ("0.50", "0.53", "0.02", False),
        ("0.10", "0.30", "0.2", True),
        ("1,000", "1,050", "5%", True),
        ("1,000", "1,051", "5%", False),
        ("-0.4", "-0.41", "5%", True),
        ("0", "0.01", "5%", False),
        ("0.50", "0.5", "", True),
        ("0.50", "0.51", "", False),
        ("+0.01", "−0.01", "0.02", True),
        ("0.01", "0.03", "0.02 or 5%", True),
        ("100", "105", "0.02 or 5%", True),
        ("100", "106", "0.02 or 5%", False),
    ],
)
def test_within_its_tolerance(old, new, tolerance, passes):
    stated = rerun.tolerance_of(f"#| tolerance: {tolerance}" if tolerance else "")
    assert rerun.within(old, new, stated) == passes


@pytest.mark.parametrize(
    "wrong", ["a little", "-1", "", "nan", "5%\n#| tolerance: any", "5% or any"]
)
def test_no_tolerance(wrong):
    with pytest.raises(ValueError, match="say 5%, 0.02, 0.02 or 5%, or any"):
        rerun.tolerance_of(f"#| tolerance: {wrong}".rstrip())


def test_numbers_that_may_move(tmp_path):
    "All is well: exit status 0; the outputs are new, and clean."
    path = tmp_path / "steady.ipynb"
    write(
        path,
        cell("print('WER', 0.5)\nprint('written: a dog')", "WER 0.5\nwritten: a cat\n"),
        cell(
            "#| tolerance: 5%\nprint('loss 1.04 after 1,000 steps, left 0:07')",
            "loss 1.00 after 1,000 steps, left 7:50\n",
        ),
        cell("#| tolerance: 0.02\n" + SHOW % "0.42", TABLE),
        cell("#| tolerance: any\nprint('took 3.1 s')", "took 800 ms and 12 MB\n"),
        cell(
            "import os; print('in', os.path.basename(os.getcwd()))\nobject()",
            f"in {tmp_path.name}\n",
            ("text/plain", "<object>"),
        ),
        cell(FIGURE, ("image/png", "iVBORw0KGgo=")),
    )
    before = path.read_bytes()
    status, said = run(path, "--check")
    assert status == 0 and "steady.ipynb" in said and "1 notebooks run, every number" in said, said
    assert path.read_bytes() == before, "--check wrote"
    status, said = run(path)
    text = path.read_text(encoding="utf-8")
    assert status == 0 and "took 3.1 s" in text and "a dog" in text and " at 0x" not in text, said
    assert text == rerun.cleaned(text)
    where = nbformat.reads(text, as_version=4).cells[-2].outputs[0].text
    assert where == f"in {tmp_path.name}\n", "it ran elsewhere"


def test_figures_are_written_with_few_colours():
    "As a person sees it, an image stays what it was; what is no PNG stays to the letter."
    figure = Figure(figsize=(3, 2))
    figure.text(.2, .2, "a creature", color="red")
    figure.subplots().plot([1, 3, 2])
    figure.savefig(file := io.BytesIO(), format="png")
    png = base64.b64encode(file.getvalue()).decode()
    [shown] = new_notebook(cells=[cell("image", ("image/png", png))]).cells[0].outputs
    shown.data["image/jpeg"] = "a second copy"
    rerun.make_figures_small(new_notebook(cells=[new_code_cell("image", outputs=[shown])]))
    assert "image/jpeg" not in shown.data and len(shown.data["image/png"]) < len(png)
    small = Image.open(io.BytesIO(base64.b64decode(shown.data["image/png"])))
    difference = ImageChops.difference(small.convert("RGB"), Image.open(file).convert("RGB"))
    assert max(ImageStat.Stat(difference).mean) < 4
    glass = Image.new("RGBA", (9, 9), (9, 9, 9, 9))
    glass.save(file := io.BytesIO(), "PNG")
    for same in "iVBORw0K", "no base64!", base64.b64encode(file.getvalue()).decode():
        assert rerun.smaller(same) == same


def test_numbers_that_moved(tmp_path):
    "Each is named, also after a notebook that failed; a cell that failed leaves its file."
    raises, broken, path, unknown = (
        tmp_path / f"{name}.ipynb" for name in ("raises", "broken", "moved", "unknown")
    )
    write(raises, cell("print(1)", "2\n"), cell("#| hide\n\n1 / 0"), cell("print(3)", "3\n"))
    write(unknown, cell("#| tolerance: roughly\nprint(1)", "1\n"))
    broken.write_text("{")
    write(
        path,
        cell("print('steps', 40)", "steps 41\n"),
        cell("#| tolerance: 5%\nprint('loss 1.06, WER 0.5')", "loss 1.00, WER 0.5\n"),
        cell("#| tolerance: 0.02\n" + SHOW % "0.43", TABLE),
        cell("Markdown('| BLEU | 0.25 |')", ("text/markdown", "| BLEU | 0.20 |")),
        cell("[7, 8, 9]", ("text/plain", "<object>")),
        cell("#| tolerance: 5%\nprint('CIDEr-D 1.0\\nsame 5')", "CIDEr 1.0\nsame 5\n"),
        cell("print('alone 6')", "alone 6\nalone 6\n"),
        cell("print('quiet now')", "7 lines\n"),
        cell("print('well 8')", "well 8\n"),
    )
    kept = [file.read_bytes() for file in (raises, broken, unknown)]
    status, said = run(raises, broken, unknown, path)
    assert status == 1, said
    for part in (
        "raises.ipynb failed: 1 / 0\nZeroDivisionError: division by zero",
        "broken.ipynb failed: not a notebook",
        "unknown.ipynb failed: print(1)\ntolerance: roughly is stated",
        "moved.ipynb: print('steps', 40)\n41 → 40 (tolerance: none stated, equal as printed)\n"
        "  was: steps 41\n  now: steps 40\n",
        "moved.ipynb: print('loss 1.06, WER 0.5')\n1.00 → 1.06 (tolerance: 5%)",
        "0.40 → 0.43 (tolerance: 0.02)",
        "moved.ipynb: Markdown('| BLEU | 0.25 |')\n0.20 → 0.25",
        "  now: [7, 8, 9]",
        "  was: CIDEr 1.0\n  now: CIDEr-D 1.0\n",
        "  was: alone 6\n",
        "  was: 7 lines\n",
        "4 notebooks run, 11 differences and errors",
        "0 left",
    ):
        assert part in said, f"{part!r} is not in\n{said}"
    assert "was: well 8" not in said and "was: same 5" not in said, said
    assert [file.read_bytes() for file in (raises, broken, unknown)] == kept
    assert "0.43" in path.read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_stopped(tmp_path):
    "Ctrl-C: at once, the file as it was, no kernel left behind."
    path, begun = tmp_path / "long.ipynb", tmp_path / "begun"
    write(
        path,
        cell("import os, pathlib, time\nprint(2)", "1\n"),
        cell(f"pathlib.Path({str(begun)!r}).write_text(str(os.getpid()))\ntime.sleep(600)"),
    )
    write(tmp_path / "next.ipynb", cell("print(1)", "1\n"))
    before, files = path.read_bytes(), {file.name for file in tmp_path.iterdir()} | {"begun"}
    process = subprocess.Popen(
        [*RERUN, path, tmp_path / "next.ipynb"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (begun.is_file() and begun.read_text()):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in errors, (
        process.returncode,
        said,
        errors,
    )
    assert "stopped, and left as it was; 2 left" in said
    assert path.read_bytes() == before and {file.name for file in tmp_path.iterdir()} == files
    assert not runs(int(begun.read_text())), "the kernel still runs"


def runs(pid):
    "Whether a process does anything still."
    try:
        state = Path(f"/proc/{pid}/stat").read_text().split()[2]
    except OSError:
        try:
            os.kill(pid, 0)
        except OSError:
            return False
        return not Path("/proc/self").exists()
    return state != "Z"
