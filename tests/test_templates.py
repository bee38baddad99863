"""Style sheets, scripts and HTML stand in files, and only there; what is filled in stays text."""

import ast
import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path
from string import Template

import pytest
import tinycss2

import imgcap
from imgcap.template_files import fill_template, read_template, style_sheet

PACKAGE = Path(imgcap.__file__).parent
FILES = sorted(path.name for path in (PACKAGE / "templates").iterdir())
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "_modidx.py")
# p { margin: 0 }
RULE = re.compile(r"^\s*[.#:\w][^{}\n]*\{[^{}]*[a-z]: [^{}]*\}\s*$", re.MULTILINE)
SCRIPT = re.compile(r"\bdocument\.|=>\s*[{(]|\baddEventListener\b")
MARKDOWN = re.compile(r"^(## |```)", re.MULTILINE)
MOST_ELEMENTS = 4  # in one text of Python; what is more is a template


def texts(path):
    "The texts of a module, each as it is written: a literal, or what stands around its values."
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
              for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield "".join(parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            yield node.value


def named_in(path):
    "Templates that a module names."
    return {text for text in texts(path) if text in FILES}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_module_holds_a_style_sheet_a_script_or_a_page(path):
    for text in texts(path):
        assert len(RULE.findall(text)) < 2, f"a style sheet: {text[:80]!r}"
        assert not SCRIPT.search(text), f"a script: {text[:80]!r}"
        assert not MARKDOWN.search(text), f"a page in Markdown: {text[:80]!r}"
        elements = re.findall(r"<[a-z][a-z0-9]*[ >]", text)
        assert len(elements) <= MOST_ELEMENTS, f"HTML: {text[:80]!r}"


def test_each_template_is_used_and_each_that_is_used_is_there():
    used = set().union(*map(named_in, MODULES))
    assert used == set(FILES)


def test_pictures_become_addresses_in_one_place():
    "Report, ablations and web demo: what writes `data:image/…` is one function."
    writers = [path.name for path in MODULES if any("data:image/" in text for text in texts(path))]
    assert writers == ["pages.py"]


@pytest.mark.parametrize("name", FILES)
def test_a_template_fits_the_screen_of_who_edits_it(name):
    text = (PACKAGE / "templates" / name).read_bytes().decode()
    assert text.endswith("\n") and "\r" not in text and "\t" not in text
    wide = [line for line in text.splitlines() if len(line) > 100]
    assert name.endswith(".md") or not wide


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith((".html", ".md"))])
def test_what_is_filled_in_stays_as_it_is(name):
    "Whatever a caption says, `$title` too, and nothing else of the template changes."
    wanted = Template(read_template(name)).get_identifiers()
    text = fill_template(name, **{each: f"[{each} $title ${{x}} $$ \\1]" for each in wanted})
    for each in wanted:
        text = text.replace(f"[{each} $title ${{x}} $$ \\1]", f"${each}")
    assert text == read_template(name)
    with pytest.raises(KeyError, match=wanted[0]):
        fill_template(name, **dict.fromkeys(wanted[1:], ""))


def of_kind(*endings): return [name for name in FILES if name.endswith(endings)]


@pytest.mark.parametrize("name", of_kind(".css"))
def test_a_style_sheet_is_one(name):
    "Whatever is no rule, and whatever is no declaration, would be passed over in silence."
    def check(nodes):
        for node in nodes:
            assert node.type != "error", f"{name}:{node.source_line}: {node.message}"
            content = getattr(node, "content", None)
            if content is not None:
                check(tinycss2.parse_blocks_contents(content, True, True))

    rules = tinycss2.parse_stylesheet(read_template(name), True, True)
    assert rules
    check(rules)


@pytest.mark.parametrize("name", of_kind(".js"))
def test_a_script_is_one(browser, name):
    "A browser parses it, with what gradio gives to those of the web demo."
    page = browser.new_page()
    code = "code => { new Function('element', 'props', 'trigger', 'MEGABYTES', code) }"
    page.evaluate(code, read_template(name))
    page.close()


class Elements(HTMLParser):
    "Complains of an element that is not closed, or closed where it was not opened."
    def __init__(self, text):
        super().__init__()
        self.open = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        if tag not in ("meta", "link", "img", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


@pytest.mark.parametrize("name", of_kind(".html"))
def test_markup_is_whole(name):
    Elements(read_template(name))


def source(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@pytest.mark.parametrize("script", ["", "report.js"])
def test_a_page_allows_its_own_style_and_script_and_nothing_else(script):
    from imgcap.evaluate.pages import html_page

    code = script and read_template(script)
    page = html_page("a </title> $style", "<p>$script</p>", code)
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    allowed = dict(each.split(None, 1) for each in policy.split(";"))
    assert allowed == {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": source(style_sheet("page.css")),
        "script-src": source(code) if code else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert f"<style>{style_sheet('page.css')}</style>" in page
    assert page.count("<script>") == bool(script) and code in page
    assert "<title>a &lt;/title&gt; $style</title>" in page and "<body><p>$script</p>" in page


def test_the_pages_have_their_colours_in_common():
    "What both say is said in one file: no colour, and no variable, is defined in two."
    names = [name for name in FILES if name.endswith(".css")]
    defined = {name: set(re.findall(r"^\s*(--[\w-]+):", read_template(name), re.MULTILINE))
               for name in names}
    shared = defined.pop("shared.css")
    for name, own in defined.items():
        sheet = read_template(name)
        assert not own & shared
        assert all(f"var({each})" in sheet for each in shared), f"{name} does not use all of it"
        assert style_sheet(name) == read_template("shared.css") + sheet
