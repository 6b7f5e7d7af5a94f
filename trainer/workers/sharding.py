"""Assign logical shards (training) and replicas (evaluation) to workers. Pure."""

from __future__ import annotations

from trainer.process.errors import UserError


def owned_shards(num_logical_shards: int, num_workers: int, index: int) -> range:
    """Return the logical shards that worker `index` reads: contiguous, in worker order."""
    each = num_logical_shards // num_workers
    return range(index * each, (index + 1) * each)


def owned_replicas(replicas_per_worker: int, index: int) -> range:
    """Return the replicas of worker `index`; each evaluates its own part."""
    return range(index * replicas_per_worker, (index + 1) * replicas_per_worker)


def check(
    num_workers: int, num_logical_shards: int, global_batch_size: int, replicas_per_worker: int = 1
) -> None:
    """Refuse a cluster whose work cannot be divided evenly.

    All replicas must have equally many logical shards, and all shards equally many examples a
    step.

    Args:
        num_workers: number of training processes.
        num_logical_shards: parts of a split, fixed for the run.
        global_batch_size: examples a step, over all workers.
        replicas_per_worker: devices of each worker.

    Raises:
        UserError: it cannot; the message suggests the nearest valid values.
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
    """Return the positive multiple of `of` nearest to `number`; of two, the larger."""
    return max(1, (number + of // 2) // of) * of
