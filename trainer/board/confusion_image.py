"""A confusion matrix as an image: correct predictions in blue, mistakes in orange.

Color-blind readers can tell the two apart, by lightness too: blue and vermilion of Okabe and Ito,
Color Universal Design, 2008.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from trainer.board.summary_protos import ImageSummary
from trainer.board.thumbnails import BLACK, DIM, GRAY, WHITE, encoded, fitted, font

# With more classes neither names nor numbers can be read: each cell is then a few pixels.
MOST_NAMED = 30
_CORRECT, _WRONG = np.array([0, 82, 140]), np.array([213, 94, 0])
_LONGEST_NAME, _MARGIN, _SMALLEST_SIDE = 150, 12, 600


def draw(confusion: np.ndarray, class_names: Sequence[str]) -> ImageSummary:
    """Draw labels in rows and predictions in columns; color each cell by its fraction of the row.

    Args:
        confusion: int64 [classes, classes], examples by (label, prediction).
        class_names: in the order of both axes.
    """
    colors = _colors(confusion)
    if len(class_names) > MOST_NAMED:
        cell = max(1, _SMALLEST_SIDE // len(class_names))
        sheet = Image.fromarray(colors.repeat(cell, 0).repeat(cell, 1))
    else:
        sheet = _named(confusion, class_names, colors)
    return encoded(
        sheet,
        "PNG",
        "Rows are the labels, columns the predictions. Blue is correct, orange is wrong; the "
        "darker, the larger the fraction of the row.",
    )


def _colors(confusion: np.ndarray) -> np.ndarray:
    """Return the cells' colors, uint8 [classes, classes, 3]."""
    fractions = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    is_correct = np.eye(len(confusion), dtype=bool)[..., None]
    # A single mistake among thousands must be seen, too.
    strength = np.where(confusion > 0, 0.12 + 0.88 * fractions, 0.0)[..., None]
    full = np.where(is_correct, _CORRECT, _WRONG)
    return np.round(255 + (full - 255) * strength).astype(np.uint8)


def _named(confusion: np.ndarray, names: Sequence[str], colors: np.ndarray) -> Image.Image:
    size = 13 if len(names) <= 15 else 11
    letters = font(size)
    longest = max(letters.getlength(str(n)) for n in {*confusion.ravel().tolist()})
    cell = int(max(size + 9, longest + 8, 240 / len(names)))
    frame, left, top = _frame(tuple(names), size, cell)
    sheet = frame.copy()
    pen = ImageDraw.Draw(sheet)
    for row, counts in enumerate(confusion.tolist()):
        for column, number in enumerate(counts):
            x, y = left + cell * column, top + cell * row
            color = tuple(colors[row, column].tolist())
            pen.rectangle((x, y, x + cell - 2, y + cell - 2), color, GRAY)
            if number:
                ink = BLACK if sum(color) > 400 else WHITE
                pen.text((x + cell // 2, y + cell // 2), str(number), ink, letters, anchor="mm")
    return sheet


@functools.lru_cache(maxsize=2)
def _frame(names: tuple[str, ...], size: int, cell: int) -> tuple[Image.Image, int, int]:
    """Draw all but the cells, the same at every evaluation; return also the cells' left and top."""
    letters = font(size)
    shown = [fitted(name, _LONGEST_NAME, letters) for name in names]
    beside = int(max(letters.getlength(name) for name in shown)) + _MARGIN
    left, top = _MARGIN + beside + 4, 2 * _MARGIN + size + beside
    width, height = left + cell * len(names) + _MARGIN, top + cell * len(names) + _MARGIN
    sheet = Image.new("RGB", (max(width, 220), height), WHITE)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN), "labels in rows, predictions in columns", DIM, font(11))
    for row, name in enumerate(shown):
        pen.text((left - 8, top + cell * row + cell // 2), name, BLACK, letters, anchor="rm")
        upright = _rotated(name, size, beside)
        sheet.paste(upright, (left + cell * row + (cell - upright.width) // 2, top - beside - 4))
    return sheet, left, top


def _rotated(text: str, size: int, length: int) -> Image.Image:
    """Draw `text` from bottom to top, at the lower end of a strip of `length` pixels."""
    strip = Image.new("RGB", (length, size + 5), WHITE)
    ImageDraw.Draw(strip).text((0, (size + 5) // 2), text, BLACK, font(size), anchor="lm")
    return strip.transpose(Image.Transpose.ROTATE_90)
