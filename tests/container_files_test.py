"""The files that build the image, by the linters of those who run them."""

import subprocess
import sys
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


def test_the_backbone_is_built_from_files_that_are_there():
    lines = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    copied = [
        word for line in lines if line.startswith("COPY trainer/__init__") for word in line.split()
    ]
    assert copied[-1] == "trainer/"
    assert [word for word in copied[1:-1] if not (ROOT / word).is_file()] == []
