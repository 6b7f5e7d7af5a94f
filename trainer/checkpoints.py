"""Checkpoints of a run: weights, optimizer slots and the host's state, complete or absent."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from trainer import config as config_lib
from trainer import storage
from trainer.errors import UserError
from trainer.run_state import RunState

_PREFIX = "variables"
_STATE = "state.json"
_NAME = re.compile(r"step_(\d+)(?:_(\d+))?")


class Checkpoints:
    """Saves and restores `variables` and a RunState under `directory`.

    Args:
        directory: `checkpoints` of the workdir; one directory a checkpoint, named by its step.
        trackable: what is saved of TensorFlow's objects; every variable of it must exist.
        identity: what a resumed run must share with the run that saved; see Config.identity.
        keep: how many of the newest to keep, beside the best.
        warn: told of each checkpoint that is damaged and passed over.
        publishes: whether this worker is the chief. The others write their variables too, since
            TensorFlow adds some up over all workers for it, and throw them away.
    """

    def __init__(
        self,
        directory: str,
        trackable: tf.train.Checkpoint,
        identity: dict[str, Any],
        keep: int,
        warn: Callable[[str], None],
        publishes: bool = True,
    ) -> None:
        self._directory = directory
        self._trackable = trackable
        self._identity = identity
        self._keep = keep
        self._warn = warn
        self._publishes = publishes
        self._damaged: set[str] = set()

    def save(self, state: RunState) -> None:
        """Publish a checkpoint of now; sweep those that are neither new nor the best."""
        if not self._publishes:
            with tempfile.TemporaryDirectory(prefix="graft-checkpoint-") as scratch:
                self._trackable.write(os.path.join(scratch, _PREFIX))
            return
        name = f"step_{state.global_step:08d}"
        # Never over a complete one: a kill in between would leave neither.
        attempt = 0
        while storage.read_manifest(self._path(name)) is not None:
            attempt += 1
            name = f"step_{state.global_step:08d}_{attempt}"
        with tempfile.TemporaryDirectory(prefix="graft-checkpoint-") as scratch:
            self._trackable.write(os.path.join(scratch, _PREFIX))
            Path(scratch, _STATE).write_text(json.dumps(state.to_dict()))
            facts = {
                "global_step": state.global_step,
                "digest": config_lib.digest(self._identity),
                "identity": self._identity,
            }
            storage.publish(scratch, self._path(name), facts)
        self._sweep(state)

    def restore_newest(self) -> RunState | None:
        """Restore the newest complete checkpoint; None where there is none.

        Raises:
            UserError: it is of a run with another identity; the message names both values.
        """
        for name in reversed(self._complete()):
            state = self._restore(name)
            if state is not None:
                return state
        return None

    def restore_best(self, state: RunState) -> None:
        """Bring back the weights of the best evaluation that `state` knows of.

        Raises:
            UserError: its checkpoint is gone or damaged.
        """
        step = state.best["global_step"]
        for name in reversed(self._complete()):
            if _step(name) == step and self._restore(name) is not None:
                return
        raise UserError(f"{self._directory}: the best checkpoint, of step {step}, is gone")

    def _restore(self, name: str) -> RunState | None:
        path = self._path(name)
        manifest = storage.read_manifest(path)
        assert manifest is not None
        changes = config_lib.differences(manifest.facts["identity"], self._identity)
        if changes:
            raise UserError(
                f"{path}: belongs to another run; choose another --workdir, or give the same "
                "flags and data again:\n  " + "\n  ".join(changes)
            )
        damage = storage.damage(path, manifest)
        if damage is not None:
            self._damaged.add(name)
            self._warn(f"passing over a damaged checkpoint: {damage}")
            return None
        status = self._trackable.read(os.path.join(path, _PREFIX))
        # Everything saved has a place, and everything that exists was saved: slots included.
        status.assert_consumed().assert_existing_objects_matched()
        return RunState.from_dict(json.loads(Path(path, _STATE).read_text()))

    def _sweep(self, state: RunState) -> None:
        complete = self._complete()
        best = [name for name in complete if _step(name) == state.best.get("global_step")]
        kept = {*complete[-self._keep :], *best[-1:]}
        for name in self._names():
            if name not in kept:
                storage.remove(self._path(name))

    def _complete(self) -> list[str]:
        manifests = ((name, storage.read_manifest(self._path(name))) for name in self._names())
        whole = (name for name, manifest in manifests if manifest and "identity" in manifest.facts)
        # A damaged one is no newest one: the sweep would keep it instead of a good one.
        return [name for name in whole if name not in self._damaged]

    def _names(self) -> list[str]:
        """Our names, from the oldest on; what else lies in the directory is not ours to touch."""
        return sorted(filter(_NAME.fullmatch, storage.list_names(self._directory)), key=_order)

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)


def _order(name: str) -> tuple[int, int]:
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[1]), int(match[2] or 0)


def _step(name: str) -> int:
    return _order(name)[0]
