"Looking inside: models with dropout, whatever mode they are in."

import numpy as np
import pytest
import torch
from small_models import BUILDERS, pictures, small_model

from imgcap.evaluate.explain import ablate, paint_over, word_heatmaps
from imgcap.model import FAMILIES

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
