"""Pretrain a tiny model on drawings of `world.py`, made on the fly: none is stored or seen twice.

    python scripts/pretrain/pretrain.py --samples 600000 --out RUN            # git-tiny: about an
                                                                              # hour on a quiet core
    python scripts/pretrain/pretrain.py --samples 600000 --out RUN --resume   # goes on where it
                                                                              # was stopped
    python scripts/pretrain/pretrain.py --kind smol --samples 600000 --out RUN        # smol-tiny

On a CPU that others use too, OMP_WAIT_POLICY=passive GOMP_SPINCOUNT=0 before the command keeps two
threads from waiting in circles.

RUN/checkpoint.pt   model, optimizer, step: written every two minutes, replaced in one move
RUN/log.jsonl       one line every --log-every steps, with the held-out check every --check-every
RUN/model/          at the end: an ordinary checkpoint folder (safetensors) with its model card
"""
import argparse
import json
import math
import multiprocessing
import os
import queue
import random
import re
import shutil
import signal
import time
from collections import Counter
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import AutoProcessor

import world
from imgcap.families import caption_tokenizer, is_chat, model_family, see
from imgcap.families.chat import render
from imgcap.model import caption_loss, generate_captions, new_git_tiny, new_smol_tiny

KINDS = {"git": new_git_tiny, "smol": new_smol_tiny}

CHUNK = 1024          # pictures a drawing process hands over at a time
CHECK_PICTURES = 128  # held-out pictures, from a world with a seed of its own
CHECK_SEED = 10**6    # added to the run's seed

# Ordinary words, so that captions of other things fall into few tokens. The model is not trained on
# them.
ENGLISH = """a an the this that these those it its he she they his her their one two three four five
six seven eight nine ten and or but with without of in on at by to from into onto over under above
below beside behind before between near next left right middle top bottom side front back up down
out off around through is are was has have had be being stands standing sits sitting lies lying
looks looking wears wearing holds holding shows showing runs running walks walking plays playing
eats eating flies flying swims swimming sleeps jumps smiles rides riding there here who which what
where some many few no not all both each other drawing drawn picture photo image painting cartoon
scene background colour color colours colored coloured body head face eye eyes mouth nose ear ears
arm arms hand hands leg legs foot feet tail wing wings horn horns hair hat crown teeth tongue spike
spikes fin fins scales fur shell antenna antennae beak claws skin round tall square long short wide
narrow thin thick fat flat pointed star shaped shape oval pear egg triangle heart circle red orange
yellow green blue purple pink brown black white grey gray teal turquoise violet gold golden silver
navy lime beige cream dark light bright pale plain striped spotted checkered dotted patterned
stripes spots dots checks patches smooth fluffy furry fuzzy spiky happy sad angry sleepy sleeping
asleep awake smiling frowning laughing crying surprised scared calm tired grumpy cheerful open
closed big small little large tiny huge grass snow sand sea water sky night day moon sun star stars
cloud clouds rain forest tree trees wood woods hill hills mountain mountains cave rock rocks beach
desert meadow field garden city street road house room floor wall ground ice lake river ocean island
space planet fire creature monster animal beast dragon dog cat bird horse cow sheep bear elephant
zebra giraffe fish rabbit mouse man woman boy girl child baby people person group couple young old
car truck bus train bike bicycle motorcycle plane boat ship kite ball bat racket table chair bed
couch desk window door lamp clock phone computer book cup bottle bowl plate fork knife spoon food
pizza cake bread fruit apple banana orange sandwich kitchen bathroom toilet sink mirror park bench
sign light building tower bridge flower flowers plant leaf leaves shirt tie dress shoes glasses
umbrella bag suitcase toy game wearing made full filled covered parked close behind against along
across while as like very also only just another several pair row""".split()

FREQUENT = """a an the this that there these is are was has have and with of in on at under by to
it its two one drawing cartoon picture face eyes mouth body eared shaped creature monster animal
standing sitting looking wearing man woman dog cat people""".split()


def vocabulary_texts(seed: int, captions: int = 4000) -> list[str]:
    "What the tokenizer is made from: captions of a world of its own, and ordinary words."
    texts = [c for i in range(captions) for c in world.draw(seed + 2*CHECK_SEED, i)[1]]
    others = [word for words in world.OTHER_WORDS.values() for word in words]
    names = [*world.COLOURS, *world.BODIES, *world.TEXTURES, *world.PARTS, *world.FACES,
             *world.PLACES, *world.SHAPES, *(t[0] for t in world.THINGS),
             *world.OTHER_WORDS, *others]
    return texts + ENGLISH*20 + FREQUENT*60 + names*20


def new_model(kind: str, seed: int):
    "A tiny model with random weights, and its processor."
    return KINDS[kind](vocabulary_texts(seed), seed=seed)


def load_start(folder: Path):
    "The same as it was saved."
    config = transformers.AutoConfig.from_pretrained(folder)
    model = model_family(config).model_class.from_pretrained(folder, dtype=torch.float32)
    # of torch's fused attention on a CPU the gradient in bfloat16 is slow for so few places
    if config.model_type != "git": model.set_attn_implementation("eager")
    return model, AutoProcessor.from_pretrained(folder)


# --- Drawing ahead --------------------------------------------------------------------------------
def draw_chunk(seed: int, start: int, n: int):
    "Pictures as uint8 (n, 3, 64, 64), one caption each, and their scenes."
    pictures, captions = np.empty((n, 3, world.SIZE, world.SIZE), np.uint8), []
    for k in range(n):
        picture, choices = world.draw(seed, start + k)
        pictures[k] = np.asarray(picture).transpose(2, 0, 1)
        full = random.Random(f"caption {seed} {start + k}").random() < .65
        captions.append(choices[0 if full else -1])
    return pictures, captions, [world.scene_of(seed, start + k) for k in range(n)]


def keep_drawing(out, seed: int, first: int, stride: int, chunks: int) -> None:
    "In a process of its own: put chunks first, first + stride, ... into the bounded queue `out`."
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    for c in range(first, chunks, stride):
        chunk = draw_chunk(seed, c*CHUNK, CHUNK)
        while True:
            try:
                out.put(chunk, timeout=5)
                break
            except queue.Full:
                if os.getppid() != parent: os._exit(1)   # the training process was killed
    while os.getppid() == parent:   # until it has read all and ends this process
        time.sleep(1)
    os._exit(1)


def batches(seed: int, first_step: int, steps: int, batch_size: int, ahead: int, drawers: int):
    "Yield (pictures, captions, scenes) for each step; picture i belongs to step i // batch_size."
    if first_step >= steps: return
    ctx = multiprocessing.get_context("spawn")
    chunks, first = math.ceil(steps*batch_size/CHUNK), first_step*batch_size//CHUNK
    queues = [ctx.Queue(max(1, ahead//drawers)) for _ in range(drawers)]
    processes = [ctx.Process(target=keep_drawing, args=(q, seed, first + j, drawers, chunks),
                             daemon=True) for j, q in enumerate(queues)]
    for p in processes: p.start()

    def next_chunk(c):
        j = (c - first) % drawers
        while True:
            try: return queues[j].get(timeout=10)
            except queue.Empty:
                if not processes[j].is_alive():
                    code = processes[j].exitcode
                    raise RuntimeError(f"drawing process {j} ended with exit code {code}") from None

    try:
        held, (pictures, captions, scenes) = first, next_chunk(first)
        for step in range(first_step, steps):
            a, b = step*batch_size - held*CHUNK, (step + 1)*batch_size - held*CHUNK
            parts = [(pictures[a:b], captions[a:b], scenes[a:b])]
            while b > CHUNK or (b == CHUNK and step + 1 < steps):
                held, a, b = held + 1, 0, b - CHUNK
                pictures, captions, scenes = next_chunk(held)
                parts.append((pictures[a:b], captions[a:b], scenes[a:b]))
            pictures_of_step, captions_of_step, scenes_of_step = zip(*parts)
            yield (np.concatenate(pictures_of_step),
                   [c for part in captions_of_step for c in part],
                   [s for part in scenes_of_step for s in part])
    finally:
        for p in processes: p.terminate()


# --- Training -------------------------------------------------------------------------------------
class Batches:
    "uint8 pictures and captions to what a model takes; labels are -100 at the padding."

    def __init__(self, processor, device):
        self.tokenizer, self.device = caption_tokenizer(processor), device
        # pictures are of one size, so all but the pixels is the same for each: the prompt
        self.one = see(processor, [Image.new("RGB", (world.SIZE, world.SIZE))])[0]

    def see(self, pictures):
        pixels = torch.from_numpy(pictures).to(self.device).float()
        pixels = pixels.div_(127.5).sub_(1)   # the processor's mean and std of 0.5
        shape = self.one["pixel_values"].shape[1:]
        others = {name: tensor.to(self.device).expand(len(pictures), *tensor.shape[1:])
                  for name, tensor in self.one.items() if name != "pixel_values"}
        return {"pixel_values": pixels.view(-1, *shape)} | others

    def __call__(self, pictures, captions):
        text = self.tokenizer(captions, padding=True, truncation=True, max_length=64,
                              return_tensors="pt").to(self.device)
        ids, mask = text["input_ids"], text["attention_mask"]
        return self.see(pictures) | {"input_ids": ids, "attention_mask": mask,
                                     "labels": ids.masked_fill(mask == 0, -100)}


def parameter_groups(model, weight_decay: float):
    "Decay for the matrices; none for norms, biases and embeddings."
    embeddings = {id(p) for m in model.modules() if isinstance(m, torch.nn.Embedding)
                  for p in m.parameters()}
    def still(name, p): return p.ndim < 2 or id(p) in embeddings or "embedding" in name
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    return [{"params": [p for n, p in named if not still(n, p)], "weight_decay": weight_decay},
            {"params": [p for n, p in named if still(n, p)], "weight_decay": 0.}]


def rate(step: int, steps: int, warmup: int, peak: float) -> float:
    "Linear warm-up, then half a cosine to one per cent of the peak."
    if step < warmup: return peak*(step + 1)/warmup
    return peak*(.01 + .99*(1 + math.cos(math.pi*(step - warmup)/max(1, steps - warmup)))/2)


def words(caption: str) -> Counter: return Counter(re.findall(r"[a-z]+", caption))


def word_f1(predictions, references) -> float:
    "Mean over pictures of the F1 between the two bags of words."
    scores = []
    for p, r in zip(map(words, predictions), map(words, references)):
        scores.append(2*(p & r).total()/max(1, p.total() + r.total()))
    return sum(scores)/len(scores)


@torch.no_grad()
def check(model, processor, batch_of, seed, autocast):
    "Held-out loss, and word F1 of greedy captions against the full ones."
    drawn = [world.draw(seed + CHECK_SEED, i) for i in range(CHECK_PICTURES)]
    pictures = np.stack([np.asarray(p).transpose(2, 0, 1) for p, _ in drawn])
    references = [c[0] for _, c in drawn]
    model.eval()
    with autocast():
        loss = caption_loss(model, batch_of(pictures, references)).item()
        written = generate_captions(model, processor, batch_of.see(pictures), max_new_tokens=40)
    model.train()
    predictions = [caption.text for caption in written]
    scenes = [world.scene_of(seed + CHECK_SEED, i) for i in range(CHECK_PICTURES)]
    def f1(some):
        return round(word_f1([predictions[k] for k in some], [references[k] for k in some]), 4)
    by_scene = {name: f1([k for k in range(CHECK_PICTURES) if scenes[k] == name])
                for name in world.SCENES}
    return {"check_loss": round(loss, 4), "check_f1": f1(range(CHECK_PICTURES)),
            "check_f1_by_scene": by_scene,
            "examples": [[predictions[k], references[k]] for k in range(3)]}


def fingerprint(model) -> str:
    "A hash of all weights, to compare two runs."
    h = sha256()
    for name, p in model.state_dict().items():
        h.update(name.encode() + p.detach().cpu().float().numpy().tobytes())
    return h.hexdigest()[:16]


def save_atomically(state, path: Path) -> None:
    partial = path.with_suffix(".partial")
    with open(partial, "wb") as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(partial, path)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--kind", choices=KINDS, default="git")
    p.add_argument("--samples", type=int, default=1_000_000)
    p.add_argument("--batch-size", type=int, default=64)
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--warmup", type=int, default=500, help="steps")
    p.add_argument("--weight-decay", type=float, default=.05)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=2, help="of torch on a CPU")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--resume", action="store_true")
    p.add_argument("--draw-ahead", type=int, default=4,
                   help=f"chunks of {CHUNK} pictures kept ready")
    p.add_argument("--drawers", type=int, default=1, help="drawing processes")
    p.add_argument("--log-every", type=int, default=50)
    p.add_argument("--check-every", type=int, default=1000)
    p.add_argument("--save-seconds", type=float, default=120)
    args = p.parse_args()

    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    bf16 = device.type == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
    autocast = partial(torch.autocast, device.type, torch.bfloat16, enabled=bf16)
    steps = args.samples//args.batch_size
    names = "samples", "batch_size", "lr", "warmup", "weight_decay", "seed"
    fixed = {name: getattr(args, name) for name in names}
    fixed["scenes"] = world.SCENES
    if args.kind != "git": fixed["kind"] = args.kind

    checkpoint, log = args.out/"checkpoint.pt", args.out/"log.jsonl"
    if checkpoint.exists() and not args.resume:
        p.error(f"{checkpoint} exists: --resume goes on with it, another --out starts afresh")
    args.out.mkdir(parents=True, exist_ok=True)
    if not (args.out/"start").exists():
        model, processor = new_model(args.kind, args.seed)
        shutil.rmtree(args.out/"start.partial", ignore_errors=True)
        model.save_pretrained(args.out/"start.partial")
        processor.save_pretrained(args.out/"start.partial")
        os.replace(args.out/"start.partial", args.out/"start")
    model, processor = load_start(args.out/"start")
    batch_of = Batches(processor, device)
    picture = world.draw(args.seed, 0)[0]
    array = np.array(picture).transpose(2, 0, 1)
    ours, theirs = batch_of.see(array[None]), see(processor, [picture])[0]
    ours, theirs = (seen["pixel_values"].cpu() for seen in (ours, theirs))
    assert (ours - theirs).abs().max() < 1e-3, (
        "the processor prepares pictures otherwise than this script")

    model.to(device).train()
    optimizer = torch.optim.AdamW(
        parameter_groups(model, args.weight_decay), lr=args.lr, betas=(.9, .95), fused=True)
    step, seconds, seen, vocabulary, history = 0, 0., Counter(), Counter(), []
    lap_loss, lap_steps, last = torch.zeros((), device=device), 0, {}
    if args.resume and checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["fixed"] != fixed:
            p.error(f"{checkpoint} was made with {state['fixed']}, not {fixed}")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        step, seconds = state["step"], state["seconds"]
        seen, vocabulary = Counter(state["seen"]), Counter(state["vocabulary"])
        lap_loss, lap_steps = state["lap_loss"], step % args.log_every
        if log.exists():
            history = [line for line in log.read_text().splitlines()
                       if line.endswith("}") and json.loads(line)["step"] <= step]
        print(f"resumed at step {step}", flush=True)
    log.write_text("".join(line + "\n" for line in history))

    def save():
        if not math.isfinite(float(lap_loss)):
            raise SystemExit(f"the loss is not finite at step {step}; "
                             "the last checkpoint is left as it was")
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                 "step": step, "fixed": fixed, "lap_loss": lap_loss,
                 "seconds": seconds + time.perf_counter() - began,
                 "seen": dict(seen), "vocabulary": dict(vocabulary)}
        save_atomically(state, checkpoint)

    stop = []
    for s in (signal.SIGINT, signal.SIGTERM): signal.signal(s, lambda *_: stop.append(1))
    began = saved = lap = time.perf_counter()
    first = step
    steps_to_do = batches(args.seed, step, steps, args.batch_size, args.draw_ahead, args.drawers)
    for pictures, captions, scenes in steps_to_do:
        lr = rate(step, steps, args.warmup, args.lr)
        for group in optimizer.param_groups: group["lr"] = lr
        batch = batch_of(pictures, captions)
        with autocast(): loss = caption_loss(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        lap_steps += 1
        lap_loss += loss.detach()
        seen.update(scenes)
        for c in captions: vocabulary.update(words(c))
        if step % args.log_every == 0 or step == steps:
            now = time.perf_counter()
            mean = float(lap_loss)/lap_steps
            if not math.isfinite(mean):
                raise SystemExit(f"the loss is {mean} at step {step}; "
                                 "the last checkpoint is left as it was")
            speed = (step - first)*args.batch_size/(now - lap)
            line = {"step": step, "samples": step*args.batch_size, "loss": round(mean, 4),
                    "lr": round(lr, 7), "samples_per_second": round(speed, 1)}
            if step % args.check_every == 0 or step == steps:
                line |= check(model, processor, batch_of, args.seed, autocast)
                last = line
            with open(log, "a") as f: f.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
            lap, first = time.perf_counter(), step
            lap_loss, lap_steps = torch.zeros((), device=device), 0
        if stop or time.perf_counter() - saved > args.save_seconds:
            save()
            saved = time.perf_counter()
        if stop:
            print(f"stopped at step {step}; --resume goes on", flush=True)
            return

    save()
    if not last: last = json.loads(log.read_text().splitlines()[-1])
    folder = args.out/"model.partial"
    shutil.rmtree(folder, ignore_errors=True)
    model.to("cpu").eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    minutes = (seconds + time.perf_counter() - began)/60
    text = card(args, model, processor, step, minutes, bf16, device, seen, vocabulary, last)
    (folder/"README.md").write_text(text)
    shutil.rmtree(args.out/"model", ignore_errors=True)
    os.replace(folder, args.out/"model")
    print(f"{args.out/'model'}: weights {fingerprint(model)}, {step} steps, {minutes:.1f} minutes",
          flush=True)


def card(args, model, processor, step, minutes, bf16, device, seen, vocabulary, last) -> str:
    "The model card: what this run saw, from the run's own counts."
    n = sum(seen.values())
    is_gpu = device.type == "cuda"
    threads = f"{args.threads} thread{'s' * (args.threads > 1)}"
    where = torch.cuda.get_device_name() if is_gpu else f"a CPU, {threads}"
    by_scene = last["check_f1_by_scene"]
    scenes = "\n".join(f"| {s} | {seen[s]:,} | {seen[s]/n:.1%} | {by_scene[s]:.3f} |"
                       for s in world.SCENES)
    examples = "\n".join(f"- wrote `{a}` for `{b}`" for a, b in last["examples"])
    pairs = ", ".join(f"{c} {b}" for c, b in sorted(world.NOVEL_COMBINATIONS))
    mind, eyes = model.config.get_text_config(), model.config.vision_config
    tokens, asks = len(processor.tokenizer), ""
    what, task = "A GIT captioner", "image-to-text"
    if is_chat(processor):
        what = "A chat model of the kind of SmolVLM, Idefics3 by its architecture,"
        task = "image-text-to-text"
        asks = ("\n\nIt was always asked the same, in the words of SmolVLM's chat template, and "
                f"learned the answer alone:\n```\n{render(processor)}\n```\n"
                "So it answers other questions with such captions too: it is no chat partner, "
                "but a place to try fine-tuning one.")
    return f"""---
license: apache-2.0
library_name: transformers
pipeline_tag: {task}
tags: [image-captioning, {model.config.model_type}]
---
# {args.kind}-tiny

{what} of {sum(p.numel() for p in model.parameters()):,} parameters \
({eyes.image_size} px pictures, patches of {eyes.patch_size}, width {mind.hidden_size}, \
{eyes.num_hidden_layers} vision and {mind.num_hidden_layers} text layers, \
{tokens:,} tokens of a byte-level BPE, so no text is unknown to it). \
It is small enough to fine-tune on a laptop in minutes. \
On its own it names what it sees in drawings of one kind, and knows nothing of photographs.{asks}

## What it saw
{n:,} pictures, each once, drawn by `scripts/pretrain/world.py` with seed {args.seed}, \
each with one plain caption (a list such as `{last['examples'][0][1]}`); \
65 % the full list, else the same facts in another order, with other words, or fewer.

| scene | pictures | share | word F1, held out |
| --- | ---: | ---: | ---: |
{scenes}

{len(vocabulary)} different words: {', '.join(w for w, _ in vocabulary.most_common())}.

## What it did not see
- No photograph, no text from people, and no pretrained weights: it started from random ones.
- No picture and no caption of imgcap's `creatures` set. \
Its drawing code and its sentences are not used here. \
Some things are common to both worlds by design: \
colours, outlines, markings, parts, faces and places, and the words for them.
- None of the pairs of colour and body that `creatures` keeps back \
for its test of new combinations ({pairs}), as a creature or as a shape.

## How
{step:,} steps of {args.batch_size} pictures, \
AdamW (betas 0.9 and 0.95, weight decay {args.weight_decay} on matrices), \
learning rate {args.lr} after {args.warmup} steps of warm-up, cosine decay to a hundredth, \
gradients clipped at 1, {'bf16 autocast' if bf16 else 'float32'}; \
{minutes:.0f} minutes on {where}. \
torch {torch.__version__}, transformers {transformers.__version__}.

Held out, {CHECK_PICTURES} pictures of another seed: loss {last['check_loss']}, \
word F1 of greedy captions {last['check_f1']} (mean of the F1 between two bags of words). \
The first three:
{examples}

Again: `python scripts/pretrain/pretrain.py --kind {args.kind} --samples {args.samples} \
--batch-size {args.batch_size} --lr {args.lr} --warmup {args.warmup} \
--weight-decay {args.weight_decay} --seed {args.seed} --threads {args.threads} --out RUN`
"""


if __name__ == "__main__": main()
