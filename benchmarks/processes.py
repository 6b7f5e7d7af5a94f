"""Whole processes, timed in turn: A B, A B, …; a ratio is taken within a pair.

Machines drift; what two neighbours measured shares the drift, so ratios hold where times do not.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import subprocess
import time
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Sample:
    """One process from start to end.

    Attributes:
        wall_secs: as a clock on the wall sees it.
        peak_mb: largest resident set, MiB.
        output: what it printed on stdout.
    """

    wall_secs: float
    peak_mb: float
    output: str


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median and the range of a figure over the pairs."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of `values`."""
        return cls(statistics.median(values), min(values), max(values))

    def format(self, unit: str = "", digits: int = 2) -> str:
        """Such as `1.52× (1.50–1.55)`."""
        middle, low, high = (f"{v:.{digits}f}" for v in (self.median, self.low, self.high))
        return f"{middle}{unit} ({low}–{high})"


def run(command: Sequence[str]) -> Sample:
    """Run `command` to its end.

    Raises:
        RuntimeError: it failed; the message holds the end of what it said.
    """
    read, write = os.pipe()
    began = time.monotonic()
    with open(read, encoding="utf-8") as stream:
        process = subprocess.Popen(command, stdout=write, stderr=subprocess.STDOUT)
        os.close(write)
        output = stream.read()
        _, status, usage = os.wait4(process.pid, 0)
    wall_secs = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command}: exit code {process.returncode}\n{output[-3000:]}")
    return Sample(wall_secs, usage.ru_maxrss / 1024, output)
