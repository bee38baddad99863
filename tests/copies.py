"""Processes of their own that start quickly: on Linux copies of one that has loaded the libraries
that most load, which takes longer than many a test; elsewhere each starts from nothing.

Nothing of the package is loaded beforehand.
"""

import multiprocessing
import os
import sys

LOADED = ["nbdev.test", "matplotlib.pyplot", "matplotlib_inline.backend_inline", "pandas",
          "torch", "datasets", "transformers.trainer", "transformers.generation",
          "transformers.models.git.modeling_git", "transformers.models.auto.processing_auto"]


def heard(path, function, *args):
    "Call a function; what it and all that it starts say goes into a file."
    with open(path, "w", encoding="utf-8") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    function(*args)


def start(path, function, *args):
    "A process that calls `function(*args)`, both of which it must be able to import or unpickle."
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux": context.set_forkserver_preload(LOADED)
    process = context.Process(target=heard, args=(path, function, *args))
    process.start()
    return process


def said(path):
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
