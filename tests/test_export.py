"ONNX graphs against torch: prefixes, room, batches, 8 bits, broken folders."

import shutil
import warnings

import numpy as np
import pytest
import torch
from small_models import pictures, pixels, small_model

from imgcap.creatures import make_creatures
from imgcap.model import generate_captions, load_model

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from imgcap import export  # noqa: E402
from imgcap.export import OnnxCaptioner, export_onnx  # noqa: E402


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    "A small model with dropout in training mode, and its two exports."
    folder = tmp_path_factory.mktemp("exports")
    model, processor = small_model("git")
    model.train()
    export_onnx(model, folder / "float32", processor=processor)
    assert model.training and all(p.training for p in model.modules()), (
        "the model that was given stays as it was"
    )
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        export_onnx(folder / "float32", folder / "int8", int8=True)
    return model, processor, folder, [str(w.message) for w in said if "8 bits" in str(w.message)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    export_onnx("git-tiny", folder / "float32")
    export_onnx(folder / "float32", folder / "int8", int8=True)
    return folder


def same(found, wanted):
    assert [(c.text, c.tokens) for c in found] == [(c.text, c.tokens) for c in wanted]
    for a, b in zip(found, wanted):
        assert np.allclose(a.token_scores, b.token_scores, atol=1e-3)


@pytest.mark.parametrize("prefix", ["", "a red", "[SEP]", "a [SEP] b", "[CLS] a [PAD]", " "])
def test_same_as_torch(exports, prefix):
    model, processor, folder, _ = exports
    seen = pixels(processor)
    wanted = generate_captions(model, processor, seen, prefix=prefix)
    same(OnnxCaptioner(folder / "float32").captions(seen.numpy(), prefix=prefix), wanted)


@pytest.mark.parametrize("words", [0, 1, 30, 59, 60, 61])
@pytest.mark.parametrize("max_new_tokens", [1, 3, 64, 500])
def test_a_long_prefix_has_the_room_it_has_in_torch(exports, words, max_new_tokens):
    model, processor, folder, _ = exports
    seen, prefix = pixels(processor, 2), " ".join(["a"] * (words + 1))
    options = {"prefix": prefix, "max_new_tokens": max_new_tokens}
    wanted = generate_captions(model, processor, seen, **options)
    assert len(wanted[0].tokens) <= min(max_new_tokens, 64 - words - 2)
    same(OnnxCaptioner(folder / "float32").captions(seen.numpy(), **options), wanted)


@pytest.mark.parametrize(
    "options",
    [{"prefix": "a " * 63}, {"prefix": "a " * 90}, {"max_new_tokens": 0}, {"max_new_tokens": -1}],
)
def test_refused_as_in_torch(exports, options):
    model, processor, folder, _ = exports
    with pytest.raises(ValueError) as torch_says:
        generate_captions(model, processor, pixels(processor), **options)
    with pytest.raises(ValueError) as onnx_says:
        OnnxCaptioner(folder / "float32").captions(pixels(processor).numpy(), **options)
    assert str(torch_says.value) == str(onnx_says.value)


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_batches_do_not_matter(tiny, kind, batch_size):
    captioner, drawings = (
        OnnxCaptioner(tiny / kind, threads=1),
        make_creatures({"test": 24})["test"]["image"],
    )
    wanted = list(captioner.many(drawings, batch_size=24))
    same(list(captioner.many(drawings, batch_size=batch_size)), wanted)
    assert captioner(drawings[5]).text == wanted[5].text


@pytest.mark.parametrize("batch_size", [0, -2])
def test_batches_that_are_none(exports, batch_size):
    with pytest.raises(ValueError, match=f"batch_size is {batch_size}"):
        list(OnnxCaptioner(exports[2] / "int8").many(pictures(), batch_size=batch_size))


def test_no_pictures(exports):
    assert list(OnnxCaptioner(exports[2] / "float32").many([])) == []


def test_8_bits_say_nearly_the_same(tiny):
    drawings = make_creatures({"test": 24})["test"]["image"]
    model, processor = load_model("git-tiny", device="cpu")
    wanted = generate_captions(
        model,
        processor,
        processor.image_processor(images=list(drawings), return_tensors="pt").pixel_values,
    )
    found = list(OnnxCaptioner(tiny / "int8").many(drawings))
    assert sum(a.text == b.text for a, b in zip(found, wanted)) >= 20
    assert np.mean([abs(a.score - b.score) for a, b in zip(found, wanted)]) < 0.02
    sizes = [
        sum(file.stat().st_size for file in (tiny / kind).glob("*.onnx"))
        for kind in ("float32", "int8")
    ]
    assert sizes[1] < sizes[0] / 3


def spoil(folder, factor):
    "The scale of one weight of the decoder, as if 8 bits had been read wrongly."
    graph = onnx.load(folder / "decoder.onnx")
    scales = [
        w
        for w in graph.graph.initializer
        if "scale" in w.name and len(onnx.numpy_helper.to_array(w).shape) and w.data_type == 1
    ]
    for scale in scales:
        values = onnx.numpy_helper.to_array(scale) * factor
        scale.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), scale.name))
    assert scales
    onnx.save(graph, folder / "decoder.onnx")


@pytest.mark.parametrize("factor", [0, 3, float("nan")])
def test_8_bits_that_went_wrong_are_refused(tiny, tmp_path, monkeypatch, factor):
    good = export._quantize
    monkeypatch.setattr(export, "_quantize", lambda folder: (good(folder), spoil(folder, factor)))
    with pytest.raises(
        RuntimeError, match="8 bits move the logits by .* of .* tokens .* nothing was written"
    ):
        export_onnx(tiny / "float32", tmp_path / "int8", int8=True)
    assert list(tmp_path.iterdir()) == []


def test_8_bits_that_are_coarse_are_mentioned(tiny, tmp_path, monkeypatch):
    good = export._quantize
    monkeypatch.setattr(export, "_quantize", lambda folder: (good(folder), spoil(folder, 1.15)))
    with pytest.warns(UserWarning, match="8 bits move the logits by [0-9]+%"):
        export_onnx(tiny / "float32", tmp_path / "int8", int8=True)


def test_the_usual_8_bits_pass_in_silence(tiny, exports, tmp_path, recwarn):
    export_onnx(tiny / "float32", tmp_path / "int8", int8=True)
    assert not [w for w in recwarn if "8 bits" in str(w.message)] + exports[3], (
        "also with random weights"
    )


@pytest.mark.parametrize(
    "name",
    ["encoder.onnx", "decoder.onnx", "config.json", "tokenizer.json", "processor_config.json"],
)
@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_an_export_that_is_not_whole(exports, tmp_path, name, content):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "broken")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises((OSError, ValueError)) as caught:
        OnnxCaptioner(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_a_lost_weight_is_noticed(exports):
    model, processor, folder, _ = exports
    broken, _ = small_model("git")
    with torch.no_grad():
        broken.git.encoder.layer[0].attention.self.value.weight[5, 7] += 5
    with pytest.raises(RuntimeError, match="other logits"):
        export._check(broken, OnnxCaptioner(folder / "float32"))
