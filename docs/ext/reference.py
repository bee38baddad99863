"""The API reference: each public name with its signature, its docments as a table, its source and
the notebook where it is made. All of it is read from the modules' text; nothing is imported but
`imgcap.config`, which has the options' help.
"""
import ast
import builtins
import dataclasses
import importlib
import re
import sys
import tokenize
from functools import cache
from pathlib import Path
from typing import NamedTuple

import architecture
import notebooks

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
CONFIG = importlib.import_module("imgcap.config")
API = notebooks.DOCS / "api"
# Stages in the order of the reference, with a heading and a sentence.
STAGES = {
    "data": ("Load", "Images and captions from anywhere, as one table."),
    "viz": ("Look", "Figures of captions, and diagrams."),
    "preprocess": ("Preprocess", "From rows to batches of tensors."),
    "families": ("Families", "What differs between GIT, BLIP and other captioners."),
    "model": ("Model", "Checkpoints, the loss, writing captions."),
    "train": ("Train", "Fine-tuning, and the run folder it leaves."),
    "metrics": ("Metrics", "Scores of captions; no model is needed."),
    "evaluate": ("Evaluate", "A model beside baselines, and pages to read."),
    "infer": ("Infer", "Captions for an image, a folder, a million."),
    "share": ("Share", "Model card, push, export."),
    "doors": ("App, benchmark, command line", "What people touch."),
    "ground": ("Ground", "What all stages stand on."),
}
# What each lesson is about: it stands first on its page, and in its example.
MAIN = {
    "data": "load_captions", "viz": "show_captions", "preprocess": "CaptionCollator",
    "model": "load_model", "train": "finetune", "metrics": "caption_scores",
    "evaluate": "evaluate_model", "infer": "Captioner", "share": "push_run",
}
NO_EXAMPLE = {"export", "exporti", "exports", "diagram", "solution", "slow", "hide"}


class Module:
    "One module, parsed."
    def __init__(self, name):
        self.name, self.path = name, architecture.module_file(name)
        self.lines = self.path.read_text(encoding="utf-8").splitlines()
        self.tree = ast.parse("\n".join(self.lines))
        self.doc = ast.get_docstring(self.tree) or ""
        with open(self.path, "rb") as file:
            self.comments = {token.start[0]: token.string.lstrip("# ")
                             for token in tokenize.tokenize(file.readline)
                             if token.type == tokenize.COMMENT}
        is_face = self.path.name == "__init__.py"
        self.package = ["imgcap", *name.split(".")][:None if is_face else -1]
        self.defined = {name: node for node in self.tree.body for name in names_of(node)}
        public = self.defined.get("__all__")
        self.public = ast.literal_eval(public.value) if public else []
        self.imported = {alias.asname or alias.name: origin(node, alias, self.package)
                         for node in ast.walk(self.tree)
                         if isinstance(node, (ast.Import, ast.ImportFrom))
                         for alias in node.names}

    def full_name(self, name):
        "`Tensor` as `torch.Tensor`, where the module says so."
        if name in self.defined: return f"imgcap.{self.name}.{name}"
        return self.imported.get(name, name)

    def cell(self, line):
        "(notebook, cell id) that a line was exported from."
        for text in reversed(self.lines[:line]):
            found = re.match(r"# %% (?:\.\./)*(nbs/\S+\.ipynb) #(\w+)", text)
            if found: return found.groups()

    def annotation(self, node):
        "A type as text with full names; of `Annotated[type, …]` the type."
        if node is None: return ""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.parse(node.value, mode="eval").body
        node = annotated(self.resolve(node))[0]
        class FullNames(ast.NodeTransformer):
            def visit_Name(inner, name): return ast.Name(self.full_name(name.id))
        return ast.unparse(FullNames().visit(ast.parse(ast.unparse(node), mode="eval")))

    def resolve(self, node):
        "The module's own name for an annotated type, or that of another room, written out."
        if not isinstance(node, ast.Name): return node
        made = self.defined.get(node.id)
        room, _, name = self.imported.get(node.id, "").removeprefix("imgcap.").rpartition(".")
        if room in architecture.ORDER:  # a room's types keep their names, but for options
            option = module_named(room).defined.get(name)
            made = option if isinstance(option, ast.Assign) and annotated(option.value)[1] else None
        return made.value if isinstance(made, ast.Assign) else node

    def comment(self, node, alone=True):
        "The comment at the end of a parameter's line: its docment."
        return self.comments.get(node.end_lineno, "") if alone else ""


@cache
def module_named(name): return Module(name)


def names_of(node):
    "Names that a top-level statement defines."
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)): return [node.name]
    if isinstance(node, ast.Assign):
        targets = node.targets
    else:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else []
    return [name.id for target in targets for name in ast.walk(target)
            if isinstance(name, ast.Name)]


def origin(node, alias, package):
    "The full name of what an import in a module of `package` brings."
    if isinstance(node, ast.Import):
        return alias.name if alias.asname else alias.name.split(".")[0]
    start = package[:len(package) - node.level + 1] if node.level else []
    return ".".join(filter(None, [*start, node.module, alias.name]))


def annotated(node):
    """(type, help) of `Annotated[type, typer.Option(help=…)]` or `Annotated[type, shown(name)]`;
    (node, '') of anything else."""
    if not (isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Annotated")):
        return node, ""
    kind, call, *_ = node.slice.elts
    if not isinstance(call, ast.Call): return kind, ""
    told = {keyword.arg: keyword.value.value for keyword in call.keywords
            if isinstance(keyword.value, ast.Constant)}
    if "help" not in told and ast.unparse(call.func) == "shown":
        name, *config = call.args
        field = option_field(config[0].id if config else "CommandOptions", name.value)
        told["help"] = field.metadata["help"] + told.get("more", "")
    return kind, told.get("help", "")


def option_field(config, name):
    "A field of a dataclass that was made with `option`, or None."
    made = getattr(CONFIG, config, None)
    found = {field.name: field for field in dataclasses.fields(made)} if made else {}
    return found.get(name) if name in found and "help" in found[name].metadata else None


def parameters(module, function):
    "[(name with stars, annotation, default, docment)] without self; `*` and `/` have no type."
    args, found = function.args, []
    positional = args.posonlyargs + args.args
    defaults = [None] * (len(positional) - len(args.defaults)) + args.defaults
    named = [(arg.arg, arg, default) for arg, default in zip(positional, defaults)]
    if args.vararg: named.append((f"*{args.vararg.arg}", args.vararg, None))
    elif args.kwonlyargs: named.append(("*", None, None))
    named += [(arg.arg, arg, default) for arg, default in zip(args.kwonlyargs, args.kw_defaults)]
    if args.kwarg: named.append((f"**{args.kwarg.arg}", args.kwarg, None))
    lines = [(default or arg).end_lineno for _, arg, default in named if arg]
    for name, arg, default in named:
        if arg is None: found.append((name, "", None, ""))
        elif name not in ("self", "cls"):
            last = default or arg
            alone = lines.count(last.end_lineno) == 1
            beside = module.comment(last, alone and last.end_lineno != function.body[0].lineno)
            text = beside or annotated(module.resolve(arg.annotation))[1]
            found.append((name, module.annotation(arg.annotation), default, text))
    return found


def fields(module, made):
    "The parameters of a dataclass or a named tuple."
    found = [node for node in made.body
             if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    def default_and_text(node):
        field = option_field(made.name, node.target.id) if module.name == "config" else None
        return (node.value, module.comment(node)) if field is None else (
            plain_default(field), field.metadata["help"])
    return [(node.target.id, module.annotation(node.annotation), *default_and_text(node))
            for node in found if not node.target.id.startswith("_")]


def plain_default(field):
    "The default of a field as code; None where it has to be given."
    return None if field.default is dataclasses.MISSING else ast.Constant(field.default)


def default_text(node):
    "A default as in a signature; what a dataclass makes anew each time as `dict()`."
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        field = option_field(node.value.id, node.attr)  # CommandOptions.port
        node = node if field is None else plain_default(field)
    text = ast.unparse(node)
    factory = re.fullmatch(r"field\(.*default_factory=(\w+)\)", text)
    return f"{factory[1]}()" if factory else text


def parameter(name, kind, default):
    "One parameter as in a signature: `name: type = default`, `name=default`."
    typed = f"{name}: {kind}" if kind else name
    if default is None: return typed
    return typed + (" = " if kind else "=") + default_text(default)


def signature(found, returns=""):
    parts = [parameter(name, kind, default) for name, kind, default, _ in found]
    return f"({', '.join(parts)})" + (f" -> {returns}" if returns else "")


def rst(text):
    "A comment or docstring as reStructuredText: code stays code, everything else is plain."
    parts = re.split(r"`+([^`]+)`+", text.strip())
    for k in range(0, len(parts), 2):   # a bare http:// is no link
        parts[k] = re.sub(r"([\\*_|]|:(?=//(?:\W|$)))", r"\\\1", parts[k])
    for k in range(1, len(parts), 2):  # code may not touch a letter
        before, after = parts[k - 1][-1:], parts[k + 1][:1]
        start = "\\ " if before.isalnum() else ""
        end = "\\ " if after.isalnum() else ""
        parts[k] = f"{start}``{parts[k]}``{end}"
    return "".join(parts)


def table(found, returns=None):
    "Docments as a table."
    rows = [(f"``{name}``", text) for name, _, _, text in found if text]
    if returns and returns[1]: rows.append(("*returns*", returns[1]))
    if not rows: return []
    lines = [".. list-table::", "   :header-rows: 1", "   :widths: auto", "   :class: docments", "",
             "   * - Parameter", "     - Meaning"]
    for name, text in rows: lines += [f"   * - {name}", f"     - {rst(text)}"]
    return [*lines, ""]


def cell_link(notebook, cell):
    "A link to a cell where the site shows it, else to its notebook."
    text, parsed = read_notebook(notebook)
    title = notebooks.title(parsed)
    if any(c.get("id") == cell and c.cell_type == "code" and notebooks.shown(c)
           for c in parsed.cells):
        return f":ref:`{title} <{notebooks.label(text, cell)}>`"
    return f":doc:`{title} </{Path(notebook).with_suffix('').as_posix()}>`"


@cache
def read_notebook(notebook):
    "(text, notebook) of a place in the repository; a page links to a notebook many times."
    text = (ROOT / notebook).read_text(encoding="utf-8")
    return text, notebooks.nbformat.reads(text, as_version=4)


def links(module, node):
    "Where the source is, and the notebook."
    lines = f"#L{node.lineno}-L{node.end_lineno}"
    parts = [f"`source <{{url}}/{module.path.relative_to(ROOT).as_posix()}{lines}>`__"]
    where = module.cell(node.lineno)
    if where and (ROOT / where[0]).is_file():
        parts.append(f"made in {cell_link(*where)}")
    return [".. container:: links", "", "   " + " · ".join(parts), ""]


def indented(lines, by=3): return [" " * by + line if line else "" for line in lines]


def entry_of(heading, *lines):
    "A directive with what stands under it."
    return [heading, "", *indented(lines), ""]


def function_entry(module, function, kind="function"):
    found, said = parameters(module, function), ""
    kind_returned = module.annotation(function.returns)
    if function.returns:
        beside = function.returns.end_lineno != function.body[0].lineno
        said = module.comment(function.returns, beside)
    about, where = doc(function), links(module, function)
    if kind == "method" and any(ast.unparse(d) == "property" for d in function.decorator_list):
        options = [f"   :type: {kind_returned}"] if kind_returned else []
        return [f".. py:property:: {function.name}", *options, "", *indented([*about, *where]), ""]
    heading = f".. py:{kind}:: {function.name}{signature(found, kind_returned)}"
    return entry_of(heading, *about, *table(found, (kind_returned, said)), *where)


def class_entry(module, made):
    methods = {node.name: node for node in made.body if isinstance(node, ast.FunctionDef)}
    has_fields = (any("dataclass" in ast.unparse(d) for d in made.decorator_list)
                  or any("NamedTuple" in ast.unparse(b) for b in made.bases))
    if "__init__" in methods:
        found = parameters(module, methods["__init__"])
    else:
        found = fields(module, made) if has_fields else []
    bases = [f":py:class:`{module.annotation(base)}`" for base in made.bases]
    inherits = [f"Inherits from {', '.join(bases)}.", ""] if bases else []
    public = [node for name, node in methods.items()
              if not name.startswith("_") or name == "__call__"]
    members = [line for node in public if ast.get_docstring(node) or not inherits
               for line in function_entry(module, node, "method")]
    heading = f".. py:class:: {made.name}{signature(found)}"
    return entry_of(heading, *doc(made), *inherits, *table(found), *links(module, made), *members)


def value_of(name, node):
    "The value that a top-level assignment gives to a name, as text; of an annotated type the type."
    target = node.targets[0] if isinstance(node, ast.Assign) else node.target
    value = node.value
    if isinstance(target, ast.Tuple):
        value = value.elts[names_of(node).index(name)]
    return ast.unparse(annotated(value)[0])


def shorten(text): return f"`{text}`" if len(text) <= 60 else f"`{text[:50]} …`"


def about(module, node):
    "What the comment beside or above an assignment says, or the help of an option."
    is_above = module.lines[node.lineno - 2].startswith("#")
    above = module.comments.get(node.lineno - 1, "") if is_above else ""
    if above.startswith("%%"): above = ""
    return module.comments.get(node.lineno) or above or annotated(node.value)[1]


def data_entry(module, name, node):
    text = value_of(name, node)
    value = [f"   :value: {text if len(text) <= 90 else text[:80] + ' …'}"]
    about_it = [rst(about(module, node)), "", *links(module, node)]
    return [f".. py:data:: {name}", *value, "", *indented(about_it), ""]


def doc(node):
    paragraphs = (ast.get_docstring(node) or "").split("\n\n")
    return [line for text in paragraphs for line in (rst(" ".join(text.split())), "")]


def entry(module, name, every):
    "One public name, wherever it is defined."
    node = module.defined.get(name)
    if isinstance(node, ast.FunctionDef): return function_entry(module, node)
    if isinstance(node, ast.ClassDef): return class_entry(module, node)
    if node: return data_entry(module, name, node)
    return [f"``{name}`` is :py:obj:`{module.full_name(name)}`.", ""]


def notebook_of(module):
    "The notebook that a module is exported from, as a place in the repository."
    found = (module.cell(line) for line in range(len(module.lines), 0, -1))
    return next(where[0] for where in found if where)


def by_importance(module):
    "A module's public names, what its lesson is about first."
    return sorted(module.public, key=lambda name: name != MAIN.get(module.name))


class Cell(NamedTuple):
    "A code cell: its parts as a tree, the names that it defines and the names that it needs."
    id: str
    source: str
    exported: bool
    makes: set
    needs: set
    calls: set
    usable: bool
    chosen: bool  # marked as the example


def read_cell(cell):
    "A notebook's code cell as a `Cell`; None where it is a line for the shell or hidden."
    names = {name for name, _ in notebooks.directives(cell)}
    source = notebooks.bare(cell.source)
    try: tree = ast.parse(source)
    except SyntaxError: return None
    nodes = list(ast.walk(tree))
    made = {node.id for node in nodes if isinstance(node, ast.Name) and
            isinstance(node.ctx, ast.Store)}
    made |= {node.name for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    made |= {alias.asname or alias.name.split(".")[0] for node in nodes
             if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names}
    needs = {node.id for node in nodes if isinstance(node, ast.Name)
             and isinstance(node.ctx, ast.Load)}
    called = {getattr(node.func, "id", "") for node in nodes if isinstance(node, ast.Call)}
    exported = bool(names & {"export", "exporti", "exports"})
    return Cell(cell.get("id"), source, exported, made, needs - set(dir(builtins)), called,
                not exported and not names & NO_EXAMPLE, "example" in names)


def slice_before(module, cells, last):
    "What a cell needs: lines that import, and the earlier cells that make what it uses."
    taken, wanted, imports = [last], set(last.needs), set()
    for cell in reversed(cells[:cells.index(last)]):
        if not (found := cell.makes & wanted): continue
        if cell.exported or notebooks.only_imports(cell.source): continue
        taken.insert(0, cell)
        wanted = wanted - found | cell.needs
    outside = {alias: where for cell in cells if notebooks.only_imports(cell.source)
               for alias, where in imports_of(cell.source).items()}
    made = {name for cell in taken for name in cell.makes}
    for name in sorted({name for cell in taken for name in cell.needs} - made):
        if name in module.defined: imports.add((f"imgcap.{module.name}", name))
        elif name in outside: imports.add(outside[name])
    return [import_line(*each) for each in sorted(imports, key=str)], taken


def imports_of(source):
    "{name: (module, what is imported)} of a cell of imports; the latter None for `import x`."
    found = {}
    for node in ast.parse(source).body:
        for alias in node.names:
            name = alias.asname or alias.name
            from_ = node.module if isinstance(node, ast.ImportFrom) else alias.name
            what = alias.name if isinstance(node, ast.ImportFrom) else None
            if alias.asname and what != name: what = f"{what or ''} as {name}".strip()
            found[name.split(".")[0]] = (from_, what)
    return found


def import_line(where, what):
    if what is None: return f"import {where}"
    return f"import {where} {what}" if what.startswith("as ") else f"from {where} import {what}"


def example_code(module):
    """A piece of the notebook that runs alone and uses the module, as (cell, lines): the one marked
    `#| example`, in a lesson the first that does what it is about, else the smallest."""
    read = [read_cell(cell) for cell in read_notebook(notebook_of(module))[1].cells
            if cell.cell_type == "code" and cell.get("id") != "colab-setup"]
    cells = [cell for cell in read if cell]
    own, found = set(module.public), []
    if not any(cell.usable and cell.calls & own for cell in cells):  # what has no docs of its own
        own = {name for name in module.defined if not name.startswith("_")}
    for cell in cells:
        if not (cell.usable and cell.calls & own): continue
        imports, taken = slice_before(module, cells, cell)
        lines = [*imports, "", *"\n".join(each.source for each in taken).splitlines()]
        if MAIN.get(module.name) in cell.calls or cell.chosen: return cell, lines
        found.append((len(lines), len(found), cell, lines))
    return min(found)[2:] if found else (None, [])


def example(module):
    "The page's first code: a piece of the notebook, with a link to what it shows."
    cell, lines = example_code(module)
    if cell is None: return []
    link = cell_link(notebook_of(module), cell.id)
    return [f"For example, from {link}, where its output is shown:", "",
            ".. code-block:: python", "", *indented(lines), ""]


def rooms_of(module, every):
    "The modules in the folder of a face, as a hidden table of contents and a list."
    rooms = [other for other in every if other.name.startswith(f"{module.name}.")]
    if not rooms: return []
    return [*toctree(rooms), "Its rooms, one subject each:", "", *listed(rooms), ""]


def toctree(modules):
    "A hidden table of contents; a room has its own name, without its stage's."
    entries = [f"{name.split('.')[-1]} <{name}>" if "." in name else name
               for name in (module.name for module in modules)]
    return [".. toctree::", "   :hidden:", "", *(f"   {entry}" for entry in entries), ""]


def listed(modules):
    return [f"- :doc:`imgcap.{module.name} <{module.name}>`: {rst(module.doc)}"
            for module in modules]


def page(module, every):
    heading = f"imgcap.{module.name}"
    lines = [heading, "=" * len(heading), "", f".. py:module:: {heading}", "", rst(module.doc), ""]
    entries = [line for name in by_importance(module) for line in entry(module, name, every)]
    return "\n".join([*lines, *example(module), *entries, *rooms_of(module, every)])


def first_line(module, name):
    node = module.defined.get(name)
    room, _, own = module.full_name(name).removeprefix("imgcap.").rpartition(".")
    if node is None and room in architecture.ORDER: return first_line(module_named(room), own)
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return rst((ast.get_docstring(node) or "").split("\n")[0])
    return rst(about(module, node) or shorten(value_of(name, node))) if node else ""


def names_table(module):
    "The public names of a module, each with its first line."
    lines = [".. list-table::", "   :widths: auto", "   :class: names", ""]
    for name in by_importance(module):
        full = module.full_name(name)
        lines += [f"   * - :py:obj:`~{full}`", f"     - {first_line(module, name)}"]
    return [*lines, ""] if module.public else []


def overview(every):
    "All stages on one page: what a stage hands out, and its rooms; the lesson's order first."
    lines = ["API reference", "=============", "",
             "Every public name. First the stages, in the order of the lesson; then what they "
             "stand on. ``imgcap.NAME`` finds the names that most programs need.", ""]
    for stage, (title, about) in STAGES.items():
        modules = [module for module in every if architecture.stage_of(module.name) == stage]
        faces = [module for module in modules if "." not in module.name]
        lines += [title, "-" * len(title), "", rst(about), "", *toctree(faces)]
        for module in faces:
            heading = f":doc:`imgcap.{module.name} <{module.name}>`"
            rooms = [each for each in modules if each.name.startswith(f"{module.name}.")]
            lines += [heading, "^" * len(heading), "", rst(module.doc), "", *names_table(module)]
            if rooms: lines += ["Rooms: " + ", ".join(
                f":doc:`{room.name.split('.')[1]} <{room.name}>`" for room in rooms) + ".", ""]
    return "\n".join(lines)


def make_pages(app):
    every = [module_named(name) for name in architecture.modules()]
    url = app.config.site_source_url
    def linked(text):
        if url: return text.replace("{url}", url)
        return re.sub(r"`source <\{url\}[^>]*>`__( · )?", "", text)
    pages = {API / f"{module.name}.rst": linked(page(module, every)) for module in every}
    pages[API / "index.rst"] = overview(every)
    for path, text in pages.items(): notebooks.write(path, text)
    notebooks.keep_only(API, pages)


def setup(app):
    app.connect("builder-inited", make_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
