"""A pretrained network from images to features: a reusable SavedModel as on TF Hub.

The interface is https://www.tensorflow.org/hub/reusable_saved_models with the signature of
https://www.tensorflow.org/hub/common_signatures/images. Properties that a model does not state are
found by calling it: `load` refuses a model that could not be trained on before a run spends time.
"""

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.models import handles, saved_model, training_graph
from trainer.process.errors import UserError


@dataclasses.dataclass(frozen=True, eq=False)
class Backbone:
    """A loaded network. Build it with `load`.

    Attributes:
        handle: as the user gave it.
        path: the directory of the SavedModel that was loaded, local or gs://.
        digest: 64 hexadecimal digits that identify its function; see `handles.digest`.
        image_size: (height, width) of the images it is called on.
        value_range: the lowest and highest input value that the network expects.
        num_features: the width of its output.
        batch_norm_training: whether `training=True` reaches the network.
        module: the loaded object, for checkpoints and for export.
        variables: all of its variables.
        trainable_variables: those that training may change; empty if frozen.
        regularization_losses: functions without arguments, each returning a scalar loss that the
            model's publisher adds in fine-tuning; empty if frozen.
    """

    handle: str
    path: str
    digest: str
    image_size: tuple[int, int]
    value_range: tuple[float, float]
    num_features: int
    batch_norm_training: bool
    module: Any = dataclasses.field(repr=False)
    variables: tuple[tf.Variable, ...] = dataclasses.field(repr=False)
    trainable_variables: tuple[tf.Variable, ...] = dataclasses.field(repr=False)
    regularization_losses: tuple[Callable[[], tf.Tensor], ...] = dataclasses.field(repr=False)
    _input_dtype: tf.DType = dataclasses.field(repr=False)
    _takes_training: bool = dataclasses.field(repr=False)
    _training_graph: training_graph.Features | None = dataclasses.field(default=None, repr=False)

    @property
    def num_params(self) -> int:
        """The number of parameters of all variables, moving statistics included."""
        return sum(int(np.prod(variable.shape)) for variable in self.variables)

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Compute features; in a tf.function, under a strategy or eagerly.

        Args:
            images: float [batch, height, width, 3], RGB in [0, 1], of `image_size`. They are
                mapped to `value_range` and to the network's input type here.
            training: a Python boolean. Where it is True and `batch_norm_training` holds, the
                network runs in training mode.

        Returns:
            float32 [batch, num_features].
        """
        if training and self._training_graph is not None:
            return self._training_graph(images, *(v.read_value() for v in self.variables))
        features = self._call_module(images, bool(training and self.batch_norm_training))
        return tf.cast(features, tf.float32)

    def _call_module(self, images: tf.Tensor, training: bool) -> Any:
        low, high = self.value_range
        if (low, high) != (0.0, 1.0):
            images = images * (high - low) + low
        if self._input_dtype.is_integer:
            images = tf.round(images)
        arguments = {"training": training} if self._takes_training else {}
        return self.module(tf.cast(images, self._input_dtype), **arguments)


def load(
    handle: str,
    *,
    trainable: bool,
    batch_norm_training: bool = False,
    image_size: int = 0,
    value_range: tuple[float, float] | None = None,
    cache_dir: str,
) -> Backbone:
    """Load the backbone that `handle` names and check its interface.

    Call it in the scope of the strategy that trains it: it creates the variables.

    Args:
        handle: `efficientnet_lite0`, the https:// address of a TF Hub or Kaggle model, or the
            path (local or gs://) of a SavedModel directory or of an archive of one.
        trainable: whether training may change its variables.
        batch_norm_training: whether a trainable backbone runs in training mode while it is
            trained. Off by default, which keeps the batch normalizations' pretrained statistics
            (and disables the model's dropout): in training mode the statistics are those of a
            replica's part of the batch, which is noisy if small, and makes the result depend on
            the number of replicas. A frozen backbone never does.
        image_size: height and width in pixels; 0 takes the model's own, or 224 without one.
        value_range: the input values that the network expects; None takes [0, 255] for integer
            inputs, else TF Hub's [0, 1].
        cache_dir: a local directory for written, extracted or downloaded models.

    Raises:
        UserError: the handle names nothing readable, or not a backbone; the message has what was
            found, the rule, and a way out.
    """
    path = handles.resolve(handle, cache_dir)
    module = saved_model.load(handle, path)
    spec = saved_model.image_spec(handle, module)
    variables = tuple(getattr(module, "variables", ()))
    trainable_variables = tuple(getattr(module, "trainable_variables", ())) if trainable else ()
    if trainable and not trainable_variables:
        raise UserError(
            f"--backbone={handle}: it has no trainable variables (of {len(variables)} in all), "
            "which fine-tuning needs. Train with --freeze_backbone, or take a model that was saved "
            "with `trainable_variables`."
        )
    backbone = Backbone(
        handle=handle,
        path=path,
        digest=handles.digest(handle, path),
        image_size=saved_model.image_size(handle, spec, image_size),
        value_range=value_range or ((0.0, 255.0) if spec.dtype.is_integer else (0.0, 1.0)),
        num_features=0,
        batch_norm_training=trainable and batch_norm_training,
        module=module,
        variables=variables,
        trainable_variables=trainable_variables,
        regularization_losses=tuple(getattr(module, "regularization_losses", ()))
        if trainable
        else (),
        _input_dtype=spec.dtype,
        _takes_training=handles.import_hub().keras_layer.func_has_training_argument(module),
    )
    backbone = dataclasses.replace(backbone, num_features=_num_features(backbone))
    if trainable and not batch_norm_training:
        # In a separate thread, which is outside of any strategy.
        with ThreadPoolExecutor(max_workers=1) as pool:
            graph = pool.submit(_rewrite, backbone).result()
        backbone = dataclasses.replace(backbone, _training_graph=graph)
    return backbone


def _rewrite(backbone: Backbone) -> training_graph.Features | None:
    """Rewrite the graph for training, of a copy where the backbone's variables are mirrored."""
    copy = backbone
    if any(isinstance(variable, tf.distribute.DistributedValues) for variable in copy.variables):
        module = handles.import_hub().load(backbone.path)
        copy = dataclasses.replace(backbone, module=module, variables=tuple(module.variables))
    return training_graph.rewrite(copy, copy.variables, backbone.image_size)


def _num_features(backbone: Backbone) -> int:
    """Check contract, part three: a gray image gives one row of finite numbers."""
    height, width = backbone.image_size
    gray = tf.fill([2, height, width, 3], 0.5)
    about = f"--backbone={backbone.handle}: called on 2 gray images of {height}x{width} it"
    strategy = tf.distribute.get_strategy()
    call = tf.function(lambda images: backbone._call_module(images, False), autograph=False)
    try:
        # Only a replica can read mirrored variables of a loaded function.
        features = strategy.experimental_local_results(strategy.run(call, args=(gray,)))[0]
    except Exception as error:
        raise UserError(
            f"{about} fails: {saved_model.reason(error)}. A backbone takes a batch of any "
            "number of images; another --image_size may be what it needs."
        ) from error
    if not isinstance(features, tf.Tensor) or features.shape.rank != 2:
        shape = getattr(features, "shape", None)
        found = f"a {type(features).__name__}" if shape is None else f"shape {shape}"
        raise UserError(
            f"{about} returns {found}; a backbone returns one row of features an image, "
            "[batch, features]. Take the 'feature vector' variant of the model."
        )
    if not np.all(np.isfinite(features.numpy())):
        raise UserError(
            f"{about} returns numbers that are not finite. The model is corrupt, or expects other "
            f"values than {backbone.value_range}: set --image_range."
        )
    return int(features.shape[1])
