"""Submit a run to Vertex AI, and wait for its job."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from typing import Any

from trainer.launch.request import Request
from trainer.launch.vertex import (
    client,
    tuning,
)
from trainer.launch.vertex import (
    job as vertex_job,
)
from trainer.launch.vertex import (
    state as vertex_state,
)
from trainer.process.errors import UserError
from trainer.settings.command_line import Flag, Groups
from trainer.workers import sharding

FLAGS: Groups = {
    "Vertex AI": (
        Flag(
            "project",
            "",
            "project of Google Cloud; else GOOGLE_CLOUD_PROJECT, or the credentials' own",
        ),
        Flag("region", "us-central1", "where the job runs; best the bucket's own"),
        Flag("machine_type", "n1-standard-8", "machine of each worker"),
        Flag(
            "accelerator_type", "", "GPU of each worker, as NVIDIA_TESLA_T4; g2, a2, a3 have theirs"
        ),
        Flag("accelerator_count", 0, "GPUs of each worker", int),
        Flag(
            "scheduling",
            "standard",
            "spot: cheaper, and preempted at any time; flex_start: waits for GPUs",
            choices=tuple(vertex_job.SCHEDULING),
        ),
        Flag("max_wait_secs", 0, "seconds that flex_start waits; 0: until there is capacity", int),
        Flag("max_run_secs", vertex_job.LONGEST_SECS, "seconds until the job is ended", int),
        Flag("boot_disk_size_gb", 100, "disk of each worker, in GB", int),
        Flag("service_account", "", "(Vertex AI) service account that the job runs as"),
        Flag("network", "", "projects/PROJECT_NUMBER/global/networks/NAME, peered"),
        Flag(
            "tensorboard",
            "",
            "(Vertex AI) projects/…/tensorboards/ID, to show the curves as they grow",
        ),
    ),
    "Vertex AI: tuning": (
        Flag("tune", [], "search space: learning_rate=1e-4..1e-2:log,optimizer=adam|sgd", list),
        Flag(
            "tune_metric",
            "accuracy",
            "metric of the validation split to optimize",
            choices=("accuracy", "loss"),
        ),
        Flag("max_trials", 16, "trials in all", int),
        Flag("parallel_trials", 4, "concurrent trials; more learn less from each other", int),
    ),
    "Vertex AI: the model": (
        Flag("model_name", "", "upload the export as a Model of this name"),
        Flag(
            "serving_image",
            "",
            "image that serves it; else Vertex AI's own TensorFlow image for CPUs",
        ),
    ),
}

_POLL_SECS = 15.0
_API_TIMEOUT_SECS = 600.0  # without an answer


def submit(request: Request, values: dict[str, Any]) -> int:
    """Create the job of `request`; return the exit code."""
    _check_paths(request)
    kind, body = _body(request, values)
    if request.dry_run:
        print(_formatted(body, request.dry_run))
        return 0
    jobs = client.Jobs(kind, values["project"], values["region"])
    running = jobs.active(request.name)
    if running:
        raise UserError(
            f"--name={request.name}: is running already, as {running}; two jobs cannot share a "
            "workdir. Wait for it, cancel it, or choose another --workdir or --name"
        )
    resource = jobs.create(body)
    print(f"submitted  {resource}")
    for line in _instructions(kind, resource):
        print(line)
    if not request.wait:
        return 0
    return wait(lambda: jobs.state(resource), jobs.is_final)


def wait(
    state: Callable[[], tuple[str, str]],
    is_final: Callable[[str], bool],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Wait until a job has ended, and print each state that it enters.

    Args:
        state: returns the job's state and its error message.
        is_final: whether a state is final.
        clock: seconds since some fixed time.
        sleep: waits so many seconds.

    Returns:
        0 if it succeeded; else the trainer's exit code if the job's error has it; else 1.

    Raises:
        UserError: no answer for ten minutes; the job goes on.
    """
    printed, answered = "", clock()
    while True:
        try:
            now, problem = state()
            answered = clock()
        except UserError as error:
            if clock() - answered > _API_TIMEOUT_SECS:
                raise UserError(f"{error}; the job itself goes on") from error
            now, problem = printed, ""
        if now != printed:
            print(f"job        {now.lower().replace('_', ' ')}", flush=True)
            printed = now
        if is_final(now):
            break
        sleep(_POLL_SECS)
    if problem:
        print(f"job        {problem}")
    return 0 if now == "SUCCEEDED" else vertex_state.exit_code(problem) or 1


def _body(request: Request, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the kind of the job and the body of the request that creates it."""
    if not re.fullmatch(r"[a-z]+(-[a-z]+)+\d+", values["region"]):
        raise UserError(f"--region={values['region']}: must be a region, as us-central1")
    if values["serving_image"] and not values["model_name"]:
        raise UserError(f"--serving_image={values['serving_image']}: needs --model_name")
    if values["tune"] and values["model_name"]:
        raise UserError(
            "--model_name: not with --tune, where each trial has a model; upload the best one's "
            "afterwards (docs/vertex.md)"
        )
    if values["model_name"] and not request.config.export_formats:
        raise UserError("--model_name: needs --export_formats=saved_model, which is what is served")
    if values["tune"]:
        parameters = tuning.parameters(values["tune"], request)
        kind, body = (
            client.TUNING_JOB,
            vertex_job.tuning_job(request, values, parameters),
        )
    elif values["model_name"]:
        kind, body = client.PIPELINE, vertex_job.training_pipeline(request, values)
    else:
        kind, body = client.CUSTOM_JOB, vertex_job.custom_job(request, values)
    job = body.get("jobSpec") or body.get("trialJobSpec") or body["trainingTaskInputs"]
    devices = job["workerPoolSpecs"][0]["machineSpec"].get("acceleratorCount", 1)
    config = request.config
    sharding.check(request.num_workers, config.logical_shards, config.global_batch_size, devices)
    return kind, body


def _check_paths(request: Request) -> None:
    config = request.config
    if not re.match(r"gs://[^/]+/.", config.workdir):
        raise UserError(
            f"--workdir={config.workdir}: must be gs://BUCKET/DIRECTORY on Vertex AI; nothing else "
            "outlives the job, and its restarts"
        )
    for flag in ("dataset", "backbone", "data_dir"):
        value = getattr(config, flag)
        is_local = value.startswith(("/", ".", "~")) or os.path.exists(value)
        if is_local and not value.startswith("/gcs/"):
            raise UserError(
                f"--{flag}={value}: is on this machine; on Vertex AI it must be gs://…: "
                f"gcloud storage cp --recursive {value} gs://BUCKET/DIRECTORY"
            )


def _formatted(body: dict[str, Any], dry_run: str) -> str:
    if dry_run == "json":
        return json.dumps(body, indent=2, ensure_ascii=False)
    try:
        import yaml
    except ImportError as error:
        raise UserError("--dry_run=yaml: needs PyYAML; --dry_run=json does not") from error
    # A copy without shared parts, which would become YAML anchors.
    plain = json.loads(json.dumps(body))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)).rstrip()


def _instructions(kind: str, resource: str) -> list[str]:
    """Return the commands that follow and stop the job."""
    _, project, _, region, _, number = resource.split("/")[:6]
    page = f"https://console.cloud.google.com/ai/platform/locations/{region}/training/{number}"
    named = f"--job={resource} --platform=vertex"
    lines = [f"watch      graft watch {named}"]
    if kind == client.CUSTOM_JOB:
        here = f"--project={project} --region={region}"
        lines += [f"log        gcloud ai custom-jobs stream-logs {number} {here}"]
    return [
        *lines,
        f"page       {page}?project={project}",
        f"curves     graft tensorboard {named}",
        f"stop       graft cancel {named}    (the same command resumes)",
    ]
