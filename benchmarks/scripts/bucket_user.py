"""What benchmarks/scripts/object_storage.py measures: checkpoints, curves, and steps meanwhile.

After each act it says so, {"phase", "secs"}, and waits for a line: until its requests are counted.
"""

import json
import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from trainer.process.tensorflow_import import import_tensorflow

MEGABYTES = 15
NUM_SAVES, NUM_FLUSHES, NUM_STEPS = 5, 200, 30
_KEPT = 1000  # nothing is swept: that is another act than publishing
_SIDE = 2000  # of the matrices of a step


def main() -> None:
    """See the module."""
    import_tensorflow()
    import tensorflow as tf

    from trainer.engine.checkpoints import Checkpoints
    from trainer.storage.upload_queue import UploadQueue
    from trainer.workdir.state import RunState

    values = np.random.default_rng(0).normal(size=(4, MEGABYTES << 16)).astype(np.float32)
    variables = tf.train.Checkpoint(variables=[tf.Variable(row) for row in values])
    upload_queue = UploadQueue()

    def opened() -> Checkpoints:
        place = "gs://bucket/ours/checkpoints"
        return Checkpoints(place, variables, {"seed": 0}, _KEPT, print, upload_queue)

    checkpoints = opened()
    variables.write("gs://bucket/tf/warm")
    checkpoints.save(RunState(0))
    upload_queue.flush()
    _tell("warm up", 0.0)
    for step in range(1, NUM_SAVES + 1):
        path = f"gs://bucket/tf/step_{step}"
        _tell("tf save", _secs(partial(variables.write, path)))
        began = time.monotonic()
        blocked = _secs(partial(checkpoints.save, RunState(step)))
        upload_queue.flush()
        _tell("our publish", time.monotonic() - began, blocked=blocked)
        _tell("tf restore", _secs(partial(variables.read, path)))
        _tell("our restore", _secs(opened().restore_newest))
    _flushes(tf, upload_queue)
    _steps(tf, checkpoints, upload_queue)


def _flushes(tf: Any, upload_queue: Any) -> None:
    """An event file that is flushed after each point."""
    from trainer.board.event_upload import EventUpload
    from trainer.board.event_writer import SummaryWriter

    def theirs() -> None:
        writer = tf.summary.create_file_writer("gs://bucket/tf/logs")
        with writer.as_default():
            for step in range(NUM_FLUSHES):
                tf.summary.scalar("loss", 1.0, step=step)
                writer.flush()

    _tell("tf flushes", _secs(theirs))
    clock = iter(range(10**6))  # a flush a second, and an upload every 50
    upload = EventUpload("gs://bucket/ours/logs", upload_queue, 50.0, lambda: float(next(clock)))
    summary_writer = SummaryWriter("gs://bucket/ours/logs", 0, upload)
    upload_queue.flush()
    _tell("open", 0.0)

    def ours() -> None:
        for step in range(NUM_FLUSHES):
            summary_writer.write("train", step, {"loss": 1.0})
            summary_writer.flush_if_due()
        summary_writer.flush()
        upload_queue.flush()

    _tell("our flushes", _secs(ours))
    upload.discard()


def _steps(tf: Any, checkpoints: Any, upload_queue: Any) -> None:
    """The slowest step, of the median of undisturbed ones, without an upload and during uploads."""
    from trainer.workdir.state import RunState

    weights = tf.Variable(tf.random.normal([_SIDE, _SIDE]))

    @tf.function
    def step() -> Any:
        return weights.assign(weights @ weights / float(_SIDE))

    def taken(before: Callable[[], None]) -> list[float]:
        secs = []
        for _ in range(NUM_STEPS):
            before()  # no part of the step
            secs.append(_secs(lambda: step().numpy()))
        return secs

    is_idle = threading.Event()
    is_idle.set()

    def keep_uploading() -> None:
        if is_idle.is_set():
            is_idle.clear()
            checkpoints.save(RunState(9))
            upload_queue.submit(is_idle.set)

    taken(lambda: None)
    quiet = taken(lambda: None)
    median = statistics.median(quiet)
    _tell("quiet steps", max(quiet), of_median=max(quiet) / median)
    busy = taken(keep_uploading)
    upload_queue.flush()
    slower = statistics.median(busy) / median
    _tell("busy steps", max(busy), of_median=max(busy) / median, slower=slower)


def _secs(act: Callable[[], Any]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def _tell(phase: str, secs: float, **figures: float) -> None:
    print(json.dumps({"phase": phase, "secs": secs, **figures}), flush=True)
    input()


if __name__ == "__main__":
    main()
