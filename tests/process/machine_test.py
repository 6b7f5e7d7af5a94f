"""A container's share is read from control groups as the kernel writes them."""

import os

import pytest

from trainer.process import machine

ALL = len(os.sched_getaffinity(0))
GIB = 2**30


def write(root, files):
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return str(root)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, ALL),
        ({"sys/fs/cgroup/cpu.max": "max 100000"}, ALL),
        ({"sys/fs/cgroup/cpu.max": "50000 100000"}, 1),
        ({"sys/fs/cgroup/cpu.max": "150000 100000"}, min(2, ALL)),
        ({"sys/fs/cgroup/cpu.max": "6400000 100000"}, ALL),
        # Version 2, not in a namespace of its own: the limit is the parent's.
        (
            {
                "proc/self/cgroup": "0::/kubepods/pod1/abc",
                "sys/fs/cgroup/kubepods/pod1/abc/cpu.max": "max 100000",
                "sys/fs/cgroup/kubepods/pod1/cpu.max": "100000 100000",
            },
            1,
        ),
        # Version 1.
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "100000",
                "sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000",
            },
            1,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            ALL,
        ),
    ],
)
def test_cores_stay_within_the_quota(tmp_path, files, cores):
    assert machine.num_cores(write(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({}, 8 * GIB),
        ({"sys/fs/cgroup/memory.max": "max", "sys/fs/cgroup/memory.current": "5"}, 8 * GIB),
        (
            {
                "sys/fs/cgroup/memory.max": str(3 * GIB),
                "sys/fs/cgroup/memory.current": str(GIB),
            },
            2 * GIB,
        ),
        (
            {
                "proc/self/cgroup": "3:memory:/docker/abc",
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": str(4 * GIB),
                "sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes": str(GIB),
                "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096),
            },
            3 * GIB,
        ),
    ],
)
def test_memory_stays_within_the_limit(tmp_path, files, available):
    files = {"proc/meminfo": f"MemTotal: 1 kB\nMemAvailable: {8 * GIB // 1024} kB", **files}
    assert machine.available_memory(write(tmp_path, files)) == available


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, 8 * GIB),
        ({"sys/fs/cgroup/memory.max": "max"}, 8 * GIB),
        ({"sys/fs/cgroup/memory.max": str(3 * GIB)}, 3 * GIB),
        ({"sys/fs/cgroup/memory.max": str(64 * GIB)}, 8 * GIB),
        (
            {
                "proc/self/cgroup": "0::/pod/abc",
                "sys/fs/cgroup/pod/abc/memory.max": "max",
                "sys/fs/cgroup/pod/memory.max": str(GIB),
            },
            GIB,
        ),
        (
            {
                "proc/self/cgroup": "3:memory:/docker/abc",
                "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes": str(2 * GIB),
            },
            2 * GIB,
        ),
    ],
)
def test_the_limit_of_memory_is_the_containers(tmp_path, files, limit):
    meminfo = f"MemTotal:       {8 * GIB // 1024} kB\nMemAvailable:   {7 * GIB // 1024} kB"
    assert machine.memory_limit(write(tmp_path, {"proc/meminfo": meminfo, **files})) == limit
