"""What a process said on stdout, a JSON object a line, as figures."""

from __future__ import annotations

import datetime
import itertools
import json
import statistics
from typing import Any

from benchmarks.processes import Sample

Line = dict[str, Any]


def lines(sample: Sample) -> list[Line]:
    """Every JSON line."""
    return [json.loads(line) for line in sample.output.splitlines() if line.startswith("{")]


def last(sample: Sample, key: str) -> float:
    """`key` of the last line that has it."""
    return next(line[key] for line in reversed(lines(sample)) if key in line)


def epoch_secs(sample: Sample) -> float:
    """The median from one epoch's end to the next: the first one also traces, and is left out."""
    keys = {"validation_accuracy", "val_acc"}  # Graft's, and the peers'
    ends = [_time(line) for line in lines(sample) if keys & line.keys()]
    return statistics.median(b - a for a, b in itertools.pairwise(ends))


def steady_images_per_sec(sample: Sample, batch_size: int) -> float:
    """Images trained on a second, from the first report of progress in training to the last.

    No evaluation and no tracing lies between them in a run that evaluates at its end alone.
    """
    reports = [line for line in lines(sample) if line.get("message", "").startswith("training ")]
    first, final = reports[0], reports[-1]
    return (final["done"] - first["done"]) * batch_size / (_time(final) - _time(first))


def first_step_secs(sample: Sample) -> float:
    """From the start of the process to the end of its first training step."""
    return next(_time(x) for x in lines(sample) if "first_step_secs" in x) - sample.began


def _time(line: Line) -> float:
    """Seconds since 1970; the peers write them so."""
    if isinstance(line["time"], float):
        return line["time"]
    return datetime.datetime.fromisoformat(line["time"]).timestamp()
