"""`graft launch`: run workers on this machine, restarted as a cluster would restart them."""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType
from typing import Any

from trainer.launch.local.gang import Gang
from trainer.process.errors import EXIT_CODES, Restart, UserError
from trainer.settings import flags
from trainer.settings.command_line import (
    Flag,
    Groups,
    command,
    exit_process,
    parse,
    usage,
)
from trainer.workers import sharding

PURPOSE = "Train with many workers on this machine, each a process with its part of the devices."
SYNOPSIS = "graft launch --num_workers=N -- --workdir=DIR [flags of graft train]"
FLAGS: Groups = {
    "The workers": (
        Flag("num_workers", 2, "processes", int),
        Flag("max_restarts", 3, "restarts of all workers after one was lost or preempted", int),
        Flag(
            "grace_secs",
            30.0,
            "seconds for the other workers to save and exit before they are killed",
            float,
        ),
    ),
}

# A cluster would restart after these, too.
RESTARTED = [
    row.code for row in EXIT_CODES.values() if row.restart in (Restart.COUNTED, Restart.FREE)
]

_POLL_SECS = 0.1
_COLORS = ("cyan", "magenta", "green", "yellow", "blue", "red")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the workers that `argv` describes until they end; return the exit code."""
    return command(argv, _launch, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _launch(argv: Sequence[str]) -> int:
    values, trainer_argv = parse(argv, FLAGS, flags.TRAINER)
    for name, least in (("num_workers", 1), ("max_restarts", 0), ("grace_secs", 0)):
        if not least <= values[name] < 10**6:
            raise UserError(f"--{name}={values[name]}: must be a number, at least {least}")
    config = flags.config_from_argv(trainer_argv)  # refuse once, not in each worker
    sharding.check(values["num_workers"], config.logical_shards, config.global_batch_size)
    return run(
        [sys.executable, "-m", "trainer.task", *trainer_argv],
        os.environ,
        line_printer(values["num_workers"]),
        **values,
    )


def run(
    worker_command: Sequence[str],
    environment: Mapping[str, str],
    emit: Callable[[int | None, str], None],
    num_workers: int,
    max_restarts: int,
    grace_secs: float,
    watch: Callable[[Gang], None] = lambda gang: None,
) -> int:
    """Run `worker_command` as a gang until it ends, restarting it if that can help.

    SIGTERM and Ctrl-C are passed on, once; a second one kills.

    Args:
        worker_command: of each worker.
        environment: of each worker; TF_CONFIG and the devices are added.
        emit: called with (worker or None for the launcher, line).
        num_workers: how many.
        max_restarts: of all workers.
        grace_secs: seconds for the other workers to exit after the first failure.
        watch: called with the gang several times a second, and after each line.

    Returns:
        0 if all workers succeed; else the exit code of the gang.
    """
    stop = _Signals()
    for restarts in range(max_restarts + 1):
        if stop.received:
            return 128 + stop.received[0]
        emit(None, f"starting {num_workers} workers")
        gang = Gang(worker_command, num_workers, environment, emit)
        try:
            _run_until_ended(gang, stop, grace_secs, emit, watch)
        finally:
            gang.close()
        code = verdict(gang.exits)
        if stop.received:
            return 128 + stop.received[0] if code >= 128 else code
        if code not in RESTARTED:
            break
        if restarts < max_restarts:
            emit(None, f"left with {code}; restarting all, {restarts + 1} of {max_restarts}")
    if code:
        emit(None, f"ended with {code}")
    return code


def verdict(exits: Mapping[int, int]) -> int:
    """Return the exit code of a gang from those of its workers, in order of ending.

    A code below 128 is an error that a restart cannot fix. Else the first failure decides, since
    it made the other workers fail.
    """
    failures = [code for code in exits.values() if code]
    errors = [code for code in failures if code < 128]
    return (errors or failures or [0])[0]


def line_printer(num_workers: int) -> Callable[[int | None, str], None]:
    """Return a function that prints lines with the worker as prefix, in color on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, emoji=False)
    width = len(str(num_workers - 1))

    def emit(worker: int | None, line: str) -> None:
        source, style = "launch", "bold"
        if worker is not None:
            source, style = f"{worker:>{width}}", _COLORS[worker % len(_COLORS)]
        console.print(Text.assemble((f"{source} │ ", style), line), soft_wrap=True)

    return emit


class _Signals:
    """Records SIGTERM and SIGINT in order of arrival."""

    def __init__(self) -> None:
        self.received: list[int] = []
        signal.signal(signal.SIGTERM, self._note)
        # A shell makes background jobs ignore Ctrl-C: respect that.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)


def _run_until_ended(
    gang: Gang,
    stop: _Signals,
    grace_secs: float,
    emit: Callable[[Any, str], None],
    watch: Callable[[Gang], None],
) -> None:
    """Wait for the gang to end; after a failure or a signal at most `grace_secs`."""
    deadline = math.inf
    is_stopping = False
    while gang.left:
        gang.poll(_POLL_SECS)
        watch(gang)
        if stop.received and not is_stopping:
            is_stopping = True
            emit(None, f"passing {signal.Signals(stop.received[0]).name} on")
            gang.send_signal(stop.received[0])
            deadline = time.monotonic() + grace_secs
        failed = next((item for item in gang.exits.items() if item[1]), None)
        if failed is not None and deadline == math.inf:
            emit(None, f"worker {failed[0]} left with {failed[1]}; the other workers must exit")
            deadline = time.monotonic() + grace_secs
        if gang.left and (time.monotonic() > deadline or len(stop.received) > 1):
            emit(None, f"killing {', '.join(f'worker {index}' for index in gang.left)}")
            return


if __name__ == "__main__":
    exit_process(main())
