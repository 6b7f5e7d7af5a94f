"""Time and peak memory against the number of images, streamed and through the feature cache."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence

from benchmarks.figures import Row
from benchmarks.processes import Sample, in_turn, run
from benchmarks.setting import Setting

ABOUT = """\
One epoch of the whole job on packed records that hold each training image 1, 4 and 16 times: up to
16,544 images. "Streamed" is `--feature_cache=off`, "cached" starts with an empty feature cache and
holds all features in memory."""

FACTORS = (1, 4, 16)


def rows(setting: Setting) -> list[Row]:
    """Memory at 4 and 16 times the images against 1, then time."""
    packed = {}
    for factor in FACTORS:
        packed[factor] = setting.scratch / f"packed-{factor}"
        flags = [f"--dataset={setting.linked(factor)}", f"--output_dir={packed[factor]}"]
        run([sys.executable, "-m", "trainer", "pack", *flags, "--shard_mb=16"])

    def command(kind: str, factor: int, pair: int) -> Sequence[str]:
        name = f"{kind}-{factor}-{pair}"
        cache = "off" if kind == "streamed" else setting.scratch / f"features-{name}"
        flags = {"dataset": packed[factor], "num_epochs": 1, "feature_cache": cache}
        return setting.graft(name, **flags)

    samples = in_turn(
        setting.pairs,
        {
            f"{kind} {factor}×": functools.partial(command, kind, factor)
            for kind in ("streamed", "cached")
            for factor in FACTORS
        },
    )
    table = []
    for kind in ("streamed", "cached"):
        base, *larger = (samples[f"{kind} {factor}×"] for factor in FACTORS)
        for factor, ours in zip(FACTORS[1:], larger, strict=True):
            reach = "≤ 1.15×" if (kind, factor) == ("streamed", 16) else ""
            table.append(_row(f"peak memory, {kind}, {factor}× images, MiB", ours, base, reach))
        for factor, ours in zip(FACTORS[1:], larger, strict=True):
            table.append(_row(f"one epoch, {kind}, {factor}× images, whole process, s", ours, base))
    return table


def _row(measure: str, ours: list[Sample], base: list[Sample], reach: str = "") -> Row:
    field = "peak_mb" if "memory" in measure else "wall_secs"
    digits = 0 if field == "peak_mb" else 1
    figures, of_base = ([getattr(sample, field) for sample in s] for s in (ours, base))
    return Row(measure, figures, "Graft at 1×", of_base, "graft/peer", reach, digits)
