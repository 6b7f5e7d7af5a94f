"""Read the workers of an Indexed Job, or of a JobSet, from the environment. Pure.

Kubernetes sets only JOB_COMPLETION_INDEX; the manifest sets the rest. A pod's address is
`<job>-<index>.<service>`, in a JobSet as `<jobset>-<replicated job>-<job>-<pod>.<subdomain>`:
https://kubernetes.io/docs/tasks/job/job-with-pod-to-pod-communication/,
https://jobset.sigs.k8s.io/docs/concepts/.
"""

from __future__ import annotations

from collections.abc import Mapping

from trainer.process.errors import UserError

DEFAULT_PORT = 2222  # TFJob's

_INDEX = "JOB_COMPLETION_INDEX"
_COUNT = "GRAFT_NUM_WORKERS"
_INDEXED_JOB = ("GRAFT_JOB_NAME", "GRAFT_SERVICE")
_JOBSET = ("JOBSET_NAME", "REPLICATED_JOB_NAME", "JOB_INDEX")
# Other JobSets, too, set the variables of _JOBSET.
_OURS = (_COUNT, *_INDEXED_JOB, "GRAFT_PORT", "GRAFT_NUM_JOBS")


def from_job(environment: Mapping[str, str]) -> tuple[tuple[str, ...], int, str] | None:
    """Return addresses, index and source from `environment`, None outside such a Job.

    Variables: JOB_COMPLETION_INDEX; GRAFT_NUM_WORKERS, in total (1: each pod is a separate run);
    GRAFT_PORT (2222). An Indexed Job: GRAFT_JOB_NAME, GRAFT_SERVICE (its headless Service). A
    JobSet: JOBSET_NAME, REPLICATED_JOB_NAME, JOB_INDEX, GRAFT_NUM_JOBS (1), GRAFT_SERVICE (its
    subdomain; the JobSet's name).

    Raises:
        UserError: a variable is missing, is not a number, or contradicts another.
    """
    has_index = bool(environment.get(_INDEX))
    if not has_index and not any(environment.get(name) for name in _OURS):
        return None
    if environment.get(_COUNT) == "1":
        return None
    in_jobset = bool(environment.get("JOBSET_NAME"))
    if in_jobset and environment.get("GRAFT_JOB_NAME"):
        raise UserError(
            "GRAFT_JOB_NAME and JOBSET_NAME are both set; the first is an Indexed Job's, the "
            "second a JobSet's: set one"
        )
    required = (_INDEX, _COUNT, *(_JOBSET if in_jobset else _INDEXED_JOB))
    _require_all(environment, required)
    count = _number(environment, _COUNT, 2)
    port = _number(environment, "GRAFT_PORT", 1, DEFAULT_PORT)
    index = _number(environment, _INDEX, 0)
    if not in_jobset:
        job, service = (environment[name] for name in _INDEXED_JOB)
        addresses = tuple(f"{job}-{i}.{service}:{port}" for i in range(count))
        return addresses, index, _INDEX
    num_jobs = _number(environment, "GRAFT_NUM_JOBS", 1, 1)
    if count % num_jobs:
        raise UserError(
            f"{_COUNT}={count}: must be a multiple of GRAFT_NUM_JOBS={num_jobs}: each Job of the "
            "JobSet has as many pods"
        )
    pods, job_index = count // num_jobs, _number(environment, "JOB_INDEX", 0)
    for name, value, limit in ((_INDEX, index, pods), ("JOB_INDEX", job_index, num_jobs)):
        if value >= limit:
            raise UserError(
                f"{name}={value}: must be below {limit}, by {_COUNT}={count} and "
                f"GRAFT_NUM_JOBS={num_jobs}"
            )
    jobset = environment["JOBSET_NAME"]
    name = f"{jobset}-{environment['REPLICATED_JOB_NAME']}"
    service = environment.get("GRAFT_SERVICE") or jobset
    addresses = tuple(
        f"{name}-{job}-{pod}.{service}:{port}" for job in range(num_jobs) for pod in range(pods)
    )
    return addresses, job_index * pods + index, "JOBSET_NAME"


def _require_all(environment: Mapping[str, str], names: tuple[str, ...]) -> None:
    missing = [name for name in names if not environment.get(name)]
    if missing:
        present = [name for name in (*names, *_OURS) if environment.get(name)]
        raise UserError(
            f"{', '.join(dict.fromkeys(present))} set, and {', '.join(missing)} not: a Job of many "
            f"workers needs all of {', '.join(names)}; for runs of one process set {_COUNT}=1"
        )


def _number(
    environment: Mapping[str, str], name: str, least: int, default: int | None = None
) -> int:
    text = environment.get(name) or ("" if default is None else str(default))
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise UserError(f"{name}={text}: must be a whole number, at least {least}")
    return int(text)
