"""Call a cluster's API, and turn its errors into messages.

The official client finds the cluster and the credentials as kubectl does: in the kubeconfig or,
within a pod, in the files of its service account.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trainer.process.errors import GraftError, UserError

Object = dict[str, Any]

_TIMEOUT_SECS = (5, 30)  # connect, read
_LOG_TIMEOUT_SECS = (5, 60)  # bounds the wait for a connection that died silently
_IN_CLUSTER_NAMESPACE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
# By kind: group, version, plural. The core group is empty.
_KINDS = {
    "Job": ("batch", "v1", "jobs"),
    "JobSet": ("jobset.x-k8s.io", "v1alpha2", "jobsets"),
    "Deployment": ("apps", "v1", "deployments"),
    "Service": ("", "v1", "service"),
    "ServiceAccount": ("", "v1", "service_account"),
    "ConfigMap": ("", "v1", "config_map"),
    "PersistentVolumeClaim": ("", "v1", "persistent_volume_claim"),
}


class ApiUnreachable(GraftError):
    """The cluster cannot be reached, or did not answer: a request may have been executed."""

    exit_code = 2


class Exists(UserError):
    """An object of that kind and name exists."""


class KubernetesApi:
    """One namespace of one cluster.

    Args:
        context: of the kubeconfig; empty for its current one.
        namespace: empty for the context's.

    Raises:
        UserError: there is no configuration, or it cannot be read.
    """

    def __init__(self, context: str = "", namespace: str = "") -> None:
        try:
            from kubernetes import client, config
        except ImportError as error:
            raise UserError(
                f"--platform=kubernetes: needs {error.name}; in a checkout of Graft: "
                "pip install '.[kubernetes]'"
            ) from error
        settings = client.Configuration()
        # The client reads the variable only once, at import.
        file = os.environ.get("KUBECONFIG") or None
        try:
            if Path(_IN_CLUSTER_NAMESPACE).exists() and not context:
                config.load_incluster_config(client_configuration=settings)
                default = Path(_IN_CLUSTER_NAMESPACE).read_text(encoding="utf-8").strip()
            else:
                config.load_kube_config(file, context or None, settings)
                contexts, active = config.list_kube_config_contexts(file)
                used = next((c for c in contexts if c["name"] == context), active)
                default = used["context"].get("namespace") or "default"
        # The client does not wrap errors of the YAML parser and of its own dictionaries.
        except Exception as error:
            asked = f"--context={context}: " if context else ""
            raise UserError(
                f"{asked}no cluster: {_line(str(error))} (KUBECONFIG names the file; "
                "`kubectl config get-contexts` lists what there is)"
            ) from error
        settings.retries = 0  # callers that wait retry themselves
        self.host = settings.host
        self.namespace = namespace or default
        api = client.ApiClient(settings)
        self._core, self._custom = client.CoreV1Api(api), client.CustomObjectsApi(api)

    def get(self, kind: str, name: str) -> Object | None:
        """Return the object; None if there is none."""
        group, version, plural = _KINDS[kind]
        with self._answers(f"look for {kind} {name}") as absent:
            if group:
                return _content(
                    self._custom.get_namespaced_custom_object,
                    group=group,
                    version=version,
                    namespace=self.namespace,
                    plural=plural,
                    name=name,
                )
            method = getattr(self._core, f"read_namespaced_{plural}")
            return _content(method, name=name, namespace=self.namespace)
        assert absent
        return None

    def create(self, item: Object, dry_run: bool = False) -> Object:
        """Create `item`, or let the cluster validate it (`dry_run`); return the cluster's version.

        Raises:
            Exists: there is one of that name.
            UserError: the cluster refuses it; the message says why.
            ApiUnreachable: it may have been created.
        """
        kind, name = item["kind"], item["metadata"]["name"]
        group, version, plural = _KINDS[kind]
        only = {"dry_run": "All"} if dry_run else {}
        with self._answers(f"create {kind} {name}"):
            if group:
                return _content(
                    self._custom.create_namespaced_custom_object,
                    group=group,
                    version=version,
                    namespace=self.namespace,
                    plural=plural,
                    body=item,
                    **only,
                )
            method = getattr(self._core, f"create_namespaced_{plural}")
            return _content(method, namespace=self.namespace, body=item, **only)
        raise UserError(
            f"namespace {self.namespace}: the cluster {self.host} has none of that name, or knows "
            f"no {kind} ({item['apiVersion']})"
        )

    def delete(self, item: Object) -> None:
        """Delete `item` after its dependents; do nothing if it is already deleted."""
        kind, metadata = item["kind"], item["metadata"]
        group, version, plural = _KINDS[kind]
        body = {
            "propagationPolicy": "Foreground",
            "preconditions": {"uid": metadata["uid"]},
        }
        with self._answers(f"delete {kind} {metadata['name']}"):
            if group:
                _content(
                    self._custom.delete_namespaced_custom_object,
                    group=group,
                    version=version,
                    namespace=self.namespace,
                    plural=plural,
                    name=metadata["name"],
                    body=body,
                )
            else:
                method = getattr(self._core, f"delete_namespaced_{plural}")
                _content(method, name=metadata["name"], namespace=self.namespace, body=body)

    def pods(self, selector: str) -> list[Object]:
        """Return the pods that the label selector selects."""
        with self._answers("list pods"):
            method = self._core.list_namespaced_pod
            answer = _content(method, namespace=self.namespace, label_selector=selector)
            return list(answer["items"])
        return []

    def log_lines(self, pod: str, since_secs: int | None = None) -> Iterator[str]:
        """Yield the log lines of `pod`'s only container until it ends, each after its time.

        Args:
            pod: its name; a deleted one yields nothing.
            since_secs: leave out older lines.

        Raises:
            UserError: it is refused.
            ApiUnreachable: the connection broke or timed out; retry.
        """
        with self._answers(f"read the log of {pod}"):
            answer: Any = self._core.read_namespaced_pod_log(
                name=pod,
                namespace=self.namespace,
                follow=True,
                timestamps=True,
                since_seconds=since_secs,
                _preload_content=False,
                _request_timeout=_LOG_TIMEOUT_SECS,
            )
            with contextlib.closing(answer):
                for line in answer:
                    yield line.decode("utf-8", "replace").rstrip("\r\n")

    @contextlib.contextmanager
    def _answers(self, doing: str) -> Iterator[bool]:
        """Turn errors into messages; leave the block at a 404."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        try:
            yield True
        except ApiException as error:
            if error.status == 404:
                return
            raise _refusal(error.status, _message(error), f"{doing} in {self.namespace}") from error
        except HTTPError as error:
            cause = getattr(error, "reason", None) or error
            raise ApiUnreachable(
                f"cannot {doing} in {self.namespace}: {self.host} does not answer "
                f"({_line(str(cause)).rpartition('): ')[2]})"
            ) from error


def _content(method: Callable[..., Any], **arguments: Any) -> Object:
    # The client's models differ between releases; the cluster's JSON does not.
    answer = method(_preload_content=False, _request_timeout=_TIMEOUT_SECS, **arguments)
    content: Object = json.loads(answer.data)
    return content


def _refusal(status: int, message: str, doing: str) -> GraftError:
    if status == 409:
        return Exists(f"cannot {doing}: {message}")
    if status == 401:
        return UserError(f"cannot {doing}: the cluster does not accept the login; log in again")
    if status == 403:
        return UserError(f"cannot {doing}: {message}; ask for that right, or use --namespace")
    if status == 429 or status >= 500:
        return ApiUnreachable(f"cannot {doing}: the cluster answers {status} ({message})")
    return UserError(f"cannot {doing}: {message}")


def _message(error: Any) -> str:
    """Return the cluster's message; the body is a Status object, or a proxy's text."""
    body = error.body
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body or ""
    try:
        return _line(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return _line(text or error.reason or str(error.status))


def _line(text: str) -> str:
    return " ".join(text.split())[:500]
