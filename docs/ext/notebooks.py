"""Notebooks as pages: the set-up cell and hidden cells are left out, directives go, figures get
their alt text, and a gallery of the figures is made.

    python docs/ext/notebooks.py      list the figures that have no alt text of their own
"""
import ast
import base64
import hashlib
import json
import re
import sys
from functools import cache
from pathlib import Path
from urllib.parse import quote

import architecture
import nbformat

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DIRECTIVE = re.compile(r"^\s*#\s*\|\s*(.*?)\s*$", re.MULTILINE)
PICTURES = {"image/png": "png", "image/jpeg": "jpg", "image/svg+xml": "svg", "image/gif": "gif"}


def read_notebook(text):
    "The notebook that Sphinx reads: MyST-NB's `nb_custom_formats` calls this with a file's text."
    notebook = nbformat.reads(text, as_version=4)
    notebook.metadata["language_info"] = {"name": "python", "pygments_lexer": "ipython3"}
    cells, before, badge = [], "", ""
    for cell in notebook.cells:
        if cell.get("id") == "colab-badge": badge = cell.source
        elif cell.get("id") == "colab-setup":
            cells.append(nbformat.v4.new_markdown_cell(buttons(text, badge)))
        elif cell.cell_type == "markdown":
            # its place in docs/ is one folder less away
            before = cell.source = re.sub(r"\]\(((?:\.\./)+)docs/", r"](\1", cell.source)
            cells.append(cell)
        elif cell.cell_type == "code" and shown(cell):
            cells += [target(cell, text), page_cell(cell, before)]
    notebook.cells = cells
    return notebook


def directives(cell):
    "What follows `#|` in a code cell, as [(name, value)]."
    found = (re.match(r"([\w-]+):?\s*(.*)", line) for line in DIRECTIVE.findall(cell.source))
    return [match.groups() for match in found if match]


def shown(cell):
    "Whether a code cell has something to show on a page."
    names = {name for name, _ in directives(cell)}
    if cell.get("id") == "colab-setup" or "hide" in names: return False
    return bool(DIRECTIVE.sub("", cell.source).strip() or cell.outputs)


@cache
def only_imports(source):
    "Whether a cell does nothing but import."
    try: lines = ast.parse(source).body
    except SyntaxError: return False  # a line for the shell
    return bool(lines) and all(isinstance(line, (ast.Import, ast.ImportFrom)) for line in lines)


def page_cell(cell, before):
    """A code cell without directives, with the alt text of its figures; folded where it only draws
    a diagram, writes a sentence, imports for the module, or answers an exercise."""
    names, tags = dict(directives(cell)), []
    exported = names.keys() & {"export", "exporti", "exports"}
    if exported: tags += ["export"]
    if "solution" in names: tags += ["hide-cell"]
    elif "diagram" in names or 'Markdown(f"' in cell.source or (
            exported and only_imports(cell.source)):
        tags += ["hide-input"]
    if tags: cell.metadata["tags"] = [*cell.metadata.get("tags", []), *tags]
    page = {"image": {"alt": alt_text(cell, before)}} if any(pictures(cell)) else {}
    if "solution" in names:
        page |= {"code_prompt_show": "A solution", "code_prompt_hide": "Hide the solution"}
    if page: cell.metadata["mystnb"] = page
    cell.source = bare(cell.source)
    return cell


def bare(source):
    "Code without its directives."
    return re.sub(r"^\s*#\s*\|.*\n?", "", source, flags=re.MULTILINE).strip("\n")


def pictures(cell):
    "(MIME type, data) of each figure that a cell shows; a figure given in two formats counts once."
    for output in cell.get("outputs", []):
        mime = next((mime for mime in PICTURES if mime in output.get("data", {})), None)
        if mime and "text/html" not in output["data"]: yield mime, output["data"][mime]


def alt_text(cell, before):
    "The cell's own `fig-alt`, else the last sentence of the text before it."
    own = dict(directives(cell)).get("fig-alt", "").strip("\"'")
    return own or last_sentence(before)


def last_sentence(markdown):
    "The last sentence of a markdown cell, without its marks."
    text = re.sub(r"```.*?```|^#.*$|^\s*\|.*$", " ", markdown, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    words = re.sub(r"[`*_>]|\s+", lambda mark: " " if mark[0].isspace() else "", text).strip()
    return re.split(r"(?<=[.!?])\s+", words)[-1].rstrip(":") or "Figure"


def buttons(text, badge):
    "Links in place of the set-up cell: to Colab and GitHub, if there is an address; to the file."
    colab = re.search(r"\]\((https:[^)]*/github/([^)]*?)/blob/([^)]*\.ipynb))\)", badge)
    name = next(path.name for path in sources() if path.read_text(encoding="utf-8") == text)
    links = []
    if colab:
        address, repository, place = colab.groups()
        github = f"https://github.com/{repository}"
        links += [f"[Open in Colab]({address})", f"[View source]({github}/blob/{place})",
                  f"[Edit]({github}/edit/{place})"]
    links += [f"{{download}}`Download notebook <{name}>`"]
    return ":::{container} buttons\n" + " ".join(links) + "\n:::"


def target(cell, text):
    "A place that the API reference can link to."
    return nbformat.v4.new_markdown_cell(f"({label(text, cell.id)})=")


def label(text, cell_id):
    "Unique on the site: the same cell id may occur in two notebooks."
    return f"cell-{module_of(text) or hashlib.sha256(text.encode()).hexdigest()[:6]}-{cell_id}"


def module_of(text):
    "The module that a notebook exports, or nothing."
    found = re.search(r"#\|\s*default_exp\s+([\w.]+)", text)
    return found[1].removesuffix(".__init__").replace(".", "-") if found else None


def title(notebook):
    "The first heading."
    lines = (line for cell in notebook.cells if cell.cell_type == "markdown"
             for line in cell.source.splitlines())
    return next(line.lstrip("# ") for line in lines if line.startswith("# "))


def sources():
    "All notebooks of the repository, numbered ones first."
    found = [path for path in sorted((ROOT / "nbs").rglob("*.ipynb"))
             if ".ipynb_checkpoints" not in path.parts and not path.name.startswith((".", "_"))]
    return sorted(found, key=lambda path: (len(path.parts), path))


def write(path, data):
    "Write only what is new, so that a second build reads only what changed."
    data = data.encode() if isinstance(data, str) else data
    if path.is_file() and path.read_bytes() == data: return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def keep_only(folder, wanted):
    "Remove what an earlier build left."
    for path in folder.rglob("*") if folder.is_dir() else []:
        if path.is_file() and path not in wanted: path.unlink()


def make_pages(app=None):
    "Copy the notebooks into docs/, where Sphinx finds them, and write their lists and the gallery."
    numbered = [path for path in sources() if path.parent.name == "nbs"]
    tutorials = sorted((path for path in sources() if path.parent.name == "tutorials"),
                       key=lambda path: ([*LEARNING, path.stem].index(path.stem), path))
    rooms = sorted((path for path in sources() if path not in numbered + tutorials),
                   key=lambda path: architecture.ORDER.index(module_name(path)))
    pages = {DOCS / path.relative_to(ROOT): path.read_bytes() for path in sources()}
    pages[DOCS / "nbs" / "index.md"] = contents("The notebooks", numbered, NUMBERED)
    about = TUTORIALS if tutorials else NO_TUTORIALS
    pages[DOCS / "nbs" / "tutorials" / "index.md"] = contents(
        "Tutorials", tutorials, about, "nbs/tutorials")
    pages[DOCS / "nbs" / "rooms.md"] = contents("The rooms behind", rooms, ROOMS, by_stage=True)
    pages |= gallery()
    for path, data in pages.items(): write(path, data)
    for folder in ("nbs", "gallery"): keep_only(DOCS / folder, pages)


# Tutorials in the order of learning; another one comes after them.
LEARNING = ("finetune", "your_own_pictures", "the_guide_today", "chat_model", "full_size")
NUMBERED = (
    "The lesson, in the order of the work. Each stands alone and runs from top to bottom in less "
    "than a minute on two cores. Its cells are documentation and tests at once; those with a blue "
    "line at the left are exported to the package.")
ROOMS = ("One subject each, which the numbered notebooks stand on: "
         "for those who want to know or change it.")
TUTORIALS = "Whole tasks, from start to end, on what the [notebooks](../index.md) build."
NO_TUTORIALS = "None yet. The [notebooks](../index.md) go through the same stages one by one."


def contents(heading, paths, introduction, folder="nbs", by_stage=False):
    "A page in `folder` with a list of notebooks, each with its subtitle; by stage, under headings."
    lines, names, sizes, stage = [f"# {heading}", "", introduction, ""], [], [], None
    for path in paths:
        if by_stage and stage != (stage := architecture.stage_of(module_name(path))):
            lines += ["", f"## {stage.capitalize()}", ""]
        notebook = nbformat.read(path, as_version=4)
        subtitle = re.search(r"^> *(.*)$", notebook.cells[0].source, re.MULTILINE)
        place = path.relative_to(ROOT / folder).as_posix()
        number = re.match(r"\d+", path.name)
        sizes.append(counted(notebook))
        size = " *({:,} words, {:,} lines of code)*".format(*sizes[-1]) if not by_stage else ""
        lines += [f"{f'{int(number[0])}.' if number else '-'} [{title(notebook)}]({place}): "
                  f"{subtitle[1] if subtitle else ''}{size}"]
        names.append(entry(path.relative_to(ROOT / folder), title(notebook)))
    if folder == "nbs" and paths and not by_stage:
        words, code = map(sum, zip(*sizes))
        lines += ["", f"In all {words:,} words and {code:,} lines of code: an afternoon."]
    if paths: lines += ["", "```{toctree}", ":hidden:", "", *names, "```"]
    return "\n".join(lines) + "\n"


def counted(notebook):
    "Words of prose, and lines of code without cells that only import."
    words = sum(len(re.sub(r"```.*?```|\]\([^)]*\)", " ", cell.source, flags=re.DOTALL).split())
                for cell in notebook.cells if cell.cell_type == "markdown")
    code = [bare(cell.source) for cell in notebook.cells if cell.cell_type == "code"
            and cell.get("id") != "colab-setup"]
    folded = [source for source in code if only_imports(source)]
    lines = sum(bool(line.strip()) for source in code if source not in folded
                for line in source.splitlines())
    return words, lines


def entry(place, heading):
    "A line of a table of contents; a numbered notebook keeps its number before its title."
    name, number = place.with_suffix("").as_posix(), re.match(r"\d+", place.name)
    return f"{int(number[0])} · {heading} <{name}>" if number else name


def module_name(path):
    "The module that a room exports, such as data.splits."
    found = re.search(r"#\|\s*default_exp\s+([\w.]+)", path.read_text(encoding="utf-8"))
    return found[1].removesuffix(".__init__")


def gallery():
    "Every figure of the notebooks on one page, with a link to its cell: {path: contents}."
    files, lines = {}, [
        "# Gallery", "",
        "Every figure that the notebooks show, as they were committed; "
        "a figure leads to the code that drew it."]
    for path in sources():
        text = path.read_text(encoding="utf-8")
        page = path.relative_to(ROOT).with_suffix(".html").as_posix()
        notebook, before, entries = nbformat.reads(text, as_version=4), "", []
        for cell in notebook.cells:
            if cell.cell_type == "markdown": before = cell.source
            elif cell.cell_type == "code" and shown(cell):
                for mime, data in pictures(cell):
                    data = data.encode() if mime == "image/svg+xml" else base64.b64decode(data)
                    name = f"{hashlib.sha256(data).hexdigest()[:16]}.{PICTURES[mime]}"
                    files[DOCS / "gallery" / name] = data
                    alt = json.dumps(alt_text(cell, before), ensure_ascii=False)
                    place = f"../{page}#{label(text, cell.id)}"
                    entries += [f"```{{image}} {name}", f":alt: {alt}", f':target: "{place}"',
                                ":loading: lazy", "```"]
        if entries:
            heading = f"## [{title(notebook)}](../{path.relative_to(ROOT).as_posix()})"
            lines += ["", heading, "", "::::{container} gallery", *entries, "::::"]
    files[DOCS / "gallery" / "index.md"] = "\n".join(lines) + "\n"
    return files


def without_alt_text():
    "'notebook: first line of the cell' for each figure that falls back on the sentence before it."
    for path in sources():
        for cell in nbformat.read(path, as_version=4).cells:
            is_figure = cell.cell_type == "code" and shown(cell) and any(pictures(cell))
            if is_figure and not dict(directives(cell)).get("fig-alt"):
                code = DIRECTIVE.sub("", cell.source).splitlines()
                first = next(line for line in code if line.strip())
                yield f"{path.relative_to(ROOT).as_posix()} #{cell.id}: {first[:90]}"


def repository_links(app, doctree):
    "Links to files that are no page lead to the repository, if it has an address."
    from docutils import nodes
    from sphinx.addnodes import download_reference, pending_xref
    page = Path(app.env.docname)
    for node in [*doctree.findall(pending_xref), *doctree.findall(download_reference)]:
        if node.get("refdomain") == "py" or node.get("reftype") not in ("myst", "download", None):
            continue
        wanted = node["reftarget"].split("#")[0]
        for base in (ROOT / page.parent, ROOT):  # a notebook's folder; the folder of README.md
            file = (base / wanted).resolve()
            in_repository = file.is_relative_to(ROOT) and file.exists()
            if not wanted or wanted.endswith(".ipynb") or not in_repository:
                continue
            url = f"{app.config.site_source_url}/{quote(file.relative_to(ROOT).as_posix())}"
            link = nodes.reference("", "", *node.children, refuri=url)
            node.replace_self(link if app.config.site_source_url else node.children)
            break


def say_alt_text(app, exception):
    "At the end of a build: what still wants an alt text of its own."
    from sphinx.util import logging
    missing = list(without_alt_text())
    if missing:
        heading = f'{len(missing)} cells show a figure and have no line #| fig-alt: "…"'
        logging.getLogger(__name__).info("%s", "\n".join([heading, *missing]))


def setup(app):
    app.add_config_value("site_source_url", "", "env")
    app.connect("builder-inited", make_pages)
    app.connect("doctree-read", repository_links, priority=100)
    app.connect("build-finished", say_alt_text)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    missing = list(without_alt_text())
    print("\n".join(missing) or "every figure has alt text")
    sys.exit(bool(missing))
