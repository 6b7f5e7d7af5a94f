"""`graft watch --follow`: the lines of all workers, against a server that answers as a cluster."""

import json

import pytest

from tests.commands.watch_test import container, job, pod
from trainer.commands import watch
from trainer.launch.kubernetes import logs

DONE = container(terminated={"exitCode": 0})


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(logs, "_AGAIN_SECS", 0.01)


def at(second, line):
    return f"2026-01-02T03:04:{second:02}.000000000Z {line}"


def said(message, severity="INFO"):
    return json.dumps({"severity": severity, "time": "…", "message": message})


def follow(capsys):
    code = watch.main(["--job=pets", "--follow", "--every_secs=0.1"])
    return code, capsys.readouterr().out.splitlines()


def test_lines_of_all_workers_and_what_becomes_of_them(cluster_api, capsys):
    cluster_api.put("jobs", job("gs://bucket/runs/pets", "Complete"))
    for index in (0, 1):
        cluster_api.put("pods", pod(index, DONE))
    cluster_api.logs["pets-0"] = [
        [at(1, said("step 1")), at(2, said("slow", "WARNING")), at(3, "a trace")]
    ]
    cluster_api.logs["pets-1"] = [[at(1, "two words")]]
    code, lines = follow(capsys)
    assert code == 0
    assert [line for line in lines if line.startswith("worker 0 │")] == [
        "worker 0 │ step 1",
        "worker 0 │ warning: slow",
        "worker 0 │ a trace",
    ]
    assert "worker 1 │ two words" in lines
    assert lines[-3:] == ["job        pets succeeded", "worker 0   done", "worker 1   done"]
    assert len(lines) == 7


def test_a_log_that_is_cut_goes_on_where_it_was(cluster_api, capsys):
    cluster_api.put("jobs", job("gs://bucket/runs/pets", "Complete"))
    cluster_api.put("pods", pod(0, DONE))
    whole = [at(1, "one"), at(2, "two"), at(2, "two again"), at(3, "three")]
    cluster_api.logs["pets-0"] = [[*whole[:3], None], [None], whole]
    assert [line for line in follow(capsys)[1] if "│" in line] == [
        "worker 0 │ one",
        "worker 0 │ two",
        "worker 0 │ two again",
        "worker 0 │ three",
    ]
    asked = [kind for _, kind, name, _ in cluster_api.requests if name == "pets-0"]
    assert "sinceSeconds" not in asked[0]
    assert all("sinceSeconds" in query and "follow=true" in query for query in asked[1:])
    assert len(asked) == 3


def test_a_worker_that_starts_later_and_one_that_comes_back(cluster_api, capsys):
    cluster_api.put("jobs", job("gs://bucket/runs/pets"))
    cluster_api.put("pods", pod(0, {"phase": "Pending"}))
    cluster_api.logs["pets-0"] = [[at(1, "first")], [at(2, "second")]]
    looks = []

    def later(plural, name):
        looks.append(plural)
        if len(looks) == 3:
            cluster_api.put("pods", pod(0, container(terminated={"exitCode": 143})))
        if len(looks) == 5:
            cluster_api.put("pods", pod(0, DONE))  # another one, with a uid of its own
        if len(looks) == 6:
            cluster_api.put("jobs", job("gs://bucket/runs/pets", "Complete"))

    cluster_api.on_get = later
    code, lines = follow(capsys)
    assert code == 0
    assert lines == [
        "job        pets running",
        "worker 0   starting",
        "worker 0 │ first",
        "worker 0   left with 143: stopped by SIGTERM; the checkpoint is saved",
        "worker 0 │ second",
        "worker 0   done",
        "job        pets succeeded",
    ]


def test_no_right_to_read_logs_is_said_once(cluster_api, capsys, monkeypatch):
    cluster_api.put("jobs", job("gs://bucket/runs/pets", "Complete"))
    cluster_api.put("pods", pod(0, DONE))
    monkeypatch.setattr(cluster_api, "log", lambda pod, query: 403)
    lines = follow(capsys)[1]
    assert [line for line in lines if "no log" in line] == [
        "worker 0 │ (no log: cannot read the log of pets-0 in default: pods/log is refused; "
        "ask for that right, or use --namespace)"
    ]


@pytest.mark.parametrize("more", [["--once"], ["--json"]])
def test_it_goes_with_neither(cluster_api, capsys, more):
    assert watch.main(["--job=pets", "--follow", *more]) == 2
    assert "--follow: needs --job, and is neither --once nor --json" in capsys.readouterr().err


def test_a_cluster_that_is_away_is_waited_for(cluster_api, capsys, monkeypatch):
    cluster_api.put("jobs", job("gs://bucket/runs/pets", "Complete"))
    cluster_api.put("pods", pod(0, DONE))
    cluster_api.logs["pets-0"] = [[at(1, "one")]]
    answers = iter([None, None, 503, 503])
    cluster_api.faults = lambda method, plural, is_dry: next(answers, None)
    code, lines = follow(capsys)
    assert (code, lines[0]) == (0, "worker 0 │ one")
    cluster_api.faults = lambda method, plural, is_dry: 503 if plural == "pods" else None
    monkeypatch.setattr(watch, "_API_TIMEOUT_SECS", 0.2)
    assert watch.main(["--job=pets", "--follow", "--every_secs=0.1"]) == 2
    assert "cannot list pods in default: the cluster answers 503" in capsys.readouterr().err
