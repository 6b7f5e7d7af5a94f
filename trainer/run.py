"""A run put together: data, devices, model, checkpoints; nothing of it depends on a step."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Iterator
from typing import Any

import tensorflow as tf
import tf_keras

from trainer import optimizers, steps
from trainer import strategy as strategies
from trainer.checkpoints import Checkpoints
from trainer.cluster import Cluster
from trainer.config import Config, value_range
from trainer.console import Voice
from trainer.data import catalog
from trainer.data.decode_checked import BadImages
from trainer.data.input_pipeline import InputPipeline
from trainer.data.source import Source
from trainer.errors import UserError
from trainer.evaluate import Evaluator
from trainer.models import backbone as backbones
from trainer.models import inference_graph
from trainer.models.classifier import Classifier, Head
from trainer.models.handles import EMBEDDED, digest, resolve
from trainer.preemption import StopRequest
from trainer.workers import Workers, gather


@dataclasses.dataclass
class Run:
    """What the stages of a run share.

    Attributes:
        precision: of the training's arithmetic, one of config.PRECISIONS but not `auto`.
        identity: what a resumed run must share with the one that it resumes.
    """

    config: Config
    voice: Voice
    source: Source
    plan: steps.Plan
    strategy: tf.distribute.Strategy
    precision: str
    stop: StopRequest
    classifier: Classifier
    optimizer: tf_keras.optimizers.Optimizer
    pipeline: InputPipeline
    checkpoints: Checkpoints
    identity: dict[str, Any]
    workers: Workers
    _evaluators: dict[str, Evaluator] = dataclasses.field(default_factory=dict)

    def training_batches(self, first_step: int) -> Iterator[Any]:
        """Global batches of training examples from step `first_step` on, without end."""
        replicas = self.strategy.num_replicas_in_sync // self.workers.cluster.num_workers
        shards = self.workers.owned_shards(self.config.logical_shards)

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return self.pipeline.training_batches(
                self.config.train_split, shards, replicas, first_step
            )

        return iter(self.strategy.distribute_datasets_from_function(batches))

    def evaluator(self, split: str) -> Evaluator:
        """Scores `split` with the classifier's weights of the moment; made, and traced, once."""
        if split not in self._evaluators:
            self._evaluators[split] = self._new_evaluator(split)
        return self._evaluators[split]

    def _new_evaluator(self, split: str) -> Evaluator:
        replicas = self.strategy.num_replicas_in_sync

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            owned = self.workers.owned_replicas(replicas)
            return self.pipeline.evaluation_batches(split, owned, replicas)

        return Evaluator(
            self.strategy,
            lambda images: self.classifier(images, training=False),
            iter(self.strategy.distribute_datasets_from_function(batches)),
            self.pipeline.evaluation_steps(split, replicas),
            self.source.class_names,
            lambda: self.stop.requested,
            self.workers,
        )


def build(config: Config, voice: Voice, cluster: Cluster, held: socket.socket | None) -> Run:
    """Open the data, meet the other workers, choose the devices, make the model.

    Args:
        config: the run.
        voice: told what a person should know.
        cluster: the workers.
        held: this worker's port where there are others; see preflight.hold_port.

    Raises:
        UserError: the data, the devices or the backbone cannot work, or the workers differ.
        PeerLost: another worker does not come.
    """
    source = catalog.open_source(
        config, lambda done, total: voice.advance("drawing leaves", done, total)
    )
    num_train = source.num_examples(config.train_split)
    plan = steps.plan(config, num_train)
    num_validation = source.num_examples(config.validation_split)
    for split in filter(None, (config.validation_split, config.test_split)):
        if not source.num_examples(split):
            raise UserError(f"{source.name}: no image in the split {split!r}")
    name = source.name.removeprefix("--dataset=")
    voice.say(
        f"data       {name}: {num_train:,} training and {num_validation:,} validation images in "
        f"{len(source.class_names)} classes"
    )
    stop = StopRequest()
    stop.install()
    facts = {
        "class_names": ",".join(source.class_names),
        "num_train_examples": str(num_train),
        "num_validation_examples": str(num_validation),
        "dataset_digest": source.digest[:16],
    }
    if held is not None:
        path = "" if config.backbone == EMBEDDED else resolve(config.backbone, config.cache_dir)
        facts["backbone_digest"] = digest(config.backbone, path)[:16]
    workers = gather(config, cluster, held, facts, stop, voice.warn)
    with workers.together():
        return _assemble(config, voice, source, plan, stop, workers)


def _assemble(
    config: Config,
    voice: Voice,
    source: Source,
    plan: steps.Plan,
    stop: StopRequest,
    workers: Workers,
) -> Run:
    strategy = strategies.build(
        config.strategy, config.logical_shards, workers.cluster, config.all_reduce_alg
    )
    stop.install()  # anew: TensorFlow has taken the signals over
    damaged = source.damaged_file()
    if damaged:
        raise UserError(f"{damaged}: gone, or not readable to its end; fetch or prepare it anew")
    with strategy.scope():
        backbone = backbones.load(
            config.backbone,
            trainable=not config.freeze_backbone,
            batch_norm_training=not config.freeze_batch_norm,
            image_size=config.image_size,
            value_range=value_range(config.image_range),
            cache_dir=config.cache_dir,
        )
        head = Head(
            backbone.num_features,
            config.hidden_units,
            len(source.class_names),
            dropout=config.dropout,
            seed=config.seed,
        )
        fast_features = inference_graph.freeze(backbone) if config.freeze_backbone else None
        classifier = Classifier(backbone, head, fast_features)
        optimizer = optimizers.build(config, plan.num_steps)
        optimizer.build(classifier.trainable_variables)
    precision = strategies.choose_precision(
        config.precision,
        config.freeze_backbone,
        len(tf.config.list_logical_devices("GPU")),
        strategies.cpu_flags(),
    )
    voice.say(
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
        voice=voice,
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
            os.path.join(config.workdir, "checkpoints"),
            tf.train.Checkpoint(optimizer=optimizer, **classifier.checkpoint_items()),
            identity,
            config.keep_checkpoints,
            voice.warn,
            publishes=workers.is_chief,
        ),
        identity=identity,
        workers=workers,
    )
