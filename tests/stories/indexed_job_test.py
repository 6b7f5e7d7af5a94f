"""The Job that `graft submit` makes, with real trainers: workers die, and the run is whole.

The Job controller, the kubelet and the DNS are stand-ins; see tests/processes/indexed_job.py.
"""

import json
import signal
import time

import pytest

from tests.inputs import tiny
from tests.processes import indexed_job
from tests.processes.commands import DEADLINE_SECS, metrics
from tests.tiers import GANG
from trainer.launch import submit

pytestmark = [
    pytest.mark.integration,
    GANG,
    pytest.mark.skipif(
        not indexed_job.can_run(), reason="no network namespaces can be made here (root, iproute2)"
    ),
]

NUM_STEPS = 90


@pytest.fixture
def start(tmp_path, capsys):
    """Start a Job of two workers with these flags of the trainer; gives it."""
    folder = tiny.write_folder(tmp_path / "folder", train=30, validation=7)
    data = [f"--dataset={folder}", f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}"]
    running = []

    def start(*flags, prepare):
        words = ["--platform=kubernetes", "--image=graft", "--num_workers=2", "--claim=shared"]
        run = ["--workdir=/runs/pets", *data, *flags]
        assert submit.main([*words, "--dry_run=json", "--", *run]) == 0
        objects = json.loads(capsys.readouterr().out)["items"]
        running.append(indexed_job.IndexedJob(objects, namespaces, tmp_path, prepare))
        return running[-1]

    with indexed_job.network() as namespaces:
        yield start
        for job in running:
            job.close()


def until(job, condition, deadline_secs=DEADLINE_SECS):
    """Let the controller work until `condition()`, or the Job's end; gives its phase."""
    deadline = time.monotonic() + deadline_secs
    while (phase := job.poll()) == "running" and not condition():
        assert time.monotonic() < deadline, (job.exits, job.log(0)[-2000:], job.log(1)[-2000:])
        time.sleep(0.05)
    return phase


def held_at(gate):
    return (gate.directory / "reached").exists


def test_killed_and_evicted_workers_come_back_and_the_run_is_whole(start, gates, tmp_path):
    steps = [f"--num_steps={NUM_STEPS}", "--checkpoint_every_steps=5"]
    steps += ["--nofreeze_backbone", "--eval_every_epochs=100", "--global_batch_size=16"]
    steps += ["--nolog_images", "--noreport"]
    first, second = gates(), gates()
    job = start(*steps, prepare={(1, 0): first, (0, 1): second})
    assert until(job, held_at(first)) == "running", job.log(0)
    job.send(1, signal.SIGKILL)
    assert until(job, lambda: len(job.exits) == 2) == "running"
    assert sorted(job.exits) == [(0, 138, "Ignore"), (1, 137, "Count")]
    assert until(job, held_at(second)) == "running", job.log(0)
    job.send(0, signal.SIGTERM, evict=True)
    second.open()
    assert until(job, lambda: len(job.exits) == 4) == "running"
    assert sorted(job.exits[2:]) == [(0, 143, "Ignore"), (1, 143, "Ignore")]
    assert until(job, lambda: False) == "succeeded"
    assert job.failures == [0, 1]
    assert job.log(0).count('"resumed_step"') == 2
    assert metrics(tmp_path / "runs" / "pets")["global_step"] == NUM_STEPS
    # A chief that is lost after the end finds nobody to meet: the others have left with 0.
    job.close()
    job.lose_chief_after_the_end()
    assert until(job, lambda: False, 60) == "succeeded"
    assert job.exits[-1] == (0, 0, "done")
    assert "finished   already" in job.log(0)


def test_wrong_input_ends_the_job_at_once(start):
    job = start("--num_steps=20", "--train_split=none", prepare={})
    assert until(job, lambda: False) == "failed"
    assert job.exits[-1][1:] == (2, "FailJob")
    assert "--train_split=none" in job.log(0) + job.log(1)
