"""Writes the inventories in docs/inventories: where other projects document the names that imgcap's
signatures use.

A build then needs no network, and links stay as they were checked. Hugging Face publishes none at
all.

    python scripts/inventories.py     write them
"""
from pathlib import Path
from types import SimpleNamespace

from sphinx.util.inventory import InventoryFile

OUT = Path(__file__).resolve().parents[1] / "docs" / "inventories"
# project: {page, with $ for the name: names}; "function:", "module:" and "exception:" before a name
# say that it is no class
NAMES = {
    "python": {
        "library/functions.html#$": "bool float int object function:zip function:print",
        "library/stdtypes.html#$": "str bytes dict list set frozenset tuple",
        "library/exceptions.html#$":
            "exception:ValueError exception:OSError exception:FileNotFoundError "
            "exception:RuntimeError exception:ImportError exception:TypeError",
        "library/collections.html#$": "collections.Counter",
        "library/collections.abc.html#$":
            "collections.abc.Callable collections.abc.Collection collections.abc.Iterable "
            "collections.abc.Iterator collections.abc.Mapping collections.abc.Sequence",
        "library/pathlib.html#$": "pathlib.Path",
        "library/random.html#$": "random.Random",
        "library/typing.html#$": "typing.Any typing.NamedTuple",
    },
    "numpy": {"reference/generated/$.html#$": "numpy.ndarray numpy.random.Generator"},
    "pillow": {"reference/Image.html#$": "PIL.Image.Image"},
    "matplotlib": {"api/_as_gen/matplotlib.figure.Figure.html#$": "matplotlib.figure.Figure"},
    "torch": {
        "tensors.html#$": "torch.Tensor",
        "tensor_attributes.html#$": "torch.device torch.dtype",
        "generated/torch.nn.Module.html#$": "torch.nn.Module",
        "data.html#$": "torch.utils.data.Dataset",
    },
    "transformers": {
        "main_classes/trainer#$": "transformers.Trainer",
        "main_classes/callback#$": "transformers.TrainerCallback",
        "main_classes/model#$": "transformers.PreTrainedModel",
        "main_classes/processors#$": "transformers.ProcessorMixin",
        "model_doc/git#$":
            "transformers.GitConfig transformers.GitForCausalLM transformers.GitProcessor",
    },
    "datasets": {
        "package_reference/main_classes#$":
            "datasets.Dataset datasets.DatasetDict datasets.IterableDataset "
            "datasets.IterableDatasetDict",
    },
}


def entries(pages):
    "(name, type, page) of each name."
    for page, names in pages.items():
        for name in names.split():
            kind, _, name = name.rpartition(":")
            yield name, kind or "class", page.split("#")[0].replace("$.html", f"{name}.html")


def inventory(project, pages):
    "What Sphinx's writer wants to see of a build."
    found = list(entries(pages))
    locations = {page: page for _, _, page in found}
    objects = [(name, name, kind, page, name, 1) for name, kind, page in found]
    domain = SimpleNamespace(name="py", get_objects=lambda: objects)
    env = SimpleNamespace(config=SimpleNamespace(project=project, version=""),
                          domains=SimpleNamespace(sorted=lambda: [domain]))
    return env, SimpleNamespace(get_target_uri=locations.__getitem__)


def main():
    OUT.mkdir(exist_ok=True)
    for project, pages in NAMES.items():
        env, builder = inventory(project, pages)
        InventoryFile.dump(str(OUT / f"{project}.inv"), env, builder)


if __name__ == "__main__": main()
