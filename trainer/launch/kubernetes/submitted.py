"""A submitted job on Kubernetes: its status, its logs, and how to stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.launch.kubernetes import job as kubernetes_job
from trainer.launch.kubernetes import state as job_state
from trainer.launch.kubernetes.client import KubernetesApi, Object
from trainer.launch.kubernetes.logs import Logs
from trainer.process.errors import UserError
from trainer.storage import api as storage


class KubernetesJob:
    """See named_job.SubmittedJob.

    Args:
        cluster: that runs it.
        name: of the Job or JobSet.

    Raises:
        UserError: there is none, or it is not Graft's.
    """

    is_study = False

    def __init__(self, cluster: KubernetesApi, name: str) -> None:
        self.cluster, self.name = cluster, name
        job = self._find()
        if job is None:
            raise UserError(f"--job={name}: there is none in namespace {cluster.namespace}")
        workdir = (job["metadata"].get("annotations") or {}).get(kubernetes_job.WORKDIR)
        if not workdir:
            raise UserError(f"--job={name}: was not created by `graft submit`")
        self._kind, self._selector = job["kind"], kubernetes_job.selector(job)
        self.title = f"{self._kind} {name} in namespace {cluster.namespace}"
        self.workdir = str(workdir)
        # A claim is mounted only within the cluster.
        self.workdir_is_here = storage.is_remote(self.workdir)

    def status(self) -> dict[str, Any]:
        """See named_job.SubmittedJob; each of `workers` is {"index", "state", "restarts"}."""
        job = self._find()
        if job is None:
            return {"name": self.name, "phase": "deleted", "why": None, "workers": []}
        workers = [
            {"index": index, "state": job_state.describe(pod), "restarts": job_state.restarts(pod)}
            for index, pod in job_state.newest(self.cluster.pods(self._selector)).items()
        ]
        phase = job_state.phase(job)
        why = job_state.failure(job) if phase == "failed" else None
        return {"name": self.name, "phase": phase, "why": why, "workers": workers}

    def stop(self) -> str:
        """See named_job.SubmittedJob. The object is deleted after its pods."""
        job = self._find()
        if job is not None:
            self.cluster.delete(job)
        return "deleted; its workers get SIGTERM, and save a checkpoint"

    def follow(self, write: Callable[[str, str], None]) -> Callable[[], None]:
        """See named_job.SubmittedJob."""
        logs = Logs(self.cluster, write)
        return lambda: logs.update(self.cluster.pods(self._selector))

    def forward_command(self) -> str:
        """Return the command that forwards the run's TensorBoard; "" if it has none."""
        board = f"{self.name}-tensorboard"
        if self.cluster.get("Service", board) is None:
            return ""
        return f"kubectl --namespace={self.cluster.namespace} port-forward service/{board} 6006"

    def _find(self) -> Object | None:
        return self.cluster.get("Job", self.name) or self.cluster.get("JobSet", self.name)
