"""All checks in their order; what one finds, the next may need."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tensorflow as tf

from trainer.commands.checkup import data_check, machine_check, run_check
from trainer.commands.checkup.finding import AREAS, ERROR, OK, Finding
from trainer.commands.checkup.image_scan import ImageFacts, scan
from trainer.data.decode import decode_image
from trainer.data.sources import catalog
from trainer.data.sources.source import Source
from trainer.engine import build
from trainer.engine import strategy as strategies
from trainer.graph.errors import reason
from trainer.process import machine
from trainer.process.errors import GraftError
from trainer.settings.config import Config

# Told what is looked at, how much of it is done, and of how much.
Progress = Callable[[str, int, int], None]


def examine(
    config: Config, words: Sequence[str], environment: Mapping[str, str], progress: Progress
) -> list[Finding]:
    """Look at everything, and say what was found, area by area.

    Args:
        config: the run.
        words: of its command line, for the commands that help.
        environment: os.environ, outside of tests.
        progress: told how far a long look is.
    """
    strategies.limit_threads(machine.num_cores())
    decode_image.keep_graphs_in(config.cache_dir)
    found = run_check.check_cluster(config, environment)
    is_distributed = len(found) > 1
    found += machine_check.check(config, is_distributed)
    facts: dict[str, Any] = {}
    backbone, seen = _backbone(config, facts)
    found += seen
    found += _data(config, words, facts, backbone and backbone.image_size, progress)
    params = backbone.num_params if backbone else 0
    trainable = 0 if config.freeze_backbone else params
    # Weights and the optimizer's two slots for each checkpoint; the export once.
    num_bytes = 4 * (3 * trainable * (config.keep_checkpoints + 2) + params)
    found += run_check.check_workdir(config, facts, num_bytes, words)
    found += run_check.check_feature_cache(config, words)
    return sorted(found, key=lambda finding: AREAS.index(finding.area))


def _backbone(config: Config, facts: dict[str, Any]) -> tuple[Any, list[Finding]]:
    try:
        backbone = build.load_backbone(config)
    except (GraftError, OSError, tf.errors.OpError) as error:
        return None, [_failed("backbone", error)]
    facts["backbone_digest"] = backbone.digest[:16]
    height, width = backbone.image_size
    is_frozen = "frozen" if config.freeze_backbone else "to be trained"
    message = (
        f"{config.backbone}: images of {width}×{height} to {backbone.num_features:,} features, "
        f"{backbone.num_params:,} parameters, {is_frozen}"
    )
    return backbone, [Finding("backbone", "contract", OK, message)]


def _data(
    config: Config,
    words: Sequence[str],
    facts: dict[str, Any],
    image_size: tuple[int, int] | None,
    progress: Progress,
) -> list[Finding]:
    try:
        source = catalog.open_source(config, lambda *done: progress("drawing leaves", *done))
        catalog.check_splits(source, config)
        if damaged := source.damaged_file():
            return [_damaged(damaged)]
        looks = _looks(config, source, progress)
    except (GraftError, OSError, tf.errors.OpError) as error:
        return [_failed("data", error)]
    facts["class_names"] = list(source.class_names)
    facts["dataset_digest"] = source.digest[:16]
    facts["num_train_examples"] = source.num_examples(config.train_split)
    return data_check.check(config, source.class_names, looks, image_size, words)


def _looks(config: Config, source: Source, progress: Progress) -> dict[str, list[ImageFacts]]:
    asked = (config.train_split, config.validation_split, config.test_split)
    splits = dict.fromkeys(filter(None, asked))
    total = sum(map(source.num_examples, splits))
    looks: dict[str, list[ImageFacts]] = {}
    before = 0
    for split in splits:
        tell = functools.partial(_tell, progress, before, total)
        looks[split] = scan(source, split, tell)
        before += len(looks[split])
    return looks


def _tell(progress: Progress, before: int, total: int, done: int) -> None:
    progress("looking at images", before + done, total)


def _damaged(path: str) -> Finding:
    return Finding(
        "data",
        "damaged_file",
        ERROR,
        f"{path}: gone, or not readable to its end",
        cost="the run does not start",
        fix="fetch or prepare it anew",
        items=(path,),
        shows_all=True,
    )


def _failed(area: str, error: Exception) -> Finding:
    message = reason(error) if isinstance(error, tf.errors.OpError) else str(error)
    return Finding(area, area, ERROR, message, cost="the run does not start")
