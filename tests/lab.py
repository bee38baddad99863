"""Opens JupyterLab in a browser, runs notebooks from its menu as a reader would, and looks: no
error, and every figure and progress bar is there.

    python tests/lab.py                      the lesson's notebooks and the tutorial, in full, slow
                                             cells too: an hour and more (make jupyter)
    python tests/lab.py nbs/02_viz.ipynb …   only these

What a cell of the repository's notebook shows, its copy without outputs must show anew when it
runs. Settings, kernels and IPython profiles of whoever runs this are neither used nor changed.
test_lab.py does the same with the tutorial in its quick form and with a page of progress bars.
"""

import argparse
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import psutil
from browser import find_browser, launch
from playwright.sync_api import Error, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
TUTORIAL = ROOT / "nbs" / "tutorials" / "finetune.ipynb"
NUMBERED = sorted((ROOT / "nbs").glob("[0-9]*.ipynb"))
SETTINGS = {
    "notebook-extension/tracker": {
        "windowingMode": "none"
    },  # all cells stay in the page, also those out of sight
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
}
# Which a notebook may show; the test answers in its place.
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"
BAR = re.compile(r"(\d+)%\|")
# The package's own progress bars, which the notebooks keep off; the outputs say what is to be seen.
BARS = "nbs/progress_bars.ipynb"
PNG, FINISHED = (
    {"output_type": "display_data", "metadata": {}, "data": {"image/png": ""}},
    {"output_type": "stream", "name": "stderr", "text": "100%|"},
)
BAR_CELLS = [
    (
        "import sys, warnings\n"
        "warnings.filterwarnings('ignore', message='IProgress not found')\n"
        f"assert sys.executable == {sys.executable!r}, f'the kernel is {{sys.executable}}'",
        [],
    ),
    ("import time\nfrom tqdm import tqdm\nfor _ in tqdm(range(20)): time.sleep(.1)", [FINISHED]),
    (
        "from imgcap.data.creatures import make_creatures\n"
        "from imgcap.data import describe_captions\n"
        "data = make_creatures({'train': 60, 'test': 40})\ndescribe_captions(data, progress=True);",
        [FINISHED, FINISHED],
    ),
    (
        "from imgcap.infer import Captioner\n"
        "captioner = Captioner('git-tiny', device='cpu', batch_size=4)\n"
        "captions = list(captioner(data['train']['image'][:], progress=True))",
        [FINISHED],
    ),
    (
        "from imgcap.evaluate import evaluate_model\n"
        "report = evaluate_model('git-tiny', data, 'test', progress=True)",
        [FINISHED],
    ),
    ("import matplotlib.pyplot as plt\nplt.imshow(data['test'][0]['image']);", [PNG]),
]
# What each cell shows: its prompt, its error, widths of its pictures, progress bars. Lazy pictures
# are told to come.
LOOK = r"""async () => {
  const pictures = [...document.querySelectorAll('.jp-Notebook .jp-OutputArea img')];
  pictures.forEach(p => p.loading = 'eager');
  await Promise.all(pictures.map(p => p.decode().catch(() => null)));
  return jupyterapp.shell.currentWidget.content.widgets.map(({node, model}) => {
    const find = what => [...node.querySelectorAll('.jp-OutputArea-output')]
      .flatMap(output => [...output.querySelectorAll(what)]);
    const errors = (model.outputs?.toJSON() ?? []).filter(o => o.output_type === 'error');
    return {
      prompt: `${model.executionCount ?? ''}`,  // a folded cell shows none
      error: errors.map(o => `${o.ename}: ${o.evalue}`)[0] ?? null,
      figures: find('img, canvas, svg')
        .map(e => [e.naturalWidth ?? 1, e.getBoundingClientRect().width]),
      bars: find('pre').flatMap(e => e.innerText.split('\n')).filter(line => /\d+%\|/.test(line)),
    };
  });
}"""
# Percentages that bars showed on their way
WATCH = r"""() => { window.percentages = new Set(); new MutationObserver(changes => {
  for (const change of changes)
    for (const [, percent] of change.target.textContent.matchAll(/(\d+)%\|/g))
      window.percentages.add(+percent);
}).observe(document.querySelector('.jp-Notebook'),
           {childList: true, subtree: true, characterData: true}) }"""
IDLE = "document.querySelector('.jp-Notebook-ExecutionIndicator')?.dataset.status === 'idle'"
# Before that, what is run is lost
READY = (
    IDLE
    + r""" && (({sessionContext, content}) => {
  const kernel = sessionContext.session?.kernel;
  return sessionContext.isReady && kernel?.connectionStatus === 'connected'
    && kernel.status === 'idle' && content.widgets.every(cell => cell.node.isConnected)
    && content.widgets.length })(jupyterapp.shell.currentWidget)"""
)
PROMPTS = "[...document.querySelectorAll('.jp-Notebook .jp-CodeCell .jp-InputPrompt')]"
STARTED = PROMPTS + r".some(p => /\[[*\d]/.test(p.innerText))"
# Nothing left to run, or nothing that will: an error, or a dialog that says the kernel died
OVER = (
    IDLE
    + r""" && jupyterapp.shell.currentWidget.content.widgets.every(
    ({model}) => model.type !== 'code' || model.executionCount !== null)
  || document.querySelector('.jp-Dialog') !== null
  || jupyterapp.shell.currentWidget.content.widgets.some(({model: {outputs}}) => outputs
    && [...Array(outputs.length).keys()].some(i => outputs.get(i).type === 'error'))"""
)


class Failed(Exception):
    "What a reader would have seen go wrong."


def progress_bars():
    "A notebook of the package's progress bars."
    cells = [
        {
            "cell_type": "code",
            "id": f"bar-{i}",
            "metadata": {},
            "execution_count": None,
            "source": source,
            "outputs": outputs,
        }
        for i, (source, outputs) in enumerate(BAR_CELLS)
    ]
    return {
        "cells": cells,
        "metadata": {
            "kernelspec": {"display_name": "python3", "language": "python", "name": "python3"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def without_outputs(notebook):
    return {
        **notebook,
        "cells": [
            {**c, "outputs": [], "execution_count": None} if c["cell_type"] == "code" else c
            for c in notebook["cells"]
        ],
    }


def shown(cell):
    "How many figures and progress bars the outputs of a cell hold."
    outputs = cell.get("outputs", [])
    data = [output.get("data", {}) for output in outputs]
    figures = sum(
        any(kind.startswith("image/") for kind in d)
        or "".join(d.get("text/html", "")).count("<img")
        for d in data
    )
    return figures, sum(bool(BAR.search("".join(output.get("text", "")))) for output in outputs)


@contextmanager
def jupyterlab(folder, quick):
    "JupyterLab of this environment over `folder`; gives its address, and leaves no process behind."
    home = folder / "jupyter"
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("JUPYTER", "IPYTHON")) and name != "IN_TEST"
    }
    env |= {"JUPYTER_TOKEN": secrets.token_hex(), "IPYTHONDIR": str(home / "ipython")} | (
        {"IMGCAP_QUICK": "1"} if quick else {}
    )
    env |= {
        f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")
    }
    env |= {
        f"JUPYTERLAB_{name}_DIR": str(home / name.lower()) for name in ("SETTINGS", "WORKSPACES")
    }
    for name, values in SETTINGS.items():
        file = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(values), encoding="utf-8")
    with open(folder / "jupyter.log", "w", encoding="utf-8") as log:
        server = psutil.Popen(
            [
                sys.executable,
                "-m",
                "jupyterlab",
                "--no-browser",
                "--allow-root",
                "--ServerApp.ip=127.0.0.1",
                "--ServerApp.port=0",
                "--LabApp.expose_app_in_browser=True",
                f"--ServerApp.root_dir={folder / 'root'}",
            ],
            env=env,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield _address(server, home / "runtime", folder / "jupyter.log"), env["JUPYTER_TOKEN"]
    finally:
        started = [*server.children(recursive=True), server] if server.is_running() else []
        if started:
            server.terminate()  # which ends its kernels
        for process in psutil.wait_procs(started, timeout=15)[1]:
            process.kill()


def _address(server, runtime, log, seconds=60):
    "Where the server says that it listens."
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(file.read_text(encoding="utf-8"))["url"]
            except ValueError:
                pass  # half written
        time.sleep(0.1)
    raise Failed(
        f"JupyterLab did not start within {seconds} s\n{log.read_text(encoding='utf-8')[-2000:]}"
    )


class Reader:
    "Someone with a browser, who notes what the page should not do."

    def __init__(self, browser, url, token, screenshots):
        self.browser, self.url, self.token, self.screenshots = browser, url, token, screenshots

    def without_token(self, failure):
        "What went wrong, for a log that others read."
        return str(failure).split("Browser logs:")[0].strip().replace(self.token, "…")

    def run_all(self, name, notebook, minutes):
        "Open a notebook, choose Run ▸ Run All Cells, wait, look. What it says when all is well."
        self.faults, start = [], time.monotonic()
        context = self.browser.new_context(
            viewport={"width": 1280, "height": 900}, reduced_motion="reduce"
        )
        page = context.new_page()
        page.set_default_timeout(60_000)
        context.route(
            BADGE,
            lambda route: route.fulfill(
                content_type="image/svg+xml",
                body="<svg xmlns='http://www.w3.org/2000/svg' width='117' height='20'/>",
            ),
        )
        page.on(
            "console",
            lambda message: (
                message.type == "error"
                and self.faults.append(
                    f"the console says {message.text} ({message.location['url'].partition('?')[0]})"
                )
            ),
        )
        page.on("pageerror", lambda error: self.faults.append(f"a script fails: {error}"))
        page.on(
            "request",
            lambda request: (
                request.url.startswith((self.url, "data:", "blob:", BADGE))
                or self.faults.append(f"the page asks for {request.url}")
            ),
        )
        page.on(
            "websocket",
            lambda socket: (
                socket.url.startswith(self.url.replace("http", "ws", 1))
                or self.faults.append(f"the page asks for {socket.url}")
            ),
        )
        try:
            page.goto(
                f"{self.url}lab/workspaces/{Path(name).stem}/tree/{name}?token={self.token}"
            )  # an empty workspace for each
            page.wait_for_function(f"{READY} === {len(notebook['cells'])}")
            page.evaluate(WATCH)
            page.get_by_role("menuitem", name="Run", exact=True).click()
            page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
            page.wait_for_function(STARTED)
            try:
                page.wait_for_function(OVER, timeout=minutes * 60_000, polling=500)
            except Error as error:
                raise Failed(f"did not finish in {minutes:g} minutes") from error
            page.wait_for_timeout(500)  # until the last output is drawn
            return self.judge(page, notebook, f"{time.monotonic() - start:.0f} s")
        finally:
            self.photograph(page, Path(name).stem)
            context.close()
            self.shut_down_kernels()

    def judge(self, page, notebook, took):
        "What went wrong is an exception; else the figures of the run, in a line."
        cells = page.evaluate(LOOK)
        dialog = page.locator(".jp-Dialog")
        faults = [f"JupyterLab asks: {dialog.first.inner_text()}"] if dialog.count() else []
        figures = bars = code = 0
        for number, (cell, now) in enumerate(zip(notebook["cells"], cells, strict=True)):
            where, (wanted_figures, wanted_bars) = (
                f"cell {number} ({''.join(cell['source']).partition(chr(10))[0]})",
                shown(cell),
            )
            if now["error"]:
                faults.append(f"{where} ends with {now['error']}")
            if cell["cell_type"] != "code":
                continue
            code += 1
            loaded = sum(natural > 0 and width > 0 for natural, width in now["figures"])
            finished = sum(BAR.search(line)[1] == "100" for line in now["bars"])
            figures, bars = figures + loaded, bars + finished
            if any(now["error"] for now in cells):
                continue  # the rest did not run
            if not re.search(r"\d", now["prompt"]):
                faults.append(f"{where} did not run")
            if loaded < max(wanted_figures, len(now["figures"])):
                faults.append(
                    f"{where} shows {loaded} figures of {max(wanted_figures, len(now['figures']))}"
                )
            if (wanted_bars and finished != wanted_bars) or finished < len(now["bars"]):
                faults.append(
                    f"{where} shows {now['bars']}, not {wanted_bars} progress bars at 100%"
                )
        if bars and not any(
            0 < percent < 100 for percent in page.evaluate("[...window.percentages]")
        ):
            faults.append("no progress bar was seen to move")
        if faults or self.faults:
            raise Failed("\n  ".join([*faults, *self.faults]))
        return f"{took}, {code} cells, {figures} figures, {bars} progress bars"

    def photograph(self, page, name):
        "The window at the first figure or progress bar, at an error, and at the end."
        if not self.screenshots:
            return
        self.screenshots.mkdir(parents=True, exist_ok=True)
        for what, place in {
            "error": "pre:has-text('Traceback (most recent call last)')",
            "figure": "img",
            "bar": "pre:has-text('%|')",
        }.items():
            found = page.locator(f".jp-Notebook .jp-OutputArea {place}")
            if not found.count():
                continue
            found.first.scroll_into_view_if_needed()
            page.screenshot(path=self.screenshots / f"lab-{name}-{what}.png")
        if (cells := page.locator(".jp-Notebook .jp-Cell")).count():
            cells.last.scroll_into_view_if_needed()
        page.screenshot(path=self.screenshots / f"lab-{name}-end.png")

    def shut_down_kernels(self):
        "What ran is not needed any more, and would keep its memory."

        def ask(path, method):
            return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
                urllib.request.Request(
                    self.url + path, method=method, headers={"Authorization": f"token {self.token}"}
                ),
                timeout=30,
            )

        for kernel in json.load(ask("api/kernels", "GET")):
            ask(f"api/kernels/{kernel['id']}", "DELETE")


@contextmanager
def laid_out(notebooks, quick):
    "JupyterLab over copies of these notebooks, without their outputs; gives address and token."
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        folder = Path(folder).resolve()
        shutil.copytree(
            ROOT / "docs" / "images", folder / "root" / "docs" / "images"
        )  # which texts show
        for name, notebook in notebooks.items():
            copy = folder / "root" / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(json.dumps(without_outputs(notebook)), encoding="utf-8")
        with jupyterlab(folder, quick) as (url, token):
            yield url, token


def read(file):
    "(name, notebook) of a file, named from the repository's folder if it is there."
    name = file.relative_to(ROOT).as_posix() if file.is_relative_to(ROOT) else file.name
    return name, json.loads(file.read_text(encoding="utf-8"))


def main(files, quick, minutes, screenshots):
    notebooks = (
        dict(map(read, files))
        if files
        else {BARS: progress_bars(), **dict(map(read, [*([] if quick else NUMBERED), TUTORIAL]))}
    )
    choice, failed = find_browser(), 0
    if "missing" in choice:
        sys.exit(choice["missing"])
    with laid_out(notebooks, quick) as (url, token), sync_playwright() as playwright:
        browser = launch(playwright, choice)
        reader = Reader(browser, url, token, screenshots)
        for name, notebook in notebooks.items():
            try:
                print(f"{name}: {reader.run_all(name, notebook, minutes)}", flush=True)
            except (Failed, Error) as failure:
                failed += 1
                print(f"{name} failed:\n  {reader.without_token(failure)}", flush=True)
        browser.close()
    print(
        f"{len(notebooks) - failed} notebooks ran in JupyterLab without an error, {failed} failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit("ended")
    )  # as Ctrl-C does: JupyterLab and its kernels end first
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", nargs="*", type=lambda name: Path(name).resolve(strict=True))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=60, help="how long a notebook may take")
    parser.add_argument("--screenshots", type=Path, help="a folder for pictures of what was seen")
    options = parser.parse_args()
    sys.exit(main(options.notebooks, options.quick, options.minutes, options.screenshots))
