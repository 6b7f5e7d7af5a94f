"""Real processes after their meeting: they agree, and who is gone is known to all."""

import re
import signal
import time

import pytest

from tests.processes.meeting import DEADLINE_SECS, localhosts, release, workers
from trainer.workers import messages

pytestmark = pytest.mark.integration

# By clocks that are so fast; every second time a beat is under way as the chief gives up.
SPEED = 4
STALL_SECS = 8
FAST = {"speed": SPEED, "stall_secs": STALL_SECS, "timeout_secs": 200}


@pytest.fixture
def start():
    with workers() as start:
        yield start


def met(start, num_workers, **options):
    hosts = localhosts(num_workers)
    started = [start(hosts, index, **options) for index in range(num_workers)]
    for worker in started:
        worker.wait_for("started")
    return hosts, started


def leave(started):
    for worker in started:
        worker.say("leave")
    assert [worker.end() for worker in started] == [(0, "", "")] * len(started)


def test_numbers_are_added_up(start):
    _, started = met(start, 3)
    for numbers, total in (((1, 2, 4), 7.0), ((0.5, 0, 0), 0.5)):
        for worker, number in zip(started, numbers, strict=True):
            worker.say(f"agree {number}")
        for worker in started:
            assert worker.wait_for("{") == f"{{'x': {total}, 'y': 3}}\n"
    leave(started)


def test_facts_are_put_together_however_many(start):
    _, started = met(start, 3)
    for counts in ((0, 0, 0), (0, 7, 0), (3000, 1, 200)):
        for worker, count in zip(started, counts, strict=True):
            worker.say(f"union {count}")
        for worker in started:
            assert worker.process.stdout.readline() == f"{sum(counts)}\n"
    leave(started)


@pytest.mark.parametrize("killed", [0, 1, 2])
def test_a_killed_worker_ends_the_others_at_once(start, killed):
    hosts, started = met(start, 3)
    victim = started.pop(killed)
    # One of them waits for the victim.
    started[0].say("agree 1")
    victim.process.kill()
    role = "worker 0, the chief" if killed == 0 else f"worker {killed}"
    for worker in started:
        assert worker.end() == (138, "", f"graft: {role} ({hosts[killed]}): connection lost\n")


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_worker_ends_the_others_in_time(start, frozen):
    hosts, started = met(start, 3, **FAST)
    victim = started.pop(frozen)
    victim.process.send_signal(signal.SIGSTOP)
    for worker in started:
        code, _, errors = worker.end()
        assert code == 138
        assert f" {frozen}" in errors.splitlines()[-1]
        silence = rf"\({hosts[frozen]}\): no heartbeat for (\d+) s"
        assert_soon_after_the_stall(re.search(silence, errors))
    # The stacks of the one that noticed are in its log.
    assert "most recent call first" in errors or frozen


def assert_soon_after_the_stall(said):
    """It was noticed within four seconds, by a clock that runs SPEED times as fast."""
    assert STALL_SECS <= int(said[1]) <= STALL_SECS + 4 * SPEED


def test_who_waits_for_a_frozen_worker_blames_that_one(start):
    hosts, started = met(start, 3, **FAST)
    victim = started.pop()
    for worker in started:
        worker.say("expect")
    for worker in started:  # since then, they have heard of all: they are idle for longer
        worker.wait_for("heard")
    victim.process.send_signal(signal.SIGSTOP)
    for worker in started:
        code, _, errors = worker.end()
        assert code == 138
        assert f"worker 2 ({hosts[2]}): no heartbeat for" in errors.splitlines()[-1]


def test_a_chief_that_does_nothing_is_named(start):
    hosts, started = met(start, 2, **FAST)
    started[0].say("expect")
    for worker in started:
        code, _, errors = worker.end()
        assert code == 138
        idle = rf"worker 0, the chief \({hosts[0]}\): no progress for (\d+) s"
        assert_soon_after_the_stall(re.search(idle, errors))


@pytest.mark.parametrize("failing", [0, 1])
def test_who_leaves_for_a_reason_takes_all_with_it(start, failing):
    _, started = met(start, 3)
    started[failing].say("fail")
    began = time.monotonic()
    for index, worker in enumerate(started):
        code, _, errors = worker.end()
        assert code == 2
        if index != failing:
            assert errors.startswith(f"graft: worker {failing}")
            assert errors.endswith("--workdir=x: wrong\n")
    # Nobody waits in vain for another to hang up first.
    assert time.monotonic() - began < messages._CLOSE_SECS


@pytest.mark.parametrize("asked", [0, 2])
def test_a_stop_request_becomes_everyones(start, asked):
    _, started = met(start, 3)
    started[asked].process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + DEADLINE_SECS
    for worker in started:
        said = ""
        while said != "15\n":
            assert time.monotonic() < deadline
            worker.say("stop")
            said = worker.process.stdout.readline()
    leave(started)


def test_leaving_waits_for_all(start):
    _, started = met(start, 2)
    started[0].say("leave")
    started[1].say("agree 1")  # another place than the chief's: a bug, and named so
    for worker in started:
        code, _, errors = worker.end()
        assert code == 1
        assert "the workers are out of sync" in errors


def test_nobody_is_missed_after_leaving(start):
    for _ in range(5):
        hosts = localhosts(2)
        release([start(hosts, index) for index in (0, 1)])
