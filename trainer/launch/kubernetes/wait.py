"""`graft submit --wait`: print how a job proceeds until it has ended."""

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
_API_TIMEOUT_SECS = 300.0  # a cluster's API may be unavailable during an upgrade


def wait(cluster: KubernetesApi, job: Object) -> int:
    """Wait until `job` has ended; print the state of its workers when it changes.

    Returns:
        0 if it succeeded; else the exit code that `graft launch` would end with.

    Raises:
        UserError: it was deleted, or its image cannot be pulled (then it is deleted: nothing ran).
        ApiUnreachable: the cluster does not answer for minutes; the job goes on.
    """
    kind, name = job["kind"], job["metadata"]["name"]
    printed: dict[int, str] = {}
    has_run = False
    answered = time.monotonic()
    while True:
        try:
            found = cluster.get(kind, name)
            pods = cluster.pods(kubernetes_job.selector(job))
            answered = time.monotonic()
        except ApiUnreachable:
            if time.monotonic() - answered > _API_TIMEOUT_SECS:
                raise
            time.sleep(POLL_SECS)
            continue
        if found is None or found["metadata"]["uid"] != job["metadata"]["uid"]:
            raise UserError(f"{kind} {name} was deleted, or replaced, meanwhile")
        _print_changes(pods, printed)
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


def _print_changes(pods: list[Object], printed: dict[int, str]) -> None:
    for index, pod in job_state.newest(pods).items():
        text = job_state.describe(pod)
        if printed.get(index) != text:
            printed[index] = text
            print(f"worker {index:<3} {text}", flush=True)
