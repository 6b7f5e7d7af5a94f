"""`graft train`, which keeps the ids of what each step is given: words to put before the command.

    python tests/id_worker.py PYTHON -m trainer train [flags]

Adds to the file of GRAFT_TEST_IDS a line for each step: [step, the ids of this worker's examples].
"""

import json
import os
import sys
from typing import Any

import numpy as np

from trainer.command_line import exit_process
from trainer.quiet import import_tensorflow


def main() -> int:
    """Patch the way of a batch into the step, and train."""
    import_tensorflow()
    import tensorflow as tf

    from trainer import task
    from trainer.data.ordered_batches import OrderedBatches
    from trainer.train_step import TrainStep

    training_batch, replica_step = OrderedBatches._training_batch, TrainStep._replica_step

    def with_ids(self: Any, batch: Any) -> Any:
        return {**training_batch(self, batch), "id": batch["id"]}

    def keep(step: np.ndarray, ids: np.ndarray) -> np.int64:
        with open(os.environ["GRAFT_TEST_IDS"], "a", encoding="utf-8") as stream:
            print(json.dumps([int(step), [name.decode() for name in ids]]), file=stream)
        return np.int64(0)

    def keeping(self: Any, batch: Any, step: tf.Tensor) -> tf.Tensor:
        kept = tf.numpy_function(keep, [step, batch["id"]], tf.int64)
        with tf.control_dependencies([kept]):
            return replica_step(self, batch, step)

    holders: tuple[Any, Any] = OrderedBatches, TrainStep
    holders[0]._training_batch, holders[1]._replica_step = with_ids, keeping
    return task.main(sys.argv[5:])


if __name__ == "__main__":
    exit_process(main())
