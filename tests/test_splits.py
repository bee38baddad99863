"Splits by picture: nothing is lost, on two sides, or moves; small sets, groups, near copies."
import io
import random
import re
import warnings
from collections import Counter
from unittest.mock import patch

import datasets
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from imgcap.data import (
    describe_captions, evaluation_rows, keep_encoded, load_captions, split_captions)
from imgcap.extras import install_hint
from imgcap.data.splits import near_pairs, perceptual_hash

datasets.disable_progress_bars()
SOME = settings(max_examples=40, deadline=None, derandomize=True, database=None,
                suppress_health_check=[HealthCheck.too_slow])


def encoded(image, format="PNG", **options):
    image.save(file := io.BytesIO(), format, **options)
    return file.getvalue()


DOTS = [encoded(Image.new("RGB", (1, 1), (n, 0, 0))) for n in range(250)]
some_dots = st.lists(st.sampled_from(DOTS[:40]), min_size=1, max_size=30)
some_options = st.fixed_dictionaries({"validation": st.sampled_from([0, 0.1, 0.4]),
                                      "test": st.sampled_from([0, 0.1, 0.4]),
                                      "seed": st.integers(0, 2**32)})


def set_of(files, **columns):
    "A dataset of pictures alone, or with more columns."
    pictures = [{"bytes": file, "path": None} for file in files]
    return datasets.Dataset.from_dict({"image": pictures,
                                       **columns}).cast_column("image", datasets.Image())


def side_of_each(files, options, **columns):
    "`{picture: side}`, and whether a side borrowed one; no row is lost, no picture on two sides."
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parts = split_captions(set_of(files, **columns), **options)
    found = [(image["bytes"], name) for name, part in parts.items()
             for image in keep_encoded(part)["image"]]
    assert Counter(file for file, _ in found) == Counter(files), "rows lost or doubled"
    assert len(set(found)) == len(set(files)), "a picture on two sides"
    return dict(found), bool(caught)


@SOME
@given(some_dots, some_dots, some_options, st.randoms(use_true_random=False))
def test_a_picture_never_moves(first, more, options, rng):
    grown = first + more
    rng.shuffle(grown)
    (before, borrowed), (after, still) = side_of_each(first, options), side_of_each(grown, options)
    moved = [picture for picture in before if before[picture] != after[picture]]
    # only where a side would have been empty, and no more pictures than sides
    assert len(moved) <= 2 * (borrowed or still), "a picture moved"


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 12, 20])
def test_every_side_of_a_small_set_has_a_picture(n):
    for seed in range(30):
        sides = Counter(side_of_each(DOTS[:n], {"seed": seed})[0].values())
        assert "train" in sides and len(sides) == min(n, 3), (n, seed, sides)


def test_only_what_a_side_lacks_is_borrowed_and_said():
    for seed in range(30):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            parts = split_captions(set_of(DOTS[:20]), seed=seed)
        whole = side_of_each(DOTS[:200], {"seed": seed})[0]
        moved = {name: sum(whole[image["bytes"]] != name for image in keep_encoded(part)["image"])
                 for name, part in parts.items()}
        said = str(caught[0].message) if caught else ""
        for name, n in moved.items():
            assert n == (f"fell into {name}" in said or f"or {name}" in said), (seed, name, said)
            assert n == 0 or len(parts[name]) == 1


def test_below_three_pictures_it_is_said_what_is_possible():
    with pytest.warns(UserWarning, match="2 different pictures, so .* no (test|validation); 3"):
        split_captions(set_of(DOTS[:2]))
    with pytest.warns(UserWarning, match="1 different picture, so .* no validation and no test; 3"):
        assert list(split_captions(set_of(DOTS[:1] * 5))) == ["train"]


def test_shares_seeds_and_published_splits():
    everything = set_of(DOTS[:120])
    first, second = (side_of_each(DOTS[:120], {"seed": seed})[0] for seed in (1, 2))
    assert first == side_of_each(DOTS[:120], {"seed": 1})[0] != second
    assert sum(map(len, split_captions(everything, validation=0, test=0).values())) == 120
    assert list(split_captions(everything, test=0)) == ["train", "validation"]
    for shares in {"validation": 0.6, "test": 0.6}, {"validation": -0.1}:
        with pytest.raises(ValueError, match="something to train on"):
            split_captions(everything, **shares)
    published = datasets.DatasetDict(train=everything.select(range(90)),
                                     test=everything.select(range(90, 120)))
    kept = split_captions(keep_encoded(published))
    assert [x["bytes"] for x in kept["test"]["image"]] == DOTS[90:120]
    assert list(kept) == ["train", "validation", "test"]
    with pytest.raises(ValueError, match="no train split"):
        split_captions(datasets.DatasetDict(a=everything, b=everything))


def test_a_stream_is_split_by_the_same_numbers():
    everything = load_captions(set_of(DOTS[:120], text=[f"dot {i}" for i in range(120)]))["train"]
    streamed = split_captions(everything.to_iterable_dataset())
    table = split_captions(everything)
    assert {name: [row["image_id"] for row in part] for name, part in streamed.items()} == {
        name: part["image_id"][:] for name, part in table.items()}


def test_ways_that_are_usual_would_fail():
    "A test that cannot fail proves nothing: by place, and by a shuffle."
    def by_place(ds, validation, test, seed, order=None):
        order, cut = order or list(range(len(ds))), round(len(ds) * (1 - validation))
        return {"train": ds.select(order[:cut]), "validation": ds.select(order[cut:])}
    def by_shuffle(ds, validation, test, seed):
        return by_place(ds, validation, test, seed,
                        random.Random(seed).sample(range(len(ds)), len(ds)))
    for usual in by_place, by_shuffle:
        for extra in [], DOTS[:1]:
            with patch(f"{__name__}.split_captions",
                       usual), pytest.raises(AssertionError, match="moved|two sides"):
                test_a_picture_never_moves.hypothesis.inner_test(
                    DOTS[:10] + extra, DOTS[10:20], {"validation": 0.4, "test": 0, "seed": 2},
                                                                 random.Random(0))


# --- groups

@SOME
@given(st.lists(st.tuples(st.integers(0, 30),
                          st.sampled_from(["ada", "bob", "cy", "dot", None, ""])), min_size=3,
                max_size=40),
       st.integers(0, 99))
def test_groups_stay_together(rows, seed):
    files, groups = [DOTS[i] for i, _ in rows], [group for _, group in rows]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = split_captions(set_of(files, who=groups), validation=0.3, test=0.3, seed=seed,
                               group="who")
    sides = {}
    for name, part in parts.items():
        for row in keep_encoded(part):
            for key in [row["image"]["bytes"], *([row["who"]] if row["who"] else [])]:
                sides.setdefault(key, set()).add(name)
    assert all(len(names) == 1 for names in sides.values())
    assert sum(map(len, parts.values())) == len(rows)


def test_a_group_that_grows_stays_where_it_is():
    groups = [f"film {i % 40}" for i in range(200)]
    def side_of_group(n):
        parts = split_captions(set_of(DOTS[:n], film=groups[:n]), group="film")
        return {film: name for name, part in parts.items() for film in part["film"]}
    assert side_of_group(120).items() <= side_of_group(200).items()
    stream = split_captions(set_of(DOTS[:200], film=groups).to_iterable_dataset(), group="film")
    assert {row["film"]: name for name, part in stream.items()
            for row in part} == side_of_group(200)


def test_a_group_that_is_no_column_is_refused():
    for ds in set_of(DOTS[:3], film=list("abc")), set_of(DOTS[:3],
                                                         film=list("abc")).to_iterable_dataset():
        with pytest.raises(ValueError, match="group='flim' is no column; there are: image, film"):
            split_captions(ds, group="flim")


# --- pictures that cannot be had

def test_a_picture_that_cannot_be_had_leaves_the_set_and_is_said(tmp_path):
    paths = []
    for i in range(40):
        (tmp_path / f"{i}.png").write_bytes(DOTS[i])
        (tmp_path / f"{i}.txt").write_text(f"dot {i}")
        paths.append(str(tmp_path / f"{i}.png"))
    ds = load_captions(tmp_path)["train"]
    before = {row: name for name, part in split_captions(ds).items() for row in part["image_id"]}
    (tmp_path / "7.png").unlink()
    with pytest.warns(UserWarning, match="left out 1 picture .*7.png: no such file"):
        parts = split_captions(ds)
    after = {row: name for name, part in parts.items() for row in part["image_id"]}
    assert after == {row: name for row, name in before.items() if row != "7.png"}
    left = describe_captions(parts).left_out["pictures that cannot be read"]
    assert left[0] == 1 and "7.png" in left[1]
    with pytest.warns(UserWarning, match="7.png"):
        streamed = [row for part in split_captions(ds.to_iterable_dataset()).values()
                    for row in part]
    assert len(streamed) == 39


def test_a_dead_address_is_one_picture_less():
    pictures = [{"bytes": dot, "path": None}
                for dot in DOTS[:20]] + [{"bytes": None, "path": "http://127.0.0.1:9/dead.png"}]
    ds = datasets.Dataset.from_dict({"image": pictures},
                                    features=datasets.Features(image=datasets.Image()))
    with pytest.warns(UserWarning, match="http://127.0.0.1:9/dead.png"): parts = split_captions(ds)
    assert sum(map(len, parts.values())) == 20
    with pytest.raises(ValueError, match="the only picture cannot be read: .*dead.png"):
        split_captions(ds.select([20]))


# --- rows to score

def test_a_lone_split_for_evaluation_is_taken_whole():
    ten = set_of(DOTS[:10])
    for name in "validation", "test":
        assert evaluation_rows(datasets.DatasetDict({name: ten})) == (name, ten)
    name, rows = evaluation_rows(datasets.DatasetDict(train=set_of(DOTS[:100])))
    assert name == "test" and 2 < len(rows) < 30
    assert len(evaluation_rows(datasets.DatasetDict(train=ten), whole=True)[1]) == 10
    both = datasets.DatasetDict(train=ten, test=set_of(DOTS[:3]))
    assert len(evaluation_rows(both)[1]) == 3
    with pytest.raises(ValueError, match="no split 'novel'; there are: train, validation, test"):
        evaluation_rows(both, "novel")


# --- near copies

def patches(seed, size=(320, 240)):
    "Soft patches of colour, as different from seed to seed as photographs are."
    return Image.frombytes("RGB", (8, 6),
                           random.Random(seed).randbytes(144)).resize(size,
                                                                      Image.Resampling.BICUBIC)


def copies(image):
    "What becomes of a picture."
    w, h = image.size
    return [encoded(image, "JPEG", quality=30), encoded(image.resize((w // 2, h // 2)), "JPEG"),
            encoded(image.resize((w // 5, h // 5)), "WEBP"), encoded(image.convert("L"))]


def apart(a, b): return (perceptual_hash({"bytes": a}) ^ perceptual_hash({"bytes": b})).bit_count()


@pytest.fixture(scope="module")
def families():
    found = []
    for seed in range(12):
        found.append([])
        for member in encoded(patches(seed, (128, 96))), *copies(patches(seed, (128, 96))):
            if all(apart(member, other) <= 4 for other in found[-1]): found[-1].append(member)
    assert all(len(family) > 2 for family in found)
    assert min(apart(a[0], b[0]) for i, a in enumerate(found) for b in found[:i]) > 12
    return {member: n for n, family in enumerate(found) for member in family}


def test_near_copies_stay_together(families):
    some_pictures = st.lists(st.sampled_from(list(families)), min_size=1, max_size=12)

    @settings(max_examples=20, deadline=None, derandomize=True, database=None,
              suppress_health_check=[HealthCheck.too_slow])
    @given(some_pictures, some_pictures, some_options, st.randoms(use_true_random=False))
    def check(first, more, options, rng):
        near, borrowed = side_of_each(first, options | {"near": 4})
        plain, other = side_of_each(first, options)
        sides = {(families[picture], side) for picture, side in near.items()}
        assert len(sides) == len({families[picture]
                                  for picture in first}), "near copies on two sides"
        if borrowed or other: return
        alone = [p for p in near if sum(families[other] == families[p] for other in near) == 1]
        assert all(near[picture] == plain[picture]
                   for picture in alone), "a picture without a near copy moved"
        strangers = [p for p in more if families[p] not in {families[other] for other in first}]
        grown = first + strangers
        rng.shuffle(grown)
        after, _ = side_of_each(grown, options | {"near": 4})
        assert near.items() <= after.items(), "strangers moved a picture"

    check()


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=12),
       st.lists(st.sets(st.integers(0, 63), max_size=9), max_size=6), st.integers(0, 8))
def test_all_near_pairs_are_found(hashes, flips, near):
    for flip in flips: hashes.add(next(iter(hashes)) ^ sum(1 << bit for bit in flip))
    array = np.array(sorted(hashes), np.uint64)
    found = {frozenset(pair) for pair in near_pairs(array, near).tolist()}
    numbers = array.tolist()
    assert found == {frozenset((i, j)) for j, b in enumerate(numbers) for i,
                     a in enumerate(numbers[:j]) if (a ^ b).bit_count() <= near}


def test_near_with_what_cannot_be_compared():
    photos = [encoded(patches(seed)) for seed in range(20)]
    wrecks = [encoded(patches(0), "JPEG")[:300], b"not a picture"] * 3
    assert len(side_of_each(wrecks + photos,
                            {"near": 4})[0]) == 22  # stand alone, their doubles with them
    for near, ds in (9, set_of(photos)), (4, set_of(photos).to_iterable_dataset()):
        with pytest.raises(ValueError, match="near="): split_captions(ds, near=near)
    with patch.dict("sys.modules", imagehash=None):
        with pytest.raises(ImportError, match=re.escape(install_hint("dedupe"))):
            split_captions(set_of(photos), near=4)
        assert split_captions(set_of(photos))["train"].num_rows  # nothing is compared
    files = photos + [encoded(patches(0), "JPEG")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = split_captions(set_of(files, who=["x", "y"] + ["z"] * 19), near=4, group="who",
                               validation=.3, test=.3)
    side = {row["image"]["bytes"]: name for name, part in parts.items()
            for row in keep_encoded(part)}
    assert side[files[0]] == side[files[-1]] == side[files[5]]
