"""Workers of the rendezvous as real processes on loopback; no TensorFlow in them."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tests.processes.ports import free_ports

DEADLINE_SECS = 60

WORKER = """
import json, socket, sys, time
from trainer.settings import command_line
from trainer.workers import rendezvous
from trainer.workers.cluster import Cluster
from trainer.process.stop_signal import StopRequest

hosts, index, fingerprint, timeout_secs, speed, stall_secs = json.loads(sys.argv[1])
cluster = Cluster(tuple(hosts), index, "test")

def say(line):
    print(line, flush=True)

def main():
    stop = StopRequest()
    stop.install()
    port_socket = rendezvous.reserve_port(cluster)
    say("holding")
    clock = lambda: time.monotonic() * speed
    heartbeat = rendezvous.join(
        cluster, port_socket, fingerprint, stop, say, timeout_secs, stall_secs, clock
    )
    # As TensorFlow's server does, at once; and it stays until all have come this far.
    with socket.create_server(("", int(cluster.address.rpartition(":")[2]))):
        say("started")
        for line in sys.stdin:
            words = line.split()
            if words[0] == "leave":
                break
            if words[0] == "agree":
                say(heartbeat.all_reduce_sum("numbers", **{"x": float(words[1]), "y": index}))
            elif words[0] == "union":
                facts = {f"{i} of {index}": "x" for i in range(int(words[1]))}
                say(len(heartbeat.all_gather("names", facts)))
            elif words[0] == "expect":
                heartbeat.expect_progress(True)
                while min(heartbeat._heard_at.values()) <= heartbeat._progress_at:
                    time.sleep(0.01)
                say("heard")
            elif words[0] == "stop":
                say(stop.signal)
            elif words[0] == "fail":
                heartbeat.abort_all(2, "--workdir=x: wrong")
                return 2
        heartbeat.close()
    return 0

sys.exit(command_line.run(main))
"""


class Worker:
    """One process; `hosts[index]` is its own address. Its clock runs `speed` times as fast."""

    def __init__(
        self,
        hosts: Sequence[str],
        index: int,
        fingerprint: Mapping[str, str] | None = None,
        timeout_secs: float = 50.0,
        speed: float = 1.0,
        stall_secs: float = 1e6,
    ) -> None:
        settings = json.dumps([hosts, index, fingerprint or {}, timeout_secs, speed, stall_secs])
        self.process: Any = subprocess.Popen(
            [sys.executable, "-c", WORKER, settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def wait_for(self, words: str) -> str:
        """Read its lines up to the first with `words`."""
        while words not in (line := self.process.stdout.readline()):
            assert line, self.process.communicate(timeout=DEADLINE_SECS)
        return line

    def say(self, words: str) -> None:
        """Tell it a line."""
        self.process.stdin.write(words + "\n")
        self.process.stdin.flush()

    def end(self) -> tuple[int, str, str]:
        """Its exit code, and what it says in the end."""
        output, errors = self.process.communicate(timeout=DEADLINE_SECS)
        return self.process.returncode, output, errors


@contextlib.contextmanager
def workers() -> Iterator[Callable[..., Worker]]:
    """Yields what starts a Worker; none outlives the block."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> Worker:
            worker = Worker(*arguments, **options)
            stack.enter_context(worker.process)
            stack.callback(worker.process.kill)
            return worker

        yield start


@contextlib.contextmanager
def met_by_hand(hosts: Sequence[str], index: int) -> Iterator[socket.socket]:
    """Worker `index` speaks the protocol by hand, up to the question to which it owes an answer.

    Yields:
        Its connection to the chief, which has asked it to free its port.
    """
    report = {"worker": index, "num_workers": len(hosts), "unreached": {}}
    report["fingerprint"] = {"workers": ",".join(hosts)}
    with (
        socket.create_server(_pair(hosts[index])),
        socket.create_connection(_pair(hosts[0])) as connection,
    ):
        is_asked = threading.Event()

        def report_on() -> None:
            while not is_asked.wait(0.2):
                connection.sendall(json.dumps(report).encode() + b"\n")

        reporter = threading.Thread(target=report_on)
        reporter.start()
        try:
            with connection.makefile("rb") as lines:
                while json.loads(lines.readline()) != {"close": True}:
                    pass
        finally:
            is_asked.set()
            reporter.join()
        yield connection


def _pair(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def localhosts(count: int) -> list[str]:
    """Addresses of `count` free ports."""
    return [f"127.0.0.1:{port}" for port in free_ports(count)]


def release(started: Sequence[Worker]) -> None:
    """Assert that all have got through, and end them."""
    for worker in started:
        worker.wait_for("started")
    for worker in started:
        worker.say("leave")
    assert [worker.end() for worker in started] == [(0, "", "")] * len(started)
