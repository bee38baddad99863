"""Speed and memory of a chat model: LoRA training and captions by imgcap beside the field's plain
recipe, and scores of captions alone beside scores of everything.

    python bench/chat.py                 half an hour on two cores
    python bench/chat.py --device cuda   minutes

The model has the shape of SmolVLM-256M (256.5 million weights: the numbers of config.json at
https://huggingface.co/HuggingFaceTB/SmolVLM-256M-Instruct) and random weights, so that its captions
mean nothing: only time and memory are looked at. Pictures are drawn creatures, seen as a whole, not
cut into tiles, by both: 64 places each. The plain recipe is that of the model's own tutorial:
transformers' Trainer, the processor called for each batch in the collator, scores and loss at all
positions, everything in bfloat16. LoRA is the same (rank 8, linear layers of the language model),
and so are batches, optimizer, pictures and captions. Neither computes activations twice, but for
a third way of training, which does.

Each way runs in a process of its own, in turns. Rates are medians over turns; on a CPU the ratio of
CPU times stands beside them, which other work on the machine hardly moves. Memory is the largest:
of the process, or on a GPU what tensors took of it."""
import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time

WAYS = {
    "train, plain": "the field's recipe",
    "train, imgcap": "finetune(lora=8, augment=False)",
    "train, imgcap, twice": "the same with gradient_checkpointing, for which there is time",
    "write, plain": "generate, batches padded on the left",
    "write, imgcap": "Captioner",
    "step, all scores": "imgcap's step, with the vocabulary asked at every position",
    "step, captions' scores": "imgcap's step",
}
TOKENS, RANK = 20, 8 # of a caption that is written; of LoRA

# The model ----------------------------------------------------------------------------------------
def settings(tokenizer, quick):
    "SmolVLM-256M's, or a fraction of its layers"
    from transformers import Idefics3Config
    layers = (12, 30) if not quick else (2, 3)
    ends = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id")
            for name in ("bos", "eos", "pad")}
    text = {"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
            "num_hidden_layers": layers[1], "num_attention_heads": 9, "num_key_value_heads": 3,
            "head_dim": 64, "vocab_size": 49_280, "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0}}
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": layers[0],
              "num_attention_heads": 12, "image_size": 512, "patch_size": 16}
    return Idefics3Config(text_config=text | ends, vision_config=vision, scale_factor=4, **ends,
                          image_token_id=tokenizer.image_token_id, tie_word_embeddings=False)

def write_model(folder, quick):
    "A checkpoint in bfloat16, as such models are published."
    import torch
    from transformers import Idefics3ForConditionalGeneration, Idefics3Processor
    from transformers.models.idefics3.image_processing_pil_idefics3 import (
        Idefics3ImageProcessorPil)
    from imgcap.model import new_smol_tiny
    tiny = new_smol_tiny()[1]
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    model = Idefics3ForConditionalGeneration(settings(tiny.tokenizer, quick))
    side = {"longest_edge": 512}
    pictures = Idefics3ImageProcessorPil(size=side, max_image_size=side, do_image_splitting=False)
    tiny.tokenizer.model_max_length = 8192
    model.save_pretrained(folder)
    Idefics3Processor(pictures, tiny.tokenizer, image_seq_len=64,
                      chat_template=tiny.chat_template).save_pretrained(folder)
    return {"weights": sum(p.numel() for p in model.parameters())}

def drawn(n):
    "Creatures with captions."
    import datasets
    from imgcap.data.creatures import make_creatures
    datasets.disable_progress_bars()
    return make_creatures({"train": n})["train"]

# What is measured ---------------------------------------------------------------------------------
def now():
    "Wall and CPU time, when the GPU has done what it was asked."
    import torch
    if torch.cuda.is_available(): torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()

def since(then): return [b - a for a, b in zip(then, now())]

def clock():
    "Times and peak memory at the end of each training step."
    from imgcap.bench import peak_memory
    from transformers import TrainerCallback
    class Clock(TrainerCallback):
        times, memory = [], 0
        def on_train_begin(self, *args, **kwargs): self.times = [now()]
        def on_step_end(self, *args, **kwargs):
            self.times.append(now())
            self.memory = peak_memory()
    return Clock()

def trained(steps, args):
    "What a training comes to; its first step, which is no measure, counts as the next ones."
    def spent(first, last): return [b - a for a, b in zip(steps.times[first], steps.times[last])]
    def rates(n, wall, cpu): return {"rate": n / wall, "cpu": cpu / n}
    an_epoch, last = args.pictures // args.batch, len(steps.times) - 1
    begun = [seconds * an_epoch / (an_epoch - 1) for seconds in spent(1, an_epoch)]
    later = spent(an_epoch, last)
    return rates(args.batch * last, *map(sum, zip(begun, later))) | {
        "later": rates(args.batch * (last - an_epoch), *later), "memory": steps.memory}

def train_plain(args):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        AutoModelForImageTextToText, AutoProcessor, PrinterCallback, Trainer, TrainingArguments)
    from imgcap.families.chat import QUESTION
    processor = AutoProcessor.from_pretrained(args.folder)
    model = AutoModelForImageTextToText.from_pretrained(args.folder, dtype=torch.bfloat16)
    model = get_peft_model(model, LoraConfig(
        r=RANK, lora_alpha=2 * RANK, target_modules="all-linear",
        exclude_modules=r"(?!model\.text_model\.).*"))
    apart = processor.tokenizer.pad_token_id, processor.tokenizer.image_token_id

    def collate(rows):
        texts, images = [], []
        for row in rows:
            asked = [{"type": "image"}, {"type": "text", "text": QUESTION}]
            said = [{"type": "text", "text": row["captions"][0]}]
            turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": said}]
            texts.append(processor.apply_chat_template(turns, add_generation_prompt=False).strip())
            images.append([row["image"]])
        batch = processor(text=texts, images=images, return_tensors="pt", padding=True,
                          do_image_splitting=False)
        labels = batch["input_ids"].clone()
        for token in apart: labels[labels == token] = -100
        return {**batch, "labels": labels}
    steps = clock()
    asked = TrainingArguments(
        output_dir=tempfile.mkdtemp(), num_train_epochs=args.epochs, learning_rate=1e-4,
        per_device_train_batch_size=args.batch, bf16=True, optim="adamw_torch_fused",
        remove_unused_columns=False, save_strategy="no", report_to="none", disable_tqdm=True,
        dataloader_num_workers=args.workers, use_cpu=args.device == "cpu")
    trainer = Trainer(model=model, args=asked, train_dataset=drawn(args.pictures),
                      data_collator=collate, callbacks=[steps])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return trained(steps, args)

def loaded(args):
    from imgcap.model import load_model
    return load_model(args.folder, device=args.device, dtype="bfloat16")

def train_imgcap(args, twice=False):
    from imgcap.bench import peak_memory
    from imgcap.train import finetune
    rows, steps = drawn(args.pictures + 1), clock()
    data = {"train": rows.select(range(args.pictures)), "validation": rows.select([args.pictures])}
    with tempfile.TemporaryDirectory() as out:
        finetune(*loaded(args), data, out=f"{out}/run", lora=RANK, augment=False,
                 epochs=args.epochs, batch_size=args.batch, accumulate=1, learning_rate=1e-4,
                 precision="bfloat16", gradient_checkpointing=twice, validations=1,
                 max_new_tokens=TOKENS, workers=args.workers, callbacks=[steps],
                 echo=lambda line: None)
    return trained(steps, args) | {"whole": peak_memory()}

def timed(write, images, rounds=2):
    "Captions a second, the first round apart."
    from imgcap.bench import peak_memory
    for _ in range(rounds):
        start = now()
        texts = write(images)
        wall, cpu = since(start)
    assert len(texts) == len(images)
    return {"rate": len(images) / wall, "cpu": cpu / len(images), "memory": peak_memory()}

def write_plain(args):
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from imgcap.families.chat import QUESTION
    processor = AutoProcessor.from_pretrained(args.folder)
    processor.tokenizer.padding_side = "left"
    model = AutoModelForImageTextToText.from_pretrained(args.folder, dtype=torch.bfloat16)
    model = model.to(args.device).eval()
    asked = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    text = processor.apply_chat_template([{"role": "user", "content": asked}],
                                         add_generation_prompt=True)

    @torch.inference_mode()
    def write(images):
        texts = []
        for k in range(0, len(images), args.together):
            some = images[k:k + args.together]
            inputs = processor(text=[text] * len(some), images=[[image] for image in some],
                               return_tensors="pt", padding=True, do_image_splitting=False)
            inputs = inputs.to(args.device, torch.bfloat16)
            ids = model.generate(**inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS,
                                 do_sample=False)
            texts += processor.batch_decode(ids[:, inputs["input_ids"].shape[1]:],
                                            skip_special_tokens=True)
        return texts
    return timed(write, list(drawn(args.pictures)["image"]))

def write_imgcap(args):
    from imgcap.infer import Captioner
    model, processor = loaded(args)
    captioner = Captioner(model, processor=processor, batch_size=args.together)
    exactly = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "no_repeat_words": 0}
    return timed(lambda images: list(captioner.many(images, **exactly)),
                 list(drawn(args.pictures)["image"]))

def step(args, everything):
    "One step behind the vision tower, as in a second epoch: forward and backward."
    import torch
    from imgcap.bench import peak_memory
    from imgcap.config import TrainConfig
    from imgcap.families.chat import encode_image
    from imgcap.families.seen import PROMPT, seen_of, to_model
    from imgcap.model import caption_loss
    from imgcap.preprocess import CaptionCollator
    from imgcap.train import choose_parts
    model, processor = loaded(args)
    batch = CaptionCollator(processor, choose="first")(list(drawn(args.batch)))
    pictures = {name: batch.pop(name) for name in seen_of(batch) if not name.startswith(PROMPT)}
    one = to_model({name: tensor[:1] for name, tensor in pictures.items()}, model)
    kept = torch.zeros(args.batch, 64, 576, dtype=model.dtype, device=model.device)
    seen, work = count(lambda: encode_image(model, one))
    kept[:] = seen
    batch = {name: tensor.to(model.device) for name, tensor in batch.items()}
    batch["image_features"] = kept
    model = choose_parts(model, TrainConfig(lora=RANK)).train()
    if everything:
        inner, forward = model.get_base_model(), model.get_base_model().forward
        def scores_of_all(*given, logits_to_keep, **named): return forward(*given, **named)
        inner.forward = scores_of_all
    times = []
    for _ in range(4):
        start = now()
        with torch.autocast(args.device, torch.bfloat16): loss = caption_loss(model, batch)
        loss.backward()
        times.append(since(start))
    memory, (_, language) = peak_memory(), count(lambda: caption_loss(model, batch))
    wall, cpu = map(statistics.median, zip(*times[1:]))
    return {"rate": args.batch / wall, "cpu": cpu / args.batch, "memory": memory,
            "loss": loss.item(), "vision": work, "language": language / args.batch}

def count(function):
    "What a function returns, and the operations of its matrix products."
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    with torch.no_grad(), FlopCounterMode(display=False) as counter: made = function()
    return made, counter.get_total_flops()

JOBS = {"train, plain": train_plain, "train, imgcap": train_imgcap, "write, plain": write_plain,
        "train, imgcap, twice": lambda args: train_imgcap(args, twice=True),
        "write, imgcap": write_imgcap, "step, all scores": lambda args: step(args, True),
        "step, captions' scores": lambda args: step(args, False),
        "model": lambda args: write_model(args.folder, args.quick)}

# The table ----------------------------------------------------------------------------------------
def print_row(name, runs, unit, beside=(), device="cpu"):
    "A way; where there are runs of another `beside` it, what it is against those."
    def median(runs, figure): return statistics.median(run[figure] for run in runs)
    def most(runs): return max(run.get("memory", 0) for run in runs)
    rate, against, memory = median(runs, "rate"), "", f"{most(runs) / 1e9:8.2f} GB"
    if beside:
        against = f"{rate / median(beside, 'rate'):7.2f} times"
        if device == "cpu": against += f"{median(beside, 'cpu') / median(runs, 'cpu'):9.2f}"
    if not most(runs): memory = ""
    elif beside: memory += f"{most(runs) / most(beside):7.2f} of it"
    print(f"{name:24}{rate:8.2f} {unit:11}{against:22}{memory}".rstrip())

def say_limit(found, args):
    "What the work of both would allow."
    run, of_all = found["step, captions' scores"][0], found["step, all scores"][0]
    vision, language, everything = (
        figure / 1e9 for figure in (run["vision"], run["language"], of_all["language"]))
    plain, ours = vision + 2 * everything, vision / args.epochs + 2 * language
    print(f"work of an image: {vision:.0f} GFLOP in the vision tower, {language:.0f} behind it, "
          f"{everything:.0f} with all scores, and as much again for gradients\n"
          f"limit: {plain / ours:.1f} times as fast in {args.epochs} epochs, "
          f"{plain / (2 * language):.1f} times in very many\n"
          f"loss of a step {run['loss']:.6f}, with all scores {of_all['loss']:.6f}")

def print_table(found, args):
    by_cpu = "by CPU" if args.device == "cpu" else ""
    print(f"{'':24}{'':20}{'against plain':>13}{by_cpu:>8}{'peak memory':>13}")
    for first, second, unit in (("train, plain", "train, imgcap", "images/s"),
                                ("train, plain", "train, imgcap, twice", "images/s"),
                                ("write, plain", "write, imgcap", "captions/s"),
                                ("step, all scores", "step, captions' scores", "images/s")):
        if first in found and second != "train, imgcap, twice":
            print_row(first, found[first], unit)
        if second in found: print_row(second, found[second], unit, found.get(first), args.device)
        if (first, second) == ("train, plain", "train, imgcap") and {first, second} <= {*found}:
            later = [[run["later"] for run in found[name]] for name in (first, second)]
            print_row("  from the second epoch", later[1], unit, later[0], args.device)
            whole = max(run["whole"] for run in found[second])
            print(f"  with validation and saving{'':39}{whole / 1e9:8.2f} GB")
    if {"step, all scores", "step, captions' scores"} <= {*found}: say_limit(found, args)

def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="*", help=f"any of {'; '.join(WAYS)} (all)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (cpu)")
    parser.add_argument("--pictures", type=int, default=32, help="of an epoch (32)")
    parser.add_argument("--epochs", type=int, default=3, help="of a training (3)")
    parser.add_argument("--batch", type=int, default=8, help="pictures of a step (8)")
    parser.add_argument("--together", type=int, default=16, help="pictures captioned together (16)")
    parser.add_argument("--rounds", type=int, default=2, help="turns (2)")
    parser.add_argument("--workers", type=int, default=0, help="processes for batches (0, of both)")
    parser.add_argument("--quick", action="store_true",
                        help="few layers, few pictures: shows that the benchmark runs")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # the process of one way
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := [way for way in args.ways if way not in WAYS]:
        parser.error(f"no way {unknown[0]!r}; they are: {'; '.join(WAYS)}")
    if args.quick: args.pictures, args.batch, args.together, args.rounds = 8, 4, 4, 1
    if args.pictures % args.batch or args.pictures < 2 * args.batch or args.epochs < 2:
        parser.error("pictures are two batches or more, and epochs are two or more")
    if args.one: return print(json.dumps(JOBS[args.one](args)))
    start, found = time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as folder:
        def measure(name):
            command = [sys.executable, __file__, *sys.argv[1:], "--folder", folder, "--one", name]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found.setdefault(name, []).append(json.loads(done.stdout.splitlines()[-1]))
            if not args.json:
                print(f"{time.perf_counter() - start:5.0f} s  {name}", file=sys.stderr)
        measure("model")
        for _ in range(args.rounds):
            for name in args.ways or WAYS: measure(name)
    repeat = " ".join(["python bench/chat.py", *sys.argv[1:]])
    if args.json: return print(json.dumps({"repeat": repeat, **found}))
    print_table(found, args)
    print(f"{found['model'][0]['weights'] / 1e6:.1f} million weights, {args.pictures} pictures, "
          f"{args.epochs} epochs, batches of {args.batch}, {args.together} captions together, "
          f"{args.device}; repeat with: {repeat}")

if __name__ == "__main__": main()
