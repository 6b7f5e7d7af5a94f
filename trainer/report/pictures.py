"""Single examples of a source: their ids, fingerprints and small pictures.

A `may_go_on` is asked after every batch, and raises what else is to be done.
"""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from trainer.data.as_written import as_written, untuned
from trainer.data.source import Source
from trainer.report.evidence import Picture

_SIDE, _QUALITY = 144, 80  # pixels, of JPEG: 4 to 8 KB each
_MAX_SHARDS = 512  # an example is sought in its shard


def identities(
    source: Source, split: str, may_go_on: Callable[[], None]
) -> tuple[list[str], np.ndarray]:
    """The ids of all examples in the split's order, and fingerprints of their files, int64 [n]."""
    return _identities(source.examples(split, 0, 1, shuffle=False), may_go_on)


def fingerprints(
    source: Source, split: str, places: Sequence[int], may_go_on: Callable[[], None]
) -> np.ndarray:
    """Fingerprints of some examples' files, int64 [n]: equal for equal bytes, else hardly ever."""
    return _identities(_examples_at(source, split, places), may_go_on)[1]


def read(
    source: Source, split: str, places: Sequence[int], may_go_on: Callable[[], None]
) -> list[Picture]:
    """The examples at `places`, to be shown."""
    found = []
    for example in _examples_at(source, split, places).as_numpy_iterator():
        name = example["id"].decode("utf-8", "replace")
        found.append(Picture(name, int(example["label"]), thumbnail(example["encoded"])))
        may_go_on()
    return found


def thumbnail(encoded: bytes) -> str:
    """A small JPEG of an image file as a data URI, whole and upright; "" of what is no image."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(encoded)) as image:
            warnings.simplefilter("ignore")  # of sizes, and of metadata that nobody reads
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
        return example["id"], tf.strings.to_hash_bucket_fast(example["encoded"], 2**63 - 1)

    mapped = examples.map(as_written(identity)).batch(256)
    ids: list[str] = []
    prints = [np.zeros(0, np.int64)]
    for names, hashes in untuned(mapped.prefetch(2)).as_numpy_iterator():
        ids += [name.decode("utf-8", "replace") for name in names]
        prints.append(hashes)
        may_go_on()
    return ids, np.concatenate(prints)


def _examples_at(source: Source, split: str, places: Sequence[int]) -> tf.data.Dataset:
    """The examples at `places`, in that order."""
    num_examples = source.num_examples(split)
    num_shards = min(num_examples, _MAX_SHARDS)
    # The inverse of shard_bounds.
    shards = [((place + 1) * num_shards - 1) // num_examples for place in places]
    skips = [
        place - shard * num_examples // num_shards
        for place, shard in zip(places, shards, strict=True)
    ]

    @as_written
    def one(shard: tf.Tensor, skip: tf.Tensor) -> tf.data.Dataset:
        return source.examples(split, shard, num_shards, shuffle=False).skip(skip).take(1)

    where = (np.array(shards, np.int64), np.array(skips, np.int64))
    return untuned(tf.data.Dataset.from_tensor_slices(where).flat_map(one))
