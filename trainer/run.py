"""A run put together: data, devices, model, checkpoints; nothing of it depends on a step."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tf_keras

from trainer import optimizers, steps
from trainer import strategy as strategies
from trainer.checkpoints import Checkpoints
from trainer.config import Config, value_range
from trainer.console import Voice
from trainer.data import catalog
from trainer.data.decode_checked import BadImages
from trainer.data.feature_pipeline import FeaturePipeline, FeatureTable
from trainer.data.input_pipeline import InputPipeline
from trainer.data.ordered_batches import OrderedBatches
from trainer.data.source import Source
from trainer.errors import UserError
from trainer.evaluate import Evaluator
from trainer.feature_cache import FeatureCache
from trainer.models import backbone as backbones
from trainer.models import inference_graph
from trainer.models.classifier import Classifier, Head
from trainer.preemption import StopRequest


@dataclasses.dataclass
class Run:
    """What the stages of a run share.

    Attributes:
        precision: of the training's arithmetic, one of choices.PRECISIONS but not `auto`.
        identity: what a resumed run must share with the one that it resumes.
        features: in the training images' place; see open_features.
        evaluation_features: in the images' place, of the validation split alone.
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
    features: FeaturePipeline | None = None
    evaluation_features: FeaturePipeline | None = None
    _evaluators: dict[str, Evaluator] = dataclasses.field(default_factory=dict)

    def open_features(self) -> None:
        """Read, or compute, the features that the run is trained on and evaluated with, if any.

        Raises:
            UserError, Preempted: see FeatureCache.table.
        """
        config, backbone = self.config, self.classifier.backbone
        if not config.caches_features:
            return
        cache = FeatureCache(
            root=config.feature_cache_dir,
            pipeline=self.pipeline,
            strategy=self.strategy,
            computed_by={"backbone": backbone.digest, "value_range": list(backbone.value_range)},
            features=self.classifier.features,
            num_features=backbone.num_features,
            stop=self.stop,
            voice=self.voice,
        )
        # Evaluated in the arithmetic of whoever loads the export, and without augmentation: other
        # features than those that are trained on, even where it is one split.
        evaluated = cache.table(config.validation_split, 0, "float32")
        trained = cache.table(config.train_split, config.feature_views, self.precision)
        self.evaluation_features = self._feature_pipeline(config.validation_split, evaluated)
        self.features = self._feature_pipeline(config.train_split, trained)

    def _feature_pipeline(self, split: str, table: FeatureTable) -> FeaturePipeline:
        pipeline = self.pipeline
        return FeaturePipeline(
            pipeline.source,
            pipeline.global_batch_size,
            pipeline.num_logical_shards,
            pipeline.seed,
            {split: table},
        )

    def training_batches(self, first_step: int) -> Iterator[Any]:
        """Global batches of training examples from step `first_step` on, without end."""
        replicas = self.strategy.num_replicas_in_sync
        shards = range(self.config.logical_shards)
        pipeline: OrderedBatches = self.features or self.pipeline

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return pipeline.training_batches(self.config.train_split, shards, replicas, first_step)

        return iter(self.strategy.distribute_datasets_from_function(batches))

    def evaluator(self, split: str) -> Evaluator:
        """Scores `split` with the classifier's weights of the moment; made, and traced, once."""
        if split not in self._evaluators:
            self._evaluators[split] = self._new_evaluator(split)
        return self._evaluators[split]

    def _new_evaluator(self, split: str) -> Evaluator:
        replicas = self.strategy.num_replicas_in_sync
        pipeline: OrderedBatches = self.pipeline
        logits: Callable[[tf.Tensor], tf.Tensor] = self.classifier
        if self.evaluation_features is not None and split in self.evaluation_features.tables:
            pipeline, logits = self.evaluation_features, self.classifier.head

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return pipeline.evaluation_batches(split, range(replicas), replicas)

        return Evaluator(
            self.strategy,
            logits,
            iter(self.strategy.distribute_datasets_from_function(batches)),
            pipeline.evaluation_steps(split, replicas),
            self.source.class_names,
            lambda: self.stop.requested,
        )


def build(config: Config, voice: Voice) -> Run:
    """Open the data, choose the devices, make the model.

    Raises:
        UserError: the data, the devices or the backbone cannot work.
    """
    source = catalog.open_source(
        config, lambda done, total: voice.advance("drawing leaves", done, total)
    )
    damaged = source.damaged_file()
    if damaged:
        raise UserError(f"{damaged}: gone, or not readable to its end; fetch or prepare it anew")
    catalog.check_splits(source, config)
    num_train = source.num_examples(config.train_split)
    plan = steps.plan(config, num_train)
    num_validation = source.num_examples(config.validation_split)
    name = source.name.removeprefix("--dataset=")
    voice.say(
        f"data       {name}: {num_train:,} training and {num_validation:,} validation images in "
        f"{len(source.class_names)} classes"
    )
    if unused := steps.warning_of_unused(num_train, config.global_batch_size):
        voice.warn(unused)
    strategy = strategies.build(config.strategy, config.logical_shards)
    stop = StopRequest()
    stop.install()
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
        "num_train_examples": num_train,
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
        ),
        identity=identity,
    )
