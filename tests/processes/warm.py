"""Start `graft` from a process that has imported TensorFlow: a second or two less for each run.

Python's own fork server is that process. It has imported what a run imports and executed nothing,
so what forks from it has the memory of a process that has just started: the same bits come of it.
Whatever is decided while Python or TensorFlow start (`PYTHON…`, the locale, levels of logging)
is not seen by it; a test of that starts a process of its own, by `commands.python`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from multiprocessing.reduction import DupFd
from typing import IO, Any, Protocol

from trainer.workers.rendezvous import LISTENING_FD

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload(["tests.processes.preloaded"])
_READ_AT_START = ("PYTHON", "LC_", "LANG", "TF_CPP", "TF_ENABLE", "GCS_R", "OMP_", "TMPDIR")


class Preparation(Protocol):
    """What a process does before anything else; it is pickled to it."""

    def install(self) -> None:
        """Do it."""


class Process:
    """`graft ARGUMENTS`, running; with the methods of `subprocess.Popen` that tests use.

    Args:
        arguments: the command line, without the program's name.
        stdout: a file with a descriptor.
        stderr: a file with a descriptor.
        environment: all of it.
        cores: which the process may run on; None for those of this one.
        prepare: what it does first, such as to set up a gate (tests/processes/gates.py).
        listening: the socket that it is to take over, as from `graft launch`.
        program: Python to run in the place of `graft`, with `arguments` behind its name.
    """

    def __init__(
        self,
        arguments: Sequence[Any],
        stdout: IO[Any],
        stderr: IO[Any],
        environment: Mapping[str, str],
        cores: AbstractSet[int] | None = None,
        prepare: Preparation | None = None,
        listening: socket.socket | None = None,
        program: str = "",
    ) -> None:
        sys.audit("tests.processes.warm")  # for tests/durations.py
        for name in {*environment, *os.environ}:
            if name.startswith(_READ_AT_START):
                is_same = environment.get(name) == os.environ.get(name)
                assert is_same, f"{name}: read at start-up; use commands.python"
        self.args = ["-c" if program else "graft", *map(str, arguments)]
        streams: list[Any] = [stdout, stderr, *([listening] if listening else [])]
        descriptors = [stream.fileno() for stream in streams]
        graft = _Graft(
            self.args, descriptors, dict(environment), os.getcwd(), cores, prepare, program
        )
        self._process = _SERVER.Process(target=graft, daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal's number where one ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The exit code, or None."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, when there is one.

        Raises:
            subprocess.TimeoutExpired: there is none after `timeout` seconds.
        """
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send the signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


@dataclasses.dataclass
class _Graft:
    """What the forked process does; pickled to it, descriptors and all."""

    argv: list[str]
    descriptors: list[Any]  # of stdout, stderr and, perhaps, the socket
    environment: dict[str, str]
    directory: str
    cores: AbstractSet[int] | None
    prepare: Preparation | None
    program: str

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "descriptors": list(map(DupFd, self.descriptors))}

    def __call__(self) -> None:
        os.chdir(self.directory)
        os.environ.clear()
        os.environ.update(self.environment)
        if self.cores is not None:
            os.sched_setaffinity(0, self.cores)
        stdout, stderr, *listening = (received.detach() for received in self.descriptors)
        for number, descriptor in ((1, stdout), (2, stderr)):
            os.dup2(descriptor, number)
            os.close(descriptor)
        for descriptor in listening:
            os.environ[LISTENING_FD] = str(descriptor)
        # Those that are there remember what the server's were connected with.
        lines = 1 if os.environ.get("PYTHONUNBUFFERED") else -1
        sys.stdout = os.fdopen(1, "w", lines, "utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", 1, "utf-8", "backslashreplace", closefd=False)
        sys.argv = self.argv
        multiprocessing.current_process().name = "MainProcess"
        if self.prepare is not None:
            self.prepare.install()
        if self.program:
            exec(compile(self.program, "program", "exec"), {"__name__": "__main__"})
            return
        from trainer.__main__ import console_script

        console_script()
