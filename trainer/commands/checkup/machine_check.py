"""Check the machine: cores, memory, devices, TensorFlow's build, precision."""

from __future__ import annotations

import glob
import os

import tensorflow as tf

from trainer.commands.checkup.finding import ERROR, OK, WARNING, Finding
from trainer.engine import strategy as strategies
from trainer.process import machine
from trainer.process.errors import UserError
from trainer.settings.config import Config

# The embedded default takes 1.3 GB at its peak.
_FEW_BYTES = 2 * 10**9


def check(config: Config, is_distributed: bool) -> list[Finding]:
    """Check what this process may use of the machine, and on which devices it trains.

    Args:
        config: the run.
        is_distributed: whether there are other workers; then the strategy is not built.
    """
    found = [_cores(), _memory(), _tensorflow()]
    if (hidden := _hidden_gpus()) is not None:
        found.append(hidden)
    return [*found, _devices(config, is_distributed)]


def _cores() -> Finding:
    usable, total = machine.num_cores(), os.cpu_count() or 1
    if usable == total:
        return Finding("machine", "cores", OK, f"{usable} cores")
    return Finding(
        "machine",
        "cores",
        OK,
        f"{usable} of {total} cores, by this process's affinity and quota",
    )


def _memory() -> Finding:
    free, limit = machine.available_memory(), machine.memory_limit()
    message = f"{free / 1e9:.1f} of {limit / 1e9:.1f} GB of memory are free"
    if free >= _FEW_BYTES:
        return Finding("machine", "memory", OK, message)
    return Finding(
        "machine",
        "memory",
        WARNING,
        message,
        cost="the embedded default takes 1.3 GB, larger images and backbones more; a process that "
        "needs more than is free is killed",
        fix="end other processes, raise the container's limit, or lower --global_batch_size",
    )


def _tensorflow() -> Finding:
    build = "with CUDA" if tf.test.is_built_with_cuda() else "without CUDA"
    gpus = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(g).get("device_name", "?") for g in gpus]
    tpu = ", a TPU" if strategies.has_tpu(os.environ) else ""
    shown = ", ".join(f"{names.count(n)} {n}" for n in sorted(set(names))) or "no GPU"
    return Finding(
        "machine", "tensorflow", OK, f"TensorFlow {tf.__version__} {build}: {shown}{tpu}"
    )


def _hidden_gpus() -> Finding | None:
    """Find GPUs of the system that TensorFlow cannot use."""
    present = sorted(glob.glob("/dev/nvidia[0-9]*"))
    if not present or tf.config.list_physical_devices("GPU"):
        return None
    return Finding(
        "machine",
        "hidden_gpus",
        WARNING,
        f"{len(present)} GPUs are present, and TensorFlow can use none of them",
        cost="training runs on the CPU, ten or more times as slow",
        fix="pip install 'tensorflow[and-cuda]'",
        items=tuple(present),
    )


def _devices(config: Config, is_distributed: bool) -> Finding:
    num_gpus = len(tf.config.list_physical_devices("GPU"))
    try:
        precision = strategies.choose_precision(
            config.precision, config.freeze_backbone, num_gpus, strategies.cpu_flags()
        )
        if is_distributed:
            return Finding("machine", "devices", OK, f"trains in {precision}, with other workers")
        strategy = strategies.build(config.strategy, config.logical_shards)
    except UserError as error:
        cost = "the run does not start"
        return Finding("machine", "devices", ERROR, str(error), cost=cost)
    return Finding(
        "machine", "devices", OK, f"trains on {strategies.describe(strategy)} in {precision}"
    )
