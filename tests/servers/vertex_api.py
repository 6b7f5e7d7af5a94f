"""Vertex AI's REST API on loopback, as far as Graft asks it, with what it was sent."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PROJECT = "proj"
ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"


class VertexApi(ThreadingHTTPServer):
    """A server.

    Attributes:
        sent: (method, path, query, body) of each request, in order.
        jobs: what was created, by resource name, newest last.
        states: what a created job comes to, one after the other at each look; the last stays.
        refusal: (HTTP code, status, message) that every request is answered with; or None.
        loses: `before` or `after` a job is created the connection is cut; or "".
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.sent: list[tuple] = []
        self.jobs: dict[str, dict] = {}
        self.states = ["PENDING"]
        self.refusal: tuple[int, str, str] | None = None
        self.loses = ""

    @property
    def environment(self) -> dict[str, str]:
        """How a process finds it."""
        return {
            ENDPOINT: f"http://127.0.0.1:{self.server_port}",
            "GOOGLE_CLOUD_PROJECT": PROJECT,
        }

    @property
    def created(self) -> list[dict]:
        """The bodies of the requests to create something."""
        return [
            body
            for method, path, _, body in self.sent
            if method == "POST" and not path.endswith(":cancel")
        ]

    def add(self, kind: str, name: str, workdir: str, state: str, **more: Any) -> str:
        """Have a job as `graft submit` creates it; its resource name.

        Once one is added, jobs keep their states until they are cancelled.
        """
        self.states = []
        resource = f"projects/{PROJECT}/locations/us-central1/{kind}/{len(self.jobs) + 1}"
        spec: dict[str, Any] = {
            "workerPoolSpecs": [
                {"machineSpec": {"machineType": "n1-standard-8"}, "replicaCount": "1"}
            ],
            "baseOutputDirectory": {"outputUriPrefix": workdir},
        }
        own: dict[str, Any] = {
            "customJobs": {"jobSpec": spec},
            "hyperparameterTuningJobs": {"trialJobSpec": spec},
            "trainingPipelines": {"trainingTaskInputs": spec},
        }[kind]
        self.jobs[resource] = {
            "name": resource,
            "displayName": name,
            "state": f"{_prefix(resource)}_{state}",
            "createTime": f"2026-01-01T00:00:{len(self.jobs):02}Z",
            **own,
            **more,
        }
        return resource


@contextlib.contextmanager
def serving() -> Iterator[VertexApi]:
    """A VertexApi for the time of a `with`."""
    with VertexApi() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _prefix(resource: str) -> str:
    return "PIPELINE_STATE" if "trainingPipelines" in resource else "JOB_STATE"


class _Handler(BaseHTTPRequestHandler):
    server: VertexApi

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        self._note(None)
        if self.server.refusal:
            self._refuse()
            return
        name = url.path.removeprefix("/v1/")
        if name in self.server.jobs:
            job = self.server.jobs[name]
            if self.server.states:
                job["state"] = f"{_prefix(name)}_{self.server.states[0]}"
            if len(self.server.states) > 1:
                del self.server.states[0]
            self._answer(200, job)
            return
        asked = parse_qs(url.query)["filter"][0]
        found = [
            job
            for known, job in self.server.jobs.items()
            if known.startswith(f"{name}/") and asked == f'display_name="{job["displayName"]}"'
        ]
        self._answer(200, {name.rpartition("/")[2]: found[::-1]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._note(body)
        if self.server.refusal:
            self._refuse()
            return
        if self.server.loses == "before":
            self._cut()
            return
        parent, _, act = urlsplit(self.path).path.removeprefix("/v1/").partition(":")
        if act == "cancel":
            self.server.states = ["CANCELLING", "CANCELLED"]
            self._answer(200, {})
            return
        name = f"{parent}/{len(self.server.jobs) + 1}"
        job = {**body, "name": name, "state": f"{_prefix(name)}_PENDING"}
        self.server.jobs[name] = job
        if self.server.loses == "after":
            self._cut()
            return
        self._answer(200, job)

    def _note(self, body: dict | None) -> None:
        url = urlsplit(self.path)
        self.server.sent.append((self.command, url.path, parse_qs(url.query), body))

    def _refuse(self) -> None:
        assert self.server.refusal is not None
        code, status, message = self.server.refusal
        self._answer(code, {"error": {"code": code, "message": message, "status": status}})

    def _answer(self, code: int, value: dict) -> None:
        content = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _cut(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""
