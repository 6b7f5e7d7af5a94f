"""The files of k8s/: valid, restricted, and rendered as kustomize renders them."""

import copy
import json
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from tests.inputs.kubernetes_schemas import VERSIONS, assert_valid, validate
from tests.inputs.pod_security import violations
from tests.processes.indexed_job import action, environment
from trainer.launch.kubernetes import job as kubernetes_job
from trainer.launch.kubernetes import manifests
from trainer.launch.request import name_of
from trainer.process import errors
from trainer.workers import cluster

OVERLAYS = ["gpu", "gpus", "jobset", "kueue", "single", "spot", "tpu", "workers"]


def job_in(objects):
    return next(item for item in objects if item["kind"] in kubernetes_job.RUN_KINDS)


def by_name(objects):
    return {(item["kind"], item["metadata"]["name"]): item for item in objects}


def test_the_overlays_are_these():
    assert manifests.overlays() == OVERLAYS


@pytest.mark.integration
@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl, which has kustomize, is not here")
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rendered_as_kustomize_does(overlay):
    place = manifests.directory() / "overlays" / overlay
    built = subprocess.run(
        ["kubectl", "kustomize", str(place)], capture_output=True, text=True, check=True
    )
    assert by_name(manifests.render([overlay])) == by_name(yaml.safe_load_all(built.stdout))


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nothing_of_kustomize_is_used_that_the_renderer_does_not_know(overlay):
    root = manifests.directory()
    for path in root.rglob("kustomization.yaml"):
        content = yaml.safe_load(path.read_text())
        known = {"apiVersion", "kind", "resources", "components", "patches"}
        assert content.keys() <= known, path
        for patch in content.get("patches", []):
            assert (patch.keys(), patch["target"]) == ({"target", "patch"}, {"kind": "Job"})
        assert not (path.parent.parent.name == "overlays" and "patches" in content)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_valid_by_kubernetes_schemas(overlay, version):
    assert_valid(overlay, version)


def test_the_schemas_would_find_a_mistake():
    job = job_in(manifests.render(["single"]))
    job["spec"]["podFailurePolicy"]["rules"][0]["onPodCondition"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(job, VERSIONS[0])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_admitted_where_the_profile_is_restricted(overlay):
    objects = manifests.render([overlay])
    board = by_name(objects)["Deployment", "graft-tensorboard"]
    for spec in (kubernetes_job.spec_of(job_in(objects)), board["spec"]):
        pod = spec["template"]["spec"]
        assert list(violations(pod)) == []
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["automountServiceAccountToken"] is False
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"].keys() == {"requests", "limits"}


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (["securityContext", "runAsNonRoot"], False, "runAsNonRoot"),
        (["securityContext", "runAsUser"], 0, "runAsUser"),
        (["securityContext", "seccompProfile"], {}, "seccompProfile"),
        (["hostNetwork"], True, "hostNetwork"),
        (["containers", 0, "securityContext"], {}, "allowPrivilegeEscalation"),
        (["containers", 0, "securityContext", "capabilities"], {}, "capabilities.drop"),
        (["volumes", 0], {"name": "tmp", "hostPath": {"path": "/"}}, "volume tmp"),
    ],
)
def test_the_check_of_the_profile_would_find(path, value, named):
    pod = copy.deepcopy(job_in(manifests.render(["single"]))["spec"]["template"]["spec"])
    place = pod
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert any(problem.endswith(named) for problem in violations(pod))


@pytest.mark.parametrize(
    ("exit_code", "conditions", "expected", "in_jobset"),
    [
        (1, (), "FailJob", "FailJob"),
        (errors.UserError.exit_code, (), "FailJob", "FailJob"),
        (errors.PeerLost.exit_code, (), "Ignore", "Count"),
        (errors.StorageUnreachable.exit_code, (), "Ignore", "Count"),
        (errors.Preempted.exit_code, (), "Ignore", "Count"),
        (137, (), "Count", "Count"),
        (139, (), "Count", "Count"),
        (137, ("DisruptionTarget",), "Ignore", "Count"),
    ],
)
def test_who_is_tried_again(exit_code, conditions, expected, in_jobset):
    spec = kubernetes_job.spec_of(job_in(manifests.render(["workers"])))
    assert action(spec, exit_code, conditions) == expected
    assert (spec["backoffLimitPerIndex"], spec["maxFailedIndexes"]) == (6, 0)
    job = kubernetes_job.spec_of(job_in(manifests.render(["jobset"])))
    # What counts fails the Job at once, and the JobSet makes all of it anew.
    assert (action(job, exit_code, conditions), job["backoffLimit"]) == (in_jobset, 0)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_trainer_finds_its_cluster(overlay):
    objects = manifests.render([overlay])
    num_workers = 1 if overlay in ("single", "tpu") else 2
    spec = kubernetes_job.spec_of(job_in(objects))
    assert (spec["completions"], spec["parallelism"]) == (num_workers, num_workers)
    found = cluster.read(environment(objects, num_workers - 1))
    host = "graft-workers-0-{}.graft" if overlay == "jobset" else "graft-{}.graft-workers"
    workers = tuple(f"{host.format(index)}:2222" for index in range(num_workers))
    assert (found.num_workers, found.index) == (num_workers, num_workers - 1)
    assert found.workers == (workers if num_workers > 1 else ("localhost:0",))


def test_overlays_add_up_and_jobset_comes_last():
    job = job_in(manifests.render(["jobset", "kueue", "gpu", "spot"]))
    assert (job["kind"], job["spec"]["suspend"]) == ("JobSet", True)
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "graft"
    pod = kubernetes_job.spec_of(job)["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 15
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-accelerator": "nvidia-l4",
        "cloud.google.com/gke-spot": "true",
    }


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_text_is_read_back(form):
    objects = manifests.render(["single"])
    text = manifests.to_text(objects, form)
    if form == "json":
        assert json.loads(text) == {"apiVersion": "v1", "kind": "List", "items": objects}
    else:
        assert list(yaml.safe_load_all(text)) == objects


@pytest.mark.parametrize(
    ("workdir", "name"),
    [
        ("gs://bucket/runs/pets", "pets"),
        ("gs://bucket/runs/Pets_2 (new)/", "pets-2-new"),
        ("gs://bucket", "bucket"),
        ("/runs/2024-05-01", "run-2024-05-01"),
        ("/runs/größe", "gr-e"),
        ("/runs/…", "run"),
        ("/runs/" + "a" * 44 + "-b", "a" * 44),
    ],
)
def test_name_of(workdir, name):
    assert name_of(workdir) == name
