"""Read features in a bucket that do not fit into memory from local copies of their shards.

The bucket's manifests decide. A copy is an ordinary shard in an ordinary cache directory: it is
used where its manifest equals the bucket's and its data have the manifest's checksum.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.data.feature_store import FeatureShard, FeatureStore
from trainer.process.errors import UserError
from trainer.process.file_lock import locked
from trainer.storage import api as storage


class MirroredStore(FeatureStore):
    """A FeatureStore with copies of its data on this machine.

    Args:
        directory: gs://.
        num_parts: see FeatureStore.
        copies: a local directory; the copies are in its subdirectory of the same name.
    """

    def __init__(self, directory: str, num_parts: int, copies: str) -> None:
        super().__init__(directory, num_parts)
        local = storage.join(copies, os.path.basename(directory))
        self._copies = FeatureStore(local, num_parts)

    def prepare_copies(self, facts: Mapping[str, Any], num_bytes: int) -> None:
        """Prepare the directory of the copies, before the first shard is read.

        Args:
            facts: see FeatureStore.prepare.
            num_bytes: of all shards together.

        Raises:
            UserError: the disk is too small; the message names the path and the bytes it needs.
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

    def write(self, number: int, shard: FeatureShard) -> None:
        """Commit a shard in the bucket and as a copy; see FeatureStore."""
        super().write(number, shard)
        self._copies.write(number, shard)

    def read(self, number: int, rows: int, width: int) -> tuple[FeatureShard | None, str]:
        """Read the copy; download it first where it is missing or corrupt. See FeatureStore.

        Raises:
            UserError: the copy does not fit on the disk.
        """
        manifest, problem = self._valid_manifest(number, rows, width)
        if manifest is None:
            return None, problem
        # One of this machine's processes downloads.
        with locked(storage.join(self._copies.directory, ".lock")):
            if self._copies._valid_manifest(number, rows, width) == (manifest, ""):
                shard, _ = self._copies._read_data(manifest)
                if shard is not None:
                    return shard, ""
            shard, problem = self._read_data(manifest)
            if shard is not None:
                self._copies.write(number, shard)
        return shard, problem

    def data_path(self, number: int) -> str:
        """Return the path of the copy's data."""
        return self._copies.data_path(number)


def _bytes_of_data(directory: str) -> int:
    num_bytes = 0
    for path in Path(directory).glob("part-*.????????"):
        with contextlib.suppress(FileNotFoundError):  # another run removes orphans
            num_bytes += path.stat().st_size
    return num_bytes
