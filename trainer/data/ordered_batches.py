"""Make batches of a source's examples in an order that is a function of (seed, step) alone.

Step k takes `global_batch_size / num_logical_shards` examples from each logical shard, in the
order of the shards. A worker reads the shards it owns, so the examples of step k are the same on
any number of workers, and a resumed run starts at its step without replaying.

Subclasses define what an example is: an image or its features.
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

# Examples that one call loads: starting a call takes 1 ms.
_SMALLEST_GROUP, _LARGEST_GROUP = 8, 32


@dataclasses.dataclass(frozen=True)
class OrderedBatches(abc.ABC):
    """How the examples of a source become batches.

    Attributes:
        source: where they come from.
        global_batch_size: examples a step, over all workers.
        num_logical_shards: the number of logical shards of a split; divides the batch.
        seed: of the order.
    """

    source: Source
    global_batch_size: int
    num_logical_shards: int
    seed: int

    @abc.abstractmethod
    def _examples(self, split: str, part: Index, num_parts: int, **order: Any) -> tf.data.Dataset:
        """Return Source.examples or Source.order, as `_load` takes them."""

    @abc.abstractmethod
    def _padding(self) -> dict[str, Any]:
        """Return what `_load` takes as padding: arrays of one element."""

    @abc.abstractmethod
    def _load(self, groups: tf.data.Dataset) -> tf.data.Dataset:
        """Map groups of examples, [n] each, to {"input", "label", "is_good", …}, [n, …] each."""

    @property
    def block(self) -> int:
        """Examples of one logical shard in a step."""
        return self.global_batch_size // self.num_logical_shards

    def training_batches(
        self, split: str, shards: Sequence[int], num_replicas: int, first_step: int
    ) -> tf.data.Dataset:
        """Return endless batches of training examples from step `first_step` on.

        Args:
            split: the split to read.
            shards: the logical shards that this worker owns, in order.
            num_replicas: replicas of this worker; each gets complete blocks, in order.
            first_step: 0, or the number of steps already done.

        Returns:
            One element a replica and step: {"input": float32 [batch, …], "target": float32
            [batch, classes], "weight": float32 [batch], 0 for broken images,
            "position": int32 [batch] in the global batch}.
        """
        examples = interleaved(
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
        """Return passes over `split`, each every example once, padded alike on all replicas.

        A pass is `evaluation_steps` steps; batches are endless, so that one iterator serves all.

        Args:
            split: the split to read.
            replicas: the indices of this worker's replicas, in order.
            num_replicas: the number of replicas of all workers; each reads its own part.

        Returns:
            One element a replica and step: {"input": float32 [batch, …], "label": int64 [batch],
            "weight": float32 [batch], 0 for padding and broken images}.
        """
        num_steps, batch_size = self._evaluation_shape(split, num_replicas)

        def stream(part: tf.Tensor) -> tf.data.Dataset:
            examples = self._examples(split, part, num_replicas, shuffle=False)
            return examples.concatenate(repeated(self._padding())).take(num_steps * batch_size)

        examples = interleaved(replicas, stream, batch_size).repeat()
        batches = self._batches(examples, batch_size)
        return batches.map(do_not_convert(_evaluation_batch)).prefetch(2 * len(replicas))

    def evaluation_steps(self, split: str, num_replicas: int) -> int:
        """Return the number of steps in a pass; a step is at most as large as one of training."""
        return self._evaluation_shape(split, num_replicas)[0]

    def evaluation_indices(
        self, split: str, replicas: Sequence[int], num_replicas: int
    ) -> np.ndarray:
        """Return the indices in the split of the examples of `evaluation_batches`.

        Returns:
            int64 [steps, len(replicas) × batch]: of each step, replica after replica. Padding has
            the index of some example.
        """
        num_steps, batch_size = self._evaluation_shape(split, num_replicas)
        num_examples = self.source.num_examples(split)
        rows = np.arange(num_steps * batch_size).reshape(num_steps, batch_size)
        begins = [shard_bounds(num_examples, replica, num_replicas)[0] for replica in replicas]
        indices = np.concatenate([begin + rows for begin in begins], axis=1)
        return np.minimum(indices, num_examples - 1)

    def _evaluation_shape(self, split: str, num_replicas: int) -> tuple[int, int]:
        """Return the steps of a pass, and the examples of a replica in each."""
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
        """Load examples and batch them; `indexed` takes a group and its indices in `examples`."""
        group_size = _group_size(batch_size)
        groups = skip_autotune(examples).batch(group_size, drop_remainder=True)
        firsts = tf.data.Dataset.range(0, _FOREVER, group_size)

        @do_not_convert
        def numbered(group: Any, first: tf.Tensor) -> Example:
            return indexed(group, first + tf.range(tf.constant(group_size, tf.int64)))

        loaded = self._load(tf.data.Dataset.zip(groups, firsts).map(numbered))
        if group_size == batch_size:
            return loaded
        batches = loaded.batch(batch_size // group_size, drop_remainder=True)
        return batches.map(do_not_convert(lambda batch: {k: _flat(v) for k, v in batch.items()}))

    def _steps_per_epoch(self, split: str) -> int:
        return self.source.num_examples(split) // self.global_batch_size

    def _shard_stream(self, split: str, shard: tf.Tensor, first_step: int) -> tf.data.Dataset:
        """Read one logical shard, epoch after epoch, from the first example of `first_step` on."""
        # Equal for all shards: each epoch leaves out other examples that do not fill a batch.
        per_epoch = self._steps_per_epoch(split) * self.block
        first_epoch, done = divmod(first_step * self.block, per_epoch)

        @do_not_convert
        def epoch_of_examples(epoch: tf.Tensor) -> tf.data.Dataset:
            skip = tf.where(epoch == first_epoch, tf.constant(done, tf.int64), 0)
            examples = self._examples(
                split, shard, self.num_logical_shards, epoch=epoch, seed=self.seed, skip=skip
            )
            return examples.take(per_epoch - skip)

        return tf.data.Dataset.range(first_epoch, _FOREVER).flat_map(epoch_of_examples)


def interleaved(
    parts: Sequence[int], stream: Callable[[tf.Tensor], tf.data.Dataset], block: int
) -> tf.data.Dataset:
    """Interleave the parts' streams by blocks of `block` examples."""
    numbers = tf.data.Dataset.from_tensor_slices(tf.constant(list(parts), tf.int64))
    return numbers.interleave(do_not_convert(stream), cycle_length=len(parts), block_length=block)


def repeated(columns: Any) -> tf.data.Dataset:
    """Repeat the one element of `columns` without end."""
    # From slices: tf.data treats a data set from a tensor as stateful.
    return tf.data.Dataset.from_tensor_slices(columns).repeat()


def _evaluation_batch(batch: Example) -> Example:
    return {
        "input": batch["input"],
        "label": batch["label"],
        "weight": tf.cast(batch["is_good"], tf.float32),
    }


def _group_size(batch_size: int) -> int:
    """Return the largest group that divides a batch; the batch itself where only tiny ones do."""
    sizes = range(min(batch_size, _LARGEST_GROUP), 0, -1)
    largest = next(size for size in sizes if batch_size % size == 0)
    return largest if largest >= _SMALLEST_GROUP else batch_size


def _flat(columns: tf.Tensor) -> tf.Tensor:
    """Reshape [a, b, …] to [a × b, …]."""
    return tf.reshape(columns, [columns.shape[0] * columns.shape[1], *columns.shape[2:]])
