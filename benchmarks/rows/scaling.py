"""Two workers of one core each against one worker of one core: features, and a head on them."""

from __future__ import annotations

from functools import partial

from benchmarks import gangs
from benchmarks.figures import Row
from benchmarks.processes import Sample, in_turn
from benchmarks.setting import BATCH_SIZE, Setting

ABOUT = """\
Whole real runs by the launcher's gang, each worker pinned to a core and all on loopback, in a
network of their own. "Strong": the same work, a global batch of 32; "weak": twice the work on two
workers, twice as many images and a global batch of 64; "1,024": a global batch of 1,024 on either.
Extraction counts from the first committed part to the last, training after the first fifth of its
steps. In each step a worker sends its gradient and receives the other's. A step of the head on 32
kept features is about 31 million multiplications and additions (1,280 × 128 × 32, three passes,
twice), which a core does in half a millisecond and the run in about one; the exchange of 0.66 MB in
several buffers through gRPC takes several. So a head alone is bound by the network's latency at
a batch of 32, and no second worker can help it: its gain is in the extraction, which is what a
frozen run spends its time on."""

_PEER = "one worker of one core"
_FACTOR = 2  # times the training images; as many again for weak scaling
_LARGE_BATCH = 1024


def rows(setting: Setting) -> list[Row]:
    """Images a second of the extraction, examples a second of the training, bytes a step."""
    commands = {
        "one": (1, _FACTOR, BATCH_SIZE, 3000),
        "strong": (2, _FACTOR, BATCH_SIZE, 600),
        "weak": (2, 2 * _FACTOR, 2 * BATCH_SIZE, 600),
        "one large": (1, 2 * _FACTOR, _LARGE_BATCH, 200),
        "large": (2, 2 * _FACTOR, _LARGE_BATCH, 200),
    }

    def command(name: str, pair: int) -> list[str]:
        num_workers, factor, batch_size, num_steps = commands[name]
        # The runs with the large batch find the features of the weak ones.
        cache = "weak" if "large" in name else name
        return gangs.command(
            num_workers,
            setting.workdir(f"{name}-{pair}"),
            dataset=setting.linked(factor),
            feature_cache=setting.scratch / f"features-{cache}-{pair}",
            global_batch_size=batch_size,
            num_steps=num_steps,
        )

    samples = in_turn(
        setting.pairs,
        {name: partial(command, name) for name in commands},
    )
    base = [gangs.extracted_per_sec(sample) for sample in samples["one"]]
    table = [
        Row(
            f"extraction on two workers, {name} scaling, images a second",
            [gangs.extracted_per_sec(sample) for sample in samples[name]],
            *(_PEER, base, "graft/peer", "≥ 1.9×"),
            digits=0,
        )
        for name in ("strong", "weak")
    ]

    def examples_per_sec(name: str) -> list[float]:
        return [gangs.steps_per_sec(sample) * commands[name][2] for sample in samples[name]]

    table += [
        Row(
            f"head on kept features, two workers, {words}, examples a second",
            examples_per_sec(name),
            *(_PEER, examples_per_sec(peer), "graft/peer", "≥ 1.9×"),
            digits=0,
        )
        for name, peer, words in (
            ("strong", "one", "strong scaling"),
            ("weak", "one", "weak scaling"),
            ("large", "one large", f"a batch of {_LARGE_BATCH:,}"),
        )
    ]
    return [*table, sent("head", samples["strong"])]


def sent(what: str, samples: list[Sample]) -> Row:
    """The bytes of a step on two workers beside what both must send."""
    return Row(
        f"sent a step by two workers, {what}, kB",
        [gangs.bytes_per_step(sample) / 1e3 for sample in samples],
        "the gradient, twice",
        [2 * gangs.gradient_bytes(sample) / 1e3 for sample in samples],
        "graft/peer",
        digits=0,
    )
