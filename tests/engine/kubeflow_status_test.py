"""Progress for Kubeflow Trainer, by a server that answers as its does."""

import contextlib
import http.server
import json
import queue
import re
import socket
import ssl
import threading

import pytest
import trustme

from tests.inputs import tiny
from tests.processes.commands import graft, metrics
from trainer.engine import kubeflow_status

DEADLINE_SECS = 20


class Server(http.server.ThreadingHTTPServer):
    status: int
    posted: queue.Queue


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.put((self.path, self.headers["Authorization"], json.loads(body)))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(b"" if self.server.status == 200 else b"no such\nTrainJob")

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serve(status=200, authority=None):
    with Server(("127.0.0.1", 0), Handler) as server:
        server.status, server.posted = status, queue.Queue()
        if authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert("127.0.0.1").configure_cert(context)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server, f"http{'s' * bool(authority)}://127.0.0.1:{server.server_port}/apis/job"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(kubeflow_status, "MIN_SECS", 0.0)


def environment(url, **others):
    return {f"KUBEFLOW_TRAINER_SERVER_{name}": str(v) for name, v in {"URL": url, **others}.items()}


def told_by(url, **others):
    server = kubeflow_status.status_server(environment(url, **others))
    assert server is not None
    return server


def test_without_a_server_nothing_is_told():
    assert kubeflow_status.status_server({}) is None
    assert kubeflow_status.status_server(environment("")) is None


def test_a_status_with_the_token_of_the_moment_by_the_authority_that_is_named(tmp_path, quick):
    authority, token = trustme.CA(), tmp_path / "token"
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    token.write_text("first\n")
    with serve(authority=authority) as (server, url):
        told = told_by(url, TOKEN=token, CA_CERT=tmp_path / "ca.pem")
        told.update(1, 3, 7.2, {"loss": 0.25, "accuracy": float("nan")})
        path, authorization, body = server.posted.get(timeout=DEADLINE_SECS)
        assert (path, authorization) == ("/apis/job", "Bearer first")
        time = body["trainerStatus"].pop("lastUpdatedTime")
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time)
        assert body == {
            "trainerStatus": {
                "progressPercentage": 33,
                "estimatedRemainingSeconds": 8,
                "metrics": [{"name": "loss", "value": "0.25"}],
            }
        }
        token.write_text("second")
        told.update(3, 3, float("inf"), {"accuracy": 1.0})
        _, authorization, body = server.posted.get(timeout=DEADLINE_SECS)
        assert authorization == "Bearer second"
        assert body["trainerStatus"]["progressPercentage"] == 99
        assert "estimatedRemainingSeconds" not in body["trainerStatus"]
        assert [metric["name"] for metric in body["trainerStatus"]["metrics"]] == [
            "loss",
            "accuracy",
        ]
        told.end({})
        assert server.posted.get_nowait()[2]["trainerStatus"]["progressPercentage"] == 100
    assert told.problem == ""


def test_the_first_problem_is_kept_and_the_run_goes_on(quick):
    with serve(status=404) as (server, url):
        told = told_by(url)
        told.update(1, 2, 1.0, {})
        server.posted.get(timeout=DEADLINE_SECS)
        told.end({})
        assert server.posted.get_nowait()[2]["trainerStatus"]["progressPercentage"] == 100
    assert told.problem == "404 no such TrainJob"


def test_a_certificate_of_another_authority_is_not_trusted(tmp_path, quick):
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
    with serve(authority=trustme.CA()) as (server, url):
        told = told_by(url, CA_CERT=tmp_path / "ca.pem")
        told.end({})
        assert server.posted.empty()
    assert "CERTIFICATE_VERIFY_FAILED" in told.problem


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return [
        f"--dataset={tiny.write_folder(root / 'folder', train=16)}",
        f"--backbone={tiny.write_backbone(root / 'backbone')}",
        "--num_epochs=2",
        "--global_batch_size=8",
        *("--export_formats=", "--noreport", "--nolog_images"),
    ]


@pytest.mark.integration
def test_a_run_tells_how_it_goes_to_its_end(arguments, tmp_path):
    with serve() as (server, url):
        process = graft("train", f"--workdir={tmp_path / 'run'}", *arguments, **environment(url))
    assert (process.returncode, process.stderr) == (0, "")
    posted = [body["trainerStatus"] for _, _, body in server.posted.queue]
    percentages = [status["progressPercentage"] for status in posted]
    assert len(posted) > 1
    assert percentages == sorted(percentages)
    assert percentages[-1] == 100
    last = {metric["name"]: metric["value"] for metric in posted[-1]["metrics"]}
    assert last["accuracy"] == f"{metrics(tmp_path / 'run')['eval']['accuracy']:.6g}"


@pytest.mark.integration
def test_a_server_that_is_away_is_said_once(arguments, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/apis/job"
        process = graft("train", f"--workdir={tmp_path / 'run'}", *arguments, **environment(url))
    assert process.returncode == 0
    assert process.stdout.count("cannot report progress to Kubeflow: ") == 1
    assert "Connection refused" in process.stdout
