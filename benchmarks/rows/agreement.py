"""What the workers' agreement at every loop boundary costs."""

from __future__ import annotations

import statistics

from benchmarks import gangs
from benchmarks.figures import Row
from benchmarks.processes import in_turn, run
from benchmarks.setting import Setting

ABOUT = """\
Two workers of a core each agree before anything is decided at a loop boundary: stop, checkpoint,
length of the next loop. Counted from when the later one asks to when it has its answer; the time
that the earlier one waits for the later one's steps is the steps'. The share is of the time of the
loops, which last about a second as training sets them; of the head on kept features, a fifth of
whose steps is left out, while loops grow."""

_STEPS = 3000


def rows(setting: Setting) -> list[Row]:
    """Microseconds of one, and their share of the time of the loops."""
    cache = setting.scratch / "features"
    run(setting.graft("fill", num_steps=1, feature_cache=cache, export_formats="", report="false"))
    samples = in_turn(
        setting.pairs,
        {
            "agreement": lambda pair: gangs.command(
                2, setting.workdir(f"agreement-{pair}"), feature_cache=cache, num_steps=_STEPS
            )
        },
    )
    found = [gangs.agreements(sample) for sample in samples["agreement"]]
    micros = [statistics.median(agreed) * 1e6 for agreed, _ in found]
    shares = [100 * sum(agreed) / sum(loops) for agreed, loops in found]
    loops = [statistics.median(loops) for _, loops in found]
    return [
        Row("agreement at a loop boundary, two workers, µs", micros, digits=0),
        Row("the loop between two of them, s", loops),
        Row("the same, share of the loops' time, %", shares, reach="≤ 0.5 %", digits=3),
    ]
