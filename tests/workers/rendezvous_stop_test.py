"""Stopped, or told how it ends, between the meeting and the start; the other side is a test."""

import contextlib
import json
import signal
import socket
import time

import pytest

from tests.processes.meeting import DEADLINE_SECS, localhosts, met_by_hand, workers

pytestmark = pytest.mark.integration

STOPPED = "graft: stopped by SIGTERM before training; there is nothing to save\n"


@pytest.fixture
def start():
    with workers() as start:
        yield start


@pytest.mark.parametrize("index", [0, 2])
def test_a_stop_after_the_meeting_stops_all(start, index):
    hosts = localhosts(3)
    started = {i: start(hosts, i) for i in (0, 2)}
    for worker in started.values():
        worker.wait_for("holding")
    with met_by_hand(hosts, 1) as connection:
        started[index].process.send_signal(signal.SIGTERM)
        connection.settimeout(DEADLINE_SECS)
        assert json.loads(connection.makefile("rb").readline()) == {"stop": signal.SIGTERM}
        connection.close()
        for worker in started.values():
            assert worker.end() == (143, "", STOPPED)


def test_a_worker_that_stops_as_all_have_met_stops_all(start):
    hosts = localhosts(3)
    started = [start(hosts, i) for i in (0, 2)]
    for worker in started:
        worker.wait_for("holding")
    with met_by_hand(hosts, 1) as connection:
        connection.sendall(b'{"stop": 15}\n')
        for worker in started:
            assert worker.end() == (143, "", STOPPED)


@contextlib.contextmanager
def chief_by_hand(hosts):
    """A chief with one worker, which has reported; yields the connection and what it says."""
    with socket.create_server(("127.0.0.1", int(hosts[0].rpartition(":")[2]))) as held:
        held.settimeout(DEADLINE_SECS)
        connection = held.accept()[0]
    with connection, connection.makefile("rb") as lines:
        connection.settimeout(DEADLINE_SECS)
        assert json.loads(lines.readline())["worker"] == 1
        yield connection, lines


def skip_to(lines, message):
    """Read up to `message`; others come every 2 s."""
    deadline = time.monotonic() + DEADLINE_SECS
    while json.loads(lines.readline()) != message:
        assert time.monotonic() < deadline, message


def test_a_verdict_that_comes_with_the_question_is_heard(start):
    hosts = localhosts(2)
    worker = start(hosts, 1)
    with chief_by_hand(hosts) as (connection, _):
        connection.sendall(b'{"close": true}\n{"end": "lost", "message": "worker 7: gone"}\n')
    assert worker.end() == (138, "holding\n", "graft: worker 7: gone\n")


def test_a_stop_that_comes_with_the_start_is_heard(start):
    hosts = localhosts(2)
    worker = start(hosts, 1)
    with chief_by_hand(hosts) as (connection, lines):
        connection.sendall(b'{"close": true}\n')
        skip_to(lines, {"closed": True})
        connection.sendall(b'{"start": true}\n{"stop": 15}\n')
        worker.wait_for("started")
        # It tells the chief of the stop once it has heard of it.
        skip_to(lines, {"stop": 15})
        worker.say("stop")
        assert worker.wait_for("") == "15\n"


def test_a_stop_while_the_chief_gives_the_start_is_told(start):
    hosts = localhosts(2)
    worker = start(hosts, 1)
    with chief_by_hand(hosts) as (connection, lines):
        connection.sendall(b'{"close": true}\n')
        skip_to(lines, {"closed": True})
        worker.process.send_signal(signal.SIGTERM)
        skip_to(lines, {"stop": 15})
        assert worker.process.poll() is None
        connection.sendall(b'{"start": true}\n')
        worker.wait_for("started")
        worker.say("stop")
        assert worker.wait_for("") == "15\n"
