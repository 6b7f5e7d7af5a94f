"""Asking a registry, a real server here, for an image."""

import contextlib
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from trainer.launch import image_check
from trainer.process.errors import UserError


@contextlib.contextmanager
def registry(images, wants_token=False):
    """A registry that has `images`, NAME/REFERENCE each; gives its address and what was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            body = b'{"token": "anybody"}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self):
            asked.append(self.path)
            here = f"http://{self.headers['Host']}"
            if wants_token and self.headers.get("Authorization") != "Bearer anybody":
                self.send_response(401)
                challenge = f'Bearer realm="{here}/token",service="r",scope="repository:a:pull"'
                self.send_header("WWW-Authenticate", challenge)
            else:
                name, _, reference = self.path.removeprefix("/v2/").partition("/manifests/")
                self.send_response(200 if f"{name}/{reference}" in images else 404)
            self.end_headers()

        def log_message(self, *arguments):
            """In silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("graft", ("", "graft", "latest")),
        ("library/graft:1", ("", "library/graft", "1")),
        ("localhost/graft", ("localhost", "graft", "latest")),
        ("localhost:5001/a/b:1", ("localhost:5001", "a/b", "1")),
        (f"x.pkg.dev/p/r/i:2@{DIGEST}", ("x.pkg.dev", "p/r/i", DIGEST)),
    ],
)
def test_parts(image, expected):
    assert image_check.parts(image) == expected


@pytest.mark.parametrize("wants_token", [False, True])
def test_an_image_that_is_there_and_one_that_is_not(wants_token):
    with registry({"a/graft/1"}, wants_token) as (host, asked):
        image_check.check(f"{host}/a/graft:1")
        with pytest.raises(UserError) as caught:
            image_check.check(f"{host}/a/graft:2")
    assert f"--image={host}/a/graft:2: {host} has no such image" in str(caught.value)
    one = ["/v2/a/graft/manifests/1"]
    token = ["/token?service=r&scope=repository%3Aa%3Apull"]
    assert asked[: 1 + 2 * wants_token] == (one + token + one if wants_token else one)


def test_who_cannot_be_asked_is_believed():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    image_check.check(f"127.0.0.1:{port}/graft:1")
    image_check.check("graft:1")
