"""What this machine has to divide among workers: cores, GPUs, ports."""

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
    """As many for each worker, in order; what is left over, one each, for the first ones."""
    least, rest = divmod(len(things), num_workers)
    ends = [i * least + min(i, rest) for i in range(num_workers + 1)]
    return [list(things[ends[i] : ends[i + 1]]) for i in range(num_workers)]


def core_shares(cores: Sequence[int], num_workers: int) -> list[set[int]]:
    """The cores of each worker; where there are fewer than workers, some workers share one."""
    if len(cores) < num_workers:
        return [{cores[i % len(cores)]} for i in range(num_workers)]
    return [{int(core) for core in share} for share in divide([*map(str, cores)], num_workers)]


def gpu_shares(gpus: Sequence[str], num_workers: int) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each worker, as many GPUs for each; None: leave it as it is.

    Where there are fewer GPUs than workers none is used: workers with a GPU and workers without
    cannot add their gradients up.
    """
    if not gpus:
        return [None] * num_workers
    each = len(gpus) // num_workers
    if not each:
        return ["-1"] * num_workers
    return [",".join(share) for share in divide(gpus[: each * num_workers], num_workers)]


def visible_gpus(environment: Mapping[str, str], devices: Path = Path("/dev")) -> list[str]:
    """The GPUs that a process of this machine may use, as CUDA_VISIBLE_DEVICES names them."""
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        # CUDA reads up to the first that is no device.
        words = [word.strip() for word in named.split(",")]
        end = next((i for i, word in enumerate(words) if word in ("", "-1")), len(words))
        return words[:end]
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in devices.glob("nvidia*"))
    return sorted((match[1] for match in found if match), key=int)


def listen_on_free_ports(count: int) -> list[socket.socket]:
    """Listen on `count` ports that no outgoing connection is given; each is a worker's to inherit.

    They are not closed and opened anew by the worker: another process could take one meanwhile.
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
