"""Processes of their own that start quickly: on Linux copies of one that has loaded the libraries
that most load, which takes longer than many a test; elsewhere each starts from nothing.

Nothing of the package is loaded beforehand.
"""

import multiprocessing
import os
import socket
import sys
import tempfile
from pathlib import Path

LOADED = ["nbdev.test", "matplotlib.pyplot", "matplotlib_inline.backend_inline", "pandas",
          "torch", "datasets", "transformers.trainer", "transformers.generation",
          "transformers.models.git.modeling_git", "transformers.models.auto.processing_auto"]


# `imgcap` with the words of a program
IMGCAP = "import sys; from imgcap.cli import main; sys.exit(main())"


def heard(paths, function, *args):
    "Call a function; what it and all that it starts say goes into two files, or both into one."
    files = {path: open(path, "w", encoding="utf-8") for path in paths}
    for stream, path in zip((1, 2), paths):
        os.dup2(files[path].fileno(), stream)
    function(*args)


def start(path, function, *args, errors=None):
    "A process that calls `function(*args)`, both of which it must be able to import or unpickle."
    context = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    if sys.platform == "linux": context.set_forkserver_preload(LOADED)
    process = context.Process(target=heard, args=((path, errors or path), function, *args))
    process.start()
    return process


def said(path):
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def interpret(code, words, environment):
    "What `python -c CODE WORDS` does."
    os.environ.clear()
    os.environ.update(environment)
    if encoding := environment.get("PYTHONIOENCODING"):  # Python looks at it when it starts
        sys.stdout.reconfigure(encoding=encoding, errors="strict")
        sys.stderr.reconfigure(encoding=encoding, errors="backslashreplace")
    sys.argv = ["-c", *words]
    exec(compile(code, "-c", "exec"), {"__name__": "__main__"})


class Program:
    "`python -c CODE WORDS` in this folder, as a copy."

    def __init__(self, code, *words, **environment):
        self.home = tempfile.TemporaryDirectory()
        self.out, self.errors = (Path(self.home.name, name) for name in ("out", "errors"))
        words, environment = list(map(str, words)), {**os.environ, **environment}
        self.process = start(self.out, interpret, code, words, environment, errors=self.errors)
        self.pid = self.process.pid

    def poll(self):
        return self.process.exitcode

    def wait(self, seconds):
        self.process.join(seconds)
        if self.poll() is None:
            self.process.kill()
            raise AssertionError(f"has not ended in {seconds} s: {said(self.errors)}")
        return self.poll()

    def finish(self, seconds=120):
        "(exit status, standard output, standard error), the latter two as bytes."
        with self.home:
            return self.wait(seconds), self.out.read_bytes(), self.errors.read_bytes()


def team(size, code, *words):
    "As many programs as one, each as torchrun would start it."
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    about = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    return [Program(code, *words, RANK=str(rank), LOCAL_RANK=str(rank), **about)
            for rank in range(size)]
