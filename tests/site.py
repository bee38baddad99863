"""The built site in a browser that reaches nothing but it: pages load, say nothing on the console and ask no other server; links and pictures are there; search finds.

    python tests/site.py [FOLDER]     FOLDER defaults to docs/_build/html, and is built when it is not there

Where there is no browser (tests/browser.py) nothing is tested, and that is said; where CI is set it is a failure.
"""
import ast
import functools
import http.server
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

from browser import complaints, launch
from playwright.sync_api import sync_playwright
from sphinx.util.inventory import InventoryFile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "ext"))
import architecture  # noqa: E402

RULES = ["label", "select-name", "button-name", "link-name", "image-alt", "svg-img-alt", "input-image-alt", "aria-input-field-name",
             "aria-toggle-field-name", "document-title", "html-has-lang", "heading-order", "duplicate-id-aria", "list", "scrollable-region-focusable"]
# What one page says of itself; lazy pictures are told to come.
LOOK = """async () => {
  const pictures = [...document.querySelectorAll('article img')];
  pictures.forEach(p => p.loading = 'eager');
  await Promise.all(pictures.map(p => p.decode().catch(() => null)));
  return {
    text: document.querySelector('article').innerText,
    missing: pictures.filter(p => !p.naturalWidth).map(p => p.src),
    silent: pictures.filter(p => !p.alt.trim()).map(p => p.src),
    links: [...new Set([...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href')))].map(h => URL.canParse(h, location) ? new URL(h, location).href : 'invalid:' + h),
    ids: [...document.querySelectorAll('[id]')].map(e => e.id),
  }
}"""

# What sticks out of the window, unless it is in a box that scrolls by itself.
TOO_WIDE = """() => {
  const scrolls = e => e && e.tagName !== 'ARTICLE' && (['auto', 'scroll'].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  return [...document.querySelectorAll('article *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e)).map(e => e.outerHTML);
}"""
# Contrast is slow to judge, and a page has ten thousand words of a few kinds: what holds only kinds that were judged before, here or on another page, is taken away.
ONLY_NEW_KINDS = """known => {
  const seen = new Set(known), kinds = new Map(), stay = new Set(), fresh = [];
  const kind = e => {
    if (!e || e === document.documentElement) return '';
    if (!kinds.has(e)) kinds.set(e, kind(e.parentElement) + '>' + e.tagName + '.' + [...e.classList].sort().join('.') + (e.getAttribute('style') || ''));
    return kinds.get(e);
  };
  for (const e of document.body.querySelectorAll('*')) {
    if (seen.has(kind(e)) || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    seen.add(kind(e));
    fresh.push(kind(e));
    for (let outer = e; outer; outer = outer.parentElement) stay.add(outer);
  }
  for (const e of document.body.querySelectorAll('*')) if (e.isConnected && !stay.has(e)) e.remove();
  return fresh;
}"""


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address): pass  # the browser left before a file was sent


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args): pass


def build(folder, *options):
    command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", *options, "docs", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode: sys.exit(f"{' '.join(command)} ended with status {done.returncode}\n{done.stderr[-4000:]}")


def serve(folder):
    "The address of a server on the loopback interface."
    server = QuietServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}/"


def public_names():
    for name in architecture.modules():
        tree = ast.parse((ROOT / "imgcap" / f"{name}.py").read_text(encoding="utf-8"))
        defined = {n.name for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        public = next((ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"), [])
        yield from (f"imgcap.{name}.{x}" for x in public if x in defined)


class Site:
    "The pages, and what was wrong with them."
    def __init__(self, folder, browser):
        self.folder, self.url, self.browser = folder, serve(folder), browser
        self.pages = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.html") if "_static" not in path.parts)
        self.faults, self.ids, self.links, self.kinds, self.page = [], {}, [], [], ""

    def fault(self, page, what): self.faults.append(f"{page}: {what}")

    def tab(self):
        "A tab that notes everything it does and should not."
        tab = self.browser.new_context(color_scheme="light", reduced_motion="reduce").new_page()
        tab.on("console", lambda message: message.type in ("error", "warning") and self.fault(self.page, f"the console says {message.text}"))
        tab.on("pageerror", lambda error: self.fault(self.page, f"a script fails: {error}"))
        tab.on("request", lambda request: request.url.startswith((self.url, "data:", "blob:")) or self.fault(self.page, f"asks for {request.url}"))
        tab.on("response", lambda response: response.status < 400 or self.fault(self.page, f"{response.url} answers {response.status}"))
        return tab

    def open(self, tab, page):
        self.page = page
        tab.goto(self.url + page)

    def look(self, tab, page):
        "One page in a wide window, in the dark, and on a phone."
        tab.set_viewport_size({"width": 1280, "height": 900})
        tab.emulate_media(color_scheme="light")
        self.open(tab, page)
        seen = tab.evaluate(LOOK)
        if len(seen["text"]) < 20 and page != "search.html": self.fault(page, "is empty")
        for line in seen["text"].splitlines():
            if line.lstrip().startswith(("#|", "# |")): self.fault(page, f"shows the directive {line.strip()}")
        for source in seen["missing"]: self.fault(page, f"picture {source} is missing")
        for source in seen["silent"]: self.fault(page, f"picture {source} has no alt text")
        self.ids[page] = set(seen["ids"])
        self.links += [(page, link) for link in seen["links"]]
        if page.startswith("nbs/") and not page.endswith("index.html"):
            for button in ("Open in Colab", "Download notebook"):
                if not tab.get_by_role("link", name=button, exact=True).count(): self.fault(page, f"has no button {button}")
        self.axe(page, tab, "light", RULES)
        tab.set_viewport_size({"width": 360, "height": 740})
        for element in tab.evaluate(TOO_WIDE)[:3]: self.fault(page, f"is wider than a phone of 360: {element[:150]}")
        tab.set_viewport_size({"width": 1280, "height": 900})
        self.kinds += (new := tab.evaluate(ONLY_NEW_KINDS, self.kinds))
        for scheme in ("light", "dark") if new else ():
            tab.emulate_media(color_scheme=scheme)
            self.axe(page, tab, scheme, ["color-contrast"])

    def axe(self, page, tab, scheme, rules):
        for complaint in complaints(tab, rules): self.fault(page, f"{scheme}: {complaint}")

    def check_links(self):
        "Every link inside the site leads to a page and a place that are there."
        for page, link in self.links:
            if link.startswith("invalid:"): self.fault(page, f"links to {link}")
            if not link.startswith(self.url): continue
            address, place = urldefrag(urljoin(self.url + page, link))
            name = unquote(urlsplit(address).path).lstrip("/") or "index.html"
            if name.endswith("/"): name += "index.html"
            if not (self.folder / name).is_file(): self.fault(page, f"links to {name}, which is not there")
            elif place and name in self.ids and unquote(place) not in self.ids[name]: self.fault(page, f"links to {name}#{place}, and there is no such place")

    def check_search(self, tab, word, page):
        self.open(tab, "index.html")
        tab.get_by_role("search").get_by_role("textbox").fill(word)
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#search-results li a")
        found = tab.eval_on_selector_all("#search-results li a", "links => links.map(a => a.href)")
        if not any(link.split("?")[0].startswith(self.url + page) for link in found): self.fault("search.html", f"{word} finds {found}, not {page}")

    def check_keyboard(self, tab):
        "The first Tab offers to skip the menu; the theme can be changed with the keyboard and stays changed."
        self.open(tab, "index.html")
        tab.keyboard.press("Tab")
        first = tab.evaluate("document.activeElement.className")
        if "skip-to-content" not in first: self.fault("index.html", f"the first Tab reaches {first!r}, not the link to the content")
        tab.locator("button.theme-toggle:visible").first.focus()
        tab.keyboard.press("Enter")
        chosen = tab.evaluate("document.body.dataset.theme")
        tab.reload()
        if chosen == "auto" or tab.evaluate("document.body.dataset.theme") != chosen: self.fault("index.html", "the theme does not change, or does not stay")

    def check_names(self):
        "Each public name has its place in the reference."
        inventory = InventoryFile.loads((self.folder / "objects.inv").read_bytes(), uri="")
        documented = {name for kind, entries in inventory.data.items() if kind.startswith("py:") for name in entries}
        for name in public_names():
            if name not in documented: self.fault("api", f"{name} is not there")


def check_language():
    "A second language: what the catalogue holds is translated. Only the written pages are read, which is quick."
    with tempfile.TemporaryDirectory() as folder:
        build(folder, "-D", "language=zh_CN", "-D", "exclude_patterns=_build,ext,locale,inventories,nbs,api,gallery", "-D", "suppress_warnings=toc.excluded,myst.xref_missing")
        page = (Path(folder) / "index.html").read_text(encoding="utf-8")
    return [] if '<html class="no-js" lang="zh-CN"' in page and "两条命令" in page else ["index.html in zh_CN: is not translated"]


def main(folder):
    if not (folder / "index.html").is_file(): build(folder, "-W", "-E")
    with sync_playwright() as playwright:
        browser = launch(playwright)
        if browser is None:
            print("no browser, so the site was not looked at: install chromium, or run playwright install chromium")
            return "CI" in os.environ
        site = Site(folder, browser)
        tab = site.tab()
        site.check_search(tab, "CaptionCollator", "api/preprocess.html")
        site.check_keyboard(tab)
        tab = site.tab()  # the theme is the reader's system's again
        for page in site.pages: site.look(tab, page)
        site.check_links()
        browser.close()
    site.check_names()
    faults = site.faults + list(architecture.backwards()) + check_language()
    print("\n".join(faults) or f"{len(site.pages)} pages, light, dark and on a phone; {len(site.links)} links; search, keyboard, names, modules, a second language")
    return bool(faults)


if __name__ == "__main__": sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "_build" / "html").resolve()))
