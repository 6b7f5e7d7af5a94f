"""How soon something happens: the first training step, the help."""

from __future__ import annotations

import sys

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import in_turn, run
from benchmarks.setting import Setting

ABOUT = """\
From the start of the process, Python's own included, to the end of the first training step on
cached features; `graft --help` from start to end."""


def rows(setting: Setting) -> list[Row]:
    """Both."""
    flags = {"num_epochs": 1, "feature_cache": setting.scratch / "features"}
    run(setting.graft("fill", **flags))
    samples = in_turn(
        setting.pairs,
        {
            "graft": lambda pair: setting.graft(f"start-{pair}", **flags),
            "help": lambda pair: [sys.executable, "-m", "trainer", "--help"],
        },
    )
    first_steps = [readings.first_step_secs(sample) for sample in samples["graft"]]
    return [
        Row("start to first training step, features cached, s", first_steps, reach="≤ 5 s"),
        Row("`graft --help`, s", [sample.wall_secs for sample in samples["help"]]),
    ]
