"""Ids, hashes and thumbnails of single examples of a source.

`raise_if_stopping` is called with every batch or example.
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
from trainer.graph.plain_pipeline import do_not_convert, skip_autotune
from trainer.report.evidence import ReportImage

_SIDE, _QUALITY = 144, 80  # pixels, of JPEG: 4 to 8 KB each
_NUM_THREADS = 8

T = TypeVar("T")


def identities(
    source: Source, split: str, raise_if_stopping: Callable[[], None]
) -> tuple[list[str], np.ndarray]:
    """Return the ids of a split's examples in order, and hashes of their files, int64 [n]."""
    return _identities(source.examples(split, 0, 1, shuffle=False), raise_if_stopping)


def hashes(
    source: Source, split: str, indices: Sequence[int], raise_if_stopping: Callable[[], None]
) -> np.ndarray:
    """Return 63-bit hashes of some examples' files, int64 [n]."""

    def hash_of(example: Example) -> int:
        return int(_hash(tf.constant(example.encoded)))

    return np.array(_of_each(source, split, indices, hash_of, raise_if_stopping), np.int64)


def read(
    source: Source, split: str, indices: Sequence[int], raise_if_stopping: Callable[[], None]
) -> list[ReportImage]:
    """Return the examples at `indices` with their thumbnails."""

    def image(example: Example) -> ReportImage:
        return ReportImage(example.id, example.label, thumbnail(example.encoded))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of sizes and unused metadata
        return _of_each(source, split, indices, image, raise_if_stopping)


def thumbnail(encoded: bytes) -> str:
    """Return a small, upright JPEG of an image file as a data URI; "" if it cannot be decoded."""
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
    examples: tf.data.Dataset, raise_if_stopping: Callable[[], None]
) -> tuple[list[str], np.ndarray]:
    def identity(example: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return example["id"], _hash(example["encoded"])

    mapped = examples.map(do_not_convert(identity)).batch(256)
    ids: list[str] = []
    batches = [np.zeros(0, np.int64)]
    for names, hashes in skip_autotune(mapped.prefetch(2)).as_numpy_iterator():
        ids += [name.decode("utf-8", "replace") for name in names]
        batches.append(hashes)
        raise_if_stopping()
    return ids, np.concatenate(batches)


def _hash(encoded: tf.Tensor) -> tf.Tensor:
    return tf.strings.to_hash_bucket_fast(encoded, 2**63 - 1)


def _of_each(
    source: Source,
    split: str,
    indices: Sequence[int],
    make: Callable[[Example], T],
    raise_if_stopping: Callable[[], None],
) -> list[T]:
    """Call `make` with the examples at `indices`, several at a time: a bucket has latency."""

    def at(index: int) -> T:
        raise_if_stopping()
        return make(source.example(split, index))

    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        return list(pool.map(at, indices))
