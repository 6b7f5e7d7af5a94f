"""Features in a bucket that do not fit into memory: read from local copies of their parts.

The bucket's manifests count. A copy is a part like any other, in a cache directory like any other:
it is used where its manifest is the bucket's and its data have the checksum in it.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.data.feature_store import FeatureStore, Part
from trainer.process.errors import UserError
from trainer.process.file_lock import locked
from trainer.storage import api as storage


class MirroredStore(FeatureStore):
    """A FeatureStore whose data also lie on this machine.

    Args:
        directory: gs://.
        num_parts: as FeatureStore's.
        copies: a local directory; the copies get a directory in it of the same name.
    """

    def __init__(self, directory: str, num_parts: int, copies: str) -> None:
        super().__init__(directory, num_parts)
        local = storage.join(copies, os.path.basename(directory))
        self._copies = FeatureStore(local, num_parts)

    def prepare_copies(self, facts: Mapping[str, Any], num_bytes: int) -> None:
        """As `prepare`, of the directory of the copies, before the first part is read.

        Args:
            facts: as prepare's.
            num_bytes: of all parts together.

        Raises:
            UserError: there is no room; the message names the path and the bytes it needs.
        """
        path = self._copies.directory
        self._copies.prepare(facts, "cache_dir")
        needed = num_bytes - _bytes_of_data(path)
        free = shutil.disk_usage(path).free
        if needed > free:
            raise UserError(
                f"{path}: {needed:,} bytes are needed for copies of {self.directory}, which is "
                f"larger than fits into memory, and {free:,} are free; make room, or name another "
                "--cache_dir"
            )

    def write(self, number: int, part: Part) -> None:
        """See FeatureStore: in the bucket, and here."""
        super().write(number, part)
        self._copies.write(number, part)

    def read(self, number: int, rows: int, width: int) -> tuple[Part | None, str]:
        """See FeatureStore: of the copy; the first time, and where it is damaged, of the bucket.

        Raises:
            UserError: there is no room for the copy.
        """
        manifest, problem = self._sound_manifest(number, rows, width)
        if manifest is None:
            return None, problem
        # Of several processes of this machine one downloads.
        with locked(storage.join(self._copies.directory, ".lock")):
            if self._copies._sound_manifest(number, rows, width) == (manifest, ""):
                part, _ = self._copies._named(manifest)
                if part is not None:
                    return part, ""
            part, problem = self._named(manifest)
            if part is not None:
                self._copies.write(number, part)
        return part, problem

    def data_path(self, number: int) -> str:
        """See FeatureStore: of the copy."""
        return self._copies.data_path(number)


def _bytes_of_data(directory: str) -> int:
    num_bytes = 0
    for path in Path(directory).glob("part-*.????????"):
        with contextlib.suppress(FileNotFoundError):  # another run's sweep
            num_bytes += path.stat().st_size
    return num_bytes
