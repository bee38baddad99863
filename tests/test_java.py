"What needs Java and pycocoevalcap: METEOR, and the original code that other metrics equal."

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

from imgcap.metrics import caption_scores, java_scores

pytestmark = [
    pytest.mark.skipif(not find_spec("pycocoevalcap"), reason="pycocoevalcap is not installed"),
    pytest.mark.skipif(not shutil.which("java"), reason="there is no Java"),
]
REFERENCES = {
    1: ["A dog runs on the beach.", "The brown dog is running near the sea."],
    2: ["Two people (a couple) ride bikes down the street.", "People on bicycles."],
    3: ["It's a man's hat, isn't it?", "a hat on a table"],
}
PREDICTIONS = {
    1: "a dog running on a beach",
    2: "two people riding bikes",
    3: "a red hat on the table",
}
ORIGINAL = """
import json, sys
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.cider.cider import Cider
made, given = json.load(sys.stdin)
tokenize = PTBTokenizer().tokenize
gts = tokenize({k: [{"caption": c} for c in r] for k, r in given.items()})
res = tokenize({k: [{"caption": c}] for k, c in made.items()})
bleu = Bleu(4).compute_score(gts, res, verbose=0)[0]
scores = {f"bleu_{n}": score for n, score in enumerate(bleu, 1)}
scores["rouge_l"] = float(Rouge().compute_score(gts, res)[0])
scores["cider_d"] = float(Cider().compute_score(gts, res)[0])
print(json.dumps(scores))
"""


def test_equal_to_the_original():
    given = json.dumps([PREDICTIONS, REFERENCES])
    done = subprocess.run(
        [sys.executable, "-c", ORIGINAL], input=given, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    original = json.loads(done.stdout.splitlines()[-1])
    ours = caption_scores(PREDICTIONS, REFERENCES)
    assert {name: ours[name] for name in original} == pytest.approx(original, abs=1e-9)


@pytest.mark.parametrize("language", ["en", "de"])
def test_meteor_whatever_the_machine_speaks(monkeypatch, language):
    monkeypatch.setenv("JDK_JAVA_OPTIONS", f"-Duser.language={language}")
    same = {1: "a dog runs on the beach", 2: "the cat sleeps"}
    perfect = java_scores(same, {key: [text] for key, text in same.items()}, ["meteor"])
    other = java_scores(PREDICTIONS, REFERENCES, ["meteor"])
    assert 0.1 < other["meteor"] < perfect["meteor"] <= 1
