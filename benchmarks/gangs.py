"""What benchmarks/scripts/gang.py printed of a run's workers, as figures."""

from __future__ import annotations

import collections
import sys
from pathlib import Path

from benchmarks import readings
from benchmarks.processes import Sample
from benchmarks.readings import Line

_WARM_UP = 0.2  # of the steps: the first ones trace, and loops grow from one step on


def command(num_workers: int, workdir: Path, **flags: object) -> list[str]:
    """A run of `num_workers` workers with a core each, and nothing in it but training."""
    rare = {"eval_every_epochs": 100_000, "checkpoint_every_secs": 10_000}
    if "checkpoint_every_steps" in flags:
        del rare["checkpoint_every_secs"]
    words = [f"--{name}={value}" for name, value in ({"workdir": workdir} | rare | flags).items()]
    return [sys.executable, "-m", "benchmarks.scripts.gang", str(num_workers), *words]


def observed(sample: Sample, act: str) -> list[Line]:
    """All lines of what the workers did of one kind; see benchmarks/scripts/observed_worker.py."""
    return [line for line in readings.lines(sample) if line.get("observed") == act]


def extracted_per_sec(sample: Sample) -> float:
    """Training images computed and kept a second, by all workers together.

    From the first part that was complete to the last; each worker's first part is not counted, as
    most of it was computed before.
    """
    parts = collections.defaultdict(list)
    for line in observed(sample, "part"):
        if line["split"] == "train":
            parts[line["worker"]].append(line)
    images = sum(line["images"] for own in parts.values() for line in own[1:])
    ends = [line["at"] for own in parts.values() for line in own]
    return images / (max(ends) - min(ends))


def steps_per_sec(sample: Sample) -> float:
    """Training steps a second, once loops have their length."""
    first, last = _steady(sample)
    return (last["trained"] - first["trained"]) / (last["at"] - first["at"])


def bytes_per_step(sample: Sample) -> float:
    """Sent over loopback by all workers, headers included."""
    first, last = _steady(sample)
    return (last["bytes"] - first["bytes"]) / (last["trained"] - first["trained"])


def stalls(sample: Sample) -> list[float]:
    """Seconds that the chief's loop waited for each checkpoint; not for the first, which traces."""
    return [x["secs"] for x in observed(sample, "checkpoint") if x["worker"] == 0][1:]


def agreements(sample: Sample) -> tuple[list[float], list[float]]:
    """Seconds of each agreement at a loop boundary, and of each loop, once loops have grown.

    An agreement is as long as for the worker that came last: the others wait for its steps, too.
    """
    since = _steady(sample)[0]["at"]
    agreed = collections.defaultdict(list)
    for line in observed(sample, "agreement"):
        if line["about"].startswith("after step ") and line["at"] > since:
            agreed[line["about"]].append(line["secs"])
    loops = [x for x in observed(sample, "loop") if x["worker"] == 0 and x["at"] > since]
    return [min(secs) for secs in agreed.values()], [line["secs"] for line in loops]


def gradient_bytes(sample: Sample) -> float:
    """Of one step: four for each parameter that is trained."""
    return 4 * readings.last(sample, "parameters")


def _steady(sample: Sample) -> tuple[Line, Line]:
    reports = [line for line in readings.lines(sample) if "trained" in line]
    least = _WARM_UP * reports[-1]["trained"]
    return next(line for line in reports if line["trained"] >= least), reports[-1]
