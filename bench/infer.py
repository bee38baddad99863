"""Speed and memory of writing captions: imgcap against the guide's recipe, which captions one
picture at a time.

Each part runs in a process of its own. The ways take turns on the same pictures in one run, so that
a busy machine disturbs the ratios little; a rate is the median over turns."""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from data import draw_jpegs, peak
from parts import parse_parts, parts_parser, run_parts

TOKENS = 20  # of every caption

def tokenizer_of(words):
    "A tokenizer with a token for each word; the first four are the special ones"
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]",
        unk_token="[UNK]", bos_token="[CLS]", eos_token="[SEP]", model_max_length=512)

def model_of_base_size(quick, library=False, dtype="float32"):
    """A GIT with git-base's sizes (of one layer each when quick), random weights and a word for
    each of its tokens"""
    import torch
    import transformers
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from imgcap.families.git import GitForCausalLM
    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *(f"w{i}" for i in range(4, 30522))]
    tokenizer = tokenizer_of(words)
    layers = {"num_hidden_layers": 1} if quick else {}
    config = transformers.GitConfig(
        vision_config=dict(layers), vocab_size=len(words),
        pad_token_id=0, bos_token_id=1, eos_token_id=2, **layers)
    torch.manual_seed(0)
    model = (transformers.GitForCausalLM if library else GitForCausalLM)(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:   # as they come, every picture gets the same caption
                weights.mul_(3)
        model.output.bias[2] = -1e4  # and no caption ends early
    images = CLIPImageProcessorPil(size={"height": 224, "width": 224}, do_center_crop=False)
    return model.to(getattr(torch, dtype)), transformers.GitProcessor(images, tokenizer)

def exactly(n, **options):
    "Options for captions of n tokens"
    return {"max_new_tokens": n, "min_new_tokens": n, "no_repeat_words": 0, **options}

def seconds_of(way):
    wall, cpu = time.perf_counter(), time.process_time()
    result = way()
    return result, time.perf_counter() - wall, time.process_time() - cpu

# Parts --------------------------------------------------------------------------------------------
def base(args, folder):
    "git-base, random weights: captions of 20 tokens from pictures in memory"
    import io
    import torch
    from PIL import Image
    from imgcap.bench import matmul_peak
    from imgcap.share.export import OnnxCaptioner, export_onnx
    from imgcap.infer import Captioner
    pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in draw_jpegs(args.pictures)]
    guide, processor = model_of_base_size(args.quick, library=True)
    ours = model_of_base_size(args.quick)[0]
    half = model_of_base_size(args.quick, dtype="bfloat16")[0]
    beginning = pictures[:max(2, args.pictures // 8)]  # one at a time is slow

    def one_at_a_time():
        written = []
        for picture in beginning:
            pixels = processor(images=picture, return_tensors="pt").pixel_values
            ids = guide.generate(pixel_values=pixels, max_new_tokens=TOKENS, min_new_tokens=TOKENS)
            written.append(ids[0, 1:])
        return [processor.tokenizer.convert_ids_to_tokens(ids) for ids in written]

    def captioner(model, batch_size, some=pictures, **options):
        with_batches = Captioner(model, processor=processor, batch_size=batch_size)
        def write():
            return [caption.tokens for caption in with_batches(some, **exactly(TOKENS, **options))]
        return write

    def write_exported(exported):
        captions = exported.many(pictures, max_new_tokens=TOKENS)
        return [caption.tokens for caption in captions]

    sizes = [size for size in (4, 16, 32) if size <= args.pictures]
    larger = sizes[1:] or sizes
    ways = {"guide: one at a time, float32": one_at_a_time,
            "imgcap: one at a time, float32": captioner(ours, 1, beginning)}
    ways |= {f"imgcap: batches of {size}, float32": captioner(ours, size) for size in sizes}
    ways |= {f"imgcap: batches of {size}, bfloat16": captioner(half, size) for size in larger}
    ways |= {f"imgcap: batches of {sizes[-1]}, bfloat16, no word thrice":
             captioner(half, sizes[-1], no_repeat_words=3)}
    export_onnx(ours, folder / "int8", processor=processor, int8=True)
    ways |= {f"imgcap: batches of {size}, ONNX with 8-bit weights":
             partial(write_exported, OnnxCaptioner(folder / "int8", batch_size=size))
             for size in larger}
    found = {name: {"wall": [], "cpu": [], "tokens": None} for name in ways}
    for name, way in ways.items(): way() if args.warm else None
    for turn in range(args.rounds):
        for name, way in ways.items():
            tokens, wall, cpu = seconds_of(way)
            found[name]["wall"].append(wall / len(tokens))
            found[name]["cpu"].append(cpu / len(tokens))
            found[name]["tokens"] = tokens
    wanted = found["guide: one at a time, float32"]["tokens"]
    for name, way in found.items():
        tokens = way.pop("tokens")
        assert all(len(caption) == TOKENS for caption in tokens)
        if "float32" in name:
            assert tokens[:len(wanted)] == wanted, f"{name}: other tokens than the guide's"
    different = len(set(map(tuple, wanted)))
    assert different > 1 or args.quick, "the captions are all alike, which proves nothing"
    first = found["guide: one at a time, float32"]
    def ratio(way, kind):
        return statistics.median(a / b for a, b in zip(first[kind], way[kind]))
    return {
        "ways": {name: {"captions_per_second": 1 / statistics.median(way["wall"]),
                        "cpu_seconds": statistics.median(way["cpu"]),
                        "ratio": ratio(way, "wall"), "cpu_ratio": ratio(way, "cpu")}
                 for name, way in found.items()},
        "matrix_products": {name: rate / 1e12 for name, rate
                            in matmul_peak(device="cpu", size=1024).items()},
        "same_tokens": len(wanted), "different_captions": different,
        "threads": torch.get_num_threads(), "quick": args.quick}

def memory(args, folder):
    "git-base: peak memory of captioning, by batch size"
    found = {}
    for dtype in ("float32", "bfloat16"):
        for size in args.batch_sizes:
            command = [sys.executable, __file__, "--peak-of", f"{dtype},{size}",
                       *(["--quick"] if args.quick else [])]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[f"{dtype}, batches of {size}"] = json.loads(done.stdout.splitlines()[-1])
    return found

def peak_of(args):
    "Memory with the model loaded, and the peak of two batches, in this process"
    import io
    from PIL import Image
    from imgcap.infer import Captioner
    dtype, size = args.peak_of.split(",")
    model, processor = model_of_base_size(args.quick, dtype=dtype)
    pictures = [Image.open(io.BytesIO(file)).convert("RGB") for file in draw_jpegs(4)]
    captioner = Captioner(model, processor=processor, batch_size=int(size))
    list(captioner(pictures[:1], **exactly(TOKENS)))
    if os.access("/proc/self/clear_refs", os.W_OK):  # start of the peak; Linux
        Path("/proc/self/clear_refs").write_text("5")
    before = current_peak()
    list(captioner((pictures[i % 4] for i in range(2 * int(size))), **exactly(TOKENS)))
    return {"loaded_mb": before, "peak_mb": current_peak()}

def current_peak():
    "Highest resident memory in MB since it was last reset"
    try:
        with open("/proc/self/status") as lines:
            highest = next(line for line in lines if line.startswith("VmHWM"))
        return int(highest.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration): return peak()

def tiny(args, folder):
    "git-tiny: from JPEG files to a file of captions, end to end"
    import torch
    from imgcap.infer import Captioner, caption_files
    sizes = {"640 × 480": (640, 480)} | ({} if args.quick else {"1920 × 1440": (1920, 1440)})
    found = {}
    for name, size in sizes.items():
        few = draw_jpegs(20, *size)
        for i in range(args.files): Path(folder, f"{i:05}.jpg").write_bytes(few[i % len(few)])
        for batch_size in (1, 16, 64):
            captioner, times = Captioner("git-tiny", batch_size=batch_size), []
            for turn in range(args.rounds + 1):  # the first one warms up
                counts, wall, cpu = seconds_of(partial(
                    caption_files, folder, captioner,
                    out=folder.parent / "captions.jsonl", overwrite=True))
                assert counts.captioned == args.files
                times.append((wall / args.files, cpu / args.files))
            walls, cpus = zip(*times[1:])
            found[f"{name}, batches of {batch_size}"] = {
                "pictures_per_second": 1 / statistics.median(walls),
                "cpu_ms": 1000 * statistics.median(cpus)}
    can_ask = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if can_ask else os.cpu_count()
    return {"ways": found, "threads": torch.get_num_threads(), "cores": cores, "quick": args.quick}

PARTS = {"base": base, "memory": memory, "tiny": tiny}

def goal(value, wanted, name, found):
    return "" if found["quick"] else f"; {name}: {'met' if value >= wanted else 'missed'}"

def show(name, found):
    if name == "base":
        print(f"{'':48}captions/s  faster   CPU s  by CPU")
        for way, r in found["ways"].items():
            print(f"  {way:48}{r['captions_per_second']:8.2f}{r['ratio']:8.1f}"
                  f"{r['cpu_seconds']:8.3f}{r['cpu_ratio']:8.1f}")
        best = max(r["ratio"] for r in found["ways"].values())
        print(f"  same tokens as the guide in float32: {found['same_tokens']} captions of "
              f"{TOKENS} tokens, {found['different_captions']} of them different")
        rates = found["matrix_products"]
        print(f"  matrix products here: {rates['float32']:.2f} TFLOP/s in float32, "
              f"{rates['bfloat16']:.2f} in bfloat16, "
              f"{rates['bfloat16'] / rates['float32']:.1f} times as many")
        print(f"  {best:.1f} times the guide, {found['threads']} threads"
              f"{goal(best, 10, 'goal 10', found)}")
    if name == "memory":
        for way, r in found.items():
            print(f"  {way:32}{r['peak_mb']:8,.0f} MB at its peak, "
                  f"{r['loaded_mb']:8,.0f} MB after one picture")
    if name == "tiny":
        for way, r in found["ways"].items():
            print(f"  {way:32}{r['pictures_per_second']:8.0f} pictures/s, "
                  f"CPU {r['cpu_ms']:6.2f} ms")
        best = max(r["pictures_per_second"] for r in found["ways"].values())
        print(f"  {best:.0f} pictures/s, {found['threads']} threads, {found['cores']} cores"
              f"{goal(best, 150, 'goal 150 on two cores', found)}")

def main():
    parser = parts_parser(argparse.ArgumentParser(description=__doc__), PARTS)
    parser.add_argument("--quick", action="store_true",
                        help="a model of one layer and few pictures, in a minute: shows that the "
                             "benchmark runs, and no speed")
    parser.add_argument("--pictures", type=int, help="pictures for base (32, quick 4)")
    parser.add_argument("--rounds", type=int, help="turns (3, quick 1)")
    parser.add_argument("--files", type=int, help="JPEG files for tiny (600, quick 60)")
    parser.add_argument("--batch-sizes", type=int, nargs="*",
                        help="for memory (1 4 16 64, quick 1 4)")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)  # the process of one batch size
    args = parse_parts(parser, PARTS)
    sizes = [("pictures", 32, 4), ("rounds", 3, 1), ("files", 600, 60),
             ("batch_sizes", [1, 4, 16, 64], [1, 4])]
    for name, full, quick in sizes:
        if getattr(args, name) is None: setattr(args, name, quick if args.quick else full)
    args.warm = not args.quick
    if args.peak_of: return print(json.dumps(peak_of(args)))
    run_parts(args, PARTS, show, stderr=None if os.environ.get("BENCH_DEBUG") else subprocess.PIPE)

if __name__ == "__main__": main()
