"""What a run is, as frozen facts, validated at birth. No TensorFlow here."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

from trainer.process.errors import UserError
from trainer.settings import choices
from trainer.settings.identity import shown

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
        "embedding_points",
        "export_formats",
        "feature_cache",
        "histograms_every_epochs",
        "keep_checkpoints",
        "log_every_steps",
        "log_format",
        "log_images",
        "log_progress_secs",
        "log_upload_secs",
        "num_epochs",
        "num_steps",
        "profile_steps",
        "rendezvous_timeout_secs",
        "report",
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
    each one does; `trainer/settings/flags.py` is where it is said.

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
    feature_cache: str = "auto"
    feature_views: int = 0
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
    report: bool = True
    # the run
    seed: int = 0
    strategy: str = "auto"
    num_logical_shards: int = 0
    precision: str = "auto"
    deterministic: bool = True
    cache_dir: str = ""
    log_every_steps: int = 10
    log_progress_secs: float = 10.0
    log_upload_secs: float = 10.0
    log_images: bool = True
    histograms_every_epochs: int = 0
    embedding_points: int = 0
    profile_steps: tuple[int, ...] = ()
    log_format: str = "auto"
    # many workers
    worker_hosts: tuple[str, ...] = ()
    task_index: int | None = None
    all_reduce_alg: str = "auto"
    rendezvous_timeout_secs: float = 300.0
    stall_timeout_secs: float = 120.0

    def __post_init__(self) -> None:
        for name, (is_one, rule) in choices.PLACES.items():
            self._require(is_one(getattr(self, name)), name, rule)
        for name, allowed in choices.CHOICES.items():
            self._require(
                getattr(self, name) in allowed, name, f"one of {', '.join(map(repr, allowed))}"
            )
        for name, (low, high) in choices.RANGES.items():
            value = getattr(self, name)
            fits = value is None or (math.isfinite(value) and low <= value < high)
            self._require(fits, name, f"a finite number, at least {low}" + _below(high))
        for units in self.hidden_units:
            self._require(
                0 < units <= 2**16, "hidden_units", f"sizes from 1 to {2**16:,}, with commas"
            )
        for name in self.export_formats:
            self._require(
                name in choices.EXPORT_FORMATS,
                "export_formats",
                f"out of {', '.join(choices.EXPORT_FORMATS)}",
            )
        fits = not self.profile_steps or (
            len(self.profile_steps) == 2 and 0 < self.profile_steps[0] < self.profile_steps[1]
        )
        self._require(fits, "profile_steps", "two steps, such as 10,20")
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
        choices.value_range(self.image_range)
        self._check_feature_cache()

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

    @property
    def caches_features(self) -> bool:
        """Whether training reads features that are computed once, instead of images."""
        is_wanted = self.feature_cache != "off"
        return is_wanted and self.freeze_backbone and not self.mixes and self._looks_fixed

    @property
    def feature_cache_dir(self) -> str:
        """Where features are kept: what the flag names, or a place of the cache directory's."""
        is_named = self.feature_cache_flag == "feature_cache"
        return self.feature_cache if is_named else f"{self.cache_dir}/features"

    @property
    def feature_cache_flag(self) -> str:
        """The flag that named that place, or the directory that it is in."""
        return "cache_dir" if self.feature_cache in choices.KEEPS_FEATURES else "feature_cache"

    @property
    def _looks_fixed(self) -> bool:
        return self.augment == "none" or self.feature_views > 0

    def _check_feature_cache(self) -> None:
        asked = f"--feature_cache={self.feature_cache}"
        if self.feature_views:
            asked = f"--feature_views={self.feature_views}"
            if self.augment == "none":
                raise UserError(f"{asked}: counts augmented views; --augment=none makes none")
            if self.feature_cache == "off":
                raise UserError(f"{asked}: is kept in the cache that --feature_cache=off forbids")
        elif self.feature_cache in ("auto", "off"):
            return
        if not self.freeze_backbone:
            raise UserError(f"{asked}: needs --freeze_backbone; training changes the features")
        if self.mixes:
            raise UserError(
                f"{asked}: --mixup_alpha and --cutmix_alpha mix images, anew in every step"
            )
        if not self._looks_fixed:
            raise UserError(
                f"{asked}: --augment={self.augment} changes every image in every epoch; "
                "--feature_views=K keeps K augmented views of each"
            )

    def identity(self) -> dict[str, Any]:
        """What a resumed run must share with the run that it resumes, by flag name."""
        shared = {k: v for k, v in self.to_dict().items() if k not in _MAY_CHANGE_ON_RESUME}
        return {**shared, "num_logical_shards": self.logical_shards}

    def _require(self, fits: bool, name: str, rule: str) -> None:
        if not fits:
            raise UserError(f"--{name}={shown(getattr(self, name))}: must be {rule}")


def _below(high: float) -> str:
    return "" if high == choices.INFINITY else f" and below {high}"


def _refuse_both(config: Config, first: str, second: str) -> None:
    values = getattr(config, first), getattr(config, second)
    if None not in values:
        raise UserError(f"--{first}={values[0]} and --{second}={values[1]}: give one of the two")
