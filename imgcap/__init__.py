"Image captioning from the first look at the data to a shared model."

__version__ = "0.1.0"

# What most programs begin with, by the stage that it is part of
_HOMES = {
    "load_captions": "data",
    "split_captions": "data",
    "describe_captions": "data",
    "load_model": "model",
    "TrainConfig": "train",
    "finetune": "train",
    "evaluate_model": "evaluate",
    "Captioner": "infer",
}


def __getattr__(name):
    "`imgcap.load_captions` and its like: a stage is loaded when one of its names is asked for."
    if name not in _HOMES:
        raise AttributeError(f"module 'imgcap' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"imgcap.{_HOMES[name]}"), name)


def __dir__():
    return sorted({*globals(), *_HOMES})
