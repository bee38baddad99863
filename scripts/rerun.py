"""Runs the notebooks anew, from top to bottom, and says which printed numbers moved.

    python scripts/rerun.py [NOTEBOOK …]           run them (all without names), write new outputs
    python scripts/rerun.py [NOTEBOOK …] --check   run them and write nothing

Exits with 1 when a number moved beyond its tolerance, when a cell raised an error (such a
notebook's file stays as it was), or when a sentence has a number that nothing proves (prose.py).

A number has to be printed as before, unless its cell says otherwise in one of its first lines:

    #| tolerance: 5%            so far from the number before, in proportion to it: what depends on
                                the CPU in its last digits
    #| tolerance: 0.02          so far from it at most
    #| tolerance: 0.02 or 5%    the wider of the two: for scores and counts together
    #| tolerance: any           whatever is printed: seconds, memory, anything of the machine

Compared are the numbers in what a cell prints and in the tables it shows, in the order of their
lines. In a line with a number the words count too, since they say what the number is; a line
without one may change. No numbers are: digits of a word or name (git-tiny-2, bleu_4, 5b8c2a02), of
a version (1.2.3) or a date, and times of a clock (7:50), which may be any. Errors and warnings on
standard error, and figures, are not compared. Figures are written with 256 colours, which takes a
third of the bytes.
"""
import argparse
import asyncio
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from base64 import b64decode, b64encode
from decimal import Decimal, InvalidOperation
from difflib import SequenceMatcher
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path

import nbformat
import prose
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

CLOCK = re.compile(r"(?<![\w.:-])\d+:\d\d(?::\d\d)?(?![\w:-])")
NUMBER = re.compile(r"""
    (?<![\w.-])[-+−]?                           # not within a word, a version or a date
    (?:\d{1,3}(?:[,\u2009\u202f]\d{3})+|\d+)    # 1,234,567 or 1234567
    (?:\.\d*)?(?:[eE][-+]?\d{1,3})?
    (?=[A-Za-zµ]{1,3}(?![\w-])|(?!\.?\w|-\w))   # 12ms and 3x are numbers with a unit
    """, re.VERBOSE)


# --- what a cell prints

LINES = ("tr", "p", "div", "li", "br", "table", "pre")


class Text(HTMLParser):
    "The text of a piece of HTML, a row of a table on one line."
    def __init__(self, html):
        super().__init__()
        self.parts, self.unseen = [], 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.unseen += tag in ("style", "script")
        self.parts.append("\n" if tag in LINES else " " if tag in ("td", "th") else "")

    def handle_endtag(self, tag): self.unseen -= tag in ("style", "script")

    def handle_data(self, data):
        if not self.unseen: self.parts.append(data)


def printed(cell):
    """What a cell prints and shows, as text; of something shown in several formats the richest one.
    Figures and widgets are none."""
    parts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if output.get("name") == "stdout": parts.append(output["text"])
        elif any(kind.startswith("image/") or "widget" in kind for kind in data): continue
        elif "text/html" in data: parts.append(f"\n{''.join(Text(data['text/html']).parts)}\n")
        elif "text/markdown" in data or "text/plain" in data:
            parts.append(f"\n{data.get('text/markdown') or data['text/plain']}\n")
    return "".join(parts)


def lines_with_numbers(text):
    "[(words without spaces, numbers, line)]"
    found = []
    for line in text.splitlines():
        line = line.strip()
        rest = CLOCK.sub("clock", line)
        if numbers := NUMBER.findall(rest):
            found.append(("".join(NUMBER.sub("#", rest).split()), numbers, line))
    return found


# --- tolerance

def tolerance_of(source):
    "What a cell states, such as ['5%'], ['0.02', '5%'] or ['any'], or nothing: []."
    first = takewhile(lambda line: not line.strip() or re.match(r"\s*#\s*\|", line),
                      source.splitlines())
    found = (re.match(r"\s*#\s*\|\s*tolerance\b:?(.*)", line) for line in first)
    stated = [match[1] for match in found if match]
    if not stated: return []
    parts = [part.strip().replace(" ", "") for part in stated[0].split(" or ")]
    try:
        limits = parts == ["any"] or all(Decimal(part.removesuffix("%")) >= 0 for part in parts)
        good = len(stated) == 1 and limits
    except InvalidOperation: good = False
    if not good:
        said = " and ".join(map(str.strip, stated)) or "nothing"
        raise ValueError(f"tolerance: {said} is stated; say 5%, 0.02, 0.02 or 5%, or any, once")
    return parts


def value(number): return Decimal(re.sub("[,\u2009\u202f]", "", number).replace("−", "-"))


def within(old, new, tolerance):
    old, new = value(old), value(new)
    allowed = [abs(old) * Decimal(part[:-1]) / 100 if part.endswith("%") else Decimal(part)
               for part in tolerance]
    return abs(new - old) <= max(allowed, default=0)


def moved(before, after):
    "What of a cell's numbers is not as it was, as texts."
    tolerance = tolerance_of(after.source)
    if tolerance == ["any"]: return
    old, new = lines_with_numbers(printed(before)), lines_with_numbers(printed(after))
    stated = f"tolerance: {' or '.join(tolerance) or 'none stated, equal as printed'}"
    words = [[words for words, *_ in lines] for lines in (old, new)]
    for same, a, b, c, d in SequenceMatcher(None, *words, autojunk=False).get_opcodes():
        if same != "equal":
            yield "\n".join([f"other words or another count of numbers ({stated})",
                             *(f"  was: {line}" for *_, line in old[a:b]),
                             *(f"  now: {line}" for *_, line in new[c:d])])
            continue
        for (_, were, was), (_, are, now) in zip(old[a:b], new[c:d]):
            far = [f"{x} → {y}" for x, y in zip(were, are) if not within(x, y, tolerance)]
            if far: yield f"{', '.join(far)} ({stated})\n  was: {was}\n  now: {now}"


# --- a run

class Failed(Exception):
    "A notebook did not run to its end; the message says in which cell, and why."


class Loop(asyncio.SelectorEventLoop):
    """Knows when the run is to end: nbclient ends the kernel at Ctrl-C, and says no more than that
    it died."""
    interrupted = False

    def add_signal_handler(self, number, callback, *args):
        def interrupt():
            self.interrupted = True
            # who still waits for the kernel would say on the screen that it is gone
            self.set_exception_handler(lambda *what: None)
            callback(*args)
        super().add_signal_handler(number, interrupt)


def execute(notebook, folder):
    "Run all cells, in the notebook's folder."
    running = []
    client = NotebookClient(
        notebook, timeout=None, record_timing=False, coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--log-level=CRITICAL"],  # at Ctrl-C a kernel would show where it was
        on_cell_execute=lambda cell, cell_index: running.append(cell))
    with asyncio.Runner(loop_factory=Loop) as runner:
        try: runner.run(client.async_execute())
        except Exception as error:
            place = f"{first_line(running[-1])}\n" if running else ""
            what = getattr(error, "ename", type(error).__name__)
            raise Failed(f"{place}{what}: {getattr(error, 'evalue', error)}") from error
        finally:
            if runner.get_loop().interrupted: raise KeyboardInterrupt


def first_line(cell):
    lines = [line.strip() for line in cell.source.splitlines() if line.strip()]
    return next((line for line in lines if not re.match(r"#\s*\|", line)), *lines[:1])


def cleaned(text):
    "A notebook as nbdev_clean leaves it."
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "notebook.ipynb"
        file.write_text(text, encoding="utf-8", newline="\n")
        subprocess.run([BIN / "nbdev_clean", "--fname", file], cwd=ROOT, check=True)
        return file.read_text(encoding="utf-8")


def smaller(png):
    "A PNG with a palette, in base64, or the same where that is not smaller or cannot be had."
    try: image = Image.open(io.BytesIO(b64decode(png)))
    except (OSError, ValueError): return png
    if image.mode == "P" or image.convert("RGBA").getextrema()[3][0] < 255: return png
    image.convert("RGB").quantize(256).save(file := io.BytesIO(), "PNG", optimize=True)
    return min(png, b64encode(file.getvalue()).decode(), key=len)


def make_figures_small(notebook):
    "With a palette, and without a second copy as JPEG."
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" not in data: continue
            data.pop("image/jpeg", None)
            data["image/png"] = smaller(data["image/png"])


def replace(path, text):
    "Write a file so that nobody sees half of it."
    new = path.with_name(f".{path.name}.new")
    try:
        new.write_text(text, encoding="utf-8", newline="\n")
        shutil.copymode(path, new)
        os.replace(new, path)
    finally: new.unlink(missing_ok=True)


def rerun(path, check):
    "Run one notebook: [(first line of a cell, what moved)]."
    try: before = nbformat.read(path, as_version=4)
    except Exception as error: raise Failed(f"not a notebook: {error}") from error
    for cell in before.cells:
        try: tolerance_of(cell.source)
        except ValueError as error: raise Failed(f"{first_line(cell)}\n{error}") from error
    after = nbformat.from_dict(before)
    execute(after, path.parent)
    make_figures_small(after)
    text = cleaned(nbformat.writes(after))
    if not check: replace(path, text)
    cells = zip(before.cells, nbformat.reads(text, as_version=4).cells)
    return [(first_line(new), what) for old, new in cells for what in moved(old, new)]


def every_notebook():
    "All notebooks: those of the ground first, tutorials last."
    found = [path for path in (ROOT / "nbs").rglob("*.ipynb")
             if ".ipynb_checkpoints" not in path.parts]
    place = {"ground": 0, "nbs": 1, "tutorials": 3}
    return sorted(found, key=lambda path: (place.get(path.parent.name, 2), path))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="without: all")
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    paths = [path.resolve() for path in args.notebooks] or every_notebook()
    if missing := [str(path) for path in paths if not path.is_file()]:
        parser.error(f"no such notebook: {', '.join(missing)}")

    failures, done = [], 0
    try:
        for path in paths:
            name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
            print(f"{name} …", end="", flush=True)
            start = time.monotonic()
            try: found = [f"{name}: {cell}\n{what}" for cell, what in rerun(path, args.check)]
            except Failed as error: found = [f"{name} failed: {error}"]
            failures += found
            done += 1
            seconds, more = time.monotonic() - start, ", see below" if found else ""
            print(f" {seconds:.0f} s{more}; {len(paths) - done} left", flush=True)
    except KeyboardInterrupt: print(f" stopped, and left as it was; {len(paths) - done} left")
    for failure in failures: print(f"\n{failure}")
    if done < len(paths): return 130
    if said := prose.listed(paths):
        failures.append("\n".join([f"{prose.ABOUT}:", *said]))
        print(f"\n{failures[-1]}")
    differences = f"{len(failures)} differences and errors"
    print(f"\n{done} notebooks run, "
          + (differences if failures else "every number within its tolerance"))
    return 1 if failures else 0


if __name__ == "__main__": sys.exit(main())
