"""Features on disk or in a bucket: in parts, each committed on its own and verified when read.

    <directory>/part-00003-of-00008.json      the manifest: what makes the part exist
    <directory>/part-00003-of-00008.<8 hex>   its data: float32 rows, little-endian

A data file's name ends in the checksum of what it holds, so several processes may write the same
part at once: equal content has one name, and a manifest never names another's data.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import google_crc32c
import numpy as np

from trainer import storage


@dataclasses.dataclass(frozen=True)
class Part:
    """Some examples in a row.

    Attributes:
        features: float32 [n, width]; zeros where the image is bad.
        labels: int64 [n].
        bad_images: for each place of a bad image in [0, n): its id and what is wrong with it.
    """

    features: np.ndarray
    labels: np.ndarray
    bad_images: dict[int, tuple[str, str]]


class FeatureStore:
    """The parts of one split under `directory`, local or gs://; all are of one `width`."""

    def __init__(self, directory: str, num_parts: int) -> None:
        self.directory = directory
        self.num_parts = num_parts

    def write(self, number: int, part: Part) -> None:
        """Commit a part: its data first, then its manifest.

        Raises:
            UserError: it cannot be written; the message names the path and the bytes it needs.
        """
        content = part.features.astype("<f4").tobytes()
        checksum = f"{google_crc32c.value(content):08x}"
        data = f"{self._name(number)}.{checksum}"
        storage.write_atomically(self._path(data), content)
        manifest = {
            "data": data,
            "shape": list(part.features.shape),
            "crc32c": checksum,
            "labels": part.labels.tolist(),
            "bad_images": [[place, *what] for place, what in sorted(part.bad_images.items())],
        }
        storage.write_atomically(self._path(f"{self._name(number)}.json"), _json(manifest))

    def read(self, number: int) -> tuple[Part | None, str]:
        """A part, or None and what is wrong with it in words, "" where it was never written."""
        name = self._path(f"{self._name(number)}.json")
        try:
            manifest = json.loads(storage.read_bytes(name))
        except FileNotFoundError:
            return None, ""
        except (OSError, ValueError) as error:
            return None, f"{name}: {error}"
        try:
            path = self._path(manifest["data"])
            content = storage.read_bytes(path)
            if f"{google_crc32c.value(content):08x}" != manifest["crc32c"]:
                return None, f"{path}: its checksum does not match"
            rows, width = manifest["shape"]
            features = np.frombuffer(content, "<f4").reshape(rows, width)
            labels = np.array(manifest["labels"], np.int64)
            bad = {int(place): (str(i), str(why)) for place, i, why in manifest["bad_images"]}
            if labels.shape != (rows,):
                return None, f"{name}: {rows} rows and {len(labels)} labels"
        except (OSError, ValueError, KeyError, TypeError) as error:
            return None, f"{name}: {error!r}"
        return Part(features, labels, bad), ""

    def data_path(self, number: int) -> str:
        """Where the data of a part lie that `read` has found sound."""
        manifest = json.loads(storage.read_bytes(self._path(f"{self._name(number)}.json")))
        return self._path(manifest["data"])

    def _name(self, number: int) -> str:
        return f"part-{number:05d}-of-{self.num_parts:05d}"

    def _path(self, name: str) -> str:
        return f"{self.directory}/{name}"


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
