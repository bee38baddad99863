"Sets of pictures and captions from every layout: what is read, what is left out and said, what is refused."
import io
import warnings

import datasets
import pytest
from PIL import Image

from imgcap.data import caption_language, load_captions

datasets.disable_progress_bars()


def png(colour=(200, 30, 30), size=(24, 16)):
    "A small picture as the bytes of a file."
    Image.new("RGB", size, colour).save(file := io.BytesIO(), "PNG")
    return file.getvalue()


def table(n=3, **columns):
    "A dataset of pictures with any columns beside them."
    columns = columns or {"text": [f"picture {i}" for i in range(n)]}
    pictures = [{"bytes": png((i, 40, 40)), "path": None} for i in range(n)]
    ds = datasets.Dataset.from_dict({"image": pictures, **columns})
    return ds.cast_column("image", datasets.Image())


@pytest.fixture
def place(tmp_path, monkeypatch):
    "An empty folder, which is the current one."
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --- the language of a set

def test_a_set_that_does_not_say_its_language_is_english():
    ds = load_captions(table())
    assert caption_language(ds) == caption_language(ds["train"]) == "en"
    assert "language" not in ds["train"].column_names


def test_a_language_is_written_and_outlives_what_is_done_to_a_set(place):
    ds = load_captions(table(4), language="zh")["train"]
    ds.save_to_disk("saved")
    ds.to_parquet("set.parquet")
    kept = [ds, ds.select([1, 2]), ds.map(lambda row: {"more": 1}), load_captions("saved"),
            load_captions("set.parquet"), load_captions("set.parquet", streaming=True),
            ds.to_iterable_dataset(), list(ds), datasets.DatasetDict(train=ds, test=ds)]
    assert [caption_language(rows) for rows in kept] == ["zh"] * len(kept)


@pytest.mark.parametrize("streaming", [False, True])
def test_a_language_of_a_source_stays_unless_another_is_said(streaming):
    ds = table(3).add_column("language", ["pt-BR"] * 3)
    assert caption_language(load_captions(ds, streaming=streaming)) == "pt-BR"
    assert caption_language(load_captions(ds, streaming=streaming, language="ne")) == "ne"
    if streaming: ds = ds.to_iterable_dataset()
    told = load_captions(ds, language="ne", streaming=streaming)["train"]
    assert {row["language"] for row in told} == {"ne"}
    assert next(iter(told))["image"].size == (24, 16)


def test_a_stream_is_given_a_language():
    told = load_captions(table(3).to_iterable_dataset(), language="th")["train"]
    assert [row["language"] for row in told] == ["th"] * 3


def test_two_languages_in_a_set_are_refused_by_name():
    ds = table(3).add_column("language", ["en", "zh", "en"])
    for language in None, "en":
        with pytest.raises(ValueError, match="language holds en, zh: a set has one language"):
            load_captions(ds, language=language)
    with pytest.raises(ValueError, match="en, zh"): caption_language(ds)
    with pytest.raises(ValueError, match="one language"):
        list(load_captions(ds.to_iterable_dataset())["train"])
    splits = datasets.DatasetDict(train=table(2).add_column("language", ["en"] * 2),
                                  test=table(2).add_column("language", ["de"] * 2))
    with pytest.raises(ValueError, match="en, de"): load_captions(splits)


@pytest.mark.parametrize("values", [["Python", "Java"], ["Python", "Python"]])
def test_a_column_language_that_means_something_else_is_kept_under_another_name(values):
    with pytest.warns(UserWarning, match="Python.*language_in_source"):
        ds = load_captions(table(2).add_column("language", values))["train"]
    assert caption_language(ds) == "en" and ds["language_in_source"][:] == values


def test_an_empty_column_language_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = load_captions(table(2).add_column("language", [None, ""]))
    assert caption_language(ds) == "en"


def test_what_is_no_language_is_refused():
    with pytest.raises(ValueError, match="language is 'chinese'"):
        load_captions(table(), language="chinese")
    with pytest.raises(ValueError, match="'Chinese'.*no language tag"):
        caption_language([{"captions": ["x"], "language": "Chinese"}])
