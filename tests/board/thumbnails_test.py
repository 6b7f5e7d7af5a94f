"""Thumbnails, grids and the confusion matrix: the pixels that are drawn, by their values."""

import io

import numpy as np
import pytest
from PIL import Image

from tests.inputs.pictures import encoded, picture, with_alpha
from trainer.board import confusion_image, thumbnails
from trainer.board.thumbnails import GRAY, Tile


def opened(drawn):
    image = Image.open(io.BytesIO(drawn.encoded))
    assert image.size == (drawn.width, drawn.height)
    return image


def plain(color, side=32):
    return Image.new("RGB", (side, side), color)


def test_a_thumbnail_is_squashed_upright_and_on_white():
    image = Image.new("RGB", (80, 40), "red")
    image.paste("blue", (0, 0, 80, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees: its left side is up
    turned = encoded(image.rotate(90, expand=True), "PNG", exif=exif)
    small = thumbnails.thumbnail(turned, 16)
    assert small.size == (16, 16)
    assert small.getpixel((8, 2)) == (0, 0, 255)
    assert small.getpixel((8, 13)) == (255, 0, 0)
    glass = encoded(Image.new("RGBA", (20, 20), (0, 0, 0, 0)), "PNG")
    assert thumbnails.thumbnail(glass, 8).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize(
    "content",
    [
        encoded(picture(), "JPEG"),
        encoded(picture(), "WEBP", lossless=True),
        encoded(picture().convert("CMYK"), "JPEG"),
        encoded(with_alpha("L"), "PNG"),
        encoded(picture().quantize(200), "GIF"),
        encoded(picture().convert("1"), "BMP"),
    ],
)
def test_every_format_has_a_thumbnail(content):
    small = thumbnails.thumbnail(content, 24)
    assert (small.mode, small.size) == ("RGB", (24, 24))


def test_16_bits_are_not_clipped():
    deep = Image.fromarray(np.full((20, 20), 0x8000, np.uint16))
    assert thumbnails.thumbnail(encoded(deep, "PNG"), 8).getpixel((4, 4)) == (128, 128, 128)


@pytest.mark.parametrize("content", [b"", b"no image", encoded(picture(), "PNG")[:200]])
def test_what_cannot_be_shown_is_gray(content):
    assert thumbnails.thumbnail_or_gray(content, 8).getpixel((4, 4)) == GRAY


def test_pixels_that_are_no_numbers_are_black():
    pixels = np.full((4, 4, 3), np.nan, np.float32)
    pixels[2:] = 7.0
    image = thumbnails.from_array(pixels, 4)
    assert (image.getpixel((0, 0)), image.getpixel((0, 3))) == ((0, 0, 0), (255, 255, 255))


def test_a_grid_lays_out_row_by_row():
    colors = [(220, 20, 20), (20, 200, 20), (20, 20, 220)]
    drawn = thumbnails.grid([Tile(plain(c), (f"<b>{c}</b>", "x")) for c in colors], 2, "three")
    image = opened(drawn)
    assert (image.format, drawn.description) == ("JPEG", "three")
    assert image.size == (2 * 40 + 8, 2 * 70 + 8)
    for color, place in zip(colors, ((24, 24), (64, 24), (24, 94)), strict=True):
        assert np.abs(np.subtract(image.getpixel(place), color)).max() < 12
    assert min(image.getpixel((64, 94))) > 250  # the fourth is empty


def test_a_caption_is_cut_to_its_tile():
    letters = thumbnails.font()
    text = thumbnails.fitted("a class of a very long name", 60, letters)
    assert text.endswith("…")
    assert letters.getlength(text) <= 60
    assert thumbnails.fitted("two\nlines", 100, letters) == "two lines"
    assert thumbnails.fitted("wide", 0, letters) == "…"


def test_right_is_blue_and_wrong_is_orange_by_the_share_of_the_row():
    confusion = np.array([[6, 2, 0], [0, 4, 0], [0, 0, 0]])
    image = opened(confusion_image.draw(np.kron(np.eye(11, dtype=int), confusion), ["c"] * 33))
    cell = 600 // 33
    pixel = {
        (row, column): image.getpixel((column * cell, row * cell))
        for row in range(3)
        for column in range(3)
    }

    def mixed(color, share):
        strength = 0.12 + 0.88 * share
        return tuple(round(255 + (c - 255) * strength) for c in color)

    assert pixel[0, 0] == mixed((0, 82, 140), 0.75)
    assert pixel[0, 1] == mixed((213, 94, 0), 0.25)
    assert pixel[1, 1] == (0, 82, 140)
    assert {pixel[0, 2], pixel[1, 0], pixel[2, 2]} == {(255, 255, 255)}


@pytest.mark.parametrize("num_classes", [2, 3, 12, 30])
def test_a_named_matrix_has_room_for_its_names(num_classes):
    names = ["<script>alert(1)</script>", *(f"class {i}" for i in range(1, num_classes))]
    drawn = confusion_image.draw(np.full((num_classes, num_classes), 12_345), names)
    image = np.asarray(opened(drawn).convert("L"))
    assert drawn.width < 1600
    # Nothing is cut: the outermost pixels are paper.
    assert {image[0].min(), image[-1].min(), image[:, 0].min(), image[:, -1].min()} == {255}


def test_a_thousand_classes_are_a_pixel_each():
    drawn = confusion_image.draw(np.eye(1000, dtype=np.int64) * 50, ["c"] * 1000)
    image = opened(drawn)
    assert image.size == (1000, 1000)
    assert image.getpixel((7, 7)) == (0, 82, 140)
    assert image.getpixel((8, 7)) == (255, 255, 255)
    assert len(drawn.encoded) < 2**16
