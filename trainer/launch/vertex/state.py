"""Describe the state of a job on Vertex AI. Pure.

The fields are CustomJob's, HyperparameterTuningJob's and TrainingPipeline's in JSON:
https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.customJobs
"""

from __future__ import annotations

import re
from typing import Any

from trainer.process.errors import meaning

_PHASES = {
    "QUEUED": "queued",
    "PENDING": "starting",
    "CANCELLING": "ending",
    "PARTIALLY_SUCCEEDED": "succeeded",
    "EXPIRED": "failed",
}
# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto
_CODES = {
    3: "refused as it was asked for",
    4: "over its time (--max_run_secs)",
    5: "something it needs does not exist, such as its image",
    7: "its service account lacks a right",
    8: "no machine of that kind is available, or over a quota",
    13: "a fault of Vertex AI",
    14: "a fault of Vertex AI that may pass",
}
_EXIT = re.compile(r"non-zero status of:? (\d+)")


def exit_code(problem: str) -> int | None:
    """Return the trainer's exit code if the job's error has it."""
    found = _EXIT.search(problem)
    return int(found[1]) if found else None


def status(job: dict[str, Any]) -> dict[str, Any]:
    """Summarize a job in the API's JSON with a short `state`.

    Returns:
        {"name", "resource", "phase", "why", "workers", "pools", "trials"}: `workers` is empty, as
        Vertex AI reports none; each of `pools` is {"pool", "workers", "machine",
        "accelerators"}, each of `trials` {"id", "state", "measure", "parameters"}.
    """
    state = job["state"]
    phase = _PHASES.get(state, state.lower().replace("_", " "))
    why = _why(job.get("error") or {})
    if state == "EXPIRED":
        why = why or "over its time (--max_run_secs, --max_wait_secs)"
    return {
        "name": job["displayName"],
        "resource": job["name"],
        "phase": phase,
        "why": why,
        "workers": [],
        "pools": [_pool(i, pool) for i, pool in enumerate(_spec(job).get("workerPoolSpecs", []))],
        "trials": [_trial(trial) for trial in job.get("trials", [])],
    }


def describe(seen: dict[str, Any]) -> list[str]:
    """Format the pools and trials that `status` returns as lines of text."""
    lines = []
    for pool in seen.get("pools", []):
        having = f" with {pool['accelerators']}" if pool["accelerators"] else ""
        lines += [f"pool {pool['pool']:<5} {pool['workers']} × {pool['machine']}{having}"]
    for trial in seen.get("trials", []):
        measure = f"{', '.join(f'{k} {v:.4f}' for k, v in trial['measure'].items())}; "
        drawn = ", ".join(f"{key}={value}" for key, value in trial["parameters"].items())
        lines += [f"trial {trial['id']:<4} {trial['state']}; {measure.lstrip('; ')}{drawn}"]
    return lines


def workdir(job: dict[str, Any]) -> str:
    """Return the workdir of the run, or the parent of all trials'; "" if the job has none."""
    prefix = (_spec(job).get("baseOutputDirectory") or {}).get("outputUriPrefix", "")
    return str(prefix).rstrip("/")


def log_command(job: dict[str, Any]) -> str:
    """Return the gcloud command that follows the workers' log."""
    # A pipeline's workers are those of a custom job that it creates.
    made = (job.get("trainingTaskMetadata") or {}).get("backingCustomJob", "")
    _, project, _, region, kind, number = (made or job["name"]).split("/")
    if kind == "customJobs":
        return f"gcloud ai custom-jobs stream-logs {number} --project={project} --region={region}"
    return (
        f"gcloud logging read 'resource.labels.job_id=\"{number}\"' --project={project} "
        "--format='value(jsonPayload.message)'"
    )


def _spec(job: dict[str, Any]) -> dict[str, Any]:
    found = job.get("jobSpec") or job.get("trialJobSpec") or job.get("trainingTaskInputs") or {}
    return dict(found)


def _why(error: dict[str, Any]) -> str | None:
    message, code = error.get("message", ""), int(error.get("code", 0))
    left_with = exit_code(message)
    explanation = meaning(left_with) if left_with else _CODES.get(code, "")
    return ": ".join(filter(None, (explanation, message))) or None


def _pool(index: int, pool: dict[str, Any]) -> dict[str, Any]:
    machine = pool.get("machineSpec") or {}
    kind = machine.get("acceleratorType", "")
    has_accelerator = kind and kind != "ACCELERATOR_TYPE_UNSPECIFIED"
    return {
        "pool": index,
        "workers": int(pool.get("replicaCount", 0)),
        "machine": machine.get("machineType", ""),
        "accelerators": f"{machine.get('acceleratorCount', 0)} {kind}" if has_accelerator else "",
    }


def _trial(trial: dict[str, Any]) -> dict[str, Any]:
    measurements = [*trial.get("measurements", []), trial.get("finalMeasurement") or {}]
    measured: dict[str, Any] = next(filter(None, reversed(measurements)), {})
    return {
        "id": trial.get("id", ""),
        "state": str(trial.get("state", "")).lower(),
        "measure": {m["metricId"]: m.get("value", 0.0) for m in measured.get("metrics", [])},
        "parameters": {p["parameterId"]: p.get("value") for p in trial.get("parameters", [])},
    }
