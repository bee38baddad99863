"The repository's address: set by one command; until then nothing leads to somebody else's."

import json
import re
import runpy
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOMEBODY = "some-body/pictures.2"
LEADS_AWAY = re.compile(
    r"github\.com/[\w-]+/imgcap\b|\bimgcap\.github\.io|google\.com/github/[\w-]+/"
    r"|imgcap@users\.noreply",
    re.IGNORECASE,
)
# Runs a set-up cell as Colab would, in a Python that has imgcap only when its folder is named.
ACT = """import sys, types
sys.path += sys.argv[2:]
sys.modules["google.colab"] = types.ModuleType("google.colab")
exec(open(sys.argv[1], encoding="utf-8").read())"""


def repository(folder, *words):
    command = [sys.executable, folder / "scripts" / "repository.py", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


def texts(folder):
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not {"__pycache__", "egg"} & set(path.parts)
    }


def cells(folder, cell_id):
    "{notebook: source} of one cell."
    found = {}
    for path in sorted((folder / "nbs").rglob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if cell["id"] == cell_id:
                found[path.relative_to(folder).as_posix()] = "".join(cell["source"])
    return found


def metadata(folder):
    "What a wheel says of itself."
    (folder / "egg").mkdir(exist_ok=True)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", "-e", "egg"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    (about,) = (folder / "egg").glob("*.egg-info/PKG-INFO")
    return about.read_text(encoding="utf-8").split("\n\n")[0]


def site(folder):
    "The values of the site's settings."
    code = (
        "import json, runpy; s = runpy.run_path('docs/conf.py'); "
        "icons = s['html_theme_options']['footer_icons']; "
        "print(json.dumps([s['site_source_url'], s['html_baseurl'], icons]))"
    )
    return json.loads(
        subprocess.run(
            [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True
        ).stdout
    )


@pytest.fixture(scope="module")
def unset(checkout):
    "A copy of the project, without an address."
    assert repository(checkout, "--unset").returncode == 0
    return checkout


@pytest.fixture
def writes_nothing(monkeypatch):
    "Run the script's `main` without its writing; gives its status, and the address it would set."
    script = runpy.run_path(str(ROOT / "scripts" / "repository.py"))

    def run_main(words):
        asked = []
        monkeypatch.setitem(
            script["main"].__globals__, "wanted", lambda address: asked.append(address) or {}
        )
        return script["main"](words), (asked or [None])[0]

    return run_main


def test_notebooks_have_the_cells_of_this_address():
    done = repository(ROOT, "--check")
    assert done.returncode == 0, f"{done.stdout}run: python scripts/repository.py"


def test_without_an_address_nothing_leads_away(unset):
    found = [
        f"{path.relative_to(unset)}: {match[0]}"
        for path, text in texts(unset).items()
        for match in LEADS_AWAY.finditer(text.decode("utf-8", "ignore"))
    ]
    assert not found
    assert "://" not in metadata(unset)
    assert site(unset) == ["", "", []]
    assert not cells(unset, "colab-badge")


def test_set_again_and_unset(unset):
    before = texts(unset)
    assert repository(unset, "some-body/pictures.2").returncode == 0
    config = ConfigParser(delimiters=["="])
    config.read(unset / "settings.ini", encoding="utf-8")
    assert config["DEFAULT"]["git_url"] == "https://github.com/some-body/pictures.2"
    assert (
        "https://github.com/some-body/pictures.2" in (unset / "imgcap" / "_modidx.py").read_text()
    )
    assert "Home-page: https://github.com/some-body/pictures.2" in metadata(unset)
    source, base, (footer,) = site(unset)
    assert source == "https://github.com/some-body/pictures.2/blob/main"
    assert base == "https://some-body.github.io/pictures.2/"
    assert footer["url"] == "https://github.com/some-body/pictures.2"
    badges, setups = cells(unset, "colab-badge"), cells(unset, "colab-setup")
    assert (
        badges.keys()
        == setups.keys()
        == {p.relative_to(unset).as_posix() for p in (unset / "nbs").rglob("*.ipynb")}
    )
    for path, badge in badges.items():
        assert badge.endswith(
            f"(https://colab.research.google.com/github/{SOMEBODY}/blob/main/{path})"
        )
        assert setups[path].endswith('"install -q git+https://github.com/some-body/pictures.2")')

    after = texts(unset)
    again = repository(unset, "https://github.com/some-body/pictures.2.git")
    assert (again.returncode, again.stdout) == (0, "") and texts(unset) == after
    assert repository(unset, "--check").returncode == 0 and texts(unset) == after
    assert repository(unset, "--unset").returncode == 0
    assert {path for path, text in texts(unset).items() if before.get(path) != text} == set()


def test_a_new_notebook_gets_its_cells(unset):
    title = {"cell_type": "markdown", "id": "00000000", "metadata": {}, "source": ["# New"]}
    new = unset / "nbs" / "tutorials" / "new.ipynb"
    new.write_text(
        json.dumps({"cells": [title], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    try:
        found = repository(unset, "--check")
        assert (found.returncode, found.stdout) == (1, "would change nbs/tutorials/new.ipynb\n")
        assert repository(unset).returncode == 0 and "nbs/tutorials/new.ipynb" in cells(
            unset, "colab-setup"
        )
    finally:
        new.unlink()


@pytest.mark.parametrize(
    "words",
    [
        ["imgcap"],
        ["a/b/c"],
        [""],
        [" "],
        ["a/"],
        ["/b"],
        ["a/."],
        ["a/.."],
        ["a/.git"],
        ["a/b.git.git"],
        ["a/b.wiki"],
        ["a/b//"],
        ["-a/b"],
        ["a-/b"],
        ["a--a/b"],
        ["a_a/b"],
        ["a.a/b"],
        ["a" * 40 + "/b"],
        ["a/" + "b" * 101],
        ["ä/b"],
        ["a/b\nc/d"],
        ["https://github.com/a"],
        ["https://github.com/a/b/tree/main"],
        ["https://github.com/a/b?tab=readme"],
        ["https://github.com.example.org/a/b"],
        ["https://gitlab.com/a/b"],
        ["git@gitlab.com:a/b.git"],
        ["a/b c"],
        ["a/b", "c"],
        ["--unset", "a/b"],
        ["--help"],
    ],
)
def test_what_is_no_address_is_refused(writes_nothing, capsys, words):
    assert writes_nothing(words) == (2, None)
    said = capsys.readouterr().err
    assert said.startswith("expected owner/name") and said.count("\n") == 1


@pytest.mark.parametrize(
    "word, address",
    [
        ("a/b", "a/b"),
        ("some-body/pictures.2", "some-body/pictures.2"),
        ("a-1-b/_.-", "a-1-b/_.-"),
        ("a/...", "a/..."),
        ("a/.github", "a/.github"),
        ("a/git", "a/git"),
        ("a" * 39 + "/" + "b" * 100, "a" * 39 + "/" + "b" * 100),
        (" a/b \n", "a/b"),
        ("a/b/", "a/b"),
        ("a/b.git", "a/b"),
        ("https://github.com/a/b", "a/b"),
        ("https://github.com/a/b/", "a/b"),
        ("https://github.com/a/b.git", "a/b"),
        ("HTTPS://www.GitHub.com/a/b", "a/b"),
        ("github.com/a/b", "a/b"),
        ("git@github.com:a/b.git", "a/b"),
        ("ssh://git@github.com/a/b.git", "a/b"),
    ],
)
def test_an_address_is_taken_as_people_copy_it(writes_nothing, word, address):
    assert writes_nothing([word]) == (0, address)


@pytest.mark.parametrize("here", [False, True])
def test_the_set_up_cell_in_colab_without_an_address(unset, tmp_path, here):
    "It says what to do instead of installing something; once imgcap is there it says nothing."
    (source,) = set(cells(unset, "colab-setup").values())
    (tmp_path / "cell.py").write_text(source, encoding="utf-8")
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        ACT,
        tmp_path / "cell.py",
        *([unset] if here else []),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    if here:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    else:
        assert done.returncode == 1 and done.stderr == (
            "These notebooks have no public address yet: upload the repository as imgcap.zip "
            "and run %pip install ./imgcap.zip first.\n"
        )
