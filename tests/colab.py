"""Colab, acted out: in a clean environment that has a newer torch already, the tutorial's set-up
cell installs imgcap, changes nothing that was there, and the tutorial goes on without a restart.

    python tests/colab.py        (make colab)

What is tested is what is committed, in a clone that is given an address if it has none: pip takes
the repository at that address from the clone, and the notebook comes from there too. Without an
address, the cell must say what to do and install nothing. The torch of TORCH_INDEX (builds for
CPUs) is taken when it is newer than the pinned one, else the newest there is. Elsewhere than in
Colab the cell must run nothing. It takes some minutes and gigabytes, and needs a package index.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import types
from configparser import ConfigParser
from importlib.machinery import ModuleSpec
from importlib.metadata import distribution, distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = "nbs/tutorials/finetune.ipynb"
ADDRESS = "somebody/pictures"  # the clone's, where the repository has none
TORCH_INDEX = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
# IPython is Colab's own, years old
THERE = [
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "numpy",
    "pandas",
    "pillow",
    "matplotlib",
    "ipython==7.34.0",
    "setuptools",
]
# What Python reports when a program is started
STARTS = (
    "subprocess.Popen",
    "os.system",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.exec",
    "os.startfile",
)


def run(*command, **options):
    "Run a command; what it says is shown only when it fails."
    done = subprocess.run(
        [str(part) for part in command],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        **options,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}\n{done.stdout}")
    return done.stdout


def settings(folder):
    config = ConfigParser(delimiters=["="])
    config.read(folder / "settings.ini", encoding="utf-8")
    return config["DEFAULT"]


def versions():
    return {found.name: found.version for found in distributions()}


def code_cells(notebook):
    "[(source, id)] of the cells that run."
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    return [("".join(cell["source"]), cell["id"]) for cell in cells if cell["cell_type"] == "code"]


def setup_of(notebook):
    return next(source for source, name in code_cells(notebook) if name == "colab-setup")


class Colab:
    "One IPython process of the clean environment, in which programs that cells start are noted."

    def __init__(self):
        from IPython.core.interactiveshell import InteractiveShell

        self.shell, self.started, self.watching = InteractiveShell.instance(), [], True
        sys.addaudithook(self.note)

    def note(self, event, _):
        if self.watching and event in STARTS:
            self.started.append(event)

    def run_cell(self, source, fails=False):
        "What the cell printed; an error ends the test, unless it is wanted."
        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
            done = self.shell.run_cell(source)
        if done.success == fails:
            sys.exit(f"{said.getvalue()}\nthis cell failed, or should have:\n{source}")
        return str(done.error_in_exec) if fails else said.getvalue()


def act(notebook, without_address, git_url, commit):
    "What happens in the clean environment."
    colab, before = Colab(), versions()
    for name in filter(None, (notebook, without_address)):
        colab.run_cell(setup_of(name))
    assert not colab.started and versions() == before, f"outside Colab it started {colab.started}"
    print("outside Colab the set-up cell runs nothing", flush=True)

    google_colab = sys.modules["google.colab"] = types.ModuleType("google.colab")
    google_colab.__spec__ = ModuleSpec("google.colab", None)
    if without_address:
        said = colab.run_cell(setup_of(without_address), fails=True)
        assert not colab.started and versions() == before, f"it started {colab.started}"
        assert "imgcap.zip" in said and "\n" not in said, said
        print(f"in Colab, without an address, it says: {said}", flush=True)
    colab.watching = False
    install(colab, notebook, before, git_url, commit)
    go_on(colab, notebook)


def install(colab, notebook, before, git_url, commit):
    "The set-up cell installs imgcap from the commit, and changes nothing that Colab has."
    import torch
    import transformers  # Colab's own, in use already

    start = time.monotonic()
    said, after = colab.run_cell(setup_of(notebook)), versions()
    ours = [
        found
        for found in distributions()
        if "imgcap" in (found.read_text("top_level.txt") or "").split()
    ]
    if not ours:
        sys.exit(f"the set-up cell did not install imgcap; pip said:\n{said}")
    (here,) = ours
    changed = [
        f"{name} {version} became {after.get(name)}"
        for name, version in before.items()
        if after.get(name) != version
    ]
    assert not changed, f"it changed what Colab has, which wants a restart: {', '.join(changed)}"
    for module in (torch, transformers):
        installed = after[module.__name__].split("+")[0]
        assert module.__version__.split("+")[0] == installed, f"{installed} is not the one in use"
    origin = json.loads(distribution(here.name).read_text("direct_url.json"))
    assert origin["url"] == git_url and origin["vcs_info"]["commit_id"] == commit, origin
    new = ", ".join(sorted(after.keys() - before.keys() - {here.name})) or "nothing else"
    took = time.monotonic() - start
    print(f"in Colab it installs {here.name} {here.version} and {new} in {took:.0f} s", flush=True)


def go_on(colab, notebook):
    "The tutorial runs in the same process."
    start, cells = time.monotonic(), code_cells(notebook)
    for source, name in cells:
        if name != "colab-setup":
            colab.run_cell(source)
    import imgcap
    import torch
    import transformers

    assert "site-packages" in Path(imgcap.__file__).parts, f"imgcap comes from {imgcap.__file__}"
    print(
        f"all {len(cells) - 1} cells of the tutorial run in the same process, in its quick form, "
        f"with torch {torch.__version__} and transformers {transformers.__version__}: "
        f"{time.monotonic() - start:.0f} s"
    )


def clone_with_address(folder):
    "A clone of what is committed; (its folder, its notebook from before it had an address, or '')."
    clone, before = folder / "clone", ""
    run("git", "clone", "-q", ROOT, clone)
    if not settings(clone)["git_url"]:
        before = folder / "without_address.ipynb"
        before.write_bytes((clone / NOTEBOOK).read_bytes())
        run(sys.executable, clone / "scripts" / "repository.py", ADDRESS, cwd=clone)
        author = ["-c", "user.name=colab", "-c", "user.email=colab@localhost"]
        run("git", *author, "commit", "-qam", "An address", cwd=clone)
    return clone, before


def environment(folder, clone, git_url):
    "Variables of the clean environment, in which the address leads to the clone."
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "PIP_CONSTRAINT", "VIRTUAL_ENV"))
    }
    env |= {"IPYTHONDIR": str(folder / "ipython"), "MPLBACKEND": "agg", "IMGCAP_QUICK": "1"}
    return env | {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{clone.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": git_url,
    }


def main():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = next(line.split("==")[1] for line in lines if line.startswith("torch=="))
    start = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = Path(folder).resolve()
        clone, before = clone_with_address(folder)
        git_url = settings(clone)["git_url"]
        commit = run("git", "rev-parse", "HEAD", cwd=clone).strip()
        python = folder / "colab" / ("Scripts" if os.name == "nt" else "bin") / "python"
        env = environment(folder, clone, git_url)
        run(sys.executable, "-m", "venv", folder / "colab")
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        newer = [
            "--no-deps",
            "--retries",
            "0",
            "--timeout",
            "20",
            "--index-url",
            TORCH_INDEX,
            f"torch>{pinned}",
        ]
        subprocess.run([*map(str, pip), *newer], env=env, capture_output=True)
        run(*pip, *THERE, env=env)
        print(f"a clean environment is there after {time.monotonic() - start:.0f} s", flush=True)
        (folder / "content").mkdir()
        given = [clone / NOTEBOOK, before, git_url, commit]
        done = subprocess.run([python, __file__, *map(str, given)], cwd=folder / "content", env=env)
    if done.returncode:
        return done.returncode
    print(f"Colab's set-up cell works; {time.monotonic() - start:.0f} s in all")


if __name__ == "__main__":
    sys.exit(act(*sys.argv[1:]) if sys.argv[1:] else main())
