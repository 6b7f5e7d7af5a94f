"""Choose the devices: a tf.distribute strategy."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path

import tensorflow as tf

from trainer.process.errors import UserError
from trainer.workers import sharding
from trainer.workers.cluster import Cluster

# Operations to exclude from those that the graph optimizer converts with their neighbors.
_CLEARLIST_REMOVE = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_CLEARLIST_REMOVE"


def build(
    name: str,
    num_logical_shards: int,
    cluster: Cluster | None = None,
    all_reduce_alg: str = "auto",
) -> tf.distribute.Strategy:
    """Build the strategy of `--strategy` on this machine, or on all machines of `cluster`.

    In a distributed run no TensorFlow operation may run before this.

    Args:
        name: `auto`, `one_device`, `mirrored` or `tpu`.
        num_logical_shards: must be a multiple of the number of replicas.
        cluster: all workers, after the rendezvous.
        all_reduce_alg: of the gradients, one of choices.ALL_REDUCE_ALGS.

    Raises:
        UserError: there is no such device, or the replicas do not divide the shards.
    """
    if cluster is not None and cluster.is_distributed:
        return _multi_worker(name, num_logical_shards, cluster, all_reduce_alg)
    gpus = tf.config.list_logical_devices("GPU")
    cpus = tf.config.list_logical_devices("CPU")
    kind = choose(name, len(gpus), has_tpu(os.environ))
    if kind == "tpu":
        strategy = _tpu()
    elif kind == "mirrored":
        strategy = tf.distribute.MirroredStrategy([device.name for device in gpus or cpus])
    else:
        strategy = tf.distribute.OneDeviceStrategy((gpus or cpus)[0].name)
    replicas = strategy.num_replicas_in_sync
    if num_logical_shards % replicas:
        raise UserError(
            f"--num_logical_shards={num_logical_shards}: must be a multiple of the number of "
            f"devices, {replicas}; use {replicas * -(-num_logical_shards // replicas)}, and a "
            "--global_batch_size that it divides"
        )
    return strategy


def choose(name: str, num_gpus: int, tpu: bool) -> str:
    """Resolve `auto`: a TPU if there is one, all GPUs if there are several, else one device."""
    if name != "auto":
        return name
    if tpu:
        return "tpu"
    return "mirrored" if num_gpus > 1 else "one_device"


def has_tpu(environment: Mapping[str, str]) -> bool:
    """Return whether the environment announces a TPU, as on Cloud TPU VMs and GKE."""
    return any(environment.get(name) for name in ("TPU_NAME", "TPU_WORKER_ID"))


def limit_threads(num_cores: int) -> None:
    """Limit TensorFlow to `num_cores` threads where a CPU quota gives fewer than it would start.

    It reads the affinity mask, not the quota. Has no effect after TensorFlow has started, as in a
    notebook.
    """
    if num_cores >= len(os.sched_getaffinity(0)):
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(num_cores)
        tf.config.threading.set_inter_op_parallelism_threads(num_cores)


def describe(strategy: tf.distribute.Strategy) -> str:
    """Describe the strategy, such as `1 CPU` or `4 GPUs`."""
    kinds = {device.device_type for device in tf.config.list_logical_devices()}
    kind = next((kind for kind in ("TPU", "GPU") if kind in kinds), "CPU")
    count = strategy.num_replicas_in_sync
    return f"{count} {kind}{'s' if count > 1 else ''}"


def choose_precision(name: str, is_frozen: bool, num_gpus: int, cpu_flags: AbstractSet[str]) -> str:
    """Resolve `auto`: bfloat16 for a frozen backbone on a CPU with bfloat16 products.

    Only for a frozen backbone: its features change by 1 to 10 % of the largest one, but not what
    a head learns from them (docs/benchmarks.md). Fine-tuning uses it only on request:
    docs/decisions/011-arithmetic.md.

    Raises:
        UserError: bfloat16 on GPUs, for which TensorFlow's graph optimizer has none.
    """
    if name == "mixed_bfloat16" and num_gpus:
        raise UserError(
            "--precision=mixed_bfloat16: TensorFlow has it for processors and TPUs; on a GPU use "
            "mixed_float16, or float32, whose products are TF32's where the GPU has them"
        )
    if name != "auto":
        return name
    has_bfloat16 = bool({"avx512_bf16", "amx_bf16"} & cpu_flags)
    return "mixed_bfloat16" if is_frozen and has_bfloat16 and not num_gpus else "float32"


def device_memory() -> dict[str, float]:
    """Return {"device_memory_gb"}, the peak of one GPU of this process; empty without GPUs."""
    peaks = [
        tf.config.experimental.get_memory_info(device.name.removeprefix("/device:"))["peak"]
        for device in tf.config.list_logical_devices("GPU")
    ]
    return {"device_memory_gb": max(peaks) / 1e9} if peaks else {}


def cpu_flags() -> AbstractSet[str]:
    """Return the processor's features by Linux's names; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = (line.partition(":")[2].split() for line in lines if line.startswith("flags"))
    return frozenset(next(flags, []))


@contextlib.contextmanager
def arithmetic(precision: str, num_replicas: int = 1) -> Iterator[None]:
    """Make functions that are called within compute in `precision`, SavedModels included.

    Replicas exchange gradients and sums in float32.

    TensorFlow's graph optimizer converts what is safe; a Keras policy does not affect a loaded
    backbone, whose dtypes are in its graph. Source:
    https://www.tensorflow.org/api_docs/python/tf/config/optimizer/set_experimental_options
    """
    options = {
        "mixed_float16": "auto_mixed_precision",
        "mixed_bfloat16": "auto_mixed_precision_onednn_bfloat16",
    }
    if precision not in options:
        yield
        return
    if precision == "mixed_bfloat16":
        # With stride 2 oneDNN takes 200 ms in bfloat16, 6 ms in float32.
        os.environ.setdefault(
            "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_ALLOWLIST_REMOVE",
            "DepthwiseConv2dNativeBackpropFilter,DepthwiseConv2dNativeBackpropInput",
        )
    # The all-reduce buffer concatenates all gradients, which are in half precision, and the
    # step's sums, which must not be: 257 examples would count as 256.
    is_exact = num_replicas > 1 and _CLEARLIST_REMOVE not in os.environ
    if is_exact:
        os.environ[_CLEARLIST_REMOVE] = "ConcatV2"
    tf.config.optimizer.set_experimental_options({options[precision]: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({options[precision]: False})
        if is_exact:
            del os.environ[_CLEARLIST_REMOVE]


def _multi_worker(
    name: str, num_logical_shards: int, cluster: Cluster, all_reduce_alg: str
) -> tf.distribute.Strategy:
    if name not in ("auto", "mirrored"):
        raise UserError(
            f"--strategy={name}: must be auto or mirrored with {cluster.num_workers} workers "
            f"({cluster.source})"
        )
    os.environ["TF_CONFIG"] = cluster.to_tf_config()
    implementation = tf.distribute.experimental.CommunicationImplementation
    strategy = tf.distribute.MultiWorkerMirroredStrategy(
        communication_options=tf.distribute.experimental.CommunicationOptions(
            implementation=implementation[all_reduce_alg.upper()]
        )
    )
    replicas = strategy.num_replicas_in_sync // cluster.num_workers
    sharding.check(cluster.num_workers, num_logical_shards, num_logical_shards, replicas)
    return strategy


def _tpu() -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu="local")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    except (ValueError, tf.errors.OpError) as error:
        cause = str(error).partition("\n")[0]
        raise UserError(f"--strategy=tpu: no TPU can be reached ({cause})") from error
