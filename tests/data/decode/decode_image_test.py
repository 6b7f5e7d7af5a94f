"""Decoding, held against Pillow on files that Pillow writes, and on broken ones."""

import random
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.inputs.pictures import FILES, HEIGHT, WIDTH, as_pillow, encoded, picture
from trainer.data.decode.decode_image import decode_and_resize, exif_orientation

_decode = tf.function(
    lambda encoded: decode_and_resize(encoded, (HEIGHT, WIDTH)),
    input_signature=[tf.TensorSpec([], tf.string)],
)

_SIZE = (70, 60)
_decode_window = tf.function(
    lambda encoded, window: decode_and_resize(encoded, _SIZE, window),
    input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([4])],
)
_orientation = tf.function(exif_orientation, input_signature=[tf.TensorSpec([], tf.string)])


def levels(data):
    return _decode(tf.constant(data)).numpy() * 255


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
    assert int(_orientation(data)) == orientation
    np.testing.assert_allclose(levels(data), as_pillow(data), atol=1)


def test_exif_that_is_missing_broken_or_behind_other_segments():
    plain = encoded(picture(), "JPEG")
    good = oriented(6)
    at = good.index(b"\xff\xe1")
    comment = b"\xff\xfe" + struct.pack(">H", 2 + 300) + b"c" * 300
    assert int(_orientation(plain)) == 1
    assert int(_orientation(good[:at] + comment + good[at:])) == 6
    assert int(_orientation(good.replace(b"II*\0\x08\0\0\0", b"II*\0\xff\xff\xff\x7f"))) == 1
    assert int(_orientation(oriented(77))) == 1
    rng = random.Random(3)
    for _ in range(50):  # no noise in the EXIF segment is worth losing an image for
        noisy = bytearray(good)
        for _ in range(4):
            noisy[rng.randrange(at + 10, at + 60)] = rng.randrange(256)
        assert 1 <= int(_orientation(bytes(noisy))) <= 8


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "WEBP"])
def test_a_window_equals_cropping_what_is_decoded(kind):
    image = picture(200, 300)
    data = encoded(image.quantize(256) if kind == "GIF" else image, kind)
    pixels = as_pillow(data)[40:140, 90:240]
    expected = tf.image.resize(pixels, _SIZE).numpy()
    result = _decode_window(data, [0.2, 0.3, 0.5, 0.5]).numpy() * 255
    # Decoders interpolate colour at the edge of a crop from what they decode of it.
    np.testing.assert_allclose(result, expected, atol=4 if kind == "JPEG" else 1.5)
    assert np.abs(result - expected).mean() < 0.3


@pytest.mark.parametrize("orientation", [2, 6, 7])
def test_a_window_is_of_the_upright_image(orientation):
    data = oriented(orientation, image=picture(200, 300))
    upright = as_pillow(data)
    height, width = upright.shape[:2]
    pixels = upright[: height // 2, width // 4 : width // 4 + width // 2]
    expected = tf.image.resize(pixels, _SIZE).numpy()
    result = _decode_window(data, [0.0, 0.25, 0.5, 0.5]).numpy() * 255
    np.testing.assert_allclose(result, expected, atol=4)


@pytest.mark.parametrize(("times", "bound"), [(1.5, 1), (2.2, 2), (4.5, 2), (9, 3)])
def test_scaled_decoding_stays_close_to_decoding_whole(times, bound):
    data = encoded(picture(int(HEIGHT * times), int(WIDTH * times)), "JPEG", quality=95)
    expected = tf.image.resize(as_pillow(data), (HEIGHT, WIDTH)).numpy()
    assert np.abs(levels(data) - expected).mean() < bound
    if times == 1.5:  # nothing is scaled: what the plain way gives, up to the sum's rounding
        np.testing.assert_allclose(levels(data), expected, atol=1e-2)


def test_decodes_inside_of_a_saved_model(tmp_path):
    module = tf.Module()
    module.decode = _decode
    tf.saved_model.save(module, str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    data = FILES["webp alpha"][0]()
    np.testing.assert_array_equal(loaded.decode(tf.constant(data)).numpy() * 255, levels(data))
