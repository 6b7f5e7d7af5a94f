import json
import os
import platform
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import trainer
from trainer.process import provenance

GIT = shutil.which("git")


def test_versions():
    found = provenance.versions()
    assert found["graft"] == trainer.__version__
    assert found["python"] == platform.python_version()
    assert found["tf-keras"] == version("tf-keras")
    assert found["tensorflow-datasets"] == version("tensorflow-datasets")
    assert "tensorflow" in found or "tensorflow-cpu" in found


@pytest.mark.integration
def test_describe_is_json():
    described = provenance.describe()
    assert described.keys() == {"versions", "git_commit"}
    assert json.loads(json.dumps(described)) == described


def git(directory, *words):
    environment = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    command = [GIT, "-C", str(directory), *who, *words]
    process = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    return process.stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    """A copy of the files that provenance needs, in a directory of their own."""
    root = Path(trainer.__file__).parent
    (tmp_path / "trainer" / "process").mkdir(parents=True)
    for name in ("__init__.py", "process/__init__.py", "process/provenance.py"):
        shutil.copy(root / name, tmp_path / "trainer" / name)
    return tmp_path


def commit_seen_in(checkout):
    program = "from trainer.process import provenance; print(provenance.git_commit())"
    process = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=checkout, check=True
    )
    return process.stdout.strip()


@pytest.mark.integration
@pytest.mark.skipif(GIT is None, reason="no git")
def test_git_commit(checkout):
    assert commit_seen_in(checkout) == "None"  # no repository
    git(checkout, "init", "--quiet")
    (checkout / "other").write_text("")
    git(checkout, "add", "other")
    git(checkout, "commit", "--quiet", "-m", "one")
    assert commit_seen_in(checkout) == "None"  # somebody else's repository around us
    git(checkout, "add", "trainer")
    git(checkout, "commit", "--quiet", "-m", "two")
    assert commit_seen_in(checkout) == git(checkout, "rev-parse", "HEAD")


@pytest.mark.integration
def test_no_git(checkout):
    program = "from trainer.process import provenance; print(provenance.git_commit())"
    process = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=checkout,
        env={"PATH": str(checkout), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
    )
    assert process.stdout == "None\n"
