"""The classifier: a backbone and the head that is trained on it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from trainer.models.backbone import Backbone
from trainer.models.frozen_backbone import FrozenBackbone


class Head(tf.Module):
    """Dense layers with ReLU between them, from features to logits.

    The trainer's default, one hidden layer of 128 units, has 164,355 parameters on 1,280
    features and three classes. A checkpoint names its variables `hidden/<i>/kernel`,
    `hidden/<i>/bias`, `logits/kernel` and `logits/bias`.
    """

    def __init__(
        self,
        num_features: int,
        hidden_units: Sequence[int],
        num_classes: int,
        dropout: float = 0.0,
        seed: int = 0,
    ):
        """Create the variables, in the scope of the strategy that trains them.

        Args:
            num_features: the width of the features.
            hidden_units: the width of each hidden layer; empty for a linear classifier.
            num_classes: the number of logits.
            dropout: the dropout rate before each layer, in [0, 1).
            seed: of the initial values (Glorot uniform; biases are zero): equal seeds, equal heads.
        """
        super().__init__(name="head")
        self._dropout = dropout
        self.hidden = [
            tf_keras.layers.Dense(
                units,
                activation="relu",
                kernel_initializer=tf_keras.initializers.GlorotUniform(seed + index),
                name=f"hidden_{index}",
            )
            for index, units in enumerate(hidden_units)
        ]
        # Logits in half precision would lose small differences of the loss.
        self.logits = tf_keras.layers.Dense(
            num_classes,
            kernel_initializer=tf_keras.initializers.GlorotUniform(seed + len(self.hidden)),
            dtype="float32",
            name="logits",
        )
        width = num_features
        for layer in self.layers:
            layer.build([None, width])
            width = layer.units

    @property
    def layers(self) -> list[Any]:
        """The Dense layers, from features to logits."""
        return [*self.hidden, self.logits]

    @property
    def trainable_variables(self) -> tuple[tf.Variable, ...]:
        """Kernel and bias of each layer, from features to logits: all variables."""
        return tuple(v for layer in self.layers for v in layer.trainable_variables)

    def __call__(
        self,
        features: tf.Tensor,
        training: bool = False,
        seed: tf.Tensor | None = None,
        positions: tf.Tensor | None = None,
        global_batch_size: int | None = None,
    ) -> tf.Tensor:
        """Compute logits.

        The dropout masks of a step are a function of `seed` for the global batch, of which each
        replica takes the rows of its examples. So they depend neither on how the batch is divided
        nor on earlier steps, and no generator's state has to be saved.

        Args:
            features: float [batch, num_features].
            training: a Python boolean; whether to apply dropout.
            seed: integer [2], (the run's seed, step). This and the next two are needed if
                `training` is True and the dropout rate is not 0.
            positions: integer [batch], the position of each example in the global batch.
            global_batch_size: the number of examples in the global batch.

        Returns:
            float32 [batch, num_classes], whatever the mixed precision policy.

        Raises:
            ValueError: the arguments that dropout needs are missing.
        """
        x = features
        for index, layer in enumerate(self.layers):
            if training and self._dropout:
                if seed is None or positions is None or global_batch_size is None:
                    raise ValueError("dropout needs seed, positions and global_batch_size")
                noise = tf.random.stateless_uniform(
                    [global_batch_size, x.shape[-1]],
                    tf.cast(seed, tf.int64) + tf.constant([index, 0], tf.int64),
                    # The same numbers on every kind of device.
                    alg="philox",
                )
                kept = tf.cast(tf.gather(noise, positions) >= self._dropout, x.dtype)
                x = x * kept / (1.0 - self._dropout)
            x = layer(x)
        return x


@dataclasses.dataclass(frozen=True, eq=False)
class Classifier:
    """From images to logits.

    Attributes:
        backbone: frozen or trainable; see `frozen_backbone.load` and `backbone.load`.
        head: made for the backbone's `num_features`.
    """

    backbone: Backbone | FrozenBackbone
    head: Head

    def __call__(self, images: tf.Tensor, training: bool = False, **dropout: Any) -> tf.Tensor:
        """Compute logits.

        Args:
            images: float [batch, height, width, 3], RGB in [0, 1], of the backbone's `image_size`.
            training: a Python boolean.
            **dropout: `seed`, `positions` and `global_batch_size`; see `Head`.

        Returns:
            float32 [batch, num_classes].
        """
        return self.head(self.backbone(images, training), training, **dropout)

    @property
    def trainable_variables(self) -> tuple[tf.Variable, ...]:
        """The head's, then those of a backbone in fine-tuning."""
        return self.head.trainable_variables + self.backbone.trainable_variables

    @property
    def num_params(self) -> int:
        """The number of parameters of all variables, moving statistics included."""
        return _count(self.head.trainable_variables) + self.backbone.num_params

    @property
    def num_trainable_params(self) -> int:
        """The number of parameters that training may change."""
        return _count(self.trainable_variables)

    def checkpoint_items(self) -> dict[str, Any]:
        """Return the objects of a checkpoint by name: the head, and the backbone in fine-tuning.

        A frozen backbone is identified by its digest instead.
        """
        items: dict[str, Any] = {"head": self.head}
        if isinstance(self.backbone, Backbone) and self.backbone.trainable_variables:
            items["backbone"] = self.backbone.module
        return items

    def summary(self) -> str:
        """Return a table of the layers like Keras's `model.summary()`."""
        rows = [
            (
                "backbone (SavedModel)",
                f"(None, {self.backbone.num_features})",
                f"{self.backbone.num_params:,}",
            )
        ]
        for layer in self.head.layers:
            shape = f"(None, {layer.units})"
            rows.append((f"{layer.name} (Dense)", shape, f"{layer.count_params():,}"))
        total, trainable = self.num_params, self.num_trainable_params
        return "\n".join(
            [
                f'Model: "{self.backbone.handle}"',
                "_" * 65,
                _row("Layer (type)", "Output Shape", "Param #"),
                "=" * 65,
                *(_row(*row) for row in rows),
                "=" * 65,
                f"Total params: {total:,}",
                f"Trainable params: {trainable:,}",
                f"Non-trainable params: {total - trainable:,}",
                "_" * 65,
            ]
        )


def _row(layer: str, shape: str, params: str) -> str:
    return f" {layer:<27} {shape:<25} {params}"


def _count(variables: Sequence[tf.Variable]) -> int:
    return sum(int(np.prod(v.shape)) for v in variables)
