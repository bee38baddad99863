"Looking inside: maps of words and painting over, and models with dropout in whatever mode."

import re

import numpy as np
import pytest
import torch
from PIL import Image
from small_models import BUILDERS, pictures, small_model

from imgcap.data.creatures import draw_creature
from imgcap.evaluate.evidence import attention_shares, word_tokens
from imgcap.evaluate.explain import (
    WordMap,
    ablate,
    mass_share,
    paint_heat,
    paint_over,
    show_heatmaps,
    word_heatmaps,
)
from imgcap.infer import Captioner
from imgcap.model import FAMILIES, load_model
from imgcap.model.constraints import spell

FAMILY = pytest.mark.parametrize("family", BUILDERS)


def modes(model):
    return [part.training for part in model.modules()]


def half_trained(family):
    "In training mode, one part of it frozen."
    model, processor = small_model(family)
    model.train()
    model.get_submodule(FAMILIES[family].vision).eval()
    return model, processor


@FAMILY
@pytest.mark.parametrize("method", ["occlusion", "attention"])
@pytest.mark.parametrize("caption", [None, "a red creature"])
def test_maps_are_made_without_dropout(family, method, caption):
    if method == "attention" and family != "git":
        pytest.skip("attention is for GIT")
    picture = pictures(1)[0]
    wanted = word_heatmaps(*small_model(family), picture, caption, method=method)
    model, processor = half_trained(family)
    before = modes(model)
    for _ in range(2):
        found = word_heatmaps(model, processor, picture, caption, method=method)
        assert modes(model) == before
        assert [m.word for m in found] == [m.word for m in wanted]
        for a, b in zip(found, wanted):
            assert a.confidence == pytest.approx(b.confidence) and np.allclose(
                a.map, b.map, atol=1e-5
            )


@FAMILY
def test_ablations_are_made_without_dropout(family):
    picture = pictures(1)[0]
    wanted = ablate(*small_model(family), picture, {"left": (0, 0, 16, 32), "top": (0, 0, 32, 16)})
    model, processor = half_trained(family)
    before = modes(model)
    found = ablate(model, processor, picture, {"left": (0, 0, 16, 32), "top": (0, 0, 32, 16)})
    assert modes(model) == before and found.caption == wanted.caption
    for a, b in zip(found.parts, wanted.parts):
        assert a.caption == b.caption and [w for w, *_ in a.words] == [w for w, *_ in b.words]
        assert np.allclose([w[1:] for w in a.words], [w[1:] for w in b.words], rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda m, p: word_heatmaps(m, p, pictures(1)[0], "a", window=99),
        lambda m, p: word_heatmaps(m, p, pictures(1)[0], "a", method="attention", layers=[7]),
        lambda m, p: word_heatmaps(m, p, pictures(1)[0], "a " * 90),
        lambda m, p: ablate(m, p, pictures(1)[0], max_new_tokens=0),
        lambda m, p: ablate(m, p, pictures(1)[0], prefix="a " * 90),
    ],
)
def test_modes_come_back_after_an_error(call):
    model, processor = half_trained("git")
    before = modes(model)
    with pytest.raises(ValueError):
        call(model, processor)
    assert modes(model) == before


@FAMILY
def test_a_caption_is_text(family):
    "A word that is spelled like a control token is a word."
    maps = word_heatmaps(*small_model(family), pictures(1)[0], "a [SEP] sign")
    assert [m.word for m in maps] == ["a", "[SEP]", "sign"]


def test_painting_over_leaves_the_picture_alone():
    picture = pictures(1)[0]
    before = picture.tobytes()
    assert paint_over(picture, (0, 0, 9, 9)).tobytes() != before == picture.tobytes()


@FAMILY
def test_no_gradients_are_kept(family):
    model, processor = small_model(family)
    ablate(model, processor, pictures(1)[0], {"left": (0, 0, 16, 32)})
    assert all(p.grad is None for p in model.parameters()) and torch.is_grad_enabled()


# ---- git-tiny on one drawing

@pytest.fixture(scope="module")
def tiny(): return load_model("git-tiny", device="cpu")


@pytest.fixture(scope="module")
def drawing():
    creature = {"colour": "brown", "body": "round", "pattern": "plain", "part": "wings",
                "mood": "angry", "place": "grass"}
    return draw_creature(creature, seed=4)


@pytest.mark.parametrize("text, words", [
    ("a winged dinosaur, sleeping 在雪地里。",
     ["a", "winged", "dinosaur,", "sleeping", "在", "雪", "地", "里", "。"]),
    ("", []),
    ("  ", []),
    *((text, text.split()) for text in ("été ☃️ ok", "a-b 'c' !", "x" * 30, "it's")),
])
def test_words_are_what_a_reader_takes_for_words(tiny, text, words):
    assert [word for word, _ in word_tokens(tiny[1].tokenizer, text)[1]] == words


@torch.inference_mode()
def test_how_a_word_was_predicted_does_not_depend_on_later_words(tiny, drawing):
    model, processor = tiny
    pixels = processor.image_processor(images=drawing, return_tensors="pt").pixel_values
    ids, _ = word_tokens(processor.tokenizer, "brown, round, wings, grass, flowers, angry")
    whole = attention_shares(model, pixels, ids, None)
    other = attention_shares(model, pixels, [ids[0], *ids[5:]], None)
    assert torch.allclose(other[0], whole[0], atol=1e-6)
    assert not torch.allclose(other[1], whole[1], atol=1e-6)


def test_attention_is_shares_and_maps_repeat(tiny, drawing):
    for found in word_heatmaps(*tiny, drawing, method="attention"):
        assert found.map.shape == (8, 8) and found.covers == (0, 0, 1, 1)
        assert (found.map >= 0).all() and found.map.sum() <= 1
    first, again = (word_heatmaps(*tiny, drawing, "a cat") for _ in range(2))
    for a, b in zip(first, again):
        assert np.allclose(a.map, b.map) and a.confidence == b.confidence
    assert word_heatmaps(*tiny, drawing, "") == []


@pytest.mark.parametrize("covers, region, found", [
    ((0, 0, 1, 1), (0, 0, 50, 50), (.75, .25)),
    ((0, 0, 1, 1), (0, 0, 100, 25), (.5, .25)),
    ((.5, 0, 1, 1), (0, 0, 50, 100), (0, 0)),  # the part is outside of what the map covers
])
def test_the_share_of_a_map_on_a_part(covers, region, found):
    word_map = WordMap("", 1., np.array([[3., 1.], [-5., 0.]]), covers)
    assert mass_share(word_map, region, (100, 100)) == found


def test_a_map_of_nothing_has_no_share():
    assert mass_share(WordMap("", 1., np.zeros((2, 2))), (0, 0, 50, 50), (100, 100)) == (0., .25)


def test_a_map_is_orange_and_blue_and_dark_where_nothing_was_seen(drawing):
    over = paint_heat(drawing, WordMap("", 1., np.array([[1., 0.], [0., -1.]])))
    assert over.size == drawing.size
    orange, blue = over.getpixel((10, 10)), over.getpixel((250, 250))
    assert orange[0] > orange[2] and blue[2] > blue[0]
    assert paint_heat(drawing, WordMap("", 1., np.zeros((8, 8)))).size == drawing.size
    crop = paint_heat(drawing, WordMap("", 1., np.ones((2, 2)), covers=(.25, 0., .75, 1.)))
    assert max(crop.getpixel((10, 128))) < 130 and crop.getpixel((128, 128))[0] > 150


def test_what_a_part_is_painted_with(drawing):
    black = paint_over(drawing, (0, 0, 128, 256), fill=(0, 0, 0))
    assert black.crop((0, 0, 128, 256)).getextrema() == ((0, 0),) * 3
    rest = (128, 0, 256, 256)
    assert black.crop(rest).tobytes() == drawing.crop(rest).tobytes()
    assert paint_over(drawing, (0, 0, 256, 256), fill="mean").getpixel((0, 0)) == (128, 128, 128)
    left = np.arange(256)[None] < np.full((256, 1), 128)
    mean = np.asarray(drawing)[:, 128:].reshape(-1, 3).mean(0).round().astype(int)
    assert paint_over(drawing, left, fill="mean").getpixel((0, 0)) == tuple(mean)


@pytest.mark.parametrize("inside", [1, 128, 255])
def test_a_mask_hides_as_much_as_its_box(drawing, inside):
    mask = Image.new("L", drawing.size)
    mask.paste(inside, (20, 30, 90, 200))
    for painted in paint_over(drawing, mask), paint_over(drawing, np.asarray(mask)):
        assert painted.tobytes() == paint_over(drawing, (20, 30, 90, 200)).tobytes()


def test_the_page_escapes_names(tiny, drawing):
    assert "<b>" not in ablate(*tiny, drawing, {"<b>": (0, 0, 9, 9)}).page()


@pytest.mark.parametrize("options, says", [
    (dict(method="gradient"), "method='gradient': choose occlusion or attention"),
    (dict(fill="blue"), "fill='blue': choose mean or grey"),
    (dict(caption="a cat", window=9), "window=9: the model sees 8 × 8 patches"),
    (dict(caption="a cat", method="attention", layers=[3]), "layers=[3]: the model has 3 text"),
    (dict(caption="word " * 100), "give a shorter one"),
])
def test_maps_that_cannot_be(tiny, drawing, options, says):
    with pytest.raises(ValueError, match=re.escape(says)): word_heatmaps(*tiny, drawing, **options)


def test_other_refusals(tiny, drawing):
    with pytest.raises(ValueError, match="attention maps are for GIT"):
        word_heatmaps(*small_model("blip"), pictures(1)[0], "a cat", method="attention")
    with pytest.raises(ValueError, match="the mask has 10 × 10 pixels, the picture 256 × 256"):
        paint_over(drawing, Image.new("L", (10, 10)))
    with pytest.raises(ValueError, match="fill='pink': choose grey, mean or a colour"):
        paint_over(drawing, (0, 0, 9, 9), fill="pink")
    with pytest.raises(ValueError, match="there is no part to paint over"):
        ablate(*tiny, drawing, {})
    with pytest.raises(ValueError, match="there is not one to show"):
        show_heatmaps(drawing, [])


# --- the captions are those that a captioner writes


def test_what_is_explained_is_what_a_captioner_writes():
    "A model that would say the same again and again may not, here as there."
    model, processor = small_model("git")
    words = [spell(processor.tokenizer, word)[0] for word in ("red", "creature", "eyes")]
    with torch.no_grad():
        model.output.bias[words] = torch.tensor([50.0, 51.0, 52.0])
    picture, left = pictures(1)[0], {"left": (0, 0, 16, 32)}
    captioner = Captioner(model, processor=processor)
    written = captioner(picture).text
    assert [m.word for m in word_heatmaps(model, processor, picture)] == written.split()
    assert ablate(model, processor, picture, left).caption.text == written
    short = {"max_new_tokens": 3, "num_beams": 3, "num_return_sequences": 2}
    best = ablate(model, processor, picture, left, **short).caption
    assert best.text == captioner(picture, **short).text and len(best.others) == 1
    with pytest.raises(TypeError, match="beams"):
        ablate(model, processor, picture, left, beams=3)
