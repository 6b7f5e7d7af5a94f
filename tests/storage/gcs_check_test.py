"""What a bucket may refuse, asked of a real server; Google's token server is ours, on loopback."""

import http.server
import json
import socket
import threading
import time

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from trainer.process.errors import UserError
from trainer.storage import api as storage
from trainer.storage import gcs_check, gcs_client

WORKDIR = "gs://bucket/run"


def refused(directory=WORKDIR):
    began = time.monotonic()
    with pytest.raises(UserError) as caught:
        storage.ensure_directory(directory, "workdir")
    assert time.monotonic() - began < gcs_check.DEADLINE_SECS
    return str(caught.value)


def test_what_is_asked(gcs):
    storage.ensure_directory(WORKDIR, "workdir")
    methods = [r.method for r in gcs.proxy.requests if "/o" in r.target]
    assert methods == ["GET", "POST", "GET", "DELETE"]
    assert gcs.names() == []
    storage.ensure_directory("gs://bucket", "workdir")


@pytest.mark.parametrize(
    ("method", "act", "permission"),
    [
        ("POST", "write", "storage.objects.create"),
        ("DELETE", "delete", "storage.objects.delete"),
    ],
)
def test_no_permission(gcs, method, act, permission):
    gcs.proxy.plan = lambda request: "403" if request.method == method else None
    words = refused()
    assert words.startswith(
        f"--workdir=gs://bucket/run: nobody (anonymous) has no permission to {act}; it needs "
        f"{permission} on gs://bucket ("
    )


@pytest.mark.parametrize(("matching", "act"), [("maxResults", "list"), ("alt=media", "read")])
def test_no_permission_to_look(gcs, matching, act):
    gcs.proxy.plan = lambda request: "403" if matching in request.target else None
    assert f"no permission to {act}" in refused()


@pytest.mark.parametrize("fault", ["429", "500", "503", "reset", "lost", "cut", "crc"])
def test_a_passing_fault_is_none(gcs, fault):
    for number in range(4):
        gcs.proxy.reset()
        gcs.proxy.plan = lambda request, number=number: fault if request.number == number else None
        storage.ensure_directory(WORKDIR, "workdir")
    assert gcs.names() == []


def test_no_such_bucket(gcs):
    words = refused("gs://absent/run")
    assert words.startswith(
        "--workdir=gs://absent/run: not found; is there a bucket gs://absent? ("
    )


def test_no_bucket_named(gcs):
    assert refused("gs://") == ("--workdir=gs://: names no bucket; must be gs://BUCKET/DIRECTORY")


def test_no_name_of_a_bucket(gcs):
    assert refused("gs://-x/run").startswith("--workdir=gs://-x/run: not a bucket name (")


def test_a_quota(gcs, impatient):
    gcs.proxy.plan = lambda request: "429"
    assert "the quota of gs://bucket or of its project is used up" in refused()


@pytest.mark.parametrize("fault", ["503", "reset", "delay:30"])
def test_not_reachable(gcs, impatient, fault):
    assert_not_reachable(gcs, fault)


def test_not_reachable_for_as_long_as_a_run_waits(gcs):
    assert_not_reachable(gcs, "503")  # others: tests/storm/bucket_check_test.py


def assert_not_reachable(gcs, fault):
    """Refused before the deadline."""
    gcs.proxy.plan = lambda request: fault
    assert "cannot be reached to list, asked as nobody (anonymous)" in refused()


def test_nobody_listens(gcs, impatient, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert "cannot be reached to list" in refused()


class Tokens(http.server.BaseHTTPRequestHandler):
    """Refuses every service account, in the words of Google's token server."""

    description = ""

    def do_POST(self):
        body = {"error": "invalid_grant", "error_description": self.description}
        self.send_response(400)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *arguments):
        pass


@pytest.fixture
def impatient(monkeypatch):
    """A call is not waited for as long as by a run."""
    monkeypatch.setattr(gcs_check, "_CALL_SECS", 1.0)
    monkeypatch.setattr(gcs_check, "DEADLINE_SECS", 8.0)


@pytest.fixture
def service_account(gcs, monkeypatch, tmp_path):
    """A key file, and a storage server that wants credentials."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tokens)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    account = {
        "type": "service_account",
        "client_email": "trainer@project.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "token_uri": f"http://127.0.0.1:{server.server_port}/token",
    }
    path = tmp_path / "key.json"
    path.write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("API_ENDPOINT_OVERRIDE", gcs.proxy.url)
    yield path
    gcs_client.close()
    server.shutdown()
    thread.join()
    server.server_close()


def test_credentials_that_expired(service_account, monkeypatch):
    monkeypatch.setattr(Tokens, "description", "Token has been expired or revoked.")
    assert (
        "the credentials of trainer@project.iam.gserviceaccount.com are expired or revoked"
        in refused()
    )


def test_a_wrong_clock(service_account, monkeypatch):
    words = (
        "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
        "timeframe. Check your iat and exp values in the JWT claim."
    )
    monkeypatch.setattr(Tokens, "description", words)
    assert "this machine's clock is wrong, so its credentials are refused; set it" in refused()


def test_no_credentials(service_account, monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "absent.json"))
    words = refused()
    assert "gs:// paths need credentials, and there are none" in words
    assert "absent.json" in words
