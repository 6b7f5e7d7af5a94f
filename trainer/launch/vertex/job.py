"""Build the requests to Vertex AI: a custom job, a tuning job, a training pipeline. Pure.

The resources are CustomJob, HyperparameterTuningJob and TrainingPipeline of
https://cloud.google.com/vertex-ai/docs/reference/rest, in the JSON mapping of protocol buffers:
64-bit integers are strings, durations end in s.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Sequence
from typing import Any

from trainer.launch.request import Request
from trainer.launch.vertex.machines import check_flex_start, machine_spec
from trainer.process.errors import UserError
from trainer.settings import flags
from trainer.settings.command_line import argument, parse

SCHEDULING = {"standard": "STANDARD", "spot": "SPOT", "flex_start": "FLEX_START"}
LONGEST_SECS = 7 * 24 * 3600

_CUSTOM_TASK = "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
# The newest TensorFlow that Vertex AI serves; of an export's ops it lacks only WebP decoding.
_SERVING_IMAGE = "{}-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
_RESOURCES = {
    "network": r"projects/\d+/global/networks/[^/]+",
    "tensorboard": r"projects/[^/]+/locations/[^/]+/tensorboards/[^/]+",
    "service_account": r"[^@\s]+@[^@\s]+\.gserviceaccount\.com",
}
_EXAMPLES = {
    "network": "projects/PROJECT_NUMBER/global/networks/NAME",
    "tensorboard": "projects/PROJECT/locations/REGION/tensorboards/ID",
    "service_account": "NAME@PROJECT.iam.gserviceaccount.com",
}


def custom_job(request: Request, values: dict[str, Any]) -> dict[str, Any]:
    """Return the CustomJob of `request`.

    Args:
        request: the run.
        values: of the flags of vertex.FLAGS, by name.

    Raises:
        UserError: Vertex AI cannot run it; the message names the flag.
    """
    return {
        "displayName": request.name,
        "labels": {"graft": request.name},
        "jobSpec": _job_spec(request, values),
    }


def tuning_job(
    request: Request, values: dict[str, Any], parameters: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Return the HyperparameterTuningJob of `custom_job`, which searches `parameters`.

    Each trial is a run of its own, in a directory below the workdir named by its number.
    """
    trials, at_once = values["max_trials"], values["parallel_trials"]
    if not 1 <= at_once <= trials:
        raise UserError(
            f"--parallel_trials={at_once}: must be from 1 to --max_trials={trials}, at least 1"
        )
    metric = values["tune_metric"]
    return {
        "displayName": request.name,
        "labels": {"graft": request.name},
        "studySpec": {
            "metrics": [
                {"metricId": metric, "goal": "MINIMIZE" if metric == "loss" else "MAXIMIZE"}
            ],
            "parameters": list(parameters),
            # A run exports the weights of its best evaluation.
            "measurementSelectionType": "BEST_MEASUREMENT",
        },
        "maxTrialCount": trials,
        "parallelTrialCount": at_once,
        "trialJobSpec": _job_spec(request, values),
    }


def training_pipeline(request: Request, values: dict[str, Any]) -> dict[str, Any]:
    """Return the TrainingPipeline that runs `custom_job` and uploads its export as a Model."""
    if not values["serving_image"]:
        request = _without_webp(request)
    inputs = copy.deepcopy(_job_spec(request, values))
    for pool in inputs["workerPoolSpecs"]:
        # The schema of a custom task requires a number.
        pool["replicaCount"] = int(pool["replicaCount"])
    image = values["serving_image"] or serving_image(values["region"])
    return {
        "displayName": request.name,
        "labels": {"graft": request.name},
        "trainingTaskDefinition": _CUSTOM_TASK,
        "trainingTaskInputs": inputs,
        "modelToUpload": {
            "displayName": values["model_name"],
            "labels": {"graft": request.name},
            "containerSpec": {"imageUri": image},
        },
    }


def _without_webp(request: Request) -> Request:
    """Return the run with an export that Vertex AI's own images can load."""
    formats = [name for name in request.config.export_formats if name != "saved_model"]
    formats = list(dict.fromkeys(["saved_model_no_webp", *formats]))
    argument = f"--export_formats={','.join(formats)}"
    return dataclasses.replace(request, trainer_argv=(*request.trainer_argv, argument))


def serving_image(region: str) -> str:
    """Return Vertex AI's image that serves the export, from the multi-region nearest `region`."""
    continent = region.partition("-")[0]
    near = {"asia": "asia", "australia": "asia"}
    near |= dict.fromkeys(("europe", "me", "africa"), "europe")
    return _SERVING_IMAGE.format(near.get(continent, "us"))


def trainer_args(request: Request) -> list[str]:
    """Return the trainer's command line in the container.

    A --flagfile is expanded. The workdir is left to the AIP_* variables, which name that of each
    trial of a tuning job, too.
    """
    given, _ = parse(request.trainer_argv, flags.TRAINER)
    if given["log_format"] == "auto":
        given["log_format"] = "json"
    return [
        argument(flag, given[flag.name])
        for group in flags.TRAINER.values()
        for flag in group
        if flag.name != "workdir" and given[flag.name] not in (None, flag.default)
    ]


def _job_spec(request: Request, values: dict[str, Any]) -> dict[str, Any]:
    _check_resources(values)
    machine = machine_spec(
        values["machine_type"], values["accelerator_type"], values["accelerator_count"]
    )
    pool = {
        "machineSpec": machine,
        "diskSpec": {"bootDiskType": "pd-ssd", "bootDiskSizeGb": values["boot_disk_size_gb"]},
        "containerSpec": {"imageUri": request.image, "args": trainer_args(request)},
    }
    # Vertex AI requires that the first pool is only the chief.
    pools = [{**pool, "replicaCount": "1"}]
    if request.num_workers > 1:
        pools.append({**pool, "replicaCount": str(request.num_workers - 1)})
    spec: dict[str, Any] = {
        "workerPoolSpecs": pools,
        "scheduling": _scheduling(request, values, machine),
        "baseOutputDirectory": {"outputUriPrefix": request.config.workdir.rstrip("/")},
    }
    for flag, field in (
        ("service_account", "serviceAccount"),
        ("network", "network"),
        ("tensorboard", "tensorboard"),
    ):
        if values[flag]:
            spec[field] = values[flag]
    return spec


def _scheduling(
    request: Request, values: dict[str, Any], machine: dict[str, Any]
) -> dict[str, Any]:
    secs, wait = values["max_run_secs"], values["max_wait_secs"]
    if not 1 <= secs <= LONGEST_SECS:
        raise UserError(f"--max_run_secs={secs}: must be from 1 to {LONGEST_SECS:,}, seven days")
    scheduling = {
        "strategy": SCHEDULING[values["scheduling"]],
        "timeout": f"{secs}s",
        # A gang: when one worker is lost the other workers exit with 138, and all restart.
        "restartJobOnWorkerRestart": request.num_workers > 1,
    }
    if values["scheduling"] == "flex_start":
        check_flex_start(machine)
        scheduling["maxWaitDuration"] = f"{wait}s"
    elif wait:
        raise UserError(f"--max_wait_secs={wait}: only with --scheduling=flex_start, which queues")
    return scheduling


def _check_resources(values: dict[str, Any]) -> None:
    for flag, pattern in _RESOURCES.items():
        if values[flag] and not re.fullmatch(pattern, values[flag]):
            raise UserError(f"--{flag}={values[flag]}: must be {_EXAMPLES[flag]}")
    if values["tensorboard"]:
        if not values["service_account"]:
            raise UserError("--tensorboard: needs --service_account, which may write to it")
        if f"/locations/{values['region']}/" not in values["tensorboard"]:
            raise UserError(
                f"--tensorboard={values['tensorboard']}: must be in --region={values['region']}"
            )
    if not 100 <= values["boot_disk_size_gb"] <= 64_000:
        raise UserError(
            f"--boot_disk_size_gb={values['boot_disk_size_gb']}: must be from 100 to 64,000"
        )
