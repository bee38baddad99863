"""Metrics: equal to the COCO caption code, in the right direction, loud about what spoils them."""

import importlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
import unicodedata
import warnings
from collections import Counter
from pathlib import Path

import jiwer
import numpy as np
import pytest

from imgcap.metrics import (
    CaptionStatistics,
    CiderReward,
    Comparison,
    DocumentFrequencies,
    bootstrap_intervals,
    caption_scores,
    caption_statistics,
    cider_document_frequencies,
    compare_scores,
    java_scores,
    match_ids,
    read_file_names,
    read_predictions,
    read_references,
    sentence_similarity,
    tokenize_caption,
)

COCO = json.loads(
    (Path(__file__).parent / "data" / "coco_captions.json").read_text(encoding="utf-8")
)
MADE = {f"{i}{s}": p for i, (three, _) in enumerate(COCO["scenes"]) for s, p in zip("abc", three)}
GIVEN = {f"{i}{s}": r for i, (_, r) in enumerate(COCO["scenes"]) for s in "abc"}
PEOPLE = {
    "1": ["a dog runs along the beach", "a wet dog near the sea"],
    "2": ["a cat asleep on a sofa", "cat on the couch"],
    "3": ["a man surfing a wave", "a man on a surfboard"],
}
SAID = {"1": "a dog runs on the beach", "2": "a cat on a sofa", "3": "a man on a beach"}


@pytest.fixture
def drawn():
    "Predictions and one to five references each, of words drawn at random."
    rng = random.Random(5)

    def line(low):
        words = ["a", "a", "the", "dog", "beach", "sea", "runs", "red"]
        return " ".join(rng.choice(words) for _ in range(rng.randint(low, 9)))

    pairs = {str(i): (line(0), [line(1) for _ in range(rng.randint(1, 5))]) for i in range(120)}
    return {k: p for k, (p, _) in pairs.items()}, {k: r for k, (_, r) in pairs.items()}


@pytest.fixture
def silent():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def grams(words, n):
    return Counter(zip(*(words[k:] for k in range(n))))


# --- equal to the COCO caption code


def test_scores_are_those_of_the_coco_code(silent):
    ours = caption_scores(MADE, GIVEN)
    for name, value in COCO["scores"].items():
        if name != "meteor":
            assert ours[name] == pytest.approx(value, abs=1e-9), name


NEEDS_JAVA = pytest.mark.skipif(
    not (importlib.util.find_spec("pycocoevalcap") and shutil.which("java")),
    reason="needs pycocoevalcap and Java",
)


@NEEDS_JAVA
def test_scores_are_those_of_the_coco_code_asked_again(silent):
    script = """
import json, sys
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.cider.cider import Cider
made, given = json.load(sys.stdin)
gts = PTBTokenizer().tokenize({k: [{"caption": c} for c in r] for k, r in given.items()})
res = PTBTokenizer().tokenize({k: [{"caption": c}] for k, c in made.items()})
bleu = Bleu(4).compute_score(gts, res, verbose=0)[0]
print(json.dumps([*bleu, *(float(m().compute_score(gts, res)[0]) for m in (Rouge, Cider))]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps([MADE, GIVEN]),
        capture_output=True,
        text=True,
        check=True,
    )
    ours = caption_scores(MADE, GIVEN)
    assert json.loads(done.stdout) == pytest.approx(
        [ours[k] for k in COCO["scores"] if k != "meteor"], abs=1e-9
    )
    assert java_scores(MADE, GIVEN, ["meteor"])["meteor"] == pytest.approx(
        COCO["scores"]["meteor"], abs=1e-9
    )


@NEEDS_JAVA
def test_meteor_whatever_the_machine_speaks(monkeypatch, silent):
    "German Java writes decimals with a comma, which the original cannot read."
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-Duser.language=de")
    perfect = java_scores(SAID, {key: [text] for key, text in SAID.items()}, ["meteor"])
    assert 0.1 < java_scores(SAID, PEOPLE, ["meteor"])["meteor"] < perfect["meteor"] <= 1


def cider_d(predictions, references, sigma=6.0):
    "CIDEr-D of each image by its formula (Vedantam et al. 2015)."
    frequency, scores = Counter(), []
    for captions in references.values():
        frequency.update({g for c in captions for n in (1, 2, 3, 4) for g in grams(c.split(), n)})

    def weigh(c, n):
        return {g: k * (np.log(len(references)) - np.log(max(1, frequency[g])))
                for g, k in grams(c.split(), n).items()}

    for image, said in predictions.items():
        total = 0
        for reference in references[image]:
            gap = max(0, len(said.split()) - 1) - max(0, len(reference.split()) - 1)
            for n in (1, 2, 3, 4):
                ours, theirs = weigh(said, n), weigh(reference, n)
                size = np.sqrt(
                    sum(v * v for v in ours.values()) * sum(v * v for v in theirs.values())
                )
                shared = sum(min(ours.get(g, 0), v) * v for g, v in theirs.items())
                total += (shared / size if size else 0) * np.exp(-(gap**2) / (2 * sigma**2)) / 4
        scores.append(10 * total / len(references[image]))
    return scores


def test_cider_d_is_its_formula(drawn):
    found = caption_statistics(*drawn).column("cider_d")
    assert found == pytest.approx(cider_d(*drawn), abs=1e-9) and found.max() > 1


def test_cider_d_gains_nothing_by_repeating_a_word():
    references = PEOPLE | {
        str(i): [f"a {w} here"] for i, w in enumerate("tree house bus plane".split(), 10)
    }
    first = {k: r[0] for k, r in references.items() if k not in SAID}

    def score(text):
        table = caption_statistics(SAID | {"1": text} | first, references)
        return table.column("cider_d")[0]

    assert score("a dog dog dog dog on the beach") < score("a dog runs along the beach")
    assert score("a dog runs along the beach " + "x " * 9) < score("a dog runs along the beach x")
    assert score("beach") < score("a dog on the beach")


def test_document_frequencies_count_images_and_not_captions():
    frequencies = cider_document_frequencies(
        {"1": ["a dog", "the dog", "one dog"], "2": ["a cat"], "3": ["a cat", "a cat"]}
    )
    assert frequencies.images == 3 and frequencies.counts == {
        "a": 3,
        "cat": 2,
        "a cat": 2,
    }  # a single image's are not kept


def test_bleu_is_its_formula(drawn):
    predictions, references = drawn
    matches, total, length, closest = np.zeros(4), np.zeros(4), 0, 0
    for image, said in predictions.items():
        ours, theirs = said.split(), [r.split() for r in references[image]]
        length += len(ours)
        closest += min((abs(len(t) - len(ours)), len(t)) for t in theirs)[1]  # ties to the shorter
        for n in (1, 2, 3, 4):
            known = [grams(t, n) for t in theirs]
            matches[n - 1] += sum(
                min(k, max(t[g] for t in known)) for g, k in grams(ours, n).items()
            )
            total[n - 1] += grams(ours, n).total()
    brevity = min(1, np.exp(1 - closest / length))
    found = caption_scores(*drawn)
    for n in (1, 2, 3, 4):
        assert found[f"bleu_{n}"] == pytest.approx(
            np.prod(matches[:n] / total[:n]) ** (1 / n) * brevity, rel=1e-6
        )


def test_bleu_takes_the_reference_that_is_closest_in_length():
    near, far = "a b c d e f", "a b c d e f g h i j k l"
    assert caption_scores({"1": near}, {"1": [near, far]})["bleu_1"] == pytest.approx(1)
    assert caption_scores({"1": "a b c d"}, {"1": ["a b c d x y", "a b"]})[
        "bleu_1"
    ] == pytest.approx(1)  # two of a distance: the shorter
    assert caption_scores({"1": "a b"}, {"1": [near]})["bleu_1"] == pytest.approx(np.exp(1 - 6 / 2))


def test_rouge_l_is_its_formula(drawn):
    def common(a, b):
        row = [0] * (len(b) + 1)
        for x in a:
            last = row[:]
            for j, y in enumerate(b):
                row[j + 1] = last[j] + 1 if x == y else max(last[j + 1], row[j])
        return row[-1]

    def rouge(said, references, beta=1.2):
        if not said:
            return 0
        found = [(common(r, said), len(r)) for r in references]
        p, r = max(n for n, _ in found) / len(said), max(n / size for n, size in found)
        return (1 + beta**2) * p * r / (r + beta**2 * p) if p and r else 0

    expected = [rouge(p.split(), [r.split() for r in drawn[1][k]]) for k, p in drawn[0].items()]
    assert caption_statistics(*drawn).column("rouge_l") == pytest.approx(expected, abs=1e-12)
    assert caption_scores({"1": "a b c d"}, {"1": ["a b"]})["rouge_l"] == pytest.approx(
        2.44 * 0.5 * 1 / (1 + 1.44 * 0.5)
    )  # recall weighs more


def test_error_rates_are_those_of_jiwer(drawn):
    found = caption_scores(*drawn)
    for name, rate, size in ("wer", jiwer.wer, lambda c: len(c.split())), ("cer", jiwer.cer, len):
        pairs = [
            [(rate(r, p), round(rate(r, p) * size(r)), size(r)) for r in drawn[1][k]]
            for k, p in drawn[0].items()
        ]
        closest, every = [min(p) for p in pairs], sum(pairs, [])
        assert found[name] == pytest.approx(
            sum(e for _, e, _ in closest) / sum(n for _, _, n in closest), abs=1e-12
        )
        assert found[f"{name}_mean"] == pytest.approx(
            sum(e for _, e, _ in every) / sum(n for _, _, n in every), abs=1e-12
        )


def test_error_rates_take_the_best_reference_wherever_it_stands():
    best, worst = "a dog on the beach", "nothing that is like it at all"
    for references in ([best, worst], [worst, best]):
        scores = caption_scores({"1": best}, {"1": references})
        assert scores["wer"] == scores["cer"] == 0 and scores["wer_mean"] > 0.4
    for odd in ("👨‍👩‍👧", "don't n't", "ß é", "1/2 -lrb-", "狗 在", "a " * 300, "ab" * 200):
        words = " ".join(tokenize_caption(odd, None))
        found = caption_scores({"1": "a dog"}, {"1": [odd]}, language=None)
        assert found["wer"] == pytest.approx(jiwer.wer(words, "a dog")) and found[
            "cer"
        ] == pytest.approx(jiwer.cer(words, "a dog"))


def test_a_perfect_caption_and_repeated_ones():
    same = {k: r[0] for k, r in PEOPLE.items()}
    perfect = caption_scores(same, {k: [v] for k, v in same.items()})
    assert perfect["wer"] == perfect["cer"] == 0 and perfect["rouge_l"] == pytest.approx(1)
    assert perfect["bleu_4"] == pytest.approx(1) and perfect["cider_d"] == pytest.approx(10)
    scores = caption_scores(
        {"1": "a cat", "2": "A cat!", "3": "a dog"}, PEOPLE, training_captions=["The end.", "a Cat"]
    )
    assert (
        scores["repeated"] == scores["copied"] == 2 / 3
        and scores["vocabulary"] == 3
        and scores["n"] == 3
    )
    assert (
        scores["distinct_1"] == 3 / 6
        and scores["distinct_2"] == 2 / 3
        and scores["mean_length"] == 2
    )
    twice = caption_scores(
        {"1": "a cat", "2": "a dog"}, {"1": ["the cat", "the cat"], "2": ["dog"]}
    )
    assert (
        twice["wer_mean"] == (1 + 1 + 1) / 5 and twice["wer"] == (1 + 1) / 3
    )  # the same reference twice counts twice


# --- what has no words


@pytest.mark.parametrize(
    "said, reference", [("!", "?"), ("", ""), ("?", "..."), ("😀", "…"), ("!", ""), ("", "?")]
)
@pytest.mark.parametrize("language", ["en", "zh", "de"])
def test_two_captions_without_words_are_not_equal(said, reference, language, silent):
    scores = caption_scores(
        {"1": said, "2": "一只狗在" if language == "zh" else "a dog"},
        {"1": [reference], "2": ["一只狗在" if language == "zh" else "a dog"]},
        language=language,
    )
    alone = caption_scores({"1": said}, {"1": [reference]}, language=language)
    assert (
        alone["wer"] == alone["cer"] == alone["wer_mean"] == alone["cer_mean"] == 1
        and alone["rouge_l"] == alone["cider_d"] == 0
    )
    assert alone["bleu_1"] == pytest.approx(0) and alone["empty"] == 1
    assert (
        scores["empty"] == 1
        and scores["rouge_l"] == 0.5
        and scores["wer"] == 1 / (5 if language == "zh" else 3)
    )


def test_what_has_no_words_is_counted_and_said_once():
    with pytest.warns(UserWarning) as said:
        scores = caption_scores(SAID | {"1": "!", "2": ""}, PEOPLE | {"3": ["!?!", "a man"]})
    assert scores["empty"] == 2
    assert [str(w.message)[:33] for w in said] == ["1 of 3 predictions has no words, "]
    with pytest.warns(UserWarning, match=r"1 of 6 references has no words, .* '!'"):
        caption_statistics(SAID, PEOPLE | {"3": ["!", "a man"]})
    assert CiderReward(PEOPLE)(["1", "2"], ["", "!"]) == [0, 0]


def test_scores_are_numbers_whatever_was_written(silent):
    rng = random.Random(7)
    pieces = [
        "",
        "?!",
        "...",
        "😀",
        "dog",
        "a dog on a mat",
        "a " * 10_000,
        "\u200b",
        "(",
        "<b>",
        "'",
        "\r\n",
        "狗",
        "don't",
        "1/2",
        "x@y",
        "\x00",
        "\ud800",
        "x" * 10_000,
        "สุนัข",
        "\u2028",
        "[SEP]",
    ]
    for _ in range(40):
        n = rng.choice([1, 2, 7])
        made = {str(i): rng.choice(pieces) for i in range(n)}
        given = {str(i): [rng.choice(pieces) for _ in range(rng.randint(1, 4))] for i in range(n)}
        for language in ("en", "zh", "th", "fr", None):
            statistics = caption_statistics(made, given, language=language)
            assert all(
                np.isfinite(v) and v >= 0
                for v in caption_scores(
                    made, given, language=language, statistics=statistics
                ).values()
            )
            reward = CiderReward(given, language=language)
            assert reward(list(made), list(made.values())) == pytest.approx(
                statistics.column("cider_d"), abs=1e-9
            )


# --- any language

GOOD = {
    "zh": (
        {"1": "一只狗在海滩上跑", "2": "两只猫睡在沙发上", "3": "一个男人在冲浪"},
        {"1": ["一只狗在沙滩上跑。"], "2": ["沙发上睡着两只猫"], "3": ["男人在冲浪"]},
    ),
    "ja": (
        {"1": "犬が海辺を走る", "2": "猫が寝ている", "3": "男が波に乗る"},
        {"1": ["犬が浜辺を走る。"], "2": ["猫が眠っている"], "3": ["男性が波に乗る"]},
    ),
    "th": (
        {"1": "สุนัขวิ่งที่ชายหาด", "2": "แมวนอนบนโซฟา", "3": "ผู้ชายเล่นเซิร์ฟ"},
        {"1": ["สุนัขวิ่งบนชายหาด"], "2": ["แมวหลับบนโซฟา"], "3": ["ผู้ชายกำลังเล่นเซิร์ฟ"]},
    ),
}


@pytest.mark.parametrize("language", GOOD)
def test_a_language_without_spaces(language):
    made, given = GOOD[language]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = caption_scores(made, given, language=language)
    assert scores["cider_d"] > 2 and scores["wer"] < 0.6
    for call in (caption_scores, caption_statistics):
        with pytest.warns(UserWarning, match=f"language='{language}'"):
            wrong = call(made, given)
    assert wrong.column("cider_d").sum() == 0
    for call in (CiderReward, cider_document_frequencies):
        with pytest.warns(UserWarning, match=f"language='{language}'"):
            call(given)
    reward = CiderReward(given, language=f"{language}-X-variant")
    assert reward(list(made), list(made.values())) == pytest.approx(
        caption_statistics(made, given, language=language).column("cider_d")
    )
    frequencies = cider_document_frequencies(given, language=language)
    assert (
        caption_scores(made, given, language=f"{language}-US", document_frequencies=frequencies)
        == scores
    )


def test_characters_of_chinese_are_its_words():
    scores = caption_scores({"1": "一只狗在跑"}, {"1": ["一只猫在跑"]}, language="zh")
    assert scores["cer"] == scores["wer"] == 0.2
    assert caption_scores({"1": "a dog"}, {"1": ["a cat"]}, language="fr")["cer"] == jiwer.cer(
        "a cat", "a dog"
    )


@pytest.mark.parametrize("language", ["en", "fr", "vi", "ja", None])
def test_two_spellings_of_an_accent_score_the_same(language):
    text = {"1": "un café près d'ici", "2": "ガラスの窓", "3": "Tiếng Việt"}
    parted = {k: unicodedata.normalize("NFD", t) for k, t in text.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = caption_scores(parted, {k: [t] for k, t in text.items()}, language=language)
        assert scores["wer"] == scores["cer"] == 0


def test_one_warning_for_many_calls():
    made, given = GOOD["zh"]
    code = (
        "from imgcap.metrics import caption_scores, CiderReward\n"
        f"for _ in range(3): caption_scores({made!r}, {given!r}); CiderReward({given!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.count("say language='zh'") == 1


# --- what spoils a score


@pytest.mark.parametrize(
    "token",
    [
        "[SEP]",
        "[CLS]",
        "[pad]",
        "<s>",
        "</s>",
        "<pad>",
        "<unk>",
        "<|endoftext|>",
        "<|im_end|>",
        "<start>",
        "<end>",
        "<end_of_turn>",
        "<extra_id_0>",
        "[/INST]",
        "<sep>",
        "<cls>",
        "<video>",
    ],
)
def test_special_tokens_are_said(token):
    with pytest.warns(UserWarning) as said:
        caption_scores(SAID | {"1": f"a dog {token}"}, PEOPLE)
    assert (
        len(said) == 1
        and "1 of 3 predictions" in str(said[0].message)
        and token in str(said[0].message)
    )
    with pytest.warns(UserWarning, match="1 of 6 references holds special tokens"):
        caption_scores(SAID, PEOPLE | {"2": [f"{token} cat", "a cat"]})
    with pytest.warns(UserWarning, match="special tokens"):
        CiderReward(PEOPLE)(["1"], [f"a dog {token}"])


def test_usual_captions_warn_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        caption_scores(SAID | {"2": "a <b>cat</b> [asleep] i <3 cats", "3": ""}, PEOPLE)
        CiderReward(PEOPLE)(["1"], ["a dog"])


# --- ids


def test_ids_are_compared_as_text():
    expected = caption_scores(SAID, PEOPLE)
    for kind in (int, float, np.int64, np.float64, np.float32):
        assert caption_scores({kind(k): v for k, v in SAID.items()}, PEOPLE) == expected
    statistics = caption_statistics({float(k): v for k, v in SAID.items()}, PEOPLE)
    assert (
        statistics.ids == ["1", "2", "3"]
        and caption_scores({float(k): v for k, v in SAID.items()}, PEOPLE, statistics=statistics)
        == expected
    )
    assert CiderReward({1: ["a dog"], 2.0: ["a cat"]})([1.0, "2"], ["dog", "dog"])[0] > 0


@pytest.mark.parametrize(
    "predictions, references, named",
    [
        ({"1": "x", "2": "y"}, {"1": ["x"]}, "1 of 2 predictions has no references: image '2'"),
        (
            {"1": "x"},
            {"1": ["x"], "9": ["y"]},
            "1 of 2 images has references and no prediction: image '9'",
        ),
        ({"1": "x"}, {"1": []}, "empty for image '1'"),
        ({"1": None}, {"1": ["x"]}, "a prediction is one text"),
        ({"1": "x"}, {"1": "x"}, "list of texts"),
        ({"1": "x"}, {"1": 3}, "list of texts"),
        ({"1": "x"}, {"1": [3]}, "list of texts"),
        ({}, {}, "no predictions"),
        ({"1": "x"}, {}, "no references"),
        ({"1": "a", 1: "b"}, {"1": ["a"]}, "the same as text"),
        ({"1": "a", 1.0: "b"}, {"1": ["a"]}, "the same as text"),
        (
            {str(i): "x" for i in range(5000)},
            {"a": ["x"]},
            "5000 of 5000 predictions have no references: image '0', '1', '2', … 4997 more",
        ),
        ({"x" * 5000: "x"}, {"a": ["x"]}, "1 of 1 prediction has no references"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(predictions, references, named):
    with pytest.raises(ValueError) as error:
        caption_scores(predictions, references)
    assert (
        named in str(error.value) and len(str(error.value)) < 400 and "\n" not in str(error.value)
    )


def test_statistics_and_frequencies_that_do_not_fit():
    statistics, frequencies = caption_statistics(SAID, PEOPLE), cider_document_frequencies(PEOPLE)
    assert caption_scores(SAID, PEOPLE, statistics=statistics) == caption_scores(SAID, PEOPLE)
    with pytest.raises(ValueError, match="other images"):
        caption_scores({"1": "a", "2": "b", "9": "c"}, PEOPLE, statistics=statistics)
    with pytest.raises(ValueError, match="language 'en', .* 'zh'"):
        caption_scores(SAID, PEOPLE, language="zh", document_frequencies=frequencies)
    with pytest.raises(ValueError, match="one id a caption"):
        CiderReward(PEOPLE)(["1"], [])
    with pytest.raises(ValueError, match="'none'"):
        CiderReward(PEOPLE)(["none"], ["a"])
    assert CiderReward(PEOPLE)([], []) == []


def test_frequencies_of_a_larger_set_serve_one_image(tmp_path):
    frequencies = cider_document_frequencies(PEOPLE)
    frequencies.save(tmp_path / "f.json")
    assert DocumentFrequencies.load(tmp_path / "f.json") == frequencies
    one = CiderReward({"1": PEOPLE["1"]}, document_frequencies=frequencies)
    assert one(["1"], [SAID["1"]]) == pytest.approx(
        [caption_statistics(SAID, PEOPLE).column("cider_d")[0]]
    )
    assert (
        caption_scores({"1": SAID["1"]}, {"1": PEOPLE["1"]})["cider_d"] == 0
    )  # of a set of one, every word is in every picture


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"\xff",
        b"[1]",
        b"{}",
        b'{"images": 3, "counts": [], "language": "en"}',
        b'{"images": 0, "counts": {}, "language": "en"}',
    ],
)
def test_what_are_no_frequencies(content, tmp_path):
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(ValueError, match="bad.json"):
        DocumentFrequencies.load(tmp_path / "bad.json")


# --- intervals and comparisons


@pytest.fixture
def systems():
    "Two systems on two hundred pictures, easy and hard; a is a little better in each."
    rng = random.Random(0)
    given, a, b = {}, {}, {}
    for i in range(200):
        words = [
            rng.choice(
                "dog cat bird horse cow sheep fox frog red blue green old new big small wet".split()
            )
            for _ in range(24)
        ]
        wrong = rng.randint(0, 22)
        given[str(i)] = [" ".join(words)]
        a[str(i)] = " ".join(["x"] * wrong + words[wrong:])
        b[str(i)] = " ".join(["x"] * (wrong + 1) + words[wrong + 1 :])
    frequencies = cider_document_frequencies(given)
    return tuple(caption_statistics(s, given, document_frequencies=frequencies) for s in (a, b))


def test_the_better_system_is_better_in_every_metric(systems):
    found = compare_scores(*systems)
    back = compare_scores(*systems[::-1])
    assert set(found) == {
        "bleu_1",
        "bleu_2",
        "bleu_3",
        "bleu_4",
        "rouge_l",
        "cider_d",
        "wer",
        "wer_mean",
        "cer",
        "cer_mean",
    }
    for name, c in found.items():
        lower = name.startswith(("wer", "cer"))
        assert c.probability == 1 and back[name].probability == 0, name
        assert (c.difference < 0 and c.high < 0) if lower else (c.difference > 0 and c.low > 0), (
            name
        )
        assert (
            c.difference == pytest.approx(systems[0].scores()[name] - systems[1].scores()[name])
            and c.low <= c.difference <= c.high
        )
    assert all(
        c == Comparison(0, 0, 0, 0.5) for c in compare_scores(systems[0], systems[0]).values()
    )


def test_the_comparison_is_paired(systems):
    "Both systems are scored on the same draws, so that how hard a picture is cancels."
    found, (a, b) = compare_scores(*systems), (bootstrap_intervals(s)["wer"] for s in systems)
    assert a[1] > b[0]  # the systems' own intervals overlap
    assert found["wer"].high - found["wer"].low < (a[1] - a[0]) / 4
    mixed = CaptionStatistics(
        systems[1].ids[::-1], systems[1].table[::-1]
    )  # the order of the pictures does not matter
    assert compare_scores(systems[0], mixed)["wer"] == pytest.approx(found["wer"])
    with pytest.raises(ValueError, match="different images"):
        compare_scores(systems[0], caption_statistics(SAID, PEOPLE))


def test_intervals_are_those_of_scores_drawn_again(systems):
    statistics = systems[0]
    wide, narrow = (bootstrap_intervals(statistics, level=p)["wer"] for p in (0.95, 0.5))
    assert wide[0] < narrow[0] < statistics.scores()["wer"] < narrow[1] < wide[1]
    samples = [
        statistics.scores(i)["wer"] for i in np.random.default_rng(0).integers(0, 200, (1000, 200))
    ]  # the same draws, one by one
    assert abs(np.mean([wide[0] <= s <= wide[1] for s in samples]) - 0.95) <= 0.0021
    assert (
        bootstrap_intervals(statistics, seed=1)
        == bootstrap_intervals(statistics, seed=1)
        != bootstrap_intervals(statistics)
    )
    assert bootstrap_intervals(caption_statistics({"1": "a"}, {"1": ["a b"]}))["wer"] == (0.5, 0.5)


def test_rows_drawn_are_pictures_scored(drawn):
    statistics, draw = caption_statistics(*drawn), np.random.default_rng(3).integers(0, 120, 120)
    again = [{str(i): side[statistics.ids[r]] for i, r in enumerate(draw)} for side in drawn]
    slow = caption_scores(*again, document_frequencies=cider_document_frequencies(drawn[1]))
    fast = statistics.scores(draw)
    assert all(slow[k] == pytest.approx(fast[k], abs=1e-9) for k in fast)
    halves = statistics.scores(draw.reshape(2, 60))
    assert all(halves[k][1] == pytest.approx(statistics.scores(draw[60:])[k]) for k in fast)


def test_five_thousand_pictures_take_seconds():
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(8000)])[
        rng.choice(8000, (30_000, 11), p=(1 / np.arange(1, 8001)) / np.sum(1 / np.arange(1, 8001)))
    ]
    captions = [" ".join(w) + "." for w in words]
    start = time.process_time()
    caption_scores(
        {str(i): captions[i] for i in range(5000)},
        {str(i): captions[5000 + 5 * i : 5005 + 5 * i] for i in range(5000)},
    )
    assert time.process_time() - start < 40  # about three on a quiet machine
    start, reward = (
        time.process_time(),
        CiderReward({str(i): captions[5 * i : 5 * i + 5] for i in range(200)}),
    )
    reward([str(i % 200) for i in range(300)], captions[:300])
    assert time.process_time() - start < 5


# --- files


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_files_of_captions(tmp_path):
    results = write(
        tmp_path / "results.json",
        '[{"image_id": 42, "caption": "a dog"}, {"image_id": 7.0, "caption": ""}]',
    )
    coco = write(
        tmp_path / "coco.json",
        '{"images": [{"id": 42, "file_name": "a.jpg"}], "annotations": ['
        '{"image_id": 42, "caption": "the dog"}, '
        '{"image_id": 7, "caption": "a cat"}, {"image_id": 42, "caption": "dog"}]}',
    )
    lines = write(
        tmp_path / "lines.jsonl",
        '\ufeff{"image_id": "42", "captions": ["the dog", "dog"]}\r\n\r\n'
        '{"file_name": "7.jpg", "caption": "ein Kätzchen"}\r\n',
    )
    run = write(
        tmp_path / "run.jsonl", '{"image_id": "a", "caption": "a dog", "references": ["the dog"]}'
    )
    assert read_predictions(results) == {"42": "a dog", "7": ""}
    assert read_references(coco) == {"42": ["the dog", "dog"], "7": ["a cat"]} and read_file_names(
        coco
    ) == {"a.jpg": "42"}
    assert (
        read_references(lines) == {"42": ["the dog", "dog"], "7.jpg": ["ein Kätzchen"]}
        and read_file_names(lines) == {}
    )
    assert read_predictions(run) == {"a": "a dog"} and read_references(run) == {"a": ["the dog"]}


@pytest.mark.parametrize("odd", ["\u2028", "\u2029", "\x85", "\x0b", "\x1c", "\x1d"])
def test_only_a_newline_ends_a_line(odd, tmp_path):
    rows = [{"image_id": 1, "caption": f"a dog{odd}runs"}, {"path": "p/2.jpg", "caption": "a cat"}]
    path = write(
        tmp_path / "captions.jsonl", "\n".join(json.dumps(r, ensure_ascii=False) for r in rows)
    )
    assert read_predictions(path) == {"1": f"a dog{odd}runs", "p/2.jpg": "a cat"}
    assert read_references(path) == {"1": [f"a dog{odd}runs"], "p/2.jpg": ["a cat"]}


def test_lines_of_the_caption_command(tmp_path):
    path = write(
        tmp_path / "captions.jsonl",
        '{"path": "p/1.jpg", "caption": "a dog", "score": -1}\n'
        '{"path": "p/2.jpg", "error": "no picture"}\n',
    )
    with pytest.warns(UserWarning, match="1 of 2 pictures has an error"):
        assert read_predictions(path) == {"p/1.jpg": "a dog", "p/2.jpg": ""}


@pytest.mark.parametrize(
    "read, content, named",
    [
        (
            read_predictions,
            b'{"image_id": 1, "caption": "a"}\n{"image_id": "1", "caption": "b"}',
            "line 2 gives a second prediction for image '1'",
        ),
        (read_predictions, b'{"image_id": 1, "caption": "a"}\n{"image_id"', "line 2"),
        (read_predictions, b'{"image_id": 1, "captions": ["a"]}', "no text under 'caption'"),
        (
            read_references,
            b'[{"id": 1, "caption": "a"}]',
            "no image_id (its keys: 'id', 'caption')",
        ),
        (read_references, b"\xff\xfe[", "not UTF-8"),
        (read_references, b"", "holds no captions"),
        (read_references, b"3", "holds int"),
        (read_references, b'{"annotations": 3}', "holds int"),
        (read_predictions, b'[{"image_id": 1.5, "caption": "a"}]', "no image_id"),
        (read_predictions, b'[{"image_id": NaN, "caption": "a"}]', "no image_id"),
        (read_predictions, b'[{"image_id": true, "caption": "a"}]', "no image_id"),
        (read_predictions, b'["a"]', "is str"),
        (read_predictions, b"[" * 50_000, "line 1: no JSON (brackets are nested too deep)"),
        (
            read_references,
            b'{"image_id": 1, "caption": "a"}\n{"image_id": 1, "x":' + b"[" * 50_000,
            "line 2: no JSON (brackets are nested too deep)",
        ),
        (
            read_predictions,
            json.dumps({str(i): "a dog" for i in range(5000)}).encode(),
            "no image_id (its keys: '0', '1', '2', … 4997 more)",
        ),
        (
            read_references,
            json.dumps({str(i): ["a dog"] for i in range(5000)}).encode(),
            "no image_id (its keys: '0', '1', '2', … 4997 more)",
        ),
    ],
)
def test_what_cannot_be_read_is_named_in_a_line(read, content, named, tmp_path):
    with pytest.raises(ValueError) as error:
        read(write(tmp_path / "bad.jsonl", content))
    message = str(error.value).replace(str(tmp_path), "")
    assert (
        "bad.jsonl" in message and named in message and len(message) < 300 and "\n" not in message
    )


FLAGS = [(True, 1), (1, 1), ("true", 1), (False, 0), (0, 0), ("0", 0), ("", 0), (None, 0)]
FLAGS += [("TRUE", 1), (1.0, 1), ("FALSE", 0), ("no", 0), (float("nan"), 0), (0.0, 0)]


@pytest.mark.parametrize("flag", ["is_rejected", "is_precanned"])
@pytest.mark.parametrize("value, marked", FLAGS)
def test_references_that_are_marked_as_none_are_left_out(flag, value, marked, tmp_path, recwarn):
    rows = [
        {"image_id": 1, "caption": "a dog", flag: value},
        {"image_id": 1, "caption": "a black dog"},
        {"image_id": 2, "caption": "Quality issues are too severe", flag: value},
    ]
    path = write(tmp_path / "coco.json", json.dumps({"annotations": rows}))
    both = {"1": ["a dog", "a black dog"], "2": ["Quality issues are too severe"]}
    assert read_references(path) == ({"1": ["a black dog"]} if marked else both)
    assert [str(each.message) for each in recwarn] == [
        "2 references are left out: they are marked as rejected or as no caption"
    ] * marked
    recwarn.clear()
    read_references(write(tmp_path / "one.json", json.dumps({"annotations": rows[:2]})))
    assert [str(each.message) for each in recwarn] == [
        "1 reference is left out: it is marked as rejected or as no caption"
    ] * marked
    path = write(tmp_path / "all.json", json.dumps([rows[0]] * 2))
    if marked:
        with pytest.raises(ValueError, match="all.json: 2 captions, all of them, are marked"):
            read_references(path)


@pytest.mark.parametrize("ours, theirs", [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_path_in_another_unicode_form_is_the_same(ours, theirs, silent):
    name = unicodedata.normalize(ours, "photos/Café Ångström.jpg")
    names = {unicodedata.normalize(theirs, "Café Ångström.jpg"): "7", "other.jpg": "8"}
    references = {"7": ["coffee"], "8": ["tea"]}
    said = {name: "a cup", "other.jpg": "a pot"}
    assert match_ids(said, references, names) == {"7": "a cup", "8": "a pot"}
    references = {unicodedata.normalize(theirs, name): ["coffee"]}
    assert list(match_ids({name: "a cup"}, references)) == list(references)


def test_json_that_is_nested_too_deep_is_named(tmp_path):
    path = write(tmp_path / "deep.json", '{"annotations": ' + "[" * 50_000)
    for read in read_predictions, read_references:
        with pytest.raises(ValueError, match="deep.json: brackets are nested too deep"):
            read(path)
    assert read_file_names(path) == {}
    with pytest.raises(ValueError, match="deep.json holds no document frequencies"):
        DocumentFrequencies.load(path)


@pytest.mark.parametrize(
    "said, image",
    [
        ("000000000042", "42"),
        ("42", "000000000042"),
        ("42.0", "42"),
        ("COCO_val2014_000000000042.jpg", "42"),
        ("42", "COCO_val2014_000000000042.jpg"),
        ("photos/07.jpg", "07"),
        ("07", "photos/07.jpg"),
        ("photos\\07.jpg", "07.png"),
        ("/home/me/photos/a/07.jpg", "a/07"),
        ("x/000000000042.jpg", "42"),
        ("photos/beach.jpg", "beach"),
        ("beach.JPEG", "beach.jpg"),
        ("0", "000"),
    ],
)
def test_ids_that_are_written_in_another_way_are_matched(said, image):
    other = "99" if image not in ("07.png", "beach") else "other"
    with pytest.warns(UserWarning, match="1 of 2 predictions is matched"):
        assert match_ids({said: "a dog", other: "a cat"}, {image: ["dog"], other: ["cat"]}) == {
            image: "a dog",
            other: "a cat",
        }


def test_ids_that_are_the_same_are_left_alone():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert match_ids({1.0: "a", "07.jpg": "b"}, {1: ["x"], "07.jpg": ["y"], "07": ["z"]}) == {
            "1": "a",
            "07.jpg": "b",
        }


def test_file_names_of_coco_annotations(silent):
    references, names = (
        {"101": ["dog"], "102": ["cat"]},
        {"00.jpg": "101", "01.jpg": "102", "09.jpg": "999"},
    )
    assert match_ids({"p/01.jpg": "a cat", "p/00.jpg": "a dog"}, references, names) == {
        "102": "a cat",
        "101": "a dog",
    }


@pytest.mark.parametrize(
    "predictions, references, named",
    [
        (
            {"a/00.jpg": "x", "b/00.jpg": "y"},
            ["00"],
            "a/00.jpg and b/00.jpg both look like image '00'",
        ),
        ({"00.jpg": "x"}, ["a/00", "b/00"], "00.jpg can be image 'a/00', 'b/00'"),
        ({"7": "x"}, ["007", "07"], "7 can be image"),
        (
            {"a/left.jpg": "x"},
            ["right", "b/left"],
            "1 of 1 prediction matches no image of the references: 'a/left.jpg'; "
            "the images are 'right', 'b/left'",
        ),
        ({"train_7.jpg": "x"}, ["val_7.jpg"], "matches no image"),
        (
            {f"x{i}": "x" for i in range(5000)},
            [f"y{i}" for i in range(5000)],
            "'x0', 'x1', 'x2', … 4997 more",
        ),
    ],
)
def test_ids_that_cannot_be_matched_in_one_way(predictions, references, named):
    with pytest.raises(ValueError) as error:
        match_ids(predictions, {k: ["x"] for k in references})
    assert named in str(error.value) and len(str(error.value)) < 300


@pytest.mark.parametrize(
    "content, named", [('{"image_id": 1, "captions": ["一只狗"]}', "say --language 'zh'")]
)
def test_the_score_command_takes_a_language(content, named, tmp_path, capsys):
    from imgcap.cli import main

    write(
        tmp_path / "p.jsonl",
        '{"path": "p/1.jpg", "caption": "一只狗"}\n{"path": "p/2.jpg", "caption": "两只猫"}',
    )
    write(
        tmp_path / "r.jsonl",
        '{"image_id": 1, "captions": ["一只狗"]}\n{"image_id": 2, "captions": ["两只白猫"]}',
    )
    show = warnings.showwarning
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            assert (
                main(["score", str(tmp_path / "p.jsonl"), str(tmp_path / "r.jsonl"), "--json"]) == 0
            )
            wrong = capsys.readouterr()
            assert (
                main(
                    [
                        "score",
                        str(tmp_path / "p.jsonl"),
                        str(tmp_path / "r.jsonl"),
                        "--json",
                        "--language",
                        "zh",
                    ]
                )
                == 0
            )
            right = capsys.readouterr()
            assert (
                main(
                    [
                        "score",
                        str(tmp_path / "p.jsonl"),
                        str(tmp_path / "r.jsonl"),
                        "--language",
                        "Chinese",
                    ]
                )
                == 2
            )
    finally:
        warnings.showwarning = show
    assert named in wrong.err and named not in right.err
    assert (
        json.loads(right.out)["wer"] == pytest.approx(1 / 7) and json.loads(wrong.out)["wer"] == 0.5
    )
    assert "language" in capsys.readouterr().err


# --- evaluate's metric


def test_the_metric_of_evaluate():
    import evaluate
    import imgcap.metrics

    metric = imgcap.metrics.CaptionMetric(keep_in_memory=True)
    assert (
        isinstance(metric, evaluate.Metric)
        and "CaptionMetric" not in imgcap.metrics.__all__
        and not hasattr(imgcap.metrics, "no_such_name")
    )
    metric.add_batch(predictions=[SAID["1"], SAID["2"]], references=[PEOPLE["1"], PEOPLE["2"]])
    metric.add_batch(predictions=[SAID["3"]], references=[PEOPLE["3"]])
    assert metric.compute() == pytest.approx(caption_scores(SAID, PEOPLE))
    assert (
        metric.compute(predictions=["一只狗"], references=[["一只狗在"]], language="zh")["wer"]
        == 0.25
    )


def test_the_metric_of_two_processes_without_a_network(tmp_path):
    import imgcap.metrics

    other = """
import socket, sys
def refuse(*args): raise OSError("no network")
socket.socket.connect = refuse
from imgcap.metrics import CaptionMetric
metric = CaptionMetric(num_process=2, process_id=1, experiment_id="shared", cache_dir=sys.argv[1])
metric.add_batch(predictions=["a dog"], references=[["a black dog"]])
assert metric.compute() is None
"""
    second = subprocess.Popen([sys.executable, "-c", other, str(tmp_path)])
    metric = imgcap.metrics.CaptionMetric(
        num_process=2, process_id=0, experiment_id="shared", cache_dir=str(tmp_path)
    )
    metric.add_batch(
        predictions=["a cat", "the sea"], references=[["a cat asleep", "cat"], ["a sea"]]
    )
    result = metric.compute()
    assert second.wait(100) == 0
    assert result == pytest.approx(
        caption_scores(
            {"1": "a cat", "2": "the sea", "3": "a dog"},
            {"1": ["a cat asleep", "cat"], "2": ["a sea"], "3": ["a black dog"]},
        )
    )


# --- Java, by stand-ins that say what they were given

METEOR = """import threading, os
class Meteor:
    def __init__(self): self.lock = threading.Lock()
    def compute_score(self, gts, res):
        self.lock.acquire()
        if gts['1'] == ['fail']: float(b'')
        assert os.environ['JDK_JAVA_OPTIONS'].startswith('-Xmx1g -Duser.language=en')
        Meteor.seen = gts, res
        self.lock.release()
        return 0.25, [0.25]
    def __del__(self): self.lock.acquire()
"""
SPICE = """import subprocess
class Spice:
    def compute_score(self, gts, res):
        print('Parsing')
        if gts['1'] == ['fail']: raise subprocess.CalledProcessError(1, 'java')
        return 0.125, []
"""


@pytest.fixture
def java(tmp_path, monkeypatch):
    "Puts a java of some version, and a pycocoevalcap, before those of the machine."
    for name, code in {
        "__init__.py": "",
        "meteor/__init__.py": "",
        "spice/__init__.py": "",
        "meteor/meteor.py": METEOR,
        "spice/spice.py": SPICE,
    }.items():
        path = tmp_path / "pycocoevalcap" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(code)
    for name in [m for m in sys.modules if m.split(".")[0] == "pycocoevalcap"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("JDK_JAVA_OPTIONS", "-Xmx1g")

    def version(number):
        (tmp_path / "java").write_text(
            f"#!/bin/sh\necho 'openjdk version \"{number}\" 2020-01-01' >&2\n"
        )
        (tmp_path / "java").chmod(0o755)

    version("11.0.2")
    yield version
    for name in [m for m in sys.modules if m.split(".")[0] == "pycocoevalcap"]:
        del sys.modules[name]


def test_meteor_and_spice_are_asked(java):
    assert java_scores({1: "The dog's!"}, {1: ["A dog.", "Dog"]}) == {
        "meteor": 0.25,
        "spice": 0.125,
    }

    def seen(): return sys.modules["pycocoevalcap.meteor.meteor"].Meteor.seen

    assert seen() == ({"1": ["a dog", "dog"]}, {"1": ["the dog 's"]})
    assert java_scores({1: "a|||b"}, {1: ["|||"]}, "meteor", language=None) and seen() == (
        {"1": ["|"]},
        {"1": ["a|b"]},
    )
    assert java_scores({1: "a"}, {1: ["a"]}, ["meteor"], language="en-GB") == {"meteor": 0.25}
    for metric, named in (
        ("meteor", r"METEOR's Java program failed \(ValueError"),
        ("spice", "SPICE did not run"),
    ):
        with pytest.raises(OSError, match=named):
            java_scores({1: "a"}, {1: ["fail"]}, [metric])
    assert os.environ["JDK_JAVA_OPTIONS"] == "-Xmx1g"


def test_versions_of_java(java):
    java("1.8.0_412")
    assert java_scores({1: "a"}, {1: ["a"]}, ["spice"]) == {"spice": 0.125}
    java("17.0.15")
    assert java_scores({1: "a"}, {1: ["a"]}, "meteor") == {"meteor": 0.25}
    with pytest.raises(OSError, match="found Java 17"):
        java_scores({1: "a"}, {1: ["a"]})


def test_what_java_scores_refuses(java, monkeypatch):
    with pytest.raises(ValueError, match="'cider'"):
        java_scores({1: "a"}, {1: ["a"]}, ["cider"])
    with pytest.raises(ValueError, match="English only"):
        java_scores({1: "a"}, {1: ["a"]}, language="zh")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="no java on the PATH"):
        java_scores({1: "a"}, {1: ["a"]})
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pycocoevalcap, which is not installed"):
        java_scores({1: "a"}, {1: ["a"]})


# --- learned metrics, with small random models: the formulas, by the library's own forward pass

WAVES = {
    "1": "a dog runs on the beach",
    "2": "a cat on a sofa",
    "3": "the man",
    "4": "",
    "5": "a wave " * 50,
    "6": "a dog on a wave",
}
TOLD = {
    "1": ["a dog on the beach", "the dog runs"],
    "2": ["a cat asleep on the sofa", "cat", "a sofa"],
    "3": ["a man surfing a wave"],
    "4": ["a dog"],
    "5": ["", "wave"],
    "6": ["a wave on the beach"],
}


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    "A folder with a CLIP and an encoder of sentences, and both models."
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    transformers.utils.logging.disable_progress_bar()
    folder = tmp_path_factory.mktemp("learned")
    words = (
        "[PAD] [UNK] [BOS] [EOS] A photo depicts a dog cat on the beach sofa runs man surfing "
        "wave asleep"
    ).split()
    plain = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    plain.post_processor = processors.TemplateProcessing(
        single="[BOS] $0 [EOS]", special_tokens=[("[BOS]", 2), ("[EOS]", 3)]
    )
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
    )
    small = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    torch.manual_seed(0)
    clip = transformers.CLIPModel(
        transformers.CLIPConfig(
            projection_dim=16,
            vision_config=small | dict(image_size=32, patch_size=16, attention_dropout=0.1),
            text_config=small
            | dict(
                vocab_size=len(words),
                max_position_embeddings=12,
                eos_token_id=3,
                bos_token_id=2,
                pad_token_id=0,
                attention_dropout=0.1,
            ),
        )
    ).eval()
    bert = transformers.BertModel(
        transformers.BertConfig(vocab_size=len(words), max_position_embeddings=12, **small)
    ).eval()
    for network in clip, bert:  # the usual initial weights are so small that all texts look alike
        for weight in network.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.5)
    clip.save_pretrained(folder / "clip")
    transformers.CLIPProcessor(
        transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32), tokenizer
    ).save_pretrained(folder / "clip")
    bert.save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    return folder, clip, bert, tokenizer


@pytest.fixture(scope="module")
def photos():
    from PIL import Image

    rng = np.random.default_rng(0)
    return {k: Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)) for k in WAVES}


def test_clip_score_is_its_formula(learned, photos):
    import torch
    from transformers import CLIPProcessor
    from imgcap.metrics import clip_scores

    folder, clip, *_ = learned
    processor = CLIPProcessor.from_pretrained(folder / "clip")

    def forward(text, photo):
        with torch.no_grad():
            out = clip(
                **processor(
                    text="A photo depicts " + text,
                    images=photo,
                    return_tensors="pt",
                    truncation=True,
                    max_length=12,
                )
            )
        return out.text_embeds[0].numpy(), out.image_embeds[0].numpy()

    scores = clip_scores(WAVES, photos, str(folder / "clip"), references=TOLD, batch_size=4)
    for i, k in enumerate(WAVES):
        text, photo = forward(WAVES[k], photos[k])
        score, nearest = (
            2.5 * max(text @ photo, 0),
            max(0, *(text @ forward(r, photos[k])[0] for r in TOLD[k])),
        )
        assert scores["clip_score"][i] == pytest.approx(score, abs=1e-5)
        assert scores["ref_clip_score"][i] == pytest.approx(
            2 / (1 / score + 1 / nearest) if score and nearest else 0, abs=1e-5
        )
    assert (
        (scores["clip_score"] == 0).any()
        and (scores["clip_score"] > 0).sum() > 1
        and scores["clip_score"].max() <= 2.5
    )
    assert clip_scores(WAVES, photos, str(folder / "clip"))["clip_score"] == pytest.approx(
        scores["clip_score"], abs=1e-6
    )


def test_clip_score_of_a_file_and_what_it_refuses(learned, photos, tmp_path):
    from imgcap.metrics import clip_scores

    clip, bert = str(learned[0] / "clip"), str(learned[0] / "bert")
    photos["1"].save(tmp_path / "one.png")
    one = clip_scores({1: WAVES["1"]}, {1.0: tmp_path / "one.png", "2": "not looked at"}, clip)[
        "clip_score"
    ]
    assert one == pytest.approx(clip_scores({1: WAVES["1"]}, photos, clip)["clip_score"], abs=1e-6)
    for call, named in (
        (lambda: clip_scores(WAVES, photos, bert), "is a bert model"),
        (lambda: clip_scores({"1": None}, photos, clip), "a prediction is one text"),
        (lambda: clip_scores(WAVES, {"1": photos["1"]}, clip), "have no picture: image '2'"),
        (lambda: clip_scores({"1": "a"}, {"1": b"garbage"}, clip), ""),
    ):
        with pytest.raises(ValueError) as error:
            call()
        assert named in str(error.value)


def test_sentence_similarity_is_the_cosine_with_the_nearest(learned):
    import torch

    folder, _, bert, tokenizer = learned

    def mean_state(text):
        with torch.no_grad():
            return (
                bert(**tokenizer(text, return_tensors="pt", truncation=True, max_length=12))
                .last_hidden_state[0]
                .mean(0)
            )

    found = sentence_similarity(WAVES, TOLD, str(folder / "bert"), batch_size=4)
    for k, value in zip(WAVES, found):
        assert value == pytest.approx(
            max(
                torch.cosine_similarity(mean_state(WAVES[k]), mean_state(r), dim=0).item()
                for r in TOLD[k]
            ),
            abs=1e-5,
        )
    assert sentence_similarity({1: "a dog"}, {1: ["a cat", "a dog"]}, str(folder / "bert"))[
        0
    ] == pytest.approx(1)


@pytest.mark.parametrize("options", [{"resamples": 0}, {"level": 95}, {"level": 0}])
def test_intervals_that_cannot_be_drawn(options, systems):
    for call in (lambda: bootstrap_intervals(systems[0], **options),
                 lambda: compare_scores(*systems, **options)):
        with pytest.raises(ValueError, match=next(iter(options))):
            call()


@pytest.mark.parametrize("graphics_card", [True, False])
def test_a_network_runs_where_it_is_told_to(monkeypatch, graphics_card):
    import torch

    from imgcap.metrics.learned import _device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: graphics_card)
    assert _device("cpu").type == "cpu"
    assert _device("auto").type == ("cuda" if graphics_card else "cpu")
