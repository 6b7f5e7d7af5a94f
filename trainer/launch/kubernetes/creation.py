"""Create rendered objects in the cluster: all of them, or none."""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from trainer.launch.kubernetes import state as job_state
from trainer.launch.kubernetes.client import ApiUnreachable, Exists, KubernetesApi
from trainer.launch.kubernetes.job import SUBMISSION, WORKDIR
from trainer.process.errors import UserError

Object = dict[str, Any]

_DELETE_SECS = 180.0
POLL_SECS = 1.0
_ATTEMPTS = 3  # to find a job whose creation was not answered


def remove_finished_job(cluster: KubernetesApi, job: Object) -> None:
    """Remove the finished job of the same run, if there is one.

    Raises:
        UserError: the name is taken by a job that has not ended, or by another run.
    """
    kind, name = job["kind"], job["metadata"]["name"]
    found = cluster.get(kind, name)
    if found is None:
        return
    theirs = (found["metadata"].get("annotations") or {}).get(WORKDIR)
    mine = job["metadata"]["annotations"][WORKDIR]
    where = f"{kind} {name} in namespace {cluster.namespace}"
    if theirs != mine:
        whose = f"of --workdir={theirs}" if theirs else "not Graft's"
        raise UserError(f"{where} is there already, and is {whose}; choose another --name")
    phase = job_state.phase(found)
    if phase in ("running", "suspended"):
        raise UserError(
            f"{where} is {phase} already, for this --workdir; `kubectl -n {cluster.namespace} "
            f"delete {kind.lower()} {name}` stops it, with a checkpoint"
        )
    if phase != "ending":
        print(f"replacing  {where}, which has {phase}")
        cluster.delete(found)
    _wait_until_deleted(cluster, found)


def _wait_until_deleted(
    cluster: KubernetesApi, job: Object, clock: Callable[[], float] = time.monotonic
) -> None:
    kind, metadata = job["kind"], job["metadata"]
    deadline = clock() + _DELETE_SECS
    while (left := cluster.get(kind, metadata["name"])) is not None:
        if left["metadata"]["uid"] == metadata["uid"] and job_state.phase(left) in (
            "succeeded",
            "failed",
        ):
            cluster.delete(left)
        if clock() > deadline:
            raise UserError(
                f"{kind} {metadata['name']} is still there, {_DELETE_SECS:.0f} s after it was "
                "deleted: its pods have not ended; the same command again waits on"
            )
        time.sleep(POLL_SECS)


def create(cluster: KubernetesApi, job: Object, others: Sequence[Object]) -> Object:
    """Create the shared objects, then the job, then the objects it owns.

    Args:
        cluster: where to create them.
        job: the Job or JobSet; it gets a unique annotation.
        others: shared objects, which may exist, and the TensorBoard of the run.

    Returns:
        The job as the cluster has it.

    Raises:
        UserError: it failed; created objects are removed again, or the message says what is left.
    """
    job["metadata"]["annotations"][SUBMISSION] = uuid.uuid4().hex
    after = [item for item in others if _belongs_to_a_run(item)]
    shared = [item for item in others if not _belongs_to_a_run(item)]
    # Existing objects are not changed, so no right to create them is needed.
    before = [x for x in shared if cluster.get(x["kind"], x["metadata"]["name"]) is None]
    for item in (*before, job, *after):  # checks rights, quotas, admission before creating any
        try:
            cluster.create(item, dry_run=True)
        except Exists:
            if item is job:
                raise
    created: list[Object] = []
    try:
        for item in before:
            try:
                created.append(cluster.create(item))
            except Exists:
                continue  # a concurrent submission created it
        made = _create_job(cluster, job)
    except UserError as error:
        raise UserError(f"{error}; {_undo(cluster, created, job, 1)}") from error
    except ApiUnreachable as error:
        raise UserError(f"{error}; {_undo(cluster, created, job, _ATTEMPTS)}") from error
    except KeyboardInterrupt:
        print(f"graft: {_undo(cluster, created, job, _ATTEMPTS)}", file=sys.stderr)
        raise
    owner = {key: made[key] for key in ("apiVersion", "kind")}
    owner |= {key: made["metadata"][key] for key in ("name", "uid")}
    for item in after:
        item["metadata"]["ownerReferences"] = [owner]
        try:
            cluster.create(item)
        except Exists:
            continue
        except (UserError, ApiUnreachable) as error:
            print(f"graft: the run is started, its TensorBoard is not: {error}", file=sys.stderr)
            break
    return made


def _create_job(cluster: KubernetesApi, job: Object) -> Object:
    try:
        return cluster.create(job)
    except Exists:
        # The client repeats a request whose answer was lost: then this is our own job.
        found = cluster.get(job["kind"], job["metadata"]["name"])
        if found is None or not _is_ours(found, job):
            raise
        return found


def _belongs_to_a_run(item: Object) -> bool:
    return str(item["metadata"]["name"]).endswith("-tensorboard")


def _undo(cluster: KubernetesApi, created: Sequence[Object], job: Object, attempts: int) -> str:
    """Remove what was created, newest first; return a message about what is left.

    After a lost answer the job may appear a moment later: it is looked up `attempts` times.
    """
    kind, name = job["kind"], job["metadata"]["name"]
    left = []
    found = None
    try:
        found = cluster.get(kind, name)
        for _ in range(attempts - 1):
            if found is None:
                time.sleep(POLL_SECS)
                found = cluster.get(kind, name)
    except (UserError, ApiUnreachable):
        left.append(f"whether {kind} {name} was created is not known")
    ours = [found] if found is not None and _is_ours(found, job) else []
    for item in [*ours, *reversed(created)]:
        try:
            cluster.delete(item)
        except (UserError, ApiUnreachable):
            left.append(f"{item['kind']} {item['metadata']['name']} is left")
    if not left:
        return "nothing is left behind"
    return f"in namespace {cluster.namespace}, {'; '.join(left)}"


def _is_ours(found: Object, job: Object) -> bool:
    annotations = found["metadata"].get("annotations") or {}
    return bool(annotations.get(SUBMISSION) == job["metadata"]["annotations"][SUBMISSION])
