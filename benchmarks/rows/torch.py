"""PyTorch on the same weights, the head alone trained."""

from __future__ import annotations

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import in_turn
from benchmarks.setting import Setting

NEEDS_PEERS = True
ABOUT = """\
`benchmarks/scripts/torch_fit.py`: the same weights in PyTorch, frozen, in bfloat16, the images
decoded by a process for each core. An epoch with its validation, the first one left out; Graft
streams, too (`--feature_cache=off`), and keeps no features."""

_EPOCHS = 3


def rows(setting: Setting) -> list[Row]:
    """Seconds an epoch."""
    images = setting.images()
    flags = {"num_epochs": _EPOCHS, "feature_cache": "off", "dataset": images}
    samples = in_turn(
        setting.pairs,
        {
            "graft": lambda pair: setting.graft(f"streaming-{pair}", **flags),
            "torch": lambda pair: setting.peer_script("torch_fit", images, _EPOCHS),
        },
    )
    return [
        Row(
            "streamed epoch, frozen, s",
            [readings.epoch_secs(sample) for sample in samples["graft"]],
            "PyTorch",
            [readings.epoch_secs(sample) for sample in samples["torch"]],
            "peer/graft",
        )
    ]
