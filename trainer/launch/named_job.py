"""Find the submitted job that `graft watch`, `cancel` or `tensorboard` names."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

from trainer.launch.kubernetes.client import KubernetesApi
from trainer.launch.kubernetes.submitted import KubernetesJob
from trainer.launch.vertex.submitted import VertexJob
from trainer.process.errors import UserError
from trainer.settings.command_line import Flag

JOB = (
    Flag("job", "", "name of a job of `graft submit`; on Vertex AI also projects/…/customJobs/1"),
    Flag("platform", "kubernetes", "where the job is", choices=("kubernetes", "vertex")),
)
ON_KUBERNETES = (
    Flag("namespace", "", "namespace of the job; else the context's"),
    Flag("context", "", "context of the kubeconfig; else its current one"),
)
ON_VERTEX = (
    Flag(
        "project", "", "project of Google Cloud; else GOOGLE_CLOUD_PROJECT, or the credentials' own"
    ),
    Flag("region", "us-central1", "region of the job"),
)
# The final phases of a job's status.
ENDED = ("succeeded", "failed", "cancelled", "deleted")


class SubmittedJob(Protocol):
    """A job that `graft submit` has created.

    Attributes:
        title: its kind, name and location, for messages.
        workdir: of its run.
        workdir_is_here: whether this machine can read that.
        is_study: whether the workdir holds a run for each trial instead of one run.
    """

    title: str
    workdir: str
    workdir_is_here: bool
    is_study: bool

    def status(self) -> dict[str, Any]:
        """Return its current status on the platform, in JSON's types.

        {"name", "phase", "why", "workers"} at least; `phase` may be `deleted`, and `why` is None
        unless it failed.
        """

    def stop(self) -> str:
        """Stop it; its workers save a checkpoint. Return a message about what was done."""

    def follow(self, write: Callable[[str, str], None]) -> Callable[[], None]:
        """Start passing its workers' logs to `write(worker, line)`, from any thread.

        Returns:
            a function to call repeatedly, for workers that start later.
        """


def find(values: dict[str, Any]) -> SubmittedJob:
    """Return the job of --job.

    Args:
        values: of JOB, ON_KUBERNETES and ON_VERTEX, by name.

    Raises:
        UserError: there is none, it is not of `graft submit`, or it cannot be read.
    """
    name = values["job"]
    if values["platform"] == "vertex" or name.startswith("projects/"):
        if not re.fullmatch(r"[a-z]+(-[a-z]+)+\d+", values["region"]):
            raise UserError(f"--region={values['region']}: must be a region, as us-central1")
        return VertexJob(name, values["project"], values["region"])
    return KubernetesJob(KubernetesApi(values["context"], values["namespace"]), name)
