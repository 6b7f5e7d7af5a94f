"""Single examples of a source: their ids, fingerprints and small pictures.

A `may_go_on` is asked with every batch or example, and raises what else is to be done.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import tensorflow as tf

from trainer.data.sources.source import Example, Source
from trainer.graph.plain_pipeline import as_written, skip_autotune
from trainer.report.evidence import ReportImage

_SIDE, _QUALITY = 144, 80  # pixels, of JPEG: 4 to 8 KB each
_NUM_THREADS = 8

T = TypeVar("T")


def identities(
    source: Source, split: str, may_go_on: Callable[[], None]
) -> tuple[list[str], np.ndarray]:
    """The ids of all examples in the split's order, and fingerprints of their files, int64 [n]."""
    return _identities(source.examples(split, 0, 1, shuffle=False), may_go_on)


def fingerprints(
    source: Source, split: str, indices: Sequence[int], may_go_on: Callable[[], None]
) -> np.ndarray:
    """Fingerprints of some examples' files, int64 [n]: equal for equal bytes, else hardly ever."""

    def fingerprint(example: Example) -> int:
        return int(_fingerprint(tf.constant(example.encoded)))

    return np.array(_of_each(source, split, indices, fingerprint, may_go_on), np.int64)


def read(
    source: Source, split: str, indices: Sequence[int], may_go_on: Callable[[], None]
) -> list[ReportImage]:
    """The examples at `places`, to be shown."""

    def picture(example: Example) -> ReportImage:
        return ReportImage(example.id, example.label, thumbnail(example.encoded))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of sizes, and of metadata that nobody reads
        return _of_each(source, split, indices, picture, may_go_on)


def thumbnail(encoded: bytes) -> str:
    """A small JPEG of an image file as a data URI, whole and upright; "" of what is no image."""
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.draft("RGB", (2 * _SIDE, 2 * _SIDE))
            small = ImageOps.exif_transpose(image).convert("RGBA")
            small.thumbnail((_SIDE, _SIDE))
            white = Image.new("RGBA", small.size, "white")
            buffer = io.BytesIO()
            Image.alpha_composite(white, small).convert("RGB").save(
                buffer, "JPEG", quality=_QUALITY
            )
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return ""
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _identities(
    examples: tf.data.Dataset, may_go_on: Callable[[], None]
) -> tuple[list[str], np.ndarray]:
    def identity(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return example["id"], _fingerprint(example["encoded"])

    mapped = examples.map(as_written(identity)).batch(256)
    ids: list[str] = []
    prints = [np.zeros(0, np.int64)]
    for names, hashes in skip_autotune(mapped.prefetch(2)).as_numpy_iterator():
        ids += [name.decode("utf-8", "replace") for name in names]
        prints.append(hashes)
        may_go_on()
    return ids, np.concatenate(prints)


def _fingerprint(encoded: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(encoded, 2**63 - 1)


def _of_each(
    source: Source,
    split: str,
    indices: Sequence[int],
    make: Callable[[Example], T],
    may_go_on: Callable[[], None],
) -> list[T]:
    """What `make` makes of the examples at `places`, several at a time: a bucket is far."""

    def at(index: int) -> T:
        may_go_on()
        return make(source.example(split, index))

    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(at, indices))
