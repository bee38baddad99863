"CONTRIBUTING's recipes (a dataset layout, a model family, a metric), followed in a copy."

import json
import os
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


def recipe(title):
    "The code of a chapter of CONTRIBUTING, in pieces divided by empty lines."
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    chapter = text.split(f"## {title}\n", 1)[1].partition("\n## ")[0]
    return re.search(r"```python\n(.*?)```", chapter, flags=re.S)[1].rstrip().split("\n\n")


def change(path, *pairs):
    text = path.read_text(encoding="utf-8")
    for old, new in pairs:
        assert text.count(old) == 1, f"{path.name} has {old!r} {text.count(old)} times"
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")


@pytest.fixture(scope="module")
def ask(checkout, run):
    "Runs code with the changed copy; gives the JSON that it prints last."
    def asked(code, *words):
        said = run(sys.executable, "-c", code, *words, cwd=checkout,
                   env={**os.environ, "PYTHONPATH": str(checkout)})
        return json.loads(said.splitlines()[-1])
    return asked


def test_a_layout(checkout, ask, tmp_path):
    branch, function = recipe("A dataset layout")
    room = checkout / "imgcap" / "data" / "json_files.py"
    before = "    if isinstance(data, dict):\n        if splits := _of_coco("
    change(room, (before, f"    {branch}\n{before}"),
           ("def read_json(", f"{function}\n\ndef read_json("))
    rows = []
    for name, split in (("one", "train"), ("two", "val")):
        colour = "red" if name == "one" else "blue"
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.jpg")
        rows.append({"image_id": name, "caption_str": f"a sign says {name}", "set_name": split,
                     "reference_strs": [f"a sign says {name}"]})
    (tmp_path / "TextCaps.json").write_text(json.dumps({"dataset_name": "textcaps", "data": rows}))
    found = ask("import sys, json; from imgcap import load_captions\n"
                "sets = load_captions(sys.argv[1])\n"
                "print(json.dumps({name: list(rows['captions']) for name, rows in sets.items()}))",
                str(tmp_path / "TextCaps.json"))
    assert found == {"train": [["a sign says one"]], "validation": [["a sign says two"]]}


def test_a_metric(checkout, ask, run):
    columns, statistic, scores = (piece.partition("\n")[2] for piece in recipe("A metric"))
    statistic = statistic.splitlines()[0]
    path = checkout / "nbs" / "metrics" / "scores.ipynb"
    book = json.loads(path.read_text(encoding="utf-8"))
    pairs = [
        ('    "length", "reference_length", "rouge_l", "cider_d",', f"    {columns}"),
        ("    columns = [*correct.T,", f"    {statistic}\n    columns = [*correct.T,"),
        ("theirs, image), cider_d]", "theirs, image), cider_d, exact]"),
        ('    scores |= {"rouge_l": t["rouge_l"]/n, "cider_d": t["cider_d"]/n}', f"    {scores}"),
    ]
    for cell in book["cells"]:
        source = "".join(cell["source"])
        for old, new in list(pairs):
            if old in source:
                source = source.replace(old, new)
                pairs.remove((old, new))
        cell["source"] = source.splitlines(keepends=True)
    assert not pairs, pairs
    path.write_text(json.dumps(book), encoding="utf-8")
    run(Path(sys.executable).parent / "nbdev_export", cwd=checkout)
    found = ask("import json; from imgcap.metrics import caption_scores\n"
                "theirs = {'1': ['a red cat'], '2': ['a blue dog sits']}\n"
                "ours = {'1': 'a red cat', '2': 'a dog'}\n"
                "print(json.dumps(caption_scores(ours, theirs)['exact']))")
    assert found == 0.5
    notebook = "nbs/metrics/scores.ipynb"
    run(Path(sys.executable).parent / "nbdev_test", "--path", notebook, cwd=checkout,
        env={**os.environ, "PYTHONPATH": str(checkout)})


def test_a_family():
    "What the recipe shows of BLIP is what the table has; test_model tries each family."
    text = (ROOT / "imgcap" / "families" / "__init__.py").read_text(encoding="utf-8")
    function, row = recipe("A model family")
    body = function.partition("\n")[2]
    assert body in text
    assert "\n".join(f"    {line}" for line in row.splitlines()) in text
