"""`logs/curves.jsonl`: what a run has measured over its steps, as data; no TensorFlow is needed.

One JSON object a line, in the order in which they were measured; of a curve the steps rise:

    {"curve": "train", "step": 10, "wall_time": 1790000000.123, "loss": 0.52, "accuracy": 0.81, …}

    curve      "train": means over the steps since the point before; "eval": one evaluation
    step       training steps done, from 1
    wall_time  seconds since 1970, to the millisecond
    the rest   scalars by the tags that they have in TensorBoard, in double precision: `loss` in
               nats; `accuracy`, `recall/CLASS`, `precision/CLASS`, `mean_recall`,
               `mean_precision`, `input_wait` and `goodput` in [0, 1]; `learning_rate`;
               `gradient_norm`; `examples_per_sec`; `device_memory_gb` in 1e9 bytes, on a GPU.
               null: not finite, since JSON has neither NaN nor infinity

A point is there for each `--log_every_steps`. Past MOST_POINTS of them every second one is left
out, past twice as many three of four, and so on, but for the newest: the file is written, and
uploaded, as a whole, and stays small. Which are left depends on the step alone. The "eval" curve
has all its points. A workdir of an earlier version has no such file; where its run is resumed, the
curves begin there.
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

# By curve and tag: points (step, value), in the order of the steps; NaN where FILE says null.
Curves = dict[str, dict[str, list[tuple[int, float]]]]


class _Point(NamedTuple):
    curve: str
    step: int
    scalars: Mapping[str, float]
    line: bytes


class CurvesFile:
    """Adds points to FILE, and takes back those beyond the step that training goes on from.

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
        """Add the point of `step`, to be written by the next `write`."""
        point: dict[str, Any] = {"curve": curve, "step": step, "wall_time": round(self._clock(), 3)}
        point |= {tag: float(v) if math.isfinite(v) else None for tag, v in scalars.items()}
        self._points.append(_Point(curve, step, scalars, json.dumps(point).encode() + b"\n"))

    def write(self) -> None:
        """Publish all points, if that changes the file."""
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
    """The curves under `logs`, local or gs://; and what was left out, "" where all was read."""
    found: Curves = {name: {} for name in NAMES}
    try:
        points = _points(storage.read_bytes(storage.join(logs, FILE)))
    except OSError as error:
        return found, f"Left out: {FILE} ({error.strerror or error})."
    for point in sorted(filter(None, points), key=lambda point: point.step):
        for tag, value in point.scalars.items():
            found[point.curve].setdefault(tag, []).append((point.step, value))
    damaged = points.count(None)
    left_out = f"Left out: {damaged:,} of {len(points):,} lines of {FILE} (damaged)."
    return found, left_out if damaged else ""


def _points(content: bytes) -> list[_Point | None]:
    return [_parse(line) for line in content.splitlines(keepends=True)]


def _parse(line: bytes) -> _Point | None:
    """None of a line that is damaged, as the last one of a copy that was cut short."""
    try:
        values = json.loads(line)
        curve, step, _ = (values.pop(key) for key in ("curve", "step", "wall_time"))
        scalars = {tag: math.nan if v is None else float(v) for tag, v in values.items()}
        whole = line.strip() + b"\n"
        return _Point(curve, int(step), scalars, whole) if curve in NAMES else None
    except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError):
        return None
