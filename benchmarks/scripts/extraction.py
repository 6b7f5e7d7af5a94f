"""Features computed and kept, images a second, in a run as `graft train` builds it.

    python -m benchmarks.scripts.extraction [the trainer's flags]

Counted from the first committed part of the training split to the last, so that neither the start
nor the tracing shows. Prints {"images_per_sec": …}.
"""

import json
import sys
import time
from typing import Any

from trainer.process.tensorflow_import import import_tensorflow
from trainer.settings import flags


class Recorder:
    """A console.Reporter that keeps the time of every report of progress."""

    def __init__(self) -> None:
        self.reports: list[tuple[float, int, int]] = []

    def say(self, message: str, **figures: Any) -> None:
        """See Reporter."""

    def warn(self, message: str) -> None:
        """See Reporter."""
        print(message, file=sys.stderr, flush=True)

    def show(self, table: Any, **figures: Any) -> None:
        """See Reporter."""

    def advance(self, task: str, done: int, total: int, **figures: float) -> None:
        """See Reporter."""
        self.reports.append((time.perf_counter(), done, total))

    def close(self) -> None:
        """See Reporter."""


def main(argv: list[str]) -> None:
    """See the module."""
    config = flags.config_from_argv(argv)
    import_tensorflow()
    import tensorflow as tf

    from trainer.engine.build import build
    from trainer.process.stop_signal import StopRequest
    from trainer.workdir.goodput import open_ledger
    from trainer.workers.cluster import Cluster

    tf.config.experimental.enable_op_determinism()  # as a run does
    recorder = Recorder()
    ledger = open_ledger(config.workdir, 0.0, False)
    run = build(config, recorder, Cluster(), None, ledger, StopRequest())
    run.open_features()
    total = run.source.num_examples(config.train_split)
    reports = [(at, done) for at, done, of in recorder.reports if of == total]
    (first, done), (last, all_done) = reports[0], reports[-1]
    assert all_done == total, "the features were cached already"
    print(json.dumps({"images_per_sec": (all_done - done) / (last - first)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
