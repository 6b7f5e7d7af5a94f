"""Cores and memory available to this process: the container's limits, not the host's size.

Sources: cgroup v2 (https://docs.kernel.org/admin-guide/cgroup-v2.html: cpu.max, memory.max,
memory.current), cgroup v1 (cpu.cfs_quota_us, memory.limit_in_bytes), proc_meminfo(5).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

_NO_LIMIT = 2**60  # cgroup v1 writes "no limit" as a number near 2**63


def num_cores(root: str = "/") -> int:
    """Return how many threads can run: affinity mask, limited by the CPU quota; at least 1."""
    cores: float = len(os.sched_getaffinity(0))
    for group in _groups(root, "cpu"):
        quota, period = _numbers(group / "cpu.max") or (None, None)
        if quota is None:
            (quota,) = _numbers(group / "cpu.cfs_quota_us") or (None,)
            (period,) = _numbers(group / "cpu.cfs_period_us") or (None,)
        if quota and period and quota > 0:
            cores = min(cores, quota / period)
    return max(1, math.ceil(cores))


def memory_limit(root: str = "/") -> int:
    """Return the memory limit in bytes of the container, or of the machine."""
    limit = _meminfo(root, "MemTotal:")
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            (found,) = _numbers(group / name) or (None,)
            limit = min(limit, found or _NO_LIMIT)
    return limit


def available_memory(root: str = "/") -> int:
    """Return the bytes that can still be allocated within the machine and the container."""
    available = _meminfo(root, "MemAvailable:")
    for group in _groups(root, "memory"):
        for limit_name, used_name in (
            ("memory.max", "memory.current"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes"),
        ):
            (limit,) = _numbers(group / limit_name) or (None,)
            (used,) = _numbers(group / used_name) or (0,)
            if limit and limit < _NO_LIMIT:
                available = min(available, limit - (used or 0))
    return max(0, available)


def _meminfo(root: str, name: str) -> int:
    """Return a /proc/meminfo value in bytes."""
    for line in _text(Path(root, "proc/meminfo")).splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return _NO_LIMIT


def _groups(root: str, controller: str) -> Iterator[Path]:
    """Yield the directories of this process's control group and of its ancestors."""
    mount = Path(root, "sys/fs/cgroup")
    yield mount
    for line in _text(Path(root, "proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = mount / controllers if controllers else mount
        group = top / path.lstrip("/")
        while group != mount and mount in group.parents:
            yield group
            group = group.parent


def _numbers(path: Path) -> tuple[int | None, ...] | None:
    """Read the numbers in a file, None for `max`; return None if there is no such file."""
    fields = _text(path).split()
    return tuple(None if field == "max" else int(field) for field in fields) or None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
