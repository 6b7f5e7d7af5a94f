"""The real trainer as several workers on loopback, each with its own output and exit code."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import tensorflow as tf

from tests.processes import warm
from tests.processes.warm import Preparation
from trainer.launch.local.devices import assign_cores, listen_on_free_ports
from trainer.workers.cluster import Cluster

DEADLINE_SECS = 240
SPEED = ("examples_per_sec", "input_wait", "goodput")


class Worker:
    """One process of `graft train`; what it says goes into files of `logs`."""

    def __init__(
        self,
        arguments: Sequence[Any],
        cluster: Cluster,
        logs: Path,
        prepare: Preparation | None = None,
        listening: socket.socket | None = None,
    ) -> None:
        # The same cores as under `graft launch`: with other numbers of threads sums differ by bits.
        cores = assign_cores(sorted(os.sched_getaffinity(0)), cluster.num_workers)[cluster.index]
        self._errors = logs / f"{cluster.index}.err"
        self._output = logs / f"{cluster.index}.out"
        with (
            open(self._output, "w") as output,
            open(self._errors, "w") as errors,
        ):
            environment = {**os.environ, "TF_CONFIG": cluster.to_tf_config()}
            words = ["train", *map(str, arguments)]
            self.process = warm.Process(
                words, output, errors, environment, cores, prepare, listening
            )

    def end(self) -> int:
        """Its exit code."""
        return self.process.wait(DEADLINE_SECS)

    @property
    def output(self) -> str:
        """What it has said on stdout by now."""
        return self._output.read_text(encoding="utf-8")

    @property
    def errors(self) -> str:
        """Its stderr."""
        return self._errors.read_text(encoding="utf-8")


@contextlib.contextmanager
def gang(
    num_workers: int,
    arguments: Sequence[Any],
    logs: Path,
    *own: Sequence[Any],
    addresses: Sequence[str] = (),
    prepare: Mapping[int, Preparation] = MappingProxyType({}),
) -> Iterator[list[Worker]]:
    """`num_workers` workers with `arguments`, and with those of their `own`; all end in the end.

    They are at `addresses`, or on loopback; `prepare` says what a worker does first.
    """
    logs.mkdir(parents=True, exist_ok=True)
    sockets = [] if addresses else listen_on_free_ports(num_workers)
    addresses = addresses or [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    workers: list[Worker] = []
    try:
        for index in range(num_workers):
            words = [*arguments, *(own[index] if own else ())]
            cluster = Cluster(tuple(addresses), index, "gang")
            listening = sockets[index] if sockets else None
            workers.append(Worker(words, cluster, logs, prepare.get(index), listening))
            if listening is not None:
                listening.close()  # it is the worker's now
        yield workers
    finally:
        for worker in workers:
            worker.process.kill()
            worker.process.wait()


def train(num_workers: int, arguments: Sequence[Any], logs: Path) -> None:
    """Train to the end with `num_workers` workers."""
    with gang(num_workers, arguments, logs) as workers:
        for worker in workers:
            assert worker.end() == 0, worker.errors


def wait_for_training(workers: Sequence[Worker]) -> None:
    """Until progress is told: what is traced for steps and the first pictures is traced by then."""
    deadline = time.monotonic() + DEADLINE_SECS
    while not boundaries(workers[0]):
        assert time.monotonic() < deadline
        for worker in workers:
            assert worker.process.poll() is None, worker.errors
        time.sleep(0.02)


def boundaries(chief: Worker) -> int:
    """How often it has told of its progress: with --log_progress_secs=0 at every loop boundary."""
    return chief.output.count("\ntraining ")


def curve(workdir: Path, name: str = "train") -> dict[tuple[int, str], float]:
    """(step, tag) -> number, but for speed; asserts that each, pictures too, is written once."""
    found: dict[tuple[int, str], float] = {}
    pictures = set()
    for path in sorted((workdir / "logs" / name).glob("*tfevents*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                assert (event.step, value.tag) not in found
                if value.tensor.dtype == tf.string.as_datatype_enum:
                    assert (event.step, value.tag) not in pictures
                    pictures.add((event.step, value.tag))
                elif value.tag not in SPEED:
                    array = tf.make_ndarray(value.tensor)
                    found[event.step, value.tag] = (
                        array.item() if array.size == 1 else array.tolist()
                    )
    return found


def pictures(workdir: Path, name: str) -> dict[tuple[int, str], bytes]:
    """(step, tag) -> what is shown there."""
    found: dict[tuple[int, str], bytes] = {}
    for path in sorted((workdir / "logs" / name).glob("*tfevents*")):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                if value.tensor.dtype == tf.string.as_datatype_enum:
                    found[event.step, value.tag] = value.tensor.string_val[2]
    return found
