"""Features of a frozen backbone, computed once and kept, for this run and for others like it.

They lie under a digest of all that they depend on, in parts that are committed one by one: a kill
loses the part in hand. A part that does not verify is computed anew. What does not fit into memory
is read from the disk, a bucket's from local copies.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trainer.data.feature_pipeline import FeatureTable
from trainer.data.feature_store import FeatureStore
from trainer.data.known_parts import FeatureShards
from trainer.data.mirrored_store import MirroredStore
from trainer.data.sources.source import shard_bounds
from trainer.engine.feature_extraction import Extraction
from trainer.process import machine
from trainer.process.errors import UserError
from trainer.settings import identity
from trainer.storage import api as storage

# Raised when decoding or the graph change in a way that features show, or their files change.
_FORMAT = 2

# At least so many parts, so that several workers share the work, and none of more examples: a kill
# loses two seconds at the most, and a bucket's requests are worth their time.
_FEWEST_PARTS, _LARGEST_PART = 8, 1024

# Of the memory that is free: more than that is read from the disk as it is needed. Taken three
# times for the moment in which TensorFlow makes a tensor of an array.
_MEMORY_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class FeatureCache:
    """Where the features of a run are kept.

    Attributes:
        root: the directory of all such caches, local or gs://.
        flag: that names it, or the directory that it is in.
        copies: a local directory for copies of a bucket's features that do not fit into memory.
        extraction: computes what is not there; the workers share the work.
        computed_by: names what it computes, in JSON's types: the backbone and its input.
        num_features: for an image.
    """

    root: str
    flag: str
    copies: str
    extraction: Extraction
    computed_by: Mapping[str, Any]
    num_features: int

    def table(self, split: str, num_views: int, precision: str) -> FeatureTable:
        """The features of `split`, read where they are known and computed where not.

        Args:
            split: one of the source's.
            num_views: 0 for the images as they are, else how many augmented ones of each.
            precision: of the arithmetic, one of config.PRECISIONS but not `auto`.

        Raises:
            UserError: an image is bad and none may be, or all are; or the cache, or its copies,
                cannot be written to.
            Preempted: a signal came; the same command goes on here.
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
        known = FeatureShards(store, sizes, self.num_features, in_memory)

        def read() -> Sequence[int]:
            asked = len(known.missing)
            for done, problem in enumerate(known.read(), 1):
                if problem:
                    reporter.warn(f"{problem}; computing it anew")
                if is_copied:  # which may take hours
                    reporter.advance("copying features", done, asked)
                    if extraction.stop.requested:
                        raise extraction.stop.error(
                            "while copying features; the same command goes on"
                        )
            return known.missing

        def compute(missing: Sequence[int]) -> None:
            wanted = {number: sizes[number] for number in missing}
            for number, part in extraction.parts(split, wanted, num_parts, precision):
                with _naming_a_way_out():
                    known.write(number, part)

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
            with _naming_a_way_out():
                store.prepare(facts, self.flag)
        cluster = workers.cluster
        compute([number for number in missing if number % cluster.num_workers == cluster.index])
        workers.all_reduce_sum(f"features of {split} are computed")
        # The other workers' share, unless they keep it where this one does not see it.
        compute(read())
        bad = list(known.bad_images())
        for example_id, reason in bad:
            pipeline.bad_images.must_be_known(example_id, reason)
        found = known.table(max(num_views, 1))
        if bad and not found.is_good.any():
            example_id, reason = bad[-1]
            raise UserError(f"no image of split {split!r} can be decoded: {example_id}: {reason}")
        return found

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
def _naming_a_way_out() -> Iterator[None]:
    try:
        yield
    except UserError as error:
        raise UserError(
            f"{error}; make room, name another --feature_cache, or train without one "
            "(--feature_cache=off)"
        ) from error


def _sizes(num_examples: int, num_views: int) -> tuple[list[int], int]:
    """Examples of each part, view after view; and the number of parts of one view."""
    num_parts = min(num_examples, max(_FEWEST_PARTS, -(-num_examples // _LARGEST_PART)))
    bounds = [shard_bounds(num_examples, part, num_parts) for part in range(num_parts)]
    return [int(end) - int(begin) for begin, end in bounds] * num_views, num_parts
