"""Which module imports which, read from the code: a picture for the site, and a check that no
arrow runs backwards.

    python docs/ext/architecture.py   print the arrows; exit with 1 when one runs backwards
"""
import ast
import re
import signal
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "imgcap"
# The stages, and the modules of each. A module may import what stands before it here, and nothing
# that stands after it; a stage's own name is its face, and stands last.
STAGES = {
    "ground": """words config extras files targets places fingerprints run_record run_files
        run_checkpoints runs hub devices formats colours fetch
        picture_files pictures pixels template_files""",
    "data": """data.scenery data.facts data.drawing data.creatures data.texts data.entries
        data.text_tables data.json_files data.layouts data.tables data.from_files data.rows
        data.shards data.sources data.splits data.checks data""",
    "viz": "viz.figures viz.diagrams viz.comparison viz.plots viz",
    "families": """families.git families.seen families.prompts families.chat families.florence
        families""",
    "preprocess": "preprocess.tokens preprocess.memory preprocess",
    "model": """model.tiny model.settings model.processors model.adapters model.checkpoints
        model.generation
        model.constraints model.decoding model""",
    "metrics": "metrics.predictions metrics.ngrams metrics.learned metrics",
    "train": """train.checkpoints train.parts train.rewards train.validation train.batches
        train.trainer train.starts train.endings train""",
    "infer": "infer.row_files infer.reading infer.jobs infer.alt_text infer",
    "evaluate": """evaluate.baselines evaluate.scoring evaluate.groups evaluate.pages
        evaluate.examples evaluate.records evaluate.inputs evaluate.verdicts evaluate.report
        evaluate.evidence evaluate.explain evaluate""",
    "share": "share.records share.front_matter share.cards share.graphs share.export share",
    "doors": """app_page app_choices app bench_recipes bench
        cli.help cli.screen cli.errors cli.options cli.learning cli.demonstration
        cli.commands cli""",
}
ORDER = [name for names in STAGES.values() for name in names.split()]
# A leaf knows no models: it may import the ground, the data and its own rooms.
LEAVES = [name for name in ORDER if name.split(".")[0] in ("viz", "metrics")]
BEFORE_MODELS = {name for stage in ("ground", "data") for name in STAGES[stage].split()}


def module_name(path):
    "`data.splits` of imgcap/data/splits.py, `data` of imgcap/data/__init__.py."
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def module_file(name):
    "The file of a module: imgcap/data/splits.py, or the face of a stage, imgcap/data/__init__.py."
    path = PACKAGE.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def modules():
    "The modules that notebooks export, in their order; a ValueError where one has no place in it."
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "nbs").rglob("*.ipynb")
             if ".ipynb_checkpoints" not in path.parts]
    exported = {found[1].removesuffix(".__init__") for text in texts
                if (found := re.search(r"#\|\s*default_exp\s+([\w.]+)", text))}
    written = {module_name(path) for path in PACKAGE.rglob("*.py")
               if not path.stem.startswith("_") or (path.parent != PACKAGE and path.stat().st_size)}
    if strange := sorted((exported | written) - set(ORDER)):
        raise ValueError(f"docs/ext/architecture.py has no place for {', '.join(strange)}: "
                         "put it into STAGES")
    return [name for name in ORDER if name in exported]


@cache
def arrows():
    "{(importer, imported): it is imported only when needed} for each pair of modules."
    found, every = {}, set(modules())
    for name in every:
        tree = ast.parse(module_file(name).read_text(encoding="utf-8"))
        at_start = {node for top in tree.body for node in imports(top) if top is node}
        package = ["imgcap", *name.split(".")]
        if module_file(name).name != "__init__.py": package.pop()
        for node in imports(tree):
            for other in imported(node, package, every) - {name}:
                found[name, other] = found.get((name, other), True) and node not in at_start
    return found


def imports(tree):
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def imported(node, package, every):
    "The modules of the package that one import names, in a module of `package`."
    if isinstance(node, ast.Import): paths = [alias.name for alias in node.names]
    else:
        start = package[:len(package) - node.level + 1] if node.level else []
        base = ".".join([*start, *([node.module] if node.module else [])])
        paths = [path if (path := f"{base}.{alias.name}").removeprefix("imgcap.") in every else base
                 for alias in node.names]
    return {path.removeprefix("imgcap.") for path in paths if path.startswith("imgcap.")} & every


def backwards():
    "Arrows that should not be, as sentences."
    order = modules()
    for importer, other in arrows():
        if order.index(other) > order.index(importer):
            yield f"{importer} imports {other}, which comes after it"
        if importer in LEAVES and other not in {*BEFORE_MODELS, *LEAVES}:
            yield f"{importer} imports {other}, and should know pictures and captions only"


def stage_of(name):
    "The stage that a module belongs to."
    return next(stage for stage, names in STAGES.items() if name in names.split())


def between_stages():
    "{(importing stage, imported stage): it is imported only when needed}, without the ground."
    found = {}
    for (importer, other), late in arrows().items():
        pair = stage_of(importer), stage_of(other)
        if pair[0] != pair[1] and pair[1] != "ground": found[pair] = found.get(pair, True) and late
    return found


BOX, GAP, IN_A_ROW = (118, 26), 8, 4  # a room's box, the space between two, and how many in a row
WIDTH = IN_A_ROW * (BOX[0] + GAP) + GAP


def picture():
    "The stages one below the other with their rooms, and an arc from each to each that it imports."
    rooms = {stage: [name for name in names.split() if name in set(modules())]
             for stage, names in STAGES.items()}
    heights = {stage: 30 + -(-len(names) // IN_A_ROW) * (BOX[1] + GAP)
               for stage, names in rooms.items()}
    left, y, tops, boxes = 60 + 11 * len(rooms), 10, {}, []
    for stage, names in rooms.items():
        tops[stage] = y
        boxes += [stage_box(stage, left, y, heights[stage])]
        boxes += [room_box(name, left, y, k) for k, name in enumerate(names)]
        y += heights[stage] + 14
    middle = {stage: top + heights[stage] / 2 for stage, top in tops.items()}
    arcs = [arc(*pair, late, left, middle) for pair, late in between_stages().items()]
    return (f'<svg class="modules" viewBox="0 0 {left + WIDTH + 10} {y}" role="group" '
            f'aria-label="{description()}">{HEAD}{"".join(arcs)}{"".join(boxes)}</svg>')


HEAD = ('<defs><marker id="arrow-head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8Z"/></marker></defs>')


def arc(importer, other, late, left, middle):
    "From one stage up to another; a cubic curve goes three quarters of the way to its handles."
    start, end = middle[importer] - 6, middle[other] + 6
    out = left - 16 - (middle[importer] - middle[other]) / 6
    when = " when needed" if late else ""
    return (f'<path class="arc{" late" if late else ""}" marker-end="url(#arrow-head)" '
            f'd="M{left} {start:.0f} '
            f'C{out:.0f} {start:.0f} {out:.0f} {end:.0f} {left - 3} {end:.0f}">'
            f"<title>{importer} imports {other}{when}</title></path>")


def stage_box(stage, left, top, height):
    return (f'<rect class="stage" x="{left}" y="{top}" width="{WIDTH}" height="{height}" rx="7"/>'
            f'<text class="name" x="{left + 12}" y="{top + 18}">{stage}</text>')


def room_box(name, left, top, k):
    "A room's box, number `k` of its stage; its title says what it imports."
    x = left + GAP + k % IN_A_ROW * (BOX[0] + GAP)
    y = top + 26 + k // IN_A_ROW * (BOX[1] + GAP)
    kind = (" face" if name in STAGES else "") + (" leaf" if name in LEAVES else "")
    shown = name.split(".")[-1]
    return (f'<a href="api/{name}.html"><title>{name} imports {imports_of(name)}</title>'
            f'<rect class="box{kind}" x="{x}" y="{y}" width="{BOX[0]}" height="{BOX[1]}" rx="5"/>'
            f'<text x="{x + BOX[0] / 2}" y="{y + 17}">{shown}</text></a>')


def imports_of(name):
    return ", ".join(other for importer, other in arrows() if importer == name) or "no other"


def description():
    "The picture in words."
    lines = [f"{name} imports {imports_of(name)}" for name in modules()]
    return "Modules of imgcap: " + "; ".join(lines) + "."


def setup(app):
    from docutils import nodes
    from docutils.parsers.rst import Directive
    from sphinx.errors import ExtensionError

    class Modules(Directive):
        "The picture of the modules."
        def run(self): return [nodes.raw("", picture(), format="html")]

    def check(app):
        wrong = list(backwards())
        if wrong: raise ExtensionError("; ".join(wrong))

    app.add_directive("modules", Modules)
    app.connect("builder-inited", check)
    app.connect("env-get-outdated", lambda app, env, added, changed, removed: ["architecture"])
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    # Whoever reads may have seen enough, such as `head`.
    if hasattr(signal, "SIGPIPE"): signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for (importer, other), late in arrows().items():
        print(f"{importer} -> {other}{'  (when needed)' if late else ''}")
    wrong = list(backwards())
    print("\n".join(wrong) or "no arrow runs backwards")
    sys.exit(bool(wrong))
