"""Two hosts on this machine: network namespaces with a wire between them that can be cut."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.processes.warm import Preparation

ADDRESSES = ("10.77.0.1", "10.77.0.2")
# linux/sched.h and linux/mount.h; Python itself has setns and unshare from 3.12 on.
_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 1 << 12, 1 << 14, 1 << 18


@dataclasses.dataclass(frozen=True)
class Entered:
    """Brings a process to another host, as `ip netns exec` would, before it does anything.

    Attributes:
        name: of the network namespace.
        hosts: a file that it sees in the place of /etc/hosts; none if empty.
        then: what the process does next.
    """

    name: str
    hosts: str = ""
    then: Preparation | None = None

    def install(self) -> None:
        """Go there."""
        libc = ctypes.CDLL(None, use_errno=True)

        def call(function: str, *arguments: Any) -> None:
            if getattr(libc, function)(*arguments):
                raise OSError(ctypes.get_errno(), f"{function}{arguments}")

        with open(f"/run/netns/{self.name}") as namespace:
            call("setns", namespace.fileno(), _CLONE_NEWNET)
        if self.hosts:
            call("unshare", _CLONE_NEWNS)
            call("mount", b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
            call("mount", self.hosts.encode(), b"/etc/hosts", None, _MS_BIND, None)
        if self.then is not None:
            self.then.install()


class Hosts:
    """Both of them.

    Attributes:
        enter: for each host what brings a process there.
    """

    def __init__(self, names: tuple[str, str]) -> None:
        self._names = names
        self.enter = [Entered(name) for name in names]

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
