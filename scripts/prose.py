"""Lists sentences of the notebooks that say a number, or quote words, and that nothing proves.

    python scripts/prose.py [NOTEBOOK …]    all without names; exits with 1 when it finds one

A sentence is proved, as far as a script can tell, where

- it stands beside a code cell that asserts something (`assert`, `test_eq`, …), which has to be
  what the sentence says: that is for its writer and its readers to see;
- each of its numbers, and each quotation that stands after what a cell showed, is in the code of
  its section: a setting;
- it has a link, to where the number is from.

A number that a cell prints belongs into what the cell prints: Markdown(f"… {value} …"). Not read
are headings, code, formulas, names with digits (git-tiny-2, BLEU-4), years, and exercises.
"""
import argparse
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[1]
PROOF = re.compile(r"\bassert\b|\btest_(?:eq|fail|close|is|ne|stdout|warns)\b")
UNREAD = re.compile(r"```.*?```|\$\$.*?\$\$|`[^`]*`|\$[^$\n]+\$|<[^>\n]+>"
                    r"|^#+ [^\n]*$|^\s*(?:\d+\.|[-*])\s", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
NUMBER = re.compile(r"(?<![\w.-])\d+(?:[.,]\d+)*(?![\w-]*[A-Za-z_]|\.\d)")
YEAR = re.compile(r"(?:19|20)\d\d")
EXERCISES = re.compile(r"^(#+ |\*\*)Exercises", re.MULTILINE)
QUOTED = re.compile(r"[\"“]([^\"“”]{2,60})[\"”]")
ABOUT = "sentences with a number or a quotation that nothing beside them proves"
LINKED = "\N{LINK SYMBOL}"  # marks that a link stood here
SENTENCE = re.compile(r"(?<=[.!?:;|])\s+|\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.)\s)")


def sentences(markdown):
    "What is read of a markdown cell: [(sentence, whether it has a link)]."
    text = LINK.sub(rf"\1{LINKED}", UNREAD.sub(" ", markdown))
    for sentence in SENTENCE.split(text):
        yield " ".join(sentence.replace(LINKED, "").split()), LINKED in sentence


def said(sentence):
    "The numbers and the quoted words of a sentence."
    numbers = [each for each in NUMBER.findall(sentence) if not YEAR.fullmatch(each)]
    return numbers, QUOTED.findall(sentence)


def sections(cells):
    "Cells between headings, each a list."
    found = [[]]
    for cell in cells:
        if cell.cell_type == "markdown" and cell.source.lstrip().startswith("#"): found.append([])
        found[-1].append(cell)
    return found


def unproved(notebook):
    "[(cell id, sentence)] of a notebook."
    for section in sections(notebook.cells):
        if not section or EXERCISES.search(section[0].source): continue
        codes = [cell for cell in section if cell.cell_type == "code"]
        settings = "\n".join(cell.source for cell in codes)
        for k, cell in enumerate(section):
            if cell.cell_type != "markdown": continue
            beside = section[max(0, k - 1):k] + section[k + 1:k + 2]
            if any(PROOF.search(c.source) for c in beside if c.cell_type == "code"): continue
            reads = k and section[k - 1].get("outputs")  # what was shown
            for sentence, has_link in sentences(cell.source):
                numbers, quotes = said(sentence)
                shown = [n for n in numbers if not re.search(rf"(?<![\d.]){re.escape(n)}(?!\d)",
                                                            settings.replace("_", ""))]
                words = [q for q in quotes if reads and q.strip(" .,…") not in settings]
                if not has_link and (shown or words): yield cell.get("id"), sentence


def listed(paths):
    "A line for each sentence of these notebooks."
    found = []
    for path in paths:
        at = path.resolve()
        name = at.relative_to(ROOT).as_posix() if at.is_relative_to(ROOT) else str(path)
        try: notebook = nbformat.read(path, as_version=4)
        except Exception: continue  # no notebook: whoever runs it says so
        found += [f"{name} #{cell}: {sentence}" for cell, sentence in unproved(notebook)]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="without: all")
    paths = parser.parse_args().notebooks or sorted(
        path for path in (ROOT / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts)
    found = listed(paths)
    print("\n".join([*found, f"{len(found)} {ABOUT}"]))
    return 1 if found else 0


if __name__ == "__main__": sys.exit(main())
