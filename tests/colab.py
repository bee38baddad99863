"""Colab, acted out: in a clean environment that has a newer torch already, the tutorial's set-up cell installs imgcap, changes nothing that was there, and the tutorial goes on without a restart.

    python tests/colab.py

What is tested is what is committed: pip takes the repository of settings.ini from this checkout, and the notebook comes from there too. The torch of TORCH_INDEX (builds for CPUs) is taken
when it is newer than the pinned one, else the newest there is. Elsewhere than in Colab the cell must run nothing. Takes some minutes and gigabytes of room, and needs a package index.
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
TORCH_INDEX = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
THERE = ["torch", "transformers", "datasets", "accelerate", "numpy", "pandas", "pillow", "matplotlib", "ipython==7.34.0", "setuptools"]  # IPython is Colab's own, years old
STARTS = ("subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.startfile")  # what Python reports when a program is started


def run(*command, **options):
    "Run a command; what it says is shown only when it fails."
    done = subprocess.run([str(part) for part in command], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options)
    if done.returncode: sys.exit(f"{' '.join(map(str, command))} ended with status {done.returncode}\n{done.stdout}")
    return done.stdout


def versions(): return {found.name: found.version for found in distributions()}


def act(notebook, git_url, commit):
    "What happens in the clean environment, in one IPython process."
    from IPython.core.interactiveshell import InteractiveShell
    shell, before, started = InteractiveShell.instance(), versions(), []
    cells = [("".join(cell["source"]), cell["id"]) for cell in json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    setup = next(source for source, name in cells if name == "colab-setup")
    watching = True
    sys.addaudithook(lambda event, _: started.append(event) if watching and event in STARTS else None)
    _run_cell(shell, setup)
    assert not started and versions() == before, f"outside Colab the set-up cell started a program: {started}"
    print("outside Colab the set-up cell runs nothing", flush=True)

    watching, start = False, time.monotonic()
    import torch, transformers  # Colab's own, in use already
    google_colab = sys.modules["google.colab"] = types.ModuleType("google.colab")
    google_colab.__spec__ = ModuleSpec("google.colab", None)
    said = _run_cell(shell, setup)
    after = versions()
    assert "imgcap" in after, f"the set-up cell did not install imgcap; pip said:\n{said}"
    changed = [f"{name} {version} became {after.get(name)}" for name, version in before.items() if after.get(name) != version]
    assert not changed, f"the set-up cell changed what Colab has, which wants a restart: {', '.join(changed)}"
    for module in (torch, transformers): assert module.__version__.split("+")[0] == after[module.__name__].split("+")[0], f"{module.__name__} {module.__version__} is in use, {after[module.__name__]} is installed"
    origin = json.loads(distribution("imgcap").read_text("direct_url.json"))
    assert origin["url"] == git_url and origin["vcs_info"]["commit_id"] == commit, f"imgcap came from {origin}, not from {git_url} at {commit}"
    print(f"in Colab it installs imgcap {after['imgcap']} and {', '.join(sorted(after.keys() - before.keys() - {'imgcap'})) or 'nothing else'} in {time.monotonic() - start:.0f} s", flush=True)

    start = time.monotonic()
    for source, name in cells:
        if name != "colab-setup": _run_cell(shell, source)
    import imgcap
    assert "site-packages" in Path(imgcap.__file__).parts, f"imgcap comes from {imgcap.__file__}"
    print(f"all {len(cells) - 1} cells of the tutorial run in the same process, in its quick form, with torch {torch.__version__} and transformers {transformers.__version__}: {time.monotonic() - start:.0f} s")


def _run_cell(shell, source):
    "What the cell printed; an error ends the test."
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said): done = shell.run_cell(source)
    if not done.success: sys.exit(f"{said.getvalue()}\nthis cell failed:\n{source}")
    return said.getvalue()


def main():
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    git_url, commit = settings["DEFAULT"]["git_url"], run("git", "rev-parse", "HEAD", cwd=ROOT).strip()
    pinned = next(line.split("==")[1] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))
    start = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = Path(folder).resolve()
        env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_CONSTRAINT", "VIRTUAL_ENV"))}
        env |= {"IPYTHONDIR": str(folder / "ipython"), "MPLBACKEND": "agg", "IMGCAP_QUICK": "1"}
        env |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf", "GIT_CONFIG_VALUE_0": git_url}
        run(sys.executable, "-m", "venv", folder / "colab")
        python = folder / "colab" / ("Scripts" if os.name == "nt" else "bin") / "python"
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*map(str, pip), "--no-deps", "--retries", "0", "--timeout", "20", "--index-url", TORCH_INDEX, f"torch>{pinned}"], env=env, capture_output=True)
        run(*pip, *THERE, env=env)
        print(f"a clean environment is there after {time.monotonic() - start:.0f} s", flush=True)
        notebook = folder / "notebook.ipynb"
        notebook.write_text(run("git", "show", f"{commit}:{NOTEBOOK}", cwd=ROOT, encoding="utf-8"), encoding="utf-8")
        (folder / "content").mkdir()
        if status := subprocess.run([python, __file__, notebook, git_url, commit], cwd=folder / "content", env=env).returncode: return status
    print(f"Colab's set-up cell works; {time.monotonic() - start:.0f} s in all")


if __name__ == "__main__": sys.exit(act(*sys.argv[1:]) if sys.argv[1:] else main())
