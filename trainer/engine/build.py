"""Build a run: open the data, meet the workers, choose the devices, make the model."""

from __future__ import annotations

import os
import socket
from typing import Any

import tensorflow as tf

from trainer.data.decode import decode_image
from trainer.data.decode.decode_checked import BadImages
from trainer.data.input_pipeline import InputPipeline
from trainer.data.sources import catalog
from trainer.data.sources.source import Source
from trainer.engine import kubeflow_status, optimizers
from trainer.engine import strategy as strategies
from trainer.engine.checkpoints import Checkpoints
from trainer.engine.run import Run
from trainer.graph.plain_pipeline import skip_graph_optimizer
from trainer.models import backbone as backbones
from trainer.models import frozen_backbone
from trainer.models.backbone import Backbone
from trainer.models.classifier import Classifier, Head
from trainer.models.frozen_backbone import FrozenBackbone
from trainer.models.handles import EMBEDDED, digest, resolve
from trainer.process.console import Reporter
from trainer.process.stop_signal import StopRequest
from trainer.settings import plan as steps
from trainer.settings.choices import value_range
from trainer.settings.config import Config
from trainer.storage import api as storage
from trainer.storage.upload_queue import UploadQueue
from trainer.workdir import paths
from trainer.workdir.goodput import Ledger
from trainer.workers.cluster import Cluster
from trainer.workers.group import WorkerGroup, join_workers


def build(
    config: Config,
    reporter: Reporter,
    cluster: Cluster,
    port_socket: socket.socket | None,
    ledger: Ledger,
    stop: StopRequest,
) -> Run:
    """Build a run: open the data, meet the workers, choose the devices, make the model.

    Args:
        config: the run.
        reporter: prints progress and warnings.
        cluster: the workers.
        port_socket: this worker's port in a distributed run; see rendezvous.reserve_port.
        ledger: records the time of the rendezvous.
        stop: handles the signals.

    Raises:
        UserError: the data, the devices or the backbone cannot work, or the workers differ.
        PeerLost: another worker does not join.
    """
    source = catalog.open_source(
        config, lambda done, total: reporter.advance("drawing leaves", done, total)
    )
    catalog.check_splits(source, config)
    decode_image.cache_graphs_in(config.cache_dir)
    num_train = source.num_examples(config.train_split)
    plan = steps.plan(config, num_train)
    num_validation = source.num_examples(config.validation_split)
    name = source.name.removeprefix("--dataset=")
    reporter.say(
        f"data       {name}: {num_train:,} training and {num_validation:,} validation images in "
        f"{len(source.class_names)} classes"
    )
    if unused := steps.unused_examples_warning(num_train, config.global_batch_size):
        reporter.warn(unused)
    stop.install()
    facts = {
        "class_names": ",".join(source.class_names),
        "num_train_examples": str(num_train),
        "num_validation_examples": str(num_validation),
        "dataset_digest": source.digest[:16],
    }
    if port_socket is not None:
        path = "" if config.backbone == EMBEDDED else resolve(config.backbone, config.cache_dir)
        facts["backbone_digest"] = digest(config.backbone, path)[:16]
    with ledger.phase("preflight"):
        workers = join_workers(config, cluster, port_socket, facts, stop, reporter.warn)
    with workers.propagating_errors():
        return _assemble(config, reporter, source, plan, stop, workers, ledger)


def _assemble(
    config: Config,
    reporter: Reporter,
    source: Source,
    plan: steps.Plan,
    stop: StopRequest,
    workers: WorkerGroup,
    ledger: Ledger,
) -> Run:
    with skip_graph_optimizer():
        strategy = strategies.build(
            config.strategy, config.logical_shards, workers.cluster, config.all_reduce_alg
        )
    precision = strategies.choose_precision(
        config.precision,
        config.freeze_backbone,
        len(tf.config.list_logical_devices("GPU")),
        strategies.cpu_flags(),
    )
    upload_queue = UploadQueue()
    if storage.is_remote(config.workdir) and workers.is_chief:
        now = ledger.publish
        ledger.publish = lambda content: upload_queue.submit(lambda: now(content))
    stop.install()  # again: TensorFlow has replaced the signal handlers
    with strategy.scope():
        backbone = load_backbone(config)
        head = Head(
            backbone.num_features,
            config.hidden_units,
            len(source.class_names),
            dropout=config.dropout,
            seed=config.seed,
        )
        classifier = Classifier(backbone, head)
        optimizer = optimizers.build(config, plan.num_steps)
        optimizer.build(classifier.trainable_variables)
    reporter.say(
        f"model      {config.backbone}: {classifier.num_params:,} parameters, "
        f"{classifier.num_trainable_params:,} trainable; on {strategies.describe(strategy)} in "
        f"{precision}"
    )
    identity = {
        **config.identity(),
        "backbone_digest": backbone.digest[:16],
        "class_names": list(source.class_names),
        "dataset_digest": source.digest[:16],
        "num_train_examples": source.num_examples(config.train_split),
    }
    return Run(
        config=config,
        reporter=reporter,
        source=source,
        plan=plan,
        strategy=strategy,
        precision=precision,
        stop=stop,
        classifier=classifier,
        optimizer=optimizer,
        pipeline=InputPipeline(
            source=source,
            image_size=backbone.image_size,
            global_batch_size=config.global_batch_size,
            num_logical_shards=config.logical_shards,
            seed=config.seed,
            bad_images=BadImages(skip=config.bad_images == "skip"),
            augment=config.augment,
            mixup_alpha=config.mixup_alpha,
            cutmix_alpha=config.cutmix_alpha,
        ),
        checkpoints=Checkpoints(
            paths.part(config.workdir, "checkpoints"),
            tf.train.Checkpoint(optimizer=optimizer, **classifier.checkpoint_items()),
            identity,
            config.keep_checkpoints,
            reporter.warn,
            upload_queue=upload_queue if storage.is_remote(config.workdir) else None,
            publishes=workers.is_chief,
        ),
        upload_queue=upload_queue,
        identity=identity,
        workers=workers,
        ledger=ledger,
        kubeflow=kubeflow_status.status_server(os.environ) if workers.is_chief else None,
    )


def load_backbone(config: Config) -> Backbone | FrozenBackbone:
    """Load the backbone that `config` names; see backbone.load for errors."""
    options: dict[str, Any] = {
        "image_size": config.image_size,
        "value_range": value_range(config.image_range),
        "cache_dir": config.cache_dir,
    }
    if config.freeze_backbone:
        return frozen_backbone.load(config.backbone, **options)
    return backbones.load(
        config.backbone,
        trainable=True,
        batch_norm_training=not config.freeze_batch_norm,
        **options,
    )
