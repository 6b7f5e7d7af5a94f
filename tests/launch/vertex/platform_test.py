"""`graft submit --platform=vertex` against an API on loopback: what is sent, faults, the end."""

import json
import socket
from typing import Any

import pytest
import yaml
from google.cloud import aiplatform_v1
from google.protobuf import json_format

from tests.inputs.vertex_requests import FULL, TUNING, dry_run, words
from tests.processes import in_process
from tests.processes.commands import python, refused
from tests.servers import vertex_api
from trainer.launch import submit
from trainer.launch.vertex import platform
from trainer.process.errors import UserError

PARENT = "/v1/projects/proj/locations/us-central1"


def named(collection, body):
    """`body` with the names of constants: the client sends their numbers, the API takes both."""
    kinds: dict[str, Any] = {
        "customJobs": aiplatform_v1.CustomJob,
        "hyperparameterTuningJobs": aiplatform_v1.HyperparameterTuningJob,
        "trainingPipelines": aiplatform_v1.TrainingPipeline,
    }
    message = kinds[collection].from_json(json.dumps(body))
    return json_format.MessageToDict(kinds[collection].pb(message))


@pytest.mark.parametrize(
    ("more", "collection"),
    [
        (FULL, "customJobs"),
        ([*FULL, *TUNING], "hyperparameterTuningJobs"),
        (["--model_name=pets"], "trainingPipelines"),
    ],
)
def test_what_is_sent_is_what_the_dry_run_shows(more, collection, vertex_ai, capsys):
    shown = dry_run(capsys, *more)
    assert vertex_ai.sent == []
    assert submit.main(words("--dry_run=yaml", *more)) == 0
    assert yaml.safe_load(capsys.readouterr().out) == shown
    assert submit.main(words(*more)) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"submitted  projects/proj/locations/us-central1/{collection}/1"
    assert [(method, path) for method, path, _, _ in vertex_ai.sent] == [
        ("GET", f"{PARENT}/{collection}"),
        ("POST", f"{PARENT}/{collection}"),
    ]
    assert [named(collection, body) for body in vertex_ai.created] == [shown]


def test_a_run_that_is_over_is_submitted_again_and_one_that_runs_is_not(vertex_ai, capsys):
    assert submit.main(words()) == 0
    capsys.readouterr()
    assert submit.main(words()) == 2
    problem = capsys.readouterr().err
    assert "--name=pets: is running already, as projects/proj/locations/" in problem
    assert len(vertex_ai.created) == 1
    next(iter(vertex_ai.jobs.values()))["state"] = "JOB_STATE_FAILED"
    assert submit.main(words()) == 0
    assert len(vertex_ai.created) == 2


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        ((403, "PERMISSION_DENIED", "aiplatform.customJobs.list denied"), "roles/aiplatform"),
        ((404, "NOT_FOUND", "project proj not found"), "--project=proj"),
        ((429, "RESOURCE_EXHAUSTED", "custom_model_training_nvidia_t4_gpus"), "over a quota"),
        ((400, "INVALID_ARGUMENT", "machine type is not supported"), "refused: "),
        ((503, "UNAVAILABLE", "try again"), "no answer from Vertex AI"),
    ],
)
def test_a_refusal_is_one_message_and_creates_nothing(refusal, expected, vertex_ai, capsys):
    vertex_ai.refusal = refusal
    assert submit.main(words()) == 2
    said = capsys.readouterr().err
    assert said.startswith("graft: --project=proj --region=us-central1: ")
    assert expected in said
    assert refusal[2] in said
    assert said.count("\n") == 1
    assert vertex_ai.jobs == {}


@pytest.mark.parametrize(
    ("loses", "expected", "num_jobs"),
    [
        ("before", "nothing was created", 0),
        ("after", "it was created all the same: projects/proj/locations/us-central1/customJobs", 1),
    ],
)
def test_an_answer_that_is_lost_is_asked_after(loses, expected, num_jobs, vertex_ai, capsys):
    vertex_ai.loses = loses
    assert submit.main(words()) == 2
    assert expected in capsys.readouterr().err
    assert len(vertex_ai.jobs) == num_jobs


def test_a_server_that_is_not_there(vertex_ai, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM", f"http://127.0.0.1:{port}")
    assert submit.main(words()) == 2
    assert "no answer from Vertex AI" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "message", "code"),
    [
        ("SUCCEEDED", "", 0),
        ("FAILED", "The replica workerpool0-0 exited with a non-zero status of 2.", 2),
        ("CANCELLED", "", 1),
    ],
)
def test_waiting_gives_the_trainers_exit_code(state, message, code, vertex_ai, capsys, monkeypatch):
    monkeypatch.setattr(platform, "_POLL_SECS", 0.01)
    vertex_ai.states = ["QUEUED", "RUNNING", "RUNNING", state]
    created = platform.client.Jobs.create

    def create(jobs, body):
        resource = created(jobs, body)
        vertex_ai.jobs[resource]["error"] = {"code": 3, "message": message}
        return resource

    monkeypatch.setattr(platform.client.Jobs, "create", create)
    assert submit.main(words("--wait")) == code
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("job ")]
    expected = ["queued", "running", state.lower(), *([message] if message else [])]
    assert said == [f"job        {line}" for line in expected]


def test_waiting_outlives_a_while_without_answers():
    answers = iter([("RUNNING", ""), None, None, ("SUCCEEDED", "")])

    def state():
        answer = next(answers)
        if answer is None:
            raise UserError("no answer")
        return answer

    now = [0.0]

    def sleep(secs):
        now[0] += secs

    assert platform.wait(state, lambda name: name == "SUCCEEDED", lambda: now[0], sleep) == 0
    assert now[0] == 45.0


def test_waiting_ends_when_nobody_answers():
    now = [0.0]

    def state():
        raise UserError("no answer")

    def sleep(secs):
        now[0] += secs

    with pytest.raises(UserError, match="no answer; the job itself goes on"):
        platform.wait(state, lambda name: False, lambda: now[0], sleep)
    assert now[0] == 615.0


def test_what_is_said_of_a_job(vertex_ai, capsys):
    assert submit.main(words()) == 0
    named = "--job=projects/proj/locations/us-central1/customJobs/1 --platform=vertex"
    assert capsys.readouterr().out.splitlines()[1:] == [
        f"watch      graft watch {named}",
        "log        gcloud ai custom-jobs stream-logs 1 --project=proj --region=us-central1",
        "page       https://console.cloud.google.com/ai/platform/locations/us-central1/training/1"
        "?project=proj",
        f"curves     graft tensorboard {named}",
        f"stop       graft cancel {named}    (the same command resumes)",
    ]


def submitted(environment, *more, without):
    """`graft submit` in a process of its own, which cannot import `without`."""
    program = f"import sys; sys.modules[{without!r}] = None\n"
    program += f"from trainer.launch import submit; sys.exit(submit.main({words(*more)}))"
    return python("-c", program, **environment)


NOBODY = {
    "GOOGLE_APPLICATION_CREDENTIALS": "",
    "GOOGLE_CLOUD_PROJECT": "",
    "NO_GCE_CHECK": "true",
    "CLOUDSDK_CONFIG": "/nowhere",
}


@pytest.mark.integration
@pytest.mark.parametrize(
    ("without", "more", "expected"),
    [
        ("google.cloud.aiplatform_v1", [], ["pip install '.[vertex]'"]),
        ("yaml", ["--dry_run=yaml"], ["--dry_run=yaml", "--dry_run=json"]),
    ],
)
def test_what_is_not_installed_is_said(without, more, expected):
    refused(submitted(NOBODY, *more, without=without), *expected)


@pytest.mark.parametrize(
    ("environment", "more", "expected"),
    [
        ({}, [], ["there are no credentials", "application-default login"]),
        ({vertex_api.ENDPOINT: "http://127.0.0.1:9"}, [], ["--project: required"]),
        (
            {vertex_api.ENDPOINT: "http://127.0.0.1:9"},
            ["--project=My Project"],
            ["--project=My Project: must be"],
        ),
    ],
)
def test_who_one_is_not_is_said(environment, more, expected, monkeypatch, capsys):
    monkeypatch.delenv(vertex_api.ENDPOINT, raising=False)
    for name, value in {**NOBODY, **environment}.items():
        monkeypatch.setenv(name, value)
    refused(in_process.graft(capsys, "submit", *words(*more)), *expected)
