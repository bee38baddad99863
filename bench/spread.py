"""How far a training's scores move when only the seed, the threads or the number format changes.

Each run is a process of its own: git-tiny is trained on the built-in drawings as in the tutorial
`finetune`, and scored on the test split. The last lines are the lowest and the highest value of a
column, and the distance between them, which is what a tolerance has to allow for. Runs on another
processor are put beside these with `--add FILE`, a file that `--json` printed there."""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# (seed, threads, precision); the first twice, to see whether it comes out the same
RUNS = [(42, 1, "float32"), (42, 2, "float32"), (1, 1, "float32"), (2, 1, "float32"),
        (42, 1, "bfloat16"), (42, 1, "float32")]
SCORES = ("cider_d", "bleu_4", "rouge_l", "wer", "attribute_f1")
ATTRIBUTE_SCORES = tuple(f"attribute_f1_{name}" for name in
                         ("colour", "body", "pattern", "part", "mood", "place"))


def train_and_score(seed, threads, precision, args):
    "What one run gives: scores, F1 of each attribute, the fingerprint of its weights"
    from imgcap.data import load_captions
    from imgcap.evaluate import evaluate_model
    from imgcap.model import load_model, weights_fingerprint
    from imgcap.train import TrainConfig, finetune

    data = load_captions("creatures")
    if args.pictures: data["train"] = data["train"].select(range(args.pictures))
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(out=f"{folder}/run", epochs=args.epochs, max_steps=args.max_steps,
                             batch_size=args.batch_size, validations=args.validations,
                             seed=seed, threads=threads, precision=precision)
        run = finetune(*load_model("git-tiny"), data, config, echo=lambda line: None)
        report = evaluate_model(run, data, "test")
        weights = weights_fingerprint(load_model(run)[0])
        seconds = json.loads((run / "run.json").read_text())["finished"]["train_seconds"]
    scores = {name: report.scores["model"][name] for name in (*SCORES, *ATTRIBUTE_SCORES)}
    return {"run": f"{seed}/{threads}/{precision}", "weights": weights[:8], "seconds": seconds,
            **scores}


def start(run, words):
    "One run in a process of its own, with so many threads from its start"
    command = [sys.executable, __file__, *words, "--run", json.dumps(run)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True,
                          env={**os.environ, "OMP_NUM_THREADS": str(run[1])})
    return json.loads(done.stdout.splitlines()[-1])


def table(rows):
    "Lines: a run each, then how far each column moves"
    names = [name for name in rows[0] if name not in ("run", "weights", "seconds")]
    yield f"{'seed/threads/precision':24}{'weights':10}{'seconds':>8}" + "".join(
        f"{name.removeprefix('attribute_').removeprefix('f1_'):>9}" for name in names)
    for row in rows:
        yield f"{row['run']:24}{row['weights']:10}{row['seconds']:8.0f}" + "".join(
            f"{row[name]:9.3f}" for name in names)
    for label, choose in (("lowest", min), ("highest", max), ("apart", None)):
        columns = [[row[name] for row in rows] for name in names]
        values = [choose(c) if choose else max(c) - min(c) for c in columns]
        yield f"{label:42}" + "".join(f"{value:9.3f}" for value in values)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pictures", type=int, help="of the training split; default: all")
    parser.add_argument("--epochs", type=float, default=40)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--validations", type=int, default=8)
    parser.add_argument("--runs", type=int, default=len(RUNS), help="how many of the runs")
    parser.add_argument("--add", type=Path, nargs="*", default=[], help="what --json printed")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--run", type=json.loads, help=argparse.SUPPRESS)  # one run's process
    args = parser.parse_args()
    if args.run: return print(json.dumps(train_and_score(*args.run, args)))
    rows = []
    for run in RUNS[:args.runs]:
        rows.append(start(run, sys.argv[1:]))
        print(rows[-1], file=sys.stderr, flush=True)
    for file in args.add: rows += json.loads(file.read_text())
    if args.json: return print(json.dumps(rows))
    print(f"repeat with: {' '.join(['python bench/spread.py', *sys.argv[1:]])}")
    print("\n".join(table(rows)))


if __name__ == "__main__": main()
