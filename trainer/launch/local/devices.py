"""Divide this machine's cores, GPUs and ports among workers."""

from __future__ import annotations

import contextlib
import random
import re
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path

from trainer.workers import rendezvous

_LOWEST_PORT = 15000
_TRIES = 1000


def divide(things: Sequence[str], num_workers: int) -> list[list[str]]:
    """Divide evenly and in order; the first workers get one of the remainder each."""
    least, rest = divmod(len(things), num_workers)
    ends = [i * least + min(i, rest) for i in range(num_workers + 1)]
    return [list(things[ends[i] : ends[i + 1]]) for i in range(num_workers)]


def assign_cores(cores: Sequence[int], num_workers: int) -> list[set[int]]:
    """Return the cores of each worker; with fewer cores than workers some share one."""
    if len(cores) < num_workers:
        return [{cores[i % len(cores)]} for i in range(num_workers)]
    return [{int(core) for core in own} for own in divide([*map(str, cores)], num_workers)]


def assign_gpus(gpus: Sequence[str], num_workers: int) -> list[str | None]:
    """Return CUDA_VISIBLE_DEVICES of each worker, equally many GPUs each; None: leave it unset.

    With fewer GPUs than workers none is used: all-reduce needs the same devices on all workers.
    """
    if not gpus:
        return [None] * num_workers
    each = len(gpus) // num_workers
    if not each:
        return ["-1"] * num_workers
    return [",".join(own) for own in divide(gpus[: each * num_workers], num_workers)]


def visible_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """Return the GPUs that a process may use, as CUDA_VISIBLE_DEVICES names them."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # CUDA stops at the first that is no device.
        names = [name.strip() for name in named.split(",")]
        end = next((i for i, name in enumerate(names) if name in ("", "-1")), len(names))
        return names[:end]
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in devices.glob("nvidia*"))
    return sorted((match[1] for match in found if match), key=int)


def listen_on_free_ports(count: int) -> list[socket.socket]:
    """Listen on `count` ports outside the ephemeral range, for workers to inherit.

    Were they closed and reopened by the workers, another process could take one in between.
    """
    rng = random.SystemRandom()
    candidates = range(_LOWEST_PORT, _first_ephemeral_port())
    found: list[socket.socket] = []
    with contextlib.ExitStack() as stack:
        for _ in range(_TRIES):
            if len(found) == count or not candidates:
                break
            with contextlib.suppress(OSError):
                found.append(stack.enter_context(rendezvous.listen(rng.choice(candidates))))
        while len(found) < count:  # any that the system gives
            found.append(stack.enter_context(rendezvous.listen(0)))
        stack.pop_all()
    return found


def _first_ephemeral_port() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _LOWEST_PORT
