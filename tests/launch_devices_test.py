import contextlib
import socket

import pytest

from trainer.launch import devices


@pytest.mark.parametrize(
    ("cores", "num_workers", "expected"),
    [
        ([0, 1], 2, [{0}, {1}]),
        ([0, 1, 2, 3, 4], 2, [{0, 1, 2}, {3, 4}]),
        ([4, 6], 1, [{4, 6}]),
        ([3, 5], 3, [{3}, {5}, {3}]),
    ],
)
def test_core_shares(cores, num_workers, expected):
    assert devices.core_shares(cores, num_workers) == expected


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
def test_gpu_shares(gpus, num_workers, expected):
    assert devices.gpu_shares(gpus, num_workers) == expected


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


def test_free_ports_are_different_and_free():
    ports = devices.free_ports(20)
    assert len(set(ports)) == 20
    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(socket.create_server(("", port)))


def test_without_a_range_of_its_own_the_system_gives_ports(monkeypatch):
    monkeypatch.setattr(devices, "_LOWEST_PORT", 2**16)
    assert len(set(devices.free_ports(3))) == 3
