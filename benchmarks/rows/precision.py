"""What bfloat16 costs: the difference in features, and in the accuracy of whole runs."""

from __future__ import annotations

import functools

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import in_turn, run
from benchmarks.setting import Setting

ABOUT = """\
Features of the 133 validation images in bfloat16 against float32; and the validation accuracy of
whole runs with three seeds (0, 1, 2), trained in the one and in the other precision and evaluated
in float32 both times, beside one another on the same seed: a head on features of that precision,
and all weights (`--nofreeze_backbone --learning_rate=0.0001`)."""

_SEEDS = 3
_TUNED_EPOCHS = 4


def rows(setting: Setting) -> list[Row]:
    """The differences, and the accuracies by seed."""
    sample = run(setting.script("feature_difference", setting.data, setting.backbone))
    largest, cosine = (readings.last(sample, key) for key in ("largest", "cosine"))
    # The cache knows the precisions apart.
    frozen: dict[str, object] = {
        "num_epochs": setting.epochs,
        "feature_cache": setting.scratch / "features",
    }
    tuned: dict[str, object] = {
        "num_epochs": _TUNED_EPOCHS,
        "freeze_backbone": False,
        "learning_rate": 0.0001,
    }
    return [
        Row(
            "features in bfloat16, largest difference as a share of the largest feature",
            [largest],
            "float32",
            digits=4,
        ),
        Row("the same, lowest cosine", [cosine], "float32", digits=4),
        _accuracies(setting, "frozen", f"after {setting.epochs} epochs", frozen),
        _accuracies(setting, "tuned", f"after {_TUNED_EPOCHS} epochs of fine-tuning", tuned),
    ]


def _accuracies(setting: Setting, name: str, when: str, flags: dict[str, object]) -> Row:
    def graft(precision: str, seed: int) -> list[str]:
        return setting.graft(f"{name}-{precision}-{seed}", precision=precision, seed=seed, **flags)

    precisions = ("mixed_bfloat16", "float32")
    samples = in_turn(_SEEDS, {name: functools.partial(graft, name) for name in precisions})
    half, plain = ([readings.last(s, "accuracy") for s in samples[name]] for name in precisions)
    return Row(
        f"validation accuracy {when}, bfloat16, three seeds", half, "float32", plain, digits=4
    )
