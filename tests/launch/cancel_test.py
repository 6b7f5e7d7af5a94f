"""`graft cancel` against servers that answer as a cluster and as Vertex AI do."""

import pytest

from tests.commands.watch_test import job, pod
from tests.processes import in_process
from tests.processes.commands import refused
from tests.workdir.status_test import workdir
from trainer.launch import cancel

__all__ = ["workdir"]

BUCKET = "gs://bucket/runs/pets"
KEPT = [
    f"kept       {BUCKET}",
    f"resume     graft submit … -- --workdir={BUCKET} …, the command that started it",
]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(cancel, "POLL_SECS", 0.01)


@pytest.mark.parametrize(("kind", "plural"), [("Job", "jobs"), ("JobSet", "jobsets")])
def test_it_is_deleted_after_its_pods(cluster_api, capsys, kind, plural):
    uid = cluster_api.put(plural, job(BUCKET, kind=kind))["metadata"]["uid"]
    assert cancel.main(["--job=pets"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"stopping   {kind} pets in namespace default: deleted; its workers get SIGTERM, and save "
        "a checkpoint",
        *KEPT,
    ]
    # Foreground: the job is there until its pods have ended; and no other job of that name is.
    assert cluster_api.deletions == [
        {"propagationPolicy": "Foreground", "preconditions": {"uid": uid}}
    ]
    assert cluster_api.writes() == [f"DELETE {plural}"]
    assert cluster_api.objects == {}


def test_waiting_says_when_all_have_left(cluster_api, capsys):
    running = cluster_api.put("jobs", job("/runs/pets"))
    gone = []

    def ending(plural, name):
        if cluster_api.deletions:
            gone.append(name)
        if len(gone) == 1:
            running["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
            cluster_api.objects["jobs", "pets"] = running
        if len(gone) == 3:
            cluster_api.objects.clear()

    cluster_api.on_get = ending
    assert cancel.main(["--job=pets", "--wait"]) == 0
    assert len(gone) >= 3
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == ["stopped    all workers have left", "kept       /runs/pets"]


def test_one_that_is_being_stopped_is_left_to_it(cluster_api, capsys):
    ending = job(BUCKET)
    ending["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster_api.put("jobs", ending)
    assert cancel.main(["--job=pets"]) == 0
    assert "is being stopped already" in capsys.readouterr().out
    assert cluster_api.writes() == []


@pytest.mark.parametrize(
    ("conditions", "words", "fault", "message"),
    [
        ((), [], None, "--job: required"),
        ((), ["--job=absent"], None, "--job=absent: there is none in namespace default"),
        ((), ["--job=foreign"], None, "--job=foreign: was not created by `graft submit`"),
        (("Complete",), ["--job=pets"], None, "--job=pets: has succeeded already; there is no"),
        (("Failed",), ["--job=pets"], None, "--job=pets: has failed already"),
        ((), ["--job=pets"], 403, 'cannot delete Job pets in default: jobs is refused: User "ann"'),
        ((), ["--job=pets"], "cut", "cannot delete Job pets in default: http://127.0.0.1:"),
        ((), ["--job=pets", "--context=there"], None, "--context=there: no cluster: "),
        ((), ["pets"], None, "pets: not a flag"),
    ],
)
def test_refused(cluster_api, capsys, conditions, words, fault, message):
    cluster_api.put("jobs", {"kind": "Job", "metadata": {"name": "foreign"}, "spec": {}})
    cluster_api.put("jobs", job(BUCKET, *conditions))
    cluster_api.put("pods", pod(0, {"phase": "Running"}))
    before = dict(cluster_api.objects)
    cluster_api.faults = lambda method, plural, is_dry: fault if method == "DELETE" else None
    assert cancel.main(words) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("graft: ")) == ("", 1)
    assert message in captured.err
    assert cluster_api.objects == before


def test_without_a_kubeconfig(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    process = in_process.graft(capsys, "cancel", "--job=pets")
    refused(process, "no cluster: ", "KUBECONFIG names the file")


@pytest.mark.parametrize("kind", ["customJobs", "hyperparameterTuningJobs", "trainingPipelines"])
def test_on_vertex(vertex_ai, capsys, kind):
    name = vertex_ai.add(kind, "pets", BUCKET, "RUNNING")
    assert cancel.main(["--job=pets", "--platform=vertex", "--wait"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"stopping   {kind[:-1]} {name}: cancelled; its workers get SIGTERM, and save a checkpoint",
        "stopped    all workers have left",
        *KEPT,
    ]
    assert [path for method, path, _, _ in vertex_ai.sent if method == "POST"] == [
        f"/v1/{name}:cancel"
    ]


@pytest.mark.parametrize(
    ("words", "refusal", "message"),
    [
        (["--job=absent"], None, "--job=absent: there is none in --project=proj --region=us-cent"),
        (["--job=done"], None, "--job=done: has succeeded already; there is nothing to stop"),
        (["--job=foreign"], None, "--job=foreign: was not created by `graft submit`"),
        (["--job=pets", "--region=x"], None, "--region=x: must be a region"),
        (["--job=projects/p/customJobs/1"], None, "must be a name, or projects/PROJECT/locat"),
        (
            ["--job=pets"],
            (403, "PERMISSION_DENIED", "aiplatform.customJobs.list denied"),
            "aiplatform.customJobs.list denied; the account needs roles/aiplatform.viewer",
        ),
    ],
)
def test_refused_on_vertex(vertex_ai, capsys, words, refusal, message):
    vertex_ai.add("customJobs", "pets", BUCKET, "RUNNING")
    vertex_ai.add("customJobs", "done", BUCKET, "SUCCEEDED")
    vertex_ai.add("customJobs", "foreign", "", "RUNNING")
    vertex_ai.refusal = refusal
    assert cancel.main(["--platform=vertex", *words]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("graft: ")) == ("", 1)
    assert message in captured.err
    assert not [method for method, _, _, _ in vertex_ai.sent if method == "POST"]
