"""The validated, immutable configuration of a run. Imports no TensorFlow."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from trainer.process.errors import UserError
from trainer.settings import locations
from trainer.settings.choices import FEATURE_CACHE_MODES, value_range
from trainer.settings.setting import Scope
from trainer.settings.table import TABLE, Settings


@dataclasses.dataclass(frozen=True)
class Config(Settings):
    """A run's validated settings; the fields are those of the table.

    Built in Python it means what the same flags mean: an empty `dataset`, `cache_dir` or
    `workdir` is filled in, `~` is expanded, and other settings have the flag's default.

    Raises:
        UserError: a value breaks its rule; the message names the flag, the value and the rule.
    """

    is_local: dataclasses.InitVar[bool] = True
    """Whether the run is on this machine, where `~` is this user's home."""

    def __post_init__(self, is_local: bool) -> None:
        for name, row in TABLE.items():
            value = row.convert(getattr(self, name))
            if is_local and Scope.PATH in row.scope:
                value = locations.expand_home(value)
            if not value and name in locations.FALLBACKS:
                value = locations.FALLBACKS[name]()
            row.check(value)
            object.__setattr__(self, name, value)
        _check_consistency(self)

    @property
    def logical_shards(self) -> int:
        """Number of logical shards; if the flag is 0, derived from the batch size."""
        if self.num_logical_shards:
            return self.num_logical_shards
        shards = math.gcd(self.global_batch_size, 8)
        # Mixing needs two examples of a shard in each step.
        is_short = self.mixes and self.global_batch_size == shards > 1
        return shards // 2 if is_short else shards

    @property
    def mixes(self) -> bool:
        """Whether MixUp or CutMix is on."""
        return self.mixup_alpha > 0 or self.cutmix_alpha > 0

    @property
    def views_are_fixed(self) -> bool:
        """Whether every epoch uses the same views of an image."""
        return self.augment == "none" or self.feature_views > 0

    @property
    def caches_features(self) -> bool:
        """Whether training reads cached features instead of images."""
        is_wanted = self.feature_cache != "off"
        return is_wanted and self.freeze_backbone and not self.mixes and self.views_are_fixed

    @property
    def feature_cache_dir(self) -> str:
        """The feature cache's directory: the flag's, or one inside `cache_dir`."""
        is_named = self.feature_cache_flag == "feature_cache"
        return self.feature_cache if is_named else f"{self.cache_dir}/features"

    @property
    def feature_cache_flag(self) -> str:
        """The flag that determines that directory."""
        return "cache_dir" if self.feature_cache in FEATURE_CACHE_MODES else "feature_cache"

    def to_dict(self) -> dict[str, Any]:
        """Return every setting by its flag's name, in JSON types."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def identity(self) -> dict[str, Any]:
        """Return the settings that a resumed run must share, by flag name."""
        shared = without(Scope.RESUMABLE, self.to_dict())
        return {**shared, "num_logical_shards": self.logical_shards}


def names(scope: Scope) -> tuple[str, ...]:
    """Return the names of the settings of `scope`, in the table's order."""
    return tuple(name for name, row in TABLE.items() if scope in row.scope)


def without(scope: Scope, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values`, by setting's name, without those of `scope`."""
    excluded = names(scope)
    return {name: value for name, value in values.items() if name not in excluded}


def _check_consistency(config: Config) -> None:
    """Refuse settings that contradict each other."""
    _refuse_both(config, "num_epochs", "num_steps")
    _refuse_both(config, "checkpoint_every_steps", "checkpoint_every_secs")
    if config.global_batch_size % config.logical_shards:
        nearest = math.gcd(config.global_batch_size, config.logical_shards)
        raise UserError(
            f"--num_logical_shards={config.num_logical_shards}: must divide "
            f"--global_batch_size={config.global_batch_size}; {nearest} does"
        )
    if config.mixes and config.global_batch_size == config.logical_shards:
        raise UserError(
            "--mixup_alpha, --cutmix_alpha: mixing needs two examples of a logical shard in "
            f"each step, and --num_logical_shards={config.logical_shards} leaves one; "
            "use fewer shards or a larger --global_batch_size"
        )
    value_range(config.image_range)
    _check_feature_cache(config)


def _check_feature_cache(config: Config) -> None:
    asked = f"--feature_cache={config.feature_cache}"
    if config.feature_views:
        asked = f"--feature_views={config.feature_views}"
        if config.augment == "none":
            raise UserError(f"{asked}: counts augmented views; --augment=none makes none")
        if config.feature_cache == "off":
            raise UserError(f"{asked}: needs the feature cache; --feature_cache=off disables it")
    elif config.feature_cache in ("auto", "off"):
        return
    if not config.freeze_backbone:
        raise UserError(f"{asked}: needs --freeze_backbone; training changes the features")
    if config.mixes:
        raise UserError(f"{asked}: --mixup_alpha and --cutmix_alpha mix images anew in every step")
    if not config.views_are_fixed:
        raise UserError(
            f"{asked}: --augment={config.augment} changes every image in every epoch; "
            "--feature_views=K keeps K augmented views of each"
        )


def _refuse_both(config: Config, first: str, second: str) -> None:
    values = getattr(config, first), getattr(config, second)
    if None not in values:
        raise UserError(f"--{first}={values[0]} and --{second}={values[1]}: give one of the two")
