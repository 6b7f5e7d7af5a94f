"""Scan every image of a split once: its header, whether it is complete, and a digest.

Pillow reads the headers of many files at a time. Odd or truncated files are passed to the decoder
that training uses, which alone decides what is broken.
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
_THREADS_PER_CORE = 2  # one waits for the disk


class ImageFacts(NamedTuple):
    """Facts about one image.

    Attributes:
        id: given by the source.
        path: its file; "" if a file holds many images.
        label: index of its class.
        digest: 16 bytes of its file's content; b"" if it could not be read.
        width: in pixels, by its header, as is height; 0 if it is broken.
        height: see width.
        problem: why training cannot use it; "" if it can.
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
    """Scan every image of `split`, in its order.

    Args:
        source: of the data.
        split: one of the source's.
        progress: called with the number of images scanned so far.
    """
    found: list[ImageFacts] = []
    threads = _THREADS_PER_CORE * machine.num_cores()
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        # MAX_PIXELS decides what is too large, and odd EXIF does not matter.
        warnings.simplefilter("ignore")
        waiting: collections.deque[Future[list[ImageFacts]]] = collections.deque()
        for scan_chunk in _chunks(source, split):
            waiting.append(pool.submit(scan_chunk))
            # Bounded: the images of a data set do not fit into memory.
            if len(waiting) > 2 * threads:
                found += waiting.popleft().result()
                progress(len(found))
        while waiting:
            found += waiting.popleft().result()
            progress(len(found))
    return found


def _chunks(source: Source, split: str) -> Iterator[Callable[[], list[ImageFacts]]]:
    """Yield functions, each of which scans the next _CHUNK images."""
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
    """Return why training cannot use an image file; "" if it can. Pillow may warn."""
    return _problem(encoded, _size(encoded)[0])


def _problem(encoded: bytes, width: int) -> str:
    return _decoding_error(encoded) if not width or not _is_complete(encoded) else ""


def _size(encoded: bytes) -> tuple[int, int]:
    """Return width and height by the header; 0, 0 if it is corrupt or too large."""
    try:
        with Image.open(io.BytesIO(encoded), formats=_FORMATS) as image:
            width, height = image.size
    # For a corrupt header Pillow raises anything, SyntaxError for one.
    except Exception:
        return 0, 0
    return (width, height) if 0 < width * height <= MAX_PIXELS else (0, 0)


def _is_complete(encoded: bytes) -> bool:
    """Return whether the file ends as its format must."""
    if encoded.startswith(b"\xff\xd8"):
        return encoded.endswith(b"\xff\xd9")
    if encoded.startswith(b"\x89PNG"):
        return encoded[-8:-4] == b"IEND"
    if encoded.startswith(b"GIF8"):
        return encoded.endswith(b";")
    if encoded.startswith(b"RIFF"):
        return int.from_bytes(encoded[4:8], "little") + 8 <= len(encoded)
    return int.from_bytes(encoded[2:6], "little") <= len(encoded)  # BMP


def _decoding_error(encoded: bytes) -> str:
    """Return the error of the decoder that training uses; "" if it decodes the image."""
    try:
        decode_and_resize(tf.constant(encoded), (32, 32))
    except tf.errors.OpError as error:
        return reason(error)
    return ""
