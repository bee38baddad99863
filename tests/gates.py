"""The gates of `make test`, in order. Each either passes or says what to do; the first that fails ends the run.

    python tests/gates.py                 all of them
    python tests/gates.py notebooks       one or more, by name
"""
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
WHEEL_ENV = ROOT / ".venv-wheel"
# Notebooks run side by side, so each keeps to one thread: two spinning on one core are slower than one.
ENV = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


class Failed(Exception): "A gate did not pass; the message says why and what to do."


def run(*command, cwd=ROOT, env=ENV, quiet=False):
    "Run a command; its output is shown at once, or only when it fails."
    done = subprocess.run([str(part) for part in command], cwd=cwd, env=env, text=True,
                          stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT if quiet else None)
    if done.returncode: raise Failed(f"{shlex.join(map(str, command))} ended with status {done.returncode}\n{done.stdout or ''}")
    return done.stdout


def contents(*patterns):
    "Hash of each file that matches."
    files = (file for pattern in patterns for file in ROOT.glob(pattern) if file.is_file() and ".ipynb_checkpoints" not in file.parts)
    return {str(file.relative_to(ROOT)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def leaves_no_diff(command, *patterns):
    "Run a command that must not change, add or remove a file."
    before = contents(*patterns)
    run(BIN / command)
    after = contents(*patterns)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    if changed: raise Failed(f"{command} changed {', '.join(changed)}: commit what it wrote")


def clean(): leaves_no_diff("nbdev_clean", "nbs/**/*.ipynb")
def export(): leaves_no_diff("nbdev_export", "imgcap/**/*.py", "pyproject.toml")
def notebooks(): run(BIN / "nbdev_test", "--n_workers", "2", "--timing", "--do_print")
def readme(): run(sys.executable, ROOT / "tests" / "readme.py")
def processes(): side_by_side("two_processes.py", "interrupted.py", "kill_caption.py", "rerun.py")
def pages(): side_by_side("report_page.py", "app_page.py")
def lab(): run(sys.executable, ROOT / "tests" / "lab.py", "--quick")
def docs(): run(sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-E", "-b", "html", "docs", "docs/_build/html")
def site(): run(sys.executable, ROOT / "tests" / "site.py")


def lint():
    run(BIN / "ruff", "check", "-q", "imgcap", "tests", "bench", "scripts", "docs")
    run(BIN / "mypy")


def side_by_side(*scripts):
    "Run tests that are scripts, two at a time."
    with ThreadPoolExecutor(2) as pool: outputs = list(pool.map(lambda name: run(sys.executable, ROOT / "tests" / name, quiet=True), scripts))
    for name, output in zip(scripts, outputs): print(f"{name}\n{output}", flush=True)


def wheel():
    "Build the wheel, install it into a clean environment elsewhere, and use it from an empty folder."
    for left in ("build", "dist"): shutil.rmtree(ROOT / left, ignore_errors=True)
    run(sys.executable, "-m", "pip", "wheel", "-q", ".", "--no-deps", "--no-build-isolation", "-w", "dist", quiet=True)
    built, = (ROOT / "dist").glob("*.whl")
    python = _wheel_environment(built)
    with tempfile.TemporaryDirectory() as empty:
        run(python, ROOT / "tests" / "use_wheel.py", cwd=empty)


def _wheel_environment(built):
    "The clean environment's Python. Its packages stay between runs, and are installed anew when the requirements change."
    stamp, wanted = WHEEL_ENV / "requirements", "".join((ROOT / name).read_text() for name in ("settings.ini", "constraints.txt"))
    python = WHEEL_ENV / BIN.name / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "-c", ROOT / "constraints.txt"]
    if not stamp.is_file() or stamp.read_text() != wanted:
        shutil.rmtree(WHEEL_ENV, ignore_errors=True)
        run(sys.executable, "-m", "venv", WHEEL_ENV)
        torch = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
        index = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
        subprocess.run([*map(str, pip), "--no-deps", "--retries", "0", "--timeout", "20", "--index-url", index, *torch], capture_output=True)
        run(*pip, built, quiet=True)
        stamp.write_text(wanted)
    run(*pip, "--force-reinstall", "--no-deps", built, quiet=True)
    return python


GATES = {gate.__name__: gate for gate in (clean, export, notebooks, lint, readme, processes, pages, lab, docs, site, wheel)}


def main(names):
    start = time.monotonic()
    for done, name in enumerate(names):
        print(f"--- {name}", flush=True)
        try: GATES[name]()
        except Failed as failure:
            print(f"--- {name} failed: {failure}\n{done} passed, 1 failed", flush=True)
            return 1
        print(f"--- {name} passed after {time.monotonic() - start:.0f} s", flush=True)
    print(f"{len(names)} passed, 0 failed")
    return 0


if __name__ == "__main__": sys.exit(main(sys.argv[1:] or list(GATES)))
