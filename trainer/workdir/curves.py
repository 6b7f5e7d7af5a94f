"""Read and write `logs/curves.jsonl`, a run's measurements by step, without TensorFlow.

One JSON object a line, in order of measurement; the steps of a curve increase:

    {"curve": "train", "step": 10, "wall_time": 1790000000.123, "loss": 0.52, "accuracy": 0.81, …}

    curve      "train": means over the steps since the previous point; "eval": one evaluation
    step       training steps done, from 1
    wall_time  seconds since 1970, to the millisecond
    the rest   scalars by their TensorBoard tags, in double precision: `loss` in
               nats; `accuracy`, `recall/CLASS`, `precision/CLASS`, `mean_recall`,
               `mean_precision`, `input_wait` and `goodput` in [0, 1]; `learning_rate`;
               `gradient_norm`; `examples_per_sec`; `device_memory_gb` in 1e9 bytes, on a GPU.
               null: not finite, since JSON has neither NaN nor infinity

There is a point every `--log_every_steps`. Beyond MOST_POINTS every second one is dropped, beyond
twice as many three of four, and so on, except the newest: the file is rewritten and uploaded each
time, and must stay small. Which are kept depends on the step alone. The "eval" curve keeps all its
points. A workdir of an earlier version has no such file; if resumed, its curves begin there.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from trainer.storage import api as storage

FILE = "curves.jsonl"
NAMES = ("train", "eval")
MOST_POINTS = 4096

# By curve and tag: points (step, value), ordered by step; NaN where FILE has null.
Curves = dict[str, dict[str, list[tuple[int, float]]]]


class _Point(NamedTuple):
    curve: str
    step: int
    scalars: Mapping[str, float]
    line: bytes


class CurvesFile:
    """Adds points to FILE, after removing those beyond the step that training resumes from.

    Args:
        directory: `logs` of the workdir, local or gs://.
        resumed_step: points of later steps are removed.
        every_steps: steps between two points of the training curve.
        publish: replaces the content of FILE.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        directory: str,
        resumed_step: int,
        every_steps: int,
        publish: Callable[[bytes], object],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._every_steps = every_steps
        self._publish = publish
        self._clock = clock
        try:
            self._published = storage.read_bytes(storage.join(directory, FILE))
        except FileNotFoundError:
            self._published = b""
        found = _points(self._published)
        self._points = [point for point in found if point and point.step <= resumed_step]

    def add(self, curve: str, step: int, scalars: Mapping[str, float]) -> None:
        """Add the point of `step`; `write` publishes it."""
        point: dict[str, Any] = {"curve": curve, "step": step, "wall_time": round(self._clock(), 3)}
        point |= {tag: float(v) if math.isfinite(v) else None for tag, v in scalars.items()}
        self._points.append(_Point(curve, step, scalars, json.dumps(point).encode() + b"\n"))

    def write(self) -> None:
        """Publish all points, if the file changes."""
        newest = max((point.step for point in self._points if point.curve == "train"), default=0)
        full = max(newest - self._every_steps, 0) // (self._every_steps * MOST_POINTS)
        if full:
            kept = {newest, *range(0, newest, self._every_steps << full.bit_length())}
            self._points = [p for p in self._points if p.curve != "train" or p.step in kept]
        content = b"".join(point.line for point in self._points)
        if content != self._published:
            self._publish(content)
            self._published = content


def read(logs: str) -> tuple[Curves, str]:
    """Return the curves under `logs`, local or gs://, and a message about unreadable parts."""
    found: Curves = {name: {} for name in NAMES}
    try:
        points = _points(storage.read_bytes(storage.join(logs, FILE)))
    except OSError as error:
        return found, f"Left out: {FILE} ({error.strerror or error})."
    for point in sorted(filter(None, points), key=lambda point: point.step):
        for tag, value in point.scalars.items():
            found[point.curve].setdefault(tag, []).append((point.step, value))
    corrupt = points.count(None)
    left_out = f"Left out: {corrupt:,} of {len(points):,} lines of {FILE} (corrupt)."
    return found, left_out if corrupt else ""


def _points(content: bytes) -> list[_Point | None]:
    return [_parse(line) for line in content.splitlines(keepends=True)]


def _parse(line: bytes) -> _Point | None:
    """Parse a line; None if it is corrupt, such as the last one of a truncated copy."""
    try:
        values = json.loads(line)
        curve, step, _ = (values.pop(key) for key in ("curve", "step", "wall_time"))
        scalars = {tag: math.nan if v is None else float(v) for tag, v in values.items()}
        line = line.strip() + b"\n"
        return _Point(curve, int(step), scalars, line) if curve in NAMES else None
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None
