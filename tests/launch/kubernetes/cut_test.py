"""`graft submit` that is cut off half-way: what it has made is taken back, or named."""

import os
import signal
import tempfile
import threading

import pytest

from tests.launch.kubernetes.submit_test import RUN, graft_submit, refused
from tests.processes import warm
from tests.processes.commands import DEADLINE_SECS, graft
from tests.processes.settings import Setting
from trainer.launch.kubernetes import creation

POLL_SECS = 0.02


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(creation, "POLL_SECS", POLL_SECS)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (500, ["answers 500", "nothing is left behind"]),
        (422, ["is refused", "nothing is left behind"]),
        ("cut", ["does not answer", "nothing is left behind"]),
        ("cut after", ["does not answer", "nothing is left behind"]),
    ],
)
def test_cut_in_the_middle_leaves_nothing_behind(cluster_api, capsys, fault, words):
    def fail(method, plural, is_dry):
        return fault if (method, plural, is_dry) == ("POST", "jobs", False) else None

    cluster_api.faults = fail
    assert graft_submit() == 2
    refused(capsys, "cannot create Job pets in default", *words)
    assert cluster_api.objects == {}


def test_what_is_left_is_said(cluster_api, capsys):
    gone = []

    def fail(method, plural, is_dry):
        if (method, plural, is_dry) == ("POST", "jobs", False):
            gone.append(True)
        return "cut" if gone else None

    cluster_api.faults = fail
    assert graft_submit() == 2
    refused(
        capsys,
        "whether Job pets was created is not known; Service graft-workers is left; "
        "ConfigMap graft-environment is left; ServiceAccount graft is left",
    )
    names = [name for _, name in cluster_api.objects]
    assert names == ["graft", "graft-environment", "graft-workers"]


def test_what_others_submit_meanwhile_is_not_removed(cluster_api, capsys):
    theirs = {"kind": "Job", "metadata": {"name": "pets", "annotations": {}}, "spec": {}}
    cluster_api.faults = lambda method, plural, is_dry: (
        cluster_api.put("jobs", theirs) and None
        if (method, plural, is_dry) == ("POST", "services", False)
        else None
    )
    assert graft_submit() == 2
    refused(capsys, 'jobs "pets" already exists')
    assert list(cluster_api.objects) == [("jobs", "pets")]


@pytest.mark.integration
def test_ctrl_c_in_the_middle_leaves_nothing_behind(cluster_api, tmp_path):
    reached, go_on = threading.Event(), threading.Event()

    def slow(method, plural, is_dry):
        if (method, plural, is_dry) == ("POST", "jobs", False):
            reached.set()
            go_on.wait(30)
        return None

    cluster_api.faults = slow
    words = ["submit", "--platform=kubernetes", "--image=r/graft:1", "--", *RUN]
    with tempfile.TemporaryFile("w+") as errors, open(os.devnull, "w") as nowhere:
        soon = Setting("trainer.launch.kubernetes.creation:POLL_SECS", POLL_SECS)
        process = warm.Process(words, nowhere, errors, os.environ, prepare=soon)
        assert reached.wait(60)
        process.send_signal(signal.SIGINT)
        go_on.set()  # the cluster creates it, though nobody hears the answer
        code = process.wait(DEADLINE_SECS)
        errors.seek(0)
        said = errors.read()
    assert (code, said) == (130, "graft: nothing is left behind\ngraft: interrupted\n")
    assert cluster_api.objects == {}


@pytest.mark.integration
def test_a_program_that_cannot_reach_the_cluster_says_one_line(cluster_api):
    cluster_api.faults = lambda *_: "cut"
    process = graft("submit", "--platform=kubernetes", "--image=r/graft:1", "--", *RUN)
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr.startswith("graft: cannot look for Job pets in default: ")
    assert process.stderr.count("\n") == 1
