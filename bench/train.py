"""What each thing that makes training fast is worth: one step of git-base's size (random weights, 8
pictures) in ways that differ by one thing.

    python bench/train.py [WAY …]       prints a line for each way; without names all that were
                                        kept, with --rejected those too

Each way runs in a process of its own, round after round; the first two steps are not counted, and a
figure is the median."""
import argparse
import json
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from functools import partial

WAYS = {  # what is on, besides what the way before had
    "guide": "the library's model and loss, captions padded to 512 tokens, "
             "labels at the padding, float32",
    "short": "captions padded to the longest of the batch, no label at the padding",
    "once": "imgcap.families.git: a picture's last layer and scores over the vocabulary only where "
            "a caption token is predicted",
    "bfloat16": "autocast",
    "plain": "plain products in place of fused attention",
    "drop": "four random decisions from one 64-bit draw in dropout",
    "kept": "freed memory stays with the process (this is what `imgcap train` does)",
}
REJECTED = {
    "channels-last": "pictures in channels-last order",
    "gelu": "quick GELU as one function with a backward pass of its own",
    "bf16-weights": "weights and their gradients in bfloat16, AdamW on float32 copies",
    "compiled": "torch.compile of everything up to the picture's keys and values",
}
PARTS = {  # our attention, our dropout: what they are worth beside all that is kept
    "ours": (True, True), "their attention": (False, True), "their dropout": (True, False),
    "both theirs": (False, False)}
STEPS, WARM_UP = 4, 2

OWN = {}  # our attention and dropout

def take_parts(git, plain, drop):
    "Let a GIT use our attention and dropout, or PyTorch's"
    from torch.nn import functional as F
    if not OWN: OWN.update(attend=git.attend, drop=git.drop)
    def fused(q, k, v, dropout=0.0):
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
    git.attend = OWN["attend"] if plain else fused
    git.drop = OWN["drop"] if drop else F.dropout

def prepare(way, quick):
    "Model, batch, and the functions that make up a step."
    import torch
    import imgcap.families.git as git
    from imgcap.bench import bench_data, bench_model
    from imgcap.model import caption_loss, keep_freed_memory
    from imgcap.preprocess import CaptionCollator
    order = list(WAYS)
    on = order
    if way in WAYS:  # what was not kept comes on top of all that was
        on = order[:order.index(way) + 1]
    take_parts(git, "plain" in on, "drop" in on)
    if "kept" in on: keep_freed_memory()
    model, processor = bench_model(quick, library="once" not in on)
    rows = list(bench_data(8))
    batch = CaptionCollator(processor)(rows)
    names = "pixel_values", "input_ids", "attention_mask", "labels"
    batch = {name: batch[name] for name in names}
    if way == "guide":
        captions = [row["captions"][0] for row in rows]
        text = processor.tokenizer(captions, padding="max_length", return_tensors="pt")
        batch |= {"input_ids": text.input_ids, "attention_mask": text.attention_mask,
                  "labels": text.input_ids}
    if way == "channels-last":
        batch["pixel_values"] = batch["pixel_values"].contiguous(memory_format=torch.channels_last)
    if way == "compiled": model.read_pictures = torch.compile(model.read_pictures)
    if way == "gelu":
        for module in model.modules():
            if type(module).__name__ == "QuickGELUActivation": module.forward = quick_gelu().apply
    loss = (lambda: caption_loss(model, batch)) if "once" in on else (lambda: model(**batch).loss)
    autocast = nullcontext
    if "bfloat16" in on and way != "bf16-weights":
        autocast = partial(torch.autocast, "cpu", torch.bfloat16)
    masters = None
    if way == "bf16-weights":
        masters = [p.detach().clone().requires_grad_() for p in model.parameters()]
        model.bfloat16()
        batch["pixel_values"] = batch["pixel_values"].bfloat16()
    optimizer = torch.optim.AdamW(masters or model.parameters(), lr=5e-5, fused=True)
    return model.train(), loss, autocast, optimizer, masters

def quick_gelu():
    "x · sigmoid(1.702 x), which keeps x alone for the backward pass."
    import torch
    class QuickGelu(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return torch.nn.functional.silu(x * 1.702).mul_(1 / 1.702)
        @staticmethod
        def backward(ctx, gradient):
            return torch.ops.aten.silu_backward(gradient, ctx.saved_tensors[0] * 1.702)
    return QuickGelu

def measure(way, quick, steps):
    "Seconds of steps, and peak memory."
    import torch
    from imgcap.bench import peak_memory
    model, loss, autocast, optimizer, masters = prepare(way, quick)
    seconds = []
    for _ in range(WARM_UP + steps):
        start = time.perf_counter()
        with autocast(): value = loss()
        value.backward()
        if masters:
            for master, p in zip(masters, model.parameters()):
                master.grad, p.grad = p.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters or model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if masters:
            with torch.no_grad(): torch._foreach_copy_(list(model.parameters()), masters)
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds[WARM_UP:], "memory": peak_memory(), "loss": value.item()}

def measure_parts(quick, rounds):
    """CPU seconds of a step with our parts and with PyTorch's, in turn, with one model on one
    thread: figures that hold on a machine that others use too"""
    import torch
    import imgcap.families.git as git
    torch.set_num_threads(1)
    _, loss, autocast, optimizer, _ = prepare("kept", quick)
    seconds = {name: [] for name in PARTS}
    for k in range(rounds + 1):
        for name, parts in PARTS.items():
            take_parts(git, *parts)
            start = time.process_time()
            with autocast(): value = loss()
            value.backward()
            optimizer.step()
            optimizer.zero_grad()
            if k: seconds[name].append(time.process_time() - start)
    ours, found = seconds["ours"], {}
    for name, each in seconds.items():
        ratios = sorted(theirs / own for theirs, own in zip(each, ours))
        found[name] = {"seconds": statistics.median(each), "ratio": statistics.median(ratios),
                       "from": ratios[0], "to": ratios[-1]}
    return found

def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", help=f"any of {', '.join([*WAYS, *REJECTED])}")
    parser.add_argument("--rejected", action="store_true", help="also what was tried and not kept")
    parser.add_argument("--rounds", type=int, default=2, help="turns (2)")
    parser.add_argument("--quick", action="store_true",
                        help="a small model: shows that the benchmark runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--parts", action="store_true",
                        help="our attention and dropout beside PyTorch's, in CPU seconds")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the process of one way
    args = parser.parse_args()
    every = WAYS | REJECTED
    if unknown := [way for way in args.ways if way not in every]:
        parser.error(f"no way {unknown[0]!r}; they are: {', '.join(every)}")
    if args.one:
        steps = 2 if args.one in ("guide", "short") else STEPS
        return print(json.dumps(measure(args.one, args.quick, steps)))
    if args.parts:
        found = measure_parts(args.quick, args.rounds)
        if args.json: return print(json.dumps(found))
        for name, r in found.items():
            print(f"{name:16}{r['seconds']:7.2f} s a step, {r['ratio']:.2f} of ours "
                  f"({r['from']:.2f} to {r['to']:.2f})")
        return None
    ways = args.ways or list(every if args.rejected else WAYS)
    found = {way: [] for way in ways}
    for _ in range(args.rounds):
        for way in ways:
            command = [sys.executable, __file__, "--one", way, *(["--quick"] if args.quick else [])]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[way].append(json.loads(done.stdout.splitlines()[-1]))
            if not args.json:
                median = statistics.median(found[way][-1]["seconds"])
                print(f"{way}: {median:.2f} s", file=sys.stderr)
    result = {way: {"seconds": statistics.median(s for r in runs for s in r["seconds"]),
                    "memory": max(r["memory"] for r in runs)} for way, runs in found.items()}
    repeat = " ".join(["python bench/train.py", *sys.argv[1:]])
    if args.json: return print(json.dumps({"repeat": repeat, **result}))
    first, before = result[ways[0]]["seconds"], None
    print(f"{'':14}{'s a step':>9}{'faster than ' + ways[0]:>20}{'than before':>13}{'memory':>9}")
    for way, r in result.items():
        reference = result.get("kept", r)["seconds"] if way in REJECTED else before
        step = "" if reference is None else f"{reference / r['seconds']:.2f}"
        print(f"{way:14}{r['seconds']:9.2f}{first / r['seconds']:20.1f}{step:>13}"
              f"{r['memory'] / 1e9:6.1f} GB   {every[way]}")
        before = r["seconds"]
    print(f"repeat with: {repeat}")

if __name__ == "__main__": main()
