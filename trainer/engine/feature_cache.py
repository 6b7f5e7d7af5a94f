"""Cache the features of a frozen backbone, for this run and others with the same backbone and data.

A cache directory is named by a digest of all that the features depend on. Its shards are committed
one by one, so a kill loses one shard. A corrupt shard is recomputed. Features that do not fit into
memory are read from disk, a bucket's from local copies.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.data.feature_pipeline import FeatureTable
from trainer.data.feature_shards import FeatureShards
from trainer.data.feature_store import FeatureStore
from trainer.data.mirrored_store import MirroredStore
from trainer.data.sources.source import shard_bounds
from trainer.engine.feature_extraction import Extraction
from trainer.process import machine
from trainer.process.errors import UserError
from trainer.settings import identity
from trainer.storage import api as storage

# Increased when decoding, the graph or the files change in a way that changes features.
_FORMAT = 2

# The minimum number of shards, so that several workers share the work, and the maximum of a
# shard's examples: a kill loses at most two seconds, and requests to a bucket are not too small.
_MIN_SHARDS, _MAX_SHARD_EXAMPLES = 8, 1024

# The share of free memory above which features are read from disk. They take three times their
# size while TensorFlow makes a tensor of an array.
_MEMORY_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class FeatureCache:
    """The cached features of a run.

    Attributes:
        root: the directory of all such caches, local or gs://.
        flag: the flag that sets it or its parent.
        copies: a local directory for copies of a bucket's features that do not fit into memory.
        extraction: computes missing features; the workers share the work.
        computed_by: identifies the backbone and its input, in JSON's types.
        num_features: the width of an image's features.
    """

    root: str
    flag: str
    copies: str
    extraction: Extraction
    computed_by: Mapping[str, Any]
    num_features: int

    def table(self, split: str, num_views: int, precision: str) -> FeatureTable:
        """Return the features of `split`; read the cached ones and compute the others.

        Args:
            split: one of the source's.
            num_views: 0 for the plain images, else the number of augmented views of each.
            precision: of the arithmetic, one of choices.PRECISIONS except `auto`.

        Raises:
            UserError: an image is broken and none may be skipped, or all are broken; or the cache
                or its copies cannot be written to.
            Preempted: a signal came; the same command resumes here.
        """
        extraction = self.extraction
        pipeline, reporter, workers = extraction.pipeline, extraction.reporter, extraction.workers
        if not num_views and pipeline.augment != "none":
            plain = dataclasses.replace(pipeline, augment="none")
            computed_plain = dataclasses.replace(extraction, pipeline=plain)
            return dataclasses.replace(self, extraction=computed_plain).table(split, 0, precision)
        facts = self._facts(split, num_views, precision)
        directory = storage.join(self.root, f"{facts['num_examples']}-{identity.digest(facts)}")
        sizes, num_parts = _sizes(facts["num_examples"], max(num_views, 1))
        num_bytes = sum(sizes) * self.num_features * 4
        in_memory = num_bytes <= _MEMORY_SHARE * machine.available_memory()
        store = FeatureStore(directory, len(sizes))
        is_copied = storage.is_remote(directory) and not in_memory
        if is_copied:
            store = MirroredStore(directory, len(sizes), self.copies)
            store.prepare_copies(facts, num_bytes)
        shards = FeatureShards(store, sizes, self.num_features, in_memory)

        def read() -> Sequence[int]:
            total = len(shards.missing)
            for done, problem in enumerate(shards.read(), 1):
                if problem:
                    reporter.warn(f"{problem}; recomputing it")
                if is_copied:  # may take hours
                    reporter.advance("copying features", done, total)
                    if extraction.stop.requested:
                        raise extraction.stop.error(
                            "while copying features; the same command resumes"
                        )
            return shards.missing

        def compute(missing: Sequence[int]) -> None:
            wanted = {number: sizes[number] for number in missing}
            for number, shard in extraction.shards(split, wanted, num_parts, precision):
                with _error_with_advice():
                    shards.write(number, shard)

        missing = read()
        views = f", {facts['num_examples']:,} images × {num_views} views," if num_views else ""
        size = f"about {num_bytes / 1e6:,.0f} MB" if num_bytes >= 10**6 else "under 1 MB"
        state = f"{len(sizes) - len(missing)} of {len(sizes)} parts found, the others computed, in"
        if not missing:
            state = "found in"
        elif len(missing) == len(sizes):
            state = "are computed once, into"
        reporter.say(
            f"features   of {split!r}{views} {state} {directory} ({size})",
            parts_cached=len(sizes) - len(missing),
            parts_computed=len(missing),
        )
        if missing:
            with _error_with_advice():
                store.prepare(facts, self.flag)
        cluster = workers.cluster
        compute([number for number in missing if number % cluster.num_workers == cluster.index])
        workers.all_reduce_sum(f"features of {split} are computed")
        # The other workers have written theirs, unless to a disk that this worker does not see.
        compute(read())
        bad = list(shards.bad_images())
        for example_id, reason in bad:
            pipeline.bad_images.report_known(example_id, reason)
        table = shards.table(max(num_views, 1))
        if bad and not table.is_good.any():
            example_id, reason = bad[-1]
            raise UserError(f"no image of split {split!r} can be decoded: {example_id}: {reason}")
        return table

    def _facts(self, split: str, num_views: int, precision: str) -> dict[str, Any]:
        pipeline, source = self.extraction.pipeline, self.extraction.pipeline.source
        views = {"views": num_views, "augment": pipeline.augment, "seed": pipeline.seed}
        return {
            "format": _FORMAT,
            "data": source.digest,
            "split": split,
            "version_digest": source.version_digest(split),
            "num_examples": source.num_examples(split),
            "image_size": list(pipeline.image_size),
            **self.computed_by,
            "precision": precision,
            **(views if num_views else {}),
        }


@contextlib.contextmanager
def _error_with_advice() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(
            f"{error}; make room, name another --feature_cache, or train without one "
            "(--feature_cache=off)"
        ) from error


def _sizes(num_examples: int, num_views: int) -> tuple[list[int], int]:
    """Return the examples of each shard, view after view; and the number of shards of one view."""
    num_parts = min(num_examples, max(_MIN_SHARDS, -(-num_examples // _MAX_SHARD_EXAMPLES)))
    bounds = [shard_bounds(num_examples, part, num_parts) for part in range(num_parts)]
    return [int(end) - int(begin) for begin, end in bounds] * num_views, num_parts
