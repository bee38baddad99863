"""What several tests share: a copy of the project, a browser, a small trained run; and what is
said at the end.

Several processes share the tests. Those of a file with a fixture for all of them (a site, a wheel)
stay in one, so that it is made once.
"""

import functools
import gc
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

# Before torch is loaded. Tests run side by side, and two threads on one core are slower than one.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
ROOT = Path(__file__).resolve().parents[1]
# What is tested is this folder, whatever is installed.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
# What a shell starts in the background ignores Ctrl-C, and so would all that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from browser import complaints_of, find_browser, launch  # noqa: E402

# What a copy leaves out where git cannot say what is ignored, as in a downloaded archive
LEFT_OUT = {".git", "build", "dist", "runs", "_build", "_proc", "__pycache__", ".ipynb_checkpoints"}
MADE_BY_THE_SITE = tuple(f"docs/{name}/" for name in ("nbs", "api", "gallery"))


def in_ci():
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def pytest_configure(config):
    config.addinivalue_line("markers", "first: takes long, so it starts early")
    config.addinivalue_line("markers", "slow: runs with --slow only, as it does every week")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests that take long, too")


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: not item.get_closest_marker("first"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow and not config.option.slow:
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)


def pytest_collection_finish():
    """What is there now stays: half a million objects of libraries and tests, which the collector
    of what nobody needs would look through again and again, an eighth of the time."""
    gc.collect()
    gc.freeze()


@functools.cache
def has_costly_fixture(file):
    return 'scope="module"' in (ROOT / file).read_text(encoding="utf-8")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return file if has_costly_fixture(file) else nodeid

    config.option.loadscopereorder = False  # the order is that of `first`
    return Sharing(config, log)


def pytest_unconfigure(config):
    "The last line: how many tests passed, failed and were skipped."
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    stats = config.pluginmanager.get_plugin("terminalreporter").stats
    count = {name: len(stats.get(name, [])) for name in ("passed", "failed", "error", "skipped")}
    print(
        f"{count['passed']} passed, {count['failed'] + count['error']} failed, "
        f"{count['skipped']} skipped"
    )


def project_files():
    "Names of the files that belong to the project, also those that are not committed yet."
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode()
        names = filter(None, listed.split("\0"))
    except (OSError, subprocess.CalledProcessError):
        names = (path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*"))
        names = (
            name
            for name in names
            if not LEFT_OUT & set(name.split("/"))
            and not name.startswith((".venv", ".mutants", *MADE_BY_THE_SITE))
            and ".egg-info" not in name
        )
    return sorted({name for name in names if (ROOT / name).is_file()})


@pytest.fixture(scope="session")
def files():
    "{name: text} of the project's text files."
    found = {}
    for name in project_files():
        try:
            found[name] = (ROOT / name).read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    "A copy of the project to change at will."
    folder = tmp_path_factory.mktemp("checkout") / "project"
    for name in project_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    "The folder of a tiny random model of a type, made when it is first wanted."
    from chat_models import make_chat_model  # which loads torch

    root, made = tmp_path_factory.mktemp("chat"), {}

    def folder(kind):
        if kind not in made:
            made[kind] = make_chat_model(kind, root / kind)
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def run():
    "Run a command, which must succeed; gives what it wrote to stdout."

    def _run(*command, timeout=600, **options):
        options = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options}
        done = subprocess.run(
            [str(part) for part in command],
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            **options,
        )
        if done.returncode:
            said = f"{done.stdout or ''}{done.stderr or ''}"
            pytest.fail(
                f"{' '.join(map(str, command))} ended with {done.returncode}\n{said}", False
            )
        return done.stdout

    return _run


@pytest.fixture(scope="session")
def browser_choice(tmp_path_factory):
    "How a browser starts here, found out once for all processes; without one the test is skipped."
    from filelock import FileLock

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    kept = shared / "browser.json"
    with FileLock(f"{kept}.lock"):
        if not kept.is_file():
            kept.write_text(json.dumps(find_browser()), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def playwright_(browser_choice):
    if "missing" in browser_choice:
        if in_ci():
            pytest.fail(browser_choice["missing"], False)
        pytest.skip(browser_choice["missing"])
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright_, browser_choice):
    "A browser that reaches this machine only, with a camera that shows a test picture."
    started = launch(playwright_, browser_choice)
    yield started
    started.close()


@pytest.fixture
def visit(browser):
    "Open a page that must ask nothing of others and say nothing on the console."
    visits = []

    def open_page(url, **options):
        visits.append(Visit(browser, url, **options))
        return visits[-1]

    yield open_page
    problems = [problem for each in visits for problem in each.close()]
    assert not problems, "\n".join(problems)


class Visit:
    "A page in a browser that records what it asks for and complains of."

    def __init__(self, browser, url, heard=("error", "warning"), **options):
        self.context, self.problems = browser.new_context(**options), []
        self.page, self.own = self.context.new_page(), (url, "data:", f"blob:{url}")
        self.page.set_default_timeout(20_000)
        self.page.on(
            "console", lambda message: message.type in heard and self.note("console", message.text)
        )
        self.page.on("pageerror", lambda error: self.note("error", error))
        self.page.on(
            "request",
            lambda asked: asked.url.startswith(self.own) or self.note("request", asked.url),
        )
        self.page.goto(url)

    def note(self, kind, what):
        self.problems.append(f"{kind}: {what}")

    def accessible(self, name, impacts=None):
        found = complaints_of(self.page, impacts=impacts)
        assert not found, f"axe, {name}: " + "; ".join(found)

    def close(self):
        self.context.close()
        return self.problems


@pytest.fixture(scope="session")
def creatures():
    "A few drawings with captions, in three splits."
    from imgcap.data.creatures import make_creatures

    return make_creatures({"train": 12, "validation": 4, "test": 6})


@pytest.fixture(scope="session")
def tiny_run(creatures, tmp_path_factory):
    "A run folder: a model of one block, trained for a few steps."
    from imgcap.model import new_git_tiny
    from imgcap.train import finetune

    model, processor = new_git_tiny(vision_layers=1, text_layers=1)
    return finetune(
        model,
        processor,
        creatures,
        out=str(tmp_path_factory.mktemp("run") / "tiny"),
        max_steps=3,
        validations=1,
        batch_size=4,
        precision="float32",
        threads=1,
        echo=lambda line: None,
    )
