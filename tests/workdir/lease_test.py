import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from trainer.process.errors import UserError
from trainer.workdir import lease

WORKDIR = "gs://bucket/run"
HOLDER = """
import sys, time
from trainer.workdir import lease
with lease.hold(sys.argv[1], print):
    print("held", flush=True)
    time.sleep(60)
"""
ELSEWHERE = {"id": "x", "host": "node-7", "pid": 1, "machine": "another", "started": "5"}


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(lease, "RENEW_SECS", 0.2)
    monkeypatch.setattr(lease, "STALE_SECS", 1.0)
    monkeypatch.setattr(lease, "_POLL_SECS", 0.1)


def test_it_is_there_while_it_is_held(gcs):
    said: list[str] = []
    with lease.hold(WORKDIR, said.append) as check:
        assert gcs.names() == ["run/.lease"]
        assert json.loads(gcs.read("run/.lease"))["pid"] == os.getpid()
        generations = {gcs.bucket.get_blob("run/.lease").generation}
        deadline = time.monotonic() + 10
        while len(generations) < 3:  # it is renewed
            assert time.monotonic() < deadline
            generations.add(gcs.bucket.get_blob("run/.lease").generation)
        check()
    assert gcs.names() == []
    assert said == []


def test_a_second_one_is_refused(gcs):
    with lease.hold(WORKDIR, print), pytest.raises(UserError) as caught:
        lease.hold(WORKDIR, print).__enter__()
    assert str(caught.value).startswith("--workdir=gs://bucket/run: another process trains here (")


def test_a_stale_one_is_taken_over(gcs):
    gcs.write("run/.lease", json.dumps(ELSEWHERE).encode())
    said: list[str] = []
    began = time.monotonic()
    with lease.hold(WORKDIR, said.append) as check:
        assert time.monotonic() - began >= 1.0
        check()
    assert said == [
        "waiting    gs://bucket/run/.lease is held by node-7; taken over if it is not renewed "
        "within 1 s"
    ]


def test_one_that_is_let_go_of_is_taken_at_once(gcs, monkeypatch):
    monkeypatch.setattr(lease, "STALE_SECS", 60.0)
    gcs.write("run/.lease", json.dumps(ELSEWHERE).encode())
    threading.Timer(0.3, gcs.bucket.blob("run/.lease").delete).start()
    began = time.monotonic()
    with lease.hold(WORKDIR, print):
        assert time.monotonic() - began < 60.0


def test_of_a_dead_process_of_this_machine_it_is_taken_at_once(gcs, monkeypatch):
    monkeypatch.setattr(lease, "STALE_SECS", 60.0)
    process: subprocess.Popen[bytes]
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, WORKDIR], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another process trains here"):
            # It renews every 15 s, which is longer than a test should take.
            held_by_the_living(gcs)
        process.send_signal(signal.SIGKILL)
    said: list[str] = []
    with lease.hold(WORKDIR, said.append):
        pass
    assert said == []


def held_by_the_living(gcs):
    """Renew the other process's lease, as it would, while we try to take it."""
    content = gcs.read("run/.lease")
    timer = threading.Timer(0.4, lambda: gcs.write("run/.lease", content))
    timer.start()
    try:
        lease.hold(WORKDIR, print).__enter__()
    finally:
        timer.join()


def test_who_lost_it_is_told(gcs):
    with lease.hold(WORKDIR, print) as check:
        gcs.write("run/.lease", json.dumps(ELSEWHERE).encode())
        deadline = time.monotonic() + 10

        def check_until_it_raises():
            while time.monotonic() < deadline:
                check()

        with pytest.raises(UserError, match="another process has taken this workdir over"):
            check_until_it_raises()
    assert json.loads(gcs.read("run/.lease")) == ELSEWHERE  # theirs stays


def test_a_lost_answer_loses_no_lease(gcs):
    gcs.proxy.plan = lambda request: (
        "lost" if request.method == "POST" and gcs.proxy.count("POST") % 2 else None
    )
    with lease.hold(WORKDIR, print) as check:
        deadline = time.monotonic() + 10
        while gcs.proxy.count("POST") < 7:
            assert time.monotonic() < deadline
            check()
    assert gcs.names() == []


def test_one_of_many_wins(gcs):
    results: list[lease.Lease | None] = []

    def take():
        held = lease.Lease(f"{WORKDIR}/.lease", "refused", lambda words: None)
        try:
            held.acquire()
            results.append(held)
        except UserError:
            results.append(None)

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (winner,) = filter(None, results)
    assert len(results) == 6
    winner.check()
    winner.release()


def test_a_local_workdir_has_a_lock(tmp_path):
    with (
        lease.hold(str(tmp_path), print),
        pytest.raises(UserError, match="another process trains here"),
    ):
        lease.hold(str(tmp_path), print).__enter__()


def test_of_a_refused_run_nothing_is_left(tmp_path):
    run = tmp_path / "run"
    for is_new in (True, False):
        with pytest.raises(UserError, match="no"), lease.hold(str(run), print, is_new):
            raise UserError("no")
        assert run.exists() is not is_new
        run.mkdir(exist_ok=True)
        assert not list(run.iterdir())
    (run / "checkpoints").mkdir()
    with pytest.raises(UserError, match="no"), lease.hold(str(run), print, True):
        raise UserError("no")
    assert [path.name for path in run.iterdir()] == ["checkpoints"]
