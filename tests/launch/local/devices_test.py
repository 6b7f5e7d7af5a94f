import contextlib
import socket

import pytest

from trainer.launch.local import devices


@pytest.mark.parametrize(
    ("cores", "num_workers", "expected"),
    [
        ([0, 1], 2, [{0}, {1}]),
        ([0, 1, 2, 3, 4], 2, [{0, 1, 2}, {3, 4}]),
        ([4, 6], 1, [{4, 6}]),
        ([3, 5], 3, [{3}, {5}, {3}]),
    ],
)
def test_assign_cores(cores, num_workers, expected):
    assert devices.assign_cores(cores, num_workers) == expected


@pytest.mark.parametrize(
    ("gpus", "num_workers", "expected"),
    [
        ([], 2, [None, None]),
        (["0", "1"], 2, ["0", "1"]),
        (["0", "1", "2"], 2, ["0", "1"]),
        (["GPU-a", "GPU-b", "2", "3"], 2, ["GPU-a,GPU-b", "2,3"]),
        (["0"], 2, ["-1", "-1"]),
    ],
)
def test_assign_gpus(gpus, num_workers, expected):
    assert devices.assign_gpus(gpus, num_workers) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["0", "2", "10"]),
        ({"CUDA_VISIBLE_DEVICES": "1, GPU-x"}, ["1", "GPU-x"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, []),
        ({"CUDA_VISIBLE_DEVICES": "1,-1,2"}, ["1"]),
    ],
)
def test_visible_gpus(environment, expected, tmp_path):
    for name in ("nvidia10", "nvidia0", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert devices.visible_gpus(environment, tmp_path) == expected


def ports(count):
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(one) for one in devices.listen_on_free_ports(count)]
        for one in found:
            with pytest.raises(OSError, match="in use"):
                socket.create_server(("", one.getsockname()[1]))
        return {one.getsockname()[1] for one in found}


def test_ports_are_different_and_taken():
    assert len(ports(20)) == 20


def test_without_a_range_of_its_own_the_system_gives_ports(monkeypatch):
    monkeypatch.setattr(devices, "_LOWEST_PORT", 2**16)
    assert len(ports(3)) == 3
