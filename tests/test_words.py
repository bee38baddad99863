"""What a word is, in every language, and the doubt that captions are in another."""

import json
import unicodedata
from pathlib import Path

import pytest

from imgcap.words import join_words, language_doubt, primary_language, tokenize_caption

ROOT = Path(__file__).resolve().parents[1]

DATA = Path(__file__).parent / "data"
WORDS = json.loads((DATA / "coco_captions.json").read_text(encoding="utf-8"))["words"]
CHINESE = ["一只狗在海滩上跑。", "两只猫睡在沙发上", "一个男人在冲浪"]
THAI = ["สุนัขวิ่งที่ชายหาด", "แมวสองตัวนอนบนโซฟา"]
ENGLISH = ["a dog runs along the beach", "two cats asleep on a sofa", "a man surfing a wave"]


@pytest.mark.parametrize("text", WORDS)
def test_english_is_as_the_coco_code(text):
    assert " ".join(tokenize_caption(text)) == unicodedata.normalize("NFC", WORDS[text])


@pytest.mark.parametrize(
    "language, text, words",
    [
        ("zh", "一只狗在海滩上跑。", "一 只 狗 在 海 滩 上 跑"),
        ("yue", "一隻狗，喺海灘！", "一 隻 狗 喺 海 灘"),
        ("zh-Hans-CN", "二〇二四年，人人", "二 〇 二 四 年 人 人"),
        ("zh", "一个穿T恤的人拿着iPhone 15", "一 个 穿 t 恤 的 人 拿 着 iphone 15"),
        ("ja", "犬が走る、ラーメン。", "犬 が 走 る ラ ー メ ン"),
        ("ja", "人々はＴシャツ", "人 々 は ｔ シ ャ ツ"),
        ("th", "กำลังวิ่งที่", "กำ ลั ง วิ่ ง ที่"),
        ("th", "แมว 2 ตัว (cat)", "แ ม ว 2 ตั ว cat"),
        ("lo", "ໝາກຳ", "ໝ າ ກຳ"),
        ("my", "ကလေး။", "က လေး"),
        ("my", "မြန်မာ", "မြ န် မာ"),
        ("km", "ក្មេង។", "ក្មេ ង"),
        ("fr", "L'été, un chien…", "l été un chien"),
        ("de", "Der 2. Hund (GROß)", "der 2 hund groß"),
        ("ru", "Собака бежит!", "собака бежит"),
        ("ar", "كلبٌ، أين؟", "كلبٌ أين"),
        ("hi", "एक कुत्ता।", "एक कुत्ता"),
        ("fa", "می\u200cدود", "میدود"),
        ("ko", "개가 달린다.", "개가 달린다"),
        ("en-GB", "The dog's.", "the dog 's"),
        (None, "Don't touch .", "Don't touch ."),
    ],
)
def test_words_of_a_language(language, text, words):
    found = tokenize_caption(text, language)
    assert " ".join(found) == words
    assert join_words(found, language).replace(" ", "") == words.replace(" ", "")


@pytest.mark.parametrize("language", ["en", "fr", "vi", "ja", "ko", "hi", "th", None])
@pytest.mark.parametrize(
    "text",
    [
        "Un café près d'ici",
        "Tiếng Việt",
        "ガラスのコップ",
        "한국어 개",
        "क़लम",
        "İstanbul",
        "Ångström",
    ],
)
def test_two_spellings_of_an_accent_are_one(text, language):
    composed, parted = unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text)
    assert tokenize_caption(composed, language) == tokenize_caption(parted, language)


def test_a_line_separator_and_invisible_characters():
    assert (
        tokenize_caption("chien\u2028noir", "fr")
        == tokenize_caption("chien\u0085noir", "fr")
        == ["chien", "noir"]
    )
    assert tokenize_caption("ca\u00adfé\ufe0f", "fr") == ["café"]
    assert tokenize_caption("แมว\u200bดำ", "th") == tokenize_caption("แมว ดำ", "th")
    assert tokenize_caption("葛\U000e0100飾", "ja") == ["葛", "飾"]


@pytest.mark.parametrize("language", ["English", "", "e", "en US", "zh/Hans", 3, "français"])
def test_what_is_no_language(language):
    with pytest.raises(ValueError, match="language is .*'zh-Hans'"):
        tokenize_caption("x", language)


def test_the_first_part_of_a_tag_decides():
    assert [
        primary_language(t) for t in ("zh-Hans-CN", "PT-br", "jpn", "cmn_Hans", "eng", None)
    ] == ["zh", "pt", "ja", "zh", "en", None]


@pytest.mark.parametrize(
    "captions, language, say",
    [
        (CHINESE, "en", "zh"),
        (CHINESE, "de", "zh"),
        (CHINESE, "th", "zh"),
        (CHINESE, None, "zh"),
        (["犬が走る", "猫が二匹"], "en", "ja"),
        (["コーヒー"], "ko", "ja"),
        (THAI, "en", "th"),
        (THAI, "zh", "th"),
        (["ໝາແລ່ນຢູ່ຫາດຊາຍ"], "en", "lo"),
        (["ឆ្កែរត់នៅលើឆ្នេរ"], "en", "km"),
        (["ခွေးပြေးနေသည်"], "en", "my"),
        (ENGLISH, "zh", "en"),
        (ENGLISH, "ja", "en"),
        (ENGLISH, "th-TH", "en"),
        (ENGLISH + CHINESE, "en", "zh"),
        (ENGLISH * 2000 + CHINESE * 2000, "en", "zh"),
        ([t for pair in zip(ENGLISH, CHINESE) for t in pair] * 3000, "en", "zh"),
    ],
)
def test_a_script_that_does_not_fit(captions, language, say):
    doubt = language_doubt(captions, language)
    assert f"language={say!r}" in doubt and "\n" not in doubt and len(doubt) < 250


@pytest.mark.parametrize(
    "captions, language",
    [
        (CHINESE, "zh"),
        (CHINESE, "yue"),
        (CHINESE, "ja"),
        (THAI, "th"),
        (ENGLISH, "en"),
        (["犬が走る"], "ja"),
        ([], "en"),
        (["", "!?", "😀"], "zh"),
        (ENGLISH, None),
        (["Ein Hund läuft"], "de"),
        (["Собака бежит"], "ru"),
        (["a red sign that says 停 in white", *ENGLISH], "en"),
        (["一个穿T恤的人拿着iPhone 15", *CHINESE], "zh"),
        (["一只 狗 在 海滩 上 跑"], None),
        (["한국어 문장"], "ko"),
    ],
)
def test_a_script_that_fits(captions, language):
    assert language_doubt(captions, language) == ""


def test_english_hard_lines_are_as_the_coco_code():
    "Made-up lines in forty scripts, with addresses, quotes, emoji; three are known to differ."
    lines = json.loads((DATA / "coco_hard_lines.json").read_text(encoding="utf-8"))
    different = [
        (text, " ".join(tokenize_caption(text)))
        for text, words in lines
        if " ".join(tokenize_caption(text)) != words
    ]
    assert len(lines) > 400 and len(different) <= 3, different


@pytest.mark.parametrize(
    "text, words",
    [
        ("See example.com/a?b=1.", "see example.com/a?b=1"),
        ("(www.a-b.de/x/?q=1#top)", "-lrb- www.a-b.de/x/?q=1#top -rrb-"),
        ("HTTPS://x.org/a_(b)", "https://x.org/a_ -lrb- b -rrb-"),
        ("/a?b=1", "/ a?b = 1"),
        ("a@b.de, and", "a@b.de, and"),
        ("كلب، قطة؟", "كلب ، قطة ؟"),
        ("a۔ b।", "a ۔ b ।"),
        ("बिल्ली", "बिल्ली"),
        ("F# and C#", "f# and c#"),
        ("𝟘 a", "a"),
        ("a/photo-7", "a/photo -7"),
        ("it’sX it'sX", "it 's x it sx"),
        ("inc.x inc.xy", "inc. x inc.xy"),
    ],
)
def test_english_kinds_that_were_cut_elsewhere(text, words):
    assert " ".join(tokenize_caption(text)) == words


def test_the_short_cut_changes_nothing_but_the_time(monkeypatch):
    import random
    import re
    import imgcap.words

    rng = random.Random(11)
    bits = """a A dog Dog's s's y's l's it's cannot Cannot's gonna b b. the The Mr Mr. st St. inc
    Inc. p.m. X. 2nd 3 x2 well-known t-shirt's a-b -a a- U.S. , ;
    . .. ' 's 'S s' n't don't isn't é naïve
    ok, ok,, end. end.. . / co.x""".split()
    spaces = ["", " ", " ", " ", " ", "  ", ", ", ". ", "\t"]
    lines = [
        "".join(rng.choice(bits) + rng.choice(spaces) for _ in range(rng.randint(0, 6)))
        for _ in range(5000)
    ]
    quick = [tokenize_caption(line) for line in lines]
    assert sum(imgcap.words._PLAIN_CAPTION.fullmatch(line) is not None for line in lines) > 300
    for name in ("_PLAIN_CAPTION", "_PLAIN"):
        monkeypatch.setattr(imgcap.words, name, re.compile("(?!)"))
    assert [tokenize_caption(line) for line in lines] == quick


def test_torch_is_not_loaded():
    import subprocess
    import sys

    code = "import sys, imgcap.metrics; sys.exit(bool({'torch', 'datasets'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("text, last", [
    ("this is plan b.", "b."), ("we met him and mr.", "mr."), ("he lives in st.", "st."),
    ("this is a plan.", "plan"), ("this is plan b", "b")])
def test_a_dot_at_the_end_belongs_to_a_letter_or_a_short_form(text, last):
    "As the COCO caption code has it."
    assert tokenize_caption(text) == [*text.split()[:-1], last]


def test_one_module_says_where_a_character_is_a_word():
    from imgcap.evaluate import evidence
    from imgcap.model import constraints, decoding
    from imgcap.words import CJK

    said = [path.name for path in sorted((ROOT / "imgcap").rglob("*.py"))
            if "\\u3040-\\u30ff" in path.read_text(encoding="utf-8")]
    assert said == ["words.py"]
    assert CJK in evidence._READ_WORD.pattern
    assert decoding.CJK is constraints.CJK is evidence.CJK is CJK
