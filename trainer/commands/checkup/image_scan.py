"""Every image of a split, looked at once: its header, whether it is whole, and what it is equal to.

Headers are read by Pillow, many files at a time. Whatever looks odd there, or ends too early, is
given to the decoder that training uses: that one alone says what is broken.
"""

from __future__ import annotations

import collections
import functools
import hashlib
import io
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import tensorflow as tf
from PIL import Image

from trainer.data.decode.decode_image import MAX_PIXELS, decode_and_resize
from trainer.data.sources.listed_source import ListedSource, read_file
from trainer.data.sources.source import Source
from trainer.graph.errors import reason
from trainer.process import machine

_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
_CHUNK = 64
_THREADS_PER_CORE = 2  # while one waits for the disk


class ImageFacts(NamedTuple):
    """What is known of one image.

    Attributes:
        id: as the source names it.
        path: its file; "" where it is in a file of many.
        label: index of its class.
        digest: 16 bytes that name its file's content; b"" where it could not be read.
        width: in pixels, as its header says, as is height; 0 where it is broken.
        height: see width.
        problem: why training cannot use it; "" where it can.
        is_missing: whether the file itself cannot be read.
    """

    id: str
    path: str
    label: int
    digest: bytes
    width: int = 0
    height: int = 0
    problem: str = ""
    is_missing: bool = False


def scan(source: Source, split: str, progress: Callable[[int], None]) -> list[ImageFacts]:
    """A look at every image of `split`, in its order.

    Args:
        source: of the data.
        split: one of the source's.
        progress: called with the number of images that were looked at so far.
    """
    found: list[ImageFacts] = []
    threads = _THREADS_PER_CORE * machine.num_cores()
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        # A giant is judged by our own rule, and odd EXIF is none of our business.
        warnings.simplefilter("ignore")
        waiting: collections.deque[Future[list[ImageFacts]]] = collections.deque()
        for look in _chunks(source, split):
            waiting.append(pool.submit(look))
            # Never many at once: the images of a whole data set do not fit into memory.
            if len(waiting) > 2 * threads:
                found += waiting.popleft().result()
                progress(len(found))
        while waiting:
            found += waiting.popleft().result()
            progress(len(found))
    return found


def _chunks(source: Source, split: str) -> Iterator[Callable[[], list[ImageFacts]]]:
    """What looks at the next _CHUNK images, again and again."""
    if isinstance(source, ListedSource):
        listing = source.listing(split)
        rows = zip(listing.paths, listing.labels, listing.ids, strict=True)
        while chunk := list(itertools.islice(rows, _CHUNK)):
            yield functools.partial(_of_files, chunk)
    else:
        for batch in source.examples(split, 0, 1, shuffle=False).batch(_CHUNK).prefetch(2):
            yield functools.partial(_of_records, batch)


def _of_files(rows: Iterable[tuple[str, int, str]]) -> list[ImageFacts]:
    return [_of_file(*row) for row in rows]


def _of_records(batch: dict[str, tf.Tensor]) -> list[ImageFacts]:
    columns = (batch[key].numpy().tolist() for key in ("encoded", "label", "id"))
    return [
        _of_bytes(encoded, label, name.decode("utf-8", "replace"), "")
        for encoded, label, name in zip(*columns, strict=True)
    ]


def _of_file(path: str, label: int, example_id: str) -> ImageFacts:
    try:
        encoded = read_file(path)
    except (OSError, tf.errors.OpError) as error:
        why = error.strerror if isinstance(error, OSError) else reason(error)
        return ImageFacts(example_id, path, label, b"", problem=str(why or error), is_missing=True)
    return _of_bytes(encoded, label, example_id, path)


def _of_bytes(encoded: bytes, label: int, example_id: str, path: str) -> ImageFacts:
    digest = hashlib.blake2b(encoded, digest_size=16).digest()
    width, height = _size(encoded)
    if why := _problem(encoded, width):
        return ImageFacts(example_id, path, label, digest, problem=why)
    return ImageFacts(example_id, path, label, digest, width, height)


def problem(encoded: bytes) -> str:
    """Why training cannot use an image file; "" where it can. Pillow may warn besides."""
    return _problem(encoded, _size(encoded)[0])


def _problem(encoded: bytes, width: int) -> str:
    return _verdict(encoded) if not width or not _is_whole(encoded) else ""


def _size(encoded: bytes) -> tuple[int, int]:
    """Width and height by the header; 0, 0 where it is odd."""
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            width, height = image.size
    # Of a damaged header Pillow raises anything, SyntaxError for one.
    except Exception:
        return 0, 0
    return (width, height) if 0 < width * height <= MAX_PIXELS else (0, 0)


def _is_whole(encoded: bytes) -> bool:
    """Whether the file ends as its format ends."""
    if encoded.startswith(b"\xff\xd8"):
        return encoded.endswith(b"\xff\xd9")
    if encoded.startswith(b"\x89PNG"):
        return encoded[-8:-4] == b"IEND"
    if encoded.startswith(b"GIF8"):
        return encoded.endswith(b";")
    if encoded.startswith(b"RIFF"):
        return int.from_bytes(encoded[4:8], "little") + 8 <= len(encoded)
    return int.from_bytes(encoded[2:6], "little") <= len(encoded)  # BMP


def _verdict(encoded: bytes) -> str:
    """What the training's decoder says; "" if it has nothing against the image."""
    try:
        decode_and_resize(tf.constant(encoded), (32, 32))
    except tf.errors.OpError as error:
        return reason(error)
    return ""
