"Alt texts of pages: what is a picture, what is left and why, and every other byte."

import os
import random
import re

import pytest
from PIL import Image

from imgcap.infer.alt_text import _html_gaps, _markdown_gaps, fill_alt_text
from imgcap.model.decoding import CaptionError
from imgcap.model import Caption


class Says:
    "Captions every file in the same way, as a `Captioner` would."

    def __init__(self, text="a cat"):
        self.text, self.asked = text, []

    def many(self, files, **options):
        self.asked += files
        for file in files:
            yield (
                Caption(self.text, 1.0, [], [])
                if "broken" not in file
                else CaptionError(file, "damaged")
            )


@pytest.fixture
def home(tmp_path, monkeypatch):
    "a.png, img/my photo.png"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "img").mkdir()
    for name in ("a.png", "img/my photo.png", "broken.png"):
        Image.new("RGB", (8, 8)).save(name)
    return tmp_path


def filled(text, suffix, captioner=None, **options):
    "A page after it was filled, and the report."
    name = f"page{suffix}"
    with open(name, "wb") as file:
        file.write(text.encode() if isinstance(text, str) else text)
    report = fill_alt_text(name, captioner or Says(), **options)
    return open(name, "rb").read().decode(errors="surrogateescape"), report


IMG = '<img src="a.png">'
GOT = '<img alt="a cat" src="a.png">'
NO_PICTURE = [
    "<!-- {} -->",
    "<!--\n{}\n-->",
    "<script>'{}'</script>",
    "<style>/* {} */</style>",
    "<textarea>{}</textarea>",
    "<textarea rows=3>\n{}\n</textarea>",
    "<template>{}</template>",
    "<template><template></template>{}</template>",
    "<noscript>{}</noscript>",
    "<title>{}</title>",
    "<TEXTAREA>{}</TextArea>",
    "<![CDATA[ {} ]]>",
    "<![CDATA[<b>{}</b>]]>",
    "<iframe>{}</iframe>",
    "<xmp>{}</xmp>",
    "<template><p>{}</template>",
]


@pytest.mark.parametrize("around", NO_PICTURE)
@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_what_is_no_picture_stays_and_what_follows_is_filled(home, around, suffix):
    no = around.format(IMG)
    text, report = filled(f"<p>{no}</p>\n\n{IMG}\n", suffix)
    assert text == f"<p>{no}</p>\n\n{GOT}\n" and report.left == []
    text, report = filled(f"{no}\n\n{IMG}\n", suffix)
    assert text == f"{no}\n\n{GOT}\n" and report.left == []


@pytest.mark.parametrize(
    "page",
    [
        "---\ntitle: x\nimage: {}\n---\n\n",
        "---\r\ntitle: x\r\nimage: '{}'\r\n---\r\n\r\n",
        "+++\ntitle = '{}'\n+++\n\n",
        "\ufeff---\ntitle: '{}'\n...\n",
        "---\n\ntitle: '{}'\n---\n\n",
        "---\r\n\r\n# of the page\r\nimages:\r\n- '{}'\r\n\r\n---\r\n\r\n",
        "---\n \ntitle: >\n  {}\n---\n",
        "+++\n\ntitle = '{}'\n+++\n\n",
    ],
)
@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_front_matter_is_no_text(home, page, suffix):
    for inside in (IMG, "![](a.png)"):
        start = page.format(inside)
        text, report = filled(f"{start}{IMG}\n", suffix)
        assert text == f"{start}{GOT}\n" and report.left == []


def test_a_rule_is_no_front_matter(home):
    for before in ("", "# Title\n\n", "Note: this\n\n", "- [x\n", "a: [\n\n"):
        text, report = filled(f"---\n\n{before}![](a.png)\n\n---\n", ".md")
        assert text == f"---\n\n{before}![a cat](a.png)\n\n---\n"


@pytest.mark.parametrize(
    "old, new",
    [
        ("![](<img/my photo.png>)", "![a cat](<img/my photo.png>)"),
        ("![ ](<img/my photo.png> 'title')", "![a cat](<img/my photo.png> 'title')"),
        ("![](img/my%20photo.png)", "![a cat](img/my%20photo.png)"),
        ("[x](<img/my photo.png>) ![](a.png)", "[x](<img/my photo.png>) ![a cat](a.png)"),
        ("![mine](<img/my photo.png>) ![](a.png)", "![mine](<img/my photo.png>) ![a cat](a.png)"),
        ("![][a]\n\n[a]: <img/my photo.png>", "![a cat][a]\n\n[a]: <img/my photo.png>"),
        ("[![](a.png)](<img/my photo.png>)", "[![a cat](a.png)](<img/my photo.png>)"),
        ("`![](a.png)` ![](a.png)", "`![](a.png)` ![a cat](a.png)"),
        ("\\![](a.png) ![](a.png)", "\\![](a.png) ![a cat](a.png)"),
        ("![](a.png)![](a.png)", "![a cat](a.png)![a cat](a.png)"),
    ],
)
def test_markdown(home, old, new):
    text, report = filled(old + "\n", ".md")
    assert text == new + "\n" and report.left == []


@pytest.mark.parametrize(
    "page, reason",
    [
        ('<img src="a.png" data-src="b.png">', "data-src"),
        ('<img data-src="a.png">', "data-src"),
        ('<img src="a.png" srcset="b.png 2x">', "srcset"),
        ('<picture><source srcset="b.webp"><img src="a.png"></picture>', "srcset"),
        ('<picture><source srcset="b.webp"><b>b</b><img src="a.png"></picture>', "srcset"),
        ('<img src="a.png" data-lazy-src="b.png">', "data-lazy-src"),
        ('<img src="{}.png">'.format("n" * 300), "no such file"),
        ('<img src="//[bad/x.png">', "no address"),
        ('<img src="http://[::1/x.png">', "no address"),
        ('<img src="a%00.png">', "no such file"),
        ('<img src="{}/x.png">'.format("n" * 5000), "no such file"),
        ("<img>", "no address"),
        ('<img src="broken.png">', "damaged"),
        ('<img src="https://example.org/x.png">', "on the web"),
        ('<img src="data:image/png;base64,AAAA">', "data in the page"),
        ('<img src="a.png" role="presentation">', "decoration"),
        ('<img src="a.png" aria-hidden="true">', "decoration"),
        ('<img src="a.png" alt="">', 'alt="" says decoration'),
        ('<img src="a.png" alt>', 'alt="" says decoration'),
        ("<img src=a.png ALT=''>", 'alt="" says decoration'),
        ('<img src="img">', "no such file"),
    ],
)
@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_what_is_left_costs_one_picture_and_is_told(home, page, reason, suffix):
    text, report = filled(f"{IMG}\n\n{page}\n\n{IMG}\n", suffix)
    assert text == f"{GOT}\n\n{page}\n\n{GOT}\n" and report.filled == 2
    ((line, address, why),) = report.left
    assert line == 3 and why.startswith(reason) and len(address) <= 80 and "\n" not in why


def test_a_base_that_is_no_address(home):
    text, report = filled(f'<base href="http://[bad/">{IMG}', ".html")
    assert report.filled + len(report.left) == 1


@pytest.mark.parametrize(
    "old",
    [
        '<img src="a.png" alt="">',
        "<img src=a.png alt>",
        "<img alt = ' ' src=a.png>",
        "<IMG ALT='' src=a.png/>",
    ],
)
def test_decoration_is_filled_when_asked(home, old):
    assert filled(old, ".html")[0] == old
    text, report = filled(old, ".html", decorative=True)
    assert 'alt="a cat"' in text and text.lower().count("alt") == 1 and report.filled == 1
    assert filled('<img role=none alt="" src=a.png>', ".html", decorative=True)[1].filled == 0


def test_markdown_cannot_say_decoration(home):
    assert filled("![](a.png)", ".md")[0] == "![a cat](a.png)"
    assert (
        filled('![](a.png) <img src="a.png" alt="">', ".md")[0]
        == '![a cat](a.png) <img src="a.png" alt="">'
    )


def test_harmless_and_harmful(home):
    assert filled('<img alt="" src="a.png">', ".html")[1].worked
    assert filled("", ".md")[1].worked and not filled("![](nowhere.png)", ".md")[1].worked


def test_bytes_links_and_permissions_stay(home):
    text, _ = filled("caf\xe9 <img src=a.png>\r\n".encode("latin-1"), ".html", Says("猫 & co"))
    assert text == os.fsdecode(b'caf\xe9 <img alt="&#29483; &amp; co" src=a.png>\r\n')
    (home / "real.md").write_text("![](a.png)")
    os.chmod("real.md", 0o640)
    os.symlink("real.md", "link.md")
    fill_alt_text("link.md", Says())
    assert os.path.islink("link.md") and (home / "real.md").read_text() == "![a cat](a.png)"
    assert os.stat("real.md").st_mode & 0o777 == 0o640
    text, report = filled("<img src=a.png>", ".html", dry_run=True)
    assert text == "<img src=a.png>" and "+<img alt" in report.diff


def test_what_is_no_page(home):
    for name, content, said in [
        ("p.txt", b"", "a page ends in"),
        ("p.md", "x".encode("utf-16"), "UTF-8"),
    ]:
        (home / name).write_bytes(content)
        with pytest.raises(ValueError, match=said):
            fill_alt_text(name, Says())
    with pytest.raises(ValueError, match="one caption"):
        fill_alt_text("p.md", Says(), num_beams=2, num_return_sequences=2)
    assert fill_alt_text.__kwdefaults__ == {"dry_run": False, "decorative": False}


@pytest.mark.parametrize(
    "caption",
    [
        "a *cat* [on](a) `mat` & <b>more</b>",
        'five|six "seven" _nine_ \\ ten',
        "a\u2028b\nc",
        "]",
        "![](x)",
    ],
)
def test_whatever_a_caption_says_the_page_is_whole(home, caption):
    from markdown_it import MarkdownIt

    text, _ = filled("![](a.png)", ".md", Says(caption))
    (image,) = MarkdownIt("commonmark").parse(text)[1].children
    assert "".join(part.content for part in image.children) == " ".join(caption.split())


PIECES = [
    "<img src=a.png>",
    '<img alt="" src="b.png"/>',
    "<img src='c.png' alt=''",
    ">",
    "<!--",
    "-->",
    "<script>",
    "</script>",
    "![](d.png)",
    "`",
    "``",
    "\n",
    "\r\n",
    "    ",
    "![ ][e]",
    "\n[e]: e.png\n",
    "\\",
    '<p title="',
    '"',
    "- ",
    "| a | b |\n|---|---|\n",
    "text",
    "é",
    "\u2028",
    "<img",
    "![",
    "]",
    "> ",
    "```\n",
    "<textarea>",
    "</textarea>",
    "<template>",
    "</template>",
    "<![CDATA[",
    "]]>",
    "---\n",
    "<picture>",
    "</picture>",
    "](<img/x y.png>)",
]


@pytest.mark.parametrize("find", [_html_gaps, _markdown_gaps])
def test_random_pages_change_at_their_gaps_only(find):
    rng, gaps = random.Random(1), 0
    for _ in range(1500):
        text = "".join(rng.choice(PIECES) for _ in range(rng.randrange(1, 14)))
        at = 0
        for gap in sorted(find(text, True), key=lambda gap: gap.start):
            if gap.reason:
                continue
            assert at <= gap.start <= gap.end <= len(text), (text, gap)
            assert re.fullmatch(r"""(alt(\s*=\s*(""|''))?)?|\s*""", text[gap.start : gap.end]), (
                text,
                gap,
            )
            at, gaps = gap.end, gaps + 1
    assert gaps > 200


@pytest.mark.parametrize("bad", ["<![ y>", "<![foo[x]]>", "<![if !IE]>", "<![>", "<![]]>"])
@pytest.mark.parametrize("suffix", [".html", ".md", ".xhtml"])
def test_a_bad_marked_section_costs_no_page(home, bad, suffix):
    text, report = filled(f"<p>{IMG} x {bad} y</p>\n\n{IMG}\n", suffix)
    assert text == f"<p>{GOT} x {bad} y</p>\n\n{GOT}\n"
    text, report = filled(f"<p>x <![ y {IMG}\n\n{IMG}\n", suffix)  # to a browser, a comment
    assert text == f"<p>x <![ y {IMG}\n\n{GOT}\n" and report.filled == 1


@pytest.mark.parametrize("suffix", [".html", ".md"])
def test_any_markup_is_read_without_a_traceback(home, suffix):
    rng = random.Random(0)
    bits = ["<![", "<!", "<!-", "<!--", "-->", "[", "]]>", ">", "<", "</", "<?", "a", " ", "&#x",
            "CDATA[", "if", "<p", "<img", IMG, "=", "'", "<picture>", "<script", "<!doctype", "\n"]
    for _ in range(400):
        filled("".join(rng.choices(bits, k=12)), suffix, dry_run=True)


def test_a_picture_element_without_another_source_is_an_image(home):
    around = "<picture>{}</picture>\n<picture><source srcset=b.webp>{}</picture>\n{}\n"
    text, report = filled(around.format(IMG, IMG, IMG), ".html")
    assert text == around.format(GOT, IMG, GOT)
    assert [(line, reason.partition(":")[0]) for line, _, reason in report.left] == [(2, "srcset")]


def test_a_report_shows_no_password(home):
    text, report = filled("<img src=http://bob:secret@host.example/x.png>\n", ".html")
    assert report.left == [(1, "http://host.example/x.png", "on the web")]


@pytest.mark.parametrize("place", ["C:\\x\\a.png", "c:/x/a.png", "file:///a.png", "file://a.png"])
def test_a_place_on_one_computer_is_not_on_the_web(home, place):
    text, report = filled(f"<img src='{place}'>\n", ".html")
    assert report.left == [(1, place, "a place on one computer; name it relative to the page")]
    assert not report.worked


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name here")
def test_a_page_that_is_a_pipe_is_refused(home):
    os.mkfifo("page.md")
    with pytest.raises(OSError, match="page.md is a pipe, not a regular file"):
        fill_alt_text("page.md", Says())


@pytest.mark.parametrize("suffix", [".md", ".html"])
def test_a_page_behind_a_link_is_filled_where_it_is(home, suffix):
    (home / f"far{suffix}").write_text(IMG)
    os.symlink(home / f"far{suffix}", f"page{suffix}")
    fill_alt_text(f"page{suffix}", Says())
    assert os.path.islink(f"page{suffix}") and (home / f"far{suffix}").read_text() == GOT


class Meanwhile(Says):
    "Captions, while somebody saves the page: a text in each round of captions; None deletes it."

    def __init__(self, name, *texts):
        super().__init__()
        self.name, self.texts = name, list(texts)

    def many(self, files, **options):
        text = self.texts.pop(0) if self.texts else ""
        if text is None:
            os.unlink(self.name)
        elif text:
            with open(self.name, "wb") as page:
                page.write(text.encode())
        return super().many(files, **options)


@pytest.mark.parametrize("suffix", [".html", ".md"])
@pytest.mark.parametrize(
    "saved, wanted, asked",
    [
        (["# mine\n\n{IMG}\n\nmore\n"], "# mine\n\n{GOT}\n\nmore\n", 1),
        (["{IMG} b\n", "{IMG} c\n"], "{GOT} c\n", 1),
        (["no picture\n"], "no picture\n", 1),
        (["<img src='a.png' alt='my own'>\n"], "<img src='a.png' alt='my own'>\n", 1),
        (["{IMG}\n\n<img src='img/my photo.png'>\n"],
         "{GOT}\n\n<img alt=\"a cat\" src='img/my photo.png'>\n", 2),
    ],
)  # fmt: skip
def test_what_somebody_saves_meanwhile_stays(home, suffix, saved, wanted, asked):
    texts = [text.replace("{IMG}", IMG) for text in saved]
    captioner = Meanwhile(f"page{suffix}", *texts)
    text, report = filled(f"{IMG}\n", suffix, captioner)
    assert text == wanted.replace("{GOT}", GOT) and report.left == []
    assert report.filled == text.count("a cat")
    assert len(captioner.asked) == asked, "a picture is captioned once"


def test_a_page_that_is_deleted_meanwhile_stays_away(home):
    with open("page.md", "w") as page:
        page.write(IMG)
    with pytest.raises(FileNotFoundError, match="page.md"):
        fill_alt_text("page.md", Meanwhile("page.md", None))
    assert not os.path.exists("page.md")
