"""Which files are images, by their names, and where they are found."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from trainer.process.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def is_image(name: str) -> bool:
    """Whether a file of this name should hold an image; entries that start with a dot do not."""
    base = os.path.basename(name)
    return base.lower().endswith(SUFFIXES) and not base.startswith(".")


def find_images(words: Sequence[str]) -> list[str]:
    """The image files that `words` mean: files as they are, folders and globs searched.

    Raises:
        UserError: a word means nothing, or there are no words.
    """
    if not words:
        raise UserError("no images: name files, folders or globs")
    found: dict[str, None] = {}
    for word in words:
        if os.path.isfile(word):
            matches = [word]
        elif os.path.isdir(word):
            matches = _images_below(word)
        else:
            matches = sorted(filter(os.path.isfile, glob.glob(word, recursive=True)))
        if not matches:
            raise UserError(f"{word}: no such file, or no images ({', '.join(SUFFIXES)})")
        found.update(dict.fromkeys(matches))
    return list(found)


def _images_below(root: str) -> list[str]:
    found = []
    for directory, subdirectories, names in os.walk(root):
        subdirectories[:] = [entry for entry in subdirectories if not entry.startswith(".")]
        found += [os.path.join(directory, name) for name in names if is_image(name)]
    return sorted(found)
