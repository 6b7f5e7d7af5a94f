"""Keeps the ids of what each step of a run is given."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class IdRecorder:
    """Adds a line to `path` for each step: [step, the ids of this worker's examples]."""

    path: Path

    def install(self) -> None:
        """Patch the way of a batch into the step."""
        import tensorflow as tf

        from trainer.data.ordered_batches import OrderedBatches
        from trainer.engine.train_step import TrainStep

        training_batch, replica_step = OrderedBatches._training_batch, TrainStep._replica_step

        def with_ids(self: Any, batch: Any) -> Any:
            return {**training_batch(self, batch), "id": batch["id"]}

        def keep(step: np.ndarray, ids: np.ndarray) -> np.int64:
            with self.path.open("a", encoding="utf-8") as stream:
                print(json.dumps([int(step), [name.decode() for name in ids]]), file=stream)
            return np.int64(0)

        def keeping(self: Any, batch: Any, step: tf.Tensor) -> tf.Tensor:
            kept = tf.numpy_function(keep, [step, batch["id"]], tf.int64)
            with tf.control_dependencies([kept]):
                return replica_step(self, batch, step)

        holders: tuple[Any, Any] = OrderedBatches, TrainStep
        holders[0]._training_batch, holders[1]._replica_step = with_ids, keeping
