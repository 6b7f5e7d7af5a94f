"""A workdir in a bucket: ours beside TensorFlow writing gs:// itself, on the tests' emulator.

    python -m benchmarks.object_storage

Prints a table in Markdown. The emulator and its proxy are one process, what is measured another;
the proxy adds 0 or 40 ms to every request, and counts requests and bytes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MEGABYTES = 15
_NUM_FLUSHES = 200
_PHASES = (
    ("tf save", f"save a {_MEGABYTES} MB checkpoint, TensorFlow: training blocked"),
    ("our save", "the same, ours: training blocked"),
    ("our publish", "the same, ours: published in the background"),
    ("tf restore", "restore it, TensorFlow"),
    ("our restore", "restore it, ours"),
    ("tf flushes", f"{_NUM_FLUSHES} flushes of an event file, TensorFlow"),
    ("our flushes", f"{_NUM_FLUSHES} flushes of an event file, ours"),
)


def main() -> None:
    """Start the server, run the worker against it at both delays, print the table."""
    from tests import gcs

    print("| operation | | 0 ms | 40 ms |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch, gcs.serve(Path(scratch)) as server:
        rows = [_measured(server, delay_secs) for delay_secs in (0.0, 0.04)]
    for phase, words in _PHASES:
        cells = []
        for row in rows:
            secs, requests, sent = row[phase]
            size = f", {sent:,} bytes" if "flushes" in phase else ""
            count = "" if phase == "our save" else f", {requests} requests{size}"
            cells.append(f"{1000 * secs:,.0f} ms{count}")
        print(f"| {words} | | {' | '.join(cells)} |")
    for phase, words in (("steps", "while uploads run"), ("quiet steps", "without uploads")):
        slowest = [f"{row[phase][0]:.2f}×" for row in rows]
        print(f"| slowest of 40 steps {words}, of the median | | {' | '.join(slowest)} |")


def _measured(server: Any, delay_secs: float) -> dict[str, tuple[float, int, int]]:
    server.clear()
    server.proxy.delay_secs = delay_secs
    command = [sys.executable, "-m", "benchmarks.object_storage", "--worker"]
    found: dict[str, list[tuple[float, int, int]]] = {}
    with subprocess.Popen(
        command,
        env={**os.environ, **server.environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdin is not None
        for line in worker.stdout:
            done = json.loads(line)
            requests = [
                r for r in server.proxy.requests if "/o" in r.target or "/bucket/" in r.target
            ]
            figures = done["secs"], len(requests), server.proxy.bytes_received()
            found.setdefault(done["phase"], []).append(figures)
            server.proxy.requests = []
            print("next", file=worker.stdin, flush=True)
    assert worker.returncode == 0
    return {
        phase: (statistics.median(f[0] for f in figures), *figures[-1][1:])
        for phase, figures in found.items()
    }


def _worker() -> None:
    from trainer.quiet import import_tensorflow

    import_tensorflow()
    import numpy as np
    import tensorflow as tf

    from trainer.checkpoints import Checkpoints
    from trainer.log_upload import LogUpload
    from trainer.run_state import RunState
    from trainer.summaries import Summaries
    from trainer.uploader import Uploader

    values = np.random.default_rng(0).normal(size=(4, _MEGABYTES << 16)).astype(np.float32)
    checkpoint = tf.train.Checkpoint(variables=[tf.Variable(row) for row in values])
    uploader = Uploader()
    checkpoints = Checkpoints(
        "gs://bucket/ours/checkpoints", checkpoint, {"seed": 0}, 2, print, uploader
    )
    checkpoint.write("gs://bucket/tf/warm")
    checkpoints.save(RunState(0))
    uploader.flush()
    _tell("warm up", 0.0)
    for step in range(1, 6):
        _time("tf save", lambda step=step: checkpoint.write(f"gs://bucket/tf/step_{step}"))  # type: ignore[misc]
        began = time.monotonic()
        blocked = _secs(lambda step=step: checkpoints.save(RunState(step)))  # type: ignore[misc]
        uploader.flush()
        took = time.monotonic() - began
        _tell("our publish", took)
        _tell("our save", blocked)
        _time("tf restore", lambda step=step: checkpoint.read(f"gs://bucket/tf/step_{step}"))  # type: ignore[misc]
        fresh = Checkpoints(
            "gs://bucket/ours/checkpoints", checkpoint, {"seed": 0}, 2, print, uploader
        )
        _time("our restore", fresh.restore_newest)

    def tf_flushes() -> None:
        writer = tf.summary.create_file_writer("gs://bucket/tf/logs")
        with writer.as_default():
            for step in range(_NUM_FLUSHES):
                tf.summary.scalar("loss", 1.0, step=step)
                writer.flush()

    _time("tf flushes", tf_flushes)
    clock = iter(range(10**6))
    upload = LogUpload("gs://bucket/ours/logs", uploader, 50.0, lambda: float(next(clock)))
    summaries = Summaries("gs://bucket/ours/logs", 0, upload)
    uploader.flush()
    _tell("open", 0.0)

    def our_flushes() -> None:
        for step in range(_NUM_FLUSHES):
            summaries.write("train", step, {"loss": 1.0})
            summaries.flush_if_due()
        summaries.flush()
        uploader.flush()

    _time("our flushes", our_flushes)
    upload.discard()
    _tell("quiet steps", _slowest_step(tf, lambda: None))
    _tell("steps", _slowest_step(tf, lambda: checkpoints.save(RunState(9))))
    uploader.flush()


def _slowest_step(tf: Any, save: Callable[[], None]) -> float:
    """The slowest of the steps during an upload, beside the median of all; the save is no step."""
    weights = tf.Variable(tf.random.normal([1500, 1500]))

    @tf.function
    def step() -> Any:
        return weights.assign(weights @ weights / 1500.0)

    step()
    taken = []
    for number in range(60):
        if number == 20:
            save()
        taken.append(_secs(lambda: step().numpy()))
    return max(taken[20:]) / statistics.median(taken)


def _secs(act: Callable[[], Any]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def _time(phase: str, act: Callable[[], Any]) -> None:
    _tell(phase, _secs(act))


def _tell(phase: str, secs: float) -> None:
    print(json.dumps({"phase": phase, "secs": secs}), flush=True)
    input()  # until the requests are counted


if __name__ == "__main__":
    _worker() if sys.argv[1:] == ["--worker"] else main()
