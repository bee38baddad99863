"""Speed of the metrics on made-up captions, against the COCO caption code on the same captions in
the same run.

CPU time counts, that of Java's process too. The COCO code is measured where pycocoevalcap and Java
are installed."""
import argparse
import contextlib
import importlib.util
import json
import random
import resource
import shutil
import sys
import time

STARTS = "b c d f g k l m n p r s st tr pl".split()
VOWELS = "a e i o u ea oo".split()
ENDS = "b d g l n nd r s t ck".split()
PATTERNS = (
    "A {0} {1} is {2} a {3} {4}.",
    "a {1} {2} near the {4}",
    "The {0} {1}, {2} on a {3} {4}",
    "Two {1}s are {2} next to a {4} in the {5}.",
    "there is a {0} {1} that is {2} by the {3} {4}",
    "A {3}-{0} {1} {2} in front of the {5}'s {4}.",
)

def make_captions(n, references=5, seed=0):
    "Predictions and references: what an image shows is drawn once, each caption words it anew"
    rng = random.Random(seed)
    def sound():
        return rng.choice(STARTS) + rng.choice(VOWELS) + rng.choice(ENDS)
    def word():
        return "".join(sound() for _ in range(rng.choice((1, 1, 1, 2))))
    nouns = [word() for _ in range(3000)]
    verbs = [word() + "ing" for _ in range(500)]
    adjectives = [word() for _ in range(800)]
    def frequent(words):  # few are frequent, as in a language
        return words[min(int(rng.paretovariate(0.6)) - 1, len(words) - 1)]
    def caption(shown):
        said = [s if rng.random() < 0.7 else new for s, new in zip(shown, draw())]
        return rng.choice(PATTERNS).format(*said)
    def draw(): return [frequent(w) for w in (adjectives, nouns, verbs, adjectives, nouns, nouns)]
    shown = {str(i): draw() for i in range(n)}
    predictions = {i: caption(s) for i, s in shown.items()}
    return predictions, {i: [caption(s) for _ in range(references)] for i, s in shown.items()}

@contextlib.contextmanager
def clock(into, name):
    "Wall and CPU seconds of a block, those of processes that end in it too"
    def cpu():
        used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(u.ru_utime + u.ru_stime for u in used)
    wall, used = time.perf_counter(), cpu()
    yield
    into[name] = {"s": time.perf_counter() - wall, "cpu_s": cpu() - used}

def original(predictions, references, into):
    "Tokenizer, BLEU, ROUGE-L and CIDEr-D of the COCO caption code"
    from pycocoevalcap.bleu.bleu import Bleu
    from pycocoevalcap.cider.cider import Cider
    from pycocoevalcap.rouge.rouge import Rouge
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    with clock(into, "coco_tokens"):
        theirs = PTBTokenizer().tokenize(
            {k: [{"caption": c} for c in v] for k, v in references.items()})
        ours = PTBTokenizer().tokenize({k: [{"caption": v}] for k, v in predictions.items()})
    with clock(into, "coco_bleu"): bleu = Bleu(4).compute_score(theirs, ours, verbose=0)[0]
    with clock(into, "coco_rouge_l"): rouge = Rouge().compute_score(theirs, ours)[0]
    with clock(into, "coco_cider_d"): cider = Cider().compute_score(theirs, ours)[0]
    found = {f"bleu_{k + 1}": float(b) for k, b in enumerate(bleu)}
    return {**found, "rouge_l": float(rouge), "cider_d": float(cider)}

def total(seconds, *names): return {k: sum(seconds[n][k] for n in names) for k in ("s", "cpu_s")}

def one_round(predictions, references, resamples, with_original):
    "Seconds of everything, and the scores"
    from imgcap import metrics
    seconds = {}
    with clock(seconds, "caption_scores"): scores = metrics.caption_scores(predictions, references)
    with clock(seconds, "tokens"):
        ours, theirs, image = metrics.tokenised(predictions, references, "en")
    with clock(seconds, "bleu_cider_d"): metrics.ngrams.ngram_statistics(ours, theirs, image, None)
    with clock(seconds, "rouge_l"): metrics.rouge_l(ours, theirs, image)
    seconds["bleu_rouge_l_cider_d"] = total(seconds, "tokens", "bleu_cider_d", "rouge_l")
    with clock(seconds, "make_reward"): reward = metrics.CiderReward(references)
    sampled = [k for k in list(references)[:64] for _ in range(5)]
    with clock(seconds, "reward"): reward(sampled, [predictions[k] for k in sampled])
    with clock(seconds, "caption_statistics"):
        table = metrics.caption_statistics(predictions, references)
    with clock(seconds, "bootstrap"): metrics.bootstrap_intervals(table, resamples)
    different = None
    if with_original:
        with contextlib.redirect_stdout(sys.stderr):
            expected = original(predictions, references, seconds)
        seconds["coco_all"] = total(
            seconds, "coco_tokens", "coco_bleu", "coco_rouge_l", "coco_cider_d")
        different = max(abs(scores[k] - v) for k, v in expected.items())
    return seconds, different

TITLES = {
    "caption_scores": "caption_scores, everything",
    "bleu_rouge_l_cider_d": "BLEU, ROUGE-L, CIDEr-D alone, with tokens",
    "tokens": "    tokens",
    "bleu_cider_d": "    BLEU and CIDEr-D",
    "rouge_l": "    ROUGE-L",
    "caption_statistics": "caption_statistics",
    "bootstrap": "bootstrap_intervals, {:,} resamples",
    "make_reward": "CiderReward: references counted",
    "reward": "    320 captions of 64 images scored",
    "coco_all": "COCO caption code: the same three, with tokens",
    "coco_tokens": "    tokens (Java)",
    "coco_bleu": "    BLEU",
    "coco_rouge_l": "    ROUGE-L",
    "coco_cider_d": "    CIDEr-D",
}

def verdict(met): return "met" if met else "missed"

def show(found, words, rounds):
    "All figures, as lines; `words` is the mean of a reference's words"
    seconds = found["seconds"]
    print(f"repeat with: {found['repeat']}\n\n{found['images']:,} images, {found['references']} "
          f"references each of {words:.1f} words; fastest of {rounds} rounds")
    print(f"{'':<52}{'CPU':>9}{'wall':>10}")
    for key, title in TITLES.items():
        if key in seconds:
            name, spent = title.format(found["resamples"]), seconds[key]
            print(f"{name:<52}{spent['cpu_s']:>7.2f} s{spent['s']:>8.2f} s")
    everything = seconds["caption_scores"]["cpu_s"]
    print(f"\neverything in {everything:.2f} s of one core; goal 10 s for 5,000 images: "
          f"{verdict(everything < 10)}")
    if "largest_difference" not in found:
        return print("\nthe COCO caption code was not measured: pycocoevalcap or Java is missing")
    def by_time(name):
        return (f"{found[name + '_cpu']:.1f} times as fast by CPU time, "
                f"{found[name + '_wall']:.1f} by wall time")
    print(f"against the COCO code's three metrics:\n"
          f"    the same three are {by_time('ratio')}\n"
          f"    everything is {by_time('ratio_everything')}; "
          f"goal 10: {verdict(found['ratio_everything_cpu'] >= 10)}\n"
          f"    largest difference of a score {found['largest_difference']:.1e}")

def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000, help="images (5000)")
    parser.add_argument("--references", type=int, default=5, help="references of an image (5)")
    parser.add_argument("--resamples", type=int, default=1000,
                        help="resamples of the bootstrap (1000)")
    parser.add_argument("--rounds", type=int, default=3,
                        help="rounds, of which the fastest counts (3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    repeat = " ".join(["python bench/metrics.py", *sys.argv[1:]])
    predictions, references = make_captions(args.images, args.references)
    one_round(*make_captions(50), 10, False)  # imports and other things that are done once
    with_original = bool(importlib.util.find_spec("pycocoevalcap") and shutil.which("java"))
    rounds = [one_round(predictions, references, args.resamples, with_original)
              for _ in range(args.rounds)]
    seconds = {k: min((r[k] for r, _ in rounds), key=lambda v: v["cpu_s"]) for k in rounds[0][0]}
    found = {"repeat": repeat, "images": args.images, "references": args.references,
             "resamples": args.resamples, "seconds": seconds}
    if with_original:
        for name, ours in ("ratio", "bleu_rouge_l_cider_d"), ("ratio_everything", "caption_scores"):
            for kind, unit in ("cpu", "cpu_s"), ("wall", "s"):
                found[f"{name}_{kind}"] = seconds["coco_all"][unit] / seconds[ours][unit]
        found["largest_difference"] = rounds[0][1]
    if args.json: return print(json.dumps(found))
    words = [len(c.split()) for r in references.values() for c in r]
    show(found, sum(words) / (args.images * args.references), args.rounds)

if __name__ == "__main__": main()
