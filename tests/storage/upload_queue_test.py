import functools
import os
import threading
import time

import pytest

from trainer.process.errors import Diverged, Preempted, StorageUnreachable, UserError
from trainer.storage.upload_queue import Uploader

DEADLINE_SECS = 10


def test_jobs_are_done_in_order():
    uploader, done = Uploader(), list[int]()
    for number in range(50):
        uploader.submit(functools.partial(done.append, number))
    uploader.flush(DEADLINE_SECS)
    assert done == list(range(50))


def test_submitting_does_not_wait_until_there_are_too_many():
    uploader, gate, submitted = Uploader(max_waiting=2), threading.Event(), []
    uploader.submit(gate.wait)  # in hand
    deadline = time.monotonic() + DEADLINE_SECS
    while uploader._jobs:
        assert time.monotonic() < deadline

    def submit_four():
        for number in range(4):
            uploader.submit(lambda: None)
            submitted.append(number)

    thread = threading.Thread(target=submit_four)
    thread.start()
    while len(submitted) < 2:
        assert time.monotonic() < deadline
    thread.join(0.2)
    assert submitted == [0, 1]  # the third one waits
    gate.set()
    thread.join(DEADLINE_SECS)
    assert submitted == [0, 1, 2, 3]
    uploader.flush(DEADLINE_SECS)


def fail(error):
    raise error


def test_after_a_failure_nothing_more_is_done():
    uploader, done, gate = Uploader(), [], threading.Event()
    uploader.submit(gate.wait)
    uploader.submit(lambda: fail(UserError("no permission")))
    uploader.submit(lambda: done.append("later"))
    uploader.check()
    gate.set()
    for act in (uploader.flush, uploader.check, lambda: uploader.submit(lambda: None)):
        with pytest.raises(UserError, match="no permission"):
            act()
    assert done == []


def test_who_waits_for_room_hears_of_the_failure():
    uploader, gate = Uploader(max_waiting=1), threading.Event()
    uploader.submit(lambda: (gate.wait(), fail(UserError("no permission"))))
    uploader.submit(lambda: None)
    threading.Timer(0.1, gate.set).start()

    def submit_three():
        for _ in range(3):
            uploader.submit(lambda: None)

    with pytest.raises(UserError, match="no permission"):
        submit_three()


def test_flush_has_a_deadline():
    uploader, gate = Uploader(), threading.Event()
    uploader.submit(gate.wait)
    with pytest.raises(StorageUnreachable, match="not done within 0 s"):
        uploader.flush(0.05)
    gate.set()
    uploader.flush(DEADLINE_SECS)


@pytest.mark.parametrize("error", [None, Preempted("stopped"), Diverged("nan"), KeyError("bug")])
def test_draining_finishes_the_work_whatever_happens(error):
    uploader, done = Uploader(), []

    def slow():
        time.sleep(0.1)
        done.append(1)

    def work():
        with uploader.draining():
            uploader.submit(slow)
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(type(error)):
            work()
    assert done == [1]


def test_what_was_saved_too_late_is_no_orderly_stop(monkeypatch):
    monkeypatch.setattr("trainer.storage.upload_queue.PREEMPTED_SECS", 0.05)
    uploader, gate = Uploader(), threading.Event()

    def stop():
        with uploader.draining():
            uploader.submit(gate.wait)
            raise Preempted("stopped by SIGTERM")

    with pytest.raises(StorageUnreachable):
        stop()
    gate.set()


def test_without_the_lease_nothing_is_done():
    uploader, done = Uploader(), []
    uploader.must_hold = lambda: fail(UserError("taken over"))
    with pytest.raises(UserError, match="taken over"):
        uploader.check()
    uploader.submit(lambda: done.append(1))
    with pytest.raises(UserError, match="taken over"):
        uploader.flush(DEADLINE_SECS)
    assert done == []


def test_a_job_runs_at_a_lower_priority_than_who_submits_it():
    found = []
    uploader = Uploader()
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    uploader.submit(
        lambda: found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    )
    uploader.flush()
    assert found == [max(before, 10)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
