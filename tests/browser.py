"""The browser that tests of pages use: the program that CHROMIUM names, else an installed Chromium,
Chrome or Edge, else the one that Playwright brings, which is installed when it is not there."""

import os
import shutil
import subprocess
import sys

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
]
PROGRAMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
)
INSTALL_SECONDS = 180
MISSING = (
    "no browser: install Chromium or Chrome, or set CHROMIUM to the path of one, "
    "or run python -m playwright install chromium"
)
# Pixels by which a page is wider than its window
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def launch(playwright, choice):
    "Start the browser that `find_browser` found."
    return playwright.chromium.launch(args=OPTIONS, **choice)


def find_browser():
    "What starts a browser here, as Playwright's options; {'missing': why} when nothing does."
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        return {"missing": "no browser: playwright is not installed"}
    with sync_playwright() as playwright:
        found = first_that_starts(playwright, candidates())
        if found is not None:
            return found
        if "CHROMIUM" not in os.environ and install():
            found = first_that_starts(playwright, [{}])
    return {"missing": MISSING} if found is None else found


def candidates():
    "Ways to start a browser, the surest first. Whoever names a program gets that one or none."
    if named := os.environ.get("CHROMIUM"):
        return [{"executable_path": shutil.which(named) or named}]
    paths = filter(None, map(shutil.which, PROGRAMS))
    return [
        *({"executable_path": path} for path in paths),
        {"channel": "chrome"},
        {"channel": "msedge"},
        {},
    ]


def first_that_starts(playwright, choices):
    from playwright.sync_api import Error

    for choice in choices:
        try:
            launch(playwright, choice).close()
        except Error as error:
            print(f"{choice}: {str(error).splitlines()[0]}", file=sys.stderr)
        else:
            return choice


def install():
    "Playwright's own browser, if it can be had; one attempt, for a few minutes at most."
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    try:
        return subprocess.run(command, capture_output=True, timeout=INSTALL_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def complaints_of(page, rules=None, impacts=None):
    "What axe-core finds wrong, a line each."
    from axe_playwright_python.base import AXE_SCRIPT

    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    options = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = {"type": "rule", "values": rules}
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [
        f"{rule['id']}: {node['html'][:150]}: {node['failureSummary'].splitlines()[-1].strip()}"
        for rule in found
        if impacts is None or rule["impact"] in impacts
        for node in rule["nodes"][:5]
    ]
