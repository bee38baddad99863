"""What a learner meets: the thing within five cells, one opening and one ending, diagrams, and no
sentence with a number that nothing proves."""

import ast
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "docs" / "ext")]
import notebooks  # noqa: E402
import prose  # noqa: E402

MAIN = {
    "01_data": "load_captions",
    "02_viz": "show_captions",
    "03_preprocess": "CaptionCollator",
    "04_model": "load_model",
    "05_train": "finetune",
    "06_evaluate": "evaluate_model",
    "07_infer": "Captioner",
    "08_share": "model_card|write_card|published_files|push_run",
}
TUTORIALS = [
    f"tutorials/{name}"
    for name in ("finetune", "your_own_pictures", "the_guide_today", "chat_model", "full_size")
]
FILES = [path for path in (ROOT / "nbs").rglob("*.ipynb") if path.parts[-2][0] != "."]
NOTEBOOKS = {path.relative_to(ROOT / "nbs").as_posix()[:-6]: path for path in FILES}
LESSONS, FRAMED = list(MAIN), [*MAIN, *TUTORIALS]


def cells(name):
    return nbformat.read(NOTEBOOKS[name], as_version=4).cells


def directives(cell):
    return [name for name, _ in notebooks.directives(cell)]


def code_of(cell):
    return [line for line in notebooks.bare(cell.source).splitlines() if line.strip()]


def call_in(lines, names):
    "The line, from 0, in which one of these names is called; None without."
    hits = [
        node.lineno - 1
        for node in ast.walk(ast.parse("\n".join(lines)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names
    ]
    return min(hits, default=None)


@pytest.mark.parametrize("name", LESSONS)
def test_the_thing_first(name):
    "At most thirty lines of code and five cells stand before the call that a lesson is about."
    before = count = 0
    for cell in cells(name):
        if cell.cell_type != "code" or not (lines := code_of(cell)):
            continue
        count += 1
        hit = call_in(lines, MAIN[name].split("|"))
        if hit is not None:
            break
        before += len(lines)
    assert hit is not None and before + hit <= 30 and count <= 5


@pytest.mark.parametrize("name", FRAMED)
def test_opening_and_ending(name):
    first, setup, *rest = cells(name)
    title, *lines = first.source.splitlines()
    assert title.startswith("# ") and any(line.startswith("> ") for line in lines)
    assert setup.id == "colab-setup" or rest[0].id == "colab-setup"
    around = FRAMED if name in TUTORIALS else LESSONS
    k = around.index(name)
    near = [around[i] for i in (k - 1, k + 1) if 0 <= i < len(around)]
    for cell in (first, rest[-1]):
        for other in near:
            assert f"{other.split('/')[-1]}.ipynb)" in cell.source, (
                f"no link to {other} in {cell.id}"
            )
    headings = re.findall(r"^## (.*)$", "\n\n".join(c.source for c in rest), flags=re.MULTILINE)
    wanted = ["What you built", "What can go wrong", "Exercises"]
    assert [heading for heading in headings if heading in wanted] == wanted


@pytest.mark.parametrize("name", FRAMED)
def test_exercises_have_solutions_that_run(name):
    every = cells(name)
    at = next(k for k, cell in enumerate(every) if "## Exercises" in cell.source)
    text = every[at].source.partition("## Exercises")[2]
    assert re.findall(r"^(\d)\. ", text, flags=re.MULTILINE) == list("123")
    solutions = [cell for cell in every[at:] if "solution" in directives(cell)]
    assert len(solutions) == 3 and all(cell.metadata.get("jupyter") for cell in solutions)
    assert not [cell for cell in solutions if "slow" in directives(cell)]


@pytest.mark.parametrize("name", FRAMED)
def test_solutions_show_what_comes_out(name):
    "A solution cell has an output in the committed file: it answers, it does not only run."
    solutions = [cell for cell in cells(name) if "solution" in directives(cell)]
    assert not [cell.id for cell in solutions if not cell.outputs]


def test_diagrams():
    "A dozen, at least one a lesson; each with an alt text, and its code folded in JupyterLab."
    drawn = {
        name: [cell for cell in cells(name) if "diagram" in directives(cell)] for name in NOTEBOOKS
    }
    assert not [name for name in LESSONS if not drawn[name]]
    every = [cell for found in drawn.values() for cell in found]
    assert len(every) >= 12 and all("fig-alt" in directives(cell) for cell in every)
    assert all(cell.metadata["jupyter"]["source_hidden"] for cell in every)


def test_no_sentence_says_a_number_that_nothing_proves():
    assert not prose.listed(sorted(NOTEBOOKS.values()))


PRINTED = new_output("stream", text="0.93")


@pytest.mark.parametrize(
    "sentence, code, is_proved",
    [
        ("F1 falls to 0.9.", "print(f1)", False),
        ("F1 falls to 0.9.", "assert f1 < .95\nprint(f1)", True),
        ("It reads 64 × 64 pixels.", "new_git_tiny(image_size=64)", True),
        ("It reads 64 × 64 pixels.", "new_git_tiny(image_size=640)", False),
        ("It has [176 million](https://huggingface.co/a) parameters.", "1", True),
        ("See [this](a.ipynb). It has 176 million parameters.", "1", False),
        ("`git-tiny-2` of 2024 has BLEU-4 and `x[3]`.", "1", True),
        ("1. Load\n2. Look", "1", True),
        ('It says "golden" of it.', "print(caption)", False),
        ('It says "golden" of it.', 'assert "golden" in caption', True),
        ("```\n0.5\n```", "1", True),
        ("$x^2 = 4$", "1", True),
    ],
)
def test_what_is_proved(sentence, code, is_proved):
    found = prose.unproved(
        new_notebook(
            cells=[
                new_markdown_cell("# Title"),
                new_code_cell(code, outputs=[PRINTED]),
                new_markdown_cell(sentence),
            ]
        )
    )
    assert bool(list(found)) != is_proved
