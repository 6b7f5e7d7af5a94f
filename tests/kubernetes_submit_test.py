"""`graft submit --platform=kubernetes` against a server that answers as a cluster does."""

import copy
import signal
import socket
import subprocess
import sys
import threading

import pytest

from tests import kube_api
from trainer.launch import kubernetes_creation, submit

RUN = ["--workdir=gs://bucket/runs/pets"]
ALL = ["POST serviceaccounts", "POST configmaps", "POST services", "POST jobs"]


@pytest.fixture
def api(tmp_path, monkeypatch):
    with kube_api.serve() as server:
        config = kube_api.write_kubeconfig(tmp_path / "config", server.url)
        monkeypatch.setenv("KUBECONFIG", str(config))
        monkeypatch.setattr(kubernetes_creation, "POLL_SECS", 0.02)
        yield server


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


def test_everything_is_checked_then_created_the_job_last(api, capsys):
    assert graft_submit() == 0
    assert api.writes() == ALL
    order = [is_dry for method, _, _, is_dry in api.requests if method == "POST"]
    assert order == [True] * 4 + [False] * 4
    job = api.objects["jobs", "pets"]
    assert job["metadata"]["annotations"]["graft/workdir"] == "gs://bucket/runs/pets"
    assert capsys.readouterr().out.splitlines() == [
        "submitted  Job pets in namespace default, 2 workers",
        "state      kubectl --namespace=default get job pets",
        "workers    kubectl --namespace=default get pods "
        "--selector=batch.kubernetes.io/job-name=pets",
        "log        kubectl --namespace=default logs --follow --selector="
        "batch.kubernetes.io/job-name=pets,batch.kubernetes.io/job-completion-index=0",
        "stop       kubectl --namespace=default delete job pets    (the same command resumes)",
        "curves     tensorboard --logdir=gs://bucket/runs/pets/logs",
    ]


def test_no_credential_is_in_what_is_sent(api):
    assert graft_submit() == 0
    assert "secret-token" not in repr(api.objects)


def test_what_is_shared_stays_as_it_is(api):
    mine = {"kind": "ConfigMap", "metadata": {"name": "graft-environment"}, "data": {"A": "1"}}
    api.put("configmaps", mine)
    assert graft_submit() == 0
    assert api.objects["configmaps", "graft-environment"]["data"] == {"A": "1"}
    assert ("jobs", "pets") in api.objects
    # Nor is a right to make it needed.
    assert not [r for r in api.requests if r[:2] == ("POST", "configmaps")]


def test_tensorboard_belongs_to_the_job(api, capsys):
    assert graft_submit("--tensorboard", "--namespace=team") == 0
    uid = api.objects["jobs", "pets"]["metadata"]["uid"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "pets", "uid": uid}
    for plural in ("deployments", "services"):
        board = api.objects[plural, "pets-tensorboard"]
        assert board["metadata"]["ownerReferences"] == [owner]
        assert board["metadata"]["namespace"] == "team"
    assert "port-forward service/pets-tensorboard" in capsys.readouterr().out


def test_a_running_job_is_left_alone(api, capsys):
    assert graft_submit() == 0
    before = copy.deepcopy(api.objects)
    api.requests.clear()
    assert graft_submit() == 2
    refused(capsys, "Job pets in namespace default is running already", "delete job pets")
    assert (api.writes(), api.objects) == ([], before)


@pytest.mark.parametrize(
    ("kind", "word"), [("Complete", "succeeded"), ("Failed", "failed"), ("SuccessCriteriaMet", "")]
)
def test_a_job_that_has_ended_is_replaced(api, capsys, kind, word):
    assert graft_submit() == 0
    old = api.objects["jobs", "pets"]
    old["status"] = condition(kind)
    api.requests.clear()
    if not word:  # it ends while this waits
        api.on_get = lambda *_: old.update(status=condition("Complete"))
    assert graft_submit() == 0
    assert api.writes()[0] == "DELETE jobs"
    assert api.objects["jobs", "pets"]["metadata"]["uid"] != old["metadata"]["uid"]
    assert "submitted  Job pets" in capsys.readouterr().out


@pytest.mark.parametrize("workdir", ["gs://other/runs/pets", None])
def test_a_name_that_another_run_has_is_refused(api, capsys, workdir):
    annotations = {"graft/workdir": workdir} if workdir else {}
    job = {"kind": "Job", "metadata": {"name": "pets", "annotations": annotations}, "spec": {}}
    api.put("jobs", {**job, "status": condition("Complete")})
    assert graft_submit() == 2
    refused(capsys, "Job pets", workdir or "not Graft's", "choose another --name")
    assert api.writes() == []
    assert graft_submit("--name=pets-2") == 0


@pytest.mark.parametrize("plural", ["jobs", "services"])
def test_forbidden_creates_nothing(api, capsys, plural):
    api.faults = lambda method, p, is_dry: 403 if (method, p) == ("POST", plural) else None
    assert graft_submit() == 2
    refused(capsys, 'User "ann" cannot', "in default", "ask for that right")
    assert (api.writes(), api.objects) == ([], {})


def test_not_logged_in(api, capsys):
    api.faults = lambda *_: 401
    assert graft_submit() == 2
    refused(capsys, "does not accept the login")


def test_no_such_namespace(api, capsys):
    assert graft_submit("--namespace=nowhere") == 2
    refused(capsys, "namespace nowhere", "none of that name")
    assert api.objects == {}


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (500, ["answers 500", "nothing is left behind"]),
        (422, ["is refused", "nothing is left behind"]),
        ("cut", ["does not answer", "nothing is left behind"]),
        ("cut after", ["does not answer", "nothing is left behind"]),
    ],
)
def test_cut_in_the_middle_leaves_nothing_behind(api, capsys, fault, words):
    def fail(method, plural, is_dry):
        return fault if (method, plural, is_dry) == ("POST", "jobs", False) else None

    api.faults = fail
    assert graft_submit() == 2
    refused(capsys, "cannot create Job pets in default", *words)
    assert api.objects == {}


def test_what_is_left_is_said(api, capsys):
    gone = []

    def fail(method, plural, is_dry):
        if (method, plural, is_dry) == ("POST", "jobs", False):
            gone.append(True)
        return "cut" if gone else None

    api.faults = fail
    assert graft_submit() == 2
    refused(
        capsys,
        "whether Job pets was created is not known; Service graft-workers is left; "
        "ConfigMap graft-environment is left; ServiceAccount graft is left",
    )
    assert [name for _, name in api.objects] == ["graft", "graft-environment", "graft-workers"]


def test_what_others_submit_meanwhile_is_not_removed(api, capsys):
    theirs = {"kind": "Job", "metadata": {"name": "pets", "annotations": {}}, "spec": {}}
    api.faults = lambda method, plural, is_dry: (
        api.put("jobs", theirs) and None
        if (method, plural, is_dry) == ("POST", "services", False)
        else None
    )
    assert graft_submit() == 2
    refused(capsys, 'jobs "pets" already exists')
    assert list(api.objects) == [("jobs", "pets")]


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


def test_ctrl_c_in_the_middle_leaves_nothing_behind(api, tmp_path):
    reached, go_on = threading.Event(), threading.Event()

    def slow(method, plural, is_dry):
        if (method, plural, is_dry) == ("POST", "jobs", False):
            reached.set()
            go_on.wait(30)
        return None

    api.faults = slow
    words = ["--platform=kubernetes", "--image=r/graft:1", "--", *RUN]
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer", "submit", *words], stderr=subprocess.PIPE, text=True
    )
    with process:
        assert reached.wait(60)
        process.send_signal(signal.SIGINT)
        go_on.set()  # the cluster creates it, though nobody hears the answer
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (
        130,
        "graft: nothing is left behind\ngraft: interrupted\n",
    )
    assert api.objects == {}


def test_a_program_that_cannot_reach_the_cluster_says_one_line(api):
    words = ["--platform=kubernetes", "--image=r/graft:1", "--", *RUN]
    api.faults = lambda *_: "cut"
    process = subprocess.run(
        [sys.executable, "-m", "trainer", "submit", *words], capture_output=True, text=True
    )
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("graft: cannot look for Job pets in default: ")
    assert process.stderr.count("\n") == 1
