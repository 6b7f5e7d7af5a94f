"""The files that build the image, by the linters of those who run them."""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from tests.containers import ROOT

BIN = Path(sys.executable).parent


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)


def test_the_dockerfile_is_clean():
    linted = run(BIN / "hadolint", "--no-color", "Dockerfile")
    assert (linted.returncode, linted.stdout) == (0, "")


def test_a_dockerfile_that_is_not_would_be_found(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian:latest\nRUN cd /tmp && apt-get install curl\n")
    linted = run(BIN / "hadolint", "--no-color", bad)
    assert linted.returncode == 1
    assert {"DL3007", "DL3003"} <= set(linted.stdout.split())


def test_cloud_build_takes_its_file(tmp_path):
    check = [BIN / "check-jsonschema", "--builtin-schema=vendor.cloudbuild"]
    assert run(*check, "cloudbuild.yaml").returncode == 0
    (tmp_path / "bad.yaml").write_text("steps:\n- nam: python\n")
    assert run(*check, tmp_path / "bad.yaml").returncode == 1


def test_cloud_builds_variables_are_declared_and_said():
    text = (ROOT / "cloudbuild.yaml").read_text()
    build = yaml.safe_load(text)
    documented = {line.split()[1] for line in text.splitlines() if line.startswith("#   _")}
    assert documented == set(build["substitutions"]) - {"_NAME"}
    for name in build["substitutions"]:
        assert f"${{{name}}}" in text
    assert build["options"]["requestedVerifyOption"] == "VERIFIED"
    steps = {step["id"]: step for step in build["steps"]}
    assert steps["push"]["waitFor"] == ["test", "build"]


@pytest.mark.parametrize("directory", ["trainer", "requirements"])
def test_what_the_dockerfile_copies_is_not_ignored(directory):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert f"!{directory}" in ignored
    assert f"COPY {directory}/" in (ROOT / "Dockerfile").read_text()


def make_backbone(stage, missing=""):
    """Do in the directory `stage` what the Dockerfile's stage does, without the file `missing`."""
    text = (ROOT / "Dockerfile").read_text().partition(" AS backbone\n")[2].partition("\nFROM ")[0]
    lines = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    for line in lines:
        if line[:1] == ["COPY"]:
            for source in line[1:-1]:
                to = stage / line[-1]
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("*.pyc"))
                else:
                    to.mkdir(exist_ok=True)
                    shutil.copy(ROOT / source, to)
    if missing:
        (stage / missing).unlink()
    (command,) = (line[line.index("python") + 1 :] for line in lines if line[:1] == ["RUN"])
    words = [word.replace("/opt/prepared", str(stage / "prepared")) for word in command]
    # Without what leads an editable installation to the rest of the code.
    return subprocess.run(
        [sys.executable, "-S", *words],
        capture_output=True,
        text=True,
        cwd=stage,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": sysconfig.get_path("purelib")},
        timeout=240,
    )


def test_the_backbone_is_built_from_the_copied_files_alone(tmp_path):
    made = make_backbone(tmp_path)
    assert made.returncode == 0, made.stderr
    assert {path.name.partition("-")[0] for path in (tmp_path / "prepared").iterdir()} == {
        *("efficientnet_lite0", "frozen")
    }


def test_a_module_that_is_not_copied_would_be_missed(tmp_path):
    made = make_backbone(tmp_path, missing="trainer/manifest.py")
    assert made.returncode == 1
    assert "No module named 'trainer.manifest'" in made.stderr
