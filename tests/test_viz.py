"Figures: text stays in its cell, letters exist, marks are right, mistakes are told in a line."

import math
import os
import random
import subprocess
import sys
import warnings
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from imgcap.data.creatures import make_creatures
from imgcap.viz import (
    compare_captions,
    contact_sheet,
    figures,
    plot_history,
    plot_lengths,
    plot_words,
    plots,
    show_captions,
    show_predictions,
    show_references,
)

SENTENCE = "a long sentence about a creature that somebody wrote on a slow afternoon, "


def blank(width, height, mode="RGB"):
    return Image.new(mode, (width, height), "gainsboro" if mode == "RGB" else 200)


ODD = [
    dict(image=blank(1200, 150), captions="a panorama"),
    dict(image=blank(100, 900), captions=["a tower: " + SENTENCE * 5]),
    dict(image=blank(300, 300, "L"), caption="priced at $5 or $10, <b>not</b> maths"),
    dict(image=blank(24, 24), captions=["https://example.org/" + "without/any/blank/" * 4]),
]


@pytest.fixture(scope="module")
def rows():
    return list(make_creatures({"train": 20}, image_size=120)["train"])


def check_layout(fig, dpis=(72, 100, 200)):
    "No text leaves the figure, or covers another text or a picture."
    own = fig.dpi
    for dpi in dpis:
        fig.set_dpi(dpi)
        renderer = FigureCanvasAgg(fig).get_renderer()
        taken = [("a picture", ax.get_window_extent(renderer)) for ax in fig.axes if ax.images]
        for text in fig.texts:
            if not (name := text.get_text()):
                continue
            a = text.get_window_extent(renderer)
            assert a.x0 >= 0 and a.y0 >= 0, f"{name!r} leaves the figure at {dpi} dpi"
            assert a.x1 <= fig.bbox.x1 and a.y1 <= fig.bbox.y1, f"{name!r} leaves at {dpi} dpi"
            for other, b in taken:
                across = min(a.x1, b.x1) - max(a.x0, b.x0)
                up = min(a.y1, b.y1) - max(a.y0, b.y0)
                assert across <= 1 or up <= dpi / 50, f"{name!r} covers {other!r} at {dpi} dpi"
            taken.append((name, a))
    fig.set_dpi(own)
    return fig


# --- text that fits


def wrapped(text, width, max_lines=9):
    pieces = [(piece, None) for piece in figures.line_pieces(text)]
    lines = figures.wrapped_lines(pieces, width, len, max_lines)
    return ["".join(piece for piece, _ in line) for line in lines]


def test_pieces():
    assert figures.line_pieces("  a red\n\then") == ["a", " red", " hen"]
    assert figures.line_pieces("一只熊。 a bear") == ["一", "只", "熊。", " a", " bear"]
    assert "".join(figures.line_pieces("x" * 1000)) == "x" * 1000


@pytest.mark.parametrize(
    "text, width, lines",
    [
        ("a small red creature on a green hill", 10, "a small|red|creature|on a green|hill"),
        ("Donaudampfschiff ahoy", 6, "Donaud|ampfsc|hiff|ahoy"),
        ("一只小熊。戴帽子", 4, "一只小|熊。戴帽|子"),
    ],
)
def test_lines(text, width, lines):
    assert wrapped(text, width) == lines.split("|")


def test_what_does_not_fit_ends_in_an_ellipsis():
    cut = wrapped("a small red creature on a green hill", 10, max_lines=2)
    assert cut == ["a small", "red…"]
    assert wrapped("", 10) == [] and wrapped("ab", 1, 1) == ["…"]


@pytest.mark.parametrize("text", [SENTENCE * 9, "x" * 999, "一只熊" * 99])
@pytest.mark.parametrize("width", range(3, 40, 7))
def test_no_line_is_wider_than_it_may_be(text, width):
    lines = wrapped(text, width, 4)
    assert len(lines) <= 4 and max(map(len, lines)) <= width and lines[-1][-1] == "…"


# --- rows


def test_rows_in_every_shape(rows):
    assert figures.rows_to_show(iter(rows), 2) == rows[:2]
    columns = {"image": [1, 2, 3], "caption": ["a", "b", "c"]}
    first = [{"image": 1, "caption": "a"}, {"image": 2, "caption": "b"}]
    assert figures.rows_to_show(columns, 2) == first
    one = {"captions": None, "caption": "one"}
    assert figures.captions_of(one, "captions", "caption") == ["one"]


def test_large_pictures_are_made_smaller():
    assert figures.picture_of({"image": Image.new("RGB", (5000, 4000))}).size == (1600, 1280)
    assert figures.picture_of({"image": Image.new("RGB", (1600, 90))}).size == (1600, 90)


@pytest.mark.parametrize(
    "bad, message",
    [
        ({"train": [], "test": []}, "train, test"),
        ([], "not one row"),
        (["a.jpg"], "row 0 has no 'image': str"),
        ([{"img": 1}], "img"),
    ],
)
def test_what_are_no_rows(bad, message):
    with pytest.raises(ValueError, match=message):
        show_captions(bad)


# --- grids


@pytest.mark.parametrize("count", [1, 3, 8, 20])
def test_each_row_has_a_cell(count, rows):
    assert len(check_layout(show_captions(rows, n=count)).axes) == count


@pytest.mark.parametrize("columns, width", [(1, 3), (2, 8), (3, 5), (6, 8)])
def test_text_stays_in_its_cell(columns, width, rows):
    check_layout(show_captions(ODD + rows[:3], columns=columns, width=width, each=5))


def test_pictures_keep_their_shape():
    for ax, row in zip(show_captions(ODD).axes, ODD, strict=True):
        width, height = row["image"].size
        assert tuple(ax.images[0].get_extent()) == (0, width, height, 0)


def test_a_small_picture_stands_above_its_text_without_a_ground():
    small, large = Image.new("RGB", (50, 40), "red"), Image.new("RGB", (800, 800), "blue")
    rows = [dict(image=small, caption="small"), dict(image=large, caption="large")]
    fig = show_captions(rows, columns=2, width=4)
    left, up = (round(value) for value in fig.axes[0].get_window_extent().min)
    file = BytesIO()
    fig.savefig(file, format="png")
    dots = Image.open(file).convert("RGB")
    first, last = (left + 1, dots.height - up - 2), (left + 148, dots.height - up - 118)
    assert dots.getpixel(first) == (255, 0, 0) == dots.getpixel(last)
    beside, above = (left + 160, first[1]), (left + 1, dots.height - up - 130)
    assert dots.getpixel(beside) == (255, 255, 255) == dots.getpixel(above)


def test_nothing_in_a_caption_is_a_formula():
    fig = show_captions([dict(image=blank(9, 9), caption=r"$\frac{$")])
    fig.savefig(BytesIO())
    assert fig.texts[0].get_text() == r"$\frac{$"


def test_a_script_without_a_display(tmp_path):
    script = """
from imgcap.data.creatures import make_creatures
from imgcap.viz import show_captions
fig = show_captions(make_creatures({"train": 2})["train"])
for name in "grid.png", "grid.svg":
    fig.savefig(name)
    print(name, open(name, "rb").read(5))
"""
    display = "DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND"
    plain = {name: value for name, value in os.environ.items() if name not in display}
    plain["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=plain, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout.splitlines() == ["grid.png b'\\x89PNG\\r'", "grid.svg b'<?xml'"]


def test_references_of_any_length():
    row = {"image": blank(40, 300), "captions": [SENTENCE * 9, "", "short"]}
    check_layout(show_references(row))


def test_no_figure_is_left_on_the_list(rows):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    show_captions(rows, n=1)
    assert plt.get_fignums() == before


# --- letters that exist


def font_of_blocks(path, characters, name="Blocks"):
    "A font file that draws `characters` and nothing else."
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    pen = TTGlyphPen(None)
    pen.moveTo((80, 0))
    for corner in (80, 800), (920, 800), (920, 0):
        pen.lineTo(corner)
    pen.closePath()
    names = [".notdef"] + [f"g{i}" for i in range(len(characters))]
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(c): f"g{i}" for i, c in enumerate(characters)})
    font.setupGlyf({name: pen.glyph() for name in names})
    font.setupHorizontalMetrics(dict.fromkeys(names, (1000, 80)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": name, "styleName": "Regular"})
    font.setupOS2(sTypoAscender=800, usWeightClass=500)
    font.setupPost()
    font.save(path)


@contextmanager
def only_fonts(monkeypatch, paths=()):
    "matplotlib with its own fonts and `paths`, whatever is installed."
    manager, own = font_manager.fontManager, str(Path(matplotlib.get_data_path()))
    before = list(manager.ttflist)
    manager.ttflist[:] = [font for font in before if font.fname.startswith(own)]
    for path in paths:
        manager.addfont(path)
    figures._fonts_warned.clear()
    figures._find_new_fonts.cache_clear()
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield caught
    finally:
        manager.ttflist[:] = before
        figures._find_new_fonts.cache_clear()


def draw_twice(rows):
    chinese = [
        dict(image=rows[i]["image"], captions=["小熊戴帽。" * (1 + 4 * i)]) for i in range(3)
    ]
    drawn = [check_layout(show_captions(chinese)) for _ in range(2)]
    for fig in drawn:
        fig.savefig(BytesIO(), format="svg")
    return drawn[0].texts[0].get_text()


def test_letters_that_are_there_need_no_search_for_fonts(rows, monkeypatch):
    with only_fonts(monkeypatch):
        monkeypatch.setattr(font_manager, "findSystemFonts", lambda: pytest.fail("a search"))
        show_captions([dict(image=rows[0]["image"], captions=["a red creature"])])


def test_a_grid_says_what_it_leaves_out(rows):
    many = rows * 3

    def said(given, **options):
        texts = [text.get_text() for text in show_captions(given, **options).findobj(Text)]
        return [text for text in texts if text.startswith("The first")]

    assert said(many) == [f"The first 48 of {len(many)} rows"]
    # of a stream nobody knows how much is left, and who asks for so many knows it
    assert not said(iter(many)) and not said(rows) and not said(many, n=3)


def test_captions_are_large_enough_to_read(rows):
    texts = [text for text in show_captions(rows[:2]).findobj(Text) if text.get_text().strip()]
    assert texts and all(text.get_fontsize() >= 9 for text in texts)


def test_words_have_no_marks_at_their_bars(rows):
    (ax,) = plot_words(rows).axes
    marks = [line.get_markersize() for line in ax.yaxis.get_ticklines()]
    assert len(marks) > 1 and not any(marks)


def test_missing_letters_are_said_once_where_the_figure_is_drawn(rows, monkeypatch):
    with only_fonts(monkeypatch) as caught:
        text = draw_twice(rows)
    [said] = [str(w.message) for w in caught]
    assert said.startswith("no installed font has 小帽戴熊。; drawn as □. ")
    assert caught[0].filename == __file__
    assert "□□□□" in text


def test_a_font_that_has_the_letters_is_found(rows, monkeypatch, tmp_path, caplog):
    font_of_blocks(tmp_path / "blocks.ttf", "小熊戴帽。")
    with only_fonts(monkeypatch, [tmp_path / "blocks.ttf"]) as caught:
        assert draw_twice(rows) == "小熊戴帽。"
    assert not caught, [str(w.message) for w in caught]
    assert not [record for record in caplog.records if record.name.startswith("matplotlib")]


def test_usual_letters_need_no_other_font():
    families, missing = figures._fonts_for("a bear")
    assert families == list(matplotlib.rcParams["font.family"]) and not missing


# --- lengths and words


def test_captions_in_every_shape():
    for captions in "a", ["a"], [["a"]], [{"captions": ["a"]}], {"caption": "a"}:
        assert plots._flat(captions) == ["a"]


def test_one_long_caption_does_not_squeeze_the_others():
    lengths = [max(1, round(random.Random(i).gauss(11, 3))) for i in range(500)]
    fig = plot_lengths([" ".join(["word"] * n) for n in lengths] + ["word " * 1000], width=5)
    [ax] = fig.axes
    assert ax.get_xlim()[1] < 60
    assert "1 of 27 words or more" in ax.get_title(loc="left")
    assert sum(bar.get_height() for bar in ax.containers[0]) == 501


def test_words_are_counted_without_case_and_fit():
    fig = plot_words(["ab ab AB, cd", "x" * 300, "$x$ costs"], n=4)
    labels = [label.get_text() for label in fig.axes[0].get_yticklabels()]
    assert labels[0] == "ab" and all(len(label) < 40 for label in labels)
    fig.savefig(BytesIO(), format="svg")


def test_words_of_a_language_without_spaces():
    chinese = [{"captions": ["一只猫坐着", "一只狗"], "language": "zh"}]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fonts that this machine lacks
        title = plot_words(chinese).axes[0].get_title(loc="left")
    assert "8 words, 6 different" in title
    title = plot_lengths(["一只猫坐着", "一只狗"], language="zh").axes[0].get_title(loc="left")
    assert "2 captions, 3 to 5 words" in title


# --- comparisons


@pytest.mark.parametrize(
    "prediction, references, lines",
    [
        ("", ["a bear"], ["prediction  (empty)", "reference   {a} {bear}"]),
        ("a bear", ["a bear ."], ["prediction  a bear", "reference   a bear ."]),
        ("小熊戴帽", "小狗戴帽。", ["prediction  小[熊]戴帽", "reference   小{狗}戴帽。"]),
        (
            "a small blue bear with a hat",
            ["A small red bear on a hill.", "the bear wears a hat", "a bear"],
            [
                "prediction  a small [blue] bear [with] a (hat)",
                "reference   A small {red} bear {on} a {hill.}",
            ],
        ),
    ],
)
def test_what_is_marked(prediction, references, lines):
    assert str(compare_captions(prediction, references)).splitlines() == lines


def test_marks_in_other_languages():
    assert compare_captions("A bear!", ["a  bear"]).similarity == 1
    thai = str(compare_captions("แมวแดง", "แมวดำ", language="th"))
    assert thai.splitlines()[0].startswith("prediction  แมว")
    assert compare_captions("एक बिल्ली।", "एक बिल्ली", language="hi").similarity == 1


def test_a_caption_is_no_html():
    page = compare_captions("<script>alert(1)</script> & <b>bear</b>", ["<i>bear</i>"])
    page = page._repr_html_()
    assert "&lt;script&gt;" in page
    assert not [tag for tag in ("<script", "<b>", "<i>") if tag in page]


def test_predictions_with_their_marks(rows):
    given = ["a bear on a hill", "one red bear"]
    said = ["a blue fish on a hill", "one bear", "red hill", ""]
    fixed = [
        dict(image=row["image"], prediction=text, references=given) for row, text in zip(rows, said)
    ]
    fig = show_predictions(fixed)
    assert [t.get_text() for t in fig.texts if t.get_bbox_patch()] == ["blue fish", "marked"]
    assert "(empty)" in [t.get_text() for t in fig.texts]


@pytest.mark.parametrize("dpi", [72, 100, 150, 200])
def test_words_beside_a_mark_are_one_blank_away(rows, dpi):
    prediction, reference = "a red round creature with wings", "a pink round creature sleeps"
    fig = show_predictions([dict(image=blank(9, 9), prediction=prediction, references=reference)])
    fig.set_dpi(dpi)
    renderer = FigureCanvasAgg(fig).get_renderer()
    boxes = {text.get_text(): text.get_window_extent(renderer) for text in fig.texts}
    line = [boxes[run] for run in ("a", "red", "round creature", "with wings")]
    font = fig.texts[0].get_fontproperties()
    space, _, _ = renderer.get_text_width_height_descent(" ", font, False)
    for before, after in pairwise(line):
        assert abs(after.x0 - before.x1 - space) <= max(1, dpi / 150)


@pytest.mark.parametrize("box", [None, "tight"])  # a notebook that has pyplot draws tight ones
def test_words_beside_a_mark_are_on_the_same_line(box):
    row = dict(image=blank(9, 9), prediction="noun sun noun", references="noun noun")
    file = BytesIO()
    show_predictions([row]).savefig(file, format="png", bbox_inches=box)
    dots = Image.open(file).convert("RGB")
    places = [(x, y) for y in range(dots.height) for x in range(dots.width)]
    marks = [place for place in places if dots.getpixel(place) == (0xF2, 0xC9, 0xAA)]
    top = min(y for _, y in marks)
    marks = [(x, y) for x, y in marks if y < top + 20]  # without the footer's
    dark = [(x, y) for x, y in places if 0 <= y - top < 20 and max(dots.getpixel((x, y))) < 99]
    start, end = min(marks)[0], max(marks)[0]
    before = max(y for x, y in dark if x < start)
    marked = max(y for x, y in dark if start <= x <= end)
    after = max(y for x, y in dark if x > end)
    assert abs(before - marked) <= 1 and abs(before - after) <= 1


def test_predictions_that_are_long_or_alone():
    long = [
        dict(image=row["image"], prediction=SENTENCE * 3, references=["x " * 200]) for row in ODD
    ]
    check_layout(show_predictions(long))
    check_layout(show_predictions([dict(image=ODD[0]["image"], caption="no reference at all")]))


# --- curves


def test_only_what_is_in_the_log_has_a_panel():
    assert len(plot_history([{"step": 1, "loss": 2.0}]).axes) == 1
    assert len(plot_history([{"epoch": 1, "eval_wer": 0.5}]).axes) == 1
    with pytest.raises(ValueError, match="nothing to plot among accuracy, step"):
        plot_history([{"step": 1, "accuracy": 1}])


def test_a_step_that_was_repeated_counts_once():
    log = [{"step": 2, "loss": 1}, {"step": 1, "loss": 3}, {"step": 2, "loss": 2}]
    assert plots._series(log, "loss") == [(1, 3), (2, 2)]


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["loss"], [6]),
        (["loss", "learning_rate"], [4]),  # the rate has 0 and its peak
        (["eval_cider_d", "eval_wer"], [3, 3]),
    ],
)
def test_a_panel_has_as_many_numbers_at_its_side_as_its_height_has_room_for(names, steps):
    fig = plot_history([{"step": step, **dict.fromkeys(names, 1)} for step in (1, 2)])
    for ax, most in zip(fig.axes, steps):
        marks = ax.yaxis.get_major_locator().tick_values(0, most)
        assert list(marks) == list(range(most + 1))


def test_a_loss_that_is_no_number_is_pointed_out():
    log = [{"step": s, "loss": 1 / s if s < 5 else math.nan} for s in range(1, 9)]
    legend = plot_history(log).axes[0].get_legend().get_texts()
    assert "not a number from 5" in legend[-1].get_text()


# --- sheets


def test_the_size_of_a_sheet(rows):
    assert contact_sheet(rows, columns=5, size=32).size == (5 * 34 + 2, 4 * 34 + 2)
    assert contact_sheet(iter(rows[:6]), size=8).size == (32, 22)
    assert contact_sheet(rows, n=2, size=8).size == (22, 12)


@pytest.mark.parametrize("count, said", [(1, "1 picture makes"), (2, "2 pictures make")])
def test_a_sheet_of_too_many_pixels(count, said, rows):
    with pytest.raises(ValueError, match=rf"^size=20000: {said} a sheet .*\(size=\d+\)$"):
        contact_sheet(rows[:count], size=20_000)


def test_a_thumbnail_is_in_the_middle_of_its_box():
    sheet = contact_sheet([{"image": Image.new("RGB", (600, 20))}], size=60)
    assert sheet.size == (64, 64)
    assert sheet.getpixel((2, 32)) == (0, 0, 0)
    assert sheet.getpixel((2, 10)) == (255, 255, 255)


@pytest.mark.parametrize("peak, shown", [(0.0019996, "0.002"), (5e-5, "5e-05"), (1e-3, "0.001")])
def test_the_peak_of_the_learning_rate_can_be_read(peak, shown):
    log = [{"step": step, "learning_rate": peak * step / 9} for step in range(10)]
    [ax] = plot_history(log).axes
    ax.figure.canvas.draw()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", shown]
