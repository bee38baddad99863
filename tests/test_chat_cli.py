"""A chat model by the command line alone: trained with LoRA, stopped by Ctrl-C, resumed, evaluated,
and captioned with, by a template that takes tags from a column here and from text files there."""

import csv
import json
import os
import signal
import threading
import time

import pytest
from chat_models import KINDS, make_chat_model
from one_command import run

from imgcap.data.creatures import make_creatures
from imgcap.infer.row_files import one_line
from imgcap.run_checkpoints import last_checkpoint

pytest.importorskip("peft")
QUICK = ("idefics3", "qwen3_vl")
CHATS = [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow)
         for kind in KINDS if kind not in ("paligemma", "florence2")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    "Pictures, a table with their captions and tags, and the tags beside them once more."
    home = tmp_path_factory.mktemp("set")
    with open(home / "set.csv", "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "caption", "tags"])
        for number, row in enumerate(make_creatures({"train": 12})["train"]):
            tags = ", ".join(row["attributes"].values())
            row["image"].resize((64, 64)).save(home / f"{number}.png")
            (home / f"{number}.txt").write_text(tags, encoding="utf-8")
            table.writerow([f"{number}.png", row["captions"][0], tags])
    return home


def interrupt_after_checkpoint(folder):
    "Ctrl-C, as soon as something is there to go on from."
    def wait():
        until = time.monotonic() + 100
        while last_checkpoint(folder) is None:
            if time.monotonic() > until:
                return
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@pytest.mark.parametrize("kind", CHATS)
def test_from_training_to_captions(kind, photos, tmp_path):
    model, out = make_chat_model(kind, tmp_path / "model"), tmp_path / "run"
    table, prompt = photos / "set.csv", "Say a/b/c. Tags: {tags}. Describe {name}."
    words = ["train", "--data", table, "--model", model, "--out", out, "--lora", 2,
             "--prompt", prompt, "--system", "Be brief.", "--max-steps", 12, "--validations", 6,
             "--max-new-tokens", 4, "--batch-size", 2, "--precision", "float32", "--device", "cpu"]
    thread = interrupt_after_checkpoint(out)
    status, _, err = run(*words)
    thread.join()
    assert status == 130, err
    assert "stopped; add --resume to go on from" in err.splitlines()[-1]
    status, said, err = run(*words, "--resume")
    assert status == 0, err
    assert (out / "adapter/adapter_model.safetensors").is_file()
    about = json.loads((out / "run.json").read_text())
    assert about["resumed"] and about["finished"]["steps"] == 12
    told = {"prompt": prompt, "system": "Be brief."}
    assert told.items() <= about["config"].items()
    assert told.items() <= about["validation"]["decoding"].items()

    status, said, err = run("evaluate", "--model", out, "--data", table, "--split", "all",
                            "--device", "cpu")
    assert status == 0, err
    rows = map(json.loads, (out / "predictions-all.jsonl").read_text().splitlines())
    written = {row["image_id"]: one_line(row["caption"]) for row in rows}
    assert len(written) == 12

    captions = tmp_path / "captions.jsonl"
    status, said, err = run("caption", photos, "--model", out, "--out", captions, "--device", "cpu")
    assert status == 0, err
    rows = list(map(json.loads, captions.read_text().splitlines()))
    assert {os.path.basename(row["path"]): row["caption"] for row in rows} == written
    [record] = tmp_path.glob("*captions*.run.json")
    decoding = json.loads(record.read_text())["decoding"]
    assert told.items() <= decoding.items()
    status, said, err = run("caption", photos / "0.png", "--model", out, "--prompt", "short",
                            "--system", "", "--json", "--device", "cpu")
    assert status == 0 and json.loads(said)["caption"] != rows[0]["caption"]
