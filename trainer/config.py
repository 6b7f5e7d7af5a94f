"""What a run is, as frozen facts, validated at birth. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from typing import Any

from trainer.errors import UserError

AUGMENT_POLICIES = ("none", "light", "randaugment")
BAD_IMAGES = ("error", "skip")
CLASS_WEIGHTS = ("none", "balanced")
EXPORT_FORMATS = ("saved_model", "tflite")
LOG_FORMATS = ("auto", "text", "json")
OPTIMIZERS = ("adam", "adamw", "sgd")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")
SCHEDULES = ("cosine", "constant")
ALL_REDUCE_ALGS = ("auto", "ring", "nccl")
STRATEGIES = ("auto", "one_device", "mirrored", "tpu")

# What may differ between a run and its resumption: how long, how often, where and how loud.
# All else changes the weights, so a workdir refuses it.
_MAY_CHANGE_ON_RESUME = frozenset(
    {
        "all_reduce_alg",
        "bad_images",
        "cache_dir",
        "checkpoint_every_secs",
        "checkpoint_every_steps",
        "backbone",  # by its digest, and not by where it lies
        "data_dir",
        "dataset",  # the same
        "early_stopping_patience",
        "eval_every_epochs",
        "export_formats",
        "keep_checkpoints",
        "log_every_steps",
        "log_format",
        "num_epochs",
        "num_steps",
        "rendezvous_timeout_secs",
        "stall_timeout_secs",
        "strategy",
        "task_index",
        "test_split",
        "workdir",
        "worker_hosts",
    }
)


@dataclasses.dataclass(frozen=True)
class Config:
    """A run's settings, one field per flag of the trainer, with the flag's name.

    Sizes are pixels, durations end in their unit, fractions lie in [0, 1). `--help` says what
    each one does; `trainer/flags.py` is where it is said.

    Raises:
        UserError: a value breaks its rule; the message names the flag, the value and the rule.
    """

    workdir: str
    # data
    dataset: str = "leaves"
    data_dir: str = ""
    train_split: str = "train"
    validation_split: str = "validation"
    test_split: str = ""
    image_size: int = 0
    image_range: str = "auto"
    augment: str = "none"
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    bad_images: str = "error"
    shuffle_buffer_size: int = 2048
    # model
    backbone: str = "efficientnet_lite0"
    freeze_backbone: bool = True
    freeze_batch_norm: bool = True
    hidden_units: tuple[int, ...] = (128,)
    dropout: float = 0.0
    # optimization
    num_epochs: int | None = None
    num_steps: int | None = None
    global_batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    learning_rate_schedule: str = "cosine"
    warmup_steps: int = 0
    weight_decay: float = 0.0
    gradient_clip_norm: float = 0.0
    label_smoothing: float = 0.0
    class_weights: str = "none"
    # evaluation, checkpoints, export
    eval_every_epochs: int = 1
    early_stopping_patience: int = 0
    checkpoint_every_steps: int | None = None
    checkpoint_every_secs: float | None = None
    keep_checkpoints: int = 2
    export_formats: tuple[str, ...] = ("saved_model",)
    # the run
    seed: int = 0
    strategy: str = "auto"
    num_logical_shards: int = 0
    precision: str = "auto"
    deterministic: bool = True
    cache_dir: str = ""
    log_every_steps: int = 10
    log_format: str = "auto"
    # many workers
    worker_hosts: tuple[str, ...] = ()
    task_index: int | None = None
    all_reduce_alg: str = "auto"
    rendezvous_timeout_secs: float = 300.0
    stall_timeout_secs: float = 120.0

    def __post_init__(self) -> None:
        self._require(bool(self.workdir), "workdir", "a directory to keep the run in")
        self._require(bool(self.dataset), "dataset", "a name, a directory or an import file")
        self._require(bool(self.backbone), "backbone", "a name, a handle or a directory")
        for name, choices in _CHOICES.items():
            self._require(
                getattr(self, name) in choices, name, f"one of {', '.join(map(repr, choices))}"
            )
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            fits = value is None or (math.isfinite(value) and low <= value < high)
            self._require(fits, name, f"a finite number, at least {low}" + _below(high))
        for units in self.hidden_units:
            self._require(
                0 < units <= 2**16, "hidden_units", f"sizes from 1 to {2**16:,}, with commas"
            )
        for name in self.export_formats:
            self._require(
                name in EXPORT_FORMATS, "export_formats", f"out of {', '.join(EXPORT_FORMATS)}"
            )
        _refuse_both(self, "num_epochs", "num_steps")
        _refuse_both(self, "checkpoint_every_steps", "checkpoint_every_secs")
        if self.global_batch_size % self.logical_shards:
            nearest = math.gcd(self.global_batch_size, self.logical_shards)
            raise UserError(
                f"--num_logical_shards={self.num_logical_shards}: must divide "
                f"--global_batch_size={self.global_batch_size}; {nearest} does"
            )
        if self.mixes and self.global_batch_size == self.logical_shards:
            raise UserError(
                "--mixup_alpha, --cutmix_alpha: mixing needs two examples of a logical shard in "
                f"each step, and --num_logical_shards={self.logical_shards} leaves one; "
                "use fewer shards or a larger --global_batch_size"
            )
        value_range(self.image_range)

    @property
    def logical_shards(self) -> int:
        """How many parts the data are cut into; 0 on the flag lets the batch decide."""
        if self.num_logical_shards:
            return self.num_logical_shards
        shards = math.gcd(self.global_batch_size, 8)
        # Mixing needs two of a shard's examples in each step.
        is_short = self.mixes and self.global_batch_size == shards > 1
        return shards // 2 if is_short else shards

    @property
    def mixes(self) -> bool:
        """Whether MixUp or CutMix is on."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    def to_dict(self) -> dict[str, Any]:
        """Every setting by its flag's name, in JSON's types."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share with the run that it resumes, by flag name."""
        shared = {k: v for k, v in self.to_dict().items() if k not in _MAY_CHANGE_ON_RESUME}
        return {**shared, "num_logical_shards": self.logical_shards}

    def _require(self, fits: bool, name: str, rule: str) -> None:
        if not fits:
            raise UserError(f"--{name}={_shown(getattr(self, name))}: must be {rule}")


_CHOICES = {
    "all_reduce_alg": ALL_REDUCE_ALGS,
    "augment": AUGMENT_POLICIES,
    "bad_images": BAD_IMAGES,
    "class_weights": CLASS_WEIGHTS,
    "learning_rate_schedule": SCHEDULES,
    "log_format": LOG_FORMATS,
    "optimizer": OPTIMIZERS,
    "precision": PRECISIONS,
    "strategy": STRATEGIES,
}

_INFINITY = math.inf
_RANGES = {
    "checkpoint_every_secs": (1, _INFINITY),
    "checkpoint_every_steps": (1, _INFINITY),
    "cutmix_alpha": (0, _INFINITY),
    "dropout": (0, 1),
    "early_stopping_patience": (0, _INFINITY),
    "eval_every_epochs": (1, _INFINITY),
    "global_batch_size": (1, _INFINITY),
    "gradient_clip_norm": (0, _INFINITY),
    "image_size": (0, 4097),
    "keep_checkpoints": (1, _INFINITY),
    "label_smoothing": (0, 1),
    "learning_rate": (0, _INFINITY),
    "log_every_steps": (1, _INFINITY),
    "mixup_alpha": (0, _INFINITY),
    "num_epochs": (1, 2**31),
    "num_logical_shards": (0, _INFINITY),
    "num_steps": (1, 2**31),
    "rendezvous_timeout_secs": (1, _INFINITY),
    "seed": (0, 2**31),
    "shuffle_buffer_size": (1, _INFINITY),
    "stall_timeout_secs": (10, _INFINITY),
    "warmup_steps": (0, _INFINITY),
    "weight_decay": (0, _INFINITY),
}


def value_range(text: str) -> tuple[float, float] | None:
    """Read `--image_range`: "auto" is None (ask the model), "LOW,HIGH" two numbers.

    Raises:
        UserError: it is neither.
    """
    if text == "auto":
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = 0.0
    if not -math.inf < low < high < math.inf:
        raise UserError(f"--image_range={text}: must be auto, or LOW,HIGH such as 0,1 or -1,1")
    return low, high


def digest(identity: dict[str, Any]) -> str:
    """A short name for an identity: 16 hexadecimal digits of its SHA-256."""
    canonical = json.dumps(identity, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """One line per entry in which two identities differ: name, the value then, the value now."""
    return [
        f"{name}: {_shown(then.get(name))} there, {_shown(now.get(name))} now"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def _below(high: float) -> str:
    return "" if high == _INFINITY else f" and below {high}"


def _refuse_both(config: Config, first: str, second: str) -> None:
    values = getattr(config, first), getattr(config, second)
    if None not in values:
        raise UserError(f"--{first}={values[0]} and --{second}={values[1]}: give one of the two")


def _shown(value: Any) -> str:
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    return str(value)
