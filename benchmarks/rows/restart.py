"""From the loss of a worker to the next new training step."""

from __future__ import annotations

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import in_turn, run
from benchmarks.setting import Setting

ABOUT = """\
Two workers of a core each by `graft launch`'s gang, on kept features, with a checkpoint every 200
steps; one is killed (SIGKILL) after 500 steps. "Both gone": the other has noticed and left, and the
launcher starts both again. "First step": resumed from the newest checkpoint. "New step": the first
that had not been done before. Beside it, `import tensorflow` alone, in two processes of a core
each: what no restart can be faster than."""

_KILL_AFTER, _SAVE_EVERY = 500, 200
_NUM_STEPS = 100_000


def rows(setting: Setting) -> list[Row]:
    """Seconds to each of the three."""
    cache = setting.scratch / "features"
    run(setting.graft("fill", num_steps=1, feature_cache=cache, export_formats="", report="false"))

    def command(pair: int) -> list[str]:
        flags = {
            "workdir": setting.workdir(f"killed-{pair}"),
            "feature_cache": cache,
            "num_steps": _NUM_STEPS,
            "eval_every_epochs": _NUM_STEPS,
            "checkpoint_every_steps": _SAVE_EVERY,
        }
        words = [f"--{name}={value}" for name, value in flags.items()]
        return setting.script("restart", _KILL_AFTER, *words)

    samples = in_turn(
        setting.pairs,
        {"restart": command, "imports": lambda pair: setting.script("imports", 2)},
    )
    imports = [readings.last(sample, "import_secs") for sample in samples["imports"]]
    figures = {
        name: [readings.last(sample, name) for sample in samples["restart"]]
        for name in ("noticed_secs", "first_step_secs", "new_step_secs")
    }
    return [
        Row("one of two workers killed: until both are gone, s", figures["noticed_secs"]),
        Row("the same, until the first step after it, s", figures["first_step_secs"]),
        Row(
            "the same, until the next new step, s",
            figures["new_step_secs"],
            *("of it `import tensorflow`", imports),
            reach="≤ 20 s",
        ),
    ]
