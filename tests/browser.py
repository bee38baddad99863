"""The browser that tests of pages use: the program that CHROMIUM names, else chromium on the PATH, else an installed Chrome, else Playwright's own."""
import os
import shutil
import sys

OPTIONS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
           "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"]
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth" # Pixels by which a page is wider than its window


def launch(playwright, *options):
    "The first browser that starts, or nothing."
    from playwright.sync_api import Error
    program = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
    for choice in [{"executable_path": program}] if program else [{"channel": "chrome"}, {}]:
        try: return playwright.chromium.launch(args=[*OPTIONS, *options], **choice)
        except Error as error: print(str(error).splitlines()[0], file=sys.stderr)


def launch_or_exit(playwright, *options):
    "A browser, or an end that says how to get one."
    return launch(playwright, *options) or sys.exit("no browser: install Chromium, or set CHROMIUM to its path (Chrome and Edge do as well)")


def complaints(page, rules=None, impacts=None):
    "What axe-core finds wrong, a line each."
    from axe_playwright_python.base import AXE_SCRIPT
    if not page.evaluate("'axe' in window"): page.evaluate(AXE_SCRIPT)
    options = {"resultTypes": ["violations"], **({"runOnly": {"type": "rule", "values": rules}} if rules else {})}
    found = page.evaluate("options => axe.run(document, options)", options)["violations"]
    return [f"{rule['id']}: {node['html'][:150]}: {node['failureSummary'].splitlines()[-1].strip()}"
            for rule in found if impacts is None or rule["impact"] in impacts for node in rule["nodes"][:5]]
