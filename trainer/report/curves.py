"""The curves of a run, read back from its TensorBoard event files; without TensorFlow.

The format of the files: https://www.tensorflow.org/tutorials/load_data/tfrecord
#tfrecords_format_details, with a `tensorboard.Event` in each record.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import google_crc32c

from trainer.storage import api as storage

# By curve, "train" or "eval", and tag: points (step, value), in the order of the steps.
Curves = dict[str, dict[str, list[tuple[int, float]]]]

NAMES = ("train", "eval")
_FRAME = 16  # bytes of a record beside its own: the length, two checksums
_MAX_POINTS = 600  # of a curve on the page: more than a screen has columns for


def read(logs: str) -> tuple[Curves, str]:
    """The scalars under `logs`, local or gs://; and what was left out, "" where all was read."""
    found: Curves = {}
    dropped = []
    for name in NAMES:
        directory = storage.join(logs, name)
        points: dict[str, dict[int, float]] = {}
        for file in storage.list_names(directory):
            if "tfevents" not in file:
                continue
            try:
                content = storage.read_bytes(storage.join(directory, file))
            except OSError as error:
                dropped.append(f"{name}/{file} ({error.strerror or error})")
                continue
            of_file, num_sound = scalars(content)
            if num_sound < len(content):
                dropped.append(
                    f"{name}/{file} from byte {num_sound:,} of {len(content):,} on (damaged)"
                )
            for tag, step, value in of_file:
                points.setdefault(tag, {})[step] = value
        found[name] = {tag: sorted(of_tag.items()) for tag, of_tag in sorted(points.items())}
    return found, f"Left out: {'; '.join(dropped)}." if dropped else ""


def scalars(content: bytes) -> tuple[list[tuple[str, int, float]], int]:
    """An event file's scalars, (tag, step, value), and how many of its bytes are sound.

    What comes after the first record that is damaged is lost: nothing says where the next begins.
    """
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto import event_pb2

    found = []
    num_sound = 0
    for record in _records(content):
        try:
            event = event_pb2.Event.FromString(record)
        except DecodeError:
            break
        for value in event.summary.value:
            number = _scalar(value)
            if number is not None:
                found.append((value.tag, event.step, number))
        num_sound += len(record) + _FRAME
    return found, num_sound


def thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """At most _MAX_POINTS of them, evenly, with the first and the last."""
    if len(points) <= _MAX_POINTS:
        return points
    last = len(points) - 1
    return [points[round(i * last / (_MAX_POINTS - 1))] for i in range(_MAX_POINTS)]


def _scalar(value: object) -> float | None:
    kind = value.WhichOneof("value")  # type: ignore[attr-defined]
    if kind == "simple_value":
        return float(value.simple_value)  # type: ignore[attr-defined]
    if kind != "tensor":
        return None
    tensor = value.tensor  # type: ignore[attr-defined]
    if tensor.tensor_shape.dim:
        return None
    if tensor.float_val:
        return float(tensor.float_val[0])
    if tensor.dtype == 1 and len(tensor.tensor_content) == 4:  # DT_FLOAT, packed
        return float(struct.unpack("<f", tensor.tensor_content)[0])
    return None


def _records(content: bytes) -> Iterator[bytes]:
    """The records up to the first that is damaged, or cut short."""
    at = 0
    while at + 12 <= len(content):
        (length,) = struct.unpack_from("<Q", content, at)
        if at + length + _FRAME > len(content) or not _is_sound(content, at, 8):
            return
        if not _is_sound(content, at + 12, length):
            return
        yield content[at + 12 : at + 12 + length]
        at += length + _FRAME


def _is_sound(content: bytes, at: int, length: int) -> bool:
    """Whether the masked checksum behind `length` bytes is theirs."""
    checksum = google_crc32c.value(content[at : at + length])
    masked = ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF
    return struct.unpack_from("<I", content, at + length)[0] == masked
