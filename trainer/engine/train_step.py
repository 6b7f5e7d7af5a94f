"""The training step: forward, backward, one all-reduce, update; and a loop of steps."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from trainer.data.sources.source import Source
from trainer.models.classifier import Classifier
from trainer.settings.config import Config
from trainer.workdir.state import StepMetrics


class TrainStep:
    """Runs several training steps of `classifier` in one call of a tf.function.

    Args:
        config: uses its `seed`, `global_batch_size`, `label_smoothing` and `gradient_clip_norm`.
        strategy: where it runs.
        classifier: the model to train.
        optimizer: built for the classifier's trainable variables.
        class_weights: float32 [classes], factors of the examples' losses.
        from_features: whether a batch's "input" are features instead of images.
    """

    def __init__(
        self,
        config: Config,
        strategy: tf.distribute.Strategy,
        classifier: Classifier,
        optimizer: tf_keras.optimizers.Optimizer,
        class_weights: np.ndarray,
        from_features: bool = False,
    ) -> None:
        self._label_smoothing = config.label_smoothing
        self._clip_norm = config.gradient_clip_norm
        self._batch_size = config.global_batch_size
        self._seed = config.seed
        self._strategy = strategy
        self._classifier = classifier
        self._forward = classifier.head if from_features else classifier
        is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
        self._times_input = not (from_features or is_tpu)
        self._optimizer = optimizer
        self._scales_losses = hasattr(optimizer, "get_scaled_loss")  # as float16 needs it
        self._class_weights = tf.constant(class_weights, tf.float32)
        self._run = tf.function(self._many_steps, autograph=False)

    def run(self, batches: Any, first_step: int, num_steps: int) -> tuple[list[StepMetrics], float]:
        """Run steps `first_step` … `first_step + num_steps - 1` on the next batches.

        Returns:
            A row a step, up to the first loss that is not finite; and the seconds that the steps
            waited for their batches.
        """
        steps = tf.constant(first_step, tf.int64), tf.constant(num_steps, tf.int64)
        rows, done, waited = self._run(batches, *steps)
        return [StepMetrics(*row) for row in rows.numpy()[: int(done)].tolist()], float(waited)

    def _many_steps(
        self, batches: Any, first_step: tf.Tensor, num_steps: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        no_rows = tf.TensorArray(
            tf.float32, tf.cast(num_steps, tf.int32), element_shape=[len(StepMetrics._fields)]
        )

        def more(
            done: tf.Tensor, is_finite: tf.Tensor, waited: tf.Tensor, rows: tf.TensorArray
        ) -> tf.Tensor:
            return (done < num_steps) & is_finite

        def step(
            done: tf.Tensor, is_finite: tf.Tensor, waited: tf.Tensor, rows: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.TensorArray]:
            asked = self._clock()
            batch = next(batches)
            waited += self._clock() - asked
            outputs = self._strategy.run(self._replica_step, (batch, first_step + done))
            # All-reduced: each replica has the same row.
            row = self._strategy.experimental_local_results(outputs)[0]
            rows = rows.write(tf.cast(done, tf.int32), row)
            return done + 1, tf.math.is_finite(row[0]), waited, rows

        begin = tf.constant(0, tf.int64), tf.constant(True), tf.constant(0.0, tf.float64), no_rows
        done, _, waited, rows = tf.while_loop(more, step, begin, parallel_iterations=1)
        return rows.stack(), done, waited

    def _clock(self) -> tf.Tensor:
        """Return seconds, float64 scalar, in the order of the step's other stateful ops.

        It calls Python, 20 µs, since op determinism refuses tf.timestamp. Not for cached features,
        whose steps are short, nor on a TPU, whose host may be another machine.
        """
        if not self._times_input:
            return tf.constant(0.0, tf.float64)
        return tf.ensure_shape(tf.numpy_function(time.monotonic, [], tf.float64), [])

    def _replica_step(self, batch: dict[str, tf.Tensor], step: tf.Tensor) -> tf.Tensor:
        variables = self._classifier.trainable_variables
        targets, weights = batch["target"], batch["weight"]
        with tf.GradientTape() as tape:
            logits = self._forward(
                batch["input"],
                training=True,
                seed=tf.stack([tf.constant(self._seed, tf.int64), step]),
                positions=batch["position"],
                global_batch_size=self._batch_size,
            )
            losses = tf.nn.softmax_cross_entropy_with_logits(self._smooth(targets), logits)
            losses *= weights * tf.linalg.matvec(targets, self._class_weights)
            loss_sum = tf.reduce_sum(losses)
            objective = loss_sum + self._regularization()
            if self._scales_losses:
                objective = self._optimizer.get_scaled_loss(objective)
        gradients = tape.gradient(
            objective, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )
        if self._scales_losses:
            gradients = self._optimizer.get_unscaled_gradients(gradients)
        hits = tf.equal(tf.argmax(logits, -1), tf.argmax(targets, -1))
        num_correct = tf.reduce_sum(tf.cast(hits, tf.float32) * weights)

        # One all-reduce for gradients and figures.
        context = tf.distribute.get_replica_context()
        sums = context.all_reduce(
            tf.distribute.ReduceOp.SUM,
            [*gradients, tf.stack([loss_sum, num_correct, tf.reduce_sum(weights)])],
        )
        figures = sums.pop()
        gradients = [gradient / tf.maximum(figures[2], 1.0) for gradient in sums]
        norm = tf.linalg.global_norm(gradients)
        if self._clip_norm:
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm, use_norm=norm)
        if self._scales_losses:
            # Gradients that overflow in float16 are not applied; the scale is halved instead.
            norm = tf.where(tf.math.is_finite(norm), norm, 0.0)
        self._optimizer.apply_gradients(
            zip(gradients, variables, strict=True), skip_gradients_aggregation=True
        )
        return tf.concat([figures, [norm]], axis=0)

    def _smooth(self, targets: tf.Tensor) -> tf.Tensor:
        """Smooth labels: Szegedy et al., 2016 (arXiv:1512.00567), section 7."""
        num_classes = tf.cast(tf.shape(targets)[-1], tf.float32)
        return targets * (1 - self._label_smoothing) + self._label_smoothing / num_classes

    def _regularization(self) -> tf.Tensor:
        """Return this replica's part of the loss that the backbone's publisher adds to the mean."""
        losses = [loss() for loss in self._classifier.backbone.regularization_losses]
        if not losses:
            return tf.constant(0.0)
        replicas = self._strategy.num_replicas_in_sync
        return tf.add_n(losses) * (self._batch_size / replicas)


def balanced_class_weights(counts: np.ndarray) -> np.ndarray:
    """Return weights, float32 [classes], inverse to the class frequencies, with a mean of 1 over
    the examples. King and Zeng, Logistic Regression in Rare Events Data, 2001.
    """
    return (counts.sum() / (len(counts) * np.maximum(counts, 1))).astype(np.float32)


def class_weights(config: Config, source: Source) -> np.ndarray:
    """Return the weights, float32 [classes], of `--class_weights` for the training split."""
    if config.class_weights == "none":
        return np.ones(len(source.class_names), np.float32)
    return balanced_class_weights(source.label_counts(config.train_split))
