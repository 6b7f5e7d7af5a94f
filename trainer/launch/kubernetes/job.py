"""The rendered objects with the values of one run in them. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trainer.launch.kubernetes.checks import CLAIM_MOUNT
from trainer.launch.request import Request
from trainer.storage import api as storage

Object = dict[str, Any]

RUN_KINDS = ("Job", "JobSet")
WORKDIR = "graft/workdir"  # the annotation that says whose job it is
SUBMISSION = "graft/submission"  # the annotation that no other submission has
_ACCOUNT = "graft"  # k8s/base/service-account.yaml
# After a failure an index waits for up to ten minutes: nobody may have given up by then.
_RENDEZVOUS_SECS = 900


def filled(objects: Sequence[Object], request: Request, values: dict[str, Any]) -> list[Object]:
    """The objects of `request`, in the order in which to create them; `objects` are changed.

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
            continue  # it is there, with its rights
        if kind == "Service" and not is_tensorboard and job["kind"] == "JobSet":
            continue  # a JobSet makes its own
        if values["namespace"]:
            item["metadata"]["namespace"] = values["namespace"]
        if is_tensorboard:
            _fill_tensorboard(item, request, values)
        kept.append(item)
    _fill_job(job, request, values)
    return kept


def spec_of(job: Object) -> Object:
    """The spec of a Job, or of the Job within a JobSet."""
    if job["kind"] == "Job":
        spec: Object = job["spec"]
    else:
        spec = job["spec"]["replicatedJobs"][0]["template"]["spec"]
    return spec


def selector(job: Object) -> str:
    """Of the labels of the pods of a Job or a JobSet."""
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
    for labelled in (job, spec["template"]):
        labelled["metadata"]["labels"]["app.kubernetes.io/instance"] = request.name
    if values["queue"]:
        job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = values["queue"]
    spec["completions"] = spec["parallelism"] = request.num_workers
    if values["max_hours"] is not None:
        spec["activeDeadlineSeconds"] = math.ceil(values["max_hours"] * 3600)
    container["image"] = request.image
    container["args"] = _arguments(request)
    number = next(entry for entry in container["env"] if entry["name"] == "GRAFT_NUM_WORKERS")
    number["value"] = str(request.num_workers)
    asked = {
        "cpu": values["cpu"],
        "memory": values["memory"],
        "nvidia.com/gpu": str(values["gpus_per_worker"] or ""),
    }
    for amounts in container["resources"].values():
        amounts.update({name: amount for name, amount in asked.items() if amount})
    if values["gpu_type"]:
        pod["nodeSelector"]["cloud.google.com/gke-accelerator"] = values["gpu_type"]
    _fill_pod(pod, values)


def _arguments(request: Request) -> list[str]:
    """The trainer's; what the user says comes last, and so wins."""
    ours = ["--log_format=json"]
    if request.num_workers > 1:
        ours.append(f"--rendezvous_timeout_secs={_RENDEZVOUS_SECS}")
    # Kubernetes replaces $(NAME) in arguments, and takes $$ for a $.
    return ours + [word.replace("$", "$$") for word in request.trainer_argv]


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
