"""A run of N workers of a core each, watched until its training is over.

    python -m benchmarks.scripts.gang N [the trainer's flags]

Prints every line {"observed": …} of its workers with their number, {"trained": …} for every report
of training: steps done, when, and the bytes sent over loopback by then; and {"parameters": …},
those that are trained. It ends with the last step: what comes after it is not measured here.
"""

import json
import os
import re
import sys
import time
from typing import Any

from benchmarks.scripts import loopback
from trainer.launch.local import launch
from trainer.launch.local.gang import Gang

_TRAINABLE = re.compile(r"([\d,]+) trainable")


class _IsOver(Exception):
    """All steps are done."""


class Watcher:
    """Hears the workers."""

    def __init__(self) -> None:
        self.is_over = False

    def tell(self, worker: int | None, line: str) -> None:
        """Take in a line of a worker's, or of the launcher's (None)."""
        if not line.startswith("{"):
            print(line, file=sys.stderr, flush=True)
            return
        figures = json.loads(line)
        if "observed" in figures:
            _print({**figures, "worker": worker})
        said = str(figures.get("message", ""))
        if trainable := _TRAINABLE.search(said):
            _print({"parameters": int(trainable[1].replace(",", ""))})
        if said.startswith("training "):
            sent = loopback.bytes_sent()
            _print({"trained": figures["done"], "at": time.time(), "bytes": sent})
            self.is_over = figures["done"] == figures["total"]

    def watch(self, gang: Gang) -> None:
        """End the gang when there is nothing more to measure."""
        if self.is_over:
            raise _IsOver


def main(argv: list[str]) -> int:
    """See the module."""
    num_workers = int(argv[0])
    loopback.enter_own()
    cores = sorted(os.sched_getaffinity(0))[:num_workers]
    if len(cores) < num_workers:
        raise SystemExit(f"{num_workers} workers need a core each; there are {len(cores)}")
    os.sched_setaffinity(0, cores)
    worker = [sys.executable, "-m", "benchmarks.scripts.observed_worker"]
    words = ["--log_format=json", "--log_progress_secs=0", *argv[1:]]
    watcher = Watcher()
    try:
        code = launch.run(
            [*worker, *words], os.environ, watcher.tell, num_workers, 0, 10.0, watcher.watch
        )
    except _IsOver:
        return 0
    return code or 1  # it ended before its training did


def _print(figures: dict[str, Any]) -> None:
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
