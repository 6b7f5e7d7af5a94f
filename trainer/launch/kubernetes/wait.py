"""`graft submit --wait`: what becomes of a job, told as it happens."""

from __future__ import annotations

import time
from typing import Any

from trainer.launch.kubernetes import job as kubernetes_job
from trainer.launch.kubernetes import state as job_state
from trainer.launch.kubernetes.client import ApiUnreachable, KubernetesApi
from trainer.launch.local.launch import verdict
from trainer.process.errors import UserError

Object = dict[str, Any]

POLL_SECS = 5.0
_PATIENCE_SECS = 300.0  # a cluster's API may be away for an upgrade


def wait(cluster: KubernetesApi, job: Object) -> int:
    """Stay until `job` has ended; print how its workers are whenever that changes.

    Returns:
        0 where it has succeeded; else the exit code of the workers, as `graft launch` judges it.

    Raises:
        UserError: it is gone, or its image cannot be had (then it is deleted: nothing has run).
        Unanswered: the cluster does not answer for minutes; the job goes on.
    """
    kind, name = job["kind"], job["metadata"]["name"]
    told: dict[int, str] = {}
    has_run = False
    answered = time.monotonic()
    while True:
        try:
            found = cluster.get(kind, name)
            pods = cluster.pods(kubernetes_job.selector(job))
            answered = time.monotonic()
        except ApiUnreachable:
            if time.monotonic() - answered > _PATIENCE_SECS:
                raise
            time.sleep(POLL_SECS)
            continue
        if found is None or found["metadata"]["uid"] != job["metadata"]["uid"]:
            raise UserError(f"{kind} {name} was deleted, or replaced, meanwhile")
        _tell(pods, told)
        has_run = has_run or any(job_state.has_started(pod) for pod in pods)
        phase = job_state.phase(found)
        if phase == "succeeded":
            print(f"done       {kind} {name}", flush=True)
            return 0
        if phase == "failed":
            print(f"failed     {job_state.failure(found)}", flush=True)
            return verdict(job_state.exit_codes(pods)) or 1
        if not has_run and (missing := job_state.lacks_image(pods)):
            cluster.delete(found)
            raise UserError(f"--image: {missing}; {kind} {name} is deleted")
        time.sleep(POLL_SECS)


def _tell(pods: list[Object], told: dict[int, str]) -> None:
    for index, pod in job_state.newest(pods).items():
        text = job_state.describe(pod)
        if told.get(index) != text:
            told[index] = text
            print(f"worker {index:<3} {text}", flush=True)
