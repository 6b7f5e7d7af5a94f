"""`tf_keras.Model.fit` on the same model: the head alone, and everything."""

from __future__ import annotations

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import in_turn
from benchmarks.setting import BATCH_SIZE, Setting

ABOUT = """\
`benchmarks/scripts/keras_fit.py`: `hub.KerasLayer` and the same head, with a parallel and
prefetching input pipeline that keeps decoded images in memory when the head alone is trained.
Fine-tuning is counted between two training steps, without start, tracing, validation or export,
in float32 on both sides but for the row that says otherwise. `fit` updates the statistics of the
batch normalizations; Graft does so with `--nofreeze_batch_norm` and keeps them by default."""

_PEER = "`tf_keras` `fit`"
_STEPS = 24


def rows(setting: Setting) -> list[Row]:
    """Whole processes with a frozen backbone; images a second in fine-tuning."""
    table = _frozen(setting)
    tuned = {
        "num_steps": _STEPS,
        "freeze_backbone": "false",
        "learning_rate": 1e-4,
        "checkpoint_every_secs": 10_000,
    }
    samples = in_turn(
        setting.pairs,
        {
            "tuned": lambda pair: setting.graft(f"tuned-{pair}", **tuned),
            "tuned with statistics": lambda pair: setting.graft(
                f"statistics-{pair}", freeze_batch_norm="false", **tuned
            ),
            "tuned in bfloat16": lambda pair: setting.graft(
                f"bfloat16-{pair}", precision="mixed_bfloat16", **tuned
            ),
            "fit": lambda pair: setting.script(
                "keras_fit", "tuned", setting.data, setting.backbone, _STEPS
            ),
        },
    )
    fit = [readings.last(sample, "images_per_sec") for sample in samples["fit"]]
    for name, measure, reach in (
        ("tuned", "fine-tuning, images a second", "≥ 1.5×"),
        ("tuned with statistics", "the same with `--nofreeze_batch_norm`", ""),
        ("tuned in bfloat16", "fine-tuning with `--precision=mixed_bfloat16`, images a second", ""),
    ):
        ours = [readings.steady_images_per_sec(sample, BATCH_SIZE) for sample in samples[name]]
        table.append(Row(measure, ours, _PEER, fit, "graft/peer", reach, digits=1))
    return table


def _frozen(setting: Setting) -> list[Row]:
    def graft(pair: int) -> list[str]:
        cache = setting.scratch / f"features-{pair}"
        return setting.graft(f"frozen-{pair}", num_epochs=setting.epochs, feature_cache=cache)

    samples = in_turn(
        setting.pairs,
        {
            "graft": graft,
            "fit": lambda pair: setting.script(
                "keras_fit", "frozen", setting.data, setting.backbone, setting.epochs
            ),
        },
    )
    return [
        Row(
            f"{setting.epochs} epochs, whole process, cold, s",
            [sample.wall_secs for sample in samples["graft"]],
            _PEER,
            [sample.wall_secs for sample in samples["fit"]],
            "peer/graft",
            digits=1,
        )
    ]
