"""Podman or Docker for the tests that build the image and run it. Nothing here names a registry."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
UID, REVISION = 10001, "0123abcd"
IMAGE, BASE = "graft-test", "graft-test-base"
# Part of the index's configuration that a build is given: it must not be found in the image.
MARKER = "graft-build-secret-5c0e"

# Of each container: what it would get by itself is above what a sandbox may give.
LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")

_STORAGE = ROOT / "build" / "containers"  # git and .dockerignore pass it by; it is a cache
_NEEDED_BYTES = 14 * 10**9
_SHORT_SECS, _LONG_SECS = 60, 1500


class CannotRunError(Exception):
    """No container can be built or run on this machine; the message says why."""


class Engine:
    """What builds and runs containers.

    Attributes:
        name: podman or docker.
        base: the image that ours is built from.

    Raises:
        CannotRunError: there is none that works, or no base image can be had.
    """

    def __init__(self) -> None:
        if shutil.disk_usage(ROOT).free < _NEEDED_BYTES:
            raise CannotRunError(f"less than {_NEEDED_BYTES / 1e9:.0f} GB of disk are free")
        self.name, self._command = _find()
        self.base = self._find_base()

    def __call__(self, *words, timeout=_SHORT_SECS, check=True):
        """Run `podman WORDS`; stdout and stderr as text."""
        process = subprocess.run(
            [*self._command, *map(str, words)], capture_output=True, text=True, timeout=timeout
        )
        if check and process.returncode:
            raise AssertionError(f"{words}: {process.returncode}\n{process.stdout}{process.stderr}")
        return process

    def popen(self, *words) -> subprocess.Popen[str]:
        """Start `podman WORDS`; stderr goes with stdout."""
        return subprocess.Popen(
            [*self._command, *map(str, words)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def build(self, context: Path, scratch: Path) -> tuple[float, str]:
        """Build IMAGE; returns the seconds that it took and what was said."""
        began = time.monotonic()
        process = self(
            "build",
            "--network=host",
            f"--build-arg=BASE={self.base}",
            f"--build-arg=REVISION={REVISION}",
            *_secrets(scratch),
            f"--tag={IMAGE}",
            f"--file={context / 'Dockerfile'}",
            context,
            timeout=_LONG_SECS,
        )
        return time.monotonic() - began, process.stdout + process.stderr

    def size(self, image: str) -> int:
        """The bytes of an image, unpacked, with all that it is built from."""
        return int(self("image", "inspect", "--format={{.Size}}", image).stdout)

    def _find_base(self) -> str:
        """The Dockerfile's own base where a registry answers; else a Debian with its Python."""
        if not self("image", "inspect", BASE, check=False).returncode:
            return BASE
        lines = (ROOT / "Dockerfile").read_text().splitlines()
        base = next(line for line in lines if line.startswith("ARG BASE=")).partition("=")[2]
        if not self("pull", base, check=False, timeout=_LONG_SECS).returncode:
            return base
        if shutil.which("debootstrap") is None:
            raise CannotRunError(f"no registry has {base}, and debootstrap is not installed")
        self._make_base()
        return BASE

    def _make_base(self) -> None:
        _STORAGE.mkdir(parents=True, exist_ok=True)
        system = _STORAGE / "debian"
        made = subprocess.run(
            [
                "debootstrap",
                "--variant=minbase",
                "--include=python3,python3-venv,ca-certificates",
                _release("VERSION_CODENAME"),
                system,
                _mirror(),
            ],
            capture_output=True,
            text=True,
            timeout=_LONG_SECS,
        )
        try:
            if made.returncode:
                raise CannotRunError(f"debootstrap: {(made.stderr or made.stdout)[-300:]}")
            shutil.rmtree(system / "var" / "cache" / "apt")
            archive = _STORAGE / "debian.tar"
            subprocess.run(["tar", "-C", system, "-cf", archive, "."], check=True)
            self("import", archive, BASE, timeout=_LONG_SECS)
            archive.unlink()
        finally:
            shutil.rmtree(system, ignore_errors=True)


def _find() -> tuple[str, list[str]]:
    if (
        shutil.which("docker")
        and not subprocess.run(["docker", "info"], capture_output=True).returncode
    ):
        return "docker", ["docker"]
    if shutil.which("podman") is None:
        raise CannotRunError("there is no Docker engine, and podman is not installed")
    if shutil.which("runc") is None:
        raise CannotRunError("podman is there, and runc is not")
    if os.geteuid():
        raise CannotRunError("podman is used as root here, and this is not root")
    _STORAGE.mkdir(parents=True, exist_ok=True)
    command = [
        "podman",
        f"--root={_STORAGE / 'root'}",
        f"--runroot={_STORAGE / 'run'}",
        "--cgroup-manager=cgroupfs",
        "--runtime=runc",  # crun refuses a kernel that has both versions of cgroups mounted
        "--events-backend=none",
    ]
    info = subprocess.run([*command, "info"], capture_output=True, text=True, timeout=_SHORT_SECS)
    if info.returncode:
        raise CannotRunError(f"podman info: {info.stderr[-300:]}")
    return "podman", command


def _secrets(scratch: Path) -> list[str]:
    """How this machine reaches its package index, for the time of the build."""
    environment = os.environ
    files = [environment.get("PIP_CONFIG_FILE", ""), "~/.config/pip/pip.conf", "/etc/pip.conf"]
    found = [Path(file).expanduser() for file in files if file]
    text = next((file.read_text() for file in found if file.is_file()), "[global]\n")
    if environment.get("PIP_INDEX_URL"):
        text = f"[global]\nindex-url = {environment['PIP_INDEX_URL']}\n"
    (scratch / "pip.conf").write_text(f"{text.rstrip()}\n# {MARKER}\n")
    secrets = [f"--secret=id=pip_conf,src={scratch / 'pip.conf'}"]
    names = ("PIP_CERT", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")
    bundle = next((environment[name] for name in names if environment.get(name)), "")
    if bundle:
        secrets.append(f"--secret=id=ca_certificates,src={bundle}")
    return secrets


def _mirror() -> str:
    """Where this machine's own packages come from."""
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format=$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
    )
    if not targets.stdout.split():
        raise CannotRunError("apt-get knows no source of packages")
    return targets.stdout.split()[0]


def _release(name: str) -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith(f"{name}="):
            return line.partition("=")[2].strip('"')
    raise CannotRunError(f"/etc/os-release has no {name}")
