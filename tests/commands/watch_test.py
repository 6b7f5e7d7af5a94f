"""`graft watch`: on a workdir, and on a cluster's API."""

import json
from typing import Any

import pytest

from tests.workdir.status_test import workdir
from trainer.commands import watch
from trainer.launch.kubernetes import state as job_state

__all__ = ["workdir"]


def job(workdir, *conditions, kind="Job"):
    return {
        "kind": kind,
        "metadata": {"name": "pets", "annotations": {"graft/workdir": workdir}},
        "spec": {},
        "status": {"conditions": [{"type": c, "status": "True"} for c in conditions]},
    }


def pod(index, status, **annotations):
    own = {"batch.kubernetes.io/job-completion-index": str(index)}
    own |= {f"batch.kubernetes.io/{name.replace('_', '-')}": v for name, v in annotations.items()}
    return {"metadata": {"name": f"pets-{index}", "annotations": own}, "status": status}


def test_a_job_its_workers_and_nothing_of_its_claim(cluster_api, capsys):
    cluster_api.put("jobs", job("/runs/pets"))
    cluster_api.put("pods", pod(0, {"phase": "Running"}, job_index_ignored_failure_count="2"))
    full = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes: Insufficient cpu."}
    cluster_api.put("pods", pod(1, {"phase": "Pending", "conditions": [full]}))
    assert watch.main(["--job=pets", "--once"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "job        pets running",
        "worker 0   running, restarted 2 times",
        "worker 1   unschedulable: 0/3 nodes: Insufficient cpu.",
    ]


@pytest.mark.parametrize(
    ("ends", "code", "line"),
    [
        ("Complete", 0, "job        pets succeeded"),
        ("Failed", 1, "job        pets failed: the cluster gives no reason"),
        (None, 0, "job        pets deleted"),
    ],
)
def test_it_stays_until_the_job_has_ended(cluster_api, capsys, ends, code, line):
    cluster_api.put("jobs", job("/runs/pets"))
    looks = []

    def later(plural, name):
        looks.append(plural)
        if len(looks) > 3:
            cluster_api.objects.pop(("jobs", "pets"), None)
            if ends:
                cluster_api.put("jobs", job("/runs/pets", ends))

    cluster_api.on_get = later
    assert watch.main(["--job=pets", "--every_secs=0.1"]) == code
    assert capsys.readouterr().out.splitlines() == ["job        pets running", line]


def test_a_jobset_as_json(cluster_api, capsys):
    cluster_api.put("jobsets", job("/runs/pets", "Completed", kind="JobSet"))
    assert watch.main(["--job=pets", "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    expected: dict[str, Any] = {"name": "pets", "phase": "succeeded", "why": None, "workers": []}
    assert seen == {"run": None, "job": expected}


def test_a_workdir_once(workdir, capsys):
    assert watch.main([f"--workdir={workdir}", "--once", "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert (seen["run"]["phase"], seen["run"]["global_step"]) == ("silent", 40)


def test_no_run_yet_in_lines(tmp_path):
    seen = watch.status_of(str(tmp_path), None, 1_700_000_000.0)
    assert watch.describe(seen) == [
        f"run        nothing in {tmp_path} yet; waiting for it, Ctrl-C ends"
    ]


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ([], "--workdir, --job: give one of the two"),
        (["--workdir=a", "--job=b"], "give one of the two"),
        (["--workdir=a", "b"], "b: not a flag"),
        (["--workdir=a", "--every_secs=0"], "--every_secs=0.0: must be"),
        (["--workdir=/nowhere/run", "--once"], "--workdir=/nowhere/run: there is no run"),
        (["--job=absent"], "--job=absent: there is none in namespace default"),
        (["--job=foreign"], "--job=foreign: was not created by `graft submit`"),
    ],
)
def test_refused(cluster_api, capsys, words, part):
    cluster_api.put("jobs", {"kind": "Job", "metadata": {"name": "foreign"}, "spec": {}})
    assert watch.main(words) == 2
    assert part in capsys.readouterr().err


def container(**state):
    return {"containerStatuses": [{"state": state}]}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({}, "unknown"),
        ({"phase": "Pending"}, "starting"),
        ({"phase": "Pending", **container(waiting={"reason": "ContainerCreating"})}, "starting"),
        (container(waiting={"reason": "ImagePullBackOff", "message": "no x"}), "(no x)"),
        (container(waiting={"reason": "InvalidImageName"}), "image not found or not permitted"),
        (
            container(waiting={"reason": "CreateContainerConfigError", "message": "no y"}),
            "waits: CreateContainerConfigError no y",
        ),
        (container(terminated={"exitCode": 0}), "done"),
        (container(terminated={"exitCode": 2}), "left with 2: the input is wrong"),
        (container(terminated={"exitCode": 138}), "left with 138: another worker was lost"),
        (container(terminated={"exitCode": 139}), "left with 139: a crash"),
        (container(terminated={"exitCode": 137, "reason": "OOMKilled"}), "out of memory (137)"),
        (
            {
                **container(terminated={"exitCode": 143}),
                "conditions": [
                    {"type": "DisruptionTarget", "status": "True", "message": "node is drained"}
                ],
            },
            "evicted: node is drained",
        ),
        ({"phase": "Failed", "reason": "Evicted", "message": "disk"}, "evicted: disk"),
    ],
)
def test_a_worker_in_words(status, words):
    assert words in job_state.describe({"metadata": {}, "status": status})


def test_the_newest_pod_of_each_worker_counts():
    def ended(index, made, code, at):
        item = pod(index, container(terminated={"exitCode": code, "finishedAt": at}))
        item["metadata"]["creationTimestamp"] = made
        return item

    pods = [ended(1, "2", 2, "8"), ended(0, "1", 137, "3"), ended(0, "2", 138, "9")]
    assert job_state.exit_codes(pods) == {1: 2, 0: 138}
    assert list(job_state.exit_codes(pods)) == [1, 0]
