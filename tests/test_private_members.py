"""Private members of libraries that the package relies on, a row each: they may go without notice,
and then the row says what to do. What stands in no row is used nowhere.
"""

import ast
import importlib
import inspect
import sys
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "imgcap"
DOCUMENTED = {"_exit", "_repr_html_", "_repr_png_"}  # members that only look private


class Member(NamedTuple):
    module: str  # Of the library
    owner: str  # What has it, in that module; "" is the module itself
    name: str
    used: str  # In this file of the package
    takes: tuple | None  # Its parameters; None: an attribute that the owner's own code names
    instead: str  # What to do when it is gone


TABLE = [
    Member("transformers", "Trainer", "_save_checkpoint", "train/trainer.py",
           ("self", "model", "trial"),
           "wrap what writes a checkpoint now, so that a full disk leaves no half of one"),
    Member("transformers", "Trainer", "_determine_best_metric", "train/trainer.py",
           ("self", "metrics", "trial"),
           "set state.best_global_step in `evaluate`, and take the best weights after `train`"),
    Member("transformers", "Trainer", "_load_best_model", "train/trainer.py", ("self",),
           "load_best_model_at_end=False, and call `load_best` after `train`"),
    Member("transformers", "Trainer", "_load_from_checkpoint", "train/trainer.py",
           ("self", "resume_from_checkpoint", "model"),
           "load the weights in `on_train_begin`, which comes after the library's own loading"),
    Member("transformers", "Trainer", "_loss_shifts_labels", "train/trainer.py", None,
           "count the tokens of a step in `get_batch_samples`, without each row's first"),
    Member("transformers", "TrainingArguments", "_n_gpu", "train/trainer.py", None,
           "refuse a training that sees several GPUs, and say CUDA_VISIBLE_DEVICES and torchrun"),
    Member("transformers.generation", "GenerationMixin", "_expand_inputs_for_generation",
           "families/git.py", ("self", "expand_size", "is_encoder_decoder", "input_ids"),
           "multiply the captions before `generate`, as many as there are beams"),
    Member("accelerate", "Accelerator.prepare_model", "_original_forward", "train/validation.py",
           None, "keep `forward` before Trainer is made, and put it in place for a validation"),
    Member("torch.cpu", "", "_is_avx512_bf16_supported", "devices.py", (),
           "torch.cpu.get_capabilities, where the oldest torch that is supported has it"),
    Member("torch.cpu", "", "_is_amx_tile_supported", "devices.py", (),
           "torch.cpu.get_capabilities, where the oldest torch that is supported has it"),
    Member("datasets", "IterableDataset", "_resolve_features", "data/tables.py", ("self",),
           "take the features from the first rows"),
    Member("datasets", "Dataset", "_format_type", "infer/reading.py", None,
           "data.format['type'], and nothing of a stream"),
    Member("PIL.Image", "Image", "_new", "pictures.py", ("self", "im"),
           "image.copy(), at the price of a second copy of its pixels for a moment"),
    Member("evaluate", "Metric", "_info", "metrics/__init__.py", ("self",),
           "what the library's guide to a metric of one's own says"),
    Member("evaluate", "Metric", "_compute", "metrics/__init__.py", ("self",),
           "what the library's guide to a metric of one's own says"),
]


@pytest.mark.parametrize("member", TABLE, ids=lambda member: f"{member.owner}.{member.name}")
def test_it_is_as_we_rely_on_it(member):
    owner = importlib.import_module(member.module)
    if member.owner:
        owner = attrgetter(member.owner)(owner)
    if member.takes is None:
        assert f".{member.name}" in inspect.getsource(owner), member.instead
    else:
        assert hasattr(owner, member.name), member.instead
        takes = tuple(inspect.signature(getattr(owner, member.name)).parameters)
        assert takes[: len(member.takes)] == member.takes, member.instead


def is_private(name):
    return name[:1] == "_" and name[:2] != "__" and name.isidentifier() and name not in DOCUMENTED


def is_own(value):
    return isinstance(value, ast.Name) and value.id in ("self", "cls")


def asks_by_name(call):
    "Whether a call looks an attribute up by a text: `getattr(x, …)`, `vars(x).get(…)`."
    function = call.func
    if isinstance(function, ast.Name):
        return function.id in ("getattr", "setattr", "hasattr", "delattr")
    inner = function.value if isinstance(function, ast.Attribute) else None
    return isinstance(inner, ast.Call) and ast.unparse(inner.func) == "vars"


def named(tree):
    "Private names that code takes from others: as attributes, by a text, by import."
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not is_own(node.value):
            yield node.attr
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            whole = [getattr(node, "module", None) or "", *(each.name for each in node.names)]
            yield from (part for path in whole for part in path.split("."))
        if isinstance(node, ast.Call) and asks_by_name(node):
            texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
            yield from filter(lambda text: isinstance(text, str), texts)


def own_names(tree):
    "What a class or module gives itself: methods, fields, `self._name = …`."
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if is_own(node.value):
                yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def library_bases(node, module):
    "The classes of libraries that a class comes from."
    for base in node.bases:
        text = ast.unparse(base)
        first = text.partition(".")[0]
        known = vars(module) if hasattr(module, first) else {first: sys.modules.get(first)}
        found = eval(text, dict(known))
        for each in inspect.getmro(found):
            if not each.__module__.startswith(("imgcap", "builtins", "typing")):
                yield each


def overridden(tree, module):
    "Private names of a library's class that a class of ours gives a meaning of its own."
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.bases:
            mine = set(filter(is_private, own_names(node)))
            for base in library_bases(node, module) if mine else ():
                try:
                    text = inspect.getsource(base)
                except (OSError, TypeError):  # it is not written in Python
                    text = ""
                yield from (name for name in mine if name in vars(base) or f"self.{name}" in text)


def private_members():
    "(private name of a library, file of the package that uses it)."
    import evaluate  # noqa: F401  a class of metrics comes from it, and is made when needed

    files = [path for path in sorted(PACKAGE.rglob("*.py")) if path.stem != "_modidx"]
    for path in files:
        where, tree = path.relative_to(PACKAGE), ast.parse(path.read_text(encoding="utf-8"))
        name = ".".join(["imgcap", *where.with_suffix("").parts]).removesuffix(".__init__")
        if name.endswith("__main__"):
            continue
        theirs = set(overridden(tree, importlib.import_module(name)))
        taken = set(filter(is_private, named(tree))) - set(own_names(tree))
        yield from ((each, where.as_posix()) for each in theirs | taken)


def test_no_other_is_used():
    table = {(member.name, member.used) for member in TABLE}
    found = set(private_members())
    assert found - table == set(), "prefer a public way; where there is none, give it a row"
    assert table - found == set(), "a row that is no longer needed"


@pytest.mark.parametrize("code, names", [
    ("trainer._load_best_model()", {"_load_best_model"}),
    ("super()._save(folder)", {"_save"}),
    ("getattr(config, '_name_or_path', '')", {"_name_or_path"}),
    ("vars(model).get('_original_forward')", {"_original_forward"}),
    ("from transformers.utils import _a as b", {"_a"}),
    ("import torch._dynamo", {"_dynamo"}),
    ("self._own, model.public, model.__class__", set()),
])
def test_what_counts_as_taken(code, names):
    assert set(filter(is_private, named(ast.parse(code)))) == names


def test_what_counts_as_overridden():
    from imgcap.train import trainer

    code = "class Mine(Trainer):\n    def _save(self): self._mine = self._loss_shifts_labels = 1"
    assert set(overridden(ast.parse(code), trainer)) == {"_save", "_loss_shifts_labels"}


def private_uses(path):
    "Private names that a program takes: `metrics._x`, `from imgcap.metrics import _x`."
    tree, known = ast.parse(path.read_text(encoding="utf-8")), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "imgcap":
            known |= {alias.asname or alias.name for alias in node.names}
            yield from (alias.name for alias in node.names if alias.name.startswith("_"))
        elif isinstance(node, ast.Import):
            known |= {alias.asname or "imgcap" for alias in node.names
                      if alias.name.split(".")[0] == "imgcap"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"): continue
        owner = node.value
        while isinstance(owner, ast.Attribute): owner = owner.value
        if isinstance(owner, ast.Name) and owner.id in known and node.attr[:2] != "__":
            yield f"{owner.id}…{node.attr}"


@pytest.mark.parametrize("path", [path.relative_to(ROOT) for folder in ("bench", "scripts")
                                  for path in sorted((ROOT / folder).rglob("*.py"))], ids=str)
def test_programs_use_no_private_name_of_the_package(path):
    assert not (found := sorted(private_uses(ROOT / path))), found
