"""What is installed from a wheel works without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import trainer
from trainer.launch.kubernetes import manifests

pytestmark = pytest.mark.integration

ROOT = Path(trainer.__file__).parent.parent
DEADLINE_SECS = 240


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    source = tmp_path_factory.mktemp("source") / "graft"
    source.mkdir()
    # A copy: building leaves directories behind.
    names = ["setup.py", "pyproject.toml", "README.md", "MANIFEST.in", "LICENSE", "trainer", "k8s"]
    subprocess.run(["cp", "-r", *names, str(source)], cwd=ROOT, check=True)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    built = subprocess.run(
        [*command, "--wheel-dir", str(out), str(source)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECS,
    )
    assert built.returncode == 0, built.stderr
    (path,) = out.glob(f"graft-{trainer.__version__}-*.whl")
    return path


def test_the_licence_and_the_mark_of_a_typed_package_are_in_the_wheel(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (licence,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
        assert licence.startswith(f"graft-{trainer.__version__}.dist-info/")
        assert archive.read(licence) == (ROOT / "LICENSE").read_bytes()
        assert archive.read("trainer/py.typed") == b""


def test_the_manifests_are_in_the_wheel(wheel):
    root = manifests.directory()
    files = {f"trainer/launch/kubernetes/k8s/{p.relative_to(root)}" for p in root.rglob("*.yaml")}
    assert len(files) > 20
    assert files <= set(zipfile.ZipFile(wheel).namelist())


def test_an_installed_graft_shows_the_same_job(wheel, tmp_path):
    target = tmp_path / "installed"
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(target)]
    installed = subprocess.run(
        [*command, str(wheel)], capture_output=True, text=True, timeout=DEADLINE_SECS
    )
    assert installed.returncode == 0, installed.stderr
    words = ["submit", "--platform=kubernetes", "--image=r/graft:1", "--dry_run=yaml", "--"]
    program = (
        "import sys, trainer, trainer.__main__\n"
        "print(trainer.__file__, file=sys.stderr)\n"
        f"sys.exit(trainer.__main__.main({[*words, '--workdir=gs://b/x']}))"
    )

    def show(path):
        return subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(path)},
            timeout=DEADLINE_SECS,
        )

    theirs, ours = show(target), show(ROOT)
    assert theirs.returncode == 0, theirs.stderr
    assert theirs.stderr == f"{target}/trainer/__init__.py\n"
    assert theirs.stdout == ours.stdout
    assert theirs.stdout.startswith("apiVersion: v1\nkind: ServiceAccount\n")
