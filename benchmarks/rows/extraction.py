"""Features computed from files, decoding included, against the bare forward pass."""

from __future__ import annotations

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import in_turn
from benchmarks.setting import Setting

ABOUT = """\
A folder of 4,136 files (each training image linked four times): images a second that Graft reads,
decodes, runs through the backbone and commits to the feature cache, from the first committed part
to the last. The peer is the SavedModel as `hub.load` returns it, in float32 on a batch in memory:
it decodes nothing."""

_FACTOR = 4


def rows(setting: Setting) -> list[Row]:
    """Images a second in each precision."""
    folder = setting.linked(_FACTOR)

    def extraction(precision: str, pair: int) -> list[str]:
        name = f"{precision}-{pair}"
        flags = {
            "workdir": setting.workdir(name),
            "dataset": folder,
            "feature_cache": setting.scratch / f"features-{name}",
            "precision": precision,
        }
        return setting.script("extraction", *(f"--{k}={v}" for k, v in flags.items()))

    samples = in_turn(
        setting.pairs,
        {
            "loaded": lambda pair: setting.script("forward", "loaded", setting.backbone),
            "float32": lambda pair: extraction("float32", pair),
            "mixed_bfloat16": lambda pair: extraction("mixed_bfloat16", pair),
        },
    )
    bare = [1e3 / readings.last(sample, "ms_per_image") for sample in samples["loaded"]]
    peer = "bare float32 forward of the SavedModel as loaded"
    return [
        Row(
            f"extraction with decode, {name}, images a second",
            [readings.last(sample, "images_per_sec") for sample in samples[precision]],
            peer,
            bare,
            "graft/peer",
            reach,
            digits=0,
        )
        for name, precision, reach in (
            ("float32", "float32", "≥ 1.3×"),
            ("bfloat16", "mixed_bfloat16", "≥ 2.2×"),
        )
    ]
