"""Ports for processes that a test starts later: no two tests of a session are given the same."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket

_LOWEST, _HIGHEST = 10_000, 15_000  # below those that `graft launch` takes
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_num_workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
# Two sessions on one machine start at different places.
_first = _LOWEST + os.getppid() * 97 % (_HIGHEST - _LOWEST) // _num_workers * _num_workers
_candidates = itertools.cycle(
    [
        *range(_first + _worker, _HIGHEST, _num_workers),
        *range(_LOWEST + _worker, _first, _num_workers),
    ]
)


def free_ports(count: int) -> list[int]:
    """Give `count` ports on which nobody listens, and which nobody else is given."""
    found: list[int] = []
    while len(found) < count:
        port = next(_candidates)
        with contextlib.suppress(OSError), socket.create_server(("", port)):
            found.append(port)
    return found
