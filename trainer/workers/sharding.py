"""Which part of the work is whose: logical shards in training, parts in evaluation. Pure."""

from __future__ import annotations

from trainer.process.errors import UserError


def owned_shards(num_logical_shards: int, num_workers: int, index: int) -> range:
    """The logical shards that worker `index` reads: contiguous, in the order of the workers."""
    each = num_logical_shards // num_workers
    return range(index * each, (index + 1) * each)


def owned_replicas(replicas_per_worker: int, index: int) -> range:
    """Which of all replicas are worker `index`'s; each evaluates a part of its own."""
    return range(index * replicas_per_worker, (index + 1) * replicas_per_worker)


def check(
    num_workers: int, num_logical_shards: int, global_batch_size: int, replicas_per_worker: int = 1
) -> None:
    """Refuse a cluster whose work cannot be divided evenly.

    Every replica takes as many whole logical shards as every other, and each logical shard as
    many examples a step as every other.

    Args:
        num_workers: processes that train.
        num_logical_shards: parts the data are cut into, fixed for the run.
        global_batch_size: examples a step, over all workers.
        replicas_per_worker: devices of each worker.

    Raises:
        UserError: it cannot; the message names the nearest values that work.
    """
    replicas = num_workers * replicas_per_worker
    if num_logical_shards % replicas == 0 and global_batch_size % num_logical_shards == 0:
        return
    fitting = [
        n
        for n in range(1, num_logical_shards // replicas_per_worker + 1)
        if num_logical_shards % (n * replicas_per_worker) == 0
    ]
    below = [n for n in fitting if n < num_workers]
    above = [n for n in fitting if n > num_workers]
    numbers = " or ".join(map(str, (*below[-1:], *above[:1])))
    who = f"{num_workers} workers" + (
        f" of {replicas_per_worker} devices" if replicas_per_worker > 1 else ""
    )
    shards = _nearest_multiple(num_logical_shards, replicas)
    batch = _nearest_multiple(global_batch_size, shards)
    ways = f"use --num_logical_shards={shards}"
    if batch != global_batch_size:
        ways += f" and --global_batch_size={batch}"
    if numbers:
        ways = f"use {numbers} worker{'s' * (numbers != '1')}, or " + ways.removeprefix("use ")
    raise UserError(
        f"--num_logical_shards={num_logical_shards} cannot be divided among {who}: it must be a "
        f"multiple of {replicas}, and divide --global_batch_size={global_batch_size}; {ways}"
    )


def _nearest_multiple(number: int, of: int) -> int:
    """The multiple of `of`, not 0, that is nearest to `number`; the larger one of two."""
    return max(1, (number + of // 2) // of) * of
