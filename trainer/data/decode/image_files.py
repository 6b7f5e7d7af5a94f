"""Find image files by their names."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence

from trainer.process.errors import UserError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def is_image(name: str) -> bool:
    """Return whether a file's suffix is an image's; hidden files are none."""
    base = os.path.basename(name)
    return base.lower().endswith(SUFFIXES) and not base.startswith(".")


def find_images(patterns: Sequence[str]) -> list[str]:
    """Find the image files of `patterns`: files, and the images in folders and globs.

    Raises:
        UserError: a pattern matches nothing, or there are no patterns.
    """
    if not patterns:
        raise UserError("no images: name files, folders or globs")
    found: dict[str, None] = {}
    for pattern in patterns:
        if os.path.isfile(pattern):
            matches = [pattern]
        elif os.path.isdir(pattern):
            matches = _images_below(pattern)
        else:
            matches = sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))
        if not matches:
            raise UserError(f"{pattern}: no such file, or no images ({', '.join(SUFFIXES)})")
        found.update(dict.fromkeys(matches))
    return list(found)


def _images_below(root: str) -> list[str]:
    found = []
    for directory, subdirectories, names in os.walk(root):
        subdirectories[:] = [entry for entry in subdirectories if not entry.startswith(".")]
        found += [os.path.join(directory, name) for name in names if is_image(name)]
    return sorted(found)
