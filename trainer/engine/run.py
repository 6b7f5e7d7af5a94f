"""A run: data, devices, model, checkpoints, workers; independent of the step."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
import tf_keras

from trainer.data.feature_pipeline import FeaturePipeline, FeatureTable
from trainer.data.input_pipeline import InputPipeline
from trainer.data.ordered_batches import OrderedBatches
from trainer.data.sources.source import Source
from trainer.engine.checkpoints import Checkpoints
from trainer.engine.evaluate import Evaluator
from trainer.engine.feature_cache import FeatureCache
from trainer.engine.feature_extraction import Extraction
from trainer.engine.kubeflow_status import StatusServer
from trainer.graph.plain_pipeline import skip_determinism_check
from trainer.models.classifier import Classifier
from trainer.process.console import Reporter
from trainer.process.errors import UserError
from trainer.process.stop_signal import StopRequest
from trainer.settings import plan as steps
from trainer.settings.config import Config
from trainer.storage.upload_queue import UploadQueue
from trainer.workdir.goodput import Ledger
from trainer.workers.group import WorkerGroup

# Iterators of endless batches, kept until the process ends: to destroy one, TensorFlow joins its
# tuning thread, which can miss its cancellation and sleep for up to a minute.
_kept: list[Iterator[Any]] = []


def release_batches() -> None:
    """Release all iterators in the background, for a process that outlives the run."""
    kept, _kept[:] = list(_kept), []
    threading.Thread(target=kept.clear, name="release", daemon=True).start()


@dataclasses.dataclass
class Run:
    """What the phases of a run share.

    Attributes:
        precision: of the training's arithmetic, one of choices.PRECISIONS except `auto`.
        identity: what a resumed run must share with the one that it resumes.
        ledger: records where the time goes.
        kubeflow: the status server, if there is one.
        features: replace the training images; see open_features.
        evaluation_features: replace the images of the validation split.
    """

    config: Config
    reporter: Reporter
    source: Source
    plan: steps.Plan
    strategy: tf.distribute.Strategy
    precision: str
    stop: StopRequest
    classifier: Classifier
    optimizer: tf_keras.optimizers.Optimizer
    pipeline: InputPipeline
    checkpoints: Checkpoints
    upload_queue: UploadQueue
    identity: dict[str, Any]
    workers: WorkerGroup
    ledger: Ledger
    kubeflow: StatusServer | None = None
    features: FeaturePipeline | None = None
    evaluation_features: FeaturePipeline | None = None
    _evaluators: dict[str, Evaluator] = dataclasses.field(default_factory=dict)
    _files_are_checked: bool = False

    def check_files(self) -> None:
        """Check the data's files once, before a run spends time on them.

        Raises:
            UserError: a file is missing or cannot be read to its end.
        """
        if self._files_are_checked:
            return
        if corrupt := self.source.corrupt_file():
            raise UserError(
                f"{corrupt}: missing, or not readable to its end; fetch or prepare it again"
            )
        self._files_are_checked = True

    def open_features(self) -> None:
        """Read or compute the features for training and evaluation, if the run caches any.

        Raises:
            UserError, Preempted: see FeatureCache.table.
        """
        config, backbone = self.config, self.classifier.backbone
        if not config.caches_features:
            return
        cache = FeatureCache(
            root=config.feature_cache_dir,
            flag=config.feature_cache_flag,
            copies=f"{config.cache_dir}/features",
            extraction=Extraction(
                pipeline=self.pipeline,
                strategy=self.strategy,
                features=backbone,
                stop=self.stop,
                reporter=self.reporter,
                workers=self.workers,
                before_reading=self.check_files,
            ),
            computed_by={"backbone": backbone.digest, "value_range": list(backbone.value_range)},
            num_features=backbone.num_features,
        )
        # Evaluation uses the export's arithmetic and no augmentation, so its features differ from
        # those of training even for the same split.
        evaluated = cache.table(config.validation_split, 0, "float32")
        trained = cache.table(config.train_split, config.feature_views, self.precision)
        self.evaluation_features = self._feature_pipeline(evaluated)
        self.features = self._feature_pipeline(trained)

    def _feature_pipeline(self, table: FeatureTable) -> FeaturePipeline:
        pipeline = self.pipeline
        return FeaturePipeline(
            pipeline.source,
            pipeline.global_batch_size,
            pipeline.num_logical_shards,
            pipeline.seed,
            table,
        )

    def raise_if_stopping(self) -> None:
        """Stop on a signal between batches after the loop, where no step synchronizes the workers.

        Only the chief raises: the other workers wait for it and end with it.

        Raises:
            Preempted: a signal came.
        """
        if self.workers.is_chief and self.stop.requested:
            raise self.stop.error("while exporting; the same command exports")

    def training_batches(self, first_step: int) -> Iterator[Any]:
        """Return endless global batches of training examples from step `first_step` on."""
        replicas = self.strategy.num_replicas_in_sync // self.workers.cluster.num_workers
        shards = self.workers.owned_shards(self.config.logical_shards)
        pipeline: OrderedBatches = self.features or self.pipeline

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return pipeline.training_batches(self.config.train_split, shards, replicas, first_step)

        return self._endless(batches)

    def evaluator(self, split: str) -> Evaluator:
        """Return the evaluator of the current weights on `split`; built and traced once."""
        if split not in self._evaluators:
            self._evaluators[split] = self._new_evaluator(split)
        return self._evaluators[split]

    def _new_evaluator(self, split: str) -> Evaluator:
        replicas = self.strategy.num_replicas_in_sync
        owned = self.workers.owned_replicas(replicas)
        num_examples = self.source.num_examples(split)
        pipeline: OrderedBatches = self.pipeline
        logits: Callable[[tf.Tensor], tf.Tensor] = self.classifier
        if self.evaluation_features is not None and split == self.config.validation_split:
            pipeline, logits = self.evaluation_features, self.classifier.head

        def batches(context: tf.distribute.InputContext) -> tf.data.Dataset:
            return pipeline.evaluation_batches(split, owned, replicas)

        return Evaluator(
            self.strategy,
            logits,
            self._endless(batches),
            pipeline.evaluation_steps(split, replicas),
            self.source.class_names,
            lambda: self.stop.requested,
            self.workers,
            pipeline.evaluation_indices(split, owned, replicas),
            num_examples,
        )

    def _endless(
        self, batches: Callable[[tf.distribute.InputContext], tf.data.Dataset]
    ) -> Iterator[Any]:
        with skip_determinism_check():
            _kept.append(iter(self.strategy.distribute_datasets_from_function(batches)))
        return _kept[-1]
