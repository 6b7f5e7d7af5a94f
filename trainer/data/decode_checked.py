"""Decoding that survives broken images, and names them.

A broken image must neither end the pipeline nor disappear from it. Each example goes through the
parallel map twice: as a marker, which decodes nothing and cannot fail, and as an image, which is
dropped if it fails. A marker that is followed by another marker has lost its image. Python is
entered only then, to tell why. It costs 0.2 to 0.4 ms of one core an image.

Other ways were measured. Under op determinism tf.data takes the parallelism from every map that
holds a stateful op, which rules out a nested data set read by `get_single_element` and any ordinary
`py_function`. An interleave of data sets that hold one image each stays parallel, but starts a
function of this size anew for each image: 1 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.data.decode import decode_and_resize
from trainer.errors import UserError
from trainer.tensorflow_errors import reason

Example = dict[str, tf.Tensor]

# Nothing here needs AutoGraph, and translating it costs seconds at the start of a run.
_as_written = tf.autograph.experimental.do_not_convert

# Before any step: for data that no training step owns.
_NO_STEP = -1


class BadImages:
    """What is known of the images that could not be decoded; safe to use from many threads.

    Attributes:
        skip: leave bad images out (weight 0) instead of ending the run.
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self._lock = threading.Lock()
        self._met: dict[str, tuple[int, str]] = {}

    def report(self, example_id: str, reason: str, step: int = _NO_STEP) -> None:
        """Records a bad image that is met at `step`; the earliest step is kept."""
        with self._lock:
            known_step, _ = self._met.get(example_id, (step, ""))
            self._met[example_id] = (min(step, known_step), reason)

    def before_step(self, step: int) -> dict[str, str]:
        """Reason by id, in the order of ids, of the bad images met before `step`.

        The pipeline runs ahead of the training: what it has met already for later steps is not
        part of the state at this one.
        """
        with self._lock:
            return {key: why for key, (met, why) in sorted(self._met.items()) if met < step}

    def user_error(self, error: tf.errors.OpError) -> UserError | None:
        """What to tell the user if an iterator raised `error` because of a bad image, else None."""
        with self._lock:
            for example_id, (_, reason) in sorted(self._met.items()):
                if _describe(example_id, reason) in str(error):
                    return UserError(
                        f"{_describe(example_id, reason)}. Mend or remove the file, or leave such"
                        " images out with --bad_images=skip."
                    )
        return None


def load_images(
    examples: tf.data.Dataset,
    image_size: tuple[int, int],
    bad_images: BadImages,
    *,
    parallelism: int,
    window: Callable[[Example], tf.Tensor | None] = lambda example: None,
    transform: Callable[[tf.Tensor, Example], tf.Tensor] = lambda image, example: image,
) -> tf.data.Dataset:
    """Decodes the images of a data set in parallel, in its order, deterministically.

    Args:
        examples: {"encoded": string scalar; "id": string scalar, empty for padding; optionally
            "step": int64 scalar, the step that an example belongs to; and others}.
        image_size: (height, width).
        bad_images: told of each image that cannot be decoded; its `skip` decides what follows.
        parallelism: images decoded at a time; the number of cores.
        window: the crop of an example, see decode_and_resize.
        transform: what becomes of a decoded image; float32 [height, width, 3] to the same.

    Returns:
        The same without "encoded", with "image" float32 [height, width, 3] and "is_good" bool
        scalar. Padding and skipped images are zeros and not good.

    Raises (from the iterator, without `skip`):
        InvalidArgumentError: an image cannot be decoded; see BadImages.user_error.
    """
    shape = [*image_size, 3]
    decode_whole = tf.function(
        lambda encoded: decode_and_resize(encoded, image_size), autograph=False
    )

    def explain(encoded: bytes, example_id: bytes, step: np.int64) -> np.bytes_:
        name = example_id.decode("utf-8", "replace")
        try:
            decode_whole(tf.constant(encoded))
        except tf.errors.OpError as error:
            problem = reason(error)
        else:
            problem = "it decodes in whole but not in part"
        bad_images.report(name, problem, int(step))
        return np.bytes_(_describe(name, problem).encode())

    @_as_written
    def twice(example: Example) -> tuple[Example, tf.Tensor]:
        return {key: tf.stack([value, value]) for key, value in example.items()}, [True, False]

    @_as_written
    def load(example: Example, is_marker: tf.Tensor) -> tuple[Example, tf.Tensor, tf.Tensor]:
        def decoded() -> tf.Tensor:
            image = decode_and_resize(example["encoded"], image_size, window(example))
            return transform(image, example)

        idle = is_marker | tf.equal(example["id"], b"")
        image = tf.cond(idle, lambda: tf.zeros([0, 0, 3]), decoded)
        return example, is_marker, image

    @_as_written
    def match(
        before: tuple[Example, tf.Tensor], element: tuple[Example, tf.Tensor, tf.Tensor]
    ) -> tuple[tuple[Example, tf.Tensor], tuple[tf.Tensor, Example]]:
        """Tells of the last marker if its image has not come by the time of the next one."""
        marked, is_open = before
        example, is_marker, image = element
        is_lost = is_open & is_marker

        def lost() -> tuple[Example, tf.Tensor]:
            step = marked.get("step", tf.constant(_NO_STEP, tf.int64))
            problem = tf.numpy_function(
                explain, [marked["encoded"], marked["id"], step], tf.string, stateful=False
            )
            # Fails with the problem as its message, without state (see image_formats).
            message = tf.where(bad_images.skip, "0", tf.ensure_shape(problem, []))
            height = shape[0] + tf.strings.to_number(message, tf.int32)
            return _without_bytes(marked), tf.zeros([height, *shape[1:]])

        def as_it_is() -> tuple[Example, tf.Tensor]:
            is_padding = tf.equal(example["id"], b"") & ~is_marker
            filled = tf.cond(is_padding, lambda: tf.zeros(shape), lambda: image)
            return _without_bytes(example), filled

        is_good = ~is_lost & tf.not_equal(example["id"], b"")
        told, image = tf.cond(is_lost, lost, as_it_is)
        told = {**told, "image": image, "is_good": is_good}
        return (example, is_marker), (is_lost | ~is_marker, told)

    @_as_written
    def finish(_: tf.Tensor, example: Example) -> Example:
        return {**example, "image": tf.ensure_shape(example["image"], shape)}

    nothing = tf.nest.map_structure(
        lambda spec: tf.zeros(spec.shape, spec.dtype), examples.element_spec
    )
    # Nothing follows the last image: one more marker tells whether it came.
    end = tf.data.Dataset.from_tensors((nothing, tf.constant(True)))
    elements = examples.map(twice).unbatch().concatenate(end)
    # Half of the calls are markers', done at once: twice as many keep the cores on images.
    elements = elements.map(load, num_parallel_calls=2 * parallelism, deterministic=True)
    elements = elements.ignore_errors(log_warning=False)
    matched = elements.scan((nothing, tf.constant(False)), match)
    loaded = matched.filter(_as_written(lambda is_due, *_: is_due)).map(finish)
    # A file that fails to be read, and not to be decoded, must be heard of, and ignore_errors
    # would pass over it. The guard reads the same examples and ignores nothing.
    guard = examples.map(_as_written(lambda example: example["id"]))
    return tf.data.Dataset.zip(guard, loaded).map(_as_written(lambda _, example: example))


def _without_bytes(example: Example) -> Example:
    return {key: value for key, value in example.items() if key != "encoded"}


def _describe(example_id: str, reason: str) -> str:
    return f"the image {example_id} cannot be decoded: {reason}"
