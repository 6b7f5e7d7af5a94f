"""`graft submit --platform=kubernetes` against a server that answers as a cluster does."""

import copy
import socket

import pytest

from tests.servers import kube_api
from trainer.launch import submit
from trainer.launch.kubernetes import creation

RUN = ["--workdir=gs://bucket/runs/pets"]
ALL = ["POST serviceaccounts", "POST configmaps", "POST services", "POST jobs"]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(creation, "POLL_SECS", 0.02)


def graft_submit(*words, run=RUN):
    flags = ["--platform=kubernetes", "--image=r/graft:1", "--num_workers=2", *words]
    return submit.main([*flags, "--", *run])


def condition(kind, **more):
    return {"conditions": [{"type": kind, "status": "True", **more}]}


def refused(capsys, *words):
    captured = capsys.readouterr()
    assert captured.err.count("graft: ") == 1, captured.err
    for word in words:
        assert word in captured.err, captured.err
    return captured


def test_everything_is_checked_then_created_the_job_last(cluster_api, capsys):
    assert graft_submit() == 0
    assert cluster_api.writes() == ALL
    order = [is_dry for method, _, _, is_dry in cluster_api.requests if method == "POST"]
    assert order == [True] * 4 + [False] * 4
    job = cluster_api.objects["jobs", "pets"]
    assert job["metadata"]["annotations"]["graft/workdir"] == "gs://bucket/runs/pets"
    assert capsys.readouterr().out.splitlines() == [
        "submitted  Job pets in namespace default, 2 workers",
        "watch      graft watch --job=pets --namespace=default",
        "log        graft watch --job=pets --namespace=default --follow",
        "pods       kubectl --namespace=default get pods "
        "--selector=batch.kubernetes.io/job-name=pets",
        "stop       graft cancel --job=pets --namespace=default    (the same command resumes)",
        "curves     graft tensorboard --job=pets --namespace=default",
    ]


def test_no_credential_is_in_what_is_sent(cluster_api):
    assert graft_submit() == 0
    assert "secret-token" not in repr(cluster_api.objects)


def test_what_is_shared_stays_as_it_is(cluster_api):
    mine = {"kind": "ConfigMap", "metadata": {"name": "graft-environment"}, "data": {"A": "1"}}
    cluster_api.put("configmaps", mine)
    assert graft_submit() == 0
    assert cluster_api.objects["configmaps", "graft-environment"]["data"] == {"A": "1"}
    assert ("jobs", "pets") in cluster_api.objects
    # Nor is a right to make it needed.
    assert not [r for r in cluster_api.requests if r[:2] == ("POST", "configmaps")]


def test_tensorboard_belongs_to_the_job(cluster_api, capsys):
    assert graft_submit("--tensorboard", "--namespace=team") == 0
    uid = cluster_api.objects["jobs", "pets"]["metadata"]["uid"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "pets", "uid": uid}
    for plural in ("deployments", "services"):
        board = cluster_api.objects[plural, "pets-tensorboard"]
        assert board["metadata"]["ownerReferences"] == [owner]
        assert board["metadata"]["namespace"] == "team"
    assert "port-forward service/pets-tensorboard" in capsys.readouterr().out


def test_a_running_job_is_left_alone(cluster_api, capsys):
    assert graft_submit() == 0
    before = copy.deepcopy(cluster_api.objects)
    cluster_api.requests.clear()
    assert graft_submit() == 2
    refused(capsys, "Job pets in namespace default is running already", "delete job pets")
    assert (cluster_api.writes(), cluster_api.objects) == ([], before)


@pytest.mark.parametrize(
    ("kind", "word"), [("Complete", "succeeded"), ("Failed", "failed"), ("SuccessCriteriaMet", "")]
)
def test_a_job_that_has_ended_is_replaced(cluster_api, capsys, kind, word):
    assert graft_submit() == 0
    old = cluster_api.objects["jobs", "pets"]
    old["status"] = condition(kind)
    cluster_api.requests.clear()
    if not word:  # it ends while this waits
        cluster_api.on_get = lambda *_: old.update(status=condition("Complete"))
    assert graft_submit() == 0
    assert cluster_api.writes()[0] == "DELETE jobs"
    assert cluster_api.objects["jobs", "pets"]["metadata"]["uid"] != old["metadata"]["uid"]
    assert "submitted  Job pets" in capsys.readouterr().out


@pytest.mark.parametrize("workdir", ["gs://other/runs/pets", None])
def test_a_name_that_another_run_has_is_refused(cluster_api, capsys, workdir):
    annotations = {"graft/workdir": workdir} if workdir else {}
    job = {"kind": "Job", "metadata": {"name": "pets", "annotations": annotations}, "spec": {}}
    cluster_api.put("jobs", {**job, "status": condition("Complete")})
    assert graft_submit() == 2
    refused(capsys, "Job pets", workdir or "not Graft's", "choose another --name")
    assert cluster_api.writes() == []
    assert graft_submit("--name=pets-2") == 0


@pytest.mark.parametrize("plural", ["jobs", "services"])
def test_forbidden_creates_nothing(cluster_api, capsys, plural):
    cluster_api.faults = lambda method, p, is_dry: 403 if (method, p) == ("POST", plural) else None
    assert graft_submit() == 2
    refused(capsys, 'User "ann" cannot', "in default", "ask for that right")
    assert (cluster_api.writes(), cluster_api.objects) == ([], {})


def test_not_logged_in(cluster_api, capsys):
    cluster_api.faults = lambda *_: 401
    assert graft_submit() == 2
    refused(capsys, "does not accept the login")


def test_no_such_namespace(cluster_api, capsys):
    assert graft_submit("--namespace=nowhere") == 2
    refused(capsys, "namespace nowhere", "none of that name")
    assert cluster_api.objects == {}


def test_unreachable(tmp_path, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = kube_api.write_kubeconfig(tmp_path / "config", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("KUBECONFIG", str(config))
    assert graft_submit() == 2
    refused(capsys, f"http://127.0.0.1:{port} does not answer", "Connection refused")


@pytest.mark.parametrize(
    ("content", "words", "message"),
    [
        (None, [], "no cluster: "),
        ("{", [], "no cluster: "),
        ("{}", [], "no cluster: "),
        ("[]", [], "no cluster: "),
        ("good", ["--context=there"], "--context=there: no cluster: "),
    ],
)
def test_no_kubeconfig(tmp_path, monkeypatch, capsys, content, words, message):
    file = tmp_path / "config"
    if content == "good":
        kube_api.write_kubeconfig(file, "http://127.0.0.1:1")
    elif content is not None:
        file.write_text(content)
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert graft_submit(*words) == 2
    refused(capsys, message, "KUBECONFIG")
