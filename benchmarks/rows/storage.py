"""A workdir in a bucket beside TensorFlow writing gs:// itself: checkpoints, curves, and steps."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import Sample, in_turn
from benchmarks.setting import Setting

ABOUT = """\
The emulator of the tests behind a proxy that adds 0 or 40 ms to every request and counts; both have
a core of their own (an emulator takes 0.1 s of it for 15 MB), what is measured has the other. A
checkpoint of 15 MB, the median of five; "published" is until its manifest is there. 200 points of
a curve, flushed one by one; Graft uploads every 50 of them. Steps of 70 ms on the one core that
training has, with one upload after the other: the slowest of 30, of the median without any. A step
of fine-tuning is longer, those of a head run a second long without the host. An upload of 15 MB
takes 15 ms of a core, most of it the kernel's for sending, at a lower priority than training."""

_DELAYS = (0.0, 0.04)  # seconds
_PEER = "TensorFlow writing gs://"


def rows(setting: Setting) -> list[Row]:
    """All of it at both delays."""
    samples = in_turn(
        setting.pairs,
        {f"{1000 * delay:.0f} ms": partial(_measure, setting, delay) for delay in _DELAYS},
    )
    return [row for delay, found in samples.items() for row in _rows(delay, found)]


def _measure(setting: Setting, delay: float, pair: int) -> Sequence[str]:
    return setting.script("object_storage", delay)


def _rows(delay: str, samples: list[Sample]) -> list[Row]:
    def figures(phase: str, key: str, factor: float = 1.0) -> list[float]:
        return [factor * statistics.median(_found(sample, phase, key)) for sample in samples]

    def against(measure: str, phase: str, key: str, reach: str = "", factor: float = 1.0) -> Row:
        ours, theirs = (figures(f"{who} {phase}", key, factor) for who in ("our", "tf"))
        return Row(measure, ours, _PEER, theirs, "peer/graft", reach, digits=0)

    at = f"gs://, {delay} a request:"
    blocked = figures("our publish", "blocked", 1e3)
    theirs = figures("tf save", "secs", 1e3)
    published = figures("our publish", "requests")
    reach = "≤ 60 ms" if delay == "0 ms" else "≤ 60 ms, ≥ 30×"
    return [
        Row(
            f"{at} training blocked by a checkpoint, ms",
            blocked,
            *(_PEER, theirs, "peer/graft", reach),
            digits=1,
        ),
        Row(f"{at} published, ms", figures("our publish", "secs", 1e3), digits=0),
        Row(
            f"{at} requests to publish",
            published,
            *(_PEER, figures("tf save", "requests"), "peer/graft", "≤ 6"),
            digits=0,
        ),
        against(f"{at} restored, ms", "restore", "secs", factor=1e3),
        against(f"{at} requests to restore", "restore", "requests", "≤ 4"),
        against(f"{at} 200 flushes of a curve, bytes sent", "flushes", "bytes", "≥ 20×"),
        against(f"{at} 200 flushes of a curve, ms", "flushes", "secs", factor=1e3),
        Row(
            f"{at} slowest step during uploads, of the median without",
            figures("busy steps", "of_median"),
            *("without uploads", figures("quiet steps", "of_median")),
            reach="≤ 1.2×",
        ),
    ]


def _found(sample: Sample, phase: str, key: str) -> list[float]:
    return [line[key] for line in readings.lines(sample) if line["phase"] == phase]
