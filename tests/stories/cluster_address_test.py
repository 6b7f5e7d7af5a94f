"""Addresses of workers: HOST:PORT, and what is none."""

import pytest

from trainer.workers.cluster import host_and_port


@pytest.mark.parametrize(
    ("address", "parts"),
    [("a.b:1", ("a.b", 1)), ("[::1]:65535", ("::1", 65535)), ("10.0.0.1:80", ("10.0.0.1", 80))],
)
def test_host_and_port(address, parts):
    assert host_and_port(address) == parts


@pytest.mark.parametrize(
    "address", ["", "a", "a:", ":1", "a:0", "a:65536", "a:x", "a:-1", "::1:80", "a:²"]
)
def test_no_host_and_port(address):
    with pytest.raises(ValueError, match="address is"):
        host_and_port(address)
