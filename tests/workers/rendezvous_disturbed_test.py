"""The preflight among strangers, signals, kills and frozen processes; all are real."""

import contextlib
import signal
import socket
import time

import pytest

from tests.processes.meeting import (
    DEADLINE_SECS,
    localhosts,
    met_by_hand,
    release,
    workers,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def start():
    with workers() as start:
        yield start


def test_garbage_disturbs_nobody(start, rng):
    hosts = localhosts(3)
    early = [start(hosts, index) for index in (0, 1)]
    for worker in early:
        worker.wait_for("holding")
    kept = []
    said = [
        b"\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"[]\n",
        b"[" * 100_000 + b"\n",
        b'{"worker": 1}\n',
        b'{"worker": 9, "num_workers": 3, "fingerprint": {}, "unreached": {}}\n',
        b'{"worker": 1, "num_workers": 3, "fingerprint": [1], "unreached": {}}\n',
        b"",
        b"x" * 1_000_000,
        *(rng.randbytes(rng.randrange(1, 3000)) for _ in range(30)),
    ]
    for host in hosts[:2]:
        for words in said:
            stranger = socket.create_connection(("127.0.0.1", int(host.rpartition(":")[2])))
            stranger.settimeout(DEADLINE_SECS)
            with contextlib.suppress(OSError):  # shown out while it talks
                stranger.sendall(words)
            if rng.random() < 0.5:
                stranger.close()
            else:
                kept.append(stranger)
    release([*early, start(hosts, 2)])
    for stranger in kept:
        stranger.close()


def test_sigterm_while_waiting_leaves_at_once(start):
    hosts = localhosts(2)
    for index in (0, 1):
        worker = start(hosts, index)
        worker.wait_for("holding")
        began = time.monotonic()
        worker.process.send_signal(signal.SIGTERM)
        code, _, errors = worker.end()
        assert (code, errors) == (
            143,
            "graft: stopped by SIGTERM before training; there is nothing to save\n",
        )
        assert time.monotonic() - began < 25  # it would wait for the other for 50


def test_a_worker_that_was_started_anew_is_welcome(start):
    hosts = localhosts(3)
    chief, first = (start(hosts, index, speed=8, timeout_secs=800) for index in (0, 1))
    first.wait_for("waiting")
    first.process.kill()
    first.process.wait()
    # At the chief's speed: of a slower clock it would not hear often enough.
    release([chief, *(start(hosts, index, speed=8, timeout_secs=800) for index in (1, 2))])


def test_a_killed_chief_is_waited_for(start):
    hosts = localhosts(2)
    chief = start([hosts[0], "127.0.0.1:1"], 0)
    chief.wait_for("holding")
    worker = start(hosts, 1)
    worker.wait_for("holding")
    chief.process.kill()
    chief.process.wait()
    release([start(hosts, 0), worker])


def test_a_worker_that_freezes_is_named_by_the_others(start):
    hosts = localhosts(3)
    chief, frozen = (start(hosts, index, speed=8, timeout_secs=50) for index in (0, 1))
    frozen.wait_for("waiting")
    frozen.process.send_signal(signal.SIGSTOP)
    last = start(hosts, 2, speed=8, timeout_secs=50)
    for worker in (chief, last):
        code, output, errors = worker.end()
        assert code == 138
        assert "started" not in output
        assert f"  worker 1 ({hosts[1]}): no report for " in errors
        assert "worker 2" not in errors


@pytest.mark.parametrize(
    ("hangs_up", "reason"),
    [
        (False, "reported, but has not answered for 10 s"),
        (True, "exited while the workers were starting"),
    ],
)
def test_nobody_starts_while_one_holds_its_port(start, hangs_up, reason):
    hosts = localhosts(3)
    chief, other = (start(hosts, index, speed=8, timeout_secs=900) for index in (0, 2))
    chief.wait_for("holding")
    with met_by_hand(hosts, 1) as connection:
        if hangs_up:
            connection.shutdown(socket.SHUT_RDWR)
        for worker in (chief, other):
            code, output, errors = worker.end()
            assert code == 138
            assert "started" not in output
            assert errors == f"graft: worker 1 ({hosts[1]}): {reason}\n"


def test_a_frozen_chief_is_named(start):
    hosts = localhosts(2)
    chief = start(hosts, 0)
    chief.wait_for("holding")
    chief.process.send_signal(signal.SIGSTOP)
    code, _, errors = start(hosts, 1, speed=4, timeout_secs=5).end()
    assert code == 138
    assert f"worker 0, the chief ({hosts[0]}): its port answers, but it does not\n" in errors


def test_a_process_that_takes_anothers_index_is_named(start):
    hosts = localhosts(3)
    chief = start(hosts, 0)
    first = start(hosts, 1, speed=40, timeout_secs=4000)
    first.wait_for("waiting")
    # On a machine of its own it would have the port, too: here it has another.
    second = start([hosts[0], localhosts(1)[0], hosts[2]], 1)
    code, _, errors = first.end()
    assert code == 2
    assert f"another process reports as worker 1 ({hosts[1]}), too" in errors
    assert {chief.process.poll(), second.process.poll()} == {None}
