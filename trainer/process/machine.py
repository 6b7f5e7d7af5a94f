"""What of this machine the process may use: a container's share, not the host's size.

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
    """Cores worth a thread each: those of the affinity mask, within the quota; 1 at least."""
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
    """Bytes that this process and its neighbours in the container may hold together."""
    limit = _meminfo(root, "MemTotal:")
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            (found,) = _numbers(group / name) or (None,)
            limit = min(limit, found or _NO_LIMIT)
    return limit


def available_memory(root: str = "/") -> int:
    """Bytes that can still be taken: what is free on the machine, within the container's limit."""
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
    """Bytes, by proc_meminfo(5)."""
    for line in _text(Path(root, "proc/meminfo")).splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return _NO_LIMIT


def _groups(root: str, controller: str) -> Iterator[Path]:
    """The directories of this process's control group and of those above it, the root included."""
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
    """The numbers in a file, None for `max`; None where there is no such file."""
    words = _text(path).split()
    return tuple(None if word == "max" else int(word) for word in words) or None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
