"""Checkpoints of a run: weights, optimizer slots and RunState, published atomically."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.process.errors import UserError
from trainer.settings import identity as identities
from trainer.storage import api as storage
from trainer.storage.upload_queue import UploadQueue
from trainer.workdir import checkpoint_list
from trainer.workdir.state import RunState

_PREFIX = "variables"


class Checkpoints:
    """Saves and restores variables and a RunState under `directory`.

    Args:
        directory: `checkpoints` of the workdir; one directory a checkpoint, named by its step.
        trackable: TensorFlow's objects to save; all of their variables must exist.
        identity: what a resumed run must share with the run that saved; see Config.identity.
        keep: how many of the newest to keep, besides the best.
        warn: called with a message about each corrupt checkpoint that is skipped.
        upload_queue: publishes in the background; None publishes at once.
        publishes: whether this worker is the chief. The other workers also write, since TensorFlow
            sums some variables over all workers, and discard the result.
    """

    def __init__(
        self,
        directory: str,
        trackable: tf.train.Checkpoint,
        identity: dict[str, Any],
        keep: int,
        warn: Callable[[str], None],
        upload_queue: UploadQueue | None = None,
        publishes: bool = True,
    ) -> None:
        self._directory = directory
        self._trackable = trackable
        self._identity = identity
        self._keep = keep
        self._warn = warn
        self._upload_queue = upload_queue
        self._publishes = publishes
        self._manifests: dict[str, storage.Manifest] = {}
        self._listed: set[str] | None = None
        self._waiting: set[str] = set()  # to be published
        self._corrupt: set[str] = set()

    def save(self, state: RunState) -> None:
        """Publish a checkpoint; remove those that are neither among the newest nor the best.

        With an upload queue this waits only for the local write.

        Raises:
            GraftError: an earlier checkpoint could not be published.
        """
        if not self._publishes:
            with tempfile.TemporaryDirectory(prefix="graft-checkpoint-") as scratch:
                self._trackable.write(os.path.join(scratch, _PREFIX))
            return
        # Never over a complete checkpoint: a kill would leave neither. Nor over an incomplete one,
        # which another process may still be writing.
        name = checkpoint_list.name_of(state.global_step, self._names())
        facts = {
            "format": checkpoint_list.FORMAT,
            "global_step": state.global_step,
            "digest": identities.digest(self._identity),
            "identity": self._identity,
            "state": state.to_dict(),
        }
        best_step = state.best.get("global_step")
        scratch = tempfile.mkdtemp(prefix="graft-checkpoint-")
        try:
            self._trackable.write(os.path.join(scratch, _PREFIX))
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        self._waiting.add(name)
        self._names().add(name)

        def publish() -> None:
            try:
                self._manifests[name] = storage.publish(scratch, self._path(name), facts)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            self._waiting.remove(name)
            self._sweep(best_step)

        if self._upload_queue is None:
            publish()
        else:
            self._upload_queue.submit(publish)

    def restore_newest(self) -> RunState | None:
        """Restore the newest complete checkpoint; None where there is none.

        Raises:
            UserError: it has another identity (the message names both values) or a newer version.
        """
        self._settle()
        for name in self._complete():
            state = self._restore(name)
            if state is not None:
                return state
        return None

    def restore_best(self, state: RunState) -> None:
        """Restore the weights of the best evaluation in `state`.

        Raises:
            UserError: its checkpoint is missing or corrupt.
        """
        self._settle()
        step = state.best["global_step"]
        for name in self._complete(step):
            if self._restore(name) is not None:
                return
        raise UserError(f"{self._directory}: the best checkpoint, of step {step}, is missing")

    def _restore(self, name: str) -> RunState | None:
        path, manifest = self._path(name), self._manifests[name]
        changes = identities.differences(manifest.facts["identity"], self._identity)
        if changes:
            raise UserError(
                f"{path}: belongs to another run; choose another --workdir, or give the same "
                "flags and data again:\n  " + "\n  ".join(changes)
            )
        try:
            with storage.local_copy(path, manifest) as directory:
                status = self._trackable.read(os.path.join(directory, _PREFIX))
        except storage.ChecksumMismatch as mismatch:
            self._corrupt.add(name)
            self._warn(f"skipping a corrupt checkpoint: {mismatch}")
            return None
        # Every saved value has a variable and every variable a saved value, slots included.
        status.assert_consumed().assert_existing_objects_matched()
        return RunState.from_dict(manifest.facts["state"])

    def _settle(self) -> None:
        """Finish the uploads, and list the checkpoints again."""
        if self._upload_queue is not None:
            self._upload_queue.flush()
        self._listed = None

    def _sweep(self, best_step: int | None) -> None:
        kept = set(itertools.islice(self._complete(), self._keep))
        if best_step is not None:
            kept.update(itertools.islice(self._complete(best_step), 1))
        for name in list(self._names()):
            if name not in kept | self._waiting:
                storage.remove(self._path(name))
                self._manifests.pop(name, None)
                self._names().discard(name)

    def _complete(self, step: int | None = None) -> Iterator[str]:
        """Yield the names of the complete checkpoints, of `step` if given, the newest first."""
        # A copy: another thread may add one. Without corrupt ones, which would otherwise be kept
        # instead of good ones.
        names = set(self._names()) - self._corrupt - self._waiting
        if step is not None:
            names = {name for name in names if checkpoint_list.step_of(name) == step}
        for name, _ in checkpoint_list.complete(self._directory, names, self._manifests):
            yield name

    def _names(self) -> set[str]:
        """Return all names, listed once."""
        if self._listed is None:
            self._listed = set(checkpoint_list.names(self._directory))
        return self._listed

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)


def newest_tensors(directory: str) -> tuple[int, dict[str, np.ndarray]]:
    """Return the step of the newest complete checkpoint in `directory`, and its tensors by name.

    Raises:
        FileNotFoundError: there is none.
    """
    name, manifest = next(checkpoint_list.complete(directory), ("", None))
    if manifest is None:
        raise FileNotFoundError(2, "no complete checkpoint", directory)
    with storage.local_copy(storage.join(directory, name), manifest) as local:
        reader = tf.train.load_checkpoint(os.path.join(local, _PREFIX))
        names = set(reader.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"}
        tensors = {tensor: reader.get_tensor(tensor) for tensor in sorted(names)}
    return checkpoint_list.step_of(name), tensors
