"""Thumbnails of examples, and grids of them."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from trainer.board.summary_protos import ImageSummary

BLACK, DIM, GRAY, WHITE = (28, 28, 28), (90, 90, 90), (238, 238, 238), (255, 255, 255)
_LINE, _GAP, _FONT_SIZE = 15, 8, 12


class Tile(NamedTuple):
    """A square image, and the lines of its caption."""

    image: Image.Image
    caption: tuple[str, ...]


def font(size: int = _FONT_SIZE) -> Any:
    """Return Pillow's default font."""
    return ImageFont.load_default(size)


def thumbnail(encoded: bytes, side: int) -> Image.Image:
    """Decode an image file, resized to `side` × `side` as for a model, upright and on white.

    Raises:
        OSError, ValueError: it cannot be decoded.
    """
    with Image.open(io.BytesIO(encoded)) as image:
        image.draft("RGB", (side, side))  # decodes a JPEG at a fraction of its size
        return _rgb(ImageOps.exif_transpose(image)).resize(
            (side, side), Image.Resampling.BILINEAR, reducing_gap=2.0
        )


def thumbnail_or_gray(encoded: bytes, side: int) -> Image.Image:
    """Return `thumbnail`, or plain gray if the file cannot be decoded."""
    try:
        return thumbnail(encoded, side)
    # For a corrupt file Pillow raises anything, SyntaxError for one.
    except Exception:
        return Image.new("RGB", (side, side), GRAY)


def from_array(pixels: np.ndarray, side: int) -> Image.Image:
    """Return float32 [height, width, 3] in [0, 1] as an image of `side` × `side`."""
    pixels_uint8 = np.clip(np.nan_to_num(pixels) * 255 + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels_uint8).resize((side, side), Image.Resampling.BILINEAR)


def grid(tiles: Sequence[Tile], columns: int, description: str) -> ImageSummary:
    """Arrange `tiles`, at least one and all of one size, row by row in a JPEG."""
    side = tiles[0].image.width
    lines = max(len(tile.caption) for tile in tiles)
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    width, height = side + _GAP, side + _GAP + _LINE * lines
    sheet = Image.new("RGB", (columns * width + _GAP, rows * height + _GAP), WHITE)
    for number, tile in enumerate(tiles):
        left, top = _GAP + number % columns * width, _GAP + number // columns * height
        sheet.paste(tile.image, (left, top))
        for line, text in enumerate(tile.caption):
            strip = _line(text, side, BLACK if line == 0 else DIM)
            sheet.paste(strip, (left, top + side + 1 + _LINE * line))
    return encoded(sheet, "JPEG", description)


@functools.lru_cache(maxsize=256)
def _line(text: str, width: int, color: tuple[int, int, int]) -> Image.Image:
    """Draw a line of a caption. Cached: most lines are those of the evaluation before."""
    strip, letters = Image.new("RGB", (width, _LINE), WHITE), font()
    ImageDraw.Draw(strip).text((0, 0), fitted(text, width, letters), color, letters)
    return strip


def encoded(image: Image.Image, kind: str, description: str) -> ImageSummary:
    """Encode `image` as a "JPEG" or "PNG" file."""
    stream = io.BytesIO()
    options = {"quality": 85} if kind == "JPEG" else {"compress_level": 1}
    image.save(stream, kind, **options)
    return ImageSummary(stream.getvalue(), *image.size, description)


def fitted(text: str, width: float, letters: Any) -> str:
    """Return `text`, truncated with an ellipsis if it is wider than `width` pixels."""
    text = " ".join(text.split())
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    white = Image.new("RGBA", rgba.size, (*WHITE, 255))
    return Image.alpha_composite(white, rgba).convert("RGB")
