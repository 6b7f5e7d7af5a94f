"""`make bench`: Graft beside the script it grew from; writes docs/benchmarks.md.

    python -m benchmarks.run [--pairs=3] [--epochs=10] [--nogrowth]

Every comparison is of whole processes, in turn, on the same prepared data and backbone; a ratio
is taken within a pair, and the table gives the median over the pairs and the range.
"""

from __future__ import annotations

import datetime
import itertools
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from absl import app, flags

from benchmarks import machine
from benchmarks.processes import Sample, Spread, run
from trainer.flags import default_cache_dir
from trainer.quiet import import_tensorflow

_PAIRS = flags.DEFINE_integer("pairs", 3, "pairs of processes", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 10, "of each process", lower_bound=3)
_GROWTH = flags.DEFINE_boolean("growth", True, "measure memory against the number of images")
_REPORT = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def main(_: list[str]) -> None:
    """Prepare, measure, print, write."""
    data, backbone = _prepare()
    ours, seeds = [], []
    with tempfile.TemporaryDirectory() as scratch:
        for pair in range(_PAIRS.value):
            workdir = os.path.join(scratch, f"run-{pair}")
            print(f"pair {pair + 1} of {_PAIRS.value}: graft, then the seed's script", flush=True)
            ours.append(run(_graft(workdir)))
            seeds.append(run(_seed(data, backbone)))
        accuracy = json.loads(Path(scratch, "run-0", "metrics.json").read_text())
        helps = [run([sys.executable, "-m", "trainer", "--help"]).wall_secs for _ in range(5)]
        memory = {}
        if _GROWTH.value:
            from benchmarks import growth  # it needs TensorFlow

            print("peak memory at 1×, 4× and 16× images", flush=True)
            memory = growth.peak_mb(scratch, data)
    text = _page(ours, seeds, accuracy, memory, helps)
    print(text)
    _REPORT.write_text(text, encoding="utf-8")


def _prepare() -> tuple[str, str]:
    """Both processes find data and backbone prepared: the first use is not what is compared."""
    import_tensorflow()
    from trainer.data import leaves
    from trainer.models import handles

    cache = default_cache_dir()
    return leaves.prepare(cache), handles.resolve("efficientnet_lite0", cache)


def _graft(workdir: str) -> list[str]:
    command = [sys.executable, "-m", "trainer.task", f"--workdir={workdir}"]
    return [*command, f"--num_epochs={_EPOCHS.value}", "--log_format=json"]


def _seed(data: str, backbone: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.seed_script", data, backbone, str(_EPOCHS.value)]


def _page(
    ours: list[Sample],
    seeds: list[Sample],
    metrics: dict[str, Any],
    memory: dict[int, float],
    helps: list[float],
) -> str:
    our_epochs, seed_epochs = [_our_epoch(s) for s in ours], [_seed_epoch(s) for s in seeds]
    whole = Spread.of([s.wall_secs / o.wall_secs for o, s in zip(ours, seeds, strict=True)])
    epoch = Spread.of([s / o for o, s in zip(our_epochs, seed_epochs, strict=True)])
    peak = Spread.of([o.peak_mb / s.peak_mb for o, s in zip(ours, seeds, strict=True)])
    our_secs, seed_secs = (Spread.of([s.wall_secs for s in samples]) for samples in (ours, seeds))
    our_peak, seed_peak = (Spread.of([s.peak_mb for s in samples]) for samples in (ours, seeds))
    first_step = Spread.of([_first_step(s) for s in ours])
    seed_accuracy = statistics.median(_seed_accuracy(s) for s in seeds)
    growth_row = ""
    if memory:
        factors = ", ".join(f"{factor}×" for factor in memory)
        peaks = ", ".join(f"{mb:.0f}" for mb in memory.values())
        growth_row = f"| peak memory of one streamed epoch at {factors} images, MiB | {peaks} |\n"
    return f"""# Benchmarks

`make bench` wrote this page on {datetime.date.today()}. {machine.describe()}

Whole processes, Graft and the seed's script (`benchmarks/seed_script.py`) in turn, {len(ours)}
pairs, on the prepared `leaves` data (1,034 training and 133 validation images of 500×500) and the
embedded backbone, {_EPOCHS.value} epochs of batch 32, validation after every epoch. Graft also
writes checkpoints and curves, exports the model, loads it anew and scores it again. Median
(lowest–highest).

| measure | Graft | seed's script | ratio |
|---|---|---|---|
| whole process, s | {our_secs.format(digits=1)} | {seed_secs.format(digits=1)} | \
{whole.format("×")} |
| an epoch with its validation, s | {Spread.of(our_epochs).format()} | \
{Spread.of(seed_epochs).format()} | {epoch.format("×")} |
| peak memory, MiB | {our_peak.format(digits=0)} | {seed_peak.format(digits=0)} | \
{peak.format("×")} |
| validation accuracy of what is exported / of the last epoch | \
{metrics["eval"]["accuracy"]:.4f} | {seed_accuracy:.4f} | |

| alone | figure |
|---|---|
| from the start of the process to the end of the first training step, s | {first_step.format()} |
| `graft --help`, s | {Spread.of(helps).format()} |
{growth_row}"""


def _our_epoch(sample: Sample) -> float:
    lines = [line for line in _json_lines(sample) if "validation_accuracy" in line]
    return _middle([datetime.datetime.fromisoformat(line["time"]).timestamp() for line in lines])


def _seed_epoch(sample: Sample) -> float:
    return _middle([line["time"] for line in _json_lines(sample)])


def _middle(ends: list[float]) -> float:
    """The median epoch: the first one also traces, and is not among them."""
    return statistics.median(b - a for a, b in itertools.pairwise(ends))


def _seed_accuracy(sample: Sample) -> float:
    return _json_lines(sample)[-1]["val_acc"]


def _first_step(sample: Sample) -> float:
    return next(
        line["first_step_secs"] for line in _json_lines(sample) if "first_step_secs" in line
    )


def _json_lines(sample: Sample) -> list[dict[str, Any]]:
    return [json.loads(line) for line in sample.output.splitlines() if line.startswith("{")]


if __name__ == "__main__":
    app.run(main)
