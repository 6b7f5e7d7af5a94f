"""Pictures that are giant, cut off, or none."""

import random
import struct
import zlib

import pytest
import tensorflow as tf

from tests.inputs.pictures import FILES, HEIGHT, WIDTH, encoded, picture
from trainer.data.decode.decode_image import MAX_PIXELS, decode_and_resize


def decode(data):
    decode_and_resize(tf.constant(data), (HEIGHT, WIDTH))


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def giant_jpeg():
    data = bytearray(encoded(picture(), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    return bytes(data)


def giant_webp(kind):
    data = bytearray(encoded(picture(), "WEBP", lossless=kind == "VP8L"))
    if kind == "VP8X":
        return b"RIFF\x40\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\xff\x00" * 2 + data[12:]
    at = 21 if kind == "VP8L" else 26
    data[at : at + 4] = (
        struct.pack("<I", 0xFFFFFFF) if kind == "VP8L" else struct.pack("<HH", 0x3FFF, 0x3FFF)
    )
    return bytes(data)


def giant_gif(where):
    data = bytearray(encoded(picture().quantize(8), "GIF"))
    giant = struct.pack("<HH", 65535, 65535)
    frame = data.index(b"\x2c\0\0\0\0") + 5
    at = 6 if where == "canvas" else frame
    data[at : at + 4] = giant
    return bytes(data)


GIANTS = {
    "jpeg": giant_jpeg,
    "png": lambda: (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 2**17, 2**17, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    ),
    "gif canvas": lambda: giant_gif("canvas"),
    "gif frame": lambda: giant_gif("frame"),
    "bmp": lambda: (
        b"BM"
        + struct.pack("<IHHI", 1000, 0, 0, 54)
        + struct.pack("<IiiHHIIiiII", 40, 2**20, -(2**20), 1, 24, 0, 0, 0, 0, 0, 0)
        + bytes(900)
    ),
    "webp lossy": lambda: giant_webp("VP8 "),
    "webp lossless": lambda: giant_webp("VP8L"),
    "webp extended": lambda: giant_webp("VP8X"),
}


@pytest.mark.parametrize("name", GIANTS)
def test_a_header_that_announces_a_giant_is_refused(name):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"more than {MAX_PIXELS} pixels"):
        decode(GIANTS[name]())


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "bmp", "webp", "webp lossless"])
def test_a_truncated_file_is_an_error_wherever_it_is_cut(name):
    data = FILES[name][0]()
    # A GIF lacks nothing without its last bytes: an end of data and a closing mark.
    last = len(data) - (3 if name == "gif" else 1)
    seed = 20260101
    print("seed of the cuts:", seed)
    rng = random.Random(seed)
    for cut in [1, 2, 9, *(rng.randrange(1, last) for _ in range(25)), last - 1]:
        with pytest.raises(tf.errors.InvalidArgumentError):
            decode(data[:cut])


def test_a_truncated_jpeg_is_an_error_even_if_the_crop_is_whole():
    data = encoded(picture(200, 300), "JPEG")
    corner = tf.constant([0.0, 0.0, 0.2, 0.2])
    decode_and_resize(data + b"what some cameras append", (HEIGHT, WIDTH), corner)
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_and_resize(data[: 3 * len(data) // 4], (HEIGHT, WIDTH), corner)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "an empty file"),
        (b"these are words, in a file named leaf.jpg", "not a JPEG, PNG, GIF, BMP or WebP"),
        (b"\xff\xd8\xff\xe0 and words", None),
        (b"BM", "BMP"),
        (encoded(picture().convert("1"), "BMP"), "save it as PNG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", None),
        (b"GIF89a", None),
    ],
)
def test_what_is_no_image_is_refused(data, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        decode(data)
