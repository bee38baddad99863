"Pictures as people have them: damaged, huge, oddly named, behind links; or one line says why not."
import contextlib
import io
import os
import random
import socket
import struct
import subprocess
import sys
import time
import unicodedata
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import imgcap.colours as colours
import imgcap.pictures as pictures
from imgcap.formats import readable_formats
from imgcap.pictures import (ImageError, PictureFolder, decode_image, expand_home, find_pictures,
                             inspect_picture, is_glob, is_picture, passed_over, picture_digest)


def draw(seed, size=(96, 64)):
    rng = random.Random(seed)
    (w, h), x = size, rng.randrange(size[0] // 2)
    image = Image.new("RGB", size, tuple(rng.randrange(150, 256) for _ in range(3)))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 4 * h // 5, w, h), fill=(90, 140, 60))
    pen.polygon([(x, h // 2), (x + w // 4, h // 5), (x + w // 2, h // 2)], fill=(150, 40, 30))
    return image


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def array(image): return np.asarray(image, int)


@pytest.fixture
def here(tmp_path, monkeypatch):
    "An empty folder to work in."
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def stdin(monkeypatch):
    "Give bytes to standard input."
    def give(data): monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    return give


def save(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(encoded(draw(len(str(name)))))


# Decoding

PNG = encoded(draw(1))
FORMS = [PNG, bytearray(PNG), memoryview(PNG), io.BytesIO(PNG), {"bytes": PNG, "path": "a.png"},
         draw(1), np.asarray(draw(1)), np.asarray(draw(1)) / 255,
         np.asarray(draw(1)) / np.float32(255), np.asarray(draw(1)).astype(np.uint16) * 257]


@pytest.mark.parametrize("x", FORMS, ids=lambda x: type(x).__name__)
def test_every_form_gives_the_same_picture(x):
    assert decode_image(x).tobytes() == draw(1).tobytes()


MODES = "1 L LA La P PA RGB RGBA RGBa RGBX CMYK YCbCr HSV LAB I F I;16 I;16B".split()


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_rgb(mode):
    assert decode_image(Image.new(mode, (3, 2))).mode == "RGB"


@pytest.mark.parametrize("mode", "1 L LA P RGB RGBA RGBX CMYK YCbCr HSV LAB".split())
def test_large_pictures_are_converted_in_parts_as_small_ones_are_whole(mode, monkeypatch):
    photo = draw(5).convert("RGBA" if mode in ("LA", "RGBA") else "RGB")
    if "A" in mode and mode != "LAB": photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo = photo.convert(mode)
    whole, bands = decode_image(photo), colours._bands
    monkeypatch.setattr(colours, "_bands", lambda image: bands(image, pixels=700))
    assert decode_image(photo).tobytes() == whole.tobytes()
    if mode not in ("LA", "RGBA"): assert whole.tobytes() == photo.convert("RGB").tobytes()


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int32])
def test_numbers_are_scaled_alike_in_parts(dtype, monkeypatch):
    values = (np.arange(96 * 64).reshape(64, 96) % 4000).astype(dtype)
    whole, bands = decode_image(Image.fromarray(values)), colours._bands
    monkeypatch.setattr(colours, "_bands", lambda image: bands(image, pixels=700))
    assert decode_image(Image.fromarray(values)).tobytes() == whole.tobytes()


def test_the_picture_is_new_and_the_given_one_is_left_alone():
    original = draw(1)
    decoded = decode_image(original)
    decoded.paste("red", (0, 0, 96, 64))
    assert original.tobytes() == draw(1).tobytes()
    values = np.asarray(draw(1)).copy()
    decoded = decode_image(values)
    values[:] = 0
    assert decoded.tobytes() == draw(1).tobytes()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_pictures_are_turned_once(orientation, format):
    from PIL import ImageOps
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(draw(1), format, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    decoded = decode_image(data)
    assert decoded.size == expected.size and (array(decoded) == array(expected)).all()
    assert decode_image(decoded).tobytes() == decoded.tobytes()
    assert decode_image(encoded(decoded)).tobytes() == decoded.tobytes()


def test_colour_profile_stays_and_nothing_else():
    from PIL import ImageCms
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    decoded = decode_image(encoded(draw(1), "JPEG", icc_profile=profile, exif=turned(), dpi=(1, 1)))
    assert decoded.info == {"icc_profile": profile} and type(decoded) is Image.Image


def test_transparency_is_laid_on_white():
    rgba = np.array(draw(1).convert("RGBA"))
    rgba[:20] = 0
    assert decode_image(encoded(Image.fromarray(rgba))).getpixel((0, 0)) == (255, 255, 255)
    palette = draw(2).quantize(8)
    palette.info["transparency"] = palette.getpixel((0, 0))
    assert decode_image(encoded(palette)).getpixel((0, 0)) == (255, 255, 255)
    keyed = encoded(draw(3), transparency=draw(3).getpixel((0, 0)))
    assert decode_image(keyed).getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_and_animation():
    cmyk = encoded(Image.new("CMYK", (96, 64), (255, 0, 0, 0)), "JPEG")
    assert abs(array(decode_image(cmyk))[0, 0] - [0, 255, 255]).max() < 4
    animated = encoded(draw(3), "GIF", save_all=True, append_images=[draw(4)])
    assert decode_image(animated).tobytes() == decode_image(encoded(draw(3), "GIF")).tobytes()


def test_many_threads():
    with ThreadPoolExecutor(8) as pool:
        assert len({image.tobytes() for image in pool.map(decode_image, [PNG] * 64)}) == 1


# Sixteen bits

GREY = np.asarray(Image.linear_gradient("L").resize((96, 64)), np.uint32)


def png16(values, exif=b""):
    "A 16-bit PNG of (H, W) or (H, W, 2 to 4) values, which Pillow cannot write in colour"
    values = np.asarray(values, ">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    colour = {2: 4, 3: 2, 4: 6}[values.shape[2]] if values.ndim == 3 else 0
    header = struct.pack(">2I5B", values.shape[1], values.shape[0], 16, colour, 0, 0, 0)

    def chunk(name, data):
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"eXIf", exif) * bool(exif)
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def deep_files(values):
    "The same numbers in files of several kinds."
    grey = Image.fromarray(np.asarray(values, np.uint16))
    yield "PNG", png16(values)
    yield "TIFF", encoded(grey, "TIFF")
    yield "LZW", encoded(grey, "TIFF", compression="tiff_lzw")
    yield "RGB", png16(np.stack([values] * 3, axis=2))
    yield "array", np.asarray(values, np.uint16)


@pytest.fixture
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_few_bits_at_the_low_end_do_not_come_out_black(bits, quiet):
    for kind, x in deep_files(GREY * (2**bits - 1) // 255):
        decoded = decode_image(x)
        assert abs(array(decoded)[..., 0] - GREY).max() <= 1, kind
        if kind != "array": assert decoded.info["bits"] == bits, kind


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_few_bits_at_the_high_end_stay_as_they_are(bits):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for kind, x in deep_files((GREY * (2**bits - 1) // 255) << (16 - bits)):
            decoded = decode_image(x)
            assert abs(array(decoded)[..., 0] - GREY).max() <= 1, kind
            assert "bits" not in decoded.info, kind


def night(kind):
    "True 16-bit pictures that are dark, with all their low bits set"
    rng = np.random.default_rng(0)
    values = rng.gamma(1.0, 60, (64, 96)).clip(0, 16000)
    if kind == "lamp": values[30:32, 40:42] = 15_000 + rng.integers(0, 500, (2, 2))
    if kind == "bright lamp": values[30:32, 40:42] = 40_001
    if kind == "dusk": values = 16_400 * values / values.max() + 3
    if kind == "moon": values[5:9, 5:9] = 9_001
    if kind == "doubled": values = np.round(values / values.max() * 40) * 257
    return values.astype(np.uint16)


@pytest.mark.parametrize("kind", ["lamp", "bright lamp", "dusk", "moon", "doubled"])
def test_a_dark_picture_of_16_bits_stays_dark(kind):
    values = night(kind)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form, x in deep_files(values):
            assert abs(array(decode_image(x))[..., 0] - values / 257).max() <= 1, form


@pytest.mark.parametrize("hot", [{(9, 9): 65535}, {(1, 1): 65535, (50, 60): 30_000, (63, 0): 9000},
                                 {(60, y): 4100 for y in range(96)}, {(5, 5): 4300}],
                         ids=["one", "three", "a row just above", "one just above"])
def test_a_few_hot_pixels_do_not_make_a_picture_black(hot, quiet):
    values, rest = GREY * 4095 // 255, np.ones((64, 96), bool)
    for place, value in hot.items(): values[place], rest[place] = value, False
    files = dict(deep_files(values)) | {"big-endian": encoded(Image.fromarray(
        np.asarray(values, ">u2")), "TIFF")}
    for kind, x in files.items():
        decoded = array(decode_image(x))[..., 0]
        assert abs(decoded - GREY)[rest].max() <= 1 and decoded[~rest].min() == 255, kind


@pytest.mark.parametrize("share", [0.002, 0.2])
def test_a_picture_of_16_bits_with_highlights_stays_as_it_is(share):
    values = GREY * 4095 // 255
    values[:, :].flat[:int(share * values.size)] = 50_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for form, x in deep_files(values):
            assert abs(array(decode_image(x))[..., 0] - values / 257).max() <= 1, form


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("opaque, hidden", [(65535, 0), (65535, 65535), (4095, 0)])
def test_few_bits_with_an_alpha_channel(channels, opaque, hidden, quiet):
    alpha = np.full((64, 96, 1), opaque)
    alpha[:, 48:] = 0
    colour = np.repeat(GREY[..., None] * 4095 // 255, channels - 1, axis=2)
    colour[:, 48:] = hidden
    colour[20, 20] = 65535
    decoded = decode_image(png16(np.concatenate([colour, alpha], axis=2)))
    wanted = GREY.copy()
    wanted[:, 48:] = wanted[20, 20] = 255
    assert abs(array(decoded) - wanted[..., None]).max() <= 1 and decoded.info["bits"] == 12
    colour = np.repeat(GREY[..., None] * 257, channels - 1, axis=2)
    decoded = decode_image(png16(np.concatenate([colour, np.full_like(alpha, 65535)], axis=2)))
    assert abs(array(decoded) - GREY[..., None]).max() <= 1 and "bits" not in decoded.info


def test_pictures_of_few_bits_are_turned_too(quiet):
    exif = turned().tobytes().removeprefix(b"Exif\0\0")
    for values in GREY * 16, np.stack([GREY * 16] * 3, axis=2):
        decoded = decode_image(png16(values, exif))
        assert decoded.size == (64, 96) and abs(array(decoded)[0, ::-1, 0] - GREY[:, 0]).max() <= 1


def test_black_stays_black():
    assert decode_image(np.zeros((4, 5), np.uint16)).getextrema() == ((0, 0),) * 3


def test_fewer_bits_are_said_once_and_seen_by_an_inspection():
    data = png16(GREY * 4095 // 255)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for _ in range(3): decode_image(data)
    assert len(said) == 1 and "12 bits" in str(said[0].message)
    row = {"bytes": data, "path": None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert inspect_picture(row, decode=True)[2:] == ("I;16, 12 bits used", None)


def test_numbers_without_a_type_that_says_white():
    for high, values in [(1, [0, .5, 1]), (255, [0, 128, 255]), (4095, [0, 2048, 4095])]:
        decoded = decode_image(Image.fromarray(np.array([values], np.float32)))
        assert array(decoded)[0, :, 0].tolist() == [0, 128, 255], high
    odd = np.array([[-100, 0, 300, np.nan, np.inf]], np.float32)
    assert array(decode_image(Image.fromarray(odd)))[0, :3, 0].tolist() == [0, 64, 255]


# Size

def jpeg_of(width, height, **options):
    return encoded(Image.new("RGB", (width, height), (200, 100, 50)), "JPEG", **options)


@pytest.fixture(scope="module")
def photograph():
    "108 megapixels, as a phone writes them."
    return jpeg_of(12_000, 9_000, quality=50, exif=turned())


def test_a_photograph_of_108_megapixels(photograph):
    decoded = decode_image(photograph, at_least=448)
    assert decoded.size == (1125, 1500) and decoded.getpixel((0, 0))[0] > 190
    assert inspect_picture({"bytes": photograph, "path": None}, decode=False)[1] == (12_000, 9_000)


def test_without_a_wish_a_jpeg_is_halved_only_where_it_must_be(photograph):
    assert decode_image(photograph, max_bytes=220_000_000).size == (4500, 6000)
    small = jpeg_of(640, 480)
    assert decode_image(small).size == (640, 480)
    assert decode_image(small, max_bytes=400_000).size == (320, 240)
    with pytest.raises(ImageError, match="0.3 megapixels; at most 0.0 of this kind .* Make it"):
        decode_image(small, max_bytes=100)


SIZES = [("L", 5), ("RGB", 4), ("RGBA", 8), ("P", 5), ("1", 5), ("I;16", 6), ("LA", 8)]


@pytest.mark.parametrize("mode, each", SIZES)
def test_the_limit_is_one_of_memory(mode, each):
    data = encoded(Image.new(mode, (100, 100)))
    assert decode_image(data, max_bytes=each * 10_000).size == (100, 100)
    with pytest.raises(ImageError, match=r"100 × 100 pixels are 0.0 megapixels"):
        decode_image(data, max_bytes=each * 10_000 - 1)


def test_a_turned_picture_takes_twice_as_much():
    data = encoded(draw(1), exif=turned())
    assert decode_image(data, max_bytes=8 * 96 * 64).size == (64, 96)
    with pytest.raises(ImageError): decode_image(data, max_bytes=8 * 96 * 64 - 1)


PEAK = """
import sys
from imgcap.pictures import ImageError, decode_image
def peak():  # not ru_maxrss, which starts at the size of the process that started this one
    with open("/proc/self/status") as file: return int(file.read().split("VmHWM:")[1].split()[0])
decode_image("warm.png")
before = peak()
try: print(decode_image(sys.argv[1], at_least=448).size)
except ImageError as error: print(error)
print((peak() - before) // 1024)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="tells the peak of memory")
def test_memory(here, photograph):
    save("warm.png")
    Image.new("I;16", (10_000, 9_990)).save("bomb.png")
    Image.new("RGBA", (4_000, 4_000)).save("large.png")
    Path("photograph.jpg").write_bytes(photograph)
    assert os.path.getsize("bomb.png") < 250_000
    most = {"bomb.png": ("at most 83.3 of this kind", 20), "photograph.jpg": ("(1125, 1500)", 60),
            "large.png": ("(4000, 4000)", 170)}
    for name, (words, megabytes) in most.items():
        run = subprocess.run([sys.executable, "-c", PEAK, name], capture_output=True, text=True,
                             check=True, timeout=60)
        said, grown = run.stdout.strip().rsplit("\n", 1)
        assert words in said and int(grown) < megabytes, (name, said, grown)


def test_strips():
    strip = encoded(Image.new("1", (1, 50_000)))
    assert decode_image(strip, max_aspect=50_000).size == (1, 50_000)
    assert decode_image(Image.new("L", (1, 100))).size == (1, 100)
    for x in Image.new("L", (101, 1)), np.zeros((1, 101), np.uint8), {"bytes": strip, "path": None}:
        with pytest.raises(ImageError, match="a strip"): decode_image(x)


def test_an_icon_is_not_unfolded_before_its_size_is_known():
    with pytest.raises(ImageError, match="format"): decode_image(encoded(draw(1), "ICO"))


# JPEG

PROGRESSIVE = encoded(draw(1), "JPEG", progressive=True)
SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda"):-2]
FILM = b"\0\0\0\x18ftypmp42" + b"\xff\xda\0\x08" * 2000 + bytes(1000)


@pytest.mark.parametrize("behind", [FILM, b"\xff\xda" * 5000, bytes(100), PROGRESSIVE * 40,
                                    b"\xff"], ids=["film", "scans", "zeros", "pictures", "ff"])
def test_what_lies_behind_a_jpeg_does_not_count(behind):
    for data in PROGRESSIVE, encoded(draw(1), "JPEG"):
        assert decode_image(data + behind).tobytes() == decode_image(data).tobytes()


def test_two_pictures_in_one_file():
    pair = encoded(draw(1), "MPO", save_all=True, append_images=[draw(2)])
    assert Image.open(io.BytesIO(pair)).format == "MPO"
    assert abs(array(decode_image(pair + FILM)) - array(draw(1))).mean() < 6


def test_thumbnails_and_comments_with_scans_in_them_do_not_count():
    comment = b"\xff\xda" * 3000
    data = encoded(draw(1), "JPEG", comment=comment)
    assert decode_image(data).size == (96, 64)


@pytest.mark.parametrize("kind", ["scans", "scans with fill bytes", "restarts", "comments"])
def test_endless_jpegs_are_refused_at_once(kind):
    parts = {"scans": SCAN * 600, "scans with fill bytes": (b"\xff\xff\xff" + SCAN) * 600,
             "restarts": (b"\xff\xd0" + SCAN) * 600, "comments": b"\xff\xfe\0\x02" * 300_000}[kind]
    start = time.process_time()
    with pytest.raises(ImageError, match="a JPEG of more than"):
        decode_image(PROGRESSIVE[:-2] + parts + b"\xff\xd9")
    assert time.process_time() - start < 2


# Halving

@pytest.fixture(scope="module")
def photo():
    y, x = np.mgrid[0:1:480j, 0:1:640j]
    waves = np.stack([np.sin(3 * x + 2 * y), np.cos(4 * y - x), np.sin(9 * x * y)], axis=2)
    return Image.fromarray((127.5 + 110 * waves).round().astype(np.uint8))


def small(image): return array(image.resize((64, 64), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("side, size", [
    (None, 640), (9999, 640), (241, 640), (240, 320), (121, 320), (120, 160), (61, 160), (60, 80),
    (1, 80)])
def test_at_least(photo, side, size):
    assert decode_image(encoded(photo, "JPEG"), at_least=side).width == size


def test_at_least_of_an_uneven_size(photo):
    odd = encoded(photo.resize((333, 101)), "JPEG")
    assert decode_image(odd, at_least=50).size == (167, 51)


KINDS = [("L", {}), ("CMYK", {}), ("RGB", {"progressive": True}), ("RGB", {"subsampling": 0})]


@pytest.mark.parametrize("mode, options", KINDS)
def test_halved_is_nearly_the_same(photo, mode, options):
    data = encoded(photo.convert(mode), "JPEG", quality=90, **options)
    shrunk = decode_image(data, at_least=128)
    assert shrunk.mode == "RGB" and shrunk.size == (320, 240)
    assert abs(small(shrunk) - small(decode_image(data))).mean() < 1


# Colours in full, in half, in a quarter: 3, 2, 1.5 numbers of two bytes a pixel are held whole.
@pytest.mark.parametrize("subsampling, held", [(0, 6), (1, 4), (2, 3)])
def test_what_a_progressive_jpeg_holds(subsampling, held):
    def needed(**options):
        with Image.open(io.BytesIO(encoded(draw(1), "JPEG", **options))) as image:
            return pictures._bytes_needed(image) / (image.width * image.height)
    more = needed(subsampling=subsampling, progressive=True) - needed(subsampling=subsampling)
    assert more == held


def test_other_formats_and_opened_pictures_keep_their_size(photo):
    for format in "PNG", "WEBP", "TIFF", "GIF":
        assert decode_image(encoded(photo, format), at_least=10).size == (640, 480)
    opened = Image.open(io.BytesIO(encoded(photo, "JPEG")))
    assert decode_image(opened, at_least=10).size == opened.size == (640, 480)
    quarter = encoded(photo.rotate(90, expand=True), "JPEG", exif=turned(), quality=90)
    assert decode_image(quarter, at_least=128).size == (320, 240)
    assert abs(small(decode_image(quarter, at_least=128)) - small(photo)).mean() < 2


# What is no picture

class Truncated(io.RawIOBase):
    "A network stream that breaks off."
    def readable(self): return True
    def readinto(self, buffer): raise ConnectionResetError(104, "Connection reset by peer")


def closed():
    file = io.BytesIO(PNG)
    file.close()
    return file


BAD = {
    "closed": (closed, "closed file"), "generator": (lambda: (x for x in [PNG]), "a generator"),
    "number": (lambda: 3, "cannot decode a int"), "none": (lambda: None, "bytes nor a path"),
    "stream": (Truncated, "Connection reset"), "text": (lambda: io.StringIO("x"), '"rb"'),
    "row": (lambda: {"bytes": None, "path": None}, "neither bytes nor a path"),
    "zip": (lambda: b"PK\x03\x04" + bytes(50), "unpack it"), "empty": (lambda: b"", "is empty"),
    "cut": (lambda: PNG[:200], "damaged"), "list": (lambda: [PNG], "cannot decode a list"),
    "shape": (lambda: np.zeros((3, 64, 64), np.uint8), "height and width first"),
    "range": (lambda: np.full((4, 4), 2.5), "must lie in 0..1"),
    "int64": (lambda: np.zeros((4, 4), int), "int64"),
    "heic": (lambda: b"\0\0\0\x18ftypheic" + bytes(99), "HEIC|damaged"),
    "path": (lambda: "a\0b.png", "null byte"), "path object": (lambda: Path("gone.png"), "no such"),
    "odd name": (lambda: "a\nb.png", r"'a\\nb.png': no such"),
    "no text": (lambda: "\udce9", "no such"),
    "path in a row": (lambda: {"path": Path("gone.png")}, "gone.png: no such file")}


@pytest.mark.parametrize("kind", BAD)
def test_one_error_of_one_line(kind):
    make, words = BAD[kind]
    with pytest.raises(ImageError, match=words) as caught: decode_image(make())
    assert "\n" not in str(caught.value)


def test_an_open_file_is_read_from_its_start_and_a_pipe_as_it_comes(here):
    save("a.png")
    with open("a.png", "rb") as file:
        file.read(50)
        assert decode_image(file).size == (96, 64)
        file.seek(0, os.SEEK_END)
        assert decode_image(file).size == (96, 64)
    reader, writer = os.pipe()
    os.write(writer, PNG)
    os.close(writer)
    with open(reader, "rb") as file: assert decode_image(file).tobytes() == draw(1).tobytes()


def special_files():
    os.mkfifo("pipe.png")
    os.mkdir("folder.png")
    yield "pipe.png", "not a file"
    yield "folder.png", "is a folder"
    yield "/dev/zero", "not a file"
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket.png")
    yield "socket.png", "not a file"
    os.symlink("pipe.png", "link.png")
    yield "link.png", "not a file"
    os.symlink("loop.png", "loop.png")
    yield "loop.png", "symbolic links"
    yield "x" * 300 + ".png", "name too long"
    yield "gone.png", "no such file"


def test_only_files_are_opened(here):
    for name, words in special_files():
        row = {"bytes": None, "path": name}
        for read in decode_image, lambda x: decode_image({"bytes": None, "path": x}):
            with pytest.raises(ImageError, match=f"(?i){words}"): read(name)
        with pytest.raises(ImageError, match=f"(?i){words}"): picture_digest(row)
        assert words in inspect_picture(row, decode=True)[3].lower()
    assert inspect_picture({"bytes": None, "path": "gone.png"}, True)[3] == "no such file"


def test_digest_and_inspection(here):
    save("a.png")
    data = Path("a.png").read_bytes()
    by_path, by_bytes = ({"bytes": b, "path": "a.png"} for b in (None, data))
    assert picture_digest(by_path) == picture_digest(by_bytes) != picture_digest(draw(1))
    assert inspect_picture(by_path, True) == inspect_picture(by_bytes, False)
    assert inspect_picture(by_path, True)[1:] == ((96, 64), "RGB", None)
    assert inspect_picture(None, True)[3] == "no picture in this row"


def damage(data, rng):
    data, how = bytearray(data), rng.randrange(4)
    if how == 0: return bytes(data[: rng.randrange(len(data))])
    if how == 1: return bytes(data[: (cut := rng.randrange(len(data)))] + data[max(0, cut - 20):])
    for _ in range(rng.choice([1, 4, 30])):
        data[rng.randrange(min(len(data), 80) if how == 2 else len(data))] = rng.randrange(256)
    return bytes(data)


def whole_files():
    noise = Image.frombytes("RGB", (40, 30), random.Random(0).randbytes(3600))
    deep = Image.fromarray(np.asarray(noise.convert("L"), np.uint16) * 257)
    kinds = [
        ("PNG", noise, {}), ("PNG", noise.quantize(8), {"transparency": 3}), ("PNG", deep, {}),
        ("JPEG", noise, {"exif": turned()}), ("JPEG", noise, {"progressive": True}),
        ("JPEG", noise.convert("CMYK"), {}), ("GIF", noise, {}), ("BMP", noise, {}),
        ("GIF", noise, {"save_all": True, "append_images": [draw(1)]}), ("DIB", noise, {}),
        ("TIFF", noise, {}), ("TIFF", noise, {"compression": "tiff_lzw"}),
        ("TIFF", noise, {"compression": "jpeg"}), ("TIFF", deep.convert("F"), {}),
        ("WEBP", noise, {"exif": turned()}), ("WEBP", noise.convert("RGBA"), {"lossless": True}),
        ("AVIF", noise, {}), ("JPEG2000", noise, {}), ("PPM", noise, {}), ("QOI", noise, {})]
    deep_rgb = png16(np.stack([np.asarray(noise.convert("L"), np.uint16) * 16] * 3, axis=2))
    return [*(encoded(image, format, **options) for format, image, options in kinds
              if format in Image.SAVE), deep_rgb]


@contextlib.contextmanager
def silence():
    "The C libraries write to standard error themselves."
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try: yield
    finally:
        os.dup2(kept, 2)
        for number in kept, nowhere: os.close(number)


def test_any_damage_is_one_error_and_soon(quiet):
    rng, slowest, decoded, refused = random.Random(0), 0.0, 0, 0
    with silence():
        for data in whole_files() * 30:
            start = time.process_time()
            data, side = damage(data, rng), rng.choice([None, 8])
            try:
                decode_image(data, max_bytes=80_000_000, at_least=side)
                decoded += 1
            except ImageError as error:
                refused += 1
                assert "is not defined" not in str(error) and "object has no" not in str(error)
            slowest = max(slowest, time.process_time() - start)
    assert decoded > 100 and refused > 100 and slowest < 5


# Finding

def test_a_path_behind_a_link_is_not_what_it_looks_like(here, stdin):
    save("x.png", "elsewhere/x.png", "elsewhere/deep/y.png")
    os.symlink("elsewhere/deep", "link")
    expected = ["link/../x.png"]
    assert find_pictures("link/../x.png") == find_pictures("./link//../x.png") == expected
    stdin(b"link/../x.png\n./link/.././x.png\nx.png\n")
    assert find_pictures("-") == ["link/../x.png", "x.png"]
    assert find_pictures("link/..") == ["link/../x.png", "link/../deep/y.png"]
    assert find_pictures("link/../*.png") == expected
    assert find_pictures("link/../**/*.png") == ["link/../deep/y.png", "link/../x.png"]
    for name in find_pictures("link/../**/*.png"): decode_image(name)
    assert decode_image(expected[0]).tobytes() == decode_image("elsewhere/x.png").tobytes()


def test_none_twice(here):
    save("a/1.png", "a/b/2.png")
    spellings = ["a", "./a", "a/", "a//", "./a/./1.png", "a//b", "a/*", "a/**/*.png", "."]
    assert find_pictures(spellings) == ["a/1.png", "a/b/2.png"]
    absolute = os.path.abspath("a/1.png")
    spellings = [absolute, "/" + absolute, absolute.replace("/a/", "//a/./")]
    assert find_pictures(spellings) == [absolute]


def test_links_to_folders_are_followed_once(here):
    save("photos/a/1.png", "photos/b/2.png", "disk/3.png", "disk/deep/4.png")
    os.symlink("../disk", "photos/more")
    os.symlink("a", "photos/0 first")  # by its own name where it has one
    for n in range(12):
        os.symlink("..", f"photos/a/up {n}")
        os.symlink(".", f"disk/round {n}")
    os.symlink(here, "photos/above")
    everything = ["photos/a/1.png", "photos/b/2.png", "photos/more/3.png", "photos/more/deep/4.png"]
    start = time.monotonic()
    assert find_pictures("photos") == everything
    assert find_pictures("photos/**/*.png") == find_pictures("photos/**") == everything
    assert time.monotonic() - start < 2
    os.symlink("photos", "linked")
    assert find_pictures("linked") == [name.replace("photos", "linked", 1) for name in everything]
    assert len(PictureFolder("linked/b").walk()) == 1


def test_what_may_be_a_picture_is_looked_at(here):
    save("0.jpg")
    files = {"1.jfif": encoded(draw(1), "JPEG"), "2": encoded(draw(2)),
             "3.unknown": encoded(draw(3)), "4.Bild": encoded(draw(4), "WEBP")}
    others = {"notes.txt": b"x", "README": b"words", "a.json": b"{}", "b.html": b"<p>",
              "list": b"P-less", "film.mp4": FILM, "0.parquet": b"PAR1\0"}
    passed = {"IMG.HEIC": b"\0\0\0\x18ftypheic" + bytes(99), "x.zip": b"PK\x03\x04",
              "y.svg": b"<svg/>", "z.nef": b"II*\0", "what": b"\0\1\2\3"}
    for name, data in (files | others | passed).items(): Path(name).write_bytes(data)
    found = {}
    assert find_pictures(".", found) == ["0.jpg", *sorted(files)]
    assert sorted(sum(found.values(), [])) == sorted(passed)
    line = passed_over(found)
    assert line.startswith(f"{sum(map(len, found.values()))} passed over: ") and "\n" not in line
    assert "unpack" in line and "export" in line and "y.svg" in line
    folder = PictureFolder(".")
    assert [name for name in folder.walk() if folder.is_picture(name)] == ["0.jpg", *sorted(files)]
    assert passed_over(folder.passed).replace(f"{here}/", "") == line
    assert is_picture("2") and not is_picture("README") and passed_over({}) == ""


def test_heic_says_what_reads_it(here):
    if "HEIF" in readable_formats(): pytest.skip("pillow-heif is installed")
    for brand in b"heic", b"heix", b"mif1", b"hevc":
        with pytest.raises(ImageError, match=r'HEIC; to read it: pip install "pillow-heif'):
            decode_image(b"\0\0\0\x18ftyp" + brand + bytes(99))


def test_heic_is_read(here):
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    Path("IMG.HEIC").write_bytes(encoded(draw(1), "HEIF", quality=95))
    assert find_pictures(".") == ["IMG.HEIC"]
    assert abs(array(decode_image("IMG.HEIC")) - array(draw(1))).mean() < 6


def test_only_folders_that_cannot_be_read_are_lost(here):
    save("photos/1.png", "photos/z/2.png")
    os.symlink("gone", "photos/broken.png")
    os.symlink("round.png", "photos/round.png")
    os.mkfifo("photos/pipe.png")
    deep = "photos"
    with contextlib.suppress(OSError):
        for _ in range(20):
            os.mkdir(deep := f"{deep}/{'d' * 250}")
    found = {}
    assert find_pictures("photos", found) == ["photos/1.png", "photos/z/2.png"]
    assert "links that lead nowhere" in found and len(found["links that lead nowhere"]) == 2
    assert any("pipe.png" in name for name in sum(found.values(), []))


WITHOUT_RIGHTS = """
import os, sys
os.setegid(65534), os.seteuid(65534)
from imgcap.pictures import PictureFolder, find_pictures, passed_over
passed = {}
print(find_pictures(["photos", "photos/*", "photos/**/*.png"], passed))
print(passed_over(passed))
print(PictureFolder("photos").walk())
for read in find_pictures, lambda path: PictureFolder(path).walk():
    try: read("photos/secret")
    except (OSError, ValueError) as error: print(error)
"""


@pytest.mark.skipif(getattr(os, "geteuid", int)() != 0 or os.name == "nt",
                    reason="gives up root's rights")
def test_a_folder_without_permission(here):
    save("photos/1.png", "photos/secret/2.png", "photos/z/3.png")
    os.chmod("photos/secret", 0o700)
    for folder in [here, *list(here.parents)[:3]]:
        if folder != Path("/"): os.chmod(folder, 0o755)
    run = subprocess.run([sys.executable, "-c", "import imgcap.pictures\n" + WITHOUT_RIGHTS],
                         capture_output=True, text=True, timeout=60)
    assert not run.stderr
    said = run.stdout.splitlines()
    assert said[0] == str(["photos/1.png", "photos/z/3.png"])
    assert said[1].startswith("1 passed over: 1 × folders that cannot be read (Permission denied)")
    assert said[2] == str(["1.png", "z/3.png"])
    assert len(said) == 5 and all("Permission denied" in line for line in said[3:])


ODD = ["new\nline.png", "tab\t.png", "\u2028.png", "\x85.png", "caf\udce9.png", "[1].png", "~.png",
       "-", " lead.png", "emoji 🐈.png", "n" * 251 + ".png", "#1?.png", "%41.png", "*.png"]


def test_odd_names(here, stdin):
    for n, name in enumerate(ODD): Path(name).write_bytes(encoded(draw(n)))
    os.mkdir("below")
    for n, name in enumerate(ODD): Path("below", name).write_bytes(encoded(draw(n)))
    found = {}
    assert sorted(find_pictures(".", found)) == sorted([*ODD, *(f"below/{name}" for name in ODD)])
    for name in ODD:
        if name not in ("-", "*.png"): assert find_pictures(name) == [name], name
        assert decode_image(name).size == (96, 64)
        assert PictureFolder("below").find(name) == name
    assert find_pictures("*.png")[-1] == "*.png" or find_pictures("*.png") == ["*.png"]
    stdin("\0".join(ODD).encode("utf-8", "surrogateescape") + b"\0")
    assert find_pictures("-") == ODD
    lines = [name for name in ODD if "\n" not in name]
    for end in "\n", "\r\n":
        stdin(end.join(lines).encode("utf-8", "surrogateescape") + end.encode())
        assert find_pictures("-") == lines


def test_globs_in_folders_with_brackets(here):
    save("a[1]/1.png", "a[1]/b/2.png", "a1/3.png")
    assert find_pictures("a[1]") == find_pictures("a[1]/**") == ["a[1]/1.png", "a[1]/b/2.png"]
    assert find_pictures("a[1]/*.png") == ["a[1]/1.png"]
    assert find_pictures("a[1]/**/2.png") == find_pictures("a[1]/b/*") == ["a[1]/b/2.png"]
    assert find_pictures("a[12]/*.png") == ["a1/3.png"]
    with pytest.raises(ValueError, match="an empty path"): find_pictures(["a1", ""])


def test_a_list_on_standard_input(here, stdin):
    save("a/1.png", "a/b/2.png", "0.png")
    os.mkfifo("a/pipe.png")
    passed = {}
    stdin(b"0.png\n\n   \ngone [1].png\r\nhttps://example.org/x.png\n./a//b\n~/x.png\na")
    assert find_pictures("-", passed) == [
        "0.png", "gone [1].png", "https://example.org/x.png", "a/b/2.png", "~/x.png", "a/1.png"]
    assert passed_over(passed).startswith("1 passed over")


def test_wrong_paths_are_told_at_once(here):
    save("photos/IMG_0.JPG")
    os.mkdir("empty")
    Path("photos.zip").write_bytes(b"PK\x03\x04" + bytes(30))
    Path("only").mkdir()
    Path("only/a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(99))
    os.symlink("gone", "broken.png")
    for path, words in {
            "photo": "photo does not exist; give", "empty": "no pictures; endings that count",
            "photos/img_0.jpg": "does not exist; IMG_0.JPG is there", "*.gif": "no pictures",
            "photos.zip": "photos.zip is an archive; unpack it", "broken.png": "leads nowhere",
            "only": "no pictures; 1 passed over: 1 ×" if "HEIF" not in readable_formats() else "",
            "a\nb.png": "'a\\\\nb.png' does not exist", "x" * 300: "does not exist"}.items():
        if not words: continue
        with pytest.raises((OSError, ValueError), match=words) as caught: find_pictures(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="no paths"): find_pictures([])
    with pytest.raises(ImageError, match="no such file; IMG_0.JPG is there"):
        decode_image("photos/img_0.jpg")
    with pytest.raises(ValueError, match="unpack it"): PictureFolder("photos.zip")


def test_home(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    save("home/photos/1.png", "$HOME/2.png")
    one = str(here / "home/photos/1.png")
    assert find_pictures("~/photos") == find_pictures("~/photos/*.png") == [one]
    assert find_pictures("~/photos/1.png") == [one] and is_glob("~/photos/*.png")
    assert decode_image("~/photos/1.png").size == (96, 64)
    assert PictureFolder("~/photos").has("1.png") and PictureFolder("~/photos").walk() == ["1.png"]
    assert find_pictures("$HOME") == ["$HOME/2.png"]
    save("~/photos/0.png", "~x")
    assert find_pictures("~/photos") == find_pictures("~/photos/*.png") == ["~/photos/0.png"]
    assert find_pictures("~x") == ["~x"] and decode_image("~x") and decode_image("~/photos/0.png")
    assert find_pictures("~/photos/1.png") == [one]
    assert expand_home(Path("~/photos/0.png")) == "~/photos/0.png"


# A folder that nothing leads out of

@pytest.fixture
def folder(here):
    save("photos/x.png", "photos/cats/1.png", "photos/dogs/1.png", "private.png", "other/o.png")
    return PictureFolder("photos")


def test_a_folder_finds_what_is_in_it(folder, here):
    found = {"x.png": "x.png", "./x.png": "./x.png", "cats/1.png": "cats/1.png", "gone.png": None,
             "cats/../x.png": "x.png", "../photos/x.png": "x.png", "cats\\1.png": "cats/1.png",
             str(here / "photos/x.png"): "x.png", str(here / "photos/cats/1.png"): "cats/1.png",
             str(here / "photos/gone.png"): None, str(here / "other/../photos/x.png"): "x.png",
             "cats": None, "../photos/gone.png": None, "..": None}
    for name, path in found.items():
        assert folder.find(name) == path and folder.has(name) == (path is not None), name
        if path: assert os.path.isfile(os.path.join(folder.root, path))


OUTSIDE = ["../private.png", "cats/../../private.png", "{here}/private.png", "/etc/passwd",
           "../other/o.png", "..\\private.png", "{here}/photos/../private.png", "C:\\secret.png",
           "\\\\server\\share\\secret.png", "/no/such/secret.png", "../../photos/../private.png",
           "{here}/photos2/x.png", "out.png", "out/o.png", "out/../private.png"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_leads_out_is_refused(folder, here, name):
    os.symlink("../private.png", "photos/out.png")
    os.symlink("../other", "photos/out")
    save("photos2/x.png")
    with pytest.raises(ValueError, match="leads out of the picture folder"):
        folder.has(name.format(here=here))


@pytest.mark.parametrize("link, to", [("out.png", "../private.png"), ("out", "../other")])
def test_a_walk_passes_over_what_leads_out_of_the_folder(folder, link, to):
    before = folder.walk()
    os.symlink(to, f"photos/{link}")
    assert folder.walk() == before and before
    (reason, names), = folder.passed.items()
    assert reason == "links that lead out of the folder"
    assert names == [os.path.join(folder.root, link)]
    assert "1 passed over: 1 × links that lead out" in passed_over(folder.passed)
    inside = link if link.endswith(".png") else f"{link}/y.png"
    with pytest.raises(ValueError, match=f"'{inside}' leads out"): folder.find(inside)


def test_links_that_stay_inside_are_followed(folder, here):
    os.symlink("x.png", "photos/same.png")
    os.symlink(here / "photos/cats", "photos/katzen")
    os.symlink(".", "photos/round")
    os.symlink("/gone/from/here.png", "photos/broken.png")
    os.symlink("photos", "linked")
    for root in "photos", "linked":
        folder = PictureFolder(root)
        assert folder.walk() == ["cats/1.png", "dogs/1.png", "same.png", "x.png"]
        assert list(folder.passed) == ["links that lead nowhere"]
        for name in "same.png", "katzen/1.png", "round/x.png", str(here / "linked/x.png"):
            assert folder.has(name), name
        assert not folder.has("broken.png")


def snapshot(cache):
    "A data set as huggingface_hub keeps it: each file a link to a blob."
    repo = Path(cache, "datasets--me--photos")
    save(repo / "blobs/abc")
    for name in "train/1.png", "2.png":
        link = repo / "snapshots/0123" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(os.path.relpath(repo / "blobs/abc", link.parent), link)
    return repo / "snapshots/0123"


def test_the_hub_cache(here, monkeypatch):
    root = snapshot("moved cache")
    os.symlink(root, "link")
    for given in root, "link":
        folder = PictureFolder(given)
        assert folder.walk() == ["2.png", "train/1.png"] and folder.has("train/1.png")
        assert folder.find(os.path.abspath(root / "2.png")) == "2.png"
        assert decode_image(os.path.join(folder.root, folder.find("2.png"))).size == (96, 64)
    assert PictureFolder(root / "train").walk() == ["1.png"]
    os.symlink("/etc/hostname", root / "out.png")
    assert PictureFolder(root).walk() == ["2.png", "train/1.png"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(here / "hub"))
    save("photos/x.png")
    os.symlink(here / snapshot("hub"), "photos/set")
    folder = PictureFolder("photos")
    assert folder.walk() == ["set/2.png", "set/train/1.png", "x.png"] and folder.has("set/2.png")
    cached = snapshot("hub/private") / "2.png"
    for name in here / cached, f"../{cached}":
        with pytest.raises(ValueError, match="leads out"): folder.has(str(name))


def test_paths_of_another_computer(folder):
    assert folder.find(r"E:\photos\cats\1.png") == "cats/1.png"
    assert folder.find(r"E:/photos/dogs/1.png") == "dogs/1.png"
    assert folder.find(r"E:\photos\gone.png") is None
    for name in r"E:\x.png", r"D:\photos\x.png", r"E:\photos\..\x.png", "/kaggle/photos/x.png":
        with pytest.raises(ValueError, match="leads out"): folder.find(name)
    assert PictureFolder("photos").find("/kaggle/input/cats/1.png") == "cats/1.png"
    save("flat/1.png")
    flat = PictureFolder("flat")
    assert flat.find(r"C:\cats\1.png") == "1.png"
    with pytest.raises(ValueError): flat.find(r"C:\dogs\1.png")


@pytest.mark.parametrize("stored, asked", [("NFD", "NFC"), ("NFC", "NFD")])
def test_a_name_in_another_unicode_form_is_the_same_name(here, stored, asked):
    def write(form, text): return unicodedata.normalize(form, text)
    save(write(stored, "photos/fêtes/café.png"))
    folder = PictureFolder("photos")
    found = folder.find(write(asked, "fêtes/café.png"))
    assert found == write(stored, "fêtes/café.png")
    assert os.path.isfile(os.path.join("photos", found))
    assert folder.has("E:\\photos\\" + write(asked, "fêtes\\café.png"))
    assert not folder.has("fetes/cafe.png")


def test_another_case_is_a_hint_and_no_match(folder):
    save("photos/IMG_0.JPG")
    assert not folder.has("img_0.jpg") and not folder.has("CATS/1.png")
    assert folder.hint("img_0.jpg") == "IMG_0.JPG is there, which is written differently"
    assert folder.hint("CATS/1.PNG").startswith("cats/1.png ")
    assert folder.hint("gone.png") == folder.hint("x.png") == folder.hint("../private.PNG") == ""
