"""Describe the state of a job and of its pods. Pure.

Fields: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/#JobStatus,
…/pod-v1/#PodStatus, https://jobset.sigs.k8s.io/docs/reference/jobset.v1alpha2/.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from trainer.process.errors import meaning

Object = dict[str, Any]

_DONE = ("Complete", "Completed", "SuccessCriteriaMet")
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")


def phase(job: Object) -> str:
    """Return `succeeded`, `failed`, `suspended`, `ending` or `running`."""
    conditions = _true_conditions(job)
    if any(name in conditions for name in ("Complete", "Completed")):
        return "succeeded"
    if "Failed" in conditions:
        return "failed"
    if job["metadata"].get("deletionTimestamp") or {"FailureTarget", *_DONE} & conditions.keys():
        return "ending"
    return "suspended" if job["spec"].get("suspend") else "running"


def failure(job: Object) -> str:
    """Return why a job has failed, by its condition."""
    condition = _true_conditions(job).get("Failed", {})
    parts = (condition.get("reason", ""), condition.get("message", ""))
    return ": ".join(filter(None, parts)) or "the cluster gives no reason"


def exit_codes(pods: Iterable[Object]) -> dict[int, int]:
    """Return exit codes by worker, of the newest pods that have ended, in order of ending."""
    ended = []
    for index, pod in newest(pods).items():
        state = _terminated(pod)
        if state is not None:
            ended.append((str(state.get("finishedAt", "")), index, int(state["exitCode"])))
    return {index: code for _, index, code in sorted(ended)}


def newest(pods: Iterable[Object]) -> dict[int, Object]:
    """Return the newest pod of each worker, in the order of the workers."""
    found: dict[int, Object] = {}
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", ""))):
        found[index_of(pod)] = pod
    return dict(sorted(found.items()))


def index_of(pod: Object) -> int:
    """Return the index of a pod's worker, its JOB_COMPLETION_INDEX."""
    annotations = pod["metadata"].get("annotations") or {}
    return int(annotations.get("batch.kubernetes.io/job-completion-index", 0))


def restarts(pod: Object) -> int:
    """Return how often a worker was restarted, counted or ignored, by its newest pod."""
    annotations = pod["metadata"].get("annotations") or {}
    counts = ("job-index-failure-count", "job-index-ignored-failure-count")
    return sum(int(annotations.get(f"batch.kubernetes.io/{name}", 0)) for name in counts)


def describe(pod: Object) -> str:
    """Describe the state of a worker."""
    status = pod.get("status", {})
    container: Object = next(iter(status.get("containerStatuses") or []), {})
    waiting = (container.get("state") or {}).get("waiting") or {}
    if waiting.get("reason") in _NO_IMAGE:
        return f"image not found or not permitted ({waiting.get('message') or waiting['reason']})"
    conditions = _true_conditions(pod)
    if "DisruptionTarget" in conditions:
        why = conditions["DisruptionTarget"]
        return f"evicted: {why.get('message') or why.get('reason') or 'disrupted'}"
    if status.get("reason") == "Evicted":
        return f"evicted: {status.get('message', '')}".rstrip(": ")
    terminated = _terminated(pod)
    if terminated is not None:
        return _describe_exit(terminated)
    if waiting.get("reason") not in (None, "", "ContainerCreating", "PodInitializing"):
        return f"waits: {waiting['reason']} {waiting.get('message', '')}".rstrip()
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return f"unschedulable: {condition.get('message', '')}".rstrip(": ")
    if pod["metadata"].get("deletionTimestamp"):
        return "stopping"
    return {"Pending": "starting", "Running": "running"}.get(status.get("phase", ""), "unknown")


def has_started(pod: Object) -> bool:
    """Return whether its container runs or has run."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return any(
        (status.get("state") or {}).keys() & {"running", "terminated"} for status in statuses
    )


def lacks_image(pods: Iterable[Object]) -> str:
    """Return the description of a pod without its image; empty if there is none."""
    descriptions = map(describe, pods)
    return next((text for text in descriptions if text.startswith("image not found")), "")


def _describe_exit(terminated: Mapping[str, Any]) -> str:
    code = int(terminated["exitCode"])
    if code == 0:
        return "done"
    if terminated.get("reason") == "OOMKilled":
        return "out of memory (137); use a larger --memory"
    return f"left with {code}: {meaning(code)}"


def _terminated(pod: Object) -> Mapping[str, Any] | None:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    states = ((status.get("state") or {}).get("terminated") for status in statuses)
    return next(filter(None, states), None)


def _true_conditions(item: Object) -> dict[str, Mapping[str, Any]]:
    conditions = item.get("status", {}).get("conditions") or []
    return {c["type"]: c for c in conditions if c.get("status") == "True"}
