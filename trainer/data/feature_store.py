"""Features on disk or in a bucket: in parts, each committed on its own and verified when read.

    <directory>/part-00003-of-00008.json      the manifest: what makes the part exist
    <directory>/part-00003-of-00008.<8 hex>   its data: float32 rows, little-endian

A data file's name ends in the checksum of what it holds, so several processes may write the same
part at once: equal content has one name, and a manifest never names another's data. A manifest says
which part of which directory it is, and has a checksum of its own: labels are as dear as rows.

Not an artifact of `storage.artifacts` but for its manifests: several workers share the parts, and a
bucket neither moves directories nor locks them.

A process that is killed between the two leaves data that no manifest names, and so does a part that
is computed anew with other content. `prepare` sweeps them.
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
        facts = {
            "part": self._identity(number),
            "shape": list(part.features.shape),
            "labels": part.labels.tolist(),
            "bad_images": [[index, *what] for index, what in sorted(part.bad_images.items())],
        }
        manifest = Manifest({data: {"size": len(content), "crc32c": checksum}}, facts)
        storage.write_atomically(self._path(f"{self._name(number)}.json"), manifest.to_bytes())

    def read(self, number: int, rows: int, width: int) -> tuple[Part | None, str]:
        """A part of that shape; or None and what is wrong with it, "" where it was never written.

        The features are a view of the file's bytes, not to be written to.
        """
        manifest, problem = self._sound_manifest(number, rows, width)
        return (None, problem) if manifest is None else self._named(manifest)

    def data_path(self, number: int) -> str:
        """Where the data of a part lie that `read` has found sound."""
        (data,) = self._data(self._name(number))
        return self._path(data)

    def _sound_manifest(self, number: int, rows: int, width: int) -> tuple[Manifest | None, str]:
        """As `read`, of the manifest alone."""
        name = self._path(f"{self._name(number)}.json")
        try:
            manifest = parse(storage.read_bytes(name))
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            return None, f"{name}: not whole ({error})"
        if manifest is None:
            return None, f"{name}: not whole"
        facts = manifest.facts
        if facts.get("part") != self._identity(number):
            return None, f"{name}: belongs to {facts.get('part')}"
        if facts["shape"] != [rows, width] or len(facts["labels"]) != rows:
            return None, f"{name}: holds {facts['shape']} features instead of {[rows, width]}"
        return manifest, ""

    def _named(self, manifest: Manifest) -> tuple[Part | None, str]:
        """The part of a sound manifest; or None and what is wrong with its data."""
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
        return Part(features, labels, {row: (i, why) for row, i, why in facts["bad_images"]}), ""

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
                with contextlib.suppress(OSError):
                    named = self._data(part)  # none, where a damaged manifest may mean any
                    unnamed += set(names) - named if named else ()
            # One alone is what the manifest names, or the part is damaged and has another soon:
            # to read all manifests of a bucket would cost a request for each part.
        for name in unnamed:
            written, version = versions[name]
            if now - written > _ABANDONED_SECS:
                storage.remove_version(self._path(name), version)

    def _data(self, part: str) -> set[str]:
        """The names of the data that the manifest of a part names."""
        manifest = parse(storage.read_bytes(self._path(f"{part}.json")))
        return {*manifest.files} if manifest else set()

    def _identity(self, number: int) -> str:
        return f"{os.path.basename(self.directory)}/{self._name(number)}"

    def _name(self, number: int) -> str:
        return f"part-{number:05d}-of-{self.num_parts:05d}"

    def _path(self, name: str) -> str:
        return storage.join(self.directory, name)
