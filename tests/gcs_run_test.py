"""Whole runs with their workdir in a bucket: the story of resume_test, on the emulator."""

import contextlib
import json
import os
import random
import re
import subprocess
import sys
import urllib.request
from pathlib import Path

from tests.commands import graft, refused
from tests.same_run import DEADLINE_SECS, NUM_STEPS, assert_same_run, wait_until

WORKDIR = "gs://bucket/run"
NUM_KILLS = 20
FAULTS = ("429", "500", "503", "reset", "lost", "cut", "crc", "delay:0.04", "delay:0.4")


@contextlib.contextmanager
def started(gcs, *words):
    """A process of `graft WORDS`, killed if it outlives the block: nobody asks gcs after it."""
    command = [sys.executable, "-m", "trainer", *words]
    with subprocess.Popen(
        command,
        env={**os.environ, **gcs.environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def fetched(gcs, directory: Path) -> Path:
    """Every object below the workdir as a file."""
    for name in gcs.names("run/"):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gcs.read(name))
    return directory / "run"


def run_killed_at(gcs, number, last_fault, fault, words):
    """Kill the run as its request `number` comes, before it is done ("reset") or after ("lost")."""

    def plan(request):
        if request.number == number:
            process.kill()
        return last_fault if request.number >= number else fault()

    gcs.proxy.plan = plan
    with started(gcs, *words, f"--workdir={WORKDIR}") as process:
        _, said = process.communicate(timeout=DEADLINE_SECS)
    assert process.returncode == -9, said


def test_twenty_kills_and_faults_throughout_leave_no_trace(
    gcs,
    arguments,
    undisturbed,
    tmp_path,
):
    seed = int(os.environ.get("GRAFT_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"GRAFT_TEST_SEED={seed}")
    rng = random.Random(seed)
    num_faults = 0

    def fault():
        nonlocal num_faults
        if rng.random() > 0.08:
            return None
        num_faults += 1
        return rng.choice(FAULTS)

    for _ in range(NUM_KILLS):
        gcs.proxy.reset()
        run_killed_at(gcs, rng.randrange(45), rng.choice(["reset", "lost"]), fault, arguments)
    gcs.proxy.reset()
    gcs.proxy.plan = lambda request: fault()
    last = graft(*arguments, f"--workdir={WORKDIR}", **gcs.environment)
    assert last.returncode == 0, last.stderr
    assert "resuming" in last.stdout
    print(f"{num_faults} faults")
    assert num_faults > NUM_KILLS
    gcs.proxy.reset()
    assert_same_run(fetched(gcs, tmp_path), undisturbed)
    # Orphans are swept: what is left is complete.
    directories = {name.split("/")[2] for name in gcs.names("run/checkpoints/")}
    complete = {name.split("/")[2] for name in gcs.names("run/") if name.endswith("MANIFEST.json")}
    assert directories <= complete
    assert ".lease" not in str(gcs.names())


def test_sigterm_uploads_and_leaves_with_143(gcs, arguments, undisturbed, tmp_path):
    rare = [a for a in arguments if "checkpoint" not in a]
    rare += ["--checkpoint_every_steps=9999", "--log_upload_secs=1"]
    gcs.proxy.delay_secs = 0.04
    with started(gcs, *rare, f"--workdir={WORKDIR}") as process:
        wait_until(lambda: gcs.names("run/logs/train"))
        process.terminate()
        _, said = process.communicate(timeout=DEADLINE_SECS)
    assert process.returncode == 143, said
    assert re.search(r"graft: stopped by SIGTERM after step \d+", said)
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


def test_a_bucket_that_turns_away_ends_the_run_and_keeps_the_checkpoint(
    gcs,
    arguments,
):
    """Permission to write is lost after the first checkpoints."""
    published = []

    def plan(request):
        is_upload = request.method == "POST" and b"checkpoints/" in request.body[:400]
        published.append(is_upload)
        return "403" if is_upload and sum(published) > 12 else None

    gcs.proxy.plan = plan
    process = graft(*arguments, f"--workdir={WORKDIR}", **gcs.environment)
    refused(process, "has no permission to write; it needs storage.objects.create on gs://bucket")
    gcs.proxy.reset()
    resumed = graft(*arguments, f"--workdir={WORKDIR}", **gcs.environment)
    assert resumed.returncode == 0, resumed.stderr
    assert re.search(r"resuming   after step \d", resumed.stdout)


def test_a_second_run_is_refused(gcs, arguments):
    endless = [*arguments, "--num_steps=1000000", f"--workdir={WORKDIR}"]
    with started(gcs, *endless) as first:
        wait_until(lambda: gcs.names("run/.lease"))
        with started(gcs, *arguments, f"--workdir={WORKDIR}") as second:
            _, said = second.communicate(timeout=DEADLINE_SECS)
        assert second.returncode == 2
        assert "--workdir=gs://bucket/run: another process trains here" in said
        assert first.poll() is None


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
