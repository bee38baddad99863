"""The page: what its widgets can be set to, who has it open, and pictures that nobody should have
to decode."""

import base64
import html
import io
import itertools
import re
import struct
import threading
import time
import zlib

import numpy as np
import pytest
from PIL import Image
from small_models import pictures, small_model

from imgcap.app import _options, build_app, caption_page
from imgcap.app_page import figure_html, heat_place
from imgcap.config import Decoding
from imgcap.infer import Captioner


@pytest.mark.parametrize("size, shown", [
    ((1600, 800), (768, 384)), ((768, 500), (768, 500)), ((40, 20), (40, 20))])
def test_a_picture_is_sent_no_larger_than_it_was_and_than_is_seen(size, shown):
    uri = re.search('src="data:image/jpeg;base64,([^"]+)"', figure_html(Image.new("L", size), ""))
    assert Image.open(io.BytesIO(base64.b64decode(uri[1]))).size == shown


WIDGETS = {
    "n": "How many captions",
    "num_beams": "Beams",
    "temperature": "Temperature",
    "top_p": "Top p",
    "max_new_tokens": "Longest caption",
    "no_repeat_words": "Repetition",
}
DEFAULT = {
    "decoding": "likeliest",
    "n": 1,
    "num_beams": 1,
    "temperature": 1,
    "top_p": 0.9,
    "seed": 0,
    "max_new_tokens": 40,
    "no_repeat_words": 3,
    "prefix": "",
    "force_words": "",
    "forbid_words": "",
}


@pytest.fixture(scope="module")
def captioner():
    model, processor = small_model("git")
    return Captioner(model, processor=processor)


@pytest.fixture
def photo(tmp_path):
    file = tmp_path / "photo.png"
    pictures(1)[0].save(file)
    return str(file)


def message(states):
    return re.sub("<[^>]*>", "", list(states)[-1][2])


@pytest.fixture(scope="module")
def ends(captioner):
    "{name: (lowest, highest, default)} of the sliders of the page."
    pytest.importorskip("gradio")
    widgets = {
        part["props"].get("label"): part["props"]
        for part in build_app(captioner).config["components"]
    }
    return {
        name: (widgets[label]["minimum"], widgets[label]["maximum"], widgets[label]["value"])
        for name, label in WIDGETS.items()
    }


class Page:
    "The page of a captioner, without a browser: its widgets by their labels."
    def __init__(self, captioner):
        page = build_app(captioner)
        [self._write] = {id(f.fn): f for f in page.fns.values() if f.name == "write"}.values()
        self.widgets = {w.label: w for w in self._write.inputs[1:]}

    def write(self, path, method="none", **changes):
        "What the page writes for a file, and its message."
        values = {label: widget.value for label, widget in self.widgets.items()}
        if "Heat maps from" in values: values["Heat maps from"] = method
        values |= changes
        *_, (_, words, said) = self._write.fn(path, *values.values())
        lines = [re.sub("<[^>]*>", "", line) for line in words.split("</li>")[:-1]]
        return list(map(html.unescape, lines)), said


PLACES = ["top left", "top", "top right", "left", "middle", "right",
          "bottom left", "bottom", "bottom right"]


@pytest.mark.parametrize("ninth", range(9))
def test_a_place_in_words(ninth):
    row, column = divmod(ninth, 3)
    heat = np.zeros((9, 12))
    heat[3 * row:3 * row + 3, 4 * column:4 * column + 4] = 1
    assert heat_place(heat) == PLACES[ninth]
    assert heat_place(heat + 9) == "everywhere" and heat_place(heat, 1) == "nowhere in particular"


def test_whatever_the_sliders_say_can_be_asked_for(ends):
    for decoding in ("likeliest", "drawn"):
        for values in itertools.product(*ends.values()):
            asked = DEFAULT | {"decoding": decoding} | dict(zip(ends, values))
            Decoding(**_options(Decoding(), **asked))


@pytest.mark.parametrize("decoding", ["likeliest", "drawn"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_page_writes_at_its_ends_and_defaults(captioner, photo, ends, decoding, which):
    values = {name: found[which] for name, found in ends.items()}
    *_, (figure, words, said) = caption_page(
        captioner,
        photo,
        "none",
        **_options(Decoding(), **DEFAULT | values | {"decoding": decoding, "max_new_tokens": 4}),
    )
    assert words.count("<li>") == values["n"] and "refusal" not in said


@pytest.mark.parametrize("name", DEFAULT)
@pytest.mark.parametrize("decoding", ["likeliest", "drawn"])
def test_what_was_emptied_counts_as_its_default(name, decoding):
    emptied = {} if name == "decoding" else {name: None}
    Decoding(**_options(Decoding(), **DEFAULT | {"decoding": decoding} | emptied))


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": 0},
        {"top_p": 2},
        {"max_new_tokens": 1e9},
        {"seed": 0.5},
        {"temperature": float("nan")},
        {"forbid_words": "red", "prefix": "a red"},
    ],
)
def test_what_cannot_be_asked_for_is_a_sentence(captioner, photo, wrong):
    asked = _options(Decoding(), **DEFAULT | {"decoding": "drawn"} | wrong)
    assert message(caption_page(captioner, photo, "none", **asked)).startswith(
        "That did not work: "
    )


def test_visitors_have_their_own_words(captioner, photo):
    said = {}

    def visit(i):
        *states, (_, words, _) = caption_page(
            captioner, photo, "none", prefix=f"visitor {i}", max_new_tokens=6
        )
        said[i] = [re.sub("<[^>]*>", "", words) for _, words, _ in states[2:]] + [
            re.sub("<[^>]*>", "", words)
        ]

    visitors = [threading.Thread(target=visit, args=(i,)) for i in range(20)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert all(f"visitor {i}".startswith(text[:9]) for i in range(20) for text in said[i])


def test_a_visitor_who_leaves_stops_the_model(photo):
    model, processor = small_model("git")
    calls, before = [], threading.active_count()
    model.register_forward_hook(lambda *given: calls.append(1))
    states = caption_page(
        Captioner(model, processor=processor),
        photo,
        "none",
        max_new_tokens=60,
        min_new_tokens=60,
        no_repeat_words=0,
    )
    for _ in range(3):
        next(states)
    states.close()
    count = len(calls)
    time.sleep(0.1)
    assert 0 < len(calls) == count < 40 and threading.active_count() == before


def png(width, height, depth, colours, rows=1):
    "A small file that says it is a large picture."

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "size",
    [(10_000, 10_000), (20_000, 10_000), (7_000, 6_000), (2**31 - 1, 2**31 - 1), (40_000_001, 1)],
)
def test_a_picture_that_would_fill_the_memory_is_refused_unread(captioner, tmp_path, size):
    (file := tmp_path / "large.png").write_bytes(png(*size, 16, 6))
    ((figure, words, said),) = caption_page(captioner, str(file))
    assert (
        (figure, words) == ("", "")
        and "large.png cannot be used" in said
        and str(tmp_path) not in said
    )
    assert "pixels" in said or "strip" in said


@pytest.mark.parametrize("n, num_beams, asked", [
    (1, 1, (1, 0.0)), (3, 1, (1, 1.0)), (1, 4, (4, 0.0)), (6, 4, (6, 0.0))])
def test_several_captions_are_beams_or_varied(n, num_beams, asked):
    options = _options(Decoding(), **DEFAULT | {"n": n, "num_beams": num_beams})
    assert (options["num_beams"], options["diversity_penalty"]) == asked
    assert options["num_return_sequences"] == n


RUNS = [ # As a run may have been told to write
    {}, {"max_new_tokens": 7}, {"max_new_tokens": 3, "min_new_tokens": 3, "no_repeat_words": 9},
    {"max_new_tokens": 90, "no_repeat_words": 0, "prefix": "a", "forbid_words": ("red", "blue")},
    {"num_beams": 12, "num_return_sequences": 7, "length_penalty": 2.0},
    {"num_return_sequences": 2, "diversity_penalty": 0.4, "max_new_tokens": 9},
    {"force_words": ("wings", "red"), "max_new_tokens": 12},
    {"do_sample": True, "seed": 5, "num_return_sequences": 2},
    {"do_sample": True, "seed": 7, "temperature": 0.05, "top_p": 0.013, "top_k": 40}]


@pytest.fixture(params=RUNS, ids=str)
def run(request):
    "A captioner with a mind of its own, and its page."
    pytest.importorskip("gradio")
    model, processor = small_model("git")
    captioner = Captioner(model, processor=processor)
    captioner.decoding = Decoding(**request.param)
    return captioner, Page(captioner)


def test_a_page_that_nobody_touched_writes_as_the_captioner_does(run, photo):
    captioner, page = run
    best = captioner(photo)
    words, said = page.write(photo)
    assert words == [c.text for c in [best, *best.others]] and "refusal" not in said


@pytest.mark.parametrize("label", ["How many captions", "Beams", "Longest caption", "Repetition",
                                   "Temperature", "Top p"])
def test_a_slider_has_room_for_what_the_captioner_does(run, label):
    slider = run[1].widgets[label]
    assert slider.minimum <= slider.value <= slider.maximum


CHANGES = [
    {"Words": "likeliest", "Words to say": "", "How many captions": 1, "Beams": 1},
    {"Words": "likeliest", "Words to say": "", "How many captions": 3, "Beams": 1},
    {"Words": "likeliest", "Words to say": "", "How many captions": 2, "Beams": 3},
    {"Words": "drawn", "Words to say": "", "How many captions": 2}, {"Words to say": "sea"},
    {"Words": "drawn", "Words to say": "", "Temperature": None, "Top p": None, "Seed": None}]


@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_whatever_the_captioner_does_the_page_can_do_otherwise(run, photo, changes):
    captioner, page = run
    words, said = page.write(photo, **changes)
    assert "refusal" not in said, said
    n = 1 if changes.get("Words to say") else changes.get("How many captions")
    assert n in (None, len(words))
    if changes.get("Words") == "likeliest":
        assert page.write(photo, **changes)[0] == words


def test_an_emptied_seed_draws_anew(photo):
    pytest.importorskip("gradio")
    model, processor = small_model("git", wildness=1.0)
    captioner = Captioner(model, processor=processor)
    captioner.decoding = Decoding(do_sample=True, seed=1)
    page = Page(captioner)
    assert len({str(page.write(photo)[0]) for _ in range(3)}) == 1
    assert len({str(page.write(photo, Seed=None)[0]) for _ in range(3)}) == 3
