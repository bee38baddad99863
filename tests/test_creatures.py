"""The built-in set: the same pictures and captions everywhere, captions that are true, and rooms
that need Pillow alone to draw and to read."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageChops

import imgcap
from imgcap.data.creatures import (
    ATTRIBUTES, PHRASES, attribute_counts, caption_creature, deal_attributes, draw_creature,
    make_creatures, part_mask, read_attributes)

YETI = {"colour": "pink", "body": "square", "pattern": "spotted", "part": "horns",
        "mood": "smiling", "place": "snow"}


@pytest.fixture(scope="module")
def creatures():
    return make_creatures(image_size=32)


def pngs(rows):
    return [cell["bytes"] for cell in rows.data.column("image").to_pylist()]


def test_a_small_drawing_is_the_large_one_up_to_how_edges_fall():
    small = draw_creature(YETI, seed=1, image_size=64)
    assert small.size == (64, 64) and small.mode == "RGB"
    assert draw_creature(YETI, seed=1, image_size=101).size == (101, 101)
    large = draw_creature(YETI, seed=1).reduce(4)
    gaps = sorted(abs(a - b) for a, b in zip(small.tobytes(), large.tobytes()))
    assert gaps[len(gaps) // 2] <= 3


# Twelve drawings side by side, each value of each attribute in one at least; after a change that
# is meant: python tests/test_creatures.py
DRAWN = Path(__file__).parent / "data" / "creatures.png"


def drawings():
    sheet = Image.new("RGB", (12 * 32, 32))
    for i in range(12):
        shown = {name: values[i % len(values)] for name, values in ATTRIBUTES.items()}
        sheet.paste(draw_creature(shown, seed=i).reduce(8), (32 * i, 0))
    return sheet


def test_drawings_are_what_they_were():
    "But for two steps of 255, as versions of Pillow may round otherwise."
    with Image.open(DRAWN) as before:
        gaps = ImageChops.difference(before, drawings())
    far = gaps.convert("RGB").point(lambda gap: 255 * (gap > 2))
    assert not far.getbbox(), f"drawings {sorted({x // 32 for x in far.getbbox()[::2]})}"


@pytest.mark.parametrize("attributes, message", [
    ({**YETI, "colour": "mauve"}, "colour is 'mauve': choose from red, orange"),
    ({"colour": "red"}, "body is None: choose from round"),
    ({**YETI, "part": "tail"}, "part is 'tail': choose from none, wings"),
])
@pytest.mark.parametrize("function", [draw_creature, caption_creature, part_mask])
def test_an_attribute_that_does_not_exist_is_named(function, attributes, message):
    with pytest.raises(ValueError, match=message):
        function(attributes, seed=1)


@pytest.mark.parametrize("seed", range(5))
def test_a_mask_is_where_the_part_can_be_seen(seed):
    winged = deal_attributes(seed, "train", seed) | {"part": "wings"}
    mask = part_mask(winged, seed=seed)
    with_wings = draw_creature(winged, seed=seed)
    without = draw_creature({**winged, "part": "none"}, seed=seed)
    for picture in (with_wings, without):
        picture.paste("red", mask=mask)
    histogram = mask.histogram()
    assert with_wings.tobytes() == without.tobytes() and .03 < histogram[255] / 256**2 < .3
    assert histogram[0] + histogram[255] == 256**2


def test_a_mask_of_no_part_is_empty_and_has_the_size_asked_for():
    assert part_mask({**YETI, "part": "none"}, seed=4).getextrema() == (0, 0)
    assert part_mask(YETI, seed=4, image_size=64).size == (64, 64)


def test_as_many_captions_as_asked_for():
    assert [len(caption_creature(YETI, seed=1, n=n)) for n in (1, 5, 12)] == [1, 5, 12]


@pytest.mark.parametrize("attribute, value, phrase", [
    (attribute, value, phrase) for attribute, values in PHRASES.items()
    for value, roles in values.items() for phrases in roles.values() for phrase in phrases])
def test_no_phrase_says_two_things_or_one_thing_of_two_values(attribute, value, phrase):
    assert read_attributes(phrase) == {attribute: value}
    said = attribute_counts(phrase, [phrase], {})
    assert sum(counts[1] for counts in said.values()) == 1


def test_what_captions_say_is_true_and_most_say_what_can_be_said(creatures):
    sayable = {(attribute, value) for attribute, values in PHRASES.items()
               for value, roles in values.items() if roles}
    for split in creatures.values():
        for captions, truth in zip(split["captions"], split["attributes"]):
            assert len(captions) == 5 == len(set(captions))
            said = [set(read_attributes(caption).items()) for caption in captions]
            assert all(facts <= set(truth.items()) for facts in said), captions
            for caption in captions:
                counts = attribute_counts(caption, captions, truth).values()
                assert all(true == several for true, several, *_ in counts), caption
            for pair in sayable & set(truth.items()):
                assert sum(pair in facts for facts in said) >= 4, (pair, captions)


def test_no_picture_occurs_twice(creatures):
    ids = [i for split in creatures.values() for i in split["image_id"]]
    cells = [cell for split in creatures.values() for cell in pngs(split)]
    assert len(set(ids)) == len(set(cells)) == len(ids) and ids[0] == "creatures-train-00000"
    for split in ("train", "validation", "test"):
        of_split = creatures[split]["attributes"]
        assert {a["colour"] for a in of_split} == set(ATTRIBUTES["colour"])
        assert {a["body"] for a in of_split} == set(ATTRIBUTES["body"])


def test_two_processes_draw_the_same_first_rows_as_one(creatures):
    few = make_creatures({"train": 40}, image_size=32, num_proc=2)["train"]
    assert pngs(few) == pngs(creatures["train"])[:40]
    assert few["captions"][:] == creatures["train"]["captions"][:40]


def test_another_seed_is_another_set_and_another_split_is_none(creatures):
    other = make_creatures({"train": 1}, seed=43, image_size=32)["train"]
    assert other[0]["captions"] != creatures["train"][0]["captions"]
    with pytest.raises(ValueError, match="no split is called 'dev': choose from train, valid"):
        make_creatures({"dev": 1})


@pytest.mark.parametrize("room", ["scenery", "facts", "drawing", "creatures"])
def test_drawing_and_reading_need_pillow_alone(room):
    path = Path(imgcap.__file__).parent / "data" / f"{room}.py"
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    roots = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    roots |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    assert {root.split(".")[0] for root in roots} - set(sys.stdlib_module_names) <= {"PIL"}


def test_importing_the_set_loads_neither_datasets_nor_torch():
    code = "import sys, imgcap.data.creatures; print({'datasets', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


if __name__ == "__main__":
    drawings().save(DRAWN, optimize=True)
