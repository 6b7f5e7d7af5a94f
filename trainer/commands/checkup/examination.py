"""Run all checks in order; later ones need results of earlier ones."""

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

# Called with a title, what is done and the total.
Progress = Callable[[str, int, int], None]


def examine(
    config: Config, argv: Sequence[str], environment: Mapping[str, str], progress: Progress
) -> list[Finding]:
    """Run all checks, and return their findings, area by area.

    Args:
        config: the run.
        argv: its command line, for the commands in the fixes.
        environment: os.environ, outside of tests.
        progress: called during long scans.
    """
    strategies.limit_threads(machine.num_cores())
    decode_image.cache_graphs_in(config.cache_dir)
    found = run_check.check_cluster(config, environment)
    is_distributed = len(found) > 1
    found += machine_check.check(config, is_distributed)
    facts: dict[str, Any] = {}
    backbone, seen = _backbone(config, facts)
    found += seen
    found += _data(config, argv, facts, backbone and backbone.image_size, progress)
    params = backbone.num_params if backbone else 0
    trainable = 0 if config.freeze_backbone else params
    # Weights and the optimizer's two slots for each checkpoint; the export once.
    num_bytes = 4 * (3 * trainable * (config.keep_checkpoints + 2) + params)
    found += run_check.check_workdir(config, facts, num_bytes, argv)
    found += run_check.check_feature_cache(config, argv)
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
    argv: Sequence[str],
    facts: dict[str, Any],
    image_size: tuple[int, int] | None,
    progress: Progress,
) -> list[Finding]:
    try:
        source = catalog.open_source(config, lambda *done: progress("drawing leaves", *done))
        catalog.check_splits(source, config)
        if path := source.corrupt_file():
            return [_unreadable(path)]
        splits = _scan(config, source, progress)
    except (GraftError, OSError, tf.errors.OpError) as error:
        return [_failed("data", error)]
    facts["class_names"] = list(source.class_names)
    facts["dataset_digest"] = source.digest[:16]
    facts["num_train_examples"] = source.num_examples(config.train_split)
    return data_check.check(config, source.class_names, splits, image_size, argv)


def _scan(config: Config, source: Source, progress: Progress) -> dict[str, list[ImageFacts]]:
    asked = (config.train_split, config.validation_split, config.test_split)
    names = dict.fromkeys(filter(None, asked))
    total = sum(map(source.num_examples, names))
    splits: dict[str, list[ImageFacts]] = {}
    before = 0
    for split in names:
        report = functools.partial(_report, progress, before, total)
        splits[split] = scan(source, split, report)
        before += len(splits[split])
    return splits


def _report(progress: Progress, before: int, total: int, done: int) -> None:
    progress("scanning images", before + done, total)


def _unreadable(path: str) -> Finding:
    return Finding(
        "data",
        "damaged_file",
        ERROR,
        f"{path}: missing or truncated",
        cost="the run does not start",
        fix="fetch or prepare it again",
        items=(path,),
        shows_all=True,
    )


def _failed(area: str, error: Exception) -> Finding:
    message = reason(error) if isinstance(error, tf.errors.OpError) else str(error)
    return Finding(area, area, ERROR, message, cost="the run does not start")
