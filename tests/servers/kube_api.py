"""A server that answers as a cluster's API does, for the kinds that Graft uses.

It keeps objects, knows dry runs, conflicts, uid preconditions and Status objects, and does what a
test tells it to do wrong. No controller runs: a test sets the status itself.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_PATH = re.compile(
    r"/(?:api/v1|apis/[^/]+/[^/]+)/namespaces/(?P<namespace>[^/]+)/(?P<plural>[^/]+)(?:/(?P<name>.+))?"
)
_LOG = re.compile(r"/pods/(?P<pod>[^/]+)/log\?(?P<query>.*)")
_REASONS = {403: "Forbidden", 404: "NotFound", 409: "AlreadyExists", 422: "Invalid"}


class KubeApi:
    """The cluster.

    Attributes:
        objects: by (plural, name).
        requests: method, plural, name and whether it was a dry run, of each that came.
        faults: asked with (method, plural, is_dry_run) before each; it may return a status to
            answer with, `cut` to close the connection, or `cut after` to do so when it is done.
        deletions: the body of each request to delete.
        logs: by pod, what following its log brings: a list of lines for each request that comes,
            the last for all after it. A connection whose lines end with None is cut.
    """

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.requests: list[tuple[str, str, str, bool]] = []
        self.faults: Callable[[str, str, bool], int | str | None] = lambda *_: None
        self.deletions: list[dict[str, Any]] = []
        self.logs: dict[str, list[list[str | None]]] = {}
        self.namespaces = {"default", "team"}
        self.on_get: Callable[[str, str], None] = lambda plural, name: None
        self.url = ""

    def put(self, plural: str, item: dict[str, Any]) -> dict[str, Any]:
        """Keep `item` as the server would: with a uid."""
        item["metadata"].setdefault("uid", str(uuid.uuid4()))
        self.objects[plural, item["metadata"]["name"]] = item
        return item

    def writes(self) -> list[str]:
        """What was really asked to change: `POST jobs`, `DELETE jobs`."""
        return [f"{m} {p}" for m, p, _, is_dry in self.requests if m != "GET" and not is_dry]

    def answer(
        self, method: str, target: str, body: dict[str, Any]
    ) -> tuple[int | str, dict[str, Any]]:
        """Status (or what to do with the connection) and content for one request."""
        parts = urllib.parse.urlsplit(target)
        match = _PATH.fullmatch(parts.path)
        assert match, target
        plural = match["plural"]
        name = match["name"] or body.get("metadata", {}).get("name", "")
        is_dry = "dryRun=All" in parts.query
        self.requests.append((method, plural, name, is_dry))
        fault = self.faults(method, plural, is_dry)
        if fault == "cut":
            return "cut", {}
        if isinstance(fault, int):
            return fault, _status(fault, f'{plural} is refused: User "ann" cannot, by order')
        if match["namespace"] not in self.namespaces and method == "POST":
            return 404, _status(404, f'namespaces "{match["namespace"]}" not found')
        status, content = self._do(method, plural, name, body, is_dry)
        return (fault or status), content

    def _do(
        self, method: str, plural: str, name: str, body: dict[str, Any], is_dry: bool
    ) -> tuple[int, dict[str, Any]]:
        key = plural, name
        if method == "GET" and not name:
            return 200, {"items": [o for (p, _), o in self.objects.items() if p == plural]}
        if method == "GET":
            self.on_get(plural, name)
        if method == "POST":
            if key in self.objects:
                return 409, _status(409, f'{plural} "{name}" already exists')
            return 201, (body if is_dry else self.put(plural, body))
        if key not in self.objects:
            return 404, _status(404, f'{plural} "{name}" not found')
        if method == "DELETE":
            self.deletions.append(body)
            wanted = body["preconditions"]["uid"]
            if self.objects[key]["metadata"]["uid"] != wanted:
                return 409, _status(409, "the UID in the precondition does not match")
            return 200, self.objects.pop(key)
        return 200, self.objects[key]

    def log(self, pod: str, query: str) -> list[str | None] | int:
        """The lines for one request to follow the log of `pod`, or a status; notes that it came."""
        self.requests.append(("GET", f"log?{query}", pod, False))
        answers = self.logs[pod]
        return answers.pop(0) if len(answers) > 1 else answers[0]


def _status(code: int, message: str) -> dict[str, Any]:
    return {"kind": "Status", "code": code, "message": message, "reason": _REASONS.get(code, "")}


@contextlib.contextmanager
def serve() -> Iterator[KubeApi]:
    """The server on a port of its own, for the time of a `with`."""
    api = KubeApi()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else a body waits 40 ms for its headers to be confirmed

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else {}
            if log := _LOG.search(self.path):
                lines = api.log(log["pod"], log["query"])
                if not isinstance(lines, int):
                    self._stream(lines)
                    return
                status: int | str = lines
                content = _status(lines, "pods/log is refused")
            else:
                status, content = api.answer(self.command, self.path, body)
            if isinstance(status, str):
                self.close_connection = True
                return
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _stream(self, lines: list[str | None]) -> None:
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for line in lines:
                if line is None:
                    self.close_connection = True
                    return
                data = f"{line}\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")

        do_GET = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, *arguments: Any) -> None:
            """In silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    api.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def write_kubeconfig(path: Path, url: str, namespace: str = "default") -> Path:
    """A kubeconfig with one context, `here`, of a user with a token."""
    context = {"cluster": "here", "user": "ann", "namespace": namespace}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": url}}],
        "users": [{"name": "ann", "user": {"token": "secret-token"}}],
        "contexts": [{"name": "here", "context": context}],
    }
    path.write_text(json.dumps(content))
    return path
