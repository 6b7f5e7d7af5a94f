"""The image as a cluster runs it: another user, a read-only root, no network, no privileges.

Without a container engine much of it is proved in tests/stories/container_files_test.py.
"""

import json
import os
import shutil
import threading
import time
import uuid

import pytest

from tests.processes.containers import (
    BASE,
    IMAGE,
    LIMITS,
    MARKER,
    REVISION,
    ROOT,
    UID,
    CannotRunError,
    Engine,
)
from trainer.storage import api as storage

_DEADLINE_SECS = 300
_SLIM_BYTES = 130 * 10**6  # of python:3.11-slim, where a larger base stands in for it


@pytest.fixture(scope="module")
def engine():
    try:
        return Engine()
    except CannotRunError as error:
        pytest.skip(f"no container can be built here: {error}")


@pytest.fixture(scope="module")
def image(engine, tmp_path_factory):
    secs, _ = engine.build(ROOT, tmp_path_factory.mktemp("secrets"))
    print(f"built in {secs:.0f} s with {engine.name} from {engine.base}")
    return IMAGE


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return owned(tmp_path_factory.mktemp("cache"))


def owned(directory):
    """`directory`, given to the image's user; pytest's own are private to whoever runs it."""
    for parent in (directory, *directory.parents):
        if parent.stat().st_uid == os.geteuid() and parent.stat().st_mode & 0o77 == 0:
            parent.chmod(0o755)
    os.chown(directory, UID, UID)
    return directory


class Container:
    """A running container of the image; removed at the end of a `with`."""

    def __init__(self, engine, image, work, cache, *arguments, options=()):
        self.name = f"graft-test-{uuid.uuid4().hex[:8]}"
        self._engine = engine
        if engine.name == "podman":
            options = ("--read-only-tmpfs=false", *options)  # Docker has none of these
        self._process = engine.popen(
            "run",
            f"--name={self.name}",
            "--read-only",
            "--tmpfs=/tmp:mode=1777,size=1g",
            "--network=none",
            *LIMITS,
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            f"--volume={work}:/work",
            f"--volume={cache}:/cache",
            "--env=GRAFT_CACHE_DIR=/cache",
            *options,
            image,
            "--workdir=/work/run",
            *arguments,
        )
        self.lines = []
        # Whoever reads is released by the end of its output.
        self._timer = threading.Timer(_DEADLINE_SECS, self._process.kill)
        self._timer.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._timer.cancel()
        self._engine("kill", self.name, check=False)
        self._engine("rm", "--force", self.name, check=False)
        self._process.kill()
        self._process.stdout.close()
        self._process.wait()

    def until(self, begin):
        """Read lines until one begins so."""
        for line in self._process.stdout:
            self.lines.append(line)
            if line.startswith(begin):
                return
        raise AssertionError(f"{begin!r} was not said:\n{''.join(self.lines)}")

    def kill(self, name):
        """Send a signal to the trainer, as a kubelet does."""
        self._engine("kill", f"--signal={name}", self.name)

    def wait(self):
        """Its exit code."""
        self.lines += self._process.stdout
        return self._process.wait(_DEADLINE_SECS)


def test_what_the_image_says_of_itself(engine, image):
    config = json.loads(engine("image", "inspect", image).stdout)[0]["Config"]
    assert config["User"] == f"{UID}:{UID}"
    assert config["Entrypoint"] == ["python", "-m", "trainer.task"]
    assert config["Labels"]["org.opencontainers.image.title"] == "graft"
    assert config["Labels"]["org.opencontainers.image.revision"] == REVISION
    size = engine.size(image)
    if engine.base == BASE:
        size += _SLIM_BYTES - engine.size(BASE)
    print(f"{size / 1e9:.2f} GB on python:3.11-slim")
    assert size <= 1.6e9


def test_nothing_of_the_index_is_in_the_image(engine, image):
    said = engine("history", "--no-trunc", image).stdout + engine("image", "inspect", image).stdout
    assert MARKER not in said
    found = engine(
        "run",
        "--rm",
        "--network=none",
        *LIMITS,
        "--user=0",
        "--entrypoint=grep",
        image,
        *("-rlsI", "-e", MARKER, "-e", "BEGIN CERTIFICATE"),
        *("/app", "/build", "/home", "/opt/prepared", "/opt/venv/pyvenv.cfg", "/root", "/run"),
        *("/tmp", "/var/tmp", "/etc/pip.conf"),
        check=False,
    )
    assert found.stdout == ""
    assert found.returncode in (1, 2)  # no match; 2 as some of the directories are not there


def test_it_trains_the_default_as_another_user_on_a_read_only_root(engine, image, tmp_path, cache):
    work = owned(tmp_path)
    began = time.monotonic()
    with Container(engine, image, work, cache) as container:
        container.until("")
        print(f"first line after {time.monotonic() - began:.1f} s: {container.lines[0].strip()}")
        assert container.wait() == 0, "".join(container.lines)
    print(f"trained in {time.monotonic() - began:.0f} s")
    metrics = json.loads((work / "run" / "metrics.json").read_text())
    assert metrics["eval"]["num_examples"] == 133
    assert metrics["eval"]["accuracy"] > 0.9
    config = json.loads((work / "run" / "config.json").read_text())
    assert config["git_commit"] == REVISION
    assert (work / "run" / "export" / "saved_model.pb").stat().st_uid == UID
    # The backbone is the image's own; what is made of the data is in the cache that was given.
    assert [path.name for path in cache.glob("efficientnet*")] == []
    assert [path.name for path in cache.glob("frozen-*")] == []
    assert {"leaves", "features"} <= {path.name for path in cache.iterdir()}


def test_sigterm_leaves_with_143_and_a_checkpoint(engine, image, tmp_path, cache):
    work = owned(tmp_path)
    arguments = ["--num_steps=1000000", "--eval_every_epochs=100000", "--log_progress_secs=0"]
    with Container(engine, image, work, cache, *arguments) as container:
        container.until("training ")
        container.kill("TERM")
        assert container.wait() == 143, "".join(container.lines)
    checkpoints = work / "run" / "checkpoints"
    newest = sorted(storage.list_names(str(checkpoints)))[-1]
    assert newest > "step_00000000"
    assert storage.read_manifest(str(checkpoints / newest)) is not None


def test_out_of_memory_leaves_with_137(engine, image, tmp_path, cache):
    work = owned(tmp_path)
    limits = ("--memory=250m", "--memory-swap=250m")
    with Container(engine, image, work, cache, options=limits) as container:
        code = container.wait()
        if code in (125, 126):
            pytest.skip(f"no memory can be limited here: {container.lines}")
        # Nobody here sends SIGKILL: the deadline's ends podman's own process, with another code.
        assert code == 137, "".join(container.lines)
    assert not any(line.startswith("done ") for line in container.lines)


def test_a_change_of_the_code_rebuilds_in_seconds(engine, image, tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    for name in ("Dockerfile", ".dockerignore"):
        shutil.copy(ROOT / name, context)
    for name in ("trainer", "requirements"):
        shutil.copytree(ROOT / name, context / name)
    with (context / "trainer" / "task.py").open("a") as file:
        file.write("# changed\n")
    secs, said = engine.build(context, tmp_path)
    print(f"rebuilt in {secs:.1f} s")
    assert "Collecting" not in said
    assert "compileall -q --invalidation-mode unchecked-hash trainer" in said
    assert secs < 60
