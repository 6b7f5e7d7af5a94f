"""Features on disk or in a bucket, in shards that are committed and verified one by one.

    <directory>/part-00003-of-00008.json      the manifest, which commits the shard
    <directory>/part-00003-of-00008.<8 hex>   its data: float32 rows, little-endian

A data file's name ends in its checksum, so several processes may write the same shard at once:
equal content has one name, and a manifest never names another's data. A manifest names its shard
and directory, and has a checksum of its own, which protects the labels.

`storage.artifacts` does not fit, except for its manifests: several workers write one directory, and
a bucket neither moves directories nor locks them.

A process that is killed between the two writes leaves data that no manifest names, and so does a
shard that is recomputed with other content. `prepare` removes them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from trainer.storage import api as storage
from trainer.storage.manifest import Manifest, crc32c, parse

_FACTS = "facts.json"
_DATA = re.compile(r"(part-\d+-of-\d+)\.[0-9a-f]{8}")
# Prefixes of files that are renamed when complete, and of write probes in a bucket.
_TEMPORARY = (".partial-", ".preflight-")

# Data without a manifest are orphans at this age. A writer commits the manifest right after the
# data: retries delay it by minutes, a sleeping laptop by a night. After a longer delay the shard is
# reported as missing and recomputed.
_ABANDONED_SECS = 86_400.0


@dataclasses.dataclass(frozen=True)
class FeatureShard:
    """Features of consecutive examples.

    Attributes:
        features: float32 [n, width]; zeros where the image is broken.
        labels: int64 [n].
        bad_images: id and reason of each broken image, by its index in [0, n).
    """

    features: np.ndarray
    labels: np.ndarray
    bad_images: dict[int, tuple[str, str]]


class FeatureStore:
    """The feature shards of one split under `directory`, local or gs://."""

    def __init__(self, directory: str, num_parts: int) -> None:
        self.directory = directory
        self.num_parts = num_parts

    def prepare(self, facts: Mapping[str, Any], flag: str) -> None:
        """Make the directory, record what its features depend on, and remove orphans.

        Args:
            facts: what the features depend on, in JSON's types.
            flag: the flag that names the directory.

        Raises:
            UserError: it cannot be written to; the message names `flag`, the path and the cause.
        """
        storage.ensure_directory(self.directory, flag)
        storage.write_json(self._path(_FACTS), facts)
        self._sweep()

    def write(self, number: int, shard: FeatureShard) -> None:
        """Commit a shard: its data first, then its manifest.

        Raises:
            UserError: it cannot be written; the message names the path and the bytes it needs.
        """
        content = shard.features.astype("<f4", copy=False).tobytes()
        checksum = crc32c(content)
        data = f"{self._name(number)}.{checksum}"
        storage.write_atomically(self._path(data), content)
        facts = {
            "part": self._identity(number),
            "shape": list(shard.features.shape),
            "labels": shard.labels.tolist(),
            "bad_images": [[index, *bad] for index, bad in sorted(shard.bad_images.items())],
        }
        manifest = Manifest({data: {"size": len(content), "crc32c": checksum}}, facts)
        storage.write_atomically(self._path(f"{self._name(number)}.json"), manifest.to_bytes())

    def read(self, number: int, rows: int, width: int) -> tuple[FeatureShard | None, str]:
        """Return a shard of that shape; or None and the problem, "" where it was never written.

        The features are a read-only view of the file's bytes.
        """
        manifest, problem = self._valid_manifest(number, rows, width)
        return (None, problem) if manifest is None else self._read_data(manifest)

    def data_path(self, number: int) -> str:
        """Return the path of the data of a shard that `read` has verified."""
        (data,) = self._data(self._name(number))
        return self._path(data)

    def _valid_manifest(self, number: int, rows: int, width: int) -> tuple[Manifest | None, str]:
        """Return the manifest of a shard; or None and the problem, as `read`."""
        name = self._path(f"{self._name(number)}.json")
        try:
            manifest = parse(storage.read_bytes(name))
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            return None, f"{name}: incomplete ({error})"
        if manifest is None:
            return None, f"{name}: incomplete"
        facts = manifest.facts
        if facts.get("part") != self._identity(number):
            return None, f"{name}: belongs to {facts.get('part')}"
        if facts["shape"] != [rows, width] or len(facts["labels"]) != rows:
            return None, f"{name}: holds {facts['shape']} features instead of {[rows, width]}"
        return manifest, ""

    def _read_data(self, manifest: Manifest) -> tuple[FeatureShard | None, str]:
        """Read the shard of a valid manifest; or return None and what is wrong with its data."""
        facts, ((name, file),) = manifest.facts, manifest.files.items()
        path = self._path(name)
        try:
            content = storage.read_bytes(path)
        except OSError as error:
            return None, f"{path}: {error.strerror}"
        if (len(content), crc32c(content)) != (file["size"], file["crc32c"]):
            return None, f"{path}: checksum mismatch"
        features = np.frombuffer(content, "<f4").reshape(facts["shape"])
        labels = np.array(facts["labels"], np.int64)
        bad_images = {index: (i, reason) for index, i, reason in facts["bad_images"]}
        return FeatureShard(features, labels, bad_images), ""

    def _sweep(self) -> None:
        """Remove the orphans: old files that no manifest names.

        All times are the storage's, that of now, too: the facts were written just before. `write`
        writes the data even where they exist: what it commits is new, and another version than the
        one that is removed here.
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
                with contextlib.suppress(OSError):
                    named = self._data(part)  # empty where the manifest is corrupt
                    unnamed += set(names) - named if named else ()
            # A single data file is the manifest's, or its shard is corrupt and recomputed soon:
            # reading all manifests of a bucket would cost a request for each shard.
        for name in unnamed:
            written, version = versions[name]
            if now - written > _ABANDONED_SECS:
                storage.remove_version(self._path(name), version)

    def _data(self, part: str) -> set[str]:
        """Return the names of the data in the manifest of a shard."""
        manifest = parse(storage.read_bytes(self._path(f"{part}.json")))
        return {*manifest.files} if manifest else set()

    def _identity(self, number: int) -> str:
        return f"{os.path.basename(self.directory)}/{self._name(number)}"

    def _name(self, number: int) -> str:
        return f"part-{number:05d}-of-{self.num_parts:05d}"

    def _path(self, name: str) -> str:
        return storage.join(self.directory, name)
