"""Whole processes, timed in turn: A B, A B, …; a ratio is taken within a pair.

Machines drift; what two neighbours measured shares the drift, so ratios hold where times do not.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Sample:
    """One process from start to end.

    Attributes:
        began: when it was started, seconds since 1970.
        wall_secs: as a clock on the wall sees it.
        peak_mb: largest resident set, MiB.
        output: what it printed on stdout.
    """

    began: float
    wall_secs: float
    peak_mb: float
    output: str


def run(command: Sequence[str]) -> Sample:
    """Run `command` to its end, in the repository's root.

    Raises:
        RuntimeError: it failed; the message holds the end of what it said.
    """
    read, write = os.pipe()
    began, began_at = time.monotonic(), time.time()
    with open(read, encoding="utf-8") as stream:
        process = subprocess.Popen(command, stdout=write, stderr=subprocess.STDOUT, cwd=ROOT)
        os.close(write)
        output = stream.read()
        _, status, usage = os.wait4(process.pid, 0)
    wall_secs = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command}: exit code {process.returncode}\n{output[-3000:]}")
    return Sample(began_at, wall_secs, usage.ru_maxrss / 1024, output)


def in_turn(
    pairs: int, commands: Mapping[str, Callable[[int], Sequence[str]]]
) -> dict[str, list[Sample]]:
    """Run every command once, and all again, `pairs` times.

    Args:
        pairs: rounds.
        commands: by name, in order; each is called with the number of the round.

    Returns:
        By name, a sample a round.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in commands}
    for pair in range(pairs):
        for name, command in commands.items():
            sample = run(command(pair))
            samples[name].append(sample)
            print(f"  {pair + 1}/{pairs} {name}: {sample.wall_secs:.1f} s", flush=True)
    return samples
