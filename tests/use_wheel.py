"""Uses the installed wheel as a stranger would, from an empty folder: own pictures in, a model and captions out."""
import json
import subprocess
import sys
from pathlib import Path

import imgcap
from imgcap.creatures import caption_creature, draw_creature

here, package = Path.cwd(), Path(imgcap.__file__)
assert "site-packages" in package.parts, f"imgcap comes from {package}, not from the wheel"
command = Path(sys.executable).parent / "imgcap"


def imgcap_(*arguments, status=0):
    done = subprocess.run([command, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == status, f"imgcap {' '.join(map(str, arguments))} ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout, done.stderr


photos = here / "photos"
photos.mkdir()
for i, body in enumerate(["round", "square", "tall", "long"] * 5):
    attributes = {"colour": ["red", "green", "yellow"][i % 3], "body": body, "pattern": "plain", "part": "wings", "mood": "smiling", "place": "grass"}
    draw_creature(attributes, seed=i, image_size=96 + i).save(photos / f"{i:02}.jpg")
    (photos / f"{i:02}.txt").write_text("\n".join(caption_creature(attributes, seed=i)), encoding="utf-8")

print(imgcap_("check", "--data", photos)[0])
imgcap_("train", "--data", photos, "--out", "runs/mine", "--max-steps", 3, "--validations", 1)
print(imgcap_("evaluate", "--model", "runs/mine", "--data", photos, "--split", "all")[0])
imgcap_("caption", photos, "--model", "runs/mine", "--out", "captions.jsonl")
rows = [json.loads(line) for line in open("captions.jsonl", encoding="utf-8")]
assert len(rows) == 20 and all(row["caption"] for row in rows), rows
assert {"run.json", "log.jsonl", "metrics.json", "predictions-all.jsonl", "gallery-all.png", "model"} <= {p.name for p in Path("runs/mine").iterdir()}
out, error = imgcap_("caption", "no-such-picture.png", "--model", "runs/mine", status=2)
assert "no-such-picture.png" in error and "Traceback" not in error, error
print(f"the wheel trained on {len(rows)} pictures and captioned them; the first: {rows[0]['caption']!r}")
