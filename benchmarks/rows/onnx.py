"""The backbone's forward pass against ONNX Runtime's on the same weights."""

from __future__ import annotations

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import in_turn, run
from benchmarks.setting import Setting

NEEDS_PEERS = True
ABOUT = """\
`benchmarks/scripts/onnx_forward.py`: the same weights as PyTorch exports them, with ONNX Runtime's
graph optimizations on (it folds batch normalization and ReLU6 into the convolutions, too), in
float32 on batches of 32, a thread for each core. Both give the same features on the same batch, or
there is no row."""

# Of the mean feature: another order of additions.
_TOLERANCE = 1e-3


def rows(setting: Setting) -> list[Row]:
    """Milliseconds an image."""
    model = setting.scratch / "backbone.onnx"
    run(setting.peer_script("onnx_forward", "export", model))
    samples = in_turn(
        setting.pairs,
        {
            "graft": lambda pair: setting.script("forward", "float32", setting.backbone),
            "onnx": lambda pair: setting.peer_script("onnx_forward", model),
        },
    )
    ours, theirs = (readings.last(samples[name][0], "feature_mean") for name in ("graft", "onnx"))
    if abs(ours - theirs) > _TOLERANCE * ours:
        raise RuntimeError(f"the mean feature is {ours} here and {theirs} in ONNX Runtime")
    return [
        Row(
            "bare forward, float32, ms an image",
            [readings.last(sample, "ms_per_image") for sample in samples["graft"]],
            "ONNX Runtime",
            [readings.last(sample, "ms_per_image") for sample in samples["onnx"]],
            "peer/graft",
            "≥ 1.1×",
        )
    ]
