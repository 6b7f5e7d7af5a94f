"""The trainer's flags: their names, defaults and meanings, and how they become a Config."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from trainer.process.errors import UserError
from trainer.settings import choices as c
from trainer.settings import vertex_env
from trainer.settings.command_line import Flag, Groups, parse_flags
from trainer.settings.config import Config

PURPOSE = "Train a classifier on your images: a new head on a pretrained backbone."

TRAINER: Groups = {
    "The run": (
        Flag(
            "workdir",
            "",
            "where everything is kept, local or gs://; the same workdir again resumes",
        ),
        Flag("seed", 0, "random seed of initial weights, order and augmentation", int),
        Flag("strategy", "auto", "which devices to train on", choices=c.STRATEGIES),
        Flag("precision", "auto", "precision of the arithmetic in training", choices=c.PRECISIONS),
        Flag("deterministic", True, "the same bits on the same devices", bool),
        Flag(
            "cache_dir",
            "",
            "where data, backbones and features are kept (GRAFT_CACHE_DIR, else ~/.cache/graft)",
        ),
        Flag(
            "log_format",
            "auto",
            "form of what is said; auto: a progress bar on a terminal, else text",
            choices=c.LOG_FORMATS,
        ),
        Flag("log_progress_secs", 10.0, "seconds between two lines of progress, if no bar", float),
        Flag("log_every_steps", 10, "steps between two points of a training curve", int),
        Flag("profile_steps", [], "first and last step of a TensorBoard profile: 10,20", list),
        Flag("log_images", True, "pictures in TensorBoard, of examples and of mistakes", bool),
        Flag(
            "histograms_every_epochs",
            0,
            "epochs between histograms of the weights, in TensorBoard; 0: none",
            int,
        ),
        Flag("embedding_points", 0, "validation images in TensorBoard's projector; 0: none", int),
        Flag("log_upload_secs", 10.0, "seconds between two uploads of the curves to gs://", float),
    ),
    "Data": (
        Flag(
            "dataset",
            "",
            "leaves (the default: embedded, synthetic), a TFDS name such as beans, a prepared "
            "TFDS directory, a folder of images by label, or Vertex AI import files (.csv, .jsonl)",
        ),
        Flag(
            "data_dir",
            "",
            "where TFDS keeps prepared data sets (TFDS_DATA_DIR, else ~/tensorflow_datasets)",
        ),
        Flag("train_split", "train", "name of the split to train on"),
        Flag("validation_split", "validation", "name of the split to choose the best weights by"),
        Flag("test_split", "", "name of a split to score once, at the end"),
        Flag("image_size", 0, "pixels a side; 0: what the backbone asks for", int),
        Flag("image_range", "auto", "pixel values the backbone expects: auto, or LOW,HIGH"),
        Flag("augment", "none", "augmentation of training images", choices=c.AUGMENT_POLICIES),
        Flag("mixup_alpha", 0.0, "MixUp's Beta parameter; 0: off", float),
        Flag("cutmix_alpha", 0.0, "CutMix's Beta parameter; 0: off", float),
        Flag(
            "feature_cache",
            "auto",
            "a frozen backbone's features, computed once: auto, on, off, or a directory for them",
        ),
        Flag("feature_views", 0, "augmented views of each image to keep there", int),
        Flag("bad_images", "error", "what to do with a broken image", choices=c.BAD_IMAGES),
        Flag("shuffle_buffer_size", 2048, "examples held to shuffle a streamed source", int),
        Flag("num_logical_shards", 0, "parts the data are cut into; 0: gcd(batch, 8)", int),
    ),
    "Model": (
        Flag(
            "backbone",
            "efficientnet_lite0",
            "efficientnet_lite0 (embedded), a TF Hub or Kaggle handle, or a SavedModel "
            "directory or archive",
        ),
        Flag("freeze_backbone", True, "train the head only", bool),
        Flag("freeze_batch_norm", True, "fine-tuning keeps the backbone's statistics", bool),
        Flag("hidden_units", ["128"], "sizes of the head's hidden layers; empty for none", list),
        Flag("dropout", 0.0, "share of inputs that each layer of the head drops", float),
    ),
    "Optimization": (
        Flag("num_epochs", None, "length in passes over the data (10)", int),
        Flag("num_steps", None, "length in steps, instead", int),
        Flag("global_batch_size", 32, "examples a step, over all devices", int),
        Flag("optimizer", "adam", "update rule", choices=c.OPTIMIZERS),
        Flag("learning_rate", 1e-3, "peak learning rate", float),
        Flag(
            "learning_rate_schedule",
            "cosine",
            "how the learning rate goes on after warm-up",
            choices=c.SCHEDULES,
        ),
        Flag("warmup_steps", 0, "steps of linear warm-up", int),
        Flag("weight_decay", 0.0, "decoupled weight decay, per step and learning rate", float),
        Flag("gradient_clip_norm", 0.0, "global norm to clip at; 0: off", float),
        Flag("label_smoothing", 0.0, "share of each label spread over the classes", float),
        Flag(
            "class_weights", "none", "weights of the classes in the loss", choices=c.CLASS_WEIGHTS
        ),
    ),
    "Evaluation, checkpoints, export": (
        Flag("eval_every_epochs", 1, "epochs between evaluations", int),
        Flag("early_stopping_patience", 0, "evaluations without a better one; 0: off", int),
        Flag("checkpoint_every_steps", None, "steps between checkpoints", int),
        Flag("checkpoint_every_secs", None, "seconds between checkpoints, instead (30)", float),
        Flag("keep_checkpoints", 2, "newest checkpoints to keep, beside the best", int),
        Flag(
            "export_formats",
            ["saved_model"],
            "any of " + ", ".join(c.EXPORT_FORMATS) + "; empty for none",
            list,
        ),
        Flag("report", True, "write report/index.html at the end", bool),
    ),
    "Many workers": (
        Flag(
            "worker_hosts",
            [],
            "HOST:PORT of each worker, the chief first; else TF_CONFIG, CLUSTER_SPEC or a "
            "Kubernetes Job say it",
            list,
        ),
        Flag("task_index", None, "which of --worker_hosts this process is", int),
        Flag("all_reduce_alg", "auto", "how gradients are added up", choices=c.ALL_REDUCE_ALGS),
        Flag("rendezvous_timeout_secs", 300.0, "seconds to wait for the other workers", float),
        Flag(
            "stall_timeout_secs",
            120.0,
            "seconds without a sign of life from a worker before all restart",
            float,
        ),
    ),
}


# Shells leave the ~ of --flag=~/… as it is.
_PATHS = ("workdir", "cache_dir", "dataset", "data_dir", "feature_cache", "backbone")


def config_from_argv(argv: Sequence[str], is_of_here: bool = True) -> Config:
    """The run that the trainer's command line asks for.

    Args:
        argv: without the program's name.
        is_of_here: whether it runs on this machine, so that `~` is this user's home.

    Raises:
        UserError: an unknown flag, a bad value, a missing --workdir, or a word that is no flag.
    """
    return config_from_values(parse_flags(argv, TRAINER), is_of_here)


def config_from_values(values: dict[str, Any], is_of_here: bool = True) -> Config:
    """`values` by flag name, as parsed, as a Config; see config_from_argv."""
    if is_of_here:
        values = {**values, **{name: at_home(values[name]) for name in _PATHS}}
    workdir = values["workdir"] or vertex_env.base_directory()
    if not workdir:
        raise UserError("--workdir: required; a directory to keep the run in")
    values = {
        **values,
        "workdir": workdir,
        "dataset": values["dataset"] or vertex_env.dataset() or "leaves",
        "hidden_units": _numbers(values, "hidden_units"),
        "profile_steps": _numbers(values, "profile_steps"),
        "export_formats": tuple(values["export_formats"]),
        "worker_hosts": tuple(values["worker_hosts"]),
        "cache_dir": values["cache_dir"] or default_cache_dir(),
    }
    if values["checkpoint_every_steps"] is None and values["checkpoint_every_secs"] is None:
        values["checkpoint_every_secs"] = 30.0
    return Config(**values)


def _numbers(values: dict[str, Any], name: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in values[name])
    except ValueError as error:
        raise UserError(
            f"--{name}={','.join(values[name])}: must be whole numbers, separated by commas"
        ) from error


def at_home(paths: str) -> str:
    """A path, or several with commas between them, with the home of whom each `~` names."""
    return ",".join(map(os.path.expanduser, paths.split(",")))


def default_cache_dir() -> str:
    """`GRAFT_CACHE_DIR`, or the user's cache directory (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
    return os.path.expanduser(os.environ.get("GRAFT_CACHE_DIR") or os.path.join(base, "graft"))
