"What a check of a set counts and says."
import io

import datasets
import pytest
from PIL import Image

from imgcap.data import describe_captions, load_captions

datasets.disable_progress_bars()


def table(captions, **columns):
    def png(n):
        Image.new("RGB", (24, 16), (n, 40, 40)).save(file := io.BytesIO(), "PNG")
        return {"bytes": file.getvalue(), "path": None}
    ds = datasets.Dataset.from_dict({"image": [png(i) for i in range(len(captions))],
                                     "captions": captions, **columns})
    return ds.cast_column("image", datasets.Image())


@pytest.mark.parametrize("token", ["[SEP]", "<s>", "</s>", "[PAD]", "<|endoftext|>", "<unk>",
                                   "<pad>", "[CLS]", "<image>", "[sep]", "<|im_end|>", "<sos>",
                                   "<end>", "<extra_id_0>", "[/INST]", "<end_of_utterance>"])
def test_special_tokens_are_counted_and_shown(token):
    report = describe_captions(load_captions(table([["a dog"], [f"a cat {token}", "a pet"],
                                                    ["a house"]])))
    assert any(w.startswith("1 caption with special tokens of a model: train-1 (train): 'a cat")
               for w in report.warnings)
    assert not report.problems


@pytest.mark.parametrize("caption", ["a < b > c", "3 <s 4", "[a separate line]", "the <b>sign</b>",
                                     "|a|b|"])
def test_what_is_no_special_token_is_none(caption):
    report = describe_captions(load_captions(table([[caption]])))
    assert not any("special" in w for w in report.warnings)


@pytest.mark.parametrize("caption, language",
                         [("|", None), ("||", None), ("!", None), ("...", None), ("。", "zh"),
                          ("!", "de")])
def test_captions_without_words_are_counted_and_shown(caption, language):
    report = describe_captions(load_captions(table([["a dog"], [caption]]), language=language))
    assert any(w.startswith(f"1 caption with no words: train-1 (train): {caption!r}")
               for w in report.warnings)


def test_numbers_and_names_of_files_are_shown():
    warned = " ".join(describe_captions(load_captions(table([["42"], ["1 2"], ["dog.jpg"],
                                                             ["2 dogs"]]))).warnings)
    assert "2 captions with nothing but numbers: train-0" in warned
    assert "1 caption with the name of a file: train-2" in warned


def test_words_are_counted_in_the_language_of_the_set():
    chinese = table([["一只猫坐在垫子上。"]])
    report = describe_captions(load_captions(chinese, language="zh"))
    assert report.splits["train"]["words"] == (8, 8, 8) and not report.warnings
    doubt = describe_captions(load_captions(chinese)).warnings
    assert len(doubt) == 1 and "say language='zh'" in doubt[0]
    english = describe_captions(load_captions(table([["A man's dog, running!"]])))
    assert english.splits["train"]["words"] == (5, 5, 5)  # man 's, as the COCO caption code has it


def test_a_set_of_two_languages_is_a_problem():
    ds = table([["a"], ["b"]], image_id=["1", "2"], language=["en", "zh"])
    assert any("holds en, zh" in p for p in describe_captions(ds).problems)


def test_pictures_that_are_the_same_damaged_or_gone(tmp_path):
    for i in range(4):
        for split in "train", "test":
            (tmp_path / split).mkdir(exist_ok=True)
            Image.new("RGB", (24, 24), (i * 9, 3, len(split))).save(tmp_path / split / f"{i}.png")
            (tmp_path / split / f"{i}.txt").write_text(f"dot {i} of {split}")
    ds = load_captions(tmp_path)
    assert not describe_captions(ds).problems and not describe_captions(ds).warnings
    folder = tmp_path / "train"
    (folder / "0.png").write_bytes((tmp_path / "test" / "1.png").read_bytes())
    (folder / "1.png").write_bytes((folder / "2.png").read_bytes()[:50])
    (folder / "3.png").unlink()
    (folder / "2.png").write_bytes(b"")
    report = describe_captions(ds)
    assert report.leaks == [[("train", "train/0.png"), ("test", "test/1.png")]]
    assert list(report.missing) == [("train", "train/3.png")] and len(report.unreadable) == 2
    assert report.unreadable["train", "train/2.png"] == "the file is empty"
    assert len(report.problems) == 3 and len(report.warnings) == 1
    assert report.problems[0].startswith("1 different picture for train, validation")
    assert len(describe_captions(ds, decode=False).unreadable) == 1
    assert "<table>" in report._repr_html_() and "problem: " in str(report)


def test_the_same_picture_twice_in_one_split_is_no_leak(tmp_path):
    for split, names in {"train": "aab", "test": "c"}.items():
        (tmp_path / split).mkdir()
        for i, name in enumerate(names):
            picture = Image.new("RGB", (24, 24), (ord(name), 3, 3))
            picture.save(tmp_path / split / f"{i}.png")
            (tmp_path / split / f"{i}.txt").write_text(f"dot {i} of {split}")
    report = describe_captions(load_captions(tmp_path))
    assert report.duplicates == [[("train", "train/0.png"), ("train", "train/1.png")]]
    assert report.leaks == [] and not any("more than one split" in p for p in report.problems)


def test_rows_that_are_no_captions_of_ours():
    assert describe_captions(datasets.Dataset.from_dict({"x": [1]})).problems
    ds = load_captions(table([["a"], ["b"], ["c"]]))["train"]
    assert describe_captions(ds.select([])).problems == [
        "split train is empty; add pictures, or leave it out"]
    odd = ds.map(lambda row: {"image_id": "same", "captions": [""]})
    assert len(describe_captions(odd).problems) == 2
    assert describe_captions(ds.to_iterable_dataset()).splits["train"]["pictures"] == 3
    assert "there is no train split" in describe_captions(datasets.DatasetDict(test=ds)).warnings
    lost = describe_captions(datasets.DatasetDict(test=ds, validation=ds)).problems
    assert lost[0].startswith("there is no train split to learn from, only: test, validation")


@pytest.mark.parametrize("n, splits", [(1, ["train"]), (2, ["train"]), (2, ["test"]),
                                       (1, ["train", "test"]), (1, ["train", "validation"])])
def test_too_few_pictures_to_split_are_a_problem(n, splits):
    "Each split takes one; the same picture twice is one."
    rows = load_captions(table([["a"], ["b"], ["c"]]))["train"]
    whole = dict.fromkeys(splits, rows)
    assert not describe_captions(whole).problems
    for taken in range(n), [*range(n), n - 1]:
        small = rows.select(taken).remove_columns("image_id").add_column(
            "image_id", [str(i) for i in range(len(taken))])
        problem, = describe_captions({**whole, splits[0]: small}).problems
        assert problem.startswith(f"{n} different picture")
        assert problem.endswith(f"add {3 - n - (len(splits) > 1)} or more"), problem


def test_three_numbers_have_a_legend_and_equal_ones_are_one():
    report = describe_captions(load_captions(table([["a dog"], ["a red dog"], ["an old red dog"]])))
    lines = str(report).splitlines()
    assert "words                 2 / 3 / 4" in lines and "width                 24" in lines
    assert "a / b / c is least / median / most" in lines and "/ most</p>" in report._repr_html_()
    same = describe_captions(load_captions(table([["a dog"]] * 3)))
    assert "a / b / c" not in str(same)


def test_what_a_loader_noted_is_in_the_report_and_outlives_a_split():
    from imgcap.data import split_captions
    with pytest.warns(UserWarning, match="left out empty captions: 1"):
        ds = load_captions(table([["a b", " "], *([f"x {i}"] for i in range(60))]))
    report = describe_captions(split_captions(ds))
    assert report.left_out == {"empty captions": [1, "train-0"]}
    assert "left out when loading, empty captions: 1 (train-0)" in report.warnings


def test_one_is_not_told_as_many():
    "A message about one row, picture or caption is a sentence; about two it is another."
    rows = load_captions(table([["a dog"], ["a cat"], ["an owl"], ["a fox"]]))["train"]
    images = rows.cast_column("image", datasets.Image(decode=False))["image"][:]
    for lost in 1, 2:
        broken = [{"bytes": b"%d" % i, "path": f"{i}.png"} for i in range(lost)]
        same = [images[-1]] * (lost + 1) + [images[-2]] * (lost > 1) * 2
        captions = [["a dog"]] * len(broken + same)
        captions[:lost] = [[""]] * lost
        ids = [f"{i}" for i in range(len(captions))]
        ids[-lost:] = ids[:lost]
        made = datasets.Dataset.from_dict({"image": broken + same, "captions": captions,
                                           "image_id": ids})
        report = describe_captions({"train": made.cast_column("image", datasets.Image())})
        said = "; ".join(report.problems + report.warnings)
        few = ("1 picture cannot be", "1 image_id is not", "1 row has no",
               "1 picture is in a split")
        many = ("2 pictures cannot be", "2 image_ids are not", "2 rows have no",
                "2 pictures are in a split")
        for part in few if lost == 1 else many: assert part in said
