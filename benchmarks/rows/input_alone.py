"""The input pipeline alone against the bare JPEG decoder."""

from __future__ import annotations

from benchmarks import readings
from benchmarks.figures import Row
from benchmarks.processes import Sample, in_turn
from benchmarks.setting import Setting

ABOUT = """\
Batches as training reads them, from records to resized images, with nothing behind them. The peer
is `tf.io.decode_jpeg` at full size on the same files in memory, in one thread, times the cores. The
pipeline decodes a JPEG of 500×500 at half its size, which is enough for 224×224, so that it can be
ahead of it."""


def rows(setting: Setting) -> list[Row]:
    """Images a second."""
    samples = in_turn(
        setting.pairs,
        {
            "plain": lambda pair: setting.script("input_rate", "pipeline", "none", setting.data),
            "light": lambda pair: setting.script("input_rate", "pipeline", "light", setting.data),
            "decoder": lambda pair: setting.script("input_rate", "decoder", setting.data),
        },
    )
    decoder = [rate * _cores(sample) for rate, sample in _rates(samples["decoder"])]
    return [
        Row(
            measure,
            [rate for rate, _ in _rates(samples[name])],
            "bare decoder × cores",
            decoder,
            "graft/peer",
            reach,
            digits=0,
        )
        for measure, name, reach in (
            ("input pipeline alone, images a second", "plain", "≥ 0.85×"),
            ("the same with `--augment=light`", "light", ""),
        )
    ]


def _rates(samples: list[Sample]) -> list[tuple[float, Sample]]:
    return [(readings.last(sample, "images_per_sec"), sample) for sample in samples]


def _cores(sample: Sample) -> float:
    return readings.last(sample, "cores")
