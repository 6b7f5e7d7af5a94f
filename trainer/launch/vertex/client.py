"""Create, list, get and cancel jobs of Vertex AI; name the wrong flag in errors.

google-cloud-aiplatform, the official client, is imported only here, when a request is sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from trainer.process.errors import UserError

# The variable of gcloud; an http:// address is a test server, to which no credentials are sent.
ENDPOINT = "CLOUDSDK_API_ENDPOINT_OVERRIDES_AIPLATFORM"

# The kinds of jobs, as in a resource's path.
CUSTOM_JOB, TUNING_JOB, PIPELINE = "customJobs", "hyperparameterTuningJobs", "trainingPipelines"
_TIMEOUT_SECS = 60.0
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED", "PARTIALLY_SUCCEEDED")


class Jobs:
    """The jobs of one kind in a project and region.

    Args:
        kind: CUSTOM_JOB, TUNING_JOB or PIPELINE.
        project: its id; "" takes GOOGLE_CLOUD_PROJECT, or the credentials' own.
        region: as us-central1.

    Raises:
        UserError: the client is not installed, there are no credentials, or no project.
    """

    def __init__(self, kind: str, project: str, region: str) -> None:
        v1 = _library()
        services = {PIPELINE: v1.PipelineServiceClient}
        messages = {
            CUSTOM_JOB: v1.CustomJob,
            TUNING_JOB: v1.HyperparameterTuningJob,
            PIPELINE: v1.TrainingPipeline,
        }
        endpoint = os.environ.get(ENDPOINT, "").rstrip("/") or f"{region}-aiplatform.googleapis.com"
        credentials, found = _credentials(endpoint)
        self.kind, self.region, self.project = kind, region, project or found
        if not self.project:
            raise UserError("--project: required; the id of a project of Google Cloud")
        if not re.fullmatch(r"[-a-z0-9.:]+", self.project):
            raise UserError(f"--project={self.project}: must be a project's id, as my-project-1")
        self._name = re.sub("([A-Z])", lambda match: f"_{match[1].lower()}", kind).rstrip("s")
        self._message = messages[kind]
        self._client = services.get(kind, v1.JobServiceClient)(
            transport="rest", credentials=credentials, client_options={"api_endpoint": endpoint}
        )
        self._parent = f"projects/{self.project}/locations/{region}"

    def create(self, body: dict[str, Any]) -> str:
        """Create the job of `body`; return its resource name.

        Raises:
            UserError: it is refused, or the answer is lost; the message says whether it exists.
        """
        message = self._message.from_json(json.dumps(body))
        try:
            with self._calling("create"):
                created = self._call("create", "", parent=self._parent, **{self._name: message})
        except _LostError as lost:
            raise UserError(f"{lost}; {self._afterwards(body['displayName'])}") from lost
        return str(created.name)

    def active(self, display_name: str) -> str:
        """Return the resource name of an unfinished job of that name; "" if there is none."""
        with self._calling("list"):
            listed = self._listed(display_name)
            return next((str(job.name) for job in listed if _state(job) not in _ENDED), "")

    def newest(self, display_name: str) -> str:
        """Return the resource name of the newest job of that name; "" if there is none."""
        with self._calling("list"):
            found = [(str(job.create_time), str(job.name)) for job in self._listed(display_name)]
        return max(found, default=("", ""))[1]

    def get(self, resource: str) -> dict[str, Any]:
        """Return the job in the API's JSON, with a short `state` such as RUNNING.

        Raises:
            UserError: there is none of that name.
        """
        from google.protobuf import json_format

        with self._calling("get"):
            job = self._call("get", "", name=resource)
        return {**json_format.MessageToDict(self._message.pb(job)), "state": _state(job)}

    def cancel(self, resource: str) -> None:
        """Cancel the job, which sends SIGTERM to its workers."""
        with self._calling("cancel"):
            self._call("cancel", "", name=resource)

    def state(self, resource: str) -> tuple[str, str]:
        """Return the state of a job, such as RUNNING, and its error message."""
        with self._calling("get"):
            job = self._call("get", "", name=resource)
        return _state(job), str(job.error.message)

    def is_final(self, state: str) -> bool:
        """Return whether `state` is final."""
        return state in _ENDED

    def _listed(self, display_name: str) -> Any:
        request = {"parent": self._parent, "filter": f'display_name="{display_name}"'}
        return self._call("list", "s", request=request)

    def _call(self, act: str, plural: str, **arguments: Any) -> Any:
        method = getattr(self._client, f"{act}_{self._name}{plural}")
        return method(**arguments, timeout=_TIMEOUT_SECS, retry=None)

    def _afterwards(self, display_name: str) -> str:
        try:
            found = self.active(display_name)
        except UserError:
            found = None
        if found:
            return f"it was created all the same: {found}"
        if found is None:
            return (
                "whether it was created is not known; submitting it again looks for a job named "
                f"{display_name} first"
            )
        return "nothing was created"

    @contextlib.contextmanager
    def _calling(self, act: str) -> Iterator[None]:
        """Turn errors of the library into messages."""
        import requests
        from google.api_core import exceptions
        from google.auth.exceptions import GoogleAuthError

        what = f"--project={self.project} --region={self.region}"
        role = "roles/aiplatform.viewer" if act in ("list", "get") else "roles/aiplatform.user"
        try:
            yield
        except (exceptions.Forbidden, exceptions.Unauthorized) as error:
            raise UserError(f"{what}: {_text(error)}; the account needs {role}") from error
        except exceptions.NotFound as error:
            question = "" if act in ("get", "cancel") else "; is there such a project?"
            raise UserError(f"{what}: {_text(error)}{question}") from error
        except exceptions.TooManyRequests as error:
            raise UserError(
                f"{what}: over a quota: {_text(error)}; ask for more, or for another machine, "
                "region or --scheduling"
            ) from error
        except exceptions.ClientError as error:
            raise UserError(f"{what}: refused: {_text(error)}") from error
        except (exceptions.GoogleAPIError, GoogleAuthError, requests.RequestException) as error:
            raise _LostError(f"{what}: no answer from Vertex AI: {_text(error)}") from error


class _LostError(UserError):
    """The answer was lost: the request may have been executed."""


def _library() -> Any:
    try:
        from google.cloud import aiplatform_v1
    except ImportError as error:
        raise UserError(
            "--platform=vertex: needs google-cloud-aiplatform; in a checkout of Graft: "
            "pip install '.[vertex]'"
        ) from error
    return aiplatform_v1


def _credentials(endpoint: str) -> tuple[Any, str]:
    """Return the credentials and the project that they name."""
    import google.auth
    from google.auth.credentials import AnonymousCredentials
    from google.auth.exceptions import DefaultCredentialsError

    project = os.environ.get("GOOGLE_CLOUD_PROJECT", "")
    if endpoint.startswith("http://"):
        return AnonymousCredentials(), project
    try:
        credentials, found = google.auth.default(
            scopes=["https://www.googleapis.com/auth/cloud-platform"]
        )
    except DefaultCredentialsError as error:
        raise UserError(
            "--platform=vertex: there are no credentials; use `gcloud auth application-default "
            f"login`, or GOOGLE_APPLICATION_CREDENTIALS ({_text(error)})"
        ) from error
    return credentials, project or found or ""


def _state(job: Any) -> str:
    """Shorten JOB_STATE_RUNNING and PIPELINE_STATE_RUNNING to RUNNING."""
    return str(job.state.name).partition("_STATE_")[2]


def _text(error: BaseException) -> str:
    return " ".join(str(getattr(error, "message", "") or error).split()) or type(error).__name__
