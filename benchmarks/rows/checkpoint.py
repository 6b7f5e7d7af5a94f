"""How long training waits for a checkpoint."""

from __future__ import annotations

import statistics

from benchmarks import gangs
from benchmarks.figures import Row
from benchmarks.processes import in_turn, run
from benchmarks.setting import Setting

ABOUT = """\
A frozen run on kept features in a local workdir, with ten checkpoints, one about every half a
second, by one and by two workers of a core each. The stall is all that the loop does for a
checkpoint: curves, weights and slots of the head, state, ledger; the rest is published in the
background. The median of a run's checkpoints, and the worst."""

_SAVE_EVERY = {1: 400, 2: 100}  # steps, by workers
_CHECKPOINTS = 10


def rows(setting: Setting) -> list[Row]:
    """Milliseconds, by the chief."""
    cache = setting.scratch / "features"
    run(setting.graft("fill", num_steps=1, feature_cache=cache, export_formats="", report="false"))

    def command(num_workers: int, pair: int) -> list[str]:
        return gangs.command(
            num_workers,
            setting.workdir(f"{num_workers}-{pair}"),
            feature_cache=cache,
            num_steps=_CHECKPOINTS * _SAVE_EVERY[num_workers],
            checkpoint_every_steps=_SAVE_EVERY[num_workers],
        )

    samples = in_turn(
        setting.pairs,
        {"one": lambda pair: command(1, pair), "two": lambda pair: command(2, pair)},
    )
    table = []
    for name, words in (("one", "a frozen run"), ("two", "a frozen run on two workers")):
        stalls = [gangs.stalls(sample) for sample in samples[name]]
        middle = [statistics.median(secs) * 1e3 for secs in stalls]
        worst = [max(secs) * 1e3 for secs in stalls]
        table += [
            Row(f"stall of a checkpoint, {words}, ms", middle, reach="≤ 50 ms", digits=1),
            Row(f"the worst of {len(stalls[0])} of them, ms", worst, digits=1),
        ]
    return table
