"""Decoding that survives broken images, and names them.

Under op determinism tf.data takes the parallelism from every map with a stateful op in it, and the
prefetching from the whole pipeline if such an op is not one of the few it knows. So both ways of
catching an error inside of a map are out: a nested data set read by `get_single_element` (measured:
half the images a second on two cores) and a `py_function` (the same, and the GIL besides). What
stays parallel is an interleave whose element is a data set of two: the decoded image, and what
takes its place. The first to come without an error is taken. It costs 0.1 ms an image and core.
Python is entered for broken images only, through a stateless op.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.data.decode import decode_and_resize
from trainer.errors import UserError

Example = dict[str, tf.Tensor]

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
    decode_whole = tf.function(lambda encoded: decode_and_resize(encoded, image_size))

    def explain(encoded: bytes, example_id: bytes, step: np.int64) -> np.bytes_:
        name = example_id.decode("utf-8", "replace")
        try:
            decode_whole(tf.constant(encoded))
        except tf.errors.OpError as error:
            reason = _reason(error)
        else:
            reason = "it decodes in whole but not in part"
        bad_images.report(name, reason, int(step))
        return np.bytes_(_describe(name, reason).encode())

    def attempts(example: Example) -> tf.data.Dataset:
        encoded, example_id = example["encoded"], example["id"]

        def decoded() -> tuple[tf.Tensor, tf.Tensor]:
            image = transform(decode_and_resize(encoded, image_size, window(example)), example)
            return tf.ensure_shape(image, shape), tf.constant("")

        def placeholder() -> tuple[tf.Tensor, tf.Tensor]:
            step = example.get("step", tf.constant(_NO_STEP, tf.int64))
            is_padding = tf.equal(example_id, b"")
            problem = tf.cond(
                is_padding,
                lambda: tf.constant("padding"),
                lambda: tf.numpy_function(
                    explain, [encoded, example_id, step], tf.string, stateful=False
                ),
            )
            return tf.zeros(shape), tf.ensure_shape(problem, [])

        # from_tensor_slices and not from_tensors: tf.data knows that it has no state.
        both = tf.data.Dataset.from_tensor_slices([True, False])
        both = both.map(lambda first: tf.cond(first, decoded, placeholder))
        first_good = both.ignore_errors(log_warning=False).take(1)
        rest = {key: value for key, value in example.items() if key != "encoded"}
        return first_good.map(lambda image, problem: (rest, image, problem))

    def finish(rest: Example, image: tf.Tensor, problem: tf.Tensor) -> Example:
        is_good = tf.equal(problem, "")
        if not bad_images.skip:
            fine = is_good | tf.equal(problem, "padding")
            # Fails with the problem as its message, without state (see image_formats).
            zero = tf.strings.to_number(tf.where(fine, "0", problem), tf.int32)
            is_good &= tf.equal(zero, 0)
        return {**rest, "image": image, "is_good": is_good}

    loaded = examples.interleave(
        attempts,
        cycle_length=parallelism,
        block_length=1,
        num_parallel_calls=parallelism,
        deterministic=True,
    )
    return loaded.map(finish)


def _describe(example_id: str, reason: str) -> str:
    return f"the image {example_id} cannot be decoded: {reason}"


def _reason(error: tf.errors.OpError) -> str:
    """TensorFlow's message without its own whereabouts."""
    text = error.message.split("\n")[0]
    text = re.sub(r"\{\{[^}]*\}\}|\[Op:[^]]*\]", "", text)
    text = text.replace("StringToNumberOp could not correctly convert string:", "")
    return " ".join(text.split())
