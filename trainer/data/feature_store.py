"""Features on disk or in a bucket: in parts, each committed on its own and verified when read.

    <directory>/part-00003-of-00008.json      the manifest: what makes the part exist
    <directory>/part-00003-of-00008.<8 hex>   its data: float32 rows, little-endian

A data file's name ends in the checksum of what it holds, so several processes may write the same
part at once: equal content has one name, and a manifest never names another's data. A manifest says
which part of which directory it is, and has a checksum of its own: labels are as dear as rows.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import numpy as np

from trainer import storage
from trainer.manifest import crc32c


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
        checksum = crc32c(content)
        data = f"{self._name(number)}.{checksum}"
        storage.write_atomically(self._path(data), content)
        manifest = {
            "part": self._identity(number),
            "data": data,
            "shape": list(part.features.shape),
            "crc32c": checksum,
            "labels": part.labels.tolist(),
            "bad_images": [[place, *what] for place, what in sorted(part.bad_images.items())],
        }
        whole = {"manifest": manifest, "crc32c": crc32c(_json(manifest))}
        storage.write_atomically(self._path(f"{self._name(number)}.json"), _json(whole))

    def read(self, number: int, rows: int, width: int) -> tuple[Part | None, str]:
        """A part of that shape; or None and what is wrong with it, "" where it was never written.

        The features are a view of the file's bytes, not to be written to.
        """
        name = self._path(f"{self._name(number)}.json")
        try:
            manifest = self._manifest(number)
        except FileNotFoundError:
            return None, ""
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            return None, f"{name}: not whole ({error})"
        if manifest["part"] != self._identity(number):
            return None, f"{name}: belongs to {manifest['part']}"
        if manifest["shape"] != [rows, width] or len(manifest["labels"]) != rows:
            return None, f"{name}: holds {manifest['shape']} features instead of {[rows, width]}"
        path = self._path(manifest["data"])
        try:
            content = storage.read_bytes(path)
        except OSError as error:
            return None, f"{path}: {error.strerror}"
        if len(content) != 4 * rows * width or crc32c(content) != manifest["crc32c"]:
            return None, f"{path}: its checksum does not match"
        features = np.frombuffer(content, "<f4").reshape(rows, width)
        labels = np.array(manifest["labels"], np.int64)
        return Part(features, labels, {row: (i, why) for row, i, why in manifest["bad_images"]}), ""

    def data_path(self, number: int) -> str:
        """Where the data of a part lie that `read` has found sound."""
        return self._path(self._manifest(number)["data"])

    def _manifest(self, number: int) -> dict[str, Any]:
        whole = json.loads(storage.read_bytes(self._path(f"{self._name(number)}.json")))
        manifest = whole["manifest"]
        if crc32c(_json(manifest)) != whole["crc32c"]:
            raise ValueError("its checksum does not match")
        return manifest

    def _identity(self, number: int) -> str:
        return f"{os.path.basename(self.directory)}/{self._name(number)}"

    def _name(self, number: int) -> str:
        return f"part-{number:05d}-of-{self.num_parts:05d}"

    def _path(self, name: str) -> str:
        return storage.join(self.directory, name)


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
