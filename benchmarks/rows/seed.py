"""The seed's job from start to end: Graft with nothing cached, with features cached, the script."""

from __future__ import annotations

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import Sample, in_turn, run
from benchmarks.setting import Setting

ABOUT = """\
The whole job as a process: Graft's run trains, evaluates after every epoch, writes checkpoints and
curves, exports the model, loads it anew and scores it again; "cold" begins with an empty feature
cache, "warm" finds the features of the run before. The seed's script
(`benchmarks/scripts/seed_script.py`) trains and validates, and keeps nothing."""

_PEER = "seed's script"


def rows(setting: Setting) -> list[Row]:
    """Wall time, accuracy and memory, with the export and, where that can be had, without."""

    def graft(name: str, cache: str, pair: int, **flags: object) -> list[str]:
        return setting.graft(
            f"{name}-{pair}",
            num_epochs=setting.epochs,
            feature_cache=setting.scratch / f"{cache}-{pair}",
            **flags,
        )

    commands = {
        "cold": lambda pair: graft("cold", "features", pair),
        "warm": lambda pair: graft("warm", "features", pair),
    }
    plain = {
        "cold-plain": lambda pair: graft("cold-plain", "others", pair, export_formats=""),
        "warm-plain": lambda pair: graft("warm-plain", "others", pair, export_formats=""),
    }
    if _can_leave_out_export(setting):
        commands |= plain
    commands["seed"] = lambda pair: setting.seed_script(setting.epochs)
    samples = in_turn(setting.pairs, commands)
    seed = samples["seed"]
    what = f"{setting.epochs} epochs, whole process"
    table = [
        _times(f"{what}, cold, s", samples["cold"], seed, "≥ 14×"),
        _times(f"{what}, features cached, s", samples["warm"], seed, "≥ 25×"),
    ]
    if "cold-plain" in samples:
        table += [
            _times(f"{what}, cold, no export, s", samples["cold-plain"], seed),
            _times(f"{what}, features cached, no export, s", samples["warm-plain"], seed),
        ]
    table += [
        Row(
            "validation accuracy, of what is exported / of the last epoch",
            [readings.last(sample, "accuracy") for sample in samples["cold"]],
            _PEER,
            [readings.last(sample, "val_acc") for sample in seed],
            reach="not lower",
            digits=4,
        ),
        Row(
            "peak memory, cold, MiB",
            [sample.peak_mb for sample in samples["cold"]],
            _PEER,
            [sample.peak_mb for sample in seed],
            "graft/peer",
            digits=0,
        ),
    ]
    return table


def _times(measure: str, ours: list[Sample], seed: list[Sample], reach: str = "") -> Row:
    figures = [s.wall_secs for s in ours], _PEER, [s.wall_secs for s in seed]
    return Row(measure, *figures, ratio="peer/graft", reach=reach, digits=1)


def _can_leave_out_export(setting: Setting) -> bool:
    """Whether an empty --export_formats leaves it out; found by trying."""
    cache = setting.scratch / "features-trial"
    command = setting.graft("trial", num_steps=1, feature_cache=cache, export_formats="")
    try:
        run(command)
    except RuntimeError:
        return False
    return not (setting.workdir("trial") / "export").exists()
