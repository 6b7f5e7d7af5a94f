"""Decoding, held against Pillow on files that Pillow writes, and on broken ones."""

import io
import random
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from trainer.data.decode import MAX_PIXELS, decode_and_resize, exif_orientation

HEIGHT, WIDTH = 48, 80
_decode = tf.function(
    lambda encoded: decode_and_resize(encoded, (HEIGHT, WIDTH)),
    input_signature=[tf.TensorSpec([], tf.string)],
)


def picture(height=HEIGHT, width=WIDTH):
    """Smooth, different in each corner and channel: no turn or swap goes unseen."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    waves = np.stack([x, y, (np.sin(5 * x) * np.cos(4 * y) + 1) / 2], -1)
    return Image.fromarray((255 * waves).astype(np.uint8))


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def levels(data):
    return _decode(tf.constant(data)).numpy() * 255


def as_pillow(data):
    """Pillow's pixels: upright, composited on white."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.mode == "CMYK":
        return np.asarray(image.convert("RGB"), np.float32)
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
    return np.asarray(Image.alpha_composite(white, rgba).convert("RGB"), np.float32)


def with_alpha(mode="RGBA"):
    image = picture().convert(mode)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    image.putalpha(Image.fromarray(((3 * x + 2 * y) % 256).astype(np.uint8)))
    return image


def transparent_palette(kind):
    image = picture().quantize(16)
    return encoded(image, kind, transparency=3)


def paletted_frames(frames, **options):
    first, *others = (picture().rotate(9 * i).quantize(32) for i in range(frames))
    return encoded(first, "GIF", save_all=True, append_images=others, **options)


FILES = {
    "jpeg": (lambda: encoded(picture(), "JPEG", quality=92), 1),
    "jpeg progressive": (lambda: encoded(picture(), "JPEG", progressive=True), 1),
    "jpeg gray": (lambda: encoded(picture().convert("L"), "JPEG"), 1),
    "jpeg cmyk": (lambda: encoded(picture().convert("CMYK"), "JPEG", quality=95), 3),
    "png": (lambda: encoded(picture(), "PNG"), 0),
    "png gray": (lambda: encoded(picture().convert("L"), "PNG"), 0),
    "png bilevel": (lambda: encoded(picture().convert("1"), "PNG"), 0),
    "png alpha": (lambda: encoded(with_alpha(), "PNG"), 1),
    "png gray alpha": (lambda: encoded(with_alpha("L"), "PNG"), 1),
    "png palette": (lambda: encoded(picture().quantize(200), "PNG"), 0),
    "png palette of 4": (lambda: encoded(picture().quantize(4), "PNG"), 0),
    "png palette transparent": (lambda: transparent_palette("PNG"), 0),
    "png gray transparent": (
        lambda: encoded(picture().convert("L"), "PNG", transparency=100),
        0,
    ),
    "gif": (lambda: encoded(picture().quantize(256), "GIF"), 0),
    "gif gray": (lambda: encoded(picture().convert("L"), "GIF"), 0),
    "gif interlaced": (lambda: encoded(picture().quantize(64), "GIF", interlace=1), 0),
    "gif transparent": (lambda: transparent_palette("GIF"), 0),
    "gif of 20 frames": (lambda: paletted_frames(20), 0),
    "bmp": (lambda: encoded(picture(), "BMP"), 0),
    "bmp gray": (lambda: encoded(picture().convert("L"), "BMP"), 0),
    "bmp palette": (lambda: encoded(picture().quantize(256), "BMP"), 0),
    "bmp alpha": (lambda: encoded(with_alpha(), "BMP"), 1),
    "webp": (lambda: encoded(picture(), "WEBP"), 1),
    "webp lossless": (lambda: encoded(picture(), "WEBP", lossless=True), 0),
    "webp alpha": (lambda: encoded(with_alpha(), "WEBP", lossless=True, exact=True), 1),
    "webp lossy alpha": (lambda: encoded(with_alpha(), "WEBP", quality=90), 2),
    "webp animated": (
        lambda: encoded(
            picture(),
            "WEBP",
            save_all=True,
            append_images=[picture().rotate(i) for i in range(1, 6)],
        ),
        1,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_pixels_are_those_of_pillow(name):
    make, tolerance = FILES[name]
    data = make()
    np.testing.assert_allclose(levels(data), as_pillow(data), atol=tolerance + 1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_of_16_bits_is_exact(channels):
    values = np.random.default_rng(0).integers(0, 2**16, (HEIGHT, WIDTH, channels), np.uint16)
    image = _decode(tf.io.encode_png(values)).numpy()
    np.testing.assert_allclose(image, np.broadcast_to(values / 65535, image.shape), atol=1e-7)


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_an_animation_is_decoded_up_to_its_first_frame_only(kind):
    frames = FILES["gif of 20 frames" if kind == "gif" else "webp animated"][0]()
    cut = len(frames) // 2  # in a later frame
    np.testing.assert_array_equal(levels(frames), levels(frames[:cut]))


def test_a_frame_smaller_than_its_gif_lies_on_white():
    small = bytearray(encoded(picture(20, 30).quantize(16), "GIF"))
    small[6:10] = struct.pack("<HH", WIDTH, HEIGHT)
    at = small.index(b"\x2c\0\0\0\0" + struct.pack("<HH", 30, 20))
    small[at + 1 : at + 5] = struct.pack("<HH", 7, 5)
    image = levels(bytes(small))
    expected = np.full([HEIGHT, WIDTH, 3], 255.0)
    expected[5:25, 7:37] = as_pillow(encoded(picture(20, 30).quantize(16), "GIF"))
    np.testing.assert_allclose(image, expected, atol=1e-3)


def oriented(orientation, byte_order="little", image=None, **options):
    exif = Image.Exif()
    exif[0x010F] = "a maker's name, so that the orientation is not alone"
    exif[0x0112] = orientation
    exif.endian = "<" if byte_order == "little" else ">"
    return encoded(image or picture(), "JPEG", quality=95, exif=exif.tobytes(), **options)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation):
    stored = picture() if orientation < 5 else picture(WIDTH, HEIGHT)
    data = oriented(orientation, "big" if orientation % 2 else "little", image=stored)
    assert int(exif_orientation(data)) == orientation
    np.testing.assert_allclose(levels(data), as_pillow(data), atol=1)


def test_exif_that_is_missing_broken_or_behind_other_segments():
    plain = encoded(picture(), "JPEG")
    good = oriented(6)
    at = good.index(b"\xff\xe1")
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 300) + b"c" * 300
    assert int(exif_orientation(plain)) == 1
    assert int(exif_orientation(good[:at] + comment + good[at:])) == 6
    assert int(exif_orientation(good.replace(b"II*\0\x08\0\0\0", b"II*\0\xff\xff\xff\x7f"))) == 1
    assert int(exif_orientation(oriented(77))) == 1
    rng = random.Random(3)
    for _ in range(50):  # no noise in the EXIF segment is worth losing an image for
        noisy = bytearray(good)
        for _ in range(4):
            noisy[rng.randrange(at + 10, at + 60)] = rng.randrange(256)
        assert 1 <= int(exif_orientation(bytes(noisy))) <= 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_window_equals_cropping_what_is_decoded(kind):
    image = picture(200, 300)
    data = encoded(image.quantize(256) if kind == "GIF" else image, kind)
    pixels = as_pillow(data)[40:140, 90:240]
    expected = tf.image.resize(pixels, (70, 60)).numpy()
    window = tf.constant([0.2, 0.3, 0.5, 0.5])
    decode = tf.function(lambda encoded: decode_and_resize(encoded, (70, 60), window))
    result = decode(tf.constant(data)).numpy() * 255
    # Decoders interpolate colour at the edge of a crop from what they decode of it.
    np.testing.assert_allclose(result, expected, atol=4 if kind == "JPEG" else 1.5)
    assert np.abs(result - expected).mean() < 0.3


@pytest.mark.parametrize("orientation", [2, 6, 7])
def test_a_window_is_of_the_upright_image(orientation):
    data = oriented(orientation, image=picture(200, 300))
    upright = as_pillow(data)
    height, width = upright.shape[:2]
    pixels = upright[: height // 2, width // 4 : width // 4 + width // 2]
    expected = tf.image.resize(pixels, (64, 40)).numpy()
    window = tf.constant([0.0, 0.25, 0.5, 0.5])
    result = decode_and_resize(tf.constant(data), (64, 40), window).numpy() * 255
    np.testing.assert_allclose(result, expected, atol=4)


@pytest.mark.parametrize(("times", "bound"), [(1.5, 1), (2.2, 2), (4.5, 2), (9, 3)])
def test_scaled_decoding_stays_close_to_decoding_whole(times, bound):
    data = encoded(picture(int(HEIGHT * times), int(WIDTH * times)), "JPEG", quality=95)
    expected = tf.image.resize(as_pillow(data), (HEIGHT, WIDTH)).numpy()
    assert np.abs(levels(data) - expected).mean() < bound
    if times == 1.5:  # nothing is scaled: what the plain way gives, up to the sum's rounding
        np.testing.assert_allclose(levels(data), expected, atol=1e-2)


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
        levels(GIANTS[name]())


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
            levels(data[:cut])


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
        levels(data)


def test_decodes_inside_of_a_saved_model(tmp_path):
    module = tf.Module()
    module.decode = _decode
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    data = FILES["webp alpha"][0]()
    np.testing.assert_array_equal(loaded.decode(tf.constant(data)).numpy() * 255, levels(data))
