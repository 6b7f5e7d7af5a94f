"""Features on disk or in a bucket: in parts, each committed on its own and verified when read.

    <directory>/part-00003-of-00008.json      the manifest: what makes the part exist
    <directory>/part-00003-of-00008.<8 hex>   its data: float32 rows, little-endian

A data file's name ends in the checksum of what it holds, so several processes may write the same
part at once: equal content has one name, and a manifest never names another's data. A manifest says
which part of which directory it is, and has a checksum of its own: labels are as dear as rows.

A process that is killed between the two leaves data that no manifest names, and so does a part that
is computed anew with other content. `prepare` sweeps them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from trainer.storage import api as storage
from trainer.storage.manifest import crc32c

_FACTS = "facts.json"
_DATA = re.compile(r"(part-\d+-of-\d+)\.[0-9a-f]{8}")
# Of a file that is renamed when it is whole, and of a bucket that is asked what it allows.
_TEMPORARY = (".partial-", ".preflight-")

# So old, what no manifest names is nobody's. Whoever writes data names them in a manifest at once:
# a bucket's patience makes minutes of that, a laptop that sleeps makes a night. Longer than a day
# may happen, too, and does no harm: a manifest whose data are gone is said and computed anew.
_ABANDONED_SECS = 86_400.0


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

    def prepare(self, facts: Mapping[str, Any], flag: str) -> None:
        """Before parts are written: make the directory, say what it is of, sweep what is abandoned.

        Args:
            facts: what the features depend on, in JSON's types.
            flag: that names the directory.

        Raises:
            UserError: it cannot be written to; the message names `flag`, the path and the cause.
        """
        storage.ensure_directory(self.directory, flag)
        storage.write_json(self._path(_FACTS), facts)
        self._sweep()

    def write(self, number: int, part: Part) -> None:
        """Commit a part: its data first, then its manifest.

        Raises:
            UserError: it cannot be written; the message names the path and the bytes it needs.
        """
        content = part.features.astype("<f4", copy=False).tobytes()
        checksum = crc32c(content)
        data = f"{self._name(number)}.{checksum}"
        storage.write_atomically(self._path(data), content)
        manifest = {
            "part": self._identity(number),
            "data": data,
            "shape": list(part.features.shape),
            "crc32c": checksum,
            "labels": part.labels.tolist(),
            "bad_images": [[index, *what] for index, what in sorted(part.bad_images.items())],
        }
        whole = {"manifest": manifest, "crc32c": crc32c(_json(manifest))}
        storage.write_atomically(self._path(f"{self._name(number)}.json"), _json(whole))

    def read(self, number: int, rows: int, width: int) -> tuple[Part | None, str]:
        """A part of that shape; or None and what is wrong with it, "" where it was never written.

        The features are a view of the file's bytes, not to be written to.
        """
        manifest, problem = self._sound_manifest(number, rows, width)
        return (None, problem) if manifest is None else self._named(manifest)

    def data_path(self, number: int) -> str:
        """Where the data of a part lie that `read` has found sound."""
        return self._path(self._manifest(self._name(number))["data"])

    def _sound_manifest(
        self, number: int, rows: int, width: int
    ) -> tuple[dict[str, Any] | None, str]:
        """As `read`, of the manifest alone."""
        name = self._path(f"{self._name(number)}.json")
        try:
            manifest = self._manifest(self._name(number))
        except FileNotFoundError:
            return None, ""
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            return None, f"{name}: not whole ({error})"
        if manifest["part"] != self._identity(number):
            return None, f"{name}: belongs to {manifest['part']}"
        if manifest["shape"] != [rows, width] or len(manifest["labels"]) != rows:
            return None, f"{name}: holds {manifest['shape']} features instead of {[rows, width]}"
        return manifest, ""

    def _named(self, manifest: dict[str, Any]) -> tuple[Part | None, str]:
        """The part of a sound manifest; or None and what is wrong with its data."""
        rows, width = manifest["shape"]
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

    def _sweep(self) -> None:
        """Remove what no manifest names and nobody can be about to commit.

        All times are the store's, that of now too: the facts were written just before. `write`
        begins with the data even if they are there, so that what it takes up again is new, and
        another version than the one that is removed here.
        """
        versions = storage.list_versions(self.directory)
        now, _ = versions.get(_FACTS, (0.0, 0))
        unnamed = [name for name in versions if name.startswith(_TEMPORARY)]
        data: dict[str, list[str]] = {}
        for name in versions:
            if match := _DATA.fullmatch(name):
                data.setdefault(match[1], []).append(name)
        for part, names in data.items():
            if f"{part}.json" not in versions:
                unnamed += names
            elif len(names) > 1:
                unnamed += set(names) - self._in_use(part, names)
            # One alone is what the manifest names, or the part is damaged and has another soon:
            # to read all manifests of a bucket would cost a request for each part.
        for name in unnamed:
            written, version = versions[name]
            if now - written > _ABANDONED_SECS:
                storage.remove_version(self._path(name), version)

    def _in_use(self, part: str, names: Iterable[str]) -> set[str]:
        """Which of `names` a manifest may mean; all where it cannot be read."""
        try:
            return {self._manifest(part)["data"]}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return set(names)

    def _manifest(self, part: str) -> dict[str, Any]:
        whole = json.loads(storage.read_bytes(self._path(f"{part}.json")))
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
