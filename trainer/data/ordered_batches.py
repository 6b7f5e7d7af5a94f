"""From a source to batches: the order of a run's examples is a function of (seed, step) alone.

Step k takes `global_batch_size / num_logical_shards` examples from each logical shard, in the
order of the shards. A worker reads the shards it owns, so the examples of step k are the same on
any number of workers, and a resumed run starts at its step instead of replaying.

What an example is, images or features of them, is for the classes below this one to say.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.data.sources.source import Index, Source, shard_bounds
from trainer.graph.plain_pipeline import do_not_convert, skip_autotune

Example = dict[str, tf.Tensor]

_FOREVER = tf.int64.max

# Examples that are loaded by one call. It takes 1 ms to start, which is shared by so many.
_SMALLEST_GROUP, _LARGEST_GROUP = 8, 32


@dataclasses.dataclass(frozen=True)
class OrderedBatches(abc.ABC):
    """How the examples of a source become batches.

    Attributes:
        source: where they come from.
        global_batch_size: examples a step, over all workers.
        num_logical_shards: parts that a split is cut into; divides the batch.
        seed: of the order.
    """

    source: Source
    global_batch_size: int
    num_logical_shards: int
    seed: int

    @abc.abstractmethod
    def _examples(self, split: str, part: Index, num_parts: int, **order: Any) -> tf.data.Dataset:
        """Source.examples or Source.order: whatever `_load` takes."""

    @abc.abstractmethod
    def _padding(self) -> dict[str, Any]:
        """What `_load` takes for no example: arrays of one element."""

    @abc.abstractmethod
    def _load(self, groups: tf.data.Dataset) -> tf.data.Dataset:
        """Groups of examples, [n] each, to {"input", "label", "is_good", …}, [n, …] each."""

    @property
    def block(self) -> int:
        """Examples of one logical shard in a step."""
        return self.global_batch_size // self.num_logical_shards

    def training_batches(
        self, split: str, shards: Sequence[int], num_replicas: int, first_step: int
    ) -> tf.data.Dataset:
        """Batches of training examples from step `first_step` on, without end.

        Args:
            split: the split to read.
            shards: the logical shards that this worker owns, in order.
            num_replicas: replicas of this worker; each is given whole blocks, in order.
            first_step: 0, or the number of steps already done.

        Returns:
            One element a replica and step: {"input": float32 [batch, …], "target": float32
            [batch, classes], "weight": float32 [batch], 0 for what could not be decoded,
            "position": int32 [batch] in the global batch}.
        """
        examples = in_turns(
            shards, lambda shard: self._shard_stream(split, shard, first_step), self.block
        )
        batch_size = len(shards) * self.block // num_replicas
        positions = [shard * self.block + i for shard in shards for i in range(self.block)]
        steps_per_epoch = self._steps_per_epoch(split)

        def indexed(group: Example, indices: tf.Tensor) -> Example:
            steps = first_step + indices // len(positions)
            return {
                **group,
                "step": steps,
                "epoch": steps // steps_per_epoch,
                "position": tf.gather(tf.constant(positions), indices % len(positions)),
            }

        batches = self._batches(examples, batch_size, indexed)
        return batches.map(do_not_convert(self._training_batch)).prefetch(2 * num_replicas)

    def evaluation_batches(
        self, split: str, replicas: Sequence[int], num_replicas: int
    ) -> tf.data.Dataset:
        """Every example of `split` once, padded so that all replicas have as many; and again.

        One pass is `evaluation_steps` steps; without end, so that one iterator serves all passes.

        Args:
            split: the split to read.
            replicas: which of all replicas are this worker's, in order.
            num_replicas: how many replicas there are in all; each reads a part of its own.

        Returns:
            One element a replica and step: {"input": float32 [batch, …], "label": int64 [batch],
            "weight": float32 [batch], 0 for padding and for what could not be decoded}.
        """
        num_steps, batch_size = self._evaluation_shape(split, num_replicas)

        def stream(part: tf.Tensor) -> tf.data.Dataset:
            examples = self._examples(split, part, num_replicas, shuffle=False)
            return examples.concatenate(forever(self._padding())).take(num_steps * batch_size)

        examples = in_turns(replicas, stream, batch_size).repeat()
        batches = self._batches(examples, batch_size)
        return batches.map(do_not_convert(_evaluation_batch)).prefetch(2 * len(replicas))

    def evaluation_steps(self, split: str, num_replicas: int) -> int:
        """Global batches, of the training's size at the most, that hold every example once."""
        return self._evaluation_shape(split, num_replicas)[0]

    def evaluation_indices(
        self, split: str, replicas: Sequence[int], num_replicas: int
    ) -> np.ndarray:
        """Where in the split the examples of `evaluation_batches` are.

        Returns:
            int64 [steps, len(replicas) × batch]: of each step, replica after replica. What is
            padding has the place of some example.
        """
        num_steps, batch_size = self._evaluation_shape(split, num_replicas)
        num_examples = self.source.num_examples(split)
        rows = np.arange(num_steps * batch_size).reshape(num_steps, batch_size)
        begins = [shard_bounds(num_examples, replica, num_replicas)[0] for replica in replicas]
        indices = np.concatenate([begin + rows for begin in begins], axis=1)
        return np.minimum(indices, num_examples - 1)

    def _evaluation_shape(self, split: str, num_replicas: int) -> tuple[int, int]:
        """Steps of a pass, and examples of a replica in each."""
        largest_part = -(-self.source.num_examples(split) // num_replicas)
        num_steps = -(-largest_part // max(1, self.global_batch_size // num_replicas))
        return num_steps, -(-largest_part // max(num_steps, 1))  # no larger: padding costs time

    def _training_batch(self, batch: Example) -> Example:
        return {
            "input": batch["input"],
            "target": tf.one_hot(batch["label"], len(self.source.class_names)),
            "weight": tf.cast(batch["is_good"], tf.float32),
            "position": batch["position"],
        }

    def _batches(
        self,
        examples: tf.data.Dataset,
        batch_size: int,
        indexed: Callable[..., Example] = lambda group, indices: group,
    ) -> tf.data.Dataset:
        """Batches of loaded examples; `placed` is told the places of a group in `examples`."""
        group_size = _group_size(batch_size)
        groups = skip_autotune(examples).batch(group_size, drop_remainder=True)
        firsts = tf.data.Dataset.range(0, _FOREVER, group_size)

        @do_not_convert
        def numbered(group: Any, first: tf.Tensor) -> Example:
            return indexed(group, first + tf.range(tf.constant(group_size, tf.int64)))

        loaded = self._load(tf.data.Dataset.zip(groups, firsts).map(numbered))
        if group_size == batch_size:
            return loaded
        whole = loaded.batch(batch_size // group_size, drop_remainder=True)
        return whole.map(do_not_convert(lambda batch: {k: _flat(v) for k, v in batch.items()}))

    def _steps_per_epoch(self, split: str) -> int:
        return self.source.num_examples(split) // self.global_batch_size

    def _shard_stream(self, split: str, shard: tf.Tensor, first_step: int) -> tf.data.Dataset:
        """Examples of one logical shard, epoch after epoch, from the first of `first_step` on."""
        # The same for each shard: what does not fill a batch is left out, others every epoch.
        an_epoch = self._steps_per_epoch(split) * self.block
        first_epoch, done = divmod(first_step * self.block, an_epoch)

        @do_not_convert
        def epoch_of_examples(epoch: tf.Tensor) -> tf.data.Dataset:
            skip = tf.where(epoch == first_epoch, tf.constant(done, tf.int64), 0)
            examples = self._examples(
                split, shard, self.num_logical_shards, epoch=epoch, seed=self.seed, skip=skip
            )
            return examples.take(an_epoch - skip)

        return tf.data.Dataset.range(first_epoch, _FOREVER).flat_map(epoch_of_examples)


def in_turns(
    parts: Sequence[int], stream: Callable[[tf.Tensor], tf.data.Dataset], block: int
) -> tf.data.Dataset:
    """`block` examples of the first part's stream, as many of the second's, …, in turns."""
    numbers = tf.data.Dataset.from_tensor_slices(tf.constant(list(parts), tf.int64))
    return numbers.interleave(do_not_convert(stream), cycle_length=len(parts), block_length=block)


def forever(columns: Any) -> tf.data.Dataset:
    """The one element of `columns` without end."""
    # From slices: tf.data takes a data set from a tensor for one with a state.
    return tf.data.Dataset.from_tensor_slices(columns).repeat()


def _evaluation_batch(batch: Example) -> Example:
    return {
        "input": batch["input"],
        "label": batch["label"],
        "weight": tf.cast(batch["is_good"], tf.float32),
    }


def _group_size(batch_size: int) -> int:
    """The largest group that batches consist of; the whole batch where only tiny ones fit."""
    sizes = range(min(batch_size, _LARGEST_GROUP), 0, -1)
    largest = next(size for size in sizes if batch_size % size == 0)
    return largest if largest >= _SMALLEST_GROUP else batch_size


def _flat(columns: tf.Tensor) -> tf.Tensor:
    """[a, b, …] to [a × b, …]."""
    return tf.reshape(columns, [columns.shape[0] * columns.shape[1], *columns.shape[2:]])
