"""The backbone's forward pass alone; and the least time that a cold run could take."""

from __future__ import annotations

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import Sample, in_turn
from benchmarks.setting import NUM_TRAIN, NUM_VALIDATION, Setting

ABOUT = """\
Batches of 32 that lie in memory, the median of 20 calls. The peer is the SavedModel as `hub.load`
returns it, in float32; Graft's is the graph with the batch normalizations folded. The lower bound
of a cold run is 1,034 images in bfloat16 and 133 in float32 through that graph, as a run computes
them (all in float32 on a processor without bfloat16), and `import tensorflow`: no decoding, no
training, no export."""

_KINDS = ("loaded", "float32", "mixed_bfloat16")


def rows(setting: Setting) -> list[Row]:
    """Milliseconds an image, and the bound."""

    def cold(pair: int) -> list[str]:
        cache = setting.scratch / f"features-{pair}"
        return setting.graft(f"cold-{pair}", num_epochs=setting.epochs, feature_cache=cache)

    commands = {
        kind: lambda pair, kind=kind: setting.script("forward", kind, setting.backbone)
        for kind in _KINDS
    }
    samples = in_turn(setting.pairs, {**commands, "cold": cold})
    loaded, plain, half = (
        [readings.last(sample, "ms_per_image") for sample in samples[kind]] for kind in _KINDS
    )
    imports = [readings.last(sample, "import_secs") for sample in samples["loaded"]]
    trained = half if _trains_in_bfloat16(samples["cold"][0]) else plain
    bound = [
        (NUM_TRAIN * for_training + NUM_VALIDATION * for_validation) / 1e3 + start
        for for_training, for_validation, start in zip(trained, plain, imports, strict=True)
    ]
    peer = "the SavedModel as loaded"
    times = [sample.wall_secs for sample in samples["cold"]]
    return [
        Row("bare forward, float32, ms an image", plain, peer, loaded, "peer/graft"),
        Row("bare forward, bfloat16, ms an image", half, peer, loaded, "peer/graft"),
        Row(f"{setting.epochs} epochs, cold, s", times, "lower bound", bound, "graft/peer"),
    ]


def _trains_in_bfloat16(sample: Sample) -> bool:
    return "in mixed_bfloat16" in sample.output
