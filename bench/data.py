"""Speed and memory of reading pictures and captions. All data is drawn by this script in a
temporary folder.

Each part runs in a process of its own, so that the peak memory is its own. Two ways of doing the
same thing take turns on the same pictures, and CPU time counts, so that a busy machine disturbs
the ratio little."""
import argparse
import contextlib
import io
import json
import os
import resource
import statistics
import sys
import tarfile
import time
from pathlib import Path

from parts import parse_parts, parts_parser, run_parts

WORDS = ("a the two small large red brown dog cat man woman child horse bus train street grass "
         "table holds rides near beside under with").split()

def caption(n):
    "Caption number n, eight to twelve words"
    words = [WORDS[(n * 7 + k * k + n // (k + 1)) % len(WORDS)] for k in range(8 + n % 5)]
    return " ".join(words) + f" {n}"

def memory():
    "Resident memory of this process in MB"
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError: return float("nan")

def peak():
    "Highest resident memory of this process in MB"
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit

@contextlib.contextmanager
def clock(into, name):
    "Wall and CPU seconds of a block"
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    into[f"{name}_s"], into[f"{name}_cpu_s"] = time.perf_counter() - wall, time.process_time() - cpu

# Pictures -----------------------------------------------------------------------------------------
def draw_jpegs(n, width=640, height=480):
    "n JPEG files that compress about as photographs do: blurred colours, an edge or two and grain"
    import numpy as np
    from PIL import Image
    rng, files = np.random.default_rng(0), []
    def noise(rows, columns):
        small = Image.fromarray(rng.integers(0, 256, (rows, columns, 3), dtype=np.uint8))
        large = small.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(large, dtype=np.float32)
    for _ in range(n):
        pixels = 0.7 * noise(9, 12) + 0.3 * noise(60, 80)
        x, y = rng.integers(0, width // 2), rng.integers(0, height // 2)
        pixels[y : y + height // 3, x : x + width // 3] *= 0.6
        pixels += rng.normal(0, 6, (height, width, 1))
        file = io.BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files

def take_turns(ways, items, rounds, chunk=20):
    "CPU milliseconds an item of each way, and its speed against the first: medians over chunks"
    for way in ways.values(): way(items[:4])  # what is done once must not count
    spent = {name: [] for name in ways}
    names = list(ways)
    for _ in range(rounds):
        for i in range(0, len(items), chunk):
            part = items[i : i + chunk]
            for name in names:
                start = time.process_time()
                ways[name](part)
                spent[name].append((time.process_time() - start) / len(part))
            names = names[1:] + names[:1]
    first = next(iter(ways))
    def faster(name):
        return statistics.median(a / b for a, b in zip(spent[first], spent[name]))
    return {name: {"cpu_ms": 1000 * statistics.median(s), "ratio": faster(name)}
            for name, s in spent.items()}

class Pictures:
    "The files as a torch dataset of rows, or of pixels where `work` is given"
    def __init__(self, files, work=None): self.files, self.work = files, work
    def __len__(self): return len(self.files)
    def __getitem__(self, i):
        image = {"bytes": self.files[i], "path": None}
        row = {"image": image, "captions": [caption(i)], "image_id": str(i)}
        return self.work(row) if self.work else row

def rgb(file):
    "The picture, with Pillow alone"
    from PIL import Image
    return Image.open(io.BytesIO(file)).convert("RGB")

class Processed:
    "A batch decoded by Pillow alone and put through an image processor"
    def __init__(self, processor): self.processor = processor
    def __call__(self, rows):
        pictures = [rgb(row["image"]["bytes"]) for row in rows]
        return self.processor(images=pictures, return_tensors="pt").pixel_values

class Collate:
    "Only the pixels of a collator's batch"
    def __init__(self, collator): self.collator = collator
    def __call__(self, rows): return self.collator.see(rows)[1]

def plain_pixels(row):
    "The picture as uint8 pixels, with Pillow alone"
    import numpy as np
    import torch
    from PIL import Image
    picture = rgb(row["image"]["bytes"]).resize((224, 224), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(picture))

def part_decode(args, folder):
    "640 × 480 JPEG to 224 × 224"
    from types import SimpleNamespace
    import torch
    from PIL import Image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from imgcap.data import decode_image
    from imgcap.preprocess import CaptionCollator, augment_picture, picture_pixels
    torch.set_num_threads(1)
    files, square, cubic = draw_jpegs(args.pictures), (224, 224), Image.Resampling.BICUBIC
    clip = CLIPImageProcessorPil(size={"shortest_edge": 224},
                                 crop_size={"height": 224, "width": 224})
    tokenizer = SimpleNamespace(model_max_length=77)
    processor = SimpleNamespace(image_processor=clip, tokenizer=tokenizer)
    collator = CaptionCollator(processor, cache_bytes=0)
    moved = CaptionCollator(processor, cache_bytes=0, augment=augment_picture)
    rows = Pictures(files)
    number = {id(file): i for i, file in enumerate(files)}
    def batch(part): return [rows[number[id(file)]] for file in part]
    def each(work): return lambda part: [work(file) for file in part]
    def resized(picture): return picture.resize(square, cubic)
    def drafted(file):  # what the JPEG decoder can leave out, Pillow alone
        image = Image.open(io.BytesIO(file))
        image.draft("RGB", square)
        return resized(image.convert("RGB"))

    decode = {"Image.open, convert": each(rgb), "decode_image": each(decode_image)}
    resize = {
        "Image.open, convert, resize": each(lambda file: resized(rgb(file))),
        "decode_image, resize": each(lambda file: resized(decode_image(file))),
        "decode_image(at_least=224), resize": each(
            lambda file: resized(decode_image(file, at_least=224))),
        "Image.open, draft, convert, resize": each(drafted)}
    whole = {"Image.open, convert, resize": resize["Image.open, convert, resize"],
             "Image.open, convert, CLIP processor": lambda part: clip(
                 images=[rgb(file) for file in part], return_tensors="pt"),
             "CaptionCollator": lambda part: collator.see(batch(part)),
             "CaptionCollator, augment_picture": lambda part: moved.see(batch(part))}
    pictures = [rgb(file) for file in files]
    parts = {"CLIP processor alone": lambda part: clip(images=part, return_tensors="pt"),
             "picture_pixels": lambda part: picture_pixels(clip, part),
             "resize to 299 x 224 alone": each(lambda image: image.resize((299, 224), cubic))}
    found = {"kB_per_file": statistics.mean(map(len, files)) / 1000,
             "decode": take_turns(decode, files, args.rounds),
             "decode_resize": take_turns(resize, files, args.rounds),
             "to_tensor": take_turns(whole, files, args.rounds),
             "processor": take_turns(parts, pictures, args.rounds)}
    theirs = clip(images=pictures[:50], return_tensors="pt").pixel_values
    ours = picture_pixels(clip, pictures[:50])
    off = (theirs - ours).abs() * min(clip.image_std) * 255
    share = float((off > 0.01).float().mean())
    found["picture_pixels"] = {"share_off": share, "largest": float(off.max())}
    if args.photos:
        paths = sorted(Path(args.photos).rglob("*.jp*g"))[:200]
        photos = [path.read_bytes() for path in paths]
    else:
        photos = files[:50]
    found["halved"] = {"pictures": len(photos), "from": args.photos and Path(args.photos).name,
                       "at": halved(photos)}
    found["workers"] = {str(n): workers(files, collator, n) for n in args.workers}
    return found

def halved(files):
    """What changes where the JPEG decoder halves a picture before it is resized, and what two
    harmless changes do

    `{times the side: [[mean, largest mean of one picture] of each change]}`; differences of pixels
    of 255."""
    import numpy as np
    from PIL import Image
    from imgcap.data import decode_image
    def saved(image):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=90)
        return file.getvalue()
    found = {}
    for times in 1, 1.25, 1.5, 2, 3:
        off = []
        for file in files:
            whole = decode_image(file)
            half = decode_image(file, at_least=min(whole.size) // 2)
            if half.size == whole.size: continue
            size = [max(1, round(side / 2 / times)) for side in whole.size]
            def small(image, how=Image.Resampling.BICUBIC, size=size):
                return np.asarray(image.resize(size, how), dtype=float)
            others = (small(half), small(decode_image(saved(whole))),
                      small(whole, Image.Resampling.BILINEAR))
            off.append([np.abs(other - small(whole)).mean() for other in others])
        found[str(times)] = [[float(np.mean(o)), float(np.max(o))] for o in zip(*off)]
    return found

def children_cpu():
    "CPU seconds of processes that ended"
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

def workers(files, collator, n, repeats=2):
    """Pictures a second of wall time through `n` worker processes, ours and Pillow alone by turns;
    CPU time of the workers"""
    import torch
    files = files * 2
    ways = {"Image.open, convert, resize": dict(dataset=Pictures(files, plain_pixels)),
            "Image.open, convert, CLIP processor": dict(
                dataset=Pictures(files),
                collate_fn=Processed(collator.processor.image_processor)),
            "CaptionCollator": dict(dataset=Pictures(files), collate_fn=Collate(collator))}
    seconds, cpu = {k: [] for k in ways}, {k: [] for k in ways}
    for _ in range(repeats):
        for name, options in ways.items():
            before, start = children_cpu(), time.perf_counter()
            for _ in torch.utils.data.DataLoader(
                    **options, batch_size=16, num_workers=n, multiprocessing_context="fork"):
                pass
            after = children_cpu()
            seconds[name].append((time.perf_counter() - start) / len(files))
            cpu[name].append((after - before) / len(files))
    first = next(iter(ways))
    return {name: {"pictures_per_s": 1 / min(seconds[name]), "cpu_ms": 1000 * min(cpu[name]),
                   "ratio": min(cpu[first]) / min(cpu[name])} for name in ways}

# Captions -----------------------------------------------------------------------------------------
def count_opens(suffix):
    "How often files with this suffix are opened from Python from now on; the list grows"
    opened = []
    def hook(event, details):
        if event == "open" and isinstance(details[0], str) and details[0].endswith(suffix):
            opened.append(1)
    sys.addaudithook(hook)
    return opened

def part_coco(args, folder):
    "A COCO file of captions"
    n, images = args.images, folder/"images"
    images.mkdir()
    (images/"0.jpg").write_bytes(b"not a picture: whoever decodes it fails")
    for i in range(1, n): os.link(images/"0.jpg", images/f"{i}.jpg")
    data = {"images": [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480}
                       for i in range(n)],
            "annotations": [{"id": k, "image_id": k % n, "caption": caption(k)}
                            for k in range(5 * n)]}
    (folder/"captions.json").write_text(json.dumps(data))
    from imgcap.data import load_captions
    opened, found = count_opens(".jpg"), {}
    with clock(found, "load"): ds = load_captions(folder/"captions.json", images=images)
    assert ds.num_rows == {"train": n} and sum(map(len, ds["train"]["captions"])) == 5 * n
    return found | {"captions": 5 * n, "pictures": n, "pictures_opened": len(opened),
                    "peak_mb": peak()}

def part_index(args, folder):
    "A folder of pictures with a text file each"
    for i in range(args.pairs):
        if i % 10_000 == 0:  # a file system may limit how many names one file has
            picture = folder/f"{i:07}.jpg"
            picture.write_bytes(b"not a picture")
        else: os.link(picture, folder/f"{i:07}.jpg")
        (folder/f"{i:07}.txt").write_text(caption(i) + "\n")
    from imgcap.data import load_captions
    opened, found, before = count_opens(".jpg"), {}, memory()
    with clock(found, "index"): ds = load_captions(folder)
    assert ds.num_rows == {"train": args.pairs}
    return found | {"pairs": args.pairs, "pictures_opened": len(opened),
                    "before_mb": before, "peak_mb": peak()}

def tiny_png():
    "Bytes of a picture of 4 × 4 pixels"
    from PIL import Image
    file = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(file, "PNG")
    return file.getvalue()

def stream(source, rows):
    "Memory and speed while a stream is read once"
    from imgcap.data import keep_encoded, load_captions
    import datasets
    datasets.disable_progress_bars()
    decoded, found, seen = load_captions(source, streaming=True), {}, 0
    ds = keep_encoded(decoded)
    with clock(found, "first"): next(iter(ds["train"]))
    with clock(found, "decoded"):
        for row in decoded["train"].take(2000): row["image"].load()
    with clock(found, "read"):
        for row in ds["train"]:
            seen += 1
            if seen == rows // 10: found["mb_at_10_percent"] = memory()
    assert seen == rows and row["captions"], seen
    return found | {
        "rows": rows, "rows_per_s": rows / found["read_s"],
        "rows_per_cpu_s": rows / found["read_cpu_s"],
        "decoded_rows_per_cpu_s": min(rows, 2000) / found["decoded_cpu_s"],
        "mb_at_100_percent": memory(), "peak_mb": peak()}

def part_near(args, folder):
    "Near-identical pictures"
    import numpy as np
    from imgcap.data.splits import near_pairs, perceptual_hash
    found, rng = {}, np.random.default_rng(0)
    rows = [{"bytes": file, "path": None} for file in draw_jpegs(50)]
    perceptual_hash(rows[0])
    with clock(found, "hash"): hashes = [perceptual_hash(row) for row in rows]
    for n in args.hashes:
        strangers = rng.integers(0, 2**64, n - n // 10, dtype=np.uint64)
        bits = np.uint64(1) << rng.integers(0, 64, n // 10, dtype=np.uint64)
        copies = strangers[: n // 10] ^ bits  # a tenth are copies, one bit off
        hashes = np.unique(np.concatenate([strangers, copies]))
        with clock(found, f"pairs_{n}"): pairs = near_pairs(hashes, 4)
        found[f"found_{n}"] = len({tuple(sorted(pair)) for pair in pairs.tolist()})
    return found | {"hashed": len(rows), "hashes": args.hashes, "peak_mb": peak()}

def part_parquet(args, folder, shard=50_000):
    "Rows streamed from Parquet shards"
    import pyarrow as pa
    import pyarrow.parquet as pq
    png = tiny_png()
    for number, start in enumerate(range(0, args.rows, shard)):
        part = range(start, min(args.rows, start + shard))
        rows = pa.table({"image": pa.array([png] * len(part), pa.binary()),
                         "caption": [caption(i) for i in part],
                         "image_id": [str(i) for i in part]})
        pq.write_table(rows, folder/f"train-{number:05}.parquet", row_group_size=1000)
    pa.default_memory_pool().release_unused()
    return stream(folder, args.rows)

def part_tar(args, folder, shard=10_000):
    "Rows streamed from WebDataset shards"
    png = tiny_png()
    for number, start in enumerate(range(0, args.tar_rows, shard)):
        with tarfile.open(folder/f"{number:03}.tar", "w") as tar:
            for i in range(start, min(args.tar_rows, start + shard)):
                for suffix, data in ("png", png), ("txt", caption(i).encode()):
                    info = tarfile.TarInfo(f"{i:08}.{suffix}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return stream(f"{folder}/{{000..{(args.tar_rows - 1) // shard:03}}}.tar", args.tar_rows)

# Report -------------------------------------------------------------------------------------------
def line(what, value, goal=""): print(f"{what:<58}{value:>26}  {goal}")

def verdict(met): return "met" if met else "MISSED"

def show_decode(r):
    "The figures of decoding"
    line("size of a file", f"{r['kB_per_file']:.0f} kB")
    titles = {"decode": "decoding", "decode_resize": "decoding and resizing",
              "to_tensor": "to a tensor", "processor": "pictures decoded before"}
    for key, title in titles.items():
        print(f"  {title}: CPU time a picture; speed against the first line")
        for way, v in r[key].items():
            has_goal = way in ("decode_image, resize", "CaptionCollator")
            goal = f"goal 0.80: {verdict(v['ratio'] >= 0.8)}" if has_goal else ""
            line(f"    {way}", f"{v['cpu_ms']:.2f} ms  {v['ratio']:.2f}", goal)
    off = r["picture_pixels"]
    line("    picture_pixels against the processor: values off",
         f"{off['share_off']:.3%}, by {off['largest']:.0f} of 255 at most")
    show_halved(r["halved"])
    print("  worker processes: pictures a second, CPU time a picture; "
          "speed by CPU time against the first line")
    for n, ways in r["workers"].items():
        for way, v in ways.items():
            line(f"    {n} worker{'s' * (n != '1')}: {way}",
                 f"{v['pictures_per_s']:.0f}/s  {v['cpu_ms']:.2f} ms  {v['ratio']:.2f}")

def show_halved(r):
    "What halving a JPEG while it is decoded changes"
    origin = " of " + r["from"] if r["from"] else ", drawn"
    print(f"  a JPEG halved while it is decoded, then resized: mean difference of pixels, of 255, "
          f"and that of the worst picture\n"
          f"  ({r['pictures']} pictures{origin}; saved again: as JPEG of quality 90; "
          f"other filter: bilinear in place of bicubic)")
    names = "halved", "saved again", "other filter"
    for times, changes in r["at"].items():
        differences = [f"{name} {mean:.2f} {worst:.2f}   "
                       for name, (mean, worst) in zip(names, changes)]
        line(f"    decoded to {times} times the side", "", "".join(differences))

def show_coco(r):
    line(f"COCO file, {r['captions']:,} captions, {r['pictures']:,} pictures",
         f"{r['load_s']:.2f} s (CPU {r['load_cpu_s']:.2f} s)",
         f"goal 2 s: {verdict(r['load_s'] < 2)}")
    line("    pictures opened", f"{r['pictures_opened']}",
         f"goal 0: {verdict(r['pictures_opened'] == 0)}")

def show_index(r):
    in_time = r["index_s"] <= 20 * r["pairs"] / 100_000
    line(f"folder of {r['pairs']:,} pairs",
         f"{r['index_s']:.2f} s (CPU {r['index_cpu_s']:.2f} s)",
         f"goal 20 s for 100,000: {verdict(in_time)}")
    line("    peak memory (before loading)", f"{r['peak_mb']:.0f} MB ({r['before_mb']:.0f} MB)",
         f"goal 1 GB: {verdict(r['peak_mb'] <= 1000)}")
    line("    pictures opened", f"{r['pictures_opened']}")

def show_near(r):
    line("perceptual hash of a JPEG of 640 × 480",
         f"{1000 * r['hash_cpu_s'] / r['hashed']:.2f} ms CPU")
    for n in r["hashes"]:
        line(f"near pairs among {n:,} hashes (4 bits)", f"{r[f'pairs_{n}_cpu_s']:.2f} s CPU",
             f"{r[f'found_{n}']:,} found, {n // 10:,} planted")
    line("    peak memory", f"{r['peak_mb']:.0f} MB")

def show_shards(name, r):
    line(f"{name} shards, {r['rows']:,} rows streamed",
         f"{r['rows_per_s']:,.0f} rows/s (CPU {r['rows_per_cpu_s']:,.0f})")
    line("    with pictures decoded", f"(CPU {r['decoded_rows_per_cpu_s']:,.0f})")
    growth = r["mb_at_100_percent"] - r["mb_at_10_percent"]
    line("    memory at 10 %, at 100 % of the rows",
         f"{r['mb_at_10_percent']:.0f} MB, {r['mb_at_100_percent']:.0f} MB",
         f"goal constant (+50 MB): {verdict(growth <= 50)}")

SHOW = {"decode": show_decode, "coco": show_coco, "index": show_index, "near": show_near}

def show(name, r):
    "The figures of one part"
    if name in SHOW:
        SHOW[name](r)
    else:
        show_shards(name, r)
PARTS = {"decode": part_decode, "coco": part_coco, "index": part_index,
         "near": part_near, "parquet": part_parquet, "tar": part_tar}

def main():
    parser = parts_parser(argparse.ArgumentParser(description=__doc__), PARTS)
    parser.add_argument("--pictures", type=int, default=200, help="JPEG files to decode (200)")
    parser.add_argument("--rounds", type=int, default=3,
                        help="times that each way takes its turn over all of them (3)")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2],
                        help="numbers of worker processes (1 2)")
    parser.add_argument("--images", type=int, default=5000,
                        help="pictures of the COCO file, five captions each (5000)")
    parser.add_argument("--pairs", type=int, default=100_000,
                        help="pictures with a text file beside them (100000)")
    parser.add_argument("--photos", help="folder of JPEG photographs for the differences of halved "
                                         "pictures; drawn ones without it")
    parser.add_argument("--hashes", type=int, nargs="*", default=[100_000, 1_000_000],
                        help="numbers of perceptual hashes to compare (100000 1000000)")
    parser.add_argument("--rows", type=int, default=1_000_000,
                        help="rows in Parquet shards (1000000)")
    parser.add_argument("--tar-rows", type=int, default=100_000,
                        help="rows in WebDataset shards (100000)")
    run_parts(parse_parts(parser, PARTS), PARTS, show)

if __name__ == "__main__": main()
