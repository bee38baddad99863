"""What a chat model is asked: fields of a template, words that are no words, thoughts that are no
captions, and what cannot be asked."""

import json
import logging
import warnings

import datasets
import pytest
import torch
from chat_models import make_chat_model
from one_command import run
from tokenizers import AddedToken

from imgcap.config import Decoding, TrainConfig
from imgcap.data import keep_encoded, load_captions
from imgcap.data.creatures import make_creatures
from imgcap.evaluate import evaluate_model
from imgcap.evaluate.explain import word_heatmaps
from imgcap.families import caption_tokenizer
from imgcap.families.chat import QUESTIONS, render
from imgcap.families.prompts import asked, prompt_fields
from imgcap.infer import Captioner, CaptionError, caption_files
from imgcap.model import caption_from_tokens, caption_loss, load_model
from imgcap.model.decoding import texts_so_far
from imgcap.preprocess import CaptionCollator
from imgcap.train import EpochRows, finetune
from imgcap.train.batches import TrainCollator, encode_once, feature_file

SHORT = {"max_steps": 1, "validations": 1, "max_new_tokens": 3, "precision": "float32",
         "batch_size": 3}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_chat_model("idefics3", tmp_path_factory.mktemp("prompts") / "model")


@pytest.fixture(scope="module")
def loaded(folder):
    return load_model(folder, device="cpu")


@pytest.fixture(scope="module")
def captioner(loaded):
    model, processor = loaded
    return Captioner(model, processor=processor)


@pytest.fixture(scope="module")
def data():
    "Sets with a column of tags, and one picture twice under other tags."
    made = make_creatures({"train": 5, "validation": 10, "test": 3})
    tags = [["red", "round"], ["two eyes, wings"], [], ["sea"], ["night", "grass"]]
    return datasets.DatasetDict({name: part.add_column("tags", (tags * 2)[: len(part)])
                                 for name, part in made.items()})


@pytest.fixture(scope="module")
def photos(tmp_path_factory, data):
    "A folder of pictures, two of which have a text file of tags beside them."
    home = tmp_path_factory.mktemp("files") / "sea creatures"
    home.mkdir()
    for number, row in enumerate(data["test"]):
        row["image"].save(home / f"{number}.png")
    (home / "0.txt").write_text("1girl, solo\noutdoors, \n", encoding="utf-8")
    (home / "1.txt").write_bytes("\ufeffgrün".encode())
    return home


# --- templates


@pytest.mark.parametrize(
    "template, fields, filled",
    [
        ("Describe it.", [], "Describe it."),
        ("Tags: {tags}. {name}?", ["tags", "name"], "Tags: a, {b}. 7?"),
        ('Answer as {{"caption": {{}}}}.', [], 'Answer as {"caption": {}}.'),
        ("{{{name}}}", ["name"], "{7}"),
        ("{tags}{tags}", ["tags", "tags"], "a, {b}a, {b}"),
    ],
)
def test_a_template_is_filled_once(template, fields, filled, loaded):
    row = {"image": "photos/7.jpg", "tags": ["a", "{b}"], "captions": ["no"]}
    assert prompt_fields(template) == fields
    assert asked(loaded[1], template, template, row) == (filled, filled)


@pytest.mark.parametrize("template", ["{name", "name}", "{a{b}}", "{{name}", "}"])
def test_half_a_brace_is_refused(template):
    with pytest.raises(ValueError, match="brace") as refused:
        prompt_fields(template)
    assert "\n" not in str(refused.value)


def test_what_a_row_says_of_itself(loaded, data):
    def ask(template, row):
        return asked(loaded[1], template, "", row)[0]

    row = {"image": {"bytes": b"", "path": "/a/b/c.jpeg"}, "year": 2024, "tags": None, "score": 0.5,
           "of": float("nan"), "note": "two\nlines"}
    assert ask("{name}/{folder}/{year}/{score}/{tags}/{of}/{note}", row) == (
        "c/b/2024/0.5///two lines")
    assert ask("{name} {folder}", {**row, "name": "n", "folder": ""}) == "n", "its own go first"
    image_id = {"image": data["test"][0]["image"], "image_id": "x/v1.2 cat"}
    assert ask("{name} in {folder}", image_id) == "v1.2 cat in x"
    for wrong in ("{captions}", "{image}", "{facts}"):
        with pytest.raises(ValueError, match="prompt names"):
            ask(wrong, {**row, "captions": ["the answer"], "facts": {"a": 1}})


def test_tags_stand_beside_files_and_captions_beside_rows(loaded, photos, monkeypatch):
    "A set that was read from a folder has its captions in those files: they are never tags."
    _, processor = loaded
    files = [str(photos / f"{i}.png") for i in range(3)]
    with pytest.warns(UserWarning, match="no .txt file"):
        told = [asked(processor, "{tags} of {folder}", "", file)[0] for file in files]
    assert told == ["1girl, solo, outdoors of sea creatures", "grün of sea creatures",
                    "of sea creatures"]
    row = {"image": {"bytes": None, "path": files[0]}, "image_id": "0.png"}
    assert asked(processor, "{folder}", "", row)[0] == "sea creatures"
    with pytest.raises(ValueError, match=r"names \{tags\}.*are captions"):
        asked(processor, "{tags}", "", row)
    assert asked(processor, "{tags}", "", row["image"])[0] == "1girl, solo, outdoors"
    monkeypatch.chdir(photos)
    assert asked(processor, "{name} of {folder}", "", "0.png")[0] == "0 of sea creatures"


def test_tags_of_a_file_of_metadata_are_a_column(loaded, photos, tmp_path):
    "A list of them, as JSON has it, too."
    told = []
    for tags in (["red", "two eyes"], "red, two eyes"):
        (tmp_path / "0.png").write_bytes((photos / "0.png").read_bytes())
        row = {"file_name": "0.png", "caption": "a red one", "tags": tags}
        (tmp_path / "set.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        [row] = keep_encoded(load_captions(tmp_path / "set.jsonl")["train"])
        told.append(asked(loaded[1], "{tags}", "", row)[0])
    assert told == ["red, two eyes"] * 2


def test_a_picture_in_memory_has_no_name(captioner, data):
    image = data["test"][0]["image"]
    with pytest.raises(ValueError, match="a file, and this picture is none"):
        captioner(image.copy(), prompt="{name}")
    row = {"image": image, "name": "7", "folder": ""}
    assert captioner(row, prompt="{name}", max_new_tokens=2).tokens
    with pytest.raises(ValueError, match=r"\{style\}; there are"):
        captioner(row, prompt="In {style}.")


def prompts_of(processor, batch):
    "The prompts of a batch, without the places of pictures and padding."
    texts = processor.tokenizer.batch_decode(batch["prompt_input_ids"], skip_special_tokens=True)
    return [text.split("User:")[-1].split("\n")[0] for text in texts]


@pytest.mark.parametrize("augment", [None, lambda image, captions, rng: image])
@pytest.mark.parametrize("form", [list, keep_encoded])
def test_prompts_of_a_batch_may_differ(loaded, data, form, augment):
    "Also those of one picture that comes twice, and in the second epoch, out of memory."
    model, processor = loaded
    rows = list(form(data["train"]))[:3]
    rows.append({**rows[0], "image_id": "again", "tags": ["something", "else"]})
    options = {"prompt": "Tags: {tags}.", "system": "{image_id}", "choose": "first"}
    collator = CaptionCollator(processor, augment=augment, **options)
    first, second = collator(rows), collator(rows[::-1])
    wanted = ["Tags: red, round.", "Tags: two eyes, wings.", "Tags: .", "Tags: something, else."]
    assert prompts_of(processor, first) == wanted
    assert prompts_of(processor, second) == wanted[::-1]
    alone = [CaptionCollator(processor, **options)([row]) for row in rows]
    with torch.no_grad():
        tokens = [(batch["labels"][:, 1:] != -100).sum() for batch in alone]
        total = sum(n * caption_loss(model, batch) for n, batch in zip(tokens, alone))
        for batch in (first, second):
            assert caption_loss(model, batch) == pytest.approx(float(total / sum(tokens)), abs=2e-5)


def test_kept_features_are_not_read_with_the_prompt_of_another(folder, data, tmp_path):
    "What a frozen vision tower made is kept for a row; what is asked about it is not in it."
    model, processor = load_model(folder, device="cpu")
    model.requires_grad_(False)
    rows, config = EpochRows(data["train"]), TrainConfig(prompt="Tags: {tags}.", augment=False)
    config.precision = "float32"
    collator = TrainCollator(processor, prompt=config.prompt, choose="first", rows=rows)
    some = [rows[i] for i in range(3)]
    before = caption_loss(model, collator(some))
    kept = feature_file(model, config, tmp_path / "features", processor, len(rows))
    encode_once(model, kept, collator(some), [0, 1, 2])
    collator = TrainCollator(processor, prompt=config.prompt, choose="first", rows=rows,
                             features=kept)
    assert collator.cache_bytes == 0, "a picture is read once, and need not be remembered"
    batch = collator(some)
    assert "image_features" in batch and "pixel_values" not in batch
    assert prompts_of(processor, batch)[0] == "Tags: red, round."
    assert caption_loss(model, batch) == pytest.approx(float(before), abs=1e-6)
    assert prompts_of(processor, collator(some[::-1])) == prompts_of(processor, batch)[::-1]


def test_many_pictures_are_asked_as_each_alone(captioner, data):
    "Rows, a set, and a set whose pictures are called otherwise."
    how = {"prompt": "Tags: {tags}. {image_id}", "max_new_tokens": 5}
    rows = list(data["test"])
    alone = [captioner(row, **how) for row in rows]
    assert len({caption.text for caption in alone}) > 1
    assert [c.text for c in captioner.many(rows, **how)] == [c.text for c in alone]
    named = {"prompt": "{folder}/{name}", "max_new_tokens": 5} # by their id
    wanted = [captioner(row, **named).text for row in rows]
    assert [c.text for c in captioner.many(data["test"], **named)] == wanted
    for pictures in (data["test"], data["test"].rename_column("image", "photo")):
        assert [c.text for c in captioner.many(pictures, **how)] == [c.text for c in alone]
    with pytest.raises(ValueError, match=r"\{mood\}; there are .*\{tags\}"):
        captioner.many(data["test"], prompt="{mood}")


def test_files_are_asked_about_by_name_and_tags(captioner, photos, tmp_path):
    out = tmp_path / "captions.jsonl"
    how = {"prompt": "{name}: {tags}", "max_new_tokens": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        caption_files([photos], captioner, out=out, **how)
    rows = {row["path"]: row["caption"] for row in map(json.loads, out.read_text().splitlines())}
    for name, tags in ("0", "1girl, solo, outdoors"), ("1", "grün"), ("2", ""):
        file = str(photos / f"{name}.png")
        assert rows[file] == captioner(file, prompt=f"{name}: {tags}".strip(),
                                       max_new_tokens=4).text
    with pytest.raises(ValueError, match="into which sidecar"):
        caption_files([photos], captioner, sidecar=True, **how)
    with pytest.raises(ValueError, match=r"\{title\}; a picture that is no row"):
        caption_files([photos], captioner, out=out, overwrite=True, prompt="{title}")


def test_a_text_file_that_is_no_text_costs_its_own_picture(captioner, photos, tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes((photos / "0.png").read_bytes())
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00caf\xe9")
    found = list(captioner.many([picture, photos / "0.png"], prompt="{tags}", max_new_tokens=2))
    assert isinstance(found[0], CaptionError) and "UTF-8" in found[0].error
    assert found[1].tokens


# --- runs


def test_a_run_keeps_its_template(loaded, folder, data, photos, tmp_path):
    "Trained, resumed, evaluated, explained and captioned with."
    model, processor = load_model(folder, device="cpu")
    prompt = "Say red/blue/green. Tags: {tags}."
    out = finetune(model, processor, data, out=tmp_path / "run", prompt=prompt, system="{image_id}",
                   echo=str, **SHORT)
    captioner = Captioner(out, device="cpu")
    assert (captioner.decoding.prompt, captioner.decoding.system) == (prompt, "{image_id}")
    report = evaluate_model(out, data, "test", resamples=5, device="cpu")
    written = [caption.text for caption in captioner.many(data["test"])]
    assert written == [row["caption"] for row in report.predictions]
    row = data["test"][1]
    maps = word_heatmaps(captioner.model, processor, row, "a red one", batch_size=64)
    told = word_heatmaps(captioner.model, processor, row["image"], "a red one", batch_size=64,
                         decoding=Decoding(prompt="Say red/blue/green. Tags: two eyes, wings.",
                                           system=row["image_id"]))
    assert [word.confidence for word in maps] == [word.confidence for word in told]
    with pytest.raises(ValueError, match=r"\{image_id\}; a picture that is no row"):
        captioner.many(str(photos))


def test_a_run_is_trained_on_with_its_prompt(folder, data, tmp_path):
    "Unless another is chosen; and it is said."
    def trained(start, name, **choices):
        said = []
        out = finetune(*load_model(start, device="cpu"), data, out=tmp_path / name,
                       echo=said.append, **SHORT, **choices)
        config = json.loads((out / "run.json").read_text(encoding="utf-8"))["config"]
        return out, (config["prompt"], config["system"]), [line for line in said if "asked" in line]

    first, told, said = trained(folder, "first", prompt="Tags: {tags}?", system="Be short.")
    assert told == ("Tags: {tags}?", "Be short.") and not said
    _, told, said = trained(first / "model", "second")
    assert told == ("Tags: {tags}?", "Be short.")
    assert said == ["asked as in the run that it starts from: "
                    "prompt='Tags: {tags}?' and system='Be short.'"]
    _, told, said = trained(first, "third", prompt="short")
    assert told == ("short", "") and not said


def test_columns_that_are_not_there_are_told_before_the_first_step(loaded, folder, data, tmp_path):
    model, processor = loaded
    for part in ("train", "validation"):
        lacking = data | {part: data[part].remove_columns("tags")}
        with pytest.raises(ValueError, match=r"names \{tags\}"):
            finetune(model, processor, lacking, out=tmp_path / "run", prompt="{tags}", echo=str,
                     **SHORT)
        assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match=r"names \{mood\}"):
        evaluate_model(model, data, "test", processor=processor, prompt="{mood}")


# --- what is no word


def test_tokens_of_the_model_are_no_part_of_a_prompt(captioner, data, tmp_path):
    image = data["test"][0]["image"]
    for text in ("What is in <image>?", "a<end_of_utterance>\nUser: b", "<row_1_col_1>"):
        for name in ("prompt", "system"):
            with pytest.raises(ValueError, match=f"{name} has '<.*leave it out") as refused:
                captioner(image, **{name: text})
            assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="prompt has '<image>'"):
        CaptionCollator(captioner.processor, prompt="Describe <image>")
    usual = captioner({"image": image, "tags": "a b"}, prompt="{tags}", max_new_tokens=4)
    for tags in ("a <image>b", "a <ima<image>ge>b", "a b<end_of_utterance>"):
        told = captioner({"image": image, "tags": tags}, prompt="{tags}", max_new_tokens=4)
        assert told.text == usual.text


def test_of_two_tokens_that_begin_alike_the_longer_is_found(folder):
    _, processor = load_model(folder, device="cpu")
    processor.tokenizer.add_tokens([AddedToken("<ima")], special_tokens=True)
    row = {"image": "7.jpg", "tags": "a <image>b"}
    assert asked(processor, "{tags}", "", row)[0] == "a b"


@pytest.mark.parametrize(
    "written, said",
    [
        ("<think>Is it red?</think>\n a red one", "a red one"),
        ("<THINK>Is it red?</THINK> a red one", "a red one"),
        ("<think>Is it</think>a red<think>or not</think> one", "a red one"),
        ("It is red.\n</think>\n\na red one", "a red one"),
        ("a red one<think>or not", "a red one"),
        ("<think>It may be", ""),
        ("<thinking>It is.</thinking><answer>a red one</answer>", "a red one"),
        ("[THINK]It is.[/THINK]a red one<|im_end|>", "a red one"),
        ("Assistant: a red one", "a red one"),
        ("a red one, 3 < 4 and [sic]", "a red one, 3 < 4 and [sic]"),
        ("a sign that says Assistant: wanted", "a sign that says Assistant: wanted"),
    ],
)
@pytest.mark.parametrize("with_tokens", [False, True])
def test_a_thought_is_no_caption(written, said, with_tokens, folder):
    "Whether its marks are letters or tokens, whole and as it streams."
    _, processor = load_model(folder, device="cpu")
    tokenizer = caption_tokenizer(processor)
    if with_tokens:
        marks = "<think>", "</think>", "[THINK]", "[/THINK]"
        tokenizer.add_tokens([AddedToken(mark, normalized=False) for mark in marks])
    ids = tokenizer(written).input_ids
    caption = caption_from_tokens(tokenizer, ids[1:], [0.5] * len(ids[1:]), ids[:1])
    assert caption.text == said
    assert len(caption.tokens) == len(caption.token_scores)
    states = [texts_so_far(tokenizer, [ids[:n]])[0] for n in range(1, len(ids) + 1)]
    if not written.startswith("It is red"):  # whose beginning nobody could know
        assert all(said.startswith(state) for state in states)


@pytest.mark.parametrize("text", ["assistant: a red one", "a sign that says <think> of it"])
def test_who_does_not_chat_has_no_thoughts(text):
    "What a captioner without prompts writes is its caption, letter for letter."
    tokenizer = caption_tokenizer(load_model("git-tiny", device="cpu")[1])
    ids = tokenizer(text).input_ids
    assert caption_from_tokens(tokenizer, ids[1:], [0.5] * len(ids[1:]), ids[:1]).text == text
    assert text.startswith(texts_so_far(tokenizer, [ids])[0])


def test_a_template_may_be_kept_in_the_processor_alone(folder):
    "A model with one chats, and its thoughts are no captions."
    _, processor = load_model(folder, device="cpu")
    processor.tokenizer.chat_template = None
    tokenizer = caption_tokenizer(processor)
    ids = tokenizer("<think>Is it?</think>a red one").input_ids
    caption = caption_from_tokens(tokenizer, ids[1:], [0.5] * len(ids[1:]), ids[:1])
    assert caption.text == "a red one"
    assert processor.tokenizer.chat_template is None, "what is saved stays as it is"


def test_a_model_that_only_thinks_says_so(loaded, data):
    model, processor = load_model(loaded[0].config.name_or_path, device="cpu")
    caption_tokenizer(processor).add_tokens(AddedToken("<think>", normalized=False))
    model.resize_token_embeddings(len(caption_tokenizer(processor)), mean_resizing=False)
    captioner, image = Captioner(model, processor=processor), data["test"][0]["image"]
    with pytest.warns(UserWarning, match="max_new_tokens"):
        caption = captioner(image, prefix="<think>", max_new_tokens=3)
    assert (caption.text, caption.tokens, caption.score) == ("", [], 0.0)
    with pytest.warns(UserWarning, match="max_new_tokens"):
        *states, last = captioner.stream(image, prefix="<think>", max_new_tokens=3)
    assert all(state == [""] for state in states) and last.text == ""


THINKING = "{% if add_generation_prompt %}{{ 'Assistant:<think>\n' }}{% endif %}"


def test_a_thought_that_the_template_begins_is_ended(folder, data):
    "Where it does not know `enable_thinking`."
    model, processor = load_model(folder, device="cpu")
    usual = "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
    assert usual in processor.chat_template
    processor.chat_template = processor.chat_template.replace(usual, THINKING)
    assert render(processor).endswith("Assistant:<think>\n\n</think>\n\n")
    image = data["test"][0]["image"]
    assert Captioner(model, processor=processor)(image, max_new_tokens=2).tokens


# --- what cannot be asked

NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') "
LOSES_SYSTEM = "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}"


@pytest.mark.parametrize(
    "before, said",
    [
        (NO_SYSTEM + "}}{% endif %}", "refuses this; leave system out.*System role not supported"),
        (LOSES_SYSTEM, "system is not read by the model's chat template; say it in prompt"),
    ],
)
def test_a_template_that_takes_no_system_prompt(before, said, folder, data, tmp_path):
    model, processor = load_model(folder, device="cpu")
    processor.chat_template = before + processor.chat_template
    captioner, image = Captioner(model, processor=processor), data["test"][0]["image"]
    with pytest.raises(ValueError, match=said) as refused:
        captioner(image, system="Be brief.")
    assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match=said):
        finetune(model, processor, data, out=tmp_path / "run", system="Be brief.", echo=str,
                 **SHORT)
    assert not (tmp_path / "run").exists()
    assert captioner(image, max_new_tokens=1).tokens


@pytest.mark.parametrize("name", QUESTIONS)
def test_names_of_questions_stand_in_the_help(name, loaded):
    fields = {field.name: field.metadata["help"] for kind in (Decoding, TrainConfig)
              for field in vars(kind)["__dataclass_fields__"].values()}
    assert name in fields["prompt"]
    assert render(loaded[1], name.upper().replace("-", "_")) == render(loaded[1], QUESTIONS[name])


@pytest.mark.parametrize("text", [" ", "\n\t", "\udcff"])
@pytest.mark.parametrize("name", ["prompt", "system"])
@pytest.mark.parametrize("kind", [Decoding, TrainConfig])
def test_a_prompt_of_nothing_is_refused(kind, name, text):
    with pytest.raises(ValueError, match=f"{name} is .*says nothing|UTF-8"):
        kind(**{name: text})


def test_a_prompt_that_is_too_long_is_one_line(data, caplog):
    "The library has nothing to add about a tokenizer's limit."
    captioner, logger = Captioner("smol-tiny", device="cpu"), logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(ValueError, match="room for 512"):
            captioner(data["test"][0]["image"], prompt="word " * 600)
    finally: logger.removeHandler(caplog.handler)
    assert not caplog.records


def test_a_prompt_of_ten_thousand_letters(captioner, data, tmp_path):
    "More than there is room for: told in captioning, and in training before the first step."
    long = "red " * 2500
    with pytest.raises(ValueError, match="prompt and picture take .*room for 2048"):
        captioner(data["test"][0]["image"], prompt=long)
    with pytest.raises(ValueError, match="prompt and picture take .*room for 2048"):
        finetune(captioner.model, captioner.processor, data, out=tmp_path / "run", prompt=long,
                 echo=str, **SHORT)
    assert not (tmp_path / "run").exists()
    assert captioner(data["test"][0]["image"], prompt="red " * 250, max_new_tokens=1).tokens


LINES = [
    ("caption {photos} --model {model} --prompt {{mood}}",
     "--prompt names {mood}; a picture that is no row of a set has {name}, {folder}, {tags}; "
     "a brace that is no field is written {{ or }}"),
    ("caption {photos} --model {model} --prompt {{name", "brace without its other half"),
    ("caption {photos} --model {model} --prompt=", "--prompt is empty; imgcap caption --help"),
    ("caption {photos} --model {model} --sidecar --prompt {{tags}}", "into which --sidecar"),
    ("caption {photos} --model git-tiny --prompt short", "prompt is for chat models"),
    ("caption {photos} --model git-tiny --system short", "system is for chat models"),
    ("caption {photos} --model {model} --prompt a<image>", "--prompt has '<image>' in it"),
    ("evaluate --data creatures --model {model} --prompt {{mood}}",
     "--prompt names {mood}; there are {name}, {folder}"),
    ("train --data creatures --model {model} --out {out} --prompt {{mood}}",
     "--prompt names {mood}; there are {name}, {folder}"),
    ("train --data creatures --model git-tiny --out {out} --prompt short",
     "prompt is for chat models"),
    ("train --data creatures --model {model} --out {out} --prompt=", "--prompt is empty"),
]


@pytest.mark.parametrize("line, said", LINES)
def test_a_prompt_that_cannot_be_is_one_line(line, said, folder, photos, tmp_path, monkeypatch):
    small = make_creatures({"train": 4, "validation": 4, "test": 4})
    monkeypatch.setattr("imgcap.cli.learning.load_rows", lambda *_: small)
    places = {"photos": photos, "model": folder, "out": tmp_path / "run"}
    words = [word.format(**places) if "/" not in word else word for word in line.split()]
    status, _, err = run(*words)
    assert status == 2 and said in err, err
    assert len([line for line in err.splitlines() if not line.startswith("warning")]) == 1, err
    assert not (tmp_path / "run").exists()
