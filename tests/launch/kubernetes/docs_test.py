"""docs/kubernetes.md: what it shows can be typed."""

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import trainer
from trainer.launch import submit
from trainer.launch.kubernetes import manifests, platform

TEXT = (Path(trainer.__file__).parent.parent / "docs" / "kubernetes.md").read_text()
VARIABLES = {"BUCKET": "some-bucket", "IMAGE": "registry/graft:1"}


def submissions():
    """Each `graft submit` of the document, as the shell would read it."""
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("graft submit"):
                line = re.sub(r"\$(\w+)", lambda match: VARIABLES[match[1]], line)
                yield line.replace("BUCKET", "some-bucket")


def test_there_are_some():
    assert len(list(submissions())) == 3


@pytest.mark.parametrize("line", list(submissions()))
def test_every_submission_gets_as_far_as_the_cluster(line, capsys, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    code = submit.main(shlex.split(line)[2:])
    captured = capsys.readouterr()
    if "--dry_run" in line:
        assert (code, captured.err) == (0, "")
        assert "kind: Job\n" in captured.out
    else:
        assert code == 2
        assert captured.err.startswith("graft: no cluster: ")


def test_every_flag_and_every_overlay_is_described():
    for flag in platform.FLAGS["On Kubernetes"]:
        assert f"--{flag.name}" in TEXT
    for name in manifests.overlays():
        assert f"`{name}`" in TEXT


@pytest.mark.integration
@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl, which has kustomize, is not here")
def test_the_overlay_of_ones_own_builds(tmp_path):
    (block,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    shutil.copytree(manifests.directory(), tmp_path / "k8s")
    mine = tmp_path / "k8s" / "overlays" / "mine"
    mine.mkdir()
    (mine / "kustomization.yaml").write_text(block)
    built = subprocess.run(
        ["kubectl", "kustomize", str(mine)], capture_output=True, text=True, env=os.environ
    )
    assert built.returncode == 0, built.stderr
    objects = {item["kind"]: item for item in yaml.safe_load_all(built.stdout)}
    pod = objects["Job"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == ("europe-docker.pkg.dev/my-project/graft/trainer:1")
    assert pod["containers"][0]["args"][-1] == "--workdir=gs://BUCKET/runs/pets"
    assert objects["Job"]["metadata"]["namespace"] == "graft"
    assert pod["terminationGracePeriodSeconds"] == 15
