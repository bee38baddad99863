"ONNX graphs against torch: prefixes, room, batches, 8 bits, broken folders."

import json
import os
import shutil
import warnings

import datasets
import numpy as np
import pytest
import torch
from small_models import pictures, pixels, small_model

from imgcap.data.creatures import make_creatures
from imgcap.config import Decoding
from imgcap.evaluate import evaluate_model
from imgcap.evaluate.explain import ablate, word_heatmaps
from imgcap.infer import Captioner, caption_files
from imgcap.model import load_model
from imgcap.model.constraints import spell
from imgcap.model.decoding import CaptionWriter, write_captions

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
from imgcap.share import export  # noqa: E402
from imgcap.share.export import OnnxCaptioner, export_onnx  # noqa: E402


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    "A small model with dropout in training mode, and its two exports."
    folder = tmp_path_factory.mktemp("exports")
    model, processor = small_model("git")
    model.train()
    export_onnx(model, folder / "float32", processor=processor)
    for part in (model, *model.modules()):
        assert part.training, "the model that was given stays as it was"
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


def written(captioner, seen, **options):
    "What a captioner writes for pictures as the model sees them."
    return captioner.writer(captioner.how(**options))(seen)


def same(found, wanted):
    assert [(c.text, c.tokens) for c in found] == [(c.text, c.tokens) for c in wanted]
    for a, b in zip(found, wanted):
        assert np.allclose(a.token_scores, b.token_scores, atol=1e-3)


@pytest.mark.parametrize("prefix", ["", "a red", "[SEP]", "a [SEP] b", "[CLS] a [PAD]", " "])
def test_same_as_torch(exports, prefix):
    model, processor, folder, _ = exports
    seen = pixels(processor)
    wanted = write_captions(model, processor, seen, Decoding(prefix=prefix))
    same(written(OnnxCaptioner(folder / "float32"), seen, prefix=prefix), wanted)


@pytest.mark.parametrize("words", [0, 1, 30, 59, 60, 61])
@pytest.mark.parametrize("max_new_tokens", [1, 3, 64, 500])
def test_a_long_prefix_has_the_room_it_has_in_torch(exports, words, max_new_tokens):
    model, processor, folder, _ = exports
    seen, prefix = pixels(processor, 2), " ".join(["a"] * (words + 1))
    options = {"prefix": prefix, "max_new_tokens": max_new_tokens}
    wanted = write_captions(model, processor, seen, Decoding(**options))
    assert len(wanted[0].tokens) <= min(max_new_tokens, 64 - words - 2)
    same(written(OnnxCaptioner(folder / "float32"), seen, **options), wanted)


@pytest.mark.parametrize(
    "options",
    [{"prefix": "a " * 63}, {"prefix": "a " * 90}, {"max_new_tokens": 0}, {"max_new_tokens": -1}],
)
def test_refused_as_in_torch(exports, options):
    model, processor, folder, _ = exports
    with pytest.raises(ValueError) as torch_says:
        write_captions(model, processor, pixels(processor), Decoding(**options))
    with pytest.raises(ValueError) as onnx_says:
        written(OnnxCaptioner(folder / "float32"), pixels(processor), **options)
    assert str(torch_says.value) == str(onnx_says.value)


@pytest.mark.parametrize("kind", ["float32", "int8"])
@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_batches_do_not_matter(tiny, kind, batch_size):
    captioner = OnnxCaptioner(tiny / kind, threads=1, batch_size=batch_size)
    drawings = make_creatures({"test": 24})["test"]["image"]
    wanted = list(OnnxCaptioner(tiny / kind, threads=1, batch_size=24).many(drawings))
    same(list(captioner.many(drawings)), wanted)
    assert captioner(drawings[5]).text == wanted[5].text


@pytest.mark.parametrize("batch_size", [0, -2])
def test_batches_that_are_none(exports, batch_size):
    with pytest.raises(ValueError, match=f"batch_size={batch_size}"):
        OnnxCaptioner(exports[2] / "int8", batch_size=batch_size)


def test_no_pictures(exports):
    assert list(OnnxCaptioner(exports[2] / "float32").many([])) == []


# --- pictures in any form, as a `Captioner` takes them


@pytest.fixture(scope="module")
def folder_of_pictures(tmp_path_factory):
    "Three pictures, of which the second is damaged; and what is no picture."
    folder = tmp_path_factory.mktemp("pictures")
    for name, picture in zip(("a.png", "c.png"), pictures(2)):
        picture.save(folder / name)
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:100])
    (folder / "notes.txt").write_text("no picture")
    return folder


class Numbered:
    "A set as PyTorch has them, which cannot give its second picture."

    def __len__(self):
        return 3

    def __getitem__(self, i):
        if i == 1:
            raise RuntimeError("this row is damaged")
        return pictures()[i]


FORMS = {
    "a folder": lambda at: at,
    "a folder's name": str,
    "a glob": lambda at: f"{at}/*.png",
    "a file's name": lambda at: str(at / "a.png"),
    "a list": lambda at: [at / "a.png", str(at / "b.png"), at / "c.png"],
    "a path that is missing": lambda at: [at / "a.png", at / "none.png", "", at / "c.png"],
    "a generator": lambda at: (at / name for name in ("b.png", "a.png", "b.png")),
    "only damaged ones": lambda at: [at / "b.png"] * 5,
    "nothing": lambda at: [],
    "bytes": lambda at: [b"", b"nonsense", (at / "a.png").read_bytes()],
    "rows": lambda at: [{"image": picture, "id": 1} for picture in pictures(2)],
    "what is no picture": lambda at: [3, None, pictures(1)[0], {"caption": "a red circle"}],
    "an address that is refused": lambda at: ["http://127.0.0.1:9/a.png", at / "a.png"],
    "a set with a damaged row": lambda at: Numbered(),
    "a data set": lambda at: datasets.Dataset.from_dict(
        {"image": [str(at / name) for name in ("a.png", "b.png", "c.png")], "label": [1, 2, 3]}
    ).cast_column("image", datasets.Image()),
}


@pytest.mark.parametrize("batch_size", [1, 2, 16])
@pytest.mark.parametrize("form", FORMS)
def test_pictures_are_taken_as_a_captioner_takes_them(
    exports, folder_of_pictures, form, batch_size
):
    model, processor, folder, _ = exports
    captioner = Captioner(model, processor=processor, batch_size=batch_size)
    wanted = list(captioner.many(FORMS[form](folder_of_pictures)))
    exported = OnnxCaptioner(folder / "float32", batch_size=batch_size)
    found = list(exported.many(FORMS[form](folder_of_pictures)))
    assert [getattr(x, "error", None) for x in found] == [getattr(x, "error", None) for x in wanted]
    failed = [x for x in wanted if hasattr(x, "error")]
    names = [getattr(x, "name", x) for x in found if hasattr(x, "error")]
    assert names == [x.name for x in failed]
    same(
        [x for x in found if not hasattr(x, "error")],
        [x for x in wanted if not hasattr(x, "error")],
    )


@pytest.mark.parametrize("wrong", ["", "/nowhere/at/all", "/nowhere/*.png"])
def test_pictures_that_are_not_there_are_refused_as_by_a_captioner(exports, wrong):
    model, processor, folder, _ = exports
    captioners = Captioner(model, processor=processor), OnnxCaptioner(folder / "float32")
    said = []
    for captioner in captioners:
        with pytest.raises((OSError, ValueError)) as caught:
            said += [repr(list(captioner.many(wrong)))]
        said += [repr(caught.value)]
    assert said[0] == said[1]


@pytest.fixture(params=["torch", "onnx"])
def either(request, exports):
    "A captioner, and its export."
    model, processor, folder, _ = exports
    if request.param == "onnx":
        return OnnxCaptioner(folder / "float32", batch_size=2)
    return Captioner(model, processor=processor, batch_size=2)


ASKED = [
    {},
    {"max_new_tokens": 3},
    {"prefix": "a red", "no_repeat_words": 2, "max_new_tokens": 8},
    {"forbid_words": ["creature", "eyes at"], "max_new_tokens": 8},
]


@pytest.mark.parametrize("options", ASKED, ids=str)
def test_one_contract(either, exports, folder_of_pictures, options):
    "A call, `many` and a stream give the same captions, which are torch's."
    model, processor, folder, _ = exports
    good, broken = folder_of_pictures / "a.png", folder_of_pictures / "b.png"
    assert isinstance(either, Captioner)
    one = either(good, **options)
    same([one], write_captions(model, processor, pixels(processor, 1), Decoding(**options)))
    for many in (either, either.many):
        results = many(folder_of_pictures, **options)
        assert iter(results) is results
        found = list(results)
        same(found[:1], [one])
        assert found[1].name == str(broken) and type(found[2]) is type(one)
    *states, last = either.stream(good, **options)
    same([last], [one])
    by_torch = Captioner(model, processor=processor).stream(good, **options)
    assert states == list(by_torch)[:-1] and len(states) == 1 + len(one.tokens)


def test_one_contract_for_errors(either, folder_of_pictures):
    "Each when the call is made, before a picture is read."
    good, broken = folder_of_pictures / "a.png", folder_of_pictures / "b.png"
    for call in (either, either.stream):
        with pytest.raises(ValueError, match="b.png: ") as caught:
            call(broken)
        assert "\n" not in str(caught.value)
    for call in (either, either.many, either.stream):
        with pytest.raises(ValueError, match="prefix has 92 tokens, and the model has room for 64"):
            call([good] if call == either.many else good, prefix="a " * 90)
        with pytest.raises(ValueError, match="max_new_tokens"):
            call([good] if call == either.many else good, max_new_tokens=0)
        with pytest.raises(TypeError, match="beams"):
            call([good] if call == either.many else good, beams=3)


def test_one_contract_for_files(either, folder_of_pictures, tmp_path):
    "Files of captions are gone on with by what began them, and by nothing else."
    out = tmp_path / "captions.jsonl"
    counts = caption_files(folder_of_pictures, either, out=out, max_new_tokens=4)
    assert (counts.captioned, counts.unreadable) == (2, 1)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows[0]["caption"] == either(folder_of_pictures / "a.png", max_new_tokens=4).text
    out.write_text(out.read_text().splitlines(True)[0])
    again = caption_files(folder_of_pictures, either, out=out, max_new_tokens=4, resume=True)
    assert (again.skipped, again.captioned) == (1, 1)
    assert [json.loads(line) for line in out.read_text().splitlines()] == rows
    with pytest.raises(ValueError, match="max_new_tokens=4, and this run has max_new_tokens=5"):
        caption_files(folder_of_pictures, either, out=out, max_new_tokens=5, resume=True)


def test_two_exports_do_not_mix_their_captions(exports, folder_of_pictures, tmp_path):
    out, names = tmp_path / "captions.jsonl", ("float32", "int8")
    whole, rounded = (OnnxCaptioner(exports[2] / name) for name in names)
    caption_files(folder_of_pictures, whole, out=out)
    moved = shutil.copytree(exports[2] / "float32", tmp_path / "moved")
    caption_files(folder_of_pictures, OnnxCaptioner(moved), out=out, resume=True)
    with pytest.raises(ValueError, match="was begun with the model .*moved .*, and this run has"):
        caption_files(folder_of_pictures, rounded, out=out, resume=True)


@pytest.mark.parametrize("batch_size, seen", [(None, 16), (3, 3), (16, 16)])
def test_pictures_seen_together(exports, folder_of_pictures, batch_size, seen):
    captioner = OnnxCaptioner(exports[2] / "float32", batch_size=batch_size)
    assert captioner.batch_size == seen
    assert len(list(captioner(folder_of_pictures))) > 2


NEEDS_A_MODEL = {
    "Captioner": lambda given, processor: Captioner(given, processor=processor),
    "word_heatmaps": lambda given, processor: word_heatmaps(given, processor, pictures(1)[0], "a"),
    "ablate": lambda given, processor: ablate(given, processor, pictures(1)[0]),
    "evaluate_model": lambda given, processor: evaluate_model(
        given, make_creatures({"test": 2}), processor=processor),
    "CaptionWriter": CaptionWriter,
    "export_onnx": lambda given, processor: export_onnx(given, "new", processor=processor),
}


@pytest.mark.parametrize("call", NEEDS_A_MODEL)
@pytest.mark.parametrize("whole", [True, False], ids=["captioner", "graphs"])
@pytest.mark.parametrize("with_processor", [True, False])
def test_an_export_is_no_model(exports, call, whole, with_processor, tmp_path, monkeypatch):
    "One line says what would do, whichever part of it is given."
    monkeypatch.chdir(tmp_path)
    exported = OnnxCaptioner(exports[2] / "float32")
    given = exported if whole else exported.model
    with pytest.raises(ValueError) as caught:
        NEEDS_A_MODEL[call](given, exported.processor if with_processor else None)
    said = str(caught.value)
    assert said.startswith(call) and f"not {type(given).__name__}" in said and "\n" not in said
    assert "the run or checkpoint that was exported" in said and "OnnxCaptioner" in said


@pytest.mark.parametrize("call", NEEDS_A_MODEL)
def test_a_captioner_is_not_its_model(exports, call):
    model, processor, *_ = exports
    with pytest.raises(ValueError, match=f"^{call}.*, not Captioner; give its .model, and its "
                       ".processor"):
        NEEDS_A_MODEL[call](Captioner(model, processor=processor), None)


@pytest.mark.parametrize("call", NEEDS_A_MODEL)
@pytest.mark.parametrize("given", [None, 7])
def test_neither_a_model_nor_a_name(exports, call, given):
    with pytest.raises(ValueError, match=f"^{call}.*; give what load_model loads$"):
        NEEDS_A_MODEL[call](given, exports[1])


@pytest.mark.parametrize("use", [
    Captioner, load_model, lambda folder: evaluate_model(folder, make_creatures({"test": 2})),
    lambda folder: caption_files(folder.parent, folder)])
def test_the_folder_of_an_export_is_no_checkpoint(exports, folder_of_pictures, tmp_path, use):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "export")
    shutil.copy(folder_of_pictures / "a.png", tmp_path)
    with pytest.raises(ValueError, match="holds graphs .* no weights .*exported.*OnnxCaptioner"):
        use(folder)


def test_an_export_in_the_page(exports, folder_of_pictures):
    "It writes, word by word; what it cannot do, its page does not offer."
    pytest.importorskip("gradio")
    from test_app import Page

    from imgcap.app import caption_page

    exported, file = OnnxCaptioner(exports[2] / "float32"), str(folder_of_pictures / "a.png")
    exported.decoding = Decoding(max_new_tokens=5, no_repeat_words=2)
    page = Page(exported)
    assert list(page.widgets) == ["Longest caption", "Repetition", "Begin with", "Words to avoid"]
    assert page.write(file)[0] == [exported(file).text]
    for label in "Longest caption", "Repetition":
        slider = page.widgets[label]
        for end in slider.minimum, slider.maximum:
            words, said = page.write(file, **{label: end})
            assert len(words) == 1 and "refusal" not in said
    states = list(caption_page(exported, file, "none", max_new_tokens=5))
    assert len(states) > 6
    *_, last = caption_page(exported, file, "none", num_beams=2)
    assert "an exported captioner takes the likeliest word" in last.message


OTHER_WAYS = [
    {"num_beams": 3},
    {"do_sample": True, "seed": 1},
    {"min_new_tokens": 3},
    {"force_words": ["red"]},
    {"diversity_penalty": 1.0, "num_return_sequences": 2},
]


@pytest.mark.parametrize("options", OTHER_WAYS, ids=str)
def test_options_of_other_ways_to_decode_are_refused(exports, options):
    exported, (name, value) = OnnxCaptioner(exports[2] / "float32"), [*options.items()][0]
    for ask in (exported.many, exported, lambda x, **o: exported.stream(x[0], **o)):
        with pytest.raises(ValueError, match="an exported captioner takes the likeliest") as caught:
            ask(pictures(1), **options)
        assert f"{name}={value!r}" in str(caught.value).replace("('red',)", "['red']")
        assert "\n" not in str(caught.value)


WAYS = [
    {},
    {"no_repeat_words": 0},
    {"no_repeat_words": 1},
    {"no_repeat_words": 2, "prefix": "a red a red"},
    {"forbid_words": ["creature", "eyes at"]},
    {"max_new_tokens": 7},
]


def like(model, processor, seed):
    "Some words are far likelier than all others; gives the bias."
    words = [spell(processor.tokenizer, word)[0] for word in ("red", "creature", "eyes", "at")]
    liked = torch.rand(len(words), generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        model.output.bias[words] = 20 + liked
    return model.output.bias.detach().numpy()


@pytest.fixture(scope="module")
def repeating(tmp_path_factory):
    "A model that would say the same again and again, and its export."
    model, processor = small_model("git")
    like(model, processor, 0)
    return model, processor, export_onnx(
        model, tmp_path_factory.mktemp("repeats") / "export", processor=processor
    )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", WAYS, ids=str)
def test_nothing_is_said_twice_as_in_torch(repeating, tmp_path, options, seed):
    model, processor, exported = repeating
    folder = shutil.copytree(exported, tmp_path / "export")
    bias = like(model, processor, seed)
    graph = onnx.load(folder / "decoder.onnx")  # as if exported with this bias
    (found,) = (w for w in graph.graph.initializer if list(w.dims) == list(bias.shape))
    found.CopyFrom(onnx.numpy_helper.from_array(bias, found.name))
    onnx.save(graph, folder / "decoder.onnx")
    seen = pixels(processor)
    wanted = write_captions(model, processor, seen, Decoding(**options))
    same(written(OnnxCaptioner(folder), seen, **options), wanted)
    if not options:
        loose = written(OnnxCaptioner(folder), seen, no_repeat_words=0)
        assert [c.text for c in loose] != [c.text for c in wanted], "nothing is repeated here"


def test_an_export_writes_as_its_run_does(tiny_run, tmp_path, creatures):
    about = json.loads((tiny_run / "run.json").read_text())
    run = shutil.copytree(tiny_run, tmp_path / "run")
    about["validation"]["decoding"] |= {"max_new_tokens": 5, "no_repeat_words": 2}
    (run / "run.json").write_text(json.dumps(about))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(run / "model", tmp_path / "export")
        export_onnx(tmp_path / "export", tmp_path / "copy")
    drawings = creatures["test"]["image"]
    wanted = list(Captioner(run).many(drawings))
    assert {len(caption.tokens) for caption in wanted} == {5}
    for name in ("export", "copy"):
        same(list(OnnxCaptioner(tmp_path / name).many(drawings)), wanted)
        same(OnnxCaptioner(tmp_path / name)(list(drawings)), wanted)
    (tmp_path / "copy" / "decoding.json").unlink()  # as an earlier version wrote it
    assert OnnxCaptioner(tmp_path / "copy").decoding == Decoding()


def test_a_run_that_writes_with_beams_is_told_that_its_export_does_not(tiny_run, tmp_path):
    about = json.loads((tiny_run / "run.json").read_text())
    run = shutil.copytree(tiny_run, tmp_path / "run")
    about["validation"]["decoding"] |= {"num_beams": 4, "max_new_tokens": 6}
    (run / "run.json").write_text(json.dumps(about))
    with pytest.warns(UserWarning, match="the run writes with num_beams=4; an exported captioner"):
        export_onnx(run, tmp_path / "export")
    assert json.loads((tmp_path / "export" / "decoding.json").read_text())["num_beams"] == 4
    assert OnnxCaptioner(tmp_path / "export").how() == Decoding(max_new_tokens=6)


@pytest.mark.parametrize("content", [b"", b"[]", b"nonsense", b'{"max_new_tokens": "many"}'])
def test_options_that_cannot_be_read_are_named(exports, tmp_path, content):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "broken")
    (folder / "decoding.json").write_bytes(content)
    with pytest.raises(ValueError, match="decoding.json") as caught:
        OnnxCaptioner(folder)
    assert "\n" not in str(caught.value)


def test_scores_that_are_no_numbers_are_an_error(exports, tmp_path):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "nan")
    graph = onnx.load(folder / "decoder.onnx")
    for weight in graph.graph.initializer:
        if weight.data_type == 1:
            values = onnx.numpy_helper.to_array(weight) * np.float32("nan")
            weight.CopyFrom(onnx.numpy_helper.from_array(np.asarray(values), weight.name))
    onnx.save(graph, folder / "decoder.onnx")
    with pytest.raises(FloatingPointError, match="nan: its scores"):
        OnnxCaptioner(folder)(pictures(1)[0])


def test_8_bits_say_nearly_the_same(tiny):
    drawings = make_creatures({"test": 24})["test"]["image"]
    model, processor = load_model("git-tiny", device="cpu")
    wanted = write_captions(
        model,
        processor,
        processor.image_processor(images=list(drawings), return_tensors="pt").pixel_values,
    )
    found = list(OnnxCaptioner(tiny / "int8").many(drawings))
    assert sum(a.text == b.text for a, b in zip(found, wanted)) >= 20
    assert np.mean([abs(a.score - b.score) for a, b in zip(found, wanted)]) < 0.02
    sizes = [sum(file.stat().st_size for file in (tiny / kind).glob("*.onnx"))
             for kind in ("float32", "int8")]
    assert sizes[1] < sizes[0] / 3


def spoil(folder, factor):
    "The scale of one weight of the decoder, as if 8 bits had been read wrongly."
    graph = onnx.load(folder / "decoder.onnx")
    scales = [w for w in graph.graph.initializer if "scale" in w.name and w.data_type == 1
              and len(onnx.numpy_helper.to_array(w).shape)]
    for scale in scales:
        values = onnx.numpy_helper.to_array(scale) * factor
        scale.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), scale.name))
    assert scales
    onnx.save(graph, folder / "decoder.onnx")


@pytest.mark.parametrize("factor", [0, 3, float("nan")])
def test_8_bits_that_went_wrong_are_refused(tiny, tmp_path, monkeypatch, factor):
    good = export.quantize
    monkeypatch.setattr(export, "quantize", lambda folder: (good(folder), spoil(folder, factor)))
    said = "8 bits move the logits by .* of .* tokens .* nothing was written"
    with pytest.raises(RuntimeError, match=said):
        export_onnx(tiny / "float32", tmp_path / "int8", int8=True)
    assert list(tmp_path.iterdir()) == []


def test_8_bits_that_are_coarse_are_mentioned(tiny, tmp_path, monkeypatch):
    good = export.quantize
    monkeypatch.setattr(export, "quantize", lambda folder: (good(folder), spoil(folder, 1.15)))
    with pytest.warns(UserWarning, match="8 bits move the logits by [0-9]+%"):
        export_onnx(tiny / "float32", tmp_path / "int8", int8=True)


def test_the_usual_8_bits_pass_in_silence(tiny, exports, tmp_path, recwarn):
    export_onnx(tiny / "float32", tmp_path / "int8", int8=True)
    warned = [w for w in recwarn if "8 bits" in str(w.message)]
    assert not warned + exports[3], "also with random weights"


@pytest.mark.parametrize(
    "name",
    [
        "encoder.onnx",
        "decoder.onnx",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "processor_config.json",
    ],
)
@pytest.mark.parametrize("content", [None, b"", b"nonsense", b"[]", b'{"model_type": 3}'])
def test_an_export_that_is_not_whole(exports, tmp_path, name, content):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "broken")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises((OSError, ValueError)) as caught:
        OnnxCaptioner(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_lost_weight_is_noticed(exports):
    model, processor, folder, _ = exports
    broken, _ = small_model("git")
    with torch.no_grad():
        broken.git.encoder.layer[0].attention.self.value.weight[5, 7] += 5
    with pytest.raises(RuntimeError, match="other logits"):
        export._check_graphs(broken, OnnxCaptioner(folder / "float32"))


# --- what is in the folder


def everything(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
            for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "name",
    [
        "thesis.txt",
        "README.md",
        "model.safetensors",
        "encoder.onnx.bak",
        "config.json.orig",
        "my.onnx",
        ".notes",
        "pictures/a.png",
        "config.json/a.txt",
    ],
)
@pytest.mark.parametrize("int8", [False, True])
def test_a_folder_with_a_strange_file_is_left_as_it_is(exports, tmp_path, name, int8):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "mine")
    if (folder / name.split("/")[0]).is_file():
        (folder / name.split("/")[0]).unlink()
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("ten years of work")
    before = everything(tmp_path)
    with pytest.raises(FileExistsError) as caught:
        export_onnx(exports[2] / "float32", folder, int8=int8)
    assert name.split("/")[0] in str(caught.value) and str(folder) in str(caught.value)
    assert "\n" not in str(caught.value) and everything(tmp_path) == before


@pytest.mark.parametrize("name", ["encoder.onnx", "decoder.onnx"])
@pytest.mark.parametrize("content", [b"", b"another model", None])
def test_graphs_of_others_are_left_as_they_are(exports, tmp_path, name, content):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "mine")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    before = everything(tmp_path)
    with pytest.raises(FileExistsError, match="no export wrote"):
        export_onnx(exports[2] / "float32", folder)
    assert everything(tmp_path) == before


def test_a_link_in_the_folder_is_strange(exports, tmp_path):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "mine")
    (folder / "config.json").rename(tmp_path / "elsewhere.json")
    (folder / "config.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(FileExistsError, match="config.json"):
        export_onnx(exports[2] / "float32", folder)
    assert (tmp_path / "elsewhere.json").is_file() and (folder / "config.json").is_symlink()


def test_what_comes_while_it_is_written_stays(exports, tmp_path, monkeypatch):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "mine")
    good = export.quantize

    def slow(partial):
        good(partial)
        (folder / "thesis.txt").write_text("begun in the meantime")

    monkeypatch.setattr(export, "quantize", slow)
    with pytest.raises(FileExistsError, match="thesis.txt"):
        export_onnx(exports[2] / "float32", folder, int8=True)
    assert (folder / "thesis.txt").is_file() and [p.name for p in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("way", ["from another", "from itself", "a link to it", "from within"])
def test_an_older_export_is_replaced(exports, tmp_path, monkeypatch, way):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "mine")
    (folder / "vocab.txt").write_text("of an older version")
    place = folder
    if way == "a link to it":
        place = tmp_path / "link"
        place.symlink_to(folder)
    if way == "from within":
        monkeypatch.chdir(folder)
        place = "."
    source = folder if way == "from itself" else exports[2] / "float32"
    export_onnx(source, place, int8=True)
    monkeypatch.chdir(tmp_path)
    kept = {"vocab.txt"} if way == "from itself" else set()
    found, wanted = everything(folder), everything(exports[2] / "int8")
    assert found.keys() - kept == wanted.keys()
    assert all(found[name] == wanted[name] for name in ("encoder.onnx", "config.json"))
    assert {p.name for p in tmp_path.iterdir()} <= {"mine", "link"}
    assert place == "." or os.path.islink(place) == (way == "a link to it")


def test_an_older_export_stays_where_the_new_one_cannot_be_put(exports, tmp_path, monkeypatch):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "mine")
    before, rename = everything(tmp_path), export.Path.rename

    def full(path, to):
        if path.name.endswith(".partial"):
            raise OSError(28, "No space left on device")
        return rename(path, to)

    monkeypatch.setattr(export.Path, "rename", full)
    with pytest.raises(OSError, match="No space"):
        export_onnx(exports[2] / "float32", folder)
    monkeypatch.undo()
    assert everything(tmp_path) == before


def test_a_file_is_no_folder(exports, tmp_path):
    (tmp_path / "mine").write_text("ten years of work")
    with pytest.raises(FileExistsError, match="mine is a file"):
        export_onnx(exports[2] / "float32", tmp_path / "mine")


def test_only_an_exports_own_files_are_copied(exports, tmp_path):
    folder = shutil.copytree(exports[2] / "float32", tmp_path / "mine")
    (folder / "thesis.txt").write_text("ten years of work")
    new = export_onnx(folder, tmp_path / "new" / "place")
    assert everything(new).keys() == everything(exports[2] / "float32").keys()


def test_an_export_cannot_be_trained(exports):
    from imgcap.train import finetune
    captioner = OnnxCaptioner(exports[2] / "float32")
    for model in captioner.model, captioner:
        with pytest.raises(ValueError, match="needs a loaded model, not .*an export only writes"):
            finetune(model, captioner.processor, {})
