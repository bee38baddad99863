"What the collator remembers, what an image processor's settings change, and captions as tokens."

import io
import os
import random
import time
import warnings

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from small_models import BUILDERS, TEXTS, pictures, small_model
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import BertTokenizer, PreTrainedTokenizerFast, ViTImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from imgcap.data.creatures import make_creatures
from imgcap.model import load_model, new_git_tiny
from imgcap.pixels import augment_picture, decoding_side, picture_pixels
from imgcap.preprocess import CaptionCollator, choose_caption, choose_captions, encode_text
from imgcap.preprocess.memory import shrink


@pytest.fixture
def processor():
    return new_git_tiny(TEXTS, vision_layers=1, text_layers=1, hidden_size=32)[1]


def plain(colour, size=(40, 40)):
    return Image.new("RGB", size, colour)


def encoded(picture, format="PNG"):
    file = io.BytesIO()
    picture.save(file, format)
    return file.getvalue()


def row(image, image_id="train-0", captions=("a creature",)):
    return {"image": image, "image_id": image_id, "captions": list(captions)}


def as_file(tmp_path, picture, name="picture.png"):
    (tmp_path / name).write_bytes(encoded(picture))
    return str(tmp_path / name)


FORMS = {
    "bytes": lambda folder, p: {"bytes": encoded(p), "path": None},
    "bytes with a path": lambda folder, p: {"bytes": encoded(p), "path": "train-0.png"},
    "path": lambda folder, p: {"bytes": None, "path": as_file(folder, p)},
    "name": as_file,
    "picture": lambda folder, p: p,
    "raw": lambda folder, p: encoded(p),
    "array": lambda folder, p: np.asarray(p),
    "open": lambda folder, p: io.BytesIO(encoded(p)),
}
AUGMENT = pytest.mark.parametrize(
    "augment", [None, lambda image, captions, rng: image], ids=["whole", "augmented"]
)


# --- what is remembered


@AUGMENT
@pytest.mark.parametrize("form", FORMS)
def test_two_pictures_of_one_id(tmp_path, processor, form, augment):
    "Two sets may both have a train-0."
    collator = CaptionCollator(processor, augment=augment)
    made = [
        collator([row(FORMS[form](tmp_path, plain(colour)))])["pixel_values"]
        for colour in ("red", "blue", "red")
    ]
    wanted = picture_pixels(processor.image_processor, [plain("red"), plain("blue"), plain("red")])
    assert torch.equal(torch.cat(made), wanted)


@AUGMENT
def test_one_id_twice_in_a_batch(processor, augment):
    rows = [row({"bytes": encoded(plain(colour)), "path": None}) for colour in ("red", "blue")]
    found = CaptionCollator(processor, augment=augment)(rows)["pixel_values"]
    assert torch.equal(
        found, picture_pixels(processor.image_processor, [plain("red"), plain("blue")])
    )


@pytest.mark.parametrize("form", ["path", "name"])
def test_a_file_that_was_replaced(tmp_path, processor, form):
    collator = CaptionCollator(processor)
    (tmp_path / "picture.png").write_bytes(
        encoded(plain("red"), "BMP")
    )  # of the same size, whatever is in it
    image = (
        {"path": str(tmp_path / "picture.png")} if form == "path" else str(tmp_path / "picture.png")
    )
    first = collator([row(image)])["pixel_values"]
    about = os.stat(tmp_path / "picture.png")
    time.sleep(0.02)
    (tmp_path / "picture.png").write_bytes(encoded(plain("blue"), "BMP"))
    os.utime(tmp_path / "picture.png", ns=(about.st_atime_ns, about.st_mtime_ns))  # as `cp -p` does
    second = collator([row(image)])["pixel_values"]
    assert not torch.equal(first, second)
    assert torch.equal(second, picture_pixels(processor.image_processor, [plain("blue")]))


def test_a_broken_file_that_was_mended(tmp_path, processor):
    (tmp_path / "picture.png").write_bytes(b"no picture")
    collator, other = CaptionCollator(processor), row(plain("red"), "other")
    with pytest.warns(UserWarning, match="train-0 is skipped"):
        assert len(collator([row(str(tmp_path / "picture.png")), other])["pixel_values"]) == 1
    as_file(tmp_path, plain("blue"))
    assert len(collator([row(str(tmp_path / "picture.png")), other])["pixel_values"]) == 2


@pytest.mark.filterwarnings("ignore:picture")
@pytest.mark.parametrize("count, said", [
    (1, "the one picture of a batch cannot be decoded: 0.png: "),
    (2, "none of the 2 pictures of a batch can be decoded, the first: 0.png: "),
])
def test_a_batch_without_a_readable_picture(processor, count, said):
    rows = [row({"bytes": b"x", "path": f"{i}.png"}, f"{i}") for i in range(count)]
    with pytest.raises(ValueError, match=f"^{said}"):
        CaptionCollator(processor)(rows)


@pytest.mark.parametrize("one", [row(plain("red")), {"image": [plain("red")], "image_id": ["0"]}])
def test_a_batch_is_a_list(processor, one):
    with pytest.raises(ValueError, match="^a batch is a list of rows"):
        CaptionCollator(processor)(one)


def test_each_reason_is_told_once(processor):
    collator, good = CaptionCollator(processor), row(plain("red"), "good")
    bad = [row({"bytes": data, "path": name}) for data, name in ((b"x", "a.png"), (b"", "b.png"))]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for each in (*bad, bad[1]):
            collator([each, good])
    assert (
        len(caught) == 2 and "a.png" in str(caught[0].message) and "b.png" in str(caught[1].message)
    )


@AUGMENT
@pytest.mark.parametrize(
    "change",
    [
        lambda p: setattr(p, "image_mean", [0.1] * 3),
        lambda p: setattr(p, "size", {"height": 32, "width": 32}),
        lambda p: p.size.__setitem__("height", 32) or p.size.__setitem__("width", 32),
        lambda p: setattr(p, "resample", 0),
        lambda p: setattr(p, "do_rescale", False),
    ],
    ids=["mean", "size", "size in place", "filter", "scale"],
)
def test_settings_that_change(processor, augment, change):
    "Neither what is remembered nor the short way may outlive the settings they were made with."
    collator, rows = (
        CaptionCollator(processor, augment=augment),
        [row(p, str(i)) for i, p in enumerate(pictures(2))],
    )
    before = collator(rows)["pixel_values"]
    change(processor.image_processor)
    after = collator(rows)["pixel_values"]
    wanted = processor.image_processor(images=pictures(2), return_tensors="pt").pixel_values
    assert before.shape != after.shape or not torch.equal(before, after)
    assert after.shape == wanted.shape and torch.allclose(after, wanted, atol=1.01 / 255 / 0.5)


def test_the_short_way_is_tried_anew():
    pictured, photos = (
        CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False),
        pictures(2, side=50),
    )
    picture_pixels(pictured, photos)
    for name, value in (
        ("do_normalize", False),
        ("do_rescale", False),
        ("do_resize", False),
        ("do_normalize", True),
    ):
        setattr(pictured, name, value)
        wanted = pictured(images=photos, return_tensors="pt").pixel_values
        assert torch.allclose(picture_pixels(pictured, photos), wanted, atol=1e-4), name


def test_a_longest_side_is_heeded():
    "A processor that looks like another one until a picture is long."

    class Bounded(ViTImageProcessorPil):
        def __call__(self, images, **kwargs):
            return super().__call__(
                [i.crop((0, 0, 80, 40)) if i.width > 4 * i.height else i for i in images], **kwargs
            )

    bounded, strip = (
        Bounded(size={"height": 32, "width": 32}),
        pictures(1, side=200)[0].crop((0, 0, 200, 40)),
    )
    assert torch.equal(
        picture_pixels(bounded, [strip]), bounded(images=[strip], return_tensors="pt").pixel_values
    )


def test_remembered_pictures_are_not_painted_on(processor):
    def scribble(image, captions, rng):
        x, y = rng.randrange(30), rng.randrange(30)
        ImageDraw.Draw(image).rectangle((x, y, x + 9, y + 9), fill="blue")
        return image

    collator, source = (
        CaptionCollator(processor, augment=scribble),
        {"bytes": encoded(plain("red")), "path": None},
    )
    for epoch in range(3):
        again = {**row(source), "epoch": epoch}
        alone = CaptionCollator(processor, augment=scribble, cache_bytes=0)([again])["pixel_values"]
        assert torch.equal(collator([again])["pixel_values"], alone)


@AUGMENT
def test_no_more_is_remembered_than_allowed(processor, augment):
    "And what does not fit is made again."
    n_bytes = 3 * 64 * 64 * 4
    collator = CaptionCollator(processor, augment=augment, cache_bytes=2 * n_bytes)
    rows = [
        row({"bytes": encoded(p), "path": None}, str(i)) for i, p in enumerate(pictures(6, side=70))
    ]
    first, second = collator(rows)["pixel_values"], collator(rows)["pixel_values"]
    assert torch.equal(first, second)
    assert (
        sum(
            sum(t.nbytes for t in x.values()) if isinstance(x, dict) else 3 * x.width * x.height
            for x in collator._memory.found.values()
        )
        <= 2 * n_bytes
    )


def test_as_many_pictures_are_remembered_as_have_room(processor):
    "To augment, each as decoded: three bytes a pixel."
    collator = CaptionCollator(processor, augment=augment_picture, cache_bytes=2 * 3 * 70 * 70)
    collator([row({"bytes": encoded(p), "path": None}, str(i))
              for i, p in enumerate(pictures(3, side=70))])
    assert len(collator._memory.found) == 2


@pytest.mark.parametrize(
    "size, resize, whole",
    [
        ({"height": 64, "width": 64}, True, False),
        ({"shortest_edge": 64}, True, False),
        ({"longest_edge": 64}, True, False),
        ({"height": 64, "width": 64}, False, True),
    ],
)
def test_decoding_side(processor, size, resize, whole):
    "A processor that only crops wants the picture's own pixels, however large."
    processor.image_processor.size, processor.image_processor.do_resize = size, resize
    assert decoding_side(processor) == (1 << 20 if whole else 128)


def test_nothing_is_remembered(processor):
    rows = [row(p, str(i)) for i, p in enumerate(pictures(3))]
    batches = [CaptionCollator(processor, **options)(rows) for options in ({}, {"cache_bytes": 0})]
    assert torch.equal(batches[0]["pixel_values"], batches[1]["pixel_values"])


# --- captions as tokens


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.UnigramTrainer(
            vocab_size=80,
            special_tokens=["<pad>", "<s>", "</s>", "<unk>"],
            unk_token="<unk>",
            show_progress=False,
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )


def words():
    tokenizer = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.train_from_iterator(
        TEXTS,
        trainers.WordLevelTrainer(
            special_tokens=["[PAD]", "[CLS]", "[SEP]", "[UNK]"], show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def bert():
    letters = "abcdefghijklmnopqrstuvwxyz"
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *"[]</>|",
        *("##" + c for c in letters),
    ]
    return BertTokenizer(vocab={token: i for i, token in enumerate(vocabulary)})


TOKENIZERS = {
    "unigram": unigram,
    "words": words,
    "bert": bert,
    "git-tiny": lambda: load_model("git-tiny")[1].tokenizer,
    **{family: lambda build=build: build()[1].tokenizer for family, build in BUILDERS.items()},
}


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_control_tokens_in_captions(kind):
    tokenizer = TOKENIZERS[kind]()
    marks = [*tokenizer.all_special_tokens, "[SEP]", "</s>", "<s>", "[PAD]", "<|endoftext|>"]
    texts = [
        text
        for mark in marks
        for text in (
            f"a {mark} red",
            mark,
            f"{mark}a{mark}",
            mark * 3,
            f"{mark[0]}{mark}{mark[1:]}",
        )
    ]
    control = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    ends = encode_text(tokenizer, ["a"])["input_ids"][0]
    assert len(ends) >= 3
    for text, ids in zip(texts, encode_text(tokenizer, texts)["input_ids"]):
        assert (ids[0], ids[-1]) == (ends[0], ends[-1]) and not control & set(ids[1:-1]), (
            text,
            ids,
        )


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_other_captions_are_as_the_tokenizer_makes_them(kind):
    tokenizer = TOKENIZERS[kind]()
    for options in (
        {},
        {"padding": True, "truncation": True, "max_length": 5, "return_tensors": "pt"},
    ):
        wanted, found = tokenizer(TEXTS, **options), encode_text(tokenizer, TEXTS, **options)
        for name in "input_ids", "attention_mask":
            assert (
                torch.equal(torch.as_tensor(wanted[name]), torch.as_tensor(found[name]))
                if options
                else wanted[name] == found[name]
            )
        assert "special_tokens_mask" not in found


@pytest.mark.parametrize("family", BUILDERS)
def test_labels_end_once(family):
    processor = BUILDERS[family]()[1]
    captions = ["a [SEP] red", "[SEP]", "[PAD][PAD] a", "a creature [SEP]", "[CLS] a [DEC]", "a"]
    rows = [row(p, str(i), [caption]) for i, (p, caption) in enumerate(zip(pictures(6), captions))]
    for batch in (CaptionCollator(processor)(rows), CaptionCollator(processor, max_length=4)(rows)):
        for ids, labels, mask in zip(batch["input_ids"], batch["labels"], batch["attention_mask"]):
            counted = labels[labels != -100]
            assert (
                torch.equal(counted, ids[mask == 1])
                and counted[-1] == 2
                and (counted[1:] == 2).sum() == 1
            )


# --- choices that cannot work


@pytest.mark.parametrize(
    "options",
    [
        {"max_length": 65},
        {"max_length": 2},
        {"max_length": 0},
        {"max_length": -5},
        {"max_length": 12.5},
        {"max_length": "12"},
        {"max_length": True},
        {"max_length": 10**9},
        {"captions_per_picture": 0},
        {"captions_per_picture": 1.5},
        {"cache_bytes": -1},
        {"choose": "last"},
    ],
)
def test_refused(processor, options):
    "In the words in which a choice of training is refused."
    name, value = next(iter(options.items()))
    would_do = "it must be (a whole number|at least [0-9])|there is room for 64|choose random"
    with pytest.raises(ValueError, match=f"^{name} is {value!r}; ({would_do})") as caught:
        CaptionCollator(processor, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("max_length", [3, 64, 12.0, np.int64(12), None])
def test_accepted(processor, max_length):
    batch = CaptionCollator(processor, max_length=max_length)(
        [row(plain("red"), captions=["a red creature"])]
    )
    assert batch["input_ids"].shape[1] <= (max_length or 64)


def test_the_model_says_how_much_room_there_is(tmp_path):
    "A tokenizer that states no limit, or a wider one than its model."
    model, processor = small_model("git")
    model.save_pretrained(tmp_path)
    for stated in 10**30, 512, 40:
        processor.tokenizer.model_max_length = stated
        processor.save_pretrained(tmp_path)
        loaded = load_model(tmp_path)[1]
        assert CaptionCollator(loaded).max_length == min(stated, 64)
        with pytest.raises(ValueError, match=f"room for {min(stated, 64)} tokens"):
            CaptionCollator(loaded, max_length=65)


def test_augmentation_is_drawn_by_id(processor):
    rows = [row(plain("red"), image_id, ["the creature is smiling"]) for image_id in "ab"]
    both = CaptionCollator(processor, augment=augment_picture)(rows)["pixel_values"]
    assert not torch.equal(both[0], both[1]), "one picture under two ids moves in two ways"


@pytest.mark.parametrize("family", BUILDERS)
def test_the_processors_of_all_families(family):
    processor, rows = (
        BUILDERS[family]()[1],
        [row(p, str(i), [TEXTS[i % 3]]) for i, p in enumerate(pictures(6, side=50))],
    )
    batch = CaptionCollator(processor)(rows)
    wanted = processor.image_processor(
        images=pictures(6, side=50), return_tensors="pt"
    ).pixel_values
    assert torch.allclose(batch["pixel_values"], wanted, atol=1.01 / 255 / 0.5)
    assert torch.equal(batch["labels"] == -100, batch["attention_mask"] == 0)
    longest = batch["attention_mask"].sum(1).max()
    assert batch["input_ids"].shape[1] == longest, "no wider than the longest caption"
    with pytest.warns(UserWarning, match="longer than 5 tokens"):
        cut = CaptionCollator(processor, max_length=5)(rows)
    assert cut["input_ids"].shape[1] == 5 and (cut["labels"][:, -1] == 2).all()


def test_augmentation_depends_on_nothing_but_picture_and_epoch(processor):
    rows = [
        {**row(p, str(i), ["the creature is smiling"]), "epoch": 3}
        for i, p in enumerate(pictures(4))
    ]
    whole = CaptionCollator(processor, augment=augment_picture)(rows)["pixel_values"]
    backwards = CaptionCollator(processor, augment=augment_picture)(rows[::-1])["pixel_values"]
    later = CaptionCollator(processor, augment=augment_picture)(
        [{**each, "epoch": 4} for each in rows]
    )["pixel_values"]
    assert torch.equal(whole, backwards.flip(0)) and not torch.equal(whole, later)


# --- captions that are drawn

FIVE = [f"creature number {word}" for word in ("one", "two", "three", "four", "five")]


def test_each_caption_comes_as_often_as_the_others():
    drawn = [choose_caption(FIVE, "train-0", epoch=epoch) for epoch in range(200)]
    assert drawn[7] == choose_caption(FIVE, "train-0", epoch=7), "whatever was drawn before"
    assert all(25 <= drawn.count(caption) <= 60 for caption in FIVE)
    assert drawn != [choose_caption(FIVE, "train-0", epoch=epoch, seed=1) for epoch in range(200)]


def test_several_captions_are_different_ones():
    three = [choose_captions(FIVE, "train-0", 3, epoch=epoch) for epoch in range(200)]
    assert all(len(set(some)) == 3 for some in three) and len(set(map(tuple, three))) > 30
    assert sorted(choose_captions(FIVE, "train-0", 9)) == sorted(FIVE), "no more than there are"


def in_words(processor, captions):
    return processor.tokenizer.batch_decode(
        encode_text(processor.tokenizer, captions)["input_ids"], skip_special_tokens=True
    )


def drawn_texts(collator, rows):
    ids = collator(rows)["input_ids"]
    return collator.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)


def test_the_first_caption(processor):
    rows = [row(p, str(i), FIVE[i:]) for i, p in enumerate(pictures(3))]
    found = drawn_texts(CaptionCollator(processor, choose="first"), rows)
    assert found == in_words(processor, FIVE[:3])


def test_several_captions_of_a_picture(processor):
    "A missing one is empty and counts for nothing, and the company changes nothing."
    several = CaptionCollator(processor, captions_per_picture=3)
    rows = [row(p, str(i), captions)
            for i, (p, captions) in enumerate(zip(pictures(2), (FIVE[:2], FIVE)))]
    batch, found = several(rows), drawn_texts(several, rows)
    assert found[2] == "" and (batch["labels"][2] == -100).all()
    assert sorted(found[:2]) == sorted(in_words(processor, FIVE[:2]))
    assert len(set(found[3:])) == 3 and drawn_texts(several, rows[::-1])[:3] == found[3:]


# --- changes that leave captions true


def flag():
    "Red on the left, blue on the right."
    colours = [[[200, 0, 0]] * 32 + [[0, 0, 200]] * 32]
    return Image.fromarray(np.repeat(np.uint8(colours), 64, axis=0))


def flags(captions, n=40):
    return [augment_picture(flag(), captions, random.Random(k)) for k in range(n)]


def left_is_red(image):
    return image.getpixel((2, 32))[0] > 100


def brightest(image):
    return max(image.getpixel((2, 2)))


def test_augmentation_mirrors_and_changes_the_light():
    found = flags(["this is a flag"])
    assert 10 < sum(map(left_is_red, found)) < 30
    light = [brightest(image) for image in found]
    assert len(set(light)) > 25 and min(light) < 180 and max(light) > 220


@pytest.mark.parametrize(
    "captions",
    [
        ["a flag on the LEFT"],
        ["this flag", "turn right there"],
        ["there is a sign"],
        ["una bandera a la izquierda"],
        ["这是一面旗", "this is a flag"],
        ["ko'ãva hína peteĩ poyvi"],
    ],
)
def test_a_side_a_text_or_another_language_is_not_mirrored(captions):
    assert all(map(left_is_red, flags(captions)))


@pytest.mark.parametrize(
    "captions",
    [
        ["the RED flag"],
        ["the flag", "it is reddish there"],
        ["a flag with colours"],
        ["there in the dark"],
        ["una bandera roja"],
        ["这是一面旗"],
    ],
)
def test_a_colour_or_another_language_keeps_its_light(captions):
    assert {brightest(image) for image in flags(captions)} == {200}


def test_creatures_are_described_by_their_colour():
    for captions in make_creatures({"train": 16})["train"]["captions"]:
        english = ["this is it", *captions]  # by its language alone it might change
        assert {brightest(image) for image in flags(english, 5)} == {200}, captions


def test_a_large_picture_is_made_smaller_quickly_and_almost_exactly():
    y, x = np.mgrid[0:1:1800j, 0:1:2000j]
    waves = np.stack([np.sin(450 * x * y + 2 * y), np.cos(4 * y - 175 * x), np.sin(9 * x * y)], 2)
    photo = Image.fromarray((127.5 + 110 * waves).round().astype(np.uint8))
    small = shrink(photo, 200)
    assert small.size == (222, 200)
    exact = np.asarray(photo.resize(small.size, Image.Resampling.BICUBIC)).astype(int)
    assert abs(np.asarray(small) - exact).mean() < 0.6
