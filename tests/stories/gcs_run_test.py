"""Whole runs with their workdir in a bucket: the story of resume_test, on the emulator."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.processes import warm
from tests.processes.commands import graft, refused
from tests.processes.same_run import (
    DEADLINE_SECS,
    NUM_STEPS,
    assert_same_run,
    wait_until,
)

WORKDIR = "gs://bucket/run"
FAULTS = ("429", "500", "503", "reset", "lost", "cut", "crc", "delay:0.04", "delay:0.4")


class Started:
    """A process of `graft WORDS`, and what it says on stderr."""

    def __init__(self, gcs, words, log, prepare):
        self._log = log
        environment = {**os.environ, **gcs.environment}
        with open(os.devnull, "w") as nowhere, log.open("w") as errors:
            self.process = warm.Process(words, nowhere, errors, environment, prepare=prepare)

    def end(self):
        """Its exit code."""
        return self.process.wait(DEADLINE_SECS)

    @property
    def errors(self):
        """What it has said."""
        return self._log.read_text()


@contextlib.contextmanager
def started(gcs, log, *words, prepare=None):
    """Start `graft WORDS`, and kill it at the end of the block: nobody asks gcs after it."""
    found = Started(gcs, words, log, prepare)
    try:
        yield found
    finally:
        found.process.kill()
        found.process.wait()


def fetched(gcs, directory: Path) -> Path:
    """Every object below the workdir as a file."""
    for name in gcs.names("run/"):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gcs.read(name))
    return directory / "run"


def killed_at_requests(gcs, num_kills, arguments, directory, rng):
    """The workdir of a run killed so often, each time as it asks the bucket, amid other faults.

    Returns:
        Its files, and how many faults there were besides.
    """
    num_faults = 0

    def fault():
        nonlocal num_faults
        if rng.random() > 0.08:
            return None
        num_faults += 1
        return rng.choice(FAULTS)

    # The first checkpoint is complete by request 30, so that there is something to resume from.
    for number in [rng.randrange(35, 45), *(rng.randrange(45) for _ in range(num_kills - 1))]:
        gcs.proxy.reset()
        last_fault = rng.choice(["reset", "lost"])
        run_killed_at(gcs, number, last_fault, fault, arguments, directory / "log")
    gcs.proxy.reset()
    gcs.proxy.plan = lambda request: fault()
    last = graft(*arguments, f"--workdir={WORKDIR}", **gcs.environment)
    assert last.returncode == 0, last.stderr
    assert "resuming" in last.stdout
    gcs.proxy.reset()
    return fetched(gcs, directory), num_faults


def run_killed_at(gcs, number, last_fault, fault, words, log):
    """Kill the run as its request `number` comes, before it is done ("reset") or after ("lost")."""

    def plan(request):
        if request.number == number:
            run.process.kill()
        return last_fault if request.number >= number else fault()

    gcs.proxy.plan = plan
    with started(gcs, log, *words, f"--workdir={WORKDIR}") as run:
        assert run.end() == -signal.SIGKILL, run.errors


def assert_orphans_are_swept(gcs):
    """What is left is complete."""
    directories = {name.split("/")[2] for name in gcs.names("run/checkpoints/")}
    complete = {name.split("/")[2] for name in gcs.names("run/") if name.endswith("MANIFEST.json")}
    assert directories <= complete
    assert ".lease" not in str(gcs.names())


def test_kills_and_faults_throughout_leave_no_trace(gcs, arguments, undisturbed, tmp_path, rng):
    """More of them are in tests/storm/gcs_run_test.py."""
    ours, num_faults = killed_at_requests(gcs, 3, arguments, tmp_path, rng)
    assert num_faults > 0
    assert_same_run(ours, undisturbed)
    assert_orphans_are_swept(gcs)


def test_sigterm_uploads_and_leaves_with_143(gcs, arguments, undisturbed, gates, tmp_path):
    rare = [a for a in arguments if "checkpoint" not in a] + ["--checkpoint_every_steps=9999"]
    gcs.proxy.delay_secs = 0.04
    gate = gates()
    words = [*rare, f"--workdir={WORKDIR}"]
    with started(gcs, tmp_path / "log", *words, prepare=gate) as run:
        gate.wait(run.process)
        run.process.terminate()
        gate.open()
        assert run.end() == 143, run.errors
    assert re.search(r"graft: stopped by SIGTERM after step \d+", run.errors)
    names = gcs.names("run/checkpoints")
    assert sum(name.endswith("MANIFEST.json") for name in names) == 2  # step 0, and SIGTERM's
    gcs.proxy.reset()
    resumed = graft(*rare, f"--workdir={WORKDIR}", **gcs.environment)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming" in resumed.stdout
    assert_same_run(fetched(gcs, tmp_path), undisturbed)
    first, second = map(json.loads, gcs.read("run/goodput.jsonl").splitlines())
    assert (second["step"], second["secs"]["down"] > 0) == (NUM_STEPS, True)
    assert 0 < first["step"] < NUM_STEPS
    assert "lost_work" not in second["secs"]  # SIGTERM saved all


def test_a_bucket_that_turns_away_ends_the_run_and_keeps_the_checkpoint(gcs, arguments):
    """Permission to write is lost after the first checkpoints."""
    published = []
    short = [*arguments, "--num_steps=30", "--noreport", "--export_formats="]

    def plan(request):
        is_upload = request.method == "POST" and b"checkpoints/" in request.body[:400]
        published.append(is_upload)
        return "403" if is_upload and sum(published) > 12 else None

    gcs.proxy.plan = plan
    process = graft(*short, f"--workdir={WORKDIR}", **gcs.environment)
    refused(process, "has no permission to write; it needs storage.objects.create on gs://bucket")
    gcs.proxy.reset()
    resumed = graft(*short, f"--workdir={WORKDIR}", **gcs.environment)
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(r"resuming   after step \d", resumed.stdout)


def test_a_second_run_is_refused(gcs, arguments, gates, tmp_path):
    gate = gates()
    words = [*arguments, f"--workdir={WORKDIR}"]
    with started(gcs, tmp_path / "log", *words, prepare=gate) as first:
        gate.wait(first.process)
        second = graft(*words, **gcs.environment)
        refused(second, "--workdir=gs://bucket/run: another process trains here")
        assert first.process.poll() is None


def test_tensorboard_reads_the_curves_from_the_bucket(gcs, undisturbed):
    gcs.upload(undisturbed / "logs", "run/logs")
    command = [sys.executable, "-m", "tensorboard.main", f"--logdir={WORKDIR}/logs"]
    command += ["--load_fast=false", "--port=0", "--reload_interval=1"]
    process = subprocess.Popen(
        command,
        env={**os.environ, **gcs.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        url = next(
            found[0] for line in process.stderr if (found := re.search(r"http://\S+?:\d+", line))
        )
        expected = {("train", "loss"), ("train", "accuracy"), ("eval", "loss")}

        def tags():
            with urllib.request.urlopen(f"{url}/data/plugin/scalars/tags") as answer:
                runs = json.load(answer)
            return {(run, tag) for run, found in runs.items() for tag in found}

        wait_until(lambda: tags() >= expected)
    finally:
        process.kill()
        process.communicate()
    assert any(r.scheme == "https" for r in gcs.proxy.requests)
