"""Fill the rendered objects with the values of one run. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trainer.launch.kubernetes.checks import CLAIM_MOUNT
from trainer.launch.request import Request
from trainer.storage import api as storage

Object = dict[str, Any]

RUN_KINDS = ("Job", "JobSet")
WORKDIR = "graft/workdir"  # annotation that identifies the run
SUBMISSION = "graft/submission"  # annotation that identifies the submission
_ACCOUNT = "graft"  # k8s/base/service-account.yaml
# An index backs off for up to ten minutes after a failure: the other workers must still wait.
_RENDEZVOUS_SECS = 900


def fill_objects(
    objects: Sequence[Object], request: Request, values: dict[str, Any]
) -> list[Object]:
    """Return the objects of `request` in the order of creation; `objects` are modified.

    Args:
        objects: what manifests.render returned.
        request: the run.
        values: of kubernetes.FLAGS, by name.
    """
    job = next(item for item in objects if item["kind"] in RUN_KINDS)
    kept = []
    for item in objects:
        kind = item["kind"]
        is_tensorboard = item["metadata"]["name"] == "graft-tensorboard"
        if is_tensorboard and not values["tensorboard"]:
            continue
        if kind == "ServiceAccount" and values["service_account"] not in ("", _ACCOUNT):
            continue  # it exists, with its rights
        if kind == "Service" and not is_tensorboard and job["kind"] == "JobSet":
            continue  # a JobSet creates its own
        if values["namespace"]:
            item["metadata"]["namespace"] = values["namespace"]
        if is_tensorboard:
            _fill_tensorboard(item, request, values)
        kept.append(item)
    _fill_job(job, request, values)
    return kept


def spec_of(job: Object) -> Object:
    """Return the spec of a Job, or of the Job within a JobSet."""
    if job["kind"] == "Job":
        spec: Object = job["spec"]
    else:
        spec = job["spec"]["replicatedJobs"][0]["template"]["spec"]
    return spec


def selector(job: Object) -> str:
    """Return the label selector of the pods of a Job or a JobSet."""
    name = job["metadata"]["name"]
    if job["kind"] == "Job":
        return f"batch.kubernetes.io/job-name={name}"
    return f"jobset.sigs.k8s.io/jobset-name={name}"


def _fill_job(job: Object, request: Request, values: dict[str, Any]) -> None:
    spec = spec_of(job)
    pod = spec["template"]["spec"]
    container = pod["containers"][0]
    job["metadata"]["name"] = request.name
    job["metadata"]["annotations"] = {WORKDIR: request.config.workdir}
    for labeled in (job, spec["template"]):
        labeled["metadata"]["labels"]["app.kubernetes.io/instance"] = request.name
    if values["queue"]:
        job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = values["queue"]
    spec["completions"] = spec["parallelism"] = request.num_workers
    if values["max_hours"] is not None:
        spec["activeDeadlineSeconds"] = math.ceil(values["max_hours"] * 3600)
    container["image"] = request.image
    container["args"] = _arguments(request)
    number = next(entry for entry in container["env"] if entry["name"] == "GRAFT_NUM_WORKERS")
    number["value"] = str(request.num_workers)
    requested = {
        "cpu": values["cpu"],
        "memory": values["memory"],
        "nvidia.com/gpu": str(values["gpus_per_worker"] or ""),
    }
    for amounts in container["resources"].values():
        amounts.update({name: amount for name, amount in requested.items() if amount})
    if values["gpu_type"]:
        pod["nodeSelector"]["cloud.google.com/gke-accelerator"] = values["gpu_type"]
    _fill_pod(pod, values)


def _arguments(request: Request) -> list[str]:
    """Return the trainer's arguments; the user's come last and take precedence."""
    defaults = ["--log_format=json"]
    if request.num_workers > 1:
        defaults.append(f"--rendezvous_timeout_secs={_RENDEZVOUS_SECS}")
    # Kubernetes expands $(NAME) in arguments; $$ is an escaped $.
    return defaults + [argument.replace("$", "$$") for argument in request.trainer_argv]


def _fill_tensorboard(item: Object, request: Request, values: dict[str, Any]) -> None:
    item["metadata"]["name"] = f"{request.name}-tensorboard"
    item["metadata"]["labels"]["app.kubernetes.io/instance"] = request.name
    instance = {"app.kubernetes.io/instance": request.name}
    if item["kind"] == "Service":
        item["spec"]["selector"].update(instance)
        return
    item["spec"]["selector"]["matchLabels"].update(instance)
    item["spec"]["template"]["metadata"]["labels"].update(instance)
    pod = item["spec"]["template"]["spec"]
    container = pod["containers"][0]
    container["image"] = request.image
    logs = storage.join(request.config.workdir, "logs").replace("$", "$$")
    container["args"][-1] = f"--logdir={logs}"
    _fill_pod(pod, values)


def _fill_pod(pod: Object, values: dict[str, Any]) -> None:
    if values["service_account"]:
        pod["serviceAccountName"] = values["service_account"]
    if values["claim"]:
        claim = {"claimName": values["claim"]}
        pod["volumes"].append({"name": "runs", "persistentVolumeClaim": claim})
        mount = {"name": "runs", "mountPath": CLAIM_MOUNT}
        pod["containers"][0]["volumeMounts"].append(mount)
