"""Open the source that `--dataset` names."""

from __future__ import annotations

import re
from collections.abc import Callable

import tensorflow as tf

from trainer.data.leaves import embedded
from trainer.data.sources import folder_source, import_file_source, tfds_open
from trainer.data.sources.source import Source
from trainer.graph.errors import reason
from trainer.process.errors import UserError
from trainer.settings.config import Config
from trainer.storage import api as storage
from trainer.storage.api import is_remote


def open_source(config: Config, progress: Callable[[int, int], None] | None = None) -> Source:
    """Open the data that `config` names.

    Args:
        config: its `dataset`, `data_dir`, `cache_dir` and `shuffle_buffer_size` are read.
        progress: called with (done, total) while the embedded data set is drawn.

    Raises:
        UserError: the data do not exist, or cannot train a classifier.
    """
    if not is_remote(config.dataset):
        return _open_source(config, progress)
    # For import files, the part before the first * or comma.
    storage.check_readable(re.split(r"[*,]", config.dataset)[0], "dataset")
    try:
        return _open_source(config, progress)
    except tf.errors.OpError as error:
        raise UserError(f"--dataset={config.dataset}: {reason(error)}") from error


def _open_source(config: Config, progress: Callable[[int, int], None] | None) -> Source:
    dataset, buffer = config.dataset, config.shuffle_buffer_size
    if dataset == "leaves":
        return tfds_open.open_prepared(
            embedded.prepare(config.cache_dir, progress), buffer, "leaves"
        )
    if import_file_source.are_import_files(dataset):
        return import_file_source.open_import_files(dataset)
    if tf.io.gfile.isdir(dataset):
        if tfds_open.is_prepared(dataset):
            return tfds_open.open_prepared(dataset, buffer)
        return folder_source.open_folder(dataset)
    if tf.io.gfile.exists(dataset) or dataset.startswith((".", "/", "~", "gs://")):
        found = "" if tf.io.gfile.exists(dataset) else "no such path; it "
        raise UserError(
            f"--dataset={dataset}: {found}must be a directory, a .csv or .jsonl import file, or a "
            "TFDS name"
        )
    return tfds_open.open_named(dataset, config.data_dir, buffer)


def check_splits(source: Source, config: Config) -> None:
    """Refuse a split that the data do not have or that has no images.

    Args:
        source: what `open_source` returned for `config`.
        config: its `train_split`, `validation_split` and `test_split` (if any) are read.

    Raises:
        UserError: a split is missing or empty; the message names the flag.
    """
    for name in ("train_split", "validation_split", "test_split"):
        split = getattr(config, name)
        if not split and name == "test_split":
            continue
        try:
            num_examples = source.num_examples(split)
        except UserError as error:
            raise UserError(f"--{name}={split}: {error}") from error
        if num_examples < 1:  # below 0 where a slice ends before it begins
            raise UserError(f"--{name}={split}: {source.name} has no image in it")
