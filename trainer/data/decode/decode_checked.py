"""Decode images in spite of broken ones, which are recorded.

A broken image must neither end the pipeline nor disappear from it. Each group of images is a small
data set, which skips an image that fails. The missing indices show at its end, and only then Python
finds the reasons. It does nothing but decode, so an unreadable file still ends the pipeline.

Alternatives were measured. Under op determinism tf.data serializes every map that holds a stateful
op, which rules out a nested data set read by `get_single_element` and any ordinary `py_function`. A
group of one image starts its functions for each image: 1 ms.
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
    """The images that could not be decoded; thread-safe.

    Attributes:
        skip: give broken images the weight 0 instead of ending the run.
    """

    def __init__(self, skip: bool = False) -> None:
        self.skip = skip
        self._lock = threading.Lock()
        self._found: dict[str, tuple[int, str]] = {}

    def report(self, example_id: str, reason: str, step: int = _NO_STEP) -> None:
        """Record an image that is broken at `step`; the earliest step is kept."""
        with self._lock:
            known_step, _ = self._found.get(example_id, (step, ""))
            self._found[example_id] = (min(step, known_step), reason)

    def before_step(self, step: int) -> dict[str, str]:
        """Return the reason by id, sorted, of the images found broken before `step`.

        The pipeline prefetches: broken images of later steps are not yet part of the state.
        """
        with self._lock:
            return {key: why for key, (at, why) in sorted(self._found.items()) if at < step}

    def report_known(self, example_id: str, reason: str) -> None:
        """Record an image that an earlier run found broken.

        Raises:
            UserError: broken images may not be skipped.
        """
        self.report(example_id, reason)
        if not self.skip:
            raise _refusal(example_id, reason)

    def user_error(self, error: tf.errors.OpError) -> UserError | None:
        """Return the user's error if an iterator raised `error` for a broken image, else None."""
        with self._lock:
            for example_id, (_, reason) in sorted(self._found.items()):
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
    """Decode groups of images in parallel, in their order, deterministically.

    Args:
        groups: {"encoded": string [n]; "id": string [n], empty for padding; optionally "step":
            int64 [n], the step of an example; and others, [n]}.
        image_size: (height, width).
        bad_images: records each broken image; its `skip` decides whether one ends the pipeline.
        parallelism: groups decoded at a time; the number of cores.
        window: returns the crop of an example; see decode_and_resize.
        transform: applied to a decoded image; float32 [height, width, 3] to the same.

    Returns:
        The same without "encoded", with "input" float32 [n, height, width, 3] and "is_good" bool
        [n]. Padding and broken images are zeros and not good.

    Raises (from the iterator, without `skip`):
        InvalidArgumentError: an image cannot be decoded; see BadImages.user_error.
    """
    decode_uncropped = tf.function(
        lambda encoded: decode_and_resize(encoded, image_size), autograph=False
    )

    def explain(encoded: np.ndarray, ids: np.ndarray, steps: np.ndarray) -> np.bytes_:
        problems = []
        for content, example_id, step in zip(encoded, ids, steps, strict=True):
            name = example_id.decode("utf-8", "replace")
            try:
                decode_uncropped(tf.constant(content))
            except tf.errors.OpError as error:
                problem = reason(error)
            else:
                problem = "it decodes uncropped but not cropped"
            bad_images.report(name, problem, int(step))
            problems.append(_describe(name, problem))
        return np.bytes_(problems[0].encode())

    @do_not_convert
    def load_group(group: Example) -> tf.data.Dataset:
        # One element of padding: a group is never empty, even if every image in it is broken.
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
            is_decoded = tf.scatter_nd(indices[:, None], tf.ones_like(indices, tf.bool), [size])
            images = tf.cond(
                tf.size(indices, tf.int64) < size,
                lambda: tf.scatter_nd(indices[:, None], images, shape_or_error(~is_decoded)),
                lambda: images,
            )
            is_good = is_decoded[:-1] & tf.not_equal(group["id"], b"")
            others = {key: column for key, column in group.items() if key != "encoded"}
            return {**others, "input": images[:-1], "is_good": is_good}

        def shape_or_error(is_broken: tf.Tensor) -> tf.Tensor:
            steps = group.get("step", tf.fill([size - 1], tf.constant(_NO_STEP, tf.int64)))
            broken = [column[is_broken[:-1]] for column in (group["encoded"], group["id"], steps)]
            problem = tf.numpy_function(explain, broken, tf.string, stateful=False)
            # A stateless failure with the problem as its message; see header_checks.
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
        f"{_describe(example_id, reason)}. Repair or remove the file, or skip such images with "
        "--bad_images=skip."
    )


def _describe(example_id: str, reason: str) -> str:
    return f"the image {example_id} cannot be decoded: {reason}"
