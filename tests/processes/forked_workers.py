"""Workers of `graft launch` and `graft rehearse` that need not import TensorFlow once more."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import signal
import socket
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import IO, Any

from tests.processes import warm

# As `python -m trainer.task`.
PROGRAM = """
from trainer import task
from trainer.settings.command_line import exit_process
exit_process(task.main())
"""
_PR_SET_PDEATHSIG = 1


@dataclasses.dataclass(frozen=True)
class ForkedWorkers:
    """Has a launcher fork its workers, where it would start Python anew.

    For a launcher that warm.py has started, and whose workers run `trainer.task`. That the
    real ones inherit and are told the same is seen in tests/launch/local/launch_test.py.
    """

    def install(self) -> None:
        """Patch the launcher."""
        from trainer.launch.local import gang

        patched: Any = gang
        patched._start = _start


class _Worker:
    """What a Gang asks of a subprocess.Popen."""

    def __init__(self, pid: int, stdout: IO[bytes]) -> None:
        self.pid, self.stdout = pid, stdout
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class _Descriptor(int):
    def detach(self) -> int:
        return int(self)


def _start(
    command: Sequence[str],
    environment: Mapping[str, str],
    cores: set[int],
    inherited: socket.socket | None,
) -> _Worker:
    assert command[:3] == [sys.executable, "-m", "trainer.task"], command
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return _Worker(pid, open(reading, "rb", buffering=0))
    try:
        os.setsid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # What a new process has not: the launcher's handlers, and the ports of other workers.
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # of the listing itself
                is_socket = "socket:" in os.readlink(f"/proc/self/fd/{name}")
                if is_socket and (inherited is None or int(name) != inherited.fileno()):
                    os.close(int(name))
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (1, 2):
            os.dup2(writing, number)
        streams = [_Descriptor(writing), _Descriptor(os.dup(writing))]
        words = ["-m", *command[3:]]
        warm._Graft(words, streams, dict(environment), os.getcwd(), cores, None, PROGRAM)()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)
