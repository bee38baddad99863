"""How a chat model attends while it learns on a CPU: short lengths written out, the rest fused."""

from types import SimpleNamespace

import pytest
import torch
from chat_models import make_chat_model
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, AttentionInterface

from imgcap.config import TrainConfig
from imgcap.data.creatures import make_creatures
from imgcap.model import caption_loss, load_model, new_git_tiny
from imgcap.preprocess import CaptionCollator
from imgcap.train import parts
from imgcap.train.parts import made_ready

FUSED = "ScaledDotProductFlashAttentionForCpuBackward0"


@pytest.fixture(scope="module")
def rows():
    return list(make_creatures({"train": 3})["train"])


@pytest.fixture(scope="module", params=["idefics3", "gemma3"])
def chat(request, tmp_path_factory, rows):
    folder = make_chat_model(request.param, tmp_path_factory.mktemp(request.param))
    model, processor = load_model(folder, device="cpu")
    return model, CaptionCollator(processor)(rows)


def steps_of(loss):
    "The names of what the gradient of a loss goes through."
    found, ahead = set(), [loss.grad_fn]
    while ahead:
        step = ahead.pop()
        if step is not None and step not in found:
            found.add(step)
            ahead += [before for before, _ in step.next_functions]
    return [step.name() for step in found]


def learn(model, batch, bfloat16=True):
    "The loss, the gradient, and how often torch's fused attention was asked for one."
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        loss = caption_loss(model, batch)
    fused = steps_of(loss).count(FUSED)
    loss.backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return loss.item(), gradient, fused


def test_short_lengths_are_written_out_and_the_gradient_is_as_good(chat):
    model, batch = chat
    loss, exact, fused = learn(model, batch, bfloat16=False)
    usual = learn(model, batch)[1]
    with made_ready(model, TrainConfig()) as learning:
        loss_here, here, fused_here = learn(learning, batch)
    assert fused > 0 and fused_here == 0
    assert loss_here == pytest.approx(loss, abs=0.02)
    far, far_here = (1 - torch.cosine_similarity(exact, g, dim=0) for g in (usual, here))
    assert far_here < 2 * far + 1e-3
    assert learn(model, batch)[2] == fused  # afterwards as before


def test_long_lengths_and_float32_stay_fused(chat, monkeypatch):
    model, batch = chat
    expected = learn(model, batch, bfloat16=False)
    with made_ready(model, TrainConfig()) as learning:
        found = learn(learning, batch, bfloat16=False)
        assert found[0] == expected[0] and torch.equal(found[1], expected[1])
        monkeypatch.setattr(parts, "_PAYS_UP_TO", 0)
        assert learn(learning, batch)[2] == expected[2] > 0


@pytest.fixture
def both(chat):
    "Attention of heads as a chat model learns, and as usual."
    usual, drawn = ALL_ATTENTION_FUNCTIONS["sdpa"], torch.Generator().manual_seed(0)

    def attend(length, groups=1, causal=True, mask=None, dropout=0.0):
        query = torch.randn(2, 4, length, 8, generator=drawn)
        key, value = torch.randn(2, 2, 4 // groups, 6, 8, generator=drawn)
        module = SimpleNamespace(is_causal=causal, num_key_value_groups=groups)
        with made_ready(chat[0], TrainConfig()), torch.autocast("cpu", torch.bfloat16):
            here = ALL_ATTENTION_FUNCTIONS["sdpa"]
            assert here is not usual
            given = (module, query, key, value, mask)
            return [attend(*given, dropout=dropout)[0].float() for attend in (here, usual)]

    return attend


LEFT = torch.ones(6, 6, dtype=torch.bool).tril() & (torch.arange(6) > 1) | torch.eye(6).bool()


@pytest.mark.parametrize(
    "how",
    [
        {"causal": True},
        {"causal": False},
        {"causal": True, "groups": 2},
        {"causal": True, "mask": LEFT[None, None]},
        {"causal": False, "mask": torch.zeros(1, 1, 6, 6).masked_fill(~LEFT, -1e9)},
    ],
)
def test_it_is_the_attention_that_transformers_has(how, both):
    here, usual = both(6, **how)
    assert here.shape == usual.shape == (2, 6, 4, 8)
    assert torch.allclose(here, usual, atol=0.03)


def test_what_has_a_cache_is_left_to_others(both):
    here, usual = both(1)  # of six places
    assert torch.equal(here, usual)


def test_attention_is_dropped_as_asked(both):
    assert not both(6, dropout=1.0)[0].any()


def test_attention_of_somebody_else_is_there_again(chat):
    usual, others = ALL_ATTENTION_FUNCTIONS["sdpa"], lambda *given, **named: None
    AttentionInterface.register("sdpa", others)
    try:
        with pytest.raises(KeyboardInterrupt), made_ready(chat[0], TrainConfig()):
            raise KeyboardInterrupt
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is others
    finally:
        AttentionInterface.register("sdpa", usual)


def test_git_learns_as_it_did(rows):
    model, processor = new_git_tiny(vision_layers=1, text_layers=1)
    batch = CaptionCollator(processor)(rows)
    loss, gradient, _ = learn(model, batch)
    with made_ready(model, TrainConfig()) as learning:
        found = learn(learning, batch)
    assert found[0] == loss and torch.equal(found[1], gradient)
