"""The wheel in a clean environment, used as a stranger would, from an empty folder: own pictures
in, captions out. It is built for it, or the one that WHEEL names is taken (make dist)."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

from imgcap.extras import EXTRAS, install_hint

pytestmark = pytest.mark.first
ROOT = Path(__file__).resolve().parents[1]
HOME = (
    ROOT / ".venv-wheel"
)  # its packages stay, and are installed anew when the requirements change
TORCH_INDEX = os.environ.get("TORCH_INDEX", "https://download.pytorch.org/whl/cpu")
CONSTRAINTS = ROOT / "constraints.txt"
DRAW = """
from pathlib import Path
from imgcap.data.creatures import caption_creature, draw_creature
for i, body in enumerate(["round", "square", "tall", "long"] * 5):
    facts = {"colour": ["red", "green", "yellow"][i % 3], "body": body, "pattern": "plain",
             "part": "wings", "mood": "smiling", "place": "grass"}
    draw_creature(facts, seed=i, image_size=96 + i).save(f"photos/{i:02}.jpg")
    captions = "\\n".join(caption_creature(facts, seed=i))
    Path(f"photos/{i:02}.txt").write_text(captions, encoding="utf-8")
"""


def package_files():
    "Modules and what they read: templates, the checkpoint, the mark of a typed package."
    files = [path for path in (ROOT / "imgcap").rglob("*") if path.is_file()]
    return {path.relative_to(ROOT).as_posix() for path in files
            if "__pycache__" not in path.parts and not path.name.startswith(".")}


@pytest.fixture(scope="module")
def wheel(checkout, run):
    "The built file."
    if given := os.environ.get("WHEEL"):
        return Path(given).resolve(strict=True)
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        ".",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        "dist",
        cwd=checkout,
    )
    (built,) = (checkout / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment():
    "As a stranger's: nothing of this folder is importable."
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def python(wheel, run, environment):
    "The Python of an environment that has the wheel and what it requires."
    wanted = "".join(
        (ROOT / name).read_text(encoding="utf-8") for name in ("settings.ini", "constraints.txt")
    )
    stamp, python = HOME / "requirements", HOME / Path(sys.executable).parent.name / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "-q", "-c", CONSTRAINTS]
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(HOME, ignore_errors=True)
        run(sys.executable, "-m", "venv", HOME, env=environment)
        torch = re.findall(r"^torch==.*$", CONSTRAINTS.read_text(encoding="utf-8"), re.MULTILINE)
        from_index = [
            "--no-deps",
            "--retries",
            "0",
            "--timeout",
            "20",
            "--index-url",
            TORCH_INDEX,
            *torch,
        ]
        if TORCH_INDEX:
            subprocess.run([*map(str, pip), *from_index], env=environment, capture_output=True)
        run(*pip, wheel, env=environment, timeout=1800)
        stamp.write_text(wanted, encoding="utf-8")
    run(*pip, "--force-reinstall", "--no-deps", wheel, env=environment)
    return python


@pytest.fixture(scope="module")
def stranger(python, run, environment, tmp_path_factory):
    "An empty folder, and a way to run things there: `stranger('check', …)` is imgcap check."
    folder = tmp_path_factory.mktemp("stranger")

    def imgcap(*arguments, status=0):
        command = [python.parent / "imgcap", *map(str, arguments)]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == status, (
            f"{arguments} ended with {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout + done.stderr

    imgcap.folder, imgcap.python = (
        folder,
        lambda code: run(python, "-c", code, cwd=folder, env=environment),
    )
    (folder / "photos").mkdir()
    imgcap.python(DRAW)
    return imgcap


@pytest.fixture(scope="module")
def model(stranger):
    "A model trained on the stranger's pictures."
    stranger(
        "train", "--data", "photos", "--out", "runs/mine", "--max-steps", 3, "--validations", 1
    )
    return stranger.folder / "runs" / "mine"


def test_wheel_holds_what_it_should(wheel):
    settings = ConfigParser(delimiters=["="])
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = next(
            archive.read(name).decode() for name in names if name.endswith(".dist-info/METADATA")
        )
    assert f"\nName: {settings['DEFAULT']['lib_name']}\n" in about
    assert f"\nVersion: {settings['DEFAULT']['version']}\n" in about
    for extra, requirements in EXTRAS.items():
        for requirement in requirements:
            assert f'Requires-Dist: {requirement}; extra == "{extra}"' in about
    assert "imgcap/py.typed" in names
    for model in ("git-tiny", "smol-tiny"):
        assert f"imgcap/checkpoints/{model}/model.safetensors" in names
    assert package_files() <= set(names), f"not in the wheel: {package_files() - set(names)}"
    assert not [name for name in names if name.startswith(("tests/", "nbs/", "docs/", "scripts/"))]


def test_source_distribution_holds_what_the_package_needs(checkout, run):
    "Whoever builds a wheel from it gets the same files."
    build = "from setuptools import build_meta; print(build_meta.build_sdist('dist'))"
    said = run(sys.executable, "-c", build, cwd=checkout)
    with tarfile.open(checkout / "dist" / said.split()[-1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = package_files() | {"setup.py", "settings.ini", "README.md", "LICENSE"}
    assert wanted <= names, f"not in the archive: {wanted - names}"


def test_package_comes_from_the_wheel(stranger):
    said = stranger.python("import imgcap; print(imgcap.__file__, imgcap.__version__)")
    assert "site-packages" in Path(said.rpartition(" ")[0]).parts


def test_check(stranger):
    assert "20" in stranger("check", "--data", "photos")


def test_train_and_evaluate(stranger, model):
    assert stranger("evaluate", "--model", "runs/mine", "--data", "photos", "--split", "all")
    assert {"run.json", "log.jsonl", "model"} <= {path.name for path in model.iterdir()}
    (scores,) = model.rglob("metrics.json")
    written = {path.name for path in scores.parent.iterdir()}
    assert {"predictions-all.jsonl", "gallery-all.png", "report-all.html"} <= written
    assert json.loads((model / "run.json").read_text(encoding="utf-8"))["versions"]["imgcap"]


def test_caption(stranger, model):
    stranger("caption", "photos", "--model", "runs/mine", "--out", "captions.jsonl")
    lines = (stranger.folder / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 20 and all(json.loads(line)["caption"] for line in lines)


def test_a_picture_that_is_not_there(stranger, model):
    said = stranger("caption", "no-such-picture.png", "--model", "runs/mine", status=2)
    assert "no-such-picture.png" in said and "Traceback" not in said


def test_the_hint_of_an_extra_that_is_missing(stranger, python, environment):
    "What is said when a library is missing is a line that pip takes; it asks for no other name."
    said = stranger("app", "--model", "git-tiny", status=2)
    assert install_hint("app") in said and "Traceback" not in said
    command = [
        python,
        "-m",
        "pip",
        "install",
        "--no-index",
        "--dry-run",
        *shlex.split(install_hint("app"))[2:],
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode and set(
        re.findall(r"No matching distribution found for ([\w-]+)", done.stderr)
    ) == {"gradio"}
