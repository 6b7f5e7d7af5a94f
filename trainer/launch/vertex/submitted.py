"""A submitted job on Vertex AI: its status, its log command, and how to stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainer.launch.vertex import client
from trainer.launch.vertex import state as vertex_state
from trainer.process.errors import UserError

_KINDS = (client.CUSTOM_JOB, client.TUNING_JOB, client.PIPELINE)


class VertexJob:
    """See named_job.SubmittedJob.

    Args:
        job: its name, for the newest job of that name, or its resource name.
        project: its id; "" takes GOOGLE_CLOUD_PROJECT, or the credentials' own.
        region: as us-central1.

    Attributes:
        project: of the job.
        region: of the job.

    Raises:
        UserError: there is none, or access is refused.
    """

    workdir_is_here = True

    def __init__(self, job: str, project: str, region: str) -> None:
        if job.startswith("projects/"):
            self._jobs, self._resource = _of_resource(job)
            shown = self._jobs.get(job)
        else:
            self._jobs, self._resource = _of_name(job, project, region)
            shown = self._jobs.get(self._resource)
        self.project, self.region = self._jobs.project, self._jobs.region
        self.title = f"{self._jobs.kind.removesuffix('s')} {self._resource}"
        self.is_study = self._jobs.kind == client.TUNING_JOB
        self.workdir = vertex_state.workdir(shown)
        if not self.workdir:
            raise UserError(f"--job={job}: was not created by `graft submit`")

    def status(self) -> dict[str, Any]:
        """See named_job.SubmittedJob, and vertex_state.status for the keys."""
        return vertex_state.status(self._jobs.get(self._resource))

    def stop(self) -> str:
        """See named_job.SubmittedJob."""
        self._jobs.cancel(self._resource)
        return "cancelled; its workers get SIGTERM, and save a checkpoint"

    def follow(self, write: Callable[[str, str], None]) -> Callable[[], None]:
        """See named_job.SubmittedJob: refused, with the command that follows the log."""
        raise UserError(f"--follow: not on Vertex AI, whose logs are read by: {self.log_command()}")

    def log_command(self) -> str:
        """Return the command that follows the log of the job's workers."""
        return vertex_state.log_command(self._jobs.get(self._resource))


def _of_name(name: str, project: str, region: str) -> tuple[client.Jobs, str]:
    for kind in _KINDS:
        jobs = client.Jobs(kind, project, region)
        if resource := jobs.newest(name):
            return jobs, resource
    raise UserError(
        f"--job={name}: there is none in --project={jobs.project} --region={jobs.region}"
    )


def _of_resource(resource: str) -> tuple[client.Jobs, str]:
    parts = resource.split("/")
    if len(parts) != 6 or parts[2] != "locations" or parts[4] not in _KINDS or not all(parts):
        raise UserError(
            f"--job={resource}: must be a name, or projects/PROJECT/locations/REGION/KIND/NUMBER "
            f"with a KIND of {', '.join(_KINDS)}"
        )
    return client.Jobs(parts[4], parts[1], parts[3]), resource
