"""What bfloat16 costs: the difference in features, and in the accuracy of whole runs."""

from __future__ import annotations

import functools

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import in_turn, run
from benchmarks.setting import Setting

ABOUT = """\
Features of the 133 validation images in bfloat16 against float32; and the validation accuracy of
whole runs with three seeds (0, 1, 2), trained on features in the one and in the other precision and
evaluated in float32 both times, beside one another on the same seed."""

_SEEDS = 3


def rows(setting: Setting) -> list[Row]:
    """The differences, and the accuracies by seed."""
    sample = run(setting.script("feature_difference", setting.data, setting.backbone))
    precisions = ("mixed_bfloat16", "float32")

    def graft(precision: str, seed: int) -> list[str]:
        # The cache knows the precisions apart.
        return setting.graft(
            f"{precision}-{seed}",
            num_epochs=setting.epochs,
            precision=precision,
            seed=seed,
            feature_cache=setting.scratch / "features",
        )

    samples = in_turn(_SEEDS, {name: functools.partial(graft, name) for name in precisions})
    half, plain = ([readings.last(s, "accuracy") for s in samples[name]] for name in precisions)
    largest, cosine = (readings.last(sample, key) for key in ("largest", "cosine"))
    return [
        Row(
            "features in bfloat16, largest difference as a share of the largest feature",
            [largest],
            "float32",
            digits=4,
        ),
        Row("the same, lowest cosine", [cosine], "float32", digits=4),
        Row(
            f"validation accuracy after {setting.epochs} epochs, bfloat16, three seeds",
            half,
            "float32",
            plain,
            digits=4,
        ),
    ]
