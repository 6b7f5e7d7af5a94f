"""Which files are images, by their names."""

from __future__ import annotations

import os

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def is_image(name: str) -> bool:
    """Whether a file of this name should hold an image; entries that start with a dot do not."""
    base = os.path.basename(name)
    return base.lower().endswith(SUFFIXES) and not base.startswith(".")
