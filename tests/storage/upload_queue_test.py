import functools
import os
import threading
import time

import pytest

from trainer.process.errors import Diverged, Preempted, StorageUnreachable, UserError
from trainer.storage.upload_queue import UploadQueue

DEADLINE_SECS = 10


def test_jobs_are_done_in_order():
    upload_queue, done = UploadQueue(), list[int]()
    for number in range(50):
        upload_queue.submit(functools.partial(done.append, number))
    upload_queue.flush(DEADLINE_SECS)
    assert done == list(range(50))


def test_submitting_does_not_wait_until_there_are_too_many():
    upload_queue, gate, submitted = UploadQueue(max_waiting=2), threading.Event(), []
    upload_queue.submit(gate.wait)  # in hand
    deadline = time.monotonic() + DEADLINE_SECS
    while upload_queue._jobs:
        assert time.monotonic() < deadline

    def submit_four():
        for number in range(4):
            upload_queue.submit(lambda: None)
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
    upload_queue.flush(DEADLINE_SECS)


def fail(error):
    raise error


def test_after_a_failure_nothing_more_is_done():
    upload_queue, done, gate = UploadQueue(), [], threading.Event()
    upload_queue.submit(gate.wait)
    upload_queue.submit(lambda: fail(UserError("no permission")))
    upload_queue.submit(lambda: done.append("later"))
    upload_queue.check()
    gate.set()
    for act in (upload_queue.flush, upload_queue.check, lambda: upload_queue.submit(lambda: None)):
        with pytest.raises(UserError, match="no permission"):
            act()
    assert done == []


def test_who_waits_for_room_hears_of_the_failure():
    upload_queue, gate = UploadQueue(max_waiting=1), threading.Event()
    upload_queue.submit(lambda: (gate.wait(), fail(UserError("no permission"))))
    upload_queue.submit(lambda: None)
    threading.Timer(0.1, gate.set).start()

    def submit_three():
        for _ in range(3):
            upload_queue.submit(lambda: None)

    with pytest.raises(UserError, match="no permission"):
        submit_three()


def test_flush_has_a_deadline():
    upload_queue, gate = UploadQueue(), threading.Event()
    upload_queue.submit(gate.wait)
    with pytest.raises(StorageUnreachable, match="not done within 0 s"):
        upload_queue.flush(0.05)
    gate.set()
    upload_queue.flush(DEADLINE_SECS)


@pytest.mark.parametrize("error", [None, Preempted("stopped"), Diverged("nan"), KeyError("bug")])
def test_draining_finishes_the_work_whatever_happens(error):
    upload_queue, done = UploadQueue(), []

    def slow():
        time.sleep(0.1)
        done.append(1)

    def work():
        with upload_queue.draining():
            upload_queue.submit(slow)
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
    upload_queue, gate = UploadQueue(), threading.Event()

    def stop():
        with upload_queue.draining():
            upload_queue.submit(gate.wait)
            raise Preempted("stopped by SIGTERM")

    with pytest.raises(StorageUnreachable):
        stop()
    gate.set()


def test_without_the_lease_nothing_is_done():
    upload_queue, done = UploadQueue(), []
    upload_queue.precondition = lambda: fail(UserError("taken over"))
    with pytest.raises(UserError, match="taken over"):
        upload_queue.check()
    upload_queue.submit(lambda: done.append(1))
    with pytest.raises(UserError, match="taken over"):
        upload_queue.flush(DEADLINE_SECS)
    assert done == []


def test_a_job_runs_at_a_lower_priority_than_who_submits_it():
    found = []
    upload_queue = UploadQueue()
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    upload_queue.submit(
        lambda: found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
    )
    upload_queue.flush()
    assert found == [max(before, 10)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before
