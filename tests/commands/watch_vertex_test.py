"""`graft watch` for jobs on Vertex AI, against an API and a bucket on loopback."""

import json
from pathlib import Path

import pytest

from tests.workdir.status_test import workdir
from trainer.commands import watch
from trainer.launch.vertex import state as vertex_state
from trainer.process.errors import meaning

__all__ = ["workdir"]

BUCKET = "gs://bucket/runs/pets"
JOB = ["--job=pets", "--platform=vertex"]


@pytest.fixture
def run(gcs, workdir):
    """The run of `workdir`, in the bucket."""
    gcs.upload(Path(workdir), "runs/pets")


def spec(*pools):
    machine = {"machineType": "g2-standard-8", "acceleratorType": "NVIDIA_L4"}
    return {
        "workerPoolSpecs": [
            {"machineSpec": {**machine, "acceleratorCount": 1}, "replicaCount": str(count)}
            for count in pools
        ],
        "baseOutputDirectory": {"outputUriPrefix": f"{BUCKET}/"},
    }


def test_a_job_its_pools_and_its_run(vertex_ai, run, capsys):
    vertex_ai.add("customJobs", "pets", BUCKET, "RUNNING", jobSpec=spec(1, 3))
    assert watch.main([*JOB, "--once"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "job        pets running",
        "pool 0     1 × g2-standard-8 with 1 NVIDIA_L4",
        "pool 1     3 × g2-standard-8 with 1 NVIDIA_L4",
    ]
    assert lines[3].endswith(f"killed, or busy with features or export; {BUCKET}")
    assert lines[4:7] == [
        "step       40 of 96, 28 s left",
        "training   loss 0.2500, accuracy 0.8750, 64 images a second",
        "best       accuracy 0.7500 at step 32",
    ]


def test_as_json_the_newest_of_that_name(vertex_ai, run, capsys):
    vertex_ai.add("customJobs", "pets", BUCKET, "FAILED")
    name = vertex_ai.add("customJobs", "pets", BUCKET, "PENDING")
    assert watch.main([*JOB, "--once", "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert (seen["run"]["global_step"], seen["run"]["workdir"]) == (40, BUCKET)
    assert seen["job"] == {
        "name": "pets",
        "resource": name,
        "phase": "starting",
        "why": None,
        "workers": [],
        "pools": [
            {"pool": 0, "workers": 1, "machine": "n1-standard-8", "accelerators": ""},
        ],
        "trials": [],
    }


def test_by_its_resource_name_from_the_queue_to_its_failure(vertex_ai, run, capsys):
    error = {"code": 3, "message": "The replica workerpool0-0 exited with a non-zero status of 2."}
    name = vertex_ai.add("customJobs", "pets", BUCKET, "QUEUED", error=error)
    vertex_ai.states = ["QUEUED", "QUEUED", "PENDING", "RUNNING", "FAILED"]
    assert watch.main([f"--job={name}", "--every_secs=0.1"]) == 1
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("job ")]
    why = f": {meaning(2)}: {error['message']}"
    phases = ("queued", "starting", "running", "failed")
    assert said == [f"job        pets {phase}{why}" for phase in phases]


def test_a_study_has_trials_and_no_run_of_its_own(vertex_ai, capsys):
    def measure(accuracy):
        return {"stepCount": "1", "metrics": [{"metricId": "accuracy", "value": accuracy}]}

    def trial(number, state, **more):
        drawn = [{"parameterId": "learning_rate", "value": 0.001}]
        return {"id": str(number), "state": state, "parameters": drawn, **more}

    trials = [
        trial(1, "SUCCEEDED", finalMeasurement=measure(0.875), measurements=[measure(0.5)]),
        trial(2, "ACTIVE", measurements=[measure(0.25), measure(0.5)]),
        trial(3, "REQUESTED"),
    ]
    vertex_ai.add("hyperparameterTuningJobs", "pets", BUCKET, "RUNNING", trials=trials)
    assert watch.main([*JOB, "--once"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job        pets running",
        "pool 0     1 × n1-standard-8",
        "trial 1    succeeded; accuracy 0.8750; learning_rate=0.001",
        "trial 2    active; accuracy 0.5000; learning_rate=0.001",
        "trial 3    requested; learning_rate=0.001",
    ]


def test_a_bucket_that_may_not_be_read_hides_no_job(vertex_ai, gcs, capsys):
    vertex_ai.add("trainingPipelines", "pets", "gs://others/runs/pets", "SUCCEEDED")
    assert watch.main(JOB) == 0
    job, pool, run = capsys.readouterr().out.splitlines()
    assert (job, pool) == ("job        pets succeeded", "pool 0     1 × n1-standard-8")
    assert run.startswith("run        cannot be read from here: ")
    assert "others" in run


@pytest.mark.parametrize(
    ("kind", "more", "command"),
    [
        (
            "customJobs",
            {},
            "gcloud ai custom-jobs stream-logs 1 --project=proj --region=us-central1",
        ),
        (
            "trainingPipelines",
            {"trainingTaskMetadata": {"backingCustomJob": "projects/7/locations/r/customJobs/9"}},
            "gcloud ai custom-jobs stream-logs 9 --project=7 --region=r",
        ),
        (
            "hyperparameterTuningJobs",
            {},
            "gcloud logging read 'resource.labels.job_id=\"1\"' --project=proj "
            "--format='value(jsonPayload.message)'",
        ),
    ],
)
def test_following_names_the_command_that_does(vertex_ai, capsys, kind, more, command):
    vertex_ai.add(kind, "pets", BUCKET, "RUNNING", **more)
    assert watch.main([*JOB, "--follow"]) == 2
    assert capsys.readouterr().err == (
        f"graft: --follow: not on Vertex AI, whose logs are read by: {command}\n"
    )


@pytest.mark.parametrize(
    ("state", "error", "phase", "why"),
    [
        ("RUNNING", {}, "running", None),
        ("PAUSED", {}, "paused", None),
        ("CANCELLING", {}, "ending", None),
        ("CANCELLED", {}, "cancelled", None),
        ("PARTIALLY_SUCCEEDED", {}, "succeeded", None),
        ("EXPIRED", {}, "failed", "over its time (--max_run_secs, --max_wait_secs)"),
        (
            "FAILED",
            {"code": 8, "message": "Resources are insufficient in region: us-central1."},
            "failed",
            "no machine of that kind is available, or over a quota: Resources are insufficient in "
            "region: us-central1.",
        ),
        (
            "FAILED",
            {"code": 3, "message": "The replica workerpool1-0 exited with a non-zero status: 137"},
            "failed",
            "refused as it was asked for: The replica workerpool1-0 exited with a non-zero status: "
            "137",
        ),
        (
            "FAILED",
            {"message": "The replica workerpool1-0 exited with a non-zero status of 137."},
            "failed",
            "killed: out of memory, or too slow to exit after SIGTERM: The replica "
            "workerpool1-0 exited with a non-zero status of 137.",
        ),
        ("FAILED", {"code": 99, "message": "odd"}, "failed", "odd"),
    ],
)
def test_states_and_errors_in_words(state, error, phase, why):
    job = {"displayName": "pets", "name": "…", "state": state, "error": error}
    seen = vertex_state.status(job)
    assert (seen["phase"], seen["why"]) == (phase, why)
