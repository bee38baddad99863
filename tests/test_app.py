"""The page: what its widgets can be set to, who has it open, and pictures that nobody should have
to decode."""

import base64
import html
import io
import itertools
import json
import re
import shutil
import struct
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_models import pictures, small_model

from imgcap.app import build_app, caption_page, launch
from imgcap.app_choices import choice_options, prompt_widgets
from imgcap.app_page import about_html, captions_html, figure_html, heat_place
from imgcap.config import Decoding
from imgcap.data.creatures import ATTRIBUTES, draw_creature
from imgcap.evaluate import evaluate_model
from imgcap.evaluate.explain import WordMap, word_heatmaps
from imgcap.families.prompts import QUESTION
from imgcap.infer import Captioner


@pytest.mark.parametrize("size, shown", [
    ((1600, 800), (768, 384)), ((768, 500), (768, 500)), ((40, 20), (40, 20))])
def test_a_picture_is_sent_no_larger_than_it_was_and_than_is_seen(size, shown):
    uri = re.search('src="data:image/jpeg;base64,([^"]+)"', figure_html(Image.new("L", size), ""))
    assert Image.open(io.BytesIO(base64.b64decode(uri[1]))).size == shown


CREATURE = ("red", "round", "striped", "horns", "smiling", "snow")
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


def plain(text):
    "What a person reads of HTML."
    return " ".join(html.unescape(re.sub("<[^>]*>", " ", text)).split())


def message(states):
    return plain(list(states)[-1].message)


def shown(words):
    "The captions that are shown."
    return re.findall('data-text="([^"]*)"', words)


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
        self._write = next(f for f in page.fns.values() if f.name == "write")
        self._off = next(f for f in page.fns.values() if f.name == "button")
        self.last = next(each for each in self._write.inputs if each.get_block_name() == "state")
        self.widgets = {w.label: w for w in self._write.inputs[2:]}

    def _values(self, method, changes):
        values = {label: widget.value for label, widget in self.widgets.items()}
        if "Heat maps from" in values: values["Heat maps from"] = method
        return (values | changes).values()

    def press(self, path, seen=None, method="none", **changes):
        "What is pressed for: each change of the page, by the names of its parts."
        for change in self._write.fn(path, seen, *self._values(method, changes)):
            named = {part.elem_id or part.get_block_name(): now for part, now in change.items()}
            yield {name.removeprefix("imgcap-"): now for name, now in named.items()}

    def write(self, path, method="none", **changes):
        "What the page writes for a file, and its message."
        *_, end = self.press(path, None, method, **changes)
        return list(map(html.unescape, shown(end["words"]))), end["status"]

    def button(self, path, seen=None, method="none", **changes):
        "What stands on the button, and whether it can be pressed."
        now = self._off.fn(path, seen, *self._values(method, changes))
        return now["value"], now["interactive"]


PLACES = ["top left", "top", "top right", "left", "middle", "right",
          "bottom left", "bottom", "bottom right"]


@pytest.mark.parametrize("ninth", range(9))
def test_a_place_in_words(ninth):
    row, column = divmod(ninth, 3)
    heat = np.zeros((9, 12))
    heat[3 * row:3 * row + 3, 4 * column:4 * column + 4] = 1
    assert heat_place(heat) == f"the {PLACES[ninth]} of the picture"
    assert heat_place(heat + 9) == "the whole picture"
    assert heat_place(heat, 1) == "no part of the picture"


def test_whatever_the_sliders_say_can_be_asked_for(ends):
    for decoding in ("likeliest", "drawn"):
        for values in itertools.product(*ends.values()):
            asked = DEFAULT | {"decoding": decoding} | dict(zip(ends, values))
            Decoding(**choice_options(Decoding(), **asked))


@pytest.mark.parametrize("decoding", ["likeliest", "drawn"])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_the_page_writes_at_its_ends_and_defaults(captioner, photo, ends, decoding, which):
    values = {name: found[which] for name, found in ends.items()}
    *_, state = caption_page(
        captioner,
        photo,
        "none",
        **choice_options(
            Decoding(), **DEFAULT | values | {"decoding": decoding, "max_new_tokens": 4}),
    )
    texts = shown(state.words)
    assert len(texts) == len(set(texts)) <= values["n"] and "refusal" not in state.message
    same = sum(map(int, re.findall(r"(\d+) of \d+ were the same", state.words)))
    alone = len(texts) - len(re.findall("were the same", state.words))
    assert same + alone == values["n"], "a caption is shown twice, or is lost"


@pytest.mark.parametrize("name", DEFAULT)
@pytest.mark.parametrize("decoding", ["likeliest", "drawn"])
def test_what_was_emptied_counts_as_its_default(name, decoding):
    emptied = {} if name == "decoding" else {name: None}
    Decoding(**choice_options(Decoding(), **DEFAULT | {"decoding": decoding} | emptied))


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
    asked = choice_options(Decoding(), **DEFAULT | {"decoding": "drawn"} | wrong)
    assert message(caption_page(captioner, photo, "none", **asked)).startswith(
        "That did not work: "
    )


def test_visitors_have_their_own_words(captioner, photo):
    said = {}

    def visit(i):
        states = caption_page(
            captioner, photo, "none", prefix=f"visitor {i}", max_new_tokens=6
        )
        said[i] = [text for state in states for text in shown(state.words)]

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
    (state,) = caption_page(captioner, str(file))
    said = plain(state.message)
    assert (state.figure, state.words) == ("", "") and str(tmp_path) not in said
    assert "max_" not in said and "bytes" not in said
    large = r"large.png has [\d.,]+ megapixels \(\d+ × \d+\); at most [\d.]+ are taken. Make"
    assert ".0 " not in said
    strip = "large.png is a strip of 40000001 × 1 pixels. Cut"
    assert re.match(large, said) or said.startswith(strip)


@pytest.mark.parametrize("n, num_beams, asked", [
    (1, 1, (1, 0.0)), (3, 1, (1, 1.0)), (1, 4, (4, 0.0)), (6, 4, (6, 0.0))])
def test_several_captions_are_beams_or_varied(n, num_beams, asked):
    options = choice_options(Decoding(), **DEFAULT | {"n": n, "num_beams": num_beams})
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


@pytest.fixture(params=RUNS, ids=str, scope="module")
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
    assert words == list(dict.fromkeys(c.text for c in [best, *best.others]))
    assert "refusal" not in said


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
    assert n is None or 0 < len(words) <= n
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


TO_TAKE = {
    "transparent.png": lambda: Image.new("RGBA", (40, 40), (255, 0, 0, 0)),
    "print.jpg": lambda: Image.new("CMYK", (40, 40), (0, 99, 99, 0)),
    "deep.png": lambda: Image.new("I;16", (40, 40), 40_000),
    "wide.jpg": lambda: Image.new("RGB", (3000, 60), "navy"),
    "dot.png": lambda: Image.new("RGB", (1, 1), "navy"),
}


@pytest.mark.parametrize("name", [*TO_TAKE, "moves.gif"])
def test_a_picture_of_any_kind_gets_its_words(captioner, tmp_path, name):
    file = tmp_path / name
    if name == "moves.gif":
        frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "green", "blue")]
        frames[0].save(file, save_all=True, append_images=frames[1:])
    else:
        TO_TAKE[name]().save(file)
    *_, state = caption_page(captioner, str(file), "none", max_new_tokens=4)
    said = plain(state.message)
    assert state.captions and "refusal" not in state.message
    assert ("first picture" in said) == (name == "moves.gif")
    assert ("too few to show" in said) == (name == "dot.png")


PHOTO = io.BytesIO()
Image.effect_noise((200, 200), 50).save(PHOTO, "JPEG")
REFUSED = {
    "text.png": (b"buy milk", "text.png holds text, and is no picture."),
    "shop.png": ("Milch, Käse".encode(), "shop.png holds text, and is no picture."),
    "menu.png": ("牛奶\n面包".encode(), "menu.png holds text, and is no picture."),
    "note.png": ("Käse".encode("utf-16"), "note.png holds text, and is no picture."),
    "list.png": ("Käse".encode("latin-1"), "list.png holds text, and is no picture."),
    "plan.png": (b"%PDF-1.7 %...", "plan.png is a PDF file. Save the page"),
    "logo.png": (b'<?xml version="1.0"?><!-- by me --><svg>', "logo.png is an SVG drawing"),
    "page.jpg": (b"<!DOCTYPE html><html>", "page.jpg is a web page. Save the picture in it"),
    "film.jpg": (b"\0\0\0\x18ftypmp42" + bytes(40), "film.jpg is a video. Give one picture"),
    "some.jpg": (b"PK\x03\x04" + bytes(40), "some.jpg is an archive. Unpack it"),
    "empty.jpg": (b"", "empty.jpg is empty: 0 bytes. Copy or download it again."),
    "half.jpg": (PHOTO.getvalue()[:900], "half.jpg is cut off: its end is missing."),
    "noise.jpg": (bytes(range(128, 256)), "noise.jpg is in a format that is not read here."),
    "bad.png": (b"\x89PNG\r\n\x1a\n" + bytes(40), "bad.png "),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_told_in_a_persons_words(captioner, tmp_path, name):
    content, wanted = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    (state,) = caption_page(captioner, str(tmp_path / name))
    said = plain(state.message)
    assert said.startswith(wanted) and said.endswith(".") and str(tmp_path) not in said
    assert (state.figure, state.words) == ("", "")


def test_a_phones_picture_that_is_not_read_says_what_to_do():
    from imgcap.app_page import refusal_text
    said = refusal_text("me.heic", "HEIC; to read it: pip install 'x[heif]'")
    assert said.startswith("me.heic is a HEIC picture") and "JPEG" in said and "x[heif]" in said


def test_a_word_without_a_place_has_no_veil_and_the_surest_other_is_lit_first():
    here, nowhere = np.zeros((8, 8)), np.zeros((8, 8))
    here[6:, :2] = 1
    words = [WordMap("red", .4, here), WordMap("hat,", .6, here), WordMap("of", .9, nowhere)]
    buttons = captions_html([words], .1).split("<button")[1:4]
    assert ["data-veil" in button for button in buttons] == [True, True, False]
    assert ["data-first" in button for button in buttons] == [False, True, False]
    assert "of: 90% likely to the model, hangs on no part of the picture" in buttons[2]
    assert "hat: 60% likely to the model, hangs on the bottom left of the picture" in buttons[1]


@pytest.fixture(scope="module")
def wild():
    "A captioner that has much to say, and its page."
    pytest.importorskip("gradio")
    model, processor = small_model("git", wildness=1.0)
    captioner = Captioner(model, processor=processor)
    return captioner, Page(captioner)


@pytest.mark.parametrize("changes", [{}, {"How many captions": 3}, {"Words": "drawn"}], ids=str)
def test_another_caption_is_another(wild, photo, changes):
    "Each time, whatever the words are chosen by."
    page, seen, texts = wild[1], None, []
    for _ in range(4):
        *during, end = page.press(photo, seen, **{"Longest caption": 4}, **changes)
        assert not any(each["again"]["interactive"] for each in during), "on while it writes"
        texts.append(tuple(shown(end["words"])))
        seen = end["state"]
        assert page.button(photo, seen, **{"Longest caption": 4}, **changes) == (
            "Write another caption", True)
    assert len(set(texts)) == 4
    assert page.button(photo, seen) == ("Write with these choices", True)


def test_the_button_is_off_where_there_is_nothing_to_write(wild, photo):
    page, force = wild[1], {"Words to say": "hat"}
    assert page.button(None) == ("Write another caption", False)
    *_, end = page.press(photo, None, **force)
    assert page.button(photo, end["state"], **force) == ("Write another caption", False)
    assert page.button(photo, end["state"]) == ("Write with these choices", True)


def test_a_model_that_knows_one_caption_says_so(captioner, photo):
    (text,) = list(caption_page(captioner, photo, "none", max_new_tokens=1))[-1].captions
    drawn = {"do_sample": True, "seed": 1, "top_k": 1, "max_new_tokens": 1}
    *_, state = caption_page(captioner, photo, "none", [text], **drawn)
    assert state.captions == (text,) and "the same words each time" in plain(state.message)


def test_captions_that_are_the_same_are_shown_once(captioner, photo):
    five = {"num_return_sequences": 5, "do_sample": True, "top_k": 1, "seed": 1}
    *_, state = caption_page(captioner, photo, "none", **five)
    assert len(state.captions) == len(shown(state.words)) == 1
    assert "5 of 5 were the same" in state.words


@pytest.fixture(scope="module")
def git_tiny():
    return Captioner("git-tiny", device="cpu")


def test_forced_words_are_told_as_such(git_tiny, tmp_path):
    draw_creature(dict(zip(ATTRIBUTES, CREATURE)), seed=3).save(file := tmp_path / "red.png")
    alone, found = git_tiny(file), []
    for word in "umbrella", alone.text.split()[0]:
        *_, state = caption_page(git_tiny, str(file), "none", force_words=[word])
        assert word in state.captions[0]
        found.append(plain(state.message))
        freely = f"By itself it writes “{alone.text}”, each word {alone.score:.0%} likely"
        assert freely in found[-1]
    assert "These words were forced; the model finds them unlikely" in found[0]
    assert "unlikely" not in found[1]


def test_a_contradiction_is_told_by_the_names_that_are_seen(captioner, photo):
    both = {"force_words": ["a red hat"], "forbid_words": ["hat"]}
    said = message(caption_page(captioner, photo, "none", **both))
    assert "“Words to say” says 'hat', which “Words to avoid” forbids" in said


def test_who_writes_is_told(git_tiny):
    told = plain(about_html(git_tiny.model))
    assert "git-tiny writes here." in told and "1.7 million parameters" in told
    assert "a photograph will be described as one of them" in told


def test_a_caption_that_cannot_be_looked_for_is_shown_all_the_same(photo):
    "Bytes that are no text have more tokens when they are read again."
    model, processor = small_model("blip", wildness=1.0)
    *_, state = caption_page(Captioner(model, processor=processor), photo)
    assert len(state.captions) == 1 and shown(state.words) and "refusal" not in state.message
    assert "There is no heat map: the caption has" in plain(state.message)


def test_of_several_captions_each_has_its_own_probability_beside_it(wild, photo):
    several = {"num_return_sequences": 3, "diversity_penalty": 1.0, "max_new_tokens": 4}
    *_, state = caption_page(wild[0], photo, "none", **several)
    best = wild[0](photo, **several)
    assert re.findall(r"each word (\d+)% likely", state.words) == [
        f"{caption.score:.0%}".strip("%") for caption in [best, *best.others]]
    assert "Beside each caption" in state.message and "%" not in plain(state.message)


@pytest.fixture
def birds(tiny_run, tmp_path):
    "A run on birds, in a folder whose name is hostile."
    run = tmp_path / "zoo <b>"
    shutil.copytree(tiny_run, run)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"source": "birds"}))
    return run


def told_of(path):
    return plain(about_html(Captioner(str(path), device="cpu").model))


def test_a_run_tells_what_it_learned_and_how_it_was_measured(birds, creatures):
    told = told_of(birds)
    assert told.startswith("A caption for a picture zoo <b> writes here. It learned from 12 pictur")
    assert "of the set birds; what those do not show it has no words for" in told
    assert told.endswith("not measured yet: nobody knows how often it is right")
    evaluate_model(str(birds), creatures, "test", resamples=20).save(birds)
    assert re.search(r"CIDEr-D \d\.\d\d on 6 pictures of its test split", told_of(birds))
    made_of_creatures = json.loads((birds / "run.json").read_text()) | {"source": "creatures"}
    (birds / "run.json").write_text(json.dumps(made_of_creatures))
    assert "a photograph will be described as a drawn creature" in told_of(birds)


def test_of_weights_without_a_record_it_is_said_that_nothing_is_known(birds, tmp_path):
    weights = tmp_path / "weights"
    shutil.move(birds / "model", weights)
    told = told_of(weights)
    assert "weights writes here. imgcap has no record of its training" in told
    assert told.endswith("parameters") and "is not known. GIT" in told
    (weights / "README.md").write_text("---\ndatasets: [some/birds]\n---\n")
    assert "is not known; its card names the data some/birds." in told_of(weights)


# --- what is asked


@pytest.fixture(scope="module")
def asker():
    return Captioner("smol-tiny", device="cpu")


def test_a_page_asks_what_its_field_says(asker, photo):
    "Template and all; the heat maps are of the same question."
    values = {"prompt": "A picture called {name}, tagged {tags}. Name its colour.",
              "max_new_tokens": 6}
    options = choice_options(asker.decoding, **values)
    assert options["prompt"] == values["prompt"]
    *_, last = caption_page(asker, str(photo), "occlusion", **options)
    told = f"A picture called {Path(photo).stem}, tagged . Name its colour."
    alone = asker(str(photo), prompt=told, max_new_tokens=6)
    assert last.captions == (alone.text,) and "Folder and tags" in last.message
    usual = asker(str(photo), max_new_tokens=6)
    maps = [word_heatmaps(asker.model, asker.processor, str(photo), alone.text,
                          decoding=Decoding(prompt=prompt)) for prompt in (told, "")]
    percents = [[f"{word.confidence:.0%} likely" for word in each] for each in maps]
    assert percents[0] != percents[1] and usual
    assert re.findall(r"\d+% likely", last.words)[:len(percents[0])] == percents[0]


def test_a_field_for_the_prompt_is_there_for_models_that_take_one(asker, captioner):
    import gradio
    with gradio.Blocks():
        assert prompt_widgets(gradio, captioner) == {}
        assert prompt_widgets(gradio, asker)["prompt"].value == QUESTION
        other = Captioner(asker.model, processor=asker.processor)
        other.decoding = Decoding(prompt="Tags: {tags}?")
        assert prompt_widgets(gradio, other)["prompt"].value == "Tags: {tags}?"
    assert choice_options(other.decoding, prompt=" ")["prompt"] == "Tags: {tags}?"
    labels = [part["props"].get("label") for part in build_app(asker).config["components"]]
    assert "What is asked" in labels
    labels = [part["props"].get("label") for part in build_app(captioner).config["components"]]
    assert "What is asked" not in labels


def test_what_cannot_be_asked_is_told_on_the_page(asker, photo):
    for prompt, said in (("<image>?", "“What is asked” has "), ("{mood}", "“What is asked” names "),
                         ("{name", "brace")):
        *_, last = caption_page(asker, str(photo), **choice_options(asker.decoding, prompt=prompt))
        assert said in plain(last.message), last.message
    with pytest.raises(ValueError, match="chat models"):
        launch("git-tiny", port=0, prompt="What is this?", wait=False)
    with pytest.raises(ValueError, match=r"\{mood\}"):
        launch(asker, port=0, prompt="{mood}", wait=False)
