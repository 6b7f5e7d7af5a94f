"""Refuse what cannot work on Kubernetes, before anything is submitted. Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from trainer.launch.request import Request
from trainer.process.errors import UserError
from trainer.storage import api as storage
from trainer.workers import sharding

CLAIM_MOUNT = "/runs"

_EMBEDDED = "efficientnet_lite0"  # models/handles.py, which imports TensorFlow
_DEVICES = ("gpu", "gpus", "tpu")
_DEFAULT_GPUS = {"gpu": 1, "gpus": 4}  # k8s/components
_TPU_CHIPS = 8
# GPUs that one machine of GKE can have:
# https://cloud.google.com/kubernetes-engine/docs/concepts/gpus
_GPUS_OF_A_NODE = {
    "nvidia-tesla-t4": (1, 2, 4),
    "nvidia-tesla-p4": (1, 2, 4),
    "nvidia-tesla-p100": (1, 2, 4),
    "nvidia-tesla-v100": (1, 2, 4, 8),
    "nvidia-l4": (1, 2, 4, 8),
    "nvidia-rtx-pro-6000": (1, 2, 4, 8),
    "nvidia-tesla-a100": (1, 2, 4, 8, 16),
    "nvidia-a100-80gb": (1, 2, 4, 8),
    "nvidia-h100-80gb": (1, 2, 4, 8),
    "nvidia-h100-mega-80gb": (8,),
    "nvidia-h200-141gb": (8,),
    "nvidia-b200": (8,),
}
_GPUS_OF_ANY_NODE = (1, 2, 4, 8, 16)

_CPU = re.compile(r"([0-9]+)m|([0-9]+(?:\.[0-9]{1,3})?)")
_MEMORY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(Mi|Gi|Ti|M|G|T)")
_UNITS = {"M": 1e6, "G": 1e9, "T": 1e12, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}
_LEAST_MEMORY = 2.0**30
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")  # DNS label: RFC 1123
_SUBDOMAIN = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")


def check(request: Request, values: dict[str, Any]) -> None:
    """Refuse a request that cannot work.

    Args:
        request: the run.
        values: of kubernetes.FLAGS, by name; `overlay` has at least one name.

    Raises:
        UserError: it cannot work; the message names the flag, the value and the rule.
    """
    _check_names(values)
    _check_quantities(values)
    devices = _check_overlays(request, values)
    _check_workdir(request, values["claim"])
    _check_files(request)
    if any(_PASSWORD.search(text) for text in (*request.trainer_argv, request.image)):
        raise UserError(
            "a URL with a password: whoever may read the job could read it; use a service account"
        )
    sharding.check(
        request.num_workers,
        request.config.logical_shards,
        request.config.global_batch_size,
        devices,
    )


def _check_names(values: dict[str, Any]) -> None:
    for flag in ("namespace", "queue"):
        if values[flag] and not _LABEL.fullmatch(values[flag]):
            raise UserError(
                f"--{flag}={values[flag]}: must be letters in lower case, digits and dashes, at "
                "most 63"
            )
    for flag in ("service_account", "claim"):
        if values[flag] and not _SUBDOMAIN.fullmatch(values[flag]):
            raise UserError(
                f"--{flag}={values[flag]}: must be letters in lower case, digits, dashes and dots"
            )


def _check_quantities(values: dict[str, Any]) -> None:
    cpu, memory, hours = values["cpu"], values["memory"], values["max_hours"]
    match = _CPU.fullmatch(cpu)
    if cpu and not (match and float(match[1] or match[2]) > 0):
        raise UserError(f"--cpu={cpu}: must be a number of cores, such as 4, 0.5 or 500m")
    match = _MEMORY.fullmatch(memory)
    if memory and not (match and float(match[1]) * _UNITS[match[2]] >= _LEAST_MEMORY):
        raise UserError(f"--memory={memory}: must be bytes with a unit, such as 8Gi; at least 1Gi")
    if hours is not None and not 0 < hours <= 24 * 365:
        raise UserError(f"--max_hours={hours}: must be above 0, and a year at the most")


def _check_overlays(request: Request, values: dict[str, Any]) -> int:
    """Return the least number of devices of each worker that share its batch."""
    names, count = values["overlay"], values["gpus_per_worker"]
    chosen = f"--overlay={','.join(names)}"
    devices = [name for name in names if name in _DEVICES]
    if len(devices) > 1:
        raise UserError(f"{chosen}: use one of {', '.join(devices)}")
    if request.num_workers > 1 and {"single", "tpu"} & set(names):
        odd = "single" if "single" in names else "tpu"
        raise UserError(
            f"{chosen}: {odd} is for one worker, and --num_workers={request.num_workers}"
        )
    if values["queue"] and "kueue" not in names:
        raise UserError(f"--queue={values['queue']}: needs kueue among --overlay")
    if devices == ["tpu"]:
        return _TPU_CHIPS
    if not devices:
        for flag in ("gpus_per_worker", "gpu_type"):
            if values[flag]:
                raise UserError(f"--{flag}={values[flag]}: needs gpu or gpus among --overlay")
        return 1
    kind = values["gpu_type"] or "nvidia-l4"
    count = _DEFAULT_GPUS[devices[0]] if count is None else count
    if count not in _GPUS_OF_A_NODE.get(kind, _GPUS_OF_ANY_NODE):
        fitting = ", ".join(map(str, _GPUS_OF_A_NODE.get(kind, _GPUS_OF_ANY_NODE)))
        raise UserError(f"--gpus_per_worker={count}: a machine with {kind} has {fitting} of them")
    return int(count)


def _check_workdir(request: Request, claim: str) -> None:
    workdir = request.config.workdir
    if storage.is_remote(workdir):
        return
    if claim and workdir.startswith(f"{CLAIM_MOUNT}/"):
        return
    raise UserError(
        f"--workdir={workdir}: must be gs://BUCKET/DIRECTORY, which all workers share and which "
        f"outlives them; or a directory below {CLAIM_MOUNT}, with --claim=NAME"
    )


def _check_files(request: Request) -> None:
    for flag, embedded in (("dataset", "leaves"), ("data_dir", ""), ("backbone", _EMBEDDED)):
        value = getattr(request.config, flag)
        if value == embedded or os.path.isabs(value) or "://" in value:
            continue
        if value.startswith((".", "~")) or os.path.exists(value):
            raise UserError(
                f"--{flag}={value}: is a path on this machine, and workers run on others; copy "
                "it to a bucket and use gs://…"
            )


def overlays_for(asked: Sequence[str], num_workers: int) -> list[str]:
    """Return the requested overlays, or the default for the number of workers."""
    return list(asked) or ["workers" if num_workers > 1 else "single"]
