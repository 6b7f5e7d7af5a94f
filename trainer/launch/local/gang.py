"""A gang of worker processes: started, read and ended together."""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence

from trainer.launch.local import devices
from trainer.workers.cluster import Cluster
from trainer.workers.rendezvous import LISTENING_FD

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LONGEST_LINE = 1 << 16


class Gang:
    """All workers of one attempt. Only the main thread may create one: they end with it.

    Args:
        command: of each worker.
        num_workers: how many.
        environment: of each worker, without TF_CONFIG and the devices.
        emit: called with (worker, line) for each line of output.
    """

    def __init__(
        self,
        command: Sequence[str],
        num_workers: int,
        environment: Mapping[str, str],
        emit: Callable[[int, str], None],
    ) -> None:
        self._emit = emit
        self._exits: dict[int, int] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._partial = [b""] * num_workers
        self._selector = selectors.DefaultSelector()
        cores = devices.assign_cores(sorted(os.sched_getaffinity(0)), num_workers)
        gpus = devices.assign_gpus(devices.visible_gpus(environment), num_workers)
        with contextlib.ExitStack() as stack:
            listening = [
                stack.enter_context(one) for one in devices.listen_on_free_ports(num_workers)
            ]
            addresses = tuple(f"127.0.0.1:{one.getsockname()[1]}" for one in listening)
            for index in range(num_workers):
                own = {
                    "TF_CONFIG": Cluster(addresses, index, "launch").to_tf_config(),
                    "PYTHONUNBUFFERED": "1",
                }
                inherited = listening[index] if num_workers > 1 else None  # one has no rendezvous
                if inherited is not None:
                    own[LISTENING_FD] = str(inherited.fileno())
                if gpus[index] is not None:
                    own["CUDA_VISIBLE_DEVICES"] = str(gpus[index])
                self._add(_start(command, {**environment, **own}, cores[index], inherited))

    @property
    def exits(self) -> dict[int, int]:
        """Exit codes of the workers that have ended, by index, in order of ending."""
        return self._exits

    @property
    def left(self) -> list[int]:
        """The workers that still run."""
        return [index for index in range(len(self._processes)) if index not in self._exits]

    def poll(self, secs: float) -> None:
        """Emit the workers' output of up to `secs` seconds, and note which have ended."""
        for key, _ in self._selector.select(secs):
            self._read(key.data)
        ended = []
        for index, process in enumerate(self._processes):
            code = process.poll()
            if code is not None and index not in self._exits:
                ended.append((128 - code if code < 0 else code, index))
        for code, index in sorted(ended):
            self._exits[index] = code
            while self._read(index):
                pass

    def send_signal(self, number: int, only: int | None = None) -> None:
        """Send signal `number` to every running worker, or to `only` one of them."""
        for index in self.left:
            if only in (None, index):
                self._processes[index].send_signal(number)

    def kill(self) -> None:
        """Kill all process groups of the workers, and wait for their ends."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        while self.left:
            self.poll(0.01)

    def close(self) -> None:
        """Kill the workers, and close their streams."""
        self.kill()
        for process in self._processes:
            if process.stdout is not None:
                process.stdout.close()
        self._selector.close()

    def _add(self, process: subprocess.Popen[bytes]) -> None:
        """Register a worker and its output."""
        self._processes.append(process)
        stream = process.stdout
        assert stream is not None
        os.set_blocking(stream.fileno(), False)
        self._selector.register(stream, selectors.EVENT_READ, len(self._processes) - 1)

    def _read(self, index: int) -> bool:
        """Emit the pending output of worker `index`; return whether there was any."""
        stream = self._processes[index].stdout
        if stream is None or stream.closed:
            return False
        data = stream.read(_LONGEST_LINE)  # None if there is nothing, empty at the end
        *lines, rest = (self._partial[index] + (data or b"")).split(b"\n")
        if data == b"" or len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, *filter(None, [rest])], b""
        self._partial[index] = rest
        for line in lines:
            self._emit(index, line.decode("utf-8", "replace").rstrip("\r"))
        if data == b"":
            self._selector.unregister(stream)
            stream.close()
        return bool(data)


def _start(
    command: Sequence[str],
    environment: Mapping[str, str],
    cores: set[int],
    inherited: socket.socket | None,
) -> subprocess.Popen[bytes]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def before_exec() -> None:
        # However the launcher ends, its workers do not outlive it.
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        os.sched_setaffinity(0, cores)

    return subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
        pass_fds=[] if inherited is None else [inherited.fileno()],
        # A session of its own, so that Ctrl-C arrives once, from the launcher.
        start_new_session=True,
        preexec_fn=before_exec,
    )
