"""Upload event files, which are written locally, to a bucket every few seconds."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping

from trainer.storage.api import is_remote, join, write_atomically
from trainer.storage.upload_queue import UploadQueue

ROTATE_BYTES = 128 << 10


def open_upload(
    directory: str, upload_queue: UploadQueue, every_secs: float, writes: bool
) -> EventUpload | None:
    """Return the upload to `directory`; None if it is local or another worker writes it."""
    if not (writes and is_remote(directory)):
        return None
    return EventUpload(directory, upload_queue, every_secs, time.monotonic)


class EventUpload:
    """Uploads the files that grow below `scratch`, a local directory, to `directory`.

    Args:
        directory: gs://, the `logs` of the workdir.
        upload_queue: uploads in order with the checkpoints: the points before a checkpoint are
            there before it.
        every_secs: seconds between uploads; an object accepts about one write a second.
        clock: seconds since some fixed time.
    """

    def __init__(
        self,
        directory: str,
        upload_queue: UploadQueue,
        every_secs: float,
        clock: Callable[[], float],
    ) -> None:
        self.scratch = tempfile.mkdtemp(prefix="graft-logs-")
        self._directory = directory
        self._upload_queue = upload_queue
        self._every_secs = every_secs
        self._clock = clock
        self._last = clock()
        self._last_steps: dict[str, int] = {}
        self._sent: dict[str, int] = {}  # bytes by relative path
        self._full: list[str] = []

    def wrote(self, name: str, step: int) -> None:
        """Note that the curve `name` has points up to `step`."""
        self._last_steps[name] = step

    def is_due(self) -> bool:
        """Return whether the next upload is due."""
        return self._clock() - self._last >= self._every_secs

    def send(self) -> list[str]:
        """Upload every file that has grown; return the curves that need a new file.

        The files are read now, so an upload ends with a complete record.
        """
        self._last = self._clock()
        for relative in self._full:  # closed since
            os.remove(os.path.join(self.scratch, relative))
        self._full = []
        curves = []
        for name, last_step in self._last_steps.items():
            for file in sorted(os.listdir(os.path.join(self.scratch, name))):
                relative = f"{name}/{file}"
                with open(os.path.join(self.scratch, relative), "rb") as stream:
                    content = stream.read()
                if len(content) == self._sent.get(relative):
                    continue
                self._sent[relative] = len(content)
                metadata = {"last_step": str(last_step)}
                self.submit(join(self._directory, relative), content, metadata)
                if len(content) >= ROTATE_BYTES:
                    self._full.append(relative)
                    curves.append(name)
        return curves

    def submit(self, path: str, content: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Upload `content` to `path`, after everything submitted before."""
        self._upload_queue.submit(lambda: write_atomically(path, content, metadata))

    def discard(self) -> None:
        """Remove the local files."""
        shutil.rmtree(self.scratch, ignore_errors=True)
