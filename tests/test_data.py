"Sets from every layout: what is read, what is left out and said, what is refused."
import csv
import hashlib
import io
import json
import os
import posixpath
import re
import subprocess
import sys
import tarfile
import unicodedata
import urllib.parse
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import datasets
import pytest
from datasets.distributed import split_dataset_by_node
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from servers import serving

from imgcap.data import (
    caption_language, decode_image, describe_captions, keep_encoded, load_captions,
    offline_if_unreachable)
from imgcap.data.texts import clean_texts, flagged

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


# --- what is written in a caption file

def picture_folder(folder, names):
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(png((i, 90, 90)))


@pytest.fixture
def pictures(place):
    "A folder with the pictures a.jpg to f.jpg; caption files are written beside it."
    picture_folder(place / "pictures", [f"{c}.jpg" for c in "abcdef"])
    return place / "pictures"


def read(name, text, **options):
    "`{image_id: captions}` of a caption file, and what was said about it."
    path = Path(name)
    if isinstance(text, bytes): path.write_bytes(text)
    else: path.write_text(text if isinstance(text, str) else json.dumps(text), newline="")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ds = load_captions(path, images="pictures", **options)
    said = " ".join(str(w.message) for w in caught)
    rows = {row["image_id"]: row["captions"] for part in ds.values() for row in keep_encoded(part)}
    checked = " ".join(describe_captions(ds).warnings)
    assert not said or said.split(" ", 2)[1] in ("left", "lists", "captions", "rows", "words",
                                                 "numbers", "tags")
    return rows, said, checked


LISTS = ["['a red circle', 'there is a red circle']", '["a red circle", "there is a red circle"]',
         "['a red circle'\n 'there is a red circle']", "('a red circle', 'there is a red circle')",
         '[\'a red circle\', "there is a red circle"]',
         "[{'raw': 'a red circle'}, {'raw': 'there is a red circle'}]",
         '[{"caption": "a red circle"}, {"caption": "there is a red circle"}]']


@pytest.mark.parametrize("cell", LISTS)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_a_list_written_into_a_cell_is_read_as_a_list(pictures, cell, kind):
    if kind == "csv":
        csv.writer(file := io.StringIO()).writerows([["image", "caption"], ["a.jpg", cell],
                                                     ["b.jpg", "a dog"]])
        rows, said, checked = read("x.csv", file.getvalue())
        assert "line 2" in said and "line 2" in checked
    elif kind == "parquet":
        with pytest.warns(UserWarning, match="lists written into a cell.*row 0"):
            ds = load_captions(table(2, caption=[cell, "a dog"]))["train"]
        rows = {"a.jpg": ds[0]["captions"]}
    else:
        lines = [{"image": "a.jpg", "caption": cell}, {"image": "b.jpg", "caption": "a dog"}]
        rows, said, checked = read(f"x.{kind}", lines if kind == "json"
                                   else "\n".join(map(json.dumps, lines)))
        assert "lists written into a cell, read as lists: 1" in said and "a red circle" in checked
    assert rows["a.jpg"] == ["a red circle", "there is a red circle"]


@pytest.mark.parametrize("text", ["[a red circle]", "(a red circle)", "[1, 2]", "a ['red'] circle",
                                  '"a circle"'])
def test_what_is_no_list_stays(pictures, text):
    rows, said, _ = read("x.json", [{"image": "a.jpg", "caption": text}])
    assert rows == {"a.jpg": [text]} and not said


@pytest.mark.parametrize("text", ["['it's a circle']", "['a', 3]", "{'a': 'circle'}"])
def test_what_looks_like_a_list_and_is_none_is_shown(pictures, text):
    rows, said, checked = read("x.json", [{"image": "a.jpg", "caption": text}])
    assert rows == {"a.jpg": [text]}
    assert "look like a list: 1 (entry 1" in said and "look like a list" in checked


@pytest.mark.parametrize("cell", ["nan", "NaN", "None", "null", "NULL", "NA", "N/A", "<NA>",
                                  "#N/A"])
def test_cells_that_stand_for_nothing_are_no_captions(pictures, cell):
    text = f"image,caption\na.jpg,a dog\nb.jpg,{cell}\n{cell},a ghost\n"
    rows, said, checked = read("x.csv", text)
    assert rows == {"a.jpg": ["a dog"]}
    for part in "cells that stand for nothing: 1 (line 3", "rows without a picture: 1 (line 4)":
        assert part in said and part in checked
    with pytest.warns(UserWarning): ds = load_captions(table(2, caption=["a dog", cell]))
    assert ds["train"]["captions"][:] == [["a dog"]]


def test_nan_in_json_is_an_empty_cell(pictures):
    text = '[{"image": "a.jpg", "caption": "x y"}, {"image": "b.jpg", "caption": NaN}]'
    rows, said, _ = read("x.json", text)
    assert rows == {"a.jpg": ["x y"]} and "without a caption: 1" in said


@pytest.mark.parametrize("text", ["image,caption\na.jpg,a red circle,,\nb.jpg,a dog\n",
                                  "image,caption,,\na.jpg,a red circle,,\nb.jpg,a dog,,\n",
                                  "a.jpg,a red circle,,\nb.jpg,a dog\n"])
def test_empty_cells_at_the_end_are_dropped(pictures, text):
    assert read("x.csv", text)[0] == {"a.jpg": ["a red circle"], "b.jpg": ["a dog"]}


def test_commas_of_a_sentence_that_nobody_quoted_are_joined_and_said(pictures):
    rows, said, checked = read("x.csv", "image,caption\na.jpg,a dog, red, on grass\nb.jpg,a dog\n")
    assert rows["a.jpg"] == ["a dog, red, on grass"]
    assert "separator in them, joined: 1 (line 2" in said and "line 2" in checked


@pytest.mark.parametrize("text", [
    "image,caption\na.jpg,a dog,train\n", "image,caption\na.jpg,more than 1,000 dogs\n",
    "image, caption\na.jpg, a dog, train\n", "image,caption,author\na.jpg,a dog, red,Ada\n",
    "image,caption,author\na.jpg,a dog, red, Ada\n", 'image,caption\na.jpg,"a dog", red\n'])
def test_cells_without_a_column_are_refused_with_their_line(pictures, text):
    with pytest.raises(ValueError, match=r"x\.csv: line 2 has [34] cells, the header [23]"):
        read("x.csv", text)


@pytest.mark.parametrize("text", [
    'image,caption\na.jpg,"big dog\nb.jpg,a dog\nc.jpg,a house"\nd.jpg,x\n',
    'image;caption\na.jpg;"big dog\nb.jpg;a dog"\n', 'a.jpg,"big dog\nb.jpg,a dog"\nc.jpg,x\n',
    'caption,image\n"big dog,a.jpg\na dog",b.jpg\n',
                                  'image\tcaption\r\na.jpg\t"big dog\r\nb.jpg\ta dog"\r\n'])
def test_a_quote_that_swallows_rows_is_refused_with_its_line(pictures, text):
    with pytest.raises(ValueError, match=r"line [12]: a quote opens a cell that holds later rows"):
        read("x.csv", text)


def test_a_damaged_quote_in_a_quoted_file_is_refused_with_its_line(pictures):
    with pytest.raises(ValueError, match="line 3: .*a quote in a quoted cell is written twice"):
        read("x.csv", 'image,caption\na.jpg,"a dog, red"\nb.jpg,"a "big" dog"\n')


def test_a_caption_of_several_lines_is_read(pictures):
    rows, _, _ = read("x.csv", 'image,caption\na.jpg,"one\ntwo, three"\n')
    assert rows == {"a.jpg": ["one\ntwo, three"]}


@pytest.mark.parametrize("text", ["a red circle,a.jpg\na dog,b.jpg\n",
                                  "caption,image\na red circle,a.jpg\na dog,b.jpg\n",
                                  "a.jpg,a red circle\nb.jpg,a dog\n"])
def test_the_column_of_the_pictures_is_told_by_what_is_in_it(pictures, text):
    assert read("x.csv", text)[0] == {"a.jpg": ["a red circle"], "b.jpg": ["a dog"]}


KARPATHY = {"images": [{"filename": "a.jpg", "split": "train", "sentences": [{"raw": "a dog"}]}]}
COCO = {"images": [{"id": 1, "file_name": "a.jpg"}],
        "annotations": [{"image_id": 1, "caption": "a dog"}]}


@pytest.mark.parametrize("column", ["image_column", "caption_column"])
@pytest.mark.parametrize("layout", ["folder", "creatures:2", KARPATHY, COCO, {"a.jpg": "a dog"}])
def test_a_column_is_not_chosen_in_vain(pictures, layout, column):
    if layout == "folder":
        (pictures / "a.txt").write_text("a dog")
        layout = str(pictures)
    elif isinstance(layout, dict):
        (pictures / "x.json").write_text(json.dumps(layout))
        layout = str(pictures / "x.json")
    if layout != "creatures:2":  # which takes long to draw
        with warnings.catch_warnings(action="ignore"): load_captions(layout)
    with pytest.raises(ValueError, match=f"no column 'zz': .* leave {column}= away"):
        load_captions(layout, **{column: "zz"})


def test_a_column_may_be_called_as_it_is(pictures):
    named = {"image_column": "file_name", "caption_column": "caption"}
    assert read("x.json", json.dumps(COCO), **named)[0] == {"1": ["a dog"]}


def test_captions_are_not_in_the_column_of_the_pictures(pictures):
    with pytest.raises(ValueError, match="'image' holds the pictures"):
        read("x.csv", "image,caption\na.jpg,a dog\n", caption_column="image")
    with pytest.raises(ValueError, match=r"holds names of pictures \(b.jpg\)"):
        read("x.csv", "image,other,text\na.jpg,b.jpg,a dog\n", image_column="image",
             caption_column="other")
    with pytest.raises(ValueError, match="'image' holds the pictures"):
        load_captions(table(2), caption_column="image")
    with pytest.raises(ValueError, match="names of pictures"):
        load_captions(table(2, text=["a dog", "b"], file=["a.jpg", "b.jpg"]), caption_column="file")


@pytest.mark.parametrize("caption", [["a", "red", "circle"], [["a", "red", "circle"]]])
def test_words_of_one_caption_are_joined_and_said(pictures, caption):
    rows, said, _ = read("x.json", [{"image": "a.jpg", "caption": caption}])
    assert rows == {"a.jpg": ["a red circle"]}
    if isinstance(caption[0], str): assert "words joined to a caption: 1 (entry 1" in said


def test_single_words_that_may_be_captions_are_kept_and_shown(pictures):
    rows, said, checked = read("x.json", {"a.jpg": ["dog", "pet"], "b.jpg": ["一只猫", "猫"]})
    assert rows == {"a.jpg": ["dog", "pet"], "b.jpg": ["一只猫", "猫"]}
    assert "lists of single words, each taken for a caption: 1" in said
    assert "['dog', 'pet']" in checked


@pytest.mark.parametrize("captions", [["一只猫", "猫"], ["แมว", "หมา"], ["ㄅㄆㄇ", "ㄅㄆ"],
                                      ["𠀀𠀁", "𠀂"], ["ｶﾞ", "ﾈｺ"], ["ខ្មែរ", "ឆ្មា"]])
def test_a_caption_without_spaces_is_no_single_word(pictures, captions):
    rows, said, _ = read("x.json", {"a.jpg": captions})
    assert rows == {"a.jpg": captions} and "single words" not in said


@pytest.mark.parametrize("data", [{"image": ["a.jpg"], "caption": ["a dog"]},
                                  {"one": ["a", "b"], "two": ["c"]},
                                  {"image": {"0": "a.jpg"}, "caption": {"0": "a dog"}}])
def test_an_object_whose_keys_are_no_pictures_is_refused(pictures, data):
    with pytest.raises(ValueError, match="keys .* name no pictures; write a list of rows"):
        read("x.json", data)


@pytest.mark.parametrize("flag", ["is_rejected", "is_precanned"])
def test_captions_that_are_marked_as_none_are_left_out(pictures, flag):
    notes = [{"image_id": 1, "caption": "a dog", flag: False},
             {"image_id": 1, "caption": "Quality issues", flag: True}]
    rows, said, checked = read("x.json", {"images": [{"id": 1, "file_name": "a.jpg"}],
                                          "annotations": notes})
    assert rows == {"1": ["a dog"]} and f"captions marked {flag}: 1" in said and flag in checked
    notes = [{"image": "a.jpg"} | note for note in notes]
    assert read("x.json", notes)[0] == {"a.jpg": ["a dog"]}
    with pytest.warns(UserWarning, match=flag):
        ds = load_captions(table(2, caption=["a dog",
                                             "Quality issues"]).add_column(flag, [False, True]))
    assert ds["train"]["captions"][:] == [["a dog"]]
    stream = table(2, caption=["a dog", "Quality issues"]).add_column(flag,
                                                                      [0, 1]).to_iterable_dataset()
    assert [row["captions"] for row in load_captions(stream)["train"]] == [["a dog"]]


def test_a_number_is_a_caption_where_its_column_holds_text(pictures):
    rows, said, _ = read("x.json", [{"image": "a.jpg", "caption": "a dog"},
                                    {"image": "b.jpg", "caption": 42}])
    assert rows["b.jpg"] == ["42"] and "numbers read as text: 1 (entry 2: 42)" in said
    assert read("x.csv", "image,caption\na.jpg,42\n")[0] == {"a.jpg": ["42"]}
    with pytest.raises(ValueError, match="x.json"):
        read("x.json", [{"image": "a.jpg", "caption": 42}])
    with pytest.raises(ValueError, match="entry 2: a caption must be text, found bool True"):
        read("x.json", [{"image": "a.jpg", "caption": "x"}, {"image": "b.jpg", "caption": True}])


# --- encodings and lines

@pytest.mark.parametrize("name", ["x.csv", "x.jsonl", "x.json", "x.txt"])
def test_another_encoding_is_refused_and_named(pictures, name):
    text = {"x.csv": "image,caption\na.jpg,café\n", "x.txt": "a.jpg\tcafé\n"}.get(
        name, '{"image": "a.jpg", "caption": "café"}\n')
    with pytest.raises(ValueError, match=f"{name}: line [12] is not UTF-8.*save it as UTF-8"):
        read(name, text.encode("latin-1"))
    for encoding in "utf-16", "utf-16-le", "utf-16-be":
        with pytest.raises(ValueError, match=f"{name}: UTF-16"): read(name, text.encode(encoding))


def test_a_mark_at_the_start_and_blank_lines_are_no_text(pictures):
    line = '{"image": "a.jpg", "caption": "a dog"}'
    texts = {"x.jsonl": f"\ufeff{line}\r\n\r\n", "x.json": f"\ufeff[{line}]",
             "x.csv": "\ufeffimage,caption\na.jpg,a dog\n\n"}
    for name, text in texts.items():
        assert read(name, text)[0] == {"a.jpg": ["a dog"]}


@pytest.mark.parametrize("odd", ["\u2028", "\x85", "\x0b", "\x1c"])
def test_a_line_ends_at_a_line_end_alone(pictures, odd):
    text = f"one {odd} caption"
    line = json.dumps({"image": "a.jpg", "caption": text}, ensure_ascii=False)
    for name, content in ("x.jsonl", line), ("x.csv", f"image,caption\na.jpg,{text}\n"):
        assert read(name, content)[0] == {"a.jpg": [text]}
    (pictures / "a.txt").write_text(text)
    with pytest.warns(UserWarning, match="left out"):
        assert load_captions("pictures")["train"]["captions"][:] == [[text]]


# --- more layouts

@pytest.mark.parametrize("text", ["x.txt", "x.jpg.txt", "x.caption", "x.jpg.caption", "x.cap"])
def test_sidecars_of_every_kind(place, text):
    (place / "x.jpg").write_bytes(png())
    (place / text).write_text("a dog\na pet\n")
    assert load_captions(place)["train"]["captions"][:] == [["a dog", "a pet"]]


@pytest.mark.parametrize("trees", [("images", "text"), ("images", "captions"), ("img", "labels"),
                                   ("photos", "txt"),
                                   ("train/images", "train/labels"), ("Images", "Captions")])
def test_a_second_tree_of_texts(place, trees):
    for i in "12": picture_folder(place, [f"{trees[0]}/a/{i}.jpg"])
    for i in "12":
        (place / trees[1] / "a").mkdir(parents=True, exist_ok=True)
        (place / trees[1] / "a" / f"{i}.txt").write_text(f"dog {i}")
    assert load_captions(place)["train"]["captions"][:] == [["dog 1"], ["dog 2"]]


def test_boxes_of_a_detector_are_no_captions(place):
    picture_folder(place, ["images/1.jpg"])
    (place / "labels").mkdir()
    (place / "labels/1.txt").write_text("0 0.51 0.43 0.2 0.1\n")
    with pytest.raises(ValueError, match=r"labels/1.txt: numbers .*no captions"):
        load_captions(place)


def test_kohyas_objects(pictures):
    data = {"a.jpg": {"caption": "a dog", "tags": "dog, 1girl"},
            str(pictures / "b.jpg"): {"tags": "cat, grass"}}
    rows, said, _ = read("x.json", data)
    assert rows == {"a.jpg": ["a dog"], "b.jpg": ["cat, grass"]}
    assert "tags taken for a caption: 1" in said


@pytest.mark.parametrize("key", ["image", "file_name", "filename"])
def test_annotations_without_a_list_of_pictures(pictures, key):
    data = {"annotations": [{key: "a.jpg", "caption": "one"}, {key: "a.jpg", "caption": "two"}]}
    assert read("x.json", data)[0] == {"a.jpg": ["one", "two"]}


def test_annotations_with_a_number_for_a_picture(place):
    picture_folder(place / "pictures", ["COCO_val_000000000042.jpg", "COCO_val_000000000007.jpg"])
    data = {"annotations": [{"id": 1, "image_id": 42, "caption": "a dog"},
                            {"id": 2, "image_id": 7, "caption": "a cat"}]}
    rows, _, _ = read("x.json", data)
    assert list(rows.values()) == [["a dog"], ["a cat"]]


@pytest.mark.parametrize("turns", [
    [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "<image> a dog"}],
    [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "a dog"}],
    [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]},
     {"role": "assistant", "content": [{"type": "text", "text": "a dog"}]}]])
def test_a_talk_about_a_picture(pictures, turns):
    key = "conversations" if "from" in turns[0] else "messages"
    later = [*turns, *turns]
    rows, said, _ = read("x.json", [{"id": "1", "image": "a.jpg", key: turns},
                                    {"id": "2", key: turns},
                                    {"id": "3", "images": ["b.jpg"], "image": "b.jpg", key: later}])
    assert rows == {"a.jpg": ["a dog"], "b.jpg": ["a dog"]}
    assert "rows without a picture: 1 (entry 2)" in said
    assert "later answers of a talk: 1 (entry 3)" in said


def test_a_talk_in_a_table():
    turns = [[{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": f"a dog {i}"}]
             for i in range(2)]
    rows = load_captions(table(2, conversations=turns))["train"]
    assert rows["captions"][:] == [["a dog 0"], ["a dog 1"]]


def test_names_without_their_ending(place):
    picture_folder(place / "pictures", ["0001.jpg", "0002.png", "0003.jpg", "0003.png"])
    rows, _, _ = read("x.csv", "id,caption\n0001,a dog\n0002,a cat\n")
    assert rows == {"0001": ["a dog"], "0002": ["a cat"]}
    assert len(read("x.csv", "image,caption\n0001,a dog\n", image_column="image")[0]) == 1
    with pytest.raises(ValueError, match="'0003' could be 0003.jpg, 0003.png"):
        read("x.csv", "id,caption\n0001,a dog\n0003,a cat\n")


def test_absolute_names_inside_the_folder(pictures, monkeypatch):
    monkeypatch.setenv("HOME", str(pictures.parent))
    assert read("x.csv", f"image,caption\n{pictures}/a.jpg,a dog\n~/pictures/b.jpg,a cat\n")[0] == {
        "a.jpg": ["a dog"], "b.jpg": ["a cat"]}


def test_names_that_leave_the_folder_are_refused(pictures):
    picture_folder(pictures.parent, ["own/0.png"])
    for name in "../own/0.png", f"{pictures.parent}/own/0.png", "/etc/passwd.png":
        with pytest.raises(ValueError, match=r"x\.csv: .*picture folder"):
            read("x.csv", f"image,caption\n{name},x\n")


def test_pictures_behind_addresses_are_not_fetched(pictures):
    with pytest.raises(ValueError, match="addresses .*img2dataset"):
        read("x.csv", "image,caption\nhttp://127.0.0.1/a.jpg,a dog\n")
    rows, said, _ = read("x.csv", "image,caption\na.jpg,a dog\nhttp://127.0.0.1/a.jpg,a dog\n")
    assert rows == {"a.jpg": ["a dog"]} and "http://127.0.0.1/a.jpg" in said


@pytest.mark.parametrize("name, does", [("set.zip", "unpack it"), ("set.xlsx", "save it as CSV"),
                                        ("set.tgz", "unpack it")])
def test_files_that_cannot_be_read_say_what_would_do(place, name, does):
    (place / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(ValueError, match=f"{name} .*{does}"): load_captions(name)
    (place / "folder").mkdir()
    (place / "folder" / name).write_bytes(b"PK\x03\x04")
    with pytest.raises(FileNotFoundError, match=f"{name} .*{does}"): load_captions("folder")
    picture_folder(place, ["folder/a.jpg"])
    with pytest.raises(ValueError, match=f"no captions.*{name} .*{does}"): load_captions("folder")
    with pytest.raises(FileNotFoundError, match="no such"): load_captions(f"nowhere/{name}")


def add_member(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def test_a_shard_with_several_kinds_of_pictures(place):
    kinds = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
    with tarfile.open("shard.tar", "w") as tar:
        for i, (suffix, kind) in enumerate(kinds.items()):
            Image.new("RGB", (8 + i, 8)).save(file := io.BytesIO(), kind)
            add_member(tar, f"deep/{i:03}.{suffix}", file.getvalue())
            if i % 2: add_member(tar, f"deep/{i:03}.txt", f"picture {i}".encode())
            else: add_member(tar, f"deep/{i:03}.json", b'{"caption": "picture %d"}' % i)
        add_member(tar, "deep/009.txt", b"no picture")
    with pytest.warns(UserWarning, match="shard.tar left out 1 sample "):
        rows = list(load_captions("shard.tar")["train"])
    sizes = [(row["image"].size[0], row["captions"]) for row in rows]
    assert sizes == [(8 + i, [f"picture {i}"]) for i in range(4)]
    assert len({row["image_id"] for row in rows}) == 4


# --- splits that names say

def test_a_file_or_folder_that_says_its_split_has_it(pictures):
    rows = "image,caption\na.jpg,a dog\nb.jpg,a cat\n"
    for name, split in (("captions_val2017.csv", "validation"), ("test.csv", "test"),
                        ("latest.csv", "train"),
                        ("train_and_test.csv", "train"), ("dev-set.csv", "validation")):
        Path(name).write_text(rows)
        assert list(load_captions(name, images="pictures")) == [split], name
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}],
            "annotations": [{"image_id": 1, "caption": "x y"}]}
    Path("captions_val.json").write_text(json.dumps(coco))
    assert list(load_captions("captions_val.json", images="pictures")) == ["validation"]
    (pictures / "metadata.csv").write_text(rows.replace("image", "file_name"))
    pictures.rename("val")
    with pytest.warns(UserWarning, match="left out"):
        assert list(load_captions("val")) == ["validation"]
    table(2).to_parquet("test-00000-of-00001.parquet")
    assert list(load_captions("test-00000-of-00001.parquet")) == ["test"]
    Path("test.csv").write_text("image,caption,split\na.jpg,x,train\n")
    assert list(load_captions("test.csv", images="val")) == ["train"]


def test_what_is_the_same_in_all_rows_of_a_picture_is_kept(pictures):
    Path("x.csv").write_text("image,caption,author,number,language\na.jpg,un chien,Ada,1,fr\n"
                             "a.jpg,un animal,Ada,2,fr\nb.jpg,un chat,,3,fr\n")
    rows = load_captions("x.csv", images="pictures")["train"]
    assert rows["author"][:] == ["Ada", None] and "number" not in rows.column_names
    assert caption_language(rows) == "fr"
    Path("x.csv").write_text("image,caption,language\na.jpg,un chien,fr\na.jpg,a dog,en\n")
    with pytest.raises(ValueError, match="several languages"):
        load_captions("x.csv", images="pictures")


def test_the_package_reads_data_without_torch():
    code = ("import sys, imgcap.data, imgcap.data.splits, imgcap.data.checks; "
            "print('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True,
                          text=True).stdout == "False\n"


# --- layouts and formats, letter for letter

HARD = 'A "big" ball, red'
DIALECTS = {
    "kaggle.csv": 'image,caption\na.jpg,"A ""big"" ball, red"\na.jpg,A ball\n',
    "no_header.csv": 'a.jpg,A "big" ball, red\na.jpg,A ball\n',
    "excel.csv": '\ufeffimage;caption\r\na.jpg;"A ""big"" ball, red"\r\na.jpg;A ball\r\n',
    "Flickr8k.token.txt": 'a.jpg#0\tA "big" ball, red\na.jpg#1\tA ball\n',
    "flickr30k.csv": 'image_name| comment_number| comment\na.jpg| 0| A "big" ball, red\n'
                     'a.jpg| 1| A ball\n',
    "numbered.tsv": 'file\tcaption_0\tcaption_1\na.jpg\tA "big" ball, red\tA ball\n',
    "rows.jsonl": '{"image": "a.jpg", "caption": "A \\"big\\" ball, red"}\n'
                  '{"image": "a.jpg", "caption": "A ball"}\n',
    "lists.jsonl": '{"file_name": "./a.jpg", "captions": ["A \\"big\\" ball, red", "A ball"]}\n',
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialects_say_the_same(pictures, name):
    assert read(name, DIALECTS[name])[0] == {"a.jpg": [HARD, "A ball"]}


def test_quotes_of_a_file_without_quoting_are_letters(pictures):
    text = 'a.jpg#0\t"Big" red ball\na.jpg#1\t"A ball\nb.jpg#0\tA house"\n'
    assert read("x.token.txt", text)[0] == {
        "a.jpg": ['"Big" red ball', '"A ball'], "b.jpg": ['A house"']}
    rows, _, _ = read("x.tsv", 'image\tcaption\na.jpg\t"tab\there\nand line"\n')
    assert rows == {"a.jpg": ["tab\there\nand line"]}


def test_rows_with_too_few_cells_are_left_out_by_line(pictures):
    rows, said, _ = read("x.csv", "image,caption\na.jpg,a\nb.jpg\n")
    assert rows == {"a.jpg": ["a"]} and "rows with too few cells: 1 (line 3)" in said


def separated(rows, separator, line_end):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=separator,
               lineterminator=line_end).writerows([["image", "caption"], *rows])
    return file.getvalue()


def as_coco(rows):
    return {"images": [{"id": i, "file_name": name} for i, (name, _) in enumerate(rows)],
            "annotations": [{"image_id": i, "caption": text} for i, (_, text) in enumerate(rows)]}


FORMATS = {
    "commas.csv": lambda rows, end: separated(rows, ",", end),
    "semicolons.csv": lambda rows, end: separated(rows, ";", end),
    "tabs.tsv": lambda rows, end: separated(rows, "\t", end),
    "objects.jsonl": lambda rows, end: end.join(
        json.dumps({"image": name, "caption": text}, ensure_ascii=False) for name, text in rows),
    "coco.json": lambda rows, end: json.dumps(as_coco(rows), ensure_ascii=False,
                                              indent=1).replace("\n", end),
    "karpathy.json": lambda rows, end: json.dumps(
        {"images": [{"filename": name, "sentences": [{"raw": text}]} for name, text in rows]},
                                                  indent=1).replace("\n", end),
}
LETTERS = st.one_of(st.sampled_from(list("\"',;|\t\n# \\a") + ["\r\n", "\x85", "\u2028", "\ufeff",
                                                               "#0"]),
                    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="[]{}()"))
ANY_CAPTION = st.lists(LETTERS, min_size=1,
                       max_size=12).map("".join).filter(lambda text: clean_texts([text]))


@settings(max_examples=40, deadline=None, derandomize=True, database=None,
          suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.lists(ANY_CAPTION, min_size=1, max_size=6), st.sampled_from(["utf-8", "utf-8-sig"]),
       st.sampled_from(["\n", "\r\n"]))
@example(["一只猫坐在垫子上。", "बिरालो ओछ्यानमा बसेको छ", "Peteĩ mbarakaja oguapy",
          'a "big" ball, red; round |\tor\r\nnot, 5 € #1'], "utf-8-sig", "\r\n")
def test_any_caption_comes_back(pictures, texts, encoding, end):
    for name, write in FORMATS.items():
        rows = [(f"{'abcdef'[i]}.jpg", text) for i, text in enumerate(texts)]
        Path(name).write_text(write(rows, end), encoding=encoding, newline="")
        found = load_captions(name, images="pictures")["train"]["captions"]
        assert [text for captions in found for text in captions] == clean_texts(texts), name


def test_metadata_files_of_every_kind(pictures):
    ds = datasets.Dataset.from_dict({"file_name": ["a.jpg", "b.jpg"],
                                     "caption": ['A "red" roof,\r\nand a lawn', "一座房子"]})
    for ending, write in dict(jsonl=ds.to_json, csv=ds.to_csv, parquet=ds.to_parquet).items():
        name = f"metadata.{ending}"
        write(pictures / name)
        with pytest.warns(UserWarning, match="without a caption: 4"):
            found = load_captions("pictures")["train"]
        assert found["captions"][:] == [[text] for text in ds["caption"]]
        (pictures / name).unlink()


def test_folders_that_are_splits(place):
    for split, n in ("train", 3), ("val", 1), ("test", 1):
        picture_folder(place / split, [f"deep/{i}.jpg" for i in range(n)])
        rows = [{"file_name": f"deep/{i}.jpg", "text": [f"picture {i}", "more"],
                 "attributes": {"colour": "red"}} for i in range(n)]
        (place / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ds = load_captions(place)
    assert {name: len(part) for name, part in ds.items()} == {"train": 3, "validation": 1,
                                                              "test": 1}
    assert ds["validation"][0]["image_id"] == "val/deep/0.jpg"
    assert ds["test"][0]["attributes"] == {"colour": "red"}
    assert list(load_captions(place, split="val")) == ["validation"]
    (place / "train" / "stray.png").write_bytes(png())
    with pytest.warns(UserWarning, match="stray.png") as told: load_captions(place)
    assert len(told) == 1


def test_coco_leaves_out_what_does_not_fit(pictures):
    coco = as_coco([("a.jpg", "one"), ("gone.jpg", "two")])
    coco["annotations"] += [{"image_id": 0, "caption": "  "}, {"image_id": 9, "caption": "whose?"}]
    rows, said, checked = read("x.json", coco)
    assert rows == {"0": ["one"]}
    for part in ("empty captions: 1 (0)", "captions of unknown pictures: 1 (9)",
                 "pictures that are not there: 1 (gone.jpg"):
        assert part in said and part in checked


def test_karpathys_splits(pictures):
    names = ["train", "restval", "val", "test"]
    data = {"images": [{"cocoid": i, "filepath": "val2014", "filename": f"{'abcd'[i]}.jpg",
                        "split": split,
                        "sentences": [{"raw": f"sentence {n}", "tokens": ["sentence", str(n)]}
                                      for n in range(5)]}
                       for i, split in enumerate(names)]}
    Path("x.json").write_text(json.dumps(data))
    ds = load_captions("x.json", images="pictures")
    assert {name: part["image_id"][:] for name,
            part in ds.items()} == {"train": ["0", "1"], "validation": ["2"], "test": ["3"]}
    assert all(len(c) == 5 for c in ds["train"]["captions"])
    Path("root").mkdir()
    Path("pictures").rename("root/val2014")
    at_root = load_captions("x.json", images="root")
    assert "root/val2014/" in keep_encoded(at_root)["test"][0]["image"]["path"]


@pytest.mark.parametrize("data", [{"images": [{"id": 1}], "annotations": []}, {"a": 1}, 3,
                                  {"images": 3, "annotations": []},
                                  {"images": [{"id": 1, "file_name": "a.jpg"}],
                                   "annotations": [{"bbox": []}]},
                                  [{"image_id": 3, "caption": "x"}], [], {}, [1], "text"])
def test_json_of_another_shape_is_refused_by_name(pictures, data):
    with pytest.raises(ValueError, match=r"x\.json"): read("x.json", data)


@pytest.mark.parametrize("damaged", ["{", '{"image": "a.jpg"}\n[1]', ""])
@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "tsv", "txt"])
def test_damaged_files_are_refused_by_name(pictures, damaged, suffix):
    with pytest.raises(ValueError, match=rf"^x\.{suffix}"): read(f"x.{suffix}", damaged)


def test_errors_name_file_and_line(pictures):
    with pytest.raises(ValueError, match=r"^x\.jsonl: line 2: no JSON"):
        read("x.jsonl", '{"image": "a.jpg", "caption": "x"}\n{')
    (pictures / "metadata.jsonl").write_text('{"file_name": "b.jpg", "text": 3}')
    with pytest.raises(ValueError, match=r"^pictures: metadata.jsonl: "): load_captions("pictures")
    Path("damaged.parquet").write_bytes(b"PAR1 and no more")
    Path("damaged.tar").write_bytes(b"not a tar file" * 100)
    datasets.logging.set_verbosity(50)
    for name in "damaged.parquet", "damaged.tar":
        with pytest.raises((ValueError, OSError), match=name): list(load_captions(name)["train"])


# --- tables

def test_tables_of_every_kind(place):
    style = [[{"raw": f"Picture {i}.", "sentid": 2 * i}, {"raw": " ", "sentid": 2 * i + 1}]
             for i in range(3)]
    table(3, sentences=style).to_parquet("hub.parquet")
    with pytest.warns(UserWarning, match="empty captions: 3"):
        ds = load_captions("hub.parquet")["train"]
    assert ds["captions"][:] == [["Picture 0."], ["Picture 1."],
                                 ["Picture 2."]] and ds["image_id"][2] == "train-2"
    datasets.DatasetDict(train=table(3), val=table(2)).save_to_disk("saved")
    assert {k: len(v) for k, v in load_captions("saved").items()} == {"train": 3, "validation": 2}
    Path("repo/data").mkdir(parents=True)
    for split, n in ("train", 3), ("test", 2):
        table(n).to_parquet(f"repo/data/{split}-00000-of-00001.parquet")
    assert {k: len(v) for k, v in load_captions("repo").items()} == {"train": 3, "test": 2}
    stream = load_captions("hub.parquet", streaming=True)
    assert isinstance(stream, datasets.IterableDatasetDict)
    assert set(keep_encoded(stream)["train"].features) == set(next(iter(stream["train"])))
    assert next(iter(keep_encoded(stream)["train"]))["image"].keys() == {"bytes", "path"}


def test_columns_that_cannot_be_told_are_asked_for():
    for columns in {"en_text": ["a"], "zh_text": ["b"]}, {"label": [1]}:
        with pytest.raises(ValueError, match=f"caption_column=.*{list(columns)[0]}"
                           if len(columns) > 1 else "no column seems"):
            load_captions(table(1, **columns))
    chosen = load_captions(table(1, en_text=["a"], zh_text=["b"]), caption_column="zh_text")
    assert chosen["train"]["captions"][:] == [["b"]]


def test_ids_of_pictures():
    rows = table(2).select([0, 0, 1]).remove_columns("text")
    rows = rows.add_column("image_id", [0, 0, 1]).add_column("caption", ["a", "b", "c"])
    ds = load_captions(datasets.DatasetDict(train=rows, test=rows))
    assert ds["test"]["image_id"][:] == ["test-0", "test-1"]
    assert ds["train"]["captions"][:] == [["a", "b"], ["c"]]
    assert load_captions(rows)["train"]["image_id"][:] == ["0", "1"]
    with pytest.raises(ValueError, match="image_id '7' stands for different pictures"):
        load_captions(table(3).add_column("image_id", [7, 7, 8]))


def test_ids_of_a_stream_stay_in_any_order():
    many = table(40, text=[f"{i}" if i % 3 else " "
                           for i in range(40)]).to_iterable_dataset(num_shards=4)
    many = load_captions(many)["train"]
    rows = list(many)
    assert [row["captions"] for row in rows] == [[f"{i}"] for i in range(40) if i % 3]
    ids = {row["image_id"] for row in rows}
    assert len(ids) == len(rows) == 26 and {row["image_id"] for row in many.shuffle(seed=0)} == ids
    for row, kept in zip(rows, keep_encoded(many), strict=True):
        assert decode_image(row["image"]).tobytes() == decode_image(kept["image"]).tobytes()


def test_shards_are_read_by_several_processes(place):
    for shard in range(2):
        with tarfile.open(f"shards-{shard:03}.tar", "w") as tar:
            for i in range(3):
                add_member(tar, f"{i}.png", png((i, 0, 0)))
                add_member(tar, f"{i}.txt", f"Picture {i} of shard {shard}.".encode())
    stream = load_captions("shards-{000..001}.tar")["train"]
    ids = [row["image_id"] for row in stream]
    assert len(set(ids)) == 6
    second = load_captions("shards-{001..001}.tar")["train"]
    assert [row["image_id"] for row in second] == ids[3:]
    ranks = [split_dataset_by_node(stream, rank, 2) for rank in (0, 1)]
    assert sorted(row["image_id"] for part in ranks for row in part) == sorted(ids)
    with pytest.raises(FileNotFoundError,
                       match="8 of 10 shards are not there, the first is shards-002.tar"):
        load_captions("shards-{000..009}.tar")
    for name, said in ("shards-009.tar", "the shard is not there"), (
            "none-*.tar", "there is no file of such a name"):
        with pytest.raises(FileNotFoundError, match=f"{re.escape(name)}: {said}"):
            load_captions(name)


# --- without a network

def test_silence_of_the_network_is_restored_nested_in_threads_and_after_an_error(monkeypatch):
    from huggingface_hub import constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: (_ for _ in ()).throw(OSError()))
    monkeypatch.setattr("urllib.request.getproxies", dict)
    with offline_if_unreachable():
        with offline_if_unreachable(): assert constants.HF_HUB_OFFLINE
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE
    with pytest.raises(KeyError), offline_if_unreachable(): raise KeyError
    assert not constants.HF_HUB_OFFLINE
    # as two threads would overlap
    first, second = offline_if_unreachable(), offline_if_unreachable()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert constants.HF_HUB_OFFLINE
    second.__exit__(None, None, None)
    assert not constants.HF_HUB_OFFLINE
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with offline_if_unreachable(): pass
    assert constants.HF_HUB_OFFLINE


def test_without_a_network_there_is_one_clear_error(monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_: (_ for _ in ()).throw(OSError()))
    with pytest.raises(ConnectionError, match="the Hub cannot be reached"):
        load_captions("owner/name")


# --- a Hub of our own

COMMIT, FILE = "0123456789abcdef0123456789abcdef01234567", "data/train-00000-of-00001.parquet"


def parquet(ds):
    ds.to_parquet(file := io.BytesIO())
    return file.getvalue()


def sha(data): return hashlib.sha1(data).hexdigest()


def repositories():
    "owner/name → file → bytes"
    configs = (b"---\nconfigs:\n- config_name: english\n  data_files: en.parquet\n"
               b"- config_name: nepali\n  data_files: ne.parquet\n---\n")
    return {
        "ada/birds": {FILE: parquet(table(3, text=["a red roof", "a house", "a green lawn"],
                                          source=["camera"] * 3))},
        "ada/two-languages": {FILE: parquet(table(2, english=["a house", "a roof"],
                                                  german=["ein Haus", "ein Dach"]))},
        "ada/configs": {"README.md": configs, "en.parquet": parquet(table(1)),
                        "ne.parquet": parquet(table(1))},
        "ada/plans": {"README.md": b"Pictures will follow."},
        "ada/nightmare": {},  # where the server itself fails
    }


class Hub(BaseHTTPRequestHandler):
    "As much of the Hub as reading a data set takes"
    protocol_version = "HTTP/1.1"

    def log_message(self, *_): pass

    def answer(self, body, status=200, **headers):
        self.server.asked.append((self.command, self.path))
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Length": len(body), "X-Repo-Commit": COMMIT,
                            **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD": self.wfile.write(body)

    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        found = re.fullmatch(r"(/api)?/datasets/([^/]+/[^/]+)(?:/(\w+)/[^/]+)?(?:/(.*))?", path)
        files = self.server.repositories.get(found[2]) if found else None
        if files is None: return self.answer({}, 404, X_Error_Code="RepoNotFound")
        if not files: return self.answer({}, 500)
        api, repository, verb, name = found.groups()

        def entry(f):
            if f not in files: return {"path": f, "type": "directory", "oid": COMMIT}
            return {"path": f, "type": "file", "size": len(files[f]), "oid": sha(files[f])}

        known = sorted({*files, *map(posixpath.dirname, files)} - {""})
        if api and verb in (None, "revision"):
            return self.answer({"id": repository, "sha": COMMIT,
                                "siblings": [{"rfilename": f} for f in files], "tags": []})
        inside = [entry(f) for f in known if posixpath.dirname(f) == (name or "")]
        if api and verb == "tree" and inside: return self.answer(inside)
        if verb != "resolve" or name not in files:
            return self.answer({}, 404, X_Error_Code="EntryNotFound")
        data, asked_range = files[name], re.fullmatch(r"bytes=(\d+)-(\d*)",
                                                      self.headers.get("Range", ""))
        headers = {"ETag": f'"{sha(data)}"', "Accept_Ranges": "bytes"}
        if not asked_range: return self.answer(data, **headers)
        first, last = int(asked_range[1]), min(int(asked_range[2] or len(data)), len(data) - 1)
        self.answer(data[first : last + 1], 206, Content_Range=f"bytes {first}-{last}/{len(data)}",
                    **headers)

    do_HEAD = do_GET


TRIAL = """
import time
import datasets
from imgcap.data import load_captions
datasets.disable_progress_bars()
time.sleep = lambda seconds: None  # before another attempt at a server that fails
def show(*args, **options):
    try: found = load_captions(*args, **options)["train"]
    except (ValueError, OSError) as error: return print(f"{type(error).__name__}: {error}")
    rows = list(found)
    print(type(found).__name__, [row["captions"] for row in rows], rows[0]["image"].size)
show("ada/birds")
show("ada/birds", streaming=True)
show("ada/birds", caption_column="source")
show("ada/birds", caption_column="title")
show("ada/two-languages")
show("ada/two-languages", image_column="image", caption_column="german")
show("ada/two-languages:klingon")
show("ada/configs")
show("ada/configs:nepali")
show("ada/plans")
show("ada/fish")
show("ada/nightmare")
"""


def test_sets_of_a_hub_and_what_goes_wrong_there(tmp_path):
    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    hub.repositories, hub.asked = repositories(), []
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")
                   and not k.lower().endswith("_proxy")}
    environment |= {"HF_HOME": str(tmp_path / "home"),
                    "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1",
                    "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1"}
    with serving(hub) as address:
        done = subprocess.run([sys.executable, "-c", TRIAL], capture_output=True, text=True,
                              timeout=120, env={**environment, "HF_ENDPOINT": address})
    assert done.returncode == 0, done.stderr
    birds = "[['a red roof'], ['a house'], ['a green lawn']] (24, 16)"
    lines = done.stdout.splitlines()
    assert lines[:3] == [f"Dataset {birds}", f"IterableDataset {birds}",
                         "Dataset [['camera'], ['camera'], ['camera']] (24, 16)"]
    expected = ["ValueError ada/birds 'title' text",
                "ValueError several ada/two-languages english german", "Dataset ein Dach",
                "ValueError klingon default owner/name:config",
                "ValueError ada/configs missing english nepali owner/name:config",
                "Dataset picture", "FileNotFoundError ada/plans data files",
                "FileNotFoundError ada/fish exist",
                "ConnectionError ada/nightmare"]
    for line, parts in zip(lines[3:], expected, strict=True):
        assert all(part in line for part in parts.split()), (line, parts)
    fetched = [path for command, path in hub.asked if command == "GET" and "birds" in path
               and path.endswith(FILE)]
    assert len(fetched) == 2, "the cache should have the file by the third call"


# --- names as files and folders have them

def test_names_in_another_form_of_unicode(place):
    picture_folder(place / "pictures", [unicodedata.normalize("NFD", "café.jpg")])
    name = unicodedata.normalize("NFC", "café.jpg")
    assert list(read("x.csv", f"image,caption\n{name},a cup\n")[0].values()) == [["a cup"]]
    (place / "pictures/metadata.csv").write_text(f"file_name,caption\n{name},a cup\n")
    assert load_captions("pictures")["train"][0]["image"].size == (24, 16)


def test_a_file_in_other_capitals_is_hinted_at(place):
    picture_folder(place / "pictures", ["IMG_0.JPG", "b.jpg"])
    _, said, checked = read("x.csv", "image,caption\nIMG_0.jpg,a dog\nb.jpg,a cat\n")
    assert "IMG_0.jpg (IMG_0.JPG is there, which is written differently)" in said
    assert "IMG_0.JPG" in checked
    with pytest.raises(FileNotFoundError,
                       match="its only picture is not there.*IMG_0.JPG is there.*images="):
        read("x.csv", "image,caption\nIMG_0.jpg,a dog\n")


def test_names_with_backslashes(place):
    picture_folder(place / "pictures", ["a/1.jpg"])
    assert read("x.csv", "image,caption\na\\1.jpg,a dog\n")[0] == {"a/1.jpg": ["a dog"]}


def test_what_is_passed_over_in_a_folder_is_said(place):
    picture_folder(place, ["a.jpg"])
    (place / "a.txt").write_text("a dog")
    (place / "b.svg").write_text("<svg/>")
    with pytest.warns(UserWarning, match="SVG.*b.svg"):
        assert len(load_captions(place)["train"]) == 1


def test_a_quote_that_swallows_rows_without_endings_is_refused(place):
    picture_folder(place / "pictures", [f"{i:04}.jpg" for i in range(4)])
    with pytest.raises(ValueError, match="line 2: a quote opens a cell that holds later rows too"):
        read("x.csv", 'id,caption\n0000,"big dog\n0001,a dog\n0002,a "\n0003,x\n')
    rows, _, _ = read("x.csv", 'id,caption\n0000,"one\ntwo, three"\n0003,x\n')
    assert rows == {"0000": ["one\ntwo, three"], "0003": ["x"]}


def test_ids_of_pictures_that_cannot_be_had_end_nothing():
    pictures = [{"bytes": None, "path": f"http://127.0.0.1:9/{i}.png"} for i in range(2)]
    ds = datasets.Dataset.from_dict({"image": pictures, "image_id": ["1", "1"],
                                     "text": ["a dog", "a pet"]})
    ds = ds.cast_column("image", datasets.Image())
    assert load_captions(ds)["train"]["captions"][:] == [["a dog", "a pet"]]


# --- names: links, trees, forms of Unicode, ids

@pytest.mark.parametrize("name", ["c.csv", "metadata.jsonl"])
def test_two_dots_behind_a_link_lead_where_the_link_does(place, name):
    (place / "s/real/deep").mkdir(parents=True)
    (place / "s/lk").symlink_to(place / "s/real/deep")
    for file, colour in ("s/real/x.png", (1, 2, 3)), ("s/x.png", (200, 2, 3)):
        (place / file).write_bytes(png(colour))
    pairs = [("lk/../x.png", "real x"), ("x.png", "outer x"), (".//x.png", "outer, again")]
    if name == "c.csv":
        rows = [f'{a},"{b}"' for a, b in pairs]
        (place / "s" / name).write_text("\n".join(["image,caption", *rows]))
        ds = load_captions("s/c.csv")["train"]
    else:
        (place / "s" / name).write_text("\n".join(
            json.dumps({"file_name": a, "text": b}) for a, b in pairs))
        ds = load_captions("s")["train"]
    found = {row["image"].getpixel((0, 0))[0]: row["captions"] for row in ds}
    assert found == {1: ["real x"], 200: ["outer x", "outer, again"]}


def test_the_same_folder_is_dropped_from_all_names(place):
    for file, shade in ("img/a.jpg", 10), ("img/sub/a.jpg", 90), ("img/b.jpg", 20):
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        (place / file).write_bytes(png((shade, 0, 0)))
    text = "image,caption\nimg/a.jpg,outer\nimg/sub/a.jpg,inner\nimg/sub/b.jpg,gone\n"
    Path("x.csv").write_text(text)
    with pytest.warns(UserWarning, match=r"not there: 1 \(sub/b.jpg\)"):
        ds = load_captions("x.csv", images="img")["train"]
    found = {row["image"].getpixel((0, 0))[0]: row["captions"] for row in ds}
    assert found == {10: ["outer"], 90: ["inner"]}


def test_names_that_would_become_one_keep_their_folders(place):
    picture_folder(place, ["pictures/a.jpg", "pictures/b.jpg"])
    with pytest.raises(FileNotFoundError, match="none of its 2 pictures is there"):
        read("x.csv", "image,caption\none/a.jpg,x y\none/two/a.jpg,z\n".replace("one/a", "one/q/a"))
    rows, _, _ = read("x.csv", "image,caption\nd/train/a.jpg,x y\nd/val/b.jpg,z\n")
    assert list(rows.values()) == [["x y"], ["z"]]


NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


@pytest.mark.parametrize("stored", [NFC, NFD])
@pytest.mark.parametrize("ending", [".jpg", ""])
def test_both_forms_of_unicode_are_one_picture(place, stored, ending):
    picture_folder(place / "pictures", [f"{stored}.jpg", "b.jpg"])
    column = "image,caption" if ending else "id,caption"
    rows, said, _ = read("x.csv", f"{column}\n{NFC}{ending},a cup\n{NFD}{ending},a saucer\n")
    assert list(rows.values()) == [["a cup", "a saucer"]] and not said


@pytest.mark.parametrize("picture, text", [(NFC, NFD), (NFD, NFC)])
def test_a_text_file_in_another_form_of_unicode(place, picture, text):
    picture_folder(place, [f"{picture}.jpg"])
    (place / f"{text}.txt").write_text("a cup")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load_captions(place)["train"]["captions"][:] == [["a cup"]]


def test_pictures_whose_names_differ_in_form_alone_stay_two(place):
    picture_folder(place, [f"{NFC}.jpg", f"{NFD}.jpg"])
    for name in NFC, NFD: (place / f"{name}.txt").write_text(ascii(name))
    found = {row["image_id"]: row["captions"] for row in load_captions(place)["train"]}
    assert found == {f"{name}.jpg": [ascii(name)] for name in (NFC, NFD)}


def test_the_text_file_with_the_whole_name_goes_first_and_a_second_is_told(place):
    picture_folder(place, ["a.jpg", "a.png", "b.jpg"])
    for name in "a.txt", "a.png.txt", "b.txt", "b.caption": (place / name).write_text(name)
    with pytest.warns(UserWarning, match=r"second text files of a picture: 1 \(b.caption\)"):
        ds = load_captions(place)["train"]
    assert {row["image_id"]: row["captions"] for row in ds} == {
        "a.jpg": ["a.txt"], "a.png": ["a.png.txt"], "b.jpg": ["b.txt"]}


@pytest.mark.parametrize("name, text", [
    ("x.csv", "id,caption\n1.0,a dog\n2.0,a cat\n1,a pet\n"),
    ("x.jsonl", '{"id": 1.0, "caption": "a dog"}\n{"id": 2.0, "caption": "a cat"}\n'
                '{"id": 1, "caption": "a pet"}')])
def test_an_id_of_a_column_with_a_gap(place, name, text):
    picture_folder(place / "pictures", ["1.jpg", "2.jpg"])
    assert read(name, text)[0] == {"1": ["a dog", "a pet"], "2": ["a cat"]}


@pytest.mark.parametrize("written", [1, 1.0, "1", "1.0", "000001"])
@pytest.mark.parametrize("known", [1, 1.0, "1", "000001"])
def test_ids_of_coco_are_numbers_or_texts(pictures, known, written):
    data = {"images": [{"id": known, "file_name": "a.jpg"}],
            "annotations": [{"image_id": written, "caption": "a dog"}]}
    assert list(read("x.json", data)[0].values()) == [["a dog"]]


def test_two_images_with_one_id_are_refused(pictures):
    data = {"images": [{"id": 1, "file_name": "a.jpg"}, {"id": 1, "file_name": "b.jpg"}],
            "annotations": [{"image_id": 1, "caption": "a dog"}]}
    with pytest.raises(ValueError, match=r"two images have the id 1 \(a.jpg and b.jpg\)"):
        read("x.json", data)


# --- quotes

HEX = [f"{n:08x}{'abc'[n % 3]}" for n in range(0xcd613e, 0xcd613e + 12)]
LETTERED = [f"{'abcdefghijkl'[n]}{'mnopqrstuvwx'[-n]}z" for n in range(12)]


@pytest.mark.parametrize("ids", [HEX, LETTERED], ids=["hex", "letters"])
@pytest.mark.parametrize("caption_first", [False, True])
def test_a_quote_does_not_swallow_rows_of_ids(place, ids, caption_first):
    picture_folder(place / "pictures", [f"{i}.jpg" for i in ids])
    said = ["a dog"] * 12
    said[3], said[8] = '"a dog', 'a cat"'
    rows = [f"{c},{i}" if caption_first else f"{i},{c}" for i, c in zip(ids, said)]
    header = "caption,id" if caption_first else "id,caption"
    with pytest.raises(ValueError, match="line 5: a quote opens a cell that holds later rows too"):
        read("x.csv", "\n".join([header, *rows]))


def test_lines_of_a_caption_that_begin_like_an_id_stay(place):
    picture_folder(place / "pictures", ["1.jpg", "2.jpg"])
    rows, _, _ = read("x.csv", 'image,caption\n1.jpg,"two dogs\n2, maybe 3"\n2.jpg,x\n')
    assert rows["1.jpg"] == ["two dogs\n2, maybe 3"]


def test_a_space_behind_every_separator(pictures):
    text = 'image, caption\na.jpg, "a dog"\nb.jpg, "a ""big"" cat, red"\nc.jpg, a house\n'
    assert read("x.csv", text)[0] == {
        "a.jpg": ["a dog"], "b.jpg": ['a "big" cat, red'], "c.jpg": ["a house"]}
    rows, _, _ = read("x.csv", text.replace("image, ", "image,"))
    assert rows["a.jpg"] == ["a dog"]
    rows, _, _ = read("x.csv", 'image,caption\na.jpg,"he said, ""hello"""\nb.jpg,a dog\n')
    assert rows["a.jpg"] == ['he said, "hello"']


# --- values that are no text

@pytest.mark.parametrize("no", [False, "FALSE", "False", " no ", 0.0, "0.0", float("nan"), "N",
                                "None", None, ""])
def test_a_flag_that_is_not_set_marks_nothing(pictures, no):
    notes = [{"image": "a.jpg", "caption": "a dog", "is_rejected": no},
             {"image": "b.jpg", "caption": "Quality issues", "is_rejected": "TRUE"}]
    assert flagged(notes[0]) == "" and flagged(notes[1]) == "is_rejected"
    assert read("x.jsonl", "\n".join(map(json.dumps, notes)))[0] == {"a.jpg": ["a dog"]}


def test_a_number_before_the_first_text(pictures):
    lines = '{"image": "a.jpg", "caption": 7}\n{"image": "b.jpg", "caption": "a dog"}'
    assert read("x.jsonl", lines)[0] == {"a.jpg": ["7"], "b.jpg": ["a dog"]}
    rows, said, _ = read("x.jsonl", lines.split("\n")[0], caption_column="caption")
    assert rows == {"a.jpg": ["7"]} and "numbers read as text" in said


@pytest.mark.parametrize("nothing", ["NaN", "[null]", "{}", "null", '""', "[]", '"nan"'])
def test_a_first_caption_that_says_nothing(pictures, nothing):
    rows, said, _ = read("x.jsonl", f'{{"image": "a.jpg", "caption": {nothing}}}\n'
                                    '{"image": "b.jpg", "caption": "a dog"}')
    assert rows == {"b.jpg": ["a dog"]} and "without a caption: 1" in said


@pytest.mark.parametrize("layout", ["sidecars", "metadata", "csv"])
def test_one_name_that_is_not_utf_8_is_one_picture_left_out(place, layout):
    picture_folder(place / "pictures", ["a.jpg", "b.jpg"])
    odd = os.fsencode(place / "pictures") + b"/caf\xe9.jpg"
    try: Path(os.fsdecode(odd)).write_bytes(png())
    except OSError: pytest.skip("this file system has UTF-8 names only")
    for name in "ab": (place / f"pictures/{name}.txt").write_text("a dog")
    if layout == "csv":
        assert len(read("x.csv", "id,caption\na,a dog\nb,a cat\n")[0]) == 2
        return
    if layout == "metadata":
        (place / "pictures/metadata.csv").write_text("file_name,caption\na.jpg,x\nb.jpg,y\n")
    with pytest.warns(UserWarning, match=r"not UTF-8: 1 \(caf\\udce9.jpg\)"):
        assert len(load_captions("pictures")["train"]) == 2


def test_half_a_character_costs_one_caption_no_set(pictures):
    lines = [{"image": "a.jpg", "caption": "a dog \ud83d runs", "author": "A\udc00",
              "attributes": {"colour": "\udc00"}},
             {"image": "b\ud83d.jpg", "caption": "a cat"}, {"image": "c.jpg", "caption": "a cup"}]
    rows, said, checked = read("x.jsonl", "\n".join(map(json.dumps, lines)))
    assert rows == {"a.jpg": ["a dog  runs"], "c.jpg": ["a cup"]}
    assert "half a character, which is dropped: 1 (line 1: " in said and "line 1" in checked
    assert r"not UTF-8: 1 (line 2: b\ud83d.jpg)" in said


def test_names_without_ending_in_a_folder_below(place):
    picture_folder(place, ["set/deep/0001.jpg", "set/0001.jpg"])
    (place / "set/deep/metadata.csv").write_text("id,caption\n0001,a dog\n")
    with pytest.warns(UserWarning, match="without a caption"):
        ds = load_captions("set")["train"]
    assert keep_encoded(ds)[0]["image"]["path"].endswith("set/deep/0001.jpg")


# --- words, talks, spreadsheets, damaged JSON

def test_words_of_a_chinese_caption_are_joined_without_spaces_and_said(pictures):
    cut = ["一只", "狗", "在", "跑", "。"]
    rows, said, _ = read("x.json", [{"image": "a.jpg", "caption": cut},
                                    {"image": "b.jpg", "caption": [cut, cut[:-1]]},
                                    {"image": "c.jpg", "caption": ["一只猫", "猫"]}])
    assert rows == {"a.jpg": ["一只狗在跑。"], "b.jpg": ["一只狗在跑。", "一只狗在跑"],
                    "c.jpg": ["一只猫", "猫"]}
    assert "words joined to a caption: 3 (entry 1" in said


def test_words_in_a_list_of_lists_are_said_too(pictures):
    rows, said, _ = read("x.json", [{"image": "a.jpg", "caption": [["a", "dog"], ["a", "pet"]]}])
    assert rows == {"a.jpg": ["a dog", "a pet"]} and "words joined to a caption: 2" in said


@pytest.mark.parametrize("role", ["ASSISTANT", "Assistant", "GPT", "Model"])
def test_roles_in_any_capitals(pictures, role):
    talk = [{"role": "USER", "content": "What?"}, {"role": role, "content": "a dog"}]
    assert read("x.json", [{"image": "a.jpg", "messages": talk}])[0] == {"a.jpg": ["a dog"]}


@pytest.mark.parametrize("first, sep", [("sep=;\r\n", ";"), ('"sep=,"\n', ","), ("SEP=\t\n", "\t"),
                                        ("\ufeffsep=|\n", "|")])
def test_the_line_that_tells_excel_the_separator(pictures, first, sep):
    text = f"{first}image{sep}caption\na.jpg{sep}a dog\n"
    assert read("x.csv", text)[0] == {"a.jpg": ["a dog"]}
    _, said, _ = read("x.csv", text + "b.jpg\n")
    assert "too few cells: 1 (line 4)" in said


def test_json_lines_called_json_are_read(pictures):
    assert read("x.json", '{"image": "a.jpg", "caption": "a dog"}\n'
                          '{"image": "b.jpg", "caption": "a cat"}\n')[0] == {
        "a.jpg": ["a dog"], "b.jpg": ["a cat"]}


@pytest.mark.parametrize("text, says", [
    ("[" * 50_000 + "]" * 50_000, "too deep"), ('{"a.jpg": "x",\n}', "line 2: .*drop the comma"),
    ('[{"image": "a.jpg", "caption": "x"},\n]', "line [12]: .*drop the comma"),
    ('{"a.jpg": "x", "a.jpg": "y"}', "the key 'a.jpg' twice")])
def test_what_is_wrong_with_a_json_file(pictures, text, says):
    with pytest.raises(ValueError, match=f"x.json: .*{says}") as told: read("x.json", text)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["x.csv", "x.json", "table"])
def test_where_everything_is_left_out_the_error_says_why(pictures, name):
    if name == "table":
        rows = table(2, caption=["a", "b"]).add_column("is_rejected", [True, True])
        with pytest.raises(ValueError, match="captions marked is_rejected: 2"): load_captions(rows)
    elif name == "x.csv":
        with pytest.raises(ValueError, match="captions marked is_rejected: 1"):
            read(name, "image,caption,is_rejected\na.jpg,x y,TRUE\n")
    else:
        with pytest.raises(ValueError, match="captions marked is_rejected: 1"):
            read(name, {"images": [{"id": 1, "file_name": "a.jpg"}],
                        "annotations": [{"image_id": 1, "caption": "x", "is_rejected": True}]})


def test_a_message_does_not_list_thousands_of_columns(pictures):
    wide = {f"text_of_{i}": "some words" for i in range(3000)}
    with pytest.raises(ValueError, match="several columns.* 29[0-9]* more") as told:
        read("x.json", [{"image": "a.jpg"} | wide])
    assert len(str(told.value)) < 600


def test_a_bad_text_in_a_shard_costs_one_sample(place):
    with tarfile.open("shard.tar", "w") as tar:
        for i, (ending, text) in enumerate([("txt", b"caf\xe9"), ("json", b"{"), ("txt", b"a dog"),
                                            ("json", b'{"caption": 7}')]):
            add_member(tar, f"{i}.png", png((i, 0, 0)))
            add_member(tar, f"{i}.{ending}", text)
    with pytest.warns(UserWarning, match=r"left out 3 samples whose text cannot be read: 0 \("):
        assert [row["captions"] for row in load_captions("shard.tar")["train"]] == [["a dog"]]


@pytest.mark.parametrize("text", ["0,a dog number 0\n1,a dog number 1\n",
                                  "a dog number 0,0\na dog number 1,1\n"])
def test_a_first_row_with_an_id_without_ending_is_no_header(place, text):
    picture_folder(place / "pictures", ["0.jpg", "1.jpg"])
    assert read("x.csv", text)[0] == {"0": ["a dog number 0"], "1": ["a dog number 1"]}


def test_a_header_that_is_called_as_a_picture_is_stays_a_header(place):
    picture_folder(place / "pictures", ["photo.jpg", "0.jpg", "1.jpg"])
    assert read("x.csv", "photo,words\n0,a dog\n1,a cat\n5,x\n6,y\n7,z\n")[0] == {
        "0": ["a dog"], "1": ["a cat"]}


def test_json_lines_that_are_too_deep_are_refused_in_one_line(pictures):
    with pytest.raises(ValueError, match="x.jsonl: line 1: .*too deep"):
        read("x.jsonl", "[" * 50_000 + "]" * 50_000)


def test_ids_of_a_table_that_are_whole_numbers_with_a_point():
    rows = table(2).add_column("image_id", [1.0, 2.0])
    assert load_captions(rows)["train"]["image_id"][:] == ["1", "2"]
    stream = load_captions(rows.to_iterable_dataset())["train"]
    assert [row["image_id"].split("-")[0] for row in stream] == ["1", "2"]
