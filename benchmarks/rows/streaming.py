"""An epoch over augmented images that nothing is kept of, against the seed's."""

from __future__ import annotations

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import in_turn
from benchmarks.setting import Setting

ABOUT = """\
From the end of one epoch to the end of the next, validation included; the first epoch, which also
starts and traces, is left out. `--augment=light --feature_cache=off`, frozen backbone: every image
is decoded, augmented and run through the backbone in every epoch. The seed's script does not
augment."""

_EPOCHS = 4


def rows(setting: Setting) -> list[Row]:
    """Seconds an epoch."""
    flags = {"num_epochs": _EPOCHS, "augment": "light", "feature_cache": "off"}
    samples = in_turn(
        setting.pairs,
        {
            "graft": lambda pair: setting.graft(f"streaming-{pair}", **flags),
            "seed": lambda pair: setting.seed_script(_EPOCHS),
        },
    )
    return [
        Row(
            "streamed epoch with `--augment=light`, frozen, s",
            [readings.epoch_secs(sample) for sample in samples["graft"]],
            "seed's script, no augmentation",
            [readings.epoch_secs(sample) for sample in samples["seed"]],
            "peer/graft",
            "≥ 2×",
        )
    ]
