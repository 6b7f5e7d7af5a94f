"""Event files on their way to a bucket: written locally, uploaded whole every few seconds."""

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
    """The upload to `directory`; None where it is local, or another worker's to write."""
    if not (writes and is_remote(directory)):
        return None
    return EventUpload(directory, upload_queue, every_secs, time.monotonic)


class EventUpload:
    """Uploads what grows below `scratch`, a local directory, to `directory`.

    Args:
        directory: gs://, the `logs` of the workdir.
        upload_queue: does it, in order with the checkpoints: what a checkpoint has seen is there
            before it.
        every_secs: between two uploads; an object takes about one write a second.
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
        self._uploader = upload_queue
        self._every_secs = every_secs
        self._clock = clock
        self._last = clock()
        self._last_steps: dict[str, int] = {}
        self._sent: dict[str, int] = {}  # bytes by relative path
        self._full: list[str] = []

    def wrote(self, name: str, step: int) -> None:
        """Note that the curve `name` now goes to `step`."""
        self._last_steps[name] = step

    def is_due(self) -> bool:
        """Whether the next upload should be now."""
        return self._clock() - self._last >= self._every_secs

    def send(self) -> list[str]:
        """Upload every file that has grown; the curves that should go on in a new file.

        The files' contents are read now: what is uploaded ends with a whole record.
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
        """Upload `content` to `path`, after all that was submitted before."""
        self._uploader.submit(lambda: write_atomically(path, content, metadata))

    def discard(self) -> None:
        """Remove the local files."""
        shutil.rmtree(self.scratch, ignore_errors=True)
