"""Two hosts on this machine: network namespaces with a wire between them that can be cut."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import pytest

ADDRESSES = ("10.77.0.1", "10.77.0.2")


class Hosts:
    """Both of them.

    Attributes:
        enter: for each host the words before a command that is to run there.
    """

    def __init__(self, names: tuple[str, str]) -> None:
        self._names = names
        self.enter = [["ip", "netns", "exec", name] for name in names]

    def cut(self) -> None:
        """From now on what one sends is lost, and nothing tells the other."""
        _ip("-n", self._names[1], "link", "set", "wire", "down")


@contextlib.contextmanager
def two_hosts() -> Iterator[Hosts]:
    """Make them, with ADDRESSES; skips the test where the system does not let us."""
    names = (f"graft-{os.getpid()}-0", f"graft-{os.getpid()}-1")
    made: list[str] = []
    try:
        for name in names:
            try:
                _ip("netns", "add", name)
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', error)}")
            made.append(name)
        one, other = names
        _ip("-n", one, "link", "add", "wire", "type", "veth", "peer", "wire", "netns", other)
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "wire")
            for link in ("lo", "wire"):
                _ip("-n", name, "link", "set", link, "up")
        yield Hosts(names)
    finally:
        for name in made:
            _ip("netns", "delete", name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
