"""Two workers of one core each against one worker of one core: fine-tuning."""

from __future__ import annotations

from functools import partial

from benchmarks import gangs
from benchmarks.figures import Row
from benchmarks.processes import in_turn
from benchmarks.rows.scaling import sent
from benchmarks.setting import BATCH_SIZE, Setting

ABOUT = """\
As `scaling`, with all weights trained (`--nofreeze_backbone`), counted after the first fifth of the
steps. A step of 32 images on one core takes longer than a second, and the exchange of a gradient of
14 MB a small part of it."""

_PEER = "one worker of one core"
_STEPS = 10


def rows(setting: Setting) -> list[Row]:
    """Images a second, and bytes a step."""
    batches = {
        "one": (1, BATCH_SIZE),
        "strong": (2, BATCH_SIZE),
        "weak": (2, 2 * BATCH_SIZE),
    }

    def command(name: str, pair: int) -> list[str]:
        num_workers, batch_size = batches[name]
        return gangs.command(
            num_workers,
            setting.workdir(f"{name}-{pair}"),
            freeze_backbone="false",
            learning_rate=1e-4,
            global_batch_size=batch_size,
            num_steps=_STEPS,
        )

    samples = in_turn(
        setting.pairs,
        {name: partial(command, name) for name in batches},
    )
    rates = {
        name: [gangs.steps_per_sec(sample) * batches[name][1] for sample in found]
        for name, found in samples.items()
    }
    table = [
        Row(
            f"fine-tuning on two workers, {name} scaling, images a second",
            rates[name],
            *(_PEER, rates["one"], "graft/peer", "≥ 1.6×"),
            digits=1,
        )
        for name in ("strong", "weak")
    ]
    return [*table, sent("fine-tuning", samples["strong"])]
