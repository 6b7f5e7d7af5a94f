"""Submit a run to Kubernetes, as an Indexed Job or a JobSet rendered from k8s/."""

from __future__ import annotations

import sys
from typing import Any

from trainer.launch import image_check
from trainer.launch.kubernetes import checks, creation, manifests
from trainer.launch.kubernetes import job as kubernetes_job
from trainer.launch.kubernetes.client import KubernetesApi
from trainer.launch.kubernetes.wait import wait
from trainer.launch.request import Request
from trainer.process.errors import UserError
from trainer.settings.command_line import Flag, Groups
from trainer.storage import api as storage

Object = dict[str, Any]

FLAGS: Groups = {
    "On Kubernetes": (
        Flag(
            "overlay", [], "one of k8s/overlays, or several with commas (single or workers)", list
        ),
        Flag("namespace", "", "namespace of the job; else the context's"),
        Flag("context", "", "context of the kubeconfig; else its current one"),
        Flag("cpu", "", "cores of each worker, such as 4 or 500m"),
        Flag("memory", "", "memory of each worker, such as 8Gi"),
        Flag("gpus_per_worker", None, "GPUs of each worker, with overlay gpu (1) or gpus (4)", int),
        Flag("gpu_type", "", "GPU as GKE names it (nvidia-l4), with overlay gpu or gpus"),
        Flag("queue", "", "Kueue's LocalQueue (graft), with overlay kueue"),
        Flag(
            "service_account",
            "",
            "(Kubernetes) an existing one; else graft, which is created",
        ),
        Flag("claim", "", "PersistentVolumeClaim to mount at /runs, for a --workdir there"),
        Flag("max_hours", None, "hours until the run is stopped for good (24)", float),
        Flag(
            "tensorboard",
            False,
            "(Kubernetes) a TensorBoard on the run's curves, within the cluster",
            bool,
        ),
    ),
}


def submit(request: Request, values: dict[str, Any]) -> int:
    """Create the job of `request`, or print it; return the exit code.

    Args:
        request: the run.
        values: of FLAGS, by name.

    Raises:
        UserError: it cannot work, the cluster refuses it, or the name is taken; nothing is left
            behind, or the message says what.
    """
    overlays = checks.overlays_for(values["overlay"], request.num_workers)
    values = {**values, "overlay": overlays}
    objects = manifests.render(overlays)
    checks.check(request, values)
    objects = kubernetes_job.fill_objects(objects, request, values)
    if request.dry_run:
        sys.stdout.write(manifests.to_text(objects, request.dry_run))
        return 0
    image_check.check(request.image)
    cluster = KubernetesApi(values["context"], values["namespace"])
    _check_claim(cluster, values["claim"], request.num_workers)
    job = next(item for item in objects if item["kind"] in kubernetes_job.RUN_KINDS)
    creation.remove_finished_job(cluster, job)
    created = creation.create(cluster, job, [item for item in objects if item is not job])
    for line in instructions(job, cluster.namespace, values):
        print(line, flush=True)
    return wait(cluster, created) if request.wait else 0


def _check_claim(cluster: KubernetesApi, name: str, num_workers: int) -> None:
    if not name:
        return
    claim = cluster.get("PersistentVolumeClaim", name)
    if claim is None:
        raise UserError(f"--claim={name}: there is none in namespace {cluster.namespace}")
    modes = claim["spec"].get("accessModes", [])
    if num_workers > 1 and "ReadWriteMany" not in modes:
        raise UserError(
            f"--claim={name}: is {', '.join(modes)}, and {num_workers} workers need ReadWriteMany"
        )


def instructions(job: Object, namespace: str, values: dict[str, Any]) -> list[str]:
    """Return the commands that watch, read and stop `job`."""
    name = job["metadata"]["name"]
    context = f" --context={values['context']}" if values["context"] else ""
    kubectl = f"kubectl{context} --namespace={namespace}"
    here = f"--job={name} --namespace={namespace}{context}"
    num_workers = kubernetes_job.spec_of(job)["completions"]
    workdir = job["metadata"]["annotations"][kubernetes_job.WORKDIR]
    lines = [
        f"submitted  {job['kind']} {name} in namespace {namespace}, "
        f"{num_workers} worker{'s' * (num_workers > 1)}",
        f"watch      graft watch {here}",
        f"log        graft watch {here} --follow",
        f"pods       {kubectl} get pods --selector={kubernetes_job.selector(job)}",
        f"stop       graft cancel {here}    (the same command resumes)",
    ]
    if values["tensorboard"]:
        lines += [f"curves     {kubectl} port-forward service/{name}-tensorboard 6006:6006"]
    elif storage.is_remote(workdir):
        lines += [f"curves     graft tensorboard {here}"]
    return lines
