"""What LoRA adds to a model: it is kept, found with its base, refused where that is another, and
published with a card that names it."""

import contextlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from chat_models import make_chat_model
from huggingface_hub import ModelCard
from little_hub import TOKEN, little_hub
from transformers import AutoModelForImageTextToText, TrainerCallback

from imgcap.data.creatures import make_creatures
from imgcap.evaluate import evaluate_model, read_scores
from imgcap.infer import Captioner
from imgcap.model import generate_captions, load_model, new_smol_tiny, weights_fingerprint
from imgcap.run_files import weights_folder
from imgcap.share import model_card, published_files, push_run
from imgcap.train import finetune
from imgcap.train.checkpoints import save_checkpoint

pytest.importorskip("peft")
SMALL = {"max_steps": 2, "validations": 1, "max_new_tokens": 4, "batch_size": 4}
SMALL |= {"precision": "float32", "augment": False, "echo": str, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def data():
    return make_creatures({"train": 6, "validation": 2, "test": 3})


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_chat_model("idefics3", tmp_path_factory.mktemp("base") / "idefics3")


def train(base, data, out, **options):
    return finetune(*load_model(base, device="cpu"), data, out=out, **SMALL | options)


@pytest.fixture(scope="module")
def made(base, data, tmp_path_factory):
    return train(base, data, tmp_path_factory.mktemp("runs") / "run", lora=2)


@pytest.fixture
def run(made, tmp_path):
    "A copy of it to change."
    return Path(shutil.copytree(made, tmp_path / "run"))


def says(name, data):
    return [each.text for each in Captioner(name, device="cpu").many(list(data["test"]["image"]))]


def named(folder, base=None):
    "What an adapter calls its base; another name where one is given."
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if base is not None:
        config["base_model_name_or_path"] = base
        path.write_text(json.dumps(config), encoding="utf-8")
    return config["base_model_name_or_path"]


def refused(name):
    with pytest.raises(ValueError) as caught:
        load_model(name, device="cpu")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_base_in_a_folder_is_found_from_anywhere(base, data, tmp_path, monkeypatch):
    "Also where it was given as seen from another folder."
    monkeypatch.chdir(base.parent)
    run = train(base.name, data, tmp_path / "run", lora=2)
    captions = says(run, data)
    monkeypatch.chdir(tmp_path)
    assert named(run / "adapter") == str(base)
    assert says("run", data) == captions == says(Path("run/adapter"), data)


def test_what_comes_with_the_package_goes_by_its_name(data, tmp_path):
    run = train("git-tiny", data, tmp_path / "run", lora=2, merge=False)
    assert named(run / "adapter") == "git-tiny"
    assert weights_folder(run) == run / "adapter" and says(run, data)


@pytest.mark.filterwarnings("error::FutureWarning", "error::UserWarning")
def test_an_adapter_is_trained_on(made, base, data, tmp_path):
    "The next adapter belongs to the model with the first one in it, and to no other."
    next_run = train(made, data, tmp_path / "next", lora=2, merge=True)
    assert named(next_run / "adapter") == str(made / "adapter")
    merged, added = (load_model(next_run / name, device="cpu")[0] for name in ("model", "adapter"))
    pairs = zip(merged.parameters(), added.parameters())
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)
    assert says(next_run / "model", data) == says(next_run / "adapter", data)
    named(next_run / "adapter", str(base))
    assert "other weights" in refused(next_run / "adapter")


def test_all_weights_of_an_adapted_model_learn(made, data, tmp_path):
    run = train(made, data, tmp_path / "run")
    before, after = load_model(made)[0], load_model(run)[0]
    assert all(p.requires_grad for p in before.parameters())
    assert not torch.equal(before.get_input_embeddings().weight,
                           after.get_input_embeddings().weight)


def test_a_model_made_here_is_saved_whole(data, tmp_path):
    "There is no other place where the rest of it would be found."
    run = finetune(*new_smol_tiny(vision_layers=1, text_layers=1), data, out=tmp_path / "run",
                   lora=2, **SMALL)
    assert weights_folder(run) == run / "model" and not (run / "adapter").exists()
    assert says(run, data)
    with pytest.raises(ValueError, match="no folder and no repository"):
        finetune(*new_smol_tiny(vision_layers=1, text_layers=1), data, out=tmp_path / "other",
                 lora=2, merge=False, **SMALL)
    assert not (tmp_path / "other").exists()


def test_another_base_is_refused(run, tmp_path):
    "Of another type, and of the same type with other weights."
    other = make_chat_model("idefics3", tmp_path / "other", seed=1)
    named(run / "adapter", str(other))
    assert f"other weights than those that {other} has now" in refused(run)
    named(run / "adapter", str(make_chat_model("llava", tmp_path / "llava")))
    (run / "run.json").unlink()
    assert f"does not fit the model {tmp_path / 'llava'}" in refused(run / "adapter")
    named(run / "adapter", "git-tiny")
    assert "does not fit the model git-tiny" in refused(run / "adapter")


def test_half_an_adapter_is_refused(run):
    from safetensors.torch import load_file, save_file

    path = run / "adapter" / "adapter_model.safetensors"
    weights = load_file(path)
    lost = weights.pop(sorted(weights)[0])
    save_file(weights, path, {"format": "pt"})
    assert "asked for by its adapter_config.json and not in its file" in refused(run)
    save_file({**load_file(path), "base_model.model.more.lora_A.weight": lost}, path)
    refused(run)
    path.write_bytes(path.read_bytes()[:200])
    assert "its adapter_model.safetensors cannot be used" in refused(run)
    path.unlink()
    (run / "adapter" / "adapter_model.bin").write_bytes(b"x")
    assert "not its weights (adapter_model.safetensors)" in refused(run)


def test_a_base_that_is_gone_is_named(run):
    named(run / "adapter", "/no/such/base")
    said = refused(run)
    assert "trained with the model /no/such/base" in said and "write its place into" in said
    (run / "adapter" / "adapter_config.json").write_text("{}")
    assert "does not name the model" in refused(run)


def test_an_adapter_of_others_is_read_with_the_processor_of_its_base(run, base, data):
    captions = says(run, data)
    for path in (run / "adapter").iterdir():
        if not path.name.startswith("adapter_"):
            path.unlink()
    (run / "adapter" / "README.md").write_text("An adapter.")
    assert says(run, data) == captions


def test_scores_of_an_older_adapter_go(run, base, data):
    "As those of an older model do, where others come into its place."
    evaluate_model(run, data, resamples=5, device="cpu").save(run)
    assert read_scores(run)[0]
    save_checkpoint(*load_model(base, device="cpu"), run / "adapter")
    assert not (run / "metrics.json").exists()


@pytest.mark.parametrize("part", ["", "adapter", "model"])
def test_a_merged_run_is_known_by_each_of_its_parts(part, merged, data, tmp_path):
    report = evaluate_model(merged / part, data, resamples=5, device="cpu")
    assert [row["caption"] for row in report.predictions] == says(merged, data)
    assert Captioner(merged / part, device="cpu").decoding.max_new_tokens == 4
    report.save(tmp_path / "scores")


@pytest.fixture(scope="module")
def merged(base, data, tmp_path_factory):
    return train(base, data, tmp_path_factory.mktemp("merged") / "run", lora=2, merge=True)


# --- published


@pytest.fixture
def hub():
    with little_hub() as hub:
        yield hub


def put_on_hub(hub, name, folder, card):
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    files["README.md"] = card.encode()
    stored = {name: hub.store(content) for name, content in files.items()}
    hub.repos[name] = {"private": False, "commits": {}, "main": stored}


PROMPT = "Which of red/green/blue is {{it}}?"
ASKED = r"""
import re, sys
from pathlib import Path
from imgcap.infer import Captioner
captioner = Captioner("ada/adapter", device="cpu")
print([captioner("picture.png").text, captioner.decoding.prompt, captioner.decoding.system])
blocks = re.findall(r"```python\n(.*?)```", Path(sys.argv[1]).read_text(), re.S)
for block in blocks: exec(block, {"print": lambda text: print([text])})
"""


def test_a_stranger_captions_with_a_published_adapter(base, data, hub, tmp_path):
    "By its name on the Hub, where its base is found too; with imgcap, and without."
    run = train(base, data, tmp_path / "run", lora=2, prompt=PROMPT, system="Be `brief`.")
    row = data["test"][0]["image"]
    row.save(tmp_path / "picture.png")
    put_on_hub(hub, "ada/base", base, "---\nlicense: other\nlicense_name: fair\n---\nA base.")
    push_run(run, "ada/adapter", token=TOKEN, endpoint=hub.endpoint, base_model="ada/base")
    sent = hub.files("ada/adapter")
    assert json.loads(sent["adapter_config.json"])["base_model_name_or_path"] == "ada/base"
    assert str(tmp_path).encode() not in b"".join(sent.values())
    environment = os.environ | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", ASKED, run / "README.md"], env=environment, capture_output=True,
        text=True, cwd=tmp_path,
    )
    assert not done.returncode, done.stderr
    said, *others = map(eval, done.stdout.splitlines())
    assert said == [Captioner(run, device="cpu")(row).text, PROMPT, "Be `brief`."]
    assert others == [said[:1], said[:1]]
    text = (run / "README.md").read_text(encoding="utf-8")
    assert f"In training it was told “Be `brief`.” and asked “{PROMPT}”" in text
    card = ModelCard(text).data
    assert (card.base_model, card.base_model_relation) == ("ada/base", "adapter")
    assert (card.library_name, card.pipeline_tag) == ("peft", "image-text-to-text")
    assert (card.license, card.license_name) == ("other", "fair")


def test_a_base_that_others_do_not_have_is_refused(run):
    with pytest.raises(ValueError, match="folder here .*owner/name as base_model") as caught:
        published_files(run)
    assert "\n" not in str(caught.value)
    assert published_files(run, base_model="ada/base")
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        published_files(run / "adapter", base_model="ada/base")
    with pytest.raises(ValueError, match="base_model is 'base'"):
        push_run(run, "ada/x", token=TOKEN, endpoint="http://127.0.0.1:9", base_model="base")


@pytest.mark.parametrize("chosen", [{}, {"license": "mit"}])
def test_no_licence_is_invented(chosen, run, base, hub):
    for card in "A base.", "---\nlicense: Do What You Want\n---\nA base.":
        put_on_hub(hub, "ada/base", base, card)
        push_run(run, "ada/x", token=TOKEN, endpoint=hub.endpoint, base_model="ada/base", **chosen)
        data = ModelCard((run / "README.md").read_text(encoding="utf-8")).data
        assert data.license == chosen.get("license")


def test_an_adapter_takes_the_place_of_a_model_and_the_other_way_round(run, merged, hub):
    "Nothing of the other kind is left, which would be loaded in its place."
    for folder, there in (merged, "model"), (run, "adapter_model"), (merged, "model"):
        push_run(folder, "ada/x", token=TOKEN, endpoint=hub.endpoint, base_model="ada/base")
        files = hub.files("ada/x")
        assert [name for name in files if name.endswith(".safetensors")] == [f"{there}.safetensors"]
        assert ("config.json" in files) == ("adapter_config.json" not in files)


def runs_as_the_card_says(card, folder, picture):
    "What the lines without imgcap print, with a folder for the repository."
    printed = io.StringIO()
    code = re.findall(r"```python\n(.*?)```", card, re.S)[1]
    code = code.replace("ada/x", str(folder)).replace("picture.png", str(picture))
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    return printed.getvalue().strip()


@pytest.mark.parametrize("kind", ["git-tiny", "merged", "florence2"])
def test_the_code_in_the_card_runs(kind, merged, data, tmp_path):
    "Of an adapter whose base comes with the package, a whole chat model, and Florence-2."
    picture, run = tmp_path / "picture.png", merged
    data["test"][0]["image"].save(picture)
    if kind == "git-tiny":
        run = train(kind, data, tmp_path / "run", lora=2, merge=False)
    if kind == "florence2":
        run = train(make_chat_model(kind, tmp_path / kind), data, tmp_path / "run")
    said = runs_as_the_card_says(model_card(run, repo_id="ada/x"), weights_folder(run), picture)
    assert said == Captioner(run, device="cpu")(picture).text


def test_a_chat_model_is_not_exported_and_it_is_said_what_others_take(made, tmp_path):
    from imgcap.share.export import export_onnx

    with pytest.raises(ValueError, match="'git' only; what vLLM .* training with merge saves"):
        export_onnx(made, tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


def test_a_template_stands_in_the_card(run):
    "With its fields to be filled, and braces that are none as they are."
    path = run / "run.json"
    about = json.loads(path.read_text(encoding="utf-8"))
    about["validation"]["decoding"] |= {"prompt": "A {name}, {{say}} `x`:"}
    path.write_text(json.dumps(about), encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", model_card(run), re.S)[1]
    found = {"picture": None}
    exec(code[code.index("fields = ") : code.index("inputs = ")].replace("''", "'dog'"), found)
    assert found["turns"][0]["content"][1]["text"] == "A dog, {say} `x`:"


def test_an_adapter_is_made_a_whole_checkpoint_in_two_lines(made, data, tmp_path):
    "As the page on chat models has it; plain transformers loads what comes out."
    page = (Path(__file__).parents[1] / "docs" / "chat.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.S)[1]
    code = code.replace("runs/first", str(made)).replace("merged", str(tmp_path / "whole"))
    exec(code, {})
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "whole")
    ours = load_model(made, device="cpu")[0]
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), ours.parameters()))
    assert says(tmp_path / "whole", data)


def test_pictures_without_a_prompt_are_refused(made, data):
    "A chat model has to be asked; a captioner is no model."
    model, processor = load_model(made, device="cpu")
    with pytest.raises(ValueError, match="come without a prompt"):
        generate_captions(model, processor, torch.zeros(1, 3, 64, 64))
    with pytest.raises(ValueError, match="give its .model"):
        evaluate_model(Captioner(model, processor=processor), data, "test")


class Stop(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        raise KeyboardInterrupt


def test_a_model_is_what_it_was_where_its_additions_were_stopped(base, data, tmp_path):
    "They are out of it again: it keeps its name, and may begin another run."
    model, processor = load_model(base, device="cpu")
    name, weights = model.config.name_or_path, weights_fingerprint(model)
    with pytest.raises(KeyboardInterrupt):
        finetune(model, processor, data, out=tmp_path / "run", lora=2, callbacks=[Stop()], **SMALL)
    assert (model.config.name_or_path, weights_fingerprint(model)) == (name, weights)


def test_a_base_that_is_rounded_or_has_few_bits_is_not_compared(run):
    "The weights that it was trained with are not among those that are here."
    assert load_model(run, device="cpu", dtype="bfloat16")[0].dtype == torch.bfloat16
    about = json.loads((run / "run.json").read_text(encoding="utf-8"))
    for more in {"quantized": True}, {}:
        model = about["model"] | {"weights": "0" * 16} | more
        (run / "run.json").write_text(json.dumps(about | {"model": model}), encoding="utf-8")
        if more:
            assert load_model(run, device="cpu")
    with pytest.raises(ValueError, match="other weights"):
        load_model(run, device="cpu")
