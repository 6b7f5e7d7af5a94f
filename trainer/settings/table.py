"""The table of settings: each with its type, default, help, range and scope.

Flags, `--help`, docs/flags.md, the identity that a resumed run must share, the comparison of
workers, HPARAMS and the report's command are generated from it.
"""

from __future__ import annotations

import dataclasses
import math

from trainer.settings import choices as c
from trainer.settings.setting import Scope, rows, setting

RUN = "The run"
DATA = "Data"
MODEL = "Model"
OPTIMIZATION = "Optimization"
OUTCOME = "Evaluation, checkpoints, export"
CLUSTER = "Many workers"

RESUMABLE, HYPERPARAMETER = Scope.RESUMABLE, Scope.HYPERPARAMETER
WORKER, PATH = Scope.WORKER, Scope.PATH
PROCESS = Scope.PROCESS | Scope.RESUMABLE
LOCATION = Scope.PATH | Scope.RESUMABLE

COUNT, POSITIVE = (0, 2**31), (1, 2**31)  # TensorFlow's int32
NONNEGATIVE, AT_LEAST_ONE = (0, math.inf), (1, math.inf)


@dataclasses.dataclass(frozen=True)
class Settings:
    """A field for each flag of `graft train`, with the flag's name; see setting.Setting."""

    workdir: str = setting(
        RUN,
        "",
        "where everything is kept, local or gs://; the same workdir again resumes",
        PROCESS | WORKER | PATH,
        rule=(c.is_location, "a local directory or gs://BUCKET/DIRECTORY, to keep the run in"),
    )
    seed: int = setting(
        RUN,
        0,
        "random seed of initial weights, order and augmentation",
        HYPERPARAMETER,
        within=COUNT,
    )
    strategy: str = setting(
        RUN, "auto", "which devices to train on", RESUMABLE, choices=c.STRATEGIES
    )
    precision: str = setting(
        RUN, "auto", "precision of the arithmetic in training", choices=c.PRECISIONS
    )
    deterministic: bool = setting(RUN, True, "the same bits on the same devices")
    cache_dir: str = setting(
        RUN,
        "",
        "where data, backbones and features are kept (GRAFT_CACHE_DIR, else ~/.cache/graft)",
        PROCESS | WORKER | PATH,
        rule=(lambda text: "://" not in text, "a local directory"),
    )
    log_format: str = setting(
        RUN,
        "auto",
        "output format; auto: a progress bar on a terminal, else text",
        PROCESS | WORKER,
        choices=c.LOG_FORMATS,
    )
    log_progress_secs: float = setting(
        RUN, 10.0, "seconds between two lines of progress, if no bar", RESUMABLE, within=NONNEGATIVE
    )
    log_every_steps: int = setting(
        RUN, 10, "steps between two points of a training curve", RESUMABLE, within=POSITIVE
    )
    profile_steps: tuple[int, ...] = setting(
        RUN,
        (),
        "first and last step of a TensorBoard profile: 10,20",
        RESUMABLE,
        rule=(c.is_range_of_steps, "two steps, such as 10,20"),
    )
    log_images: bool = setting(
        RUN, True, "images in TensorBoard, of examples and of mistakes", RESUMABLE
    )
    histograms_every_epochs: int = setting(
        RUN,
        0,
        "epochs between histograms of the weights, in TensorBoard; 0: none",
        RESUMABLE,
        within=COUNT,
    )
    embedding_points: int = setting(
        RUN,
        0,
        "validation images in TensorBoard's projector; 0: none",
        RESUMABLE,
        within=(0, 10_001),
    )
    log_upload_secs: float = setting(
        RUN,
        10.0,
        "seconds between two uploads of the curves to gs://",
        RESUMABLE,
        within=AT_LEAST_ONE,
    )

    dataset: str = setting(
        DATA,
        "",
        "leaves (the default: embedded, synthetic), a TFDS name such as beans, a prepared "
        "TFDS directory, a folder of images by label, or Vertex AI import files (.csv, .jsonl)",
        LOCATION | WORKER | HYPERPARAMETER,
    )
    data_dir: str = setting(
        DATA,
        "",
        "where TFDS keeps prepared data sets (TFDS_DATA_DIR, else ~/tensorflow_datasets)",
        LOCATION | WORKER,
    )
    train_split: str = setting(DATA, "train", "name of the split to train on")
    validation_split: str = setting(
        DATA, "validation", "name of the split to choose the best weights by"
    )
    test_split: str = setting(DATA, "", "name of a split to evaluate once, at the end", RESUMABLE)
    image_size: int = setting(
        DATA,
        0,
        "input resolution in pixels a side; 0: the backbone's",
        HYPERPARAMETER,
        within=(0, 4097),
    )
    image_range: str = setting(DATA, "auto", "pixel values the backbone expects: auto, or LOW,HIGH")
    augment: str = setting(
        DATA, "none", "augmentation of training images", HYPERPARAMETER, choices=c.AUGMENT_POLICIES
    )
    mixup_alpha: float = setting(
        DATA, 0.0, "MixUp's Beta parameter; 0: off", HYPERPARAMETER, within=NONNEGATIVE
    )
    cutmix_alpha: float = setting(
        DATA, 0.0, "CutMix's Beta parameter; 0: off", HYPERPARAMETER, within=NONNEGATIVE
    )
    feature_cache: str = setting(
        DATA,
        "auto",
        "a frozen backbone's features, computed once: auto, on, off, or a directory for them",
        LOCATION,
        rule=(
            c.is_feature_cache,
            f"{', '.join(c.FEATURE_CACHE_MODES)} or a directory, local or gs://, with a slash in "
            "it: ./features",
        ),
    )
    feature_views: int = setting(
        DATA, 0, "augmented views of each image to keep there", HYPERPARAMETER, within=(0, 2**16)
    )
    bad_images: str = setting(
        DATA, "error", "what to do with a broken image", RESUMABLE, choices=c.BAD_IMAGES
    )
    shuffle_buffer_size: int = setting(
        DATA, 2048, "examples held to shuffle a streamed source", within=POSITIVE
    )
    num_logical_shards: int = setting(
        DATA, 0, "shards that the data are cut into; 0: gcd(batch, 8)", within=COUNT
    )

    backbone: str = setting(
        MODEL,
        "efficientnet_lite0",
        "efficientnet_lite0 (embedded), a TF Hub or Kaggle handle, or a SavedModel "
        "directory or archive",
        LOCATION | WORKER | HYPERPARAMETER,
        rule=(bool, "a name, a handle or a directory"),
    )
    freeze_backbone: bool = setting(MODEL, True, "train the head only", HYPERPARAMETER)
    freeze_batch_norm: bool = setting(
        MODEL, True, "fine-tuning keeps the backbone's batch statistics"
    )
    hidden_units: tuple[int, ...] = setting(
        MODEL,
        (128,),
        "sizes of the head's hidden layers; empty for none",
        HYPERPARAMETER,
        rule=(c.are_layer_sizes, f"sizes from 1 to {c.MAX_UNITS:,}, with commas"),
    )
    dropout: float = setting(
        MODEL, 0.0, "dropout rate of each layer of the head", HYPERPARAMETER, within=(0, 1)
    )

    num_epochs: int | None = setting(
        OPTIMIZATION, None, "length in passes over the data (10)", RESUMABLE, within=POSITIVE
    )
    num_steps: int | None = setting(
        OPTIMIZATION, None, "length in steps, instead", RESUMABLE, within=POSITIVE
    )
    global_batch_size: int = setting(
        OPTIMIZATION, 32, "examples a step, over all devices", HYPERPARAMETER, within=POSITIVE
    )
    optimizer: str = setting(
        OPTIMIZATION, "adam", "update rule", HYPERPARAMETER, choices=c.OPTIMIZERS
    )
    learning_rate: float = setting(
        OPTIMIZATION, 1e-3, "peak learning rate", HYPERPARAMETER, within=NONNEGATIVE
    )
    learning_rate_schedule: str = setting(
        OPTIMIZATION, "cosine", "schedule after warm-up", HYPERPARAMETER, choices=c.SCHEDULES
    )
    warmup_steps: int = setting(
        OPTIMIZATION, 0, "steps of linear warm-up", HYPERPARAMETER, within=COUNT
    )
    weight_decay: float = setting(
        OPTIMIZATION,
        0.0,
        "decoupled weight decay, per step and learning rate",
        HYPERPARAMETER,
        within=NONNEGATIVE,
    )
    gradient_clip_norm: float = setting(
        OPTIMIZATION, 0.0, "global norm to clip at; 0: off", HYPERPARAMETER, within=NONNEGATIVE
    )
    label_smoothing: float = setting(
        OPTIMIZATION,
        0.0,
        "fraction of each label spread over the classes",
        HYPERPARAMETER,
        within=(0, 1),
    )
    class_weights: str = setting(
        OPTIMIZATION,
        "none",
        "weights of the classes in the loss",
        HYPERPARAMETER,
        choices=c.CLASS_WEIGHTS,
    )

    eval_every_epochs: int = setting(
        OUTCOME, 1, "epochs between evaluations", RESUMABLE, within=POSITIVE
    )
    early_stopping_patience: int = setting(
        OUTCOME,
        0,
        "evaluations without improvement before training stops; 0: never",
        RESUMABLE,
        within=COUNT,
    )
    checkpoint_every_steps: int | None = setting(
        OUTCOME, None, "steps between checkpoints", RESUMABLE, within=POSITIVE
    )
    checkpoint_every_secs: float | None = setting(
        OUTCOME, None, "seconds between checkpoints, instead (30)", RESUMABLE, within=AT_LEAST_ONE
    )
    keep_checkpoints: int = setting(
        OUTCOME, 2, "newest checkpoints to keep, beside the best", RESUMABLE, within=POSITIVE
    )
    export_formats: tuple[str, ...] = setting(
        OUTCOME,
        ("saved_model",),
        f"any of {', '.join(c.EXPORT_FORMATS)}; empty for none",
        RESUMABLE,
        rule=(
            lambda names: set(names) <= set(c.EXPORT_FORMATS),
            f"out of {', '.join(c.EXPORT_FORMATS)}",
        ),
    )
    report: bool = setting(OUTCOME, True, "write report/index.html at the end", RESUMABLE)

    worker_hosts: tuple[str, ...] = setting(
        CLUSTER,
        (),
        "HOST:PORT of each worker, the chief first; else from TF_CONFIG, CLUSTER_SPEC or a "
        "Kubernetes Job",
        PROCESS,
    )
    task_index: int | None = setting(
        CLUSTER, None, "which of --worker_hosts this process is", PROCESS | WORKER
    )
    all_reduce_alg: str = setting(
        CLUSTER, "auto", "all-reduce algorithm for gradients", RESUMABLE, choices=c.ALL_REDUCE_ALGS
    )
    rendezvous_timeout_secs: float = setting(
        CLUSTER, 300.0, "seconds to wait for the other workers", RESUMABLE, within=AT_LEAST_ONE
    )
    stall_timeout_secs: float = setting(
        CLUSTER,
        120.0,
        "seconds without a worker's heartbeat or progress before all restart",
        RESUMABLE,
        within=AT_LEAST_ONE,
    )


TABLE = rows(Settings)
