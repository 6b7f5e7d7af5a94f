"""`graft submit --wait` against a server that answers as a cluster does."""

from typing import Any

import pytest

from trainer.launch import submit
from trainer.launch.kubernetes import wait

WORKDIR = "--workdir=gs://bucket/runs/pets"


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(wait, "POLL_SECS", 0.02)


def pod(index, state, made="1", **more):
    return {
        "metadata": {
            "name": f"pets-{index}-{made}",
            "creationTimestamp": made,
            "annotations": {"batch.kubernetes.io/job-completion-index": str(index)},
        },
        "status": {"containerStatuses": [{"state": state}], **more},
    }


def wait_for(cluster_api, *states):
    """Submit with --wait; the cluster then shows `states`, one after the other."""
    left = list(states)

    def next_state(plural, name):
        if ("jobs", "pets") in cluster_api.objects and left:
            status, pods = left.pop(0)
            cluster_api.objects["jobs", "pets"]["status"] = status
            for item in pods:
                cluster_api.put("pods", item)

    cluster_api.on_get = next_state
    flags = ["--platform=kubernetes", "--image=r/graft:1", "--wait", "--", WORKDIR]
    return submit.main(flags)


def condition(kind, **more):
    return {"conditions": [{"type": kind, "status": "True", **more}]}


def test_wait_until_done(cluster_api, capsys):
    running: dict[str, Any] = {"running": {}}
    done = {"terminated": {"exitCode": 0}}
    states = [
        ({}, [pod(0, {"waiting": {"reason": "ContainerCreating"}}, phase="Pending")]),
        ({}, [pod(0, running, phase="Running")]),
        ({}, [pod(0, {"terminated": {"exitCode": 143}})]),
        ({}, [pod(0, running, "2", phase="Running")]),
        (condition("Complete"), [pod(0, done, "2")]),
    ]
    assert wait_for(cluster_api, *states) == 0
    assert capsys.readouterr().out.splitlines()[6:] == [
        "worker 0   starting",
        "worker 0   running",
        "worker 0   left with 143: stopped by SIGTERM; the checkpoint is saved",
        "worker 0   running",
        "worker 0   done",
        "done       Job pets",
    ]


def test_wait_until_failed_has_the_workers_exit_code(cluster_api, capsys):
    failed = condition("Failed", reason="PodFailurePolicy", message="exit code 2")
    assert wait_for(cluster_api, (failed, [pod(0, {"terminated": {"exitCode": 2}})])) == 2
    assert "failed     PodFailurePolicy: exit code 2" in capsys.readouterr().out


def test_wait_for_an_image_that_does_not_exist(cluster_api, capsys):
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "r/graft:1: not found"}}
    assert wait_for(cluster_api, ({}, [pod(0, waiting)])) == 2
    error = capsys.readouterr().err
    assert "--image: image not found" in error
    assert "r/graft:1: not found" in error
    assert "Job pets is deleted" in error
    assert ("jobs", "pets") not in cluster_api.objects


def test_wait_for_a_job_that_is_deleted(cluster_api, capsys):
    def gone(plural, name):
        cluster_api.objects.pop(("jobs", "pets"), None)

    cluster_api.on_get = gone
    flags = ["--platform=kubernetes", "--image=r/graft:1", "--wait", "--", WORKDIR]
    assert submit.main(flags) == 2
    assert "Job pets was deleted" in capsys.readouterr().err


def test_wait_outlasts_a_cluster_that_is_away_and_ends_where_it_stays_away(
    cluster_api, capsys, monkeypatch
):
    answers = iter([None, 503, 503, None])

    def away(method, plural, is_dry):
        is_look = method == "GET" and ("jobs", "pets") in cluster_api.objects and plural == "jobs"
        return next(answers, None) if is_look else None

    cluster_api.faults = away
    assert wait_for(cluster_api, ({}, []), (condition("Complete"), [])) == 0
    cluster_api.objects.clear()
    monkeypatch.setattr(wait, "_API_TIMEOUT_SECS", 0.1)
    cluster_api.faults = lambda method, plural, is_dry: 503 if plural == "pods" else None
    assert wait_for(cluster_api, ({}, [])) == 2
    assert "cannot list pods in default: the cluster answers 503" in capsys.readouterr().err
    assert ("jobs", "pets") in cluster_api.objects
