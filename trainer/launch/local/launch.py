"""`graft launch`: a cluster on this machine, restarted as a cluster would restart it."""

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

PURPOSE = "Train with many workers on this machine, each a process with its share of the devices."
SYNOPSIS = "graft launch --num_workers=N -- --workdir=DIR [flags of graft train]"
FLAGS: Groups = {
    "WorkerGroup": (
        Flag("num_workers", 2, "processes", int),
        Flag("max_restarts", 3, "restarts of all workers, after one was lost or preempted", int),
        Flag(
            "grace_secs",
            30.0,
            "seconds for the others to save and leave, before they are killed",
            float,
        ),
    ),
}

# What a cluster would start again, too.
RESTARTED = [
    row.code for row in EXIT_CODES.values() if row.restart in (Restart.COUNTED, Restart.FREE)
]

_POLL_SECS = 0.1
_COLORS = ("cyan", "magenta", "green", "yellow", "blue", "red")


def main(argv: Sequence[str] | None = None) -> int:
    """Start the workers that `argv` asks for, and stay with them; returns the exit code."""
    return command(argv, _launch, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _launch(argv: Sequence[str]) -> int:
    values, words = parse(argv, FLAGS, flags.TRAINER)
    for name, least in (("num_workers", 1), ("max_restarts", 0), ("grace_secs", 0)):
        if not least <= values[name] < 10**6:
            raise UserError(f"--{name}={values[name]}: must be a number, at least {least}")
    config = flags.config_from_argv(words)  # refused here, and not by each worker
    sharding.check(values["num_workers"], config.logical_shards, config.global_batch_size)
    return run(
        [sys.executable, "-m", "trainer.task", *words],
        os.environ,
        teller(values["num_workers"]),
        **values,
    )


def run(
    worker_command: Sequence[str],
    environment: Mapping[str, str],
    tell: Callable[[int | None, str], None],
    num_workers: int,
    max_restarts: int,
    grace_secs: float,
    watch: Callable[[Gang], None] = lambda gang: None,
) -> int:
    """Run `worker_command` as a gang until it is done, restarting it where that can help.

    SIGTERM and Ctrl-C are passed on, once; a second one kills.

    Args:
        worker_command: of each worker.
        environment: theirs; TF_CONFIG and the devices are added.
        tell: called with (worker, or None for the launcher itself, line).
        num_workers: how many.
        max_restarts: how often all are started again.
        grace_secs: how long the others may take to leave after the first that failed.
        watch: called with the workers several times a second, and after each line.

    Returns:
        0 if all workers end so; else the code that ends the gang.
    """
    stop = _Signals()
    for restarts in range(max_restarts + 1):
        if stop.received:
            return 128 + stop.received[0]
        tell(None, f"starting {num_workers} workers")
        gang = Gang(worker_command, num_workers, environment, tell)
        try:
            _stay(gang, stop, grace_secs, tell, watch)
        finally:
            gang.close()
        code = verdict(gang.exits)
        if stop.received:
            return 128 + stop.received[0] if code >= 128 else code
        if code not in RESTARTED:
            break
        if restarts < max_restarts:
            tell(None, f"left with {code}; restarting all, {restarts + 1} of {max_restarts}")
    if code:
        tell(None, f"ended with {code}")
    return code


def verdict(exits: Mapping[int, int]) -> int:
    """The exit code of a gang whose workers ended so, in this order.

    A code below 128 says that something is wrong, and a restart cannot help. Else the first to
    fail decides: the others failed for want of it.
    """
    failures = [code for code in exits.values() if code]
    wrong = [code for code in failures if code < 128]
    return (wrong or failures or [0])[0]


def teller(num_workers: int) -> Callable[[int | None, str], None]:
    """Prints lines behind a prefix that says whose they are, in colours on a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, emoji=False)
    width = len(str(num_workers - 1))

    def tell(worker: int | None, line: str) -> None:
        who, style = "launch", "bold"
        if worker is not None:
            who, style = f"{worker:>{width}}", _COLORS[worker % len(_COLORS)]
        console.print(Text.assemble((f"{who} │ ", style), line), soft_wrap=True)

    return tell


class _Signals:
    """SIGTERM and SIGINT, noted in the order in which they come."""

    def __init__(self) -> None:
        self.received: list[int] = []
        signal.signal(signal.SIGTERM, self._note)
        # A shell starts its background jobs deaf to Ctrl-C, and so they stay.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received.append(number)


def _stay(
    gang: Gang,
    stop: _Signals,
    grace_secs: float,
    tell: Callable[[Any, str], None],
    watch: Callable[[Gang], None],
) -> None:
    """Until the gang has ended, or has had its time to leave after a failure or a signal."""
    deadline = math.inf
    is_stopping = False
    while gang.left:
        gang.poll(_POLL_SECS)
        watch(gang)
        if stop.received and not is_stopping:
            is_stopping = True
            tell(None, f"passing {signal.Signals(stop.received[0]).name} on")
            gang.send_signal(stop.received[0])
            deadline = time.monotonic() + grace_secs
        failed = next((item for item in gang.exits.items() if item[1]), None)
        if failed is not None and deadline == math.inf:
            tell(None, f"worker {failed[0]} left with {failed[1]}; the others must leave, too")
            deadline = time.monotonic() + grace_secs
        if gang.left and (time.monotonic() > deadline or len(stop.received) > 1):
            tell(None, f"killing {', '.join(f'worker {index}' for index in gang.left)}")
            return


if __name__ == "__main__":
    exit_process(main())
