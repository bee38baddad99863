"""The built site in a browser that reaches nothing but it: pages load, say nothing on the console
and ask no other server; links and pictures are there; search finds."""

import ast
import functools
import http.server
import re
import shutil
import sys
from contextlib import contextmanager
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from browser import complaints_of
from servers import serving
from sphinx.util.inventory import InventoryFile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "docs" / "ext"))
import architecture  # noqa: E402

pytestmark = pytest.mark.first
RULES = [
    "label",
    "select-name",
    "button-name",
    "link-name",
    "image-alt",
    "svg-img-alt",
    "input-image-alt",
    "aria-input-field-name",
    "aria-toggle-field-name",
    "document-title",
    "html-has-lang",
    "heading-order",
    "duplicate-id-aria",
    "list",
    "scrollable-region-focusable",
]
WIDE, PHONE = {"width": 1400, "height": 900}, {"width": 360, "height": 740}
# What one page says of itself; lazy pictures are told to come, and nothing fades in.
LOOK = """async () => {
  document.head.insertAdjacentHTML('beforeend', '<style>* {transition: none !important}</style>');
  const pictures = [...document.querySelectorAll('article img')];
  pictures.forEach(p => p.loading = 'eager');
  await Promise.all(pictures.map(p => p.decode().catch(() => null)));
  return {
    text: document.querySelector('article').innerText,
    missing: pictures.filter(p => !p.naturalWidth).map(p => p.src),
    silent: pictures.filter(p => !p.alt.trim()).map(p => p.src),
    links: [...new Set([...document.querySelectorAll('a[href]')].map(a => a.getAttribute('href')))]
      .map(h => URL.canParse(h, location) ? new URL(h, location).href : 'invalid:' + h),
    ids: [...document.querySelectorAll('[id]')].map(e => e.id),
    buttons: [...document.querySelectorAll('.buttons a')].map(a => a.innerText),
  }
}"""
# Code is cut into thousands of coloured pieces, which take long to look through and change nothing
# but the contrast.
NO_COLOURS = """() => {
  for (const code of document.querySelectorAll('pre'))
    if (!code.querySelector(':not(span)')) code.textContent = code.textContent;
}"""

# What sticks out of the window, unless it is in a box that scrolls by itself.
TOO_WIDE = """() => {
  const scrolls = e => e && e.tagName !== 'ARTICLE'
    && (['auto', 'scroll'].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  return [...document.querySelectorAll('article *')]
    .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !scrolls(e))
    .map(e => e.outerHTML);
}"""
# Code, outputs and tables that have to be scrolled sideways.
SIDEWAYS = """() => [...document.querySelectorAll(
    'article :is(pre, table, .table-wrapper, .output)')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX != 'visible')
  .map(e => `${e.scrollWidth} > ${e.clientWidth} pixels: ${e.innerText}`)"""
# Contrast is slow to judge, and a page has ten thousand words of a few kinds: [kinds that were not
# seen before, here or on another page; what of the page holds them].
NEW_KINDS = """known => {
  const seen = new Set(known), kinds = new Map(), stay = new Set(), fresh = [];
  const kind = e => {
    if (!e || e === document.documentElement) return '';
    if (!kinds.has(e)) kinds.set(e, kind(e.parentElement) + '>' + e.tagName + '.'
      + [...e.classList].sort().join('.') + (e.getAttribute('style') || ''));
    return kinds.get(e);
  };
  for (const e of document.body.querySelectorAll('*:not(script, style)')) {
    const says = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (seen.has(kind(e)) || !says) continue;
    seen.add(kind(e));
    fresh.push(kind(e));
    for (let outer = e; outer; outer = outer.parentElement) stay.add(outer);
  }
  const held = e => {
    const copy = e.cloneNode(e.tagName === 'STYLE');
    for (const n of e.tagName === 'STYLE' ? [] : e.childNodes)
      if (n.nodeType === 3) copy.append(n.data);
      else if (stay.has(n) || n.tagName === 'STYLE') copy.append(held(n));
    return copy;
  };
  return [fresh, fresh.length ? held(document.body).innerHTML : ''];
}"""
SHOW = "pieces => { document.body.innerHTML = pieces.join(''); }"
# All pages have it, made once for all of them (docs/ext/navigation.py).
SIDEBAR = re.compile(r'<div class="sidebar-tree">.*?(?=</aside>)', re.DOTALL)
LINK = re.compile(r'<a [^>]*href="([^"]+)"')


class QuietServer(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # the browser left before a file was sent


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def end_headers(self):
        "Styles and scripts come once, and not with each page."
        self.send_header("Cache-Control", "max-age=3600")
        super().end_headers()


@pytest.fixture(scope="module")
def build(run, tmp_path_factory):
    "Build the site, where a warning is an error; gives its folder."

    def _build(*options):
        folder = tmp_path_factory.mktemp("site")
        run(
            sys.executable,
            "-m",
            "sphinx",
            "-q",
            "-b",
            "html",
            "-d",
            f"{folder}-kept",
            *options,
            "docs",
            folder,
        )
        return folder

    return _build


@pytest.fixture(scope="module")
def site(build):
    return build("-W", "--keep-going", "-E")


@contextmanager
def served(folder):
    "The address of a server of a folder on the loopback interface."
    handler = functools.partial(QuietHandler, directory=str(folder))
    with serving(QuietServer(("127.0.0.1", 0), handler)) as address:
        yield f"{address}/"


@pytest.fixture(scope="module")
def url(site):
    with served(site) as address:
        yield address


class Reader:
    "A tab that goes through the site, and what was wrong."

    def __init__(self, browser, url):
        self.url, self.faults, self.ids, self.links, self.page = url, [], {}, [], ""
        self.buttons, self.kinds, self.pieces = {}, [], []
        self.context = browser.new_context(color_scheme="light", reduced_motion="reduce")
        self.tab = self.context.new_page()
        self.tab.on(
            "console",
            lambda message: (
                message.type in ("error", "warning")
                and self.fault(f"the console says {message.text}")
            ),
        )
        self.tab.on("pageerror", lambda error: self.fault(f"a script fails: {error}"))
        self.tab.on(
            "request",
            lambda request: (
                request.url.startswith((url, "data:", "blob:"))
                or self.fault(f"asks for {request.url}")
            ),
        )
        self.tab.on(
            "response",
            lambda response: (
                response.status < 400 or self.fault(f"{response.url} answers {response.status}")
            ),
        )

    def fault(self, what):
        self.faults.append(f"{self.page}: {what}")

    def open(self, page):
        self.page = page
        self.tab.goto(self.url + page)

    def axe(self, scheme, rules):
        for complaint in complaints_of(self.tab, rules):
            self.fault(f"{scheme}: {complaint}")

    def look(self, page):
        "One page in a wide window and on a phone."
        tab = self.tab
        tab.set_viewport_size(WIDE)
        self.open(page)
        seen = tab.evaluate(LOOK)
        if len(seen["text"]) < 20 and page != "search.html":
            self.fault("is empty")
        for line in seen["text"].splitlines():
            if line.lstrip().startswith(("#|", "# |")):
                self.fault(f"shows the directive {line.strip()}")
        for source in seen["missing"]:
            self.fault(f"picture {source} is missing")
        for source in seen["silent"]:
            self.fault(f"picture {source} has no alt text")
        self.ids[page] = set(seen["ids"])
        self.links += [(page, link) for link in seen["links"]]
        self.buttons[page] = seen["buttons"]
        kinds, piece = tab.evaluate(NEW_KINDS, self.kinds)
        self.kinds += kinds
        self.pieces.append(piece)
        tab.evaluate(NO_COLOURS)
        self.axe("light", RULES)
        for element in tab.evaluate(SIDEWAYS)[:3]:
            self.fault(f"scrolls sideways: {element[:150]}")
        tab.set_viewport_size(PHONE)
        for element in tab.evaluate(TOO_WIDE)[:3]:
            self.fault(f"is wider than a phone of 360: {element[:150]}")

    def look_at_colours(self):
        "All kinds of words that the pages have, on one page, bright and dark."
        self.tab.set_viewport_size(WIDE)
        self.open("index.html")
        self.page = "somewhere"
        self.tab.evaluate(SHOW, self.pieces)
        for scheme in ("light", "dark"):
            self.tab.emulate_media(color_scheme=scheme)
            self.axe(scheme, ["color-contrast"])


@pytest.fixture(scope="module")
def pages(site):
    return sorted(
        path.relative_to(site).as_posix()
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    )


@pytest.fixture(scope="module")
def reader(browser, site, pages, tmp_path_factory):
    "A reader who has been on every page; the sidebar was there on the first, its links on each."
    folder = shutil.copytree(site, tmp_path_factory.mktemp("copy") / "site")
    links = []
    for page in pages[1:]:
        text = (folder / page).read_text(encoding="utf-8")
        (folder / page).write_text(SIDEBAR.sub("", text), encoding="utf-8")
        links += [
            (page, unescape(link)) for part in SIDEBAR.findall(text) for link in LINK.findall(part)
        ]
    with served(folder) as url:
        reader = Reader(browser, url)
        reader.links += [(page, urljoin(url + page, link)) for page, link in links]
        reader.context.add_init_script(AXE_SCRIPT)
        for page in pages:
            reader.look(page)
        reader.look_at_colours()
        yield reader
        reader.context.close()


@pytest.fixture
def tab(browser, url):
    "A fresh tab, whose reader has no faults in the end."
    reader = Reader(browser, url)
    yield reader.tab
    reader.context.close()
    assert not reader.faults


def test_pages(reader, pages):
    assert len(pages) > 40 and not reader.faults, "\n".join(reader.faults)


def test_links(reader, site):
    "Every link inside the site leads to a page and a place that are there."
    url, faults = reader.url, []
    for page, link in reader.links:
        if link.startswith("invalid:"):
            faults.append(f"{page} links to {link}")
        if not link.startswith(url):
            continue
        address, place = urldefrag(urljoin(url + page, link))
        name = unquote(urlsplit(address).path).lstrip("/") or "index.html"
        if name.endswith("/"):
            name += "index.html"
        if not (site / name).is_file():
            faults.append(f"{page} links to {name}, which is not there")
        elif place and name in reader.ids and unquote(place) not in reader.ids[name]:
            faults.append(f"{page} links to {name}#{place}, and there is no such place")
    assert len(reader.links) > 1000 and not faults, "\n".join(faults)


def test_search(tab, url):
    tab.goto(url + "index.html")
    tab.get_by_role("search").get_by_role("textbox").fill("CaptionCollator")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#search-results li a")
    found = tab.eval_on_selector_all("#search-results li a", "links => links.map(a => a.href)")
    assert url + "api/preprocess.html" in [link.split("?")[0].split("#")[0] for link in found]


def test_keyboard(tab, url):
    "The first Tab offers to skip the menu; the theme can be changed by keyboard and stays changed."
    tab.goto(url + "index.html")
    tab.keyboard.press("Tab")
    assert "skip-to-content" in tab.evaluate("document.activeElement.className")
    tab.locator("button.theme-toggle:visible").first.focus()
    tab.keyboard.press("Enter")
    chosen = tab.evaluate("document.body.dataset.theme")
    tab.reload()
    assert chosen != "auto" and tab.evaluate("document.body.dataset.theme") == chosen


def test_buttons_of_notebooks(reader, pages):
    "Each notebook can be downloaded, and opened in Colab once the repository has an address."
    settings = (ROOT / "settings.ini").read_text(encoding="utf-8")
    on_github = ["Open in Colab", "View source", "Edit"] if "\ngit_url = http" in settings else []
    wanted = ["Download notebook", *on_github]
    notebooks = [page for page in pages if (ROOT / page).with_suffix(".ipynb").is_file()]
    assert len(notebooks) > 20
    for page in notebooks:
        assert sorted(reader.buttons[page]) == sorted(wanted), page


def test_copy_button(tab, url):
    "A click copies a cell's code; what a cell printed has no button."
    tab.context.grant_permissions(["clipboard-read", "clipboard-write"])
    tab.goto(url + "nbs/02_viz.html")
    assert not tab.locator(".cell_output .copybtn").count()
    box = tab.locator("div.cell_input div.highlight").first
    box.hover()
    box.locator("button.copybtn").click()
    copied = tab.evaluate("navigator.clipboard.readText()")
    assert copied.strip() == box.locator("pre").inner_text().strip()


def test_home(tab, url):
    "What it is, drawings and three ways to go on are seen without scrolling."
    tab.set_viewport_size(WIDE)
    tab.goto(url + "index.html")
    for seen in ("h1", "img.home-picture", ".start a:nth-of-type(3)"):
        box = tab.locator(seen).bounding_box()
        assert box["y"] + box["height"] <= WIDE["height"], seen
    leads = tab.eval_on_selector_all(".start a", "links => links.map(a => a.getAttribute('href'))")
    assert leads == ["nbs/tutorials/finetune.html", "#two-commands", "use.html"]


def test_order_of_learning(tab, url):
    "Numbers in the sidebar; from the first tutorial the next leads to a reader's own images."
    tab.goto(url + "nbs/01_data.html")
    numbers = tab.eval_on_selector_all(
        ".sidebar-tree .current-page ~ li, .sidebar-tree li.current-page",
        "links => links.map(a => a.innerText.trim()[0])",
    )
    assert sorted(numbers) == list("12345678")
    tab.goto(url + "nbs/tutorials/finetune.html")
    assert tab.locator("a.next-page").get_attribute("href") == "your_own_pictures.html"


def public_names():
    for name in architecture.modules():
        tree = ast.parse(architecture.module_file(name).read_text(encoding="utf-8"))
        defined = {
            node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        }
        public = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        ]
        yield from (
            f"imgcap.{name}.{each}" for names in public for each in names if each in defined
        )


def test_a_table_that_a_cell_writes_is_a_table(site):
    page = (site / "nbs" / "03_preprocess.html").read_text(encoding="utf-8")
    assert "<td><p>[SEP]</p></td>" in page


def test_every_public_name_is_in_the_reference(site):
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    documented = {
        name
        for kind, entries in inventory.data.items()
        if kind.startswith("py:")
        for name in entries
    }
    assert not set(public_names()) - documented


def test_examples_run(tmp_path, monkeypatch):
    "What stands first on a page of the reference runs alone; of those that take long, a few."
    import reference

    monkeypatch.chdir(tmp_path)
    light = "words config files data viz.plots preprocess model metrics train.rewards infer.reading"
    for name in architecture.modules():
        cell, lines = reference.example_code(reference.Module(name))
        assert cell or not reference.Module(name).public, f"{name} has no example"
        code = compile("\n".join(lines), f"example of {name}", "exec")
        if name in light.split():
            exec(code, {"__name__": "example"})


def test_no_arrow_runs_backwards():
    assert not list(architecture.backwards())


def test_a_second_language(build):
    "What the catalogue holds is translated. Only the written pages are built, which is quick."
    folder = build(
        "-D",
        "language=zh_CN",
        "-D",
        "exclude_patterns=_build,ext,locale,inventories,nbs,api,gallery",
        "-D",
        "suppress_warnings=toc.excluded,myst.xref_missing",
    )
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert '<html class="no-js" lang="zh-CN"' in page and "两条命令" in page
