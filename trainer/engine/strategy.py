"""Which devices train: the choice of a tf.distribute strategy."""

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

# What the graph optimizer converts where its neighbours are converted, less these operations.
_KEPT_AS_IT_IS = "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_CLEARLIST_REMOVE"


def build(
    name: str,
    num_logical_shards: int,
    cluster: Cluster | None = None,
    all_reduce_alg: str = "auto",
) -> tf.distribute.Strategy:
    """The strategy that `--strategy` asks for on this machine, or on all machines of `cluster`.

    With other workers, nothing of TensorFlow may have run before this.

    Args:
        name: `auto`, `one_device`, `mirrored` or `tpu`.
        num_logical_shards: must be a multiple of the number of replicas.
        cluster: all workers, of which each has met the others.
        all_reduce_alg: how they add up their gradients, one of config.ALL_REDUCE_ALGS.

    Raises:
        UserError: there is no such device here, or the replicas do not divide the shards.
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
    """`auto` resolved: a TPU where there is one, all GPUs where there are several, else one."""
    if name != "auto":
        return name
    if tpu:
        return "tpu"
    return "mirrored" if num_gpus > 1 else "one_device"


def has_tpu(environment: Mapping[str, str]) -> bool:
    """Whether the environment announces a TPU, as Cloud TPU VMs and GKE do."""
    return any(environment.get(name) for name in ("TPU_NAME", "TPU_WORKER_ID"))


def limit_threads(num_cores: int) -> None:
    """Let TensorFlow take `num_cores` threads, where a quota gives fewer than it would take.

    It sees the affinity mask and not the quota: threads beyond it only take turns at waiting.
    To be called before TensorFlow has done anything; later, in somebody's notebook, it changes
    nothing.
    """
    if num_cores >= len(os.sched_getaffinity(0)):
        return
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(num_cores)
        tf.config.threading.set_inter_op_parallelism_threads(num_cores)


def describe(strategy: tf.distribute.Strategy) -> str:
    """The strategy in a few words, such as `1 CPU` or `4 GPUs`."""
    kinds = {device.device_type for device in tf.config.list_logical_devices()}
    kind = next((kind for kind in ("TPU", "GPU") if kind in kinds), "CPU")
    count = strategy.num_replicas_in_sync
    return f"{count} {kind}{'s' if count > 1 else ''}"


def choose_precision(name: str, is_frozen: bool, num_gpus: int, cpu_flags: AbstractSet[str]) -> str:
    """`auto` resolved: bfloat16 where a frozen backbone runs on a CPU that multiplies it.

    Only a frozen backbone: its features change, by 1 to 10 % of the largest one, but not what a
    head learns from them (docs/benchmarks.md). Fine-tuning in it is on request:
    docs/decisions/011-arithmetic.md.

    Raises:
        UserError: bfloat16 is asked for on GPUs, for which TensorFlow's graph optimizer has none.
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
    """{"device_memory_gb"}: the most that one GPU of this process has held so far; else empty."""
    peaks = [
        tf.config.experimental.get_memory_info(device.name.removeprefix("/device:"))["peak"]
        for device in tf.config.list_logical_devices("GPU")
    ]
    return {"device_memory_gb": max(peaks) / 1e9} if peaks else {}


def cpu_flags() -> AbstractSet[str]:
    """What the processor can do, as Linux names it; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = (line.partition(":")[2].split() for line in lines if line.startswith("flags"))
    return frozenset(next(flags, []))


@contextlib.contextmanager
def arithmetic(precision: str, num_replicas: int = 1) -> Iterator[None]:
    """Functions called within compute in `precision`, whatever SavedModel they come from.

    Several replicas exchange what they have in float32.

    TensorFlow's graph optimizer converts what is safe; a Keras policy would not reach a backbone
    that is loaded: its dtypes are in its graph. Outside it is float32. Source:
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
        # oneDNN takes 200 ms in bfloat16 for what takes 6 in float32, where the stride is 2.
        os.environ.setdefault(
            "TF_AUTO_MIXED_PRECISION_GRAPH_REWRITE_ALLOWLIST_REMOVE",
            "DepthwiseConv2dNativeBackpropFilter,DepthwiseConv2dNativeBackpropInput",
        )
    # The buffer that replicas exchange is one array put together of all gradients, which are in
    # half precision, and of the step's sums, which must not be: 257 examples would count as 256.
    is_exact = num_replicas > 1 and _KEPT_AS_IT_IS not in os.environ
    if is_exact:
        os.environ[_KEPT_AS_IT_IS] = "ConcatV2"
    tf.config.optimizer.set_experimental_options({options[precision]: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({options[precision]: False})
        if is_exact:
            del os.environ[_KEPT_AS_IT_IS]


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
