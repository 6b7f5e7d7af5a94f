"""Decoding that survives broken images, and names them.

A broken image must neither end the pipeline nor disappear from it. A group of images is a small
data set of its own, in which an image that fails is passed over; which places are missing at its
end is seen, and Python, entered only then, tells why. Nothing but decoding happens there, so a file
that cannot be read still ends the pipeline.

Other ways were measured. Under op determinism tf.data takes the parallelism from every map that
holds a stateful op, which rules out a nested data set read by `get_single_element` and any ordinary
`py_function`. A group of one image starts its functions anew for each image: 1 ms.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from trainer.data.decode.decode_image import decode_and_resize
from trainer.graph.errors import reason
from trainer.graph.plain_pipeline import do_not_convert
from trainer.process.errors import UserError

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

    def must_be_known(self, example_id: str, reason: str) -> None:
        """Records an image that was found to be bad in an earlier run.

        Raises:
            UserError: it may not be left out.
        """
        self.report(example_id, reason)
        if not self.skip:
            raise _refusal(example_id, reason)

    def user_error(self, error: tf.errors.OpError) -> UserError | None:
        """What to tell the user if an iterator raised `error` because of a bad image, else None."""
        with self._lock:
            for example_id, (_, reason) in sorted(self._met.items()):
                if _describe(example_id, reason) in str(error):
                    return _refusal(example_id, reason)
        return None


def load_images(
    groups: tf.data.Dataset,
    image_size: tuple[int, int],
    bad_images: BadImages,
    *,
    parallelism: int,
    window: Callable[[Example], tf.Tensor | None] = lambda example: None,
    transform: Callable[[tf.Tensor, Example], tf.Tensor] = lambda image, example: image,
) -> tf.data.Dataset:
    """Decodes groups of images, some groups at a time, in their order, deterministically.

    Args:
        groups: {"encoded": string [n]; "id": string [n], empty for padding; optionally "step":
            int64 [n], the step that an example belongs to; and others, [n]}.
        image_size: (height, width).
        bad_images: told of each image that cannot be decoded; its `skip` decides what follows.
        parallelism: groups decoded at a time; the number of cores.
        window: the crop of an example (the scalars of a group), see decode_and_resize.
        transform: what becomes of a decoded image; float32 [height, width, 3] to the same.

    Returns:
        The same without "encoded", with "input" float32 [n, height, width, 3] and "is_good" bool
        [n]. Padding and skipped images are zeros and not good.

    Raises (from the iterator, without `skip`):
        InvalidArgumentError: an image cannot be decoded; see BadImages.user_error.
    """
    decode_whole = tf.function(
        lambda encoded: decode_and_resize(encoded, image_size), autograph=False
    )

    def explain(encoded: np.ndarray, ids: np.ndarray, steps: np.ndarray) -> np.bytes_:
        problems = []
        for content, example_id, step in zip(encoded, ids, steps, strict=True):
            name = example_id.decode("utf-8", "replace")
            try:
                decode_whole(tf.constant(content))
            except tf.errors.OpError as error:
                problem = reason(error)
            else:
                problem = "it decodes in whole but not in part"
            bad_images.report(name, problem, int(step))
            problems.append(_describe(name, problem))
        return np.bytes_(problems[0].encode())

    @do_not_convert
    def load_group(group: Example) -> tf.data.Dataset:
        # Padding at the end: something is left of a group in which every image is broken.
        ids = tf.concat([group["id"], [b""]], 0)
        size = tf.size(ids, tf.int64)

        @do_not_convert
        def load(index: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            def decoded() -> tf.Tensor:
                example = {key: column[index] for key, column in group.items()}
                image = decode_and_resize(example["encoded"], image_size, window(example))
                return transform(image, example)

            is_padding = tf.equal(ids[index], b"")
            image = tf.cond(is_padding, lambda: tf.zeros([*image_size, 3]), decoded)
            return index, tf.ensure_shape(image, [*image_size, 3])

        @do_not_convert
        def complete(indices: tf.Tensor, images: tf.Tensor) -> Example:
            is_there = tf.scatter_nd(indices[:, None], tf.ones_like(indices, tf.bool), [size])
            images = tf.cond(
                tf.size(indices, tf.int64) < size,
                lambda: tf.scatter_nd(indices[:, None], images, shape_if_allowed(~is_there)),
                lambda: images,
            )
            is_good = is_there[:-1] & tf.not_equal(group["id"], b"")
            others = {key: column for key, column in group.items() if key != "encoded"}
            return {**others, "input": images[:-1], "is_good": is_good}

        def shape_if_allowed(is_lost: tf.Tensor) -> tf.Tensor:
            steps = group.get("step", tf.fill([size - 1], tf.constant(_NO_STEP, tf.int64)))
            lost = [column[is_lost[:-1]] for column in (group["encoded"], group["id"], steps)]
            problem = tf.numpy_function(explain, lost, tf.string, stateful=False)
            # Fails with the problem as its message, without state (see header_checks).
            message = tf.where(bad_images.skip, "0", tf.ensure_shape(problem, []))
            return tf.stack([size + tf.strings.to_number(message, tf.int64), *image_size, 3])

        loaded = tf.data.Dataset.range(size).map(load).ignore_errors(log_warning=False)
        return loaded.batch(size).map(complete)

    return groups.interleave(
        load_group,
        cycle_length=parallelism,
        num_parallel_calls=parallelism,
        deterministic=True,
    )


def _refusal(example_id: str, reason: str) -> UserError:
    return UserError(
        f"{_describe(example_id, reason)}. Mend or remove the file, or leave such images out with "
        "--bad_images=skip."
    )


def _describe(example_id: str, reason: str) -> str:
    return f"the image {example_id} cannot be decoded: {reason}"
