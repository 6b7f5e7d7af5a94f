"""Find exact duplicates of images."""

from __future__ import annotations

import collections
import shlex
from collections.abc import Mapping, Sequence

from trainer.commands.checkup.finding import WARNING, Finding
from trainer.commands.checkup.image_scan import ImageFacts
from trainer.settings.config import Config

# By split.
Splits = Mapping[str, Sequence[ImageFacts]]

_MOST_IN_COMMAND = 20


def check(config: Config, class_names: Sequence[str], splits: Splits) -> list[Finding]:
    """Find images that are equal byte for byte in two splits, or with two labels."""
    found = []
    by_digest: dict[bytes, list[tuple[str, ImageFacts]]] = collections.defaultdict(list)
    for split, images in splits.items():
        for image in images:
            if image.digest and not image.problem:
                by_digest[image.digest].append((split, image))
    groups = [group for group in by_digest.values() if len(group) > 1]
    train = config.train_split
    leaks = [g for g in groups if {train} < {split for split, _ in g}]
    if leaks:
        pairs = [pair for group in leaks for pair in _pairs(group, train)]
        held = sum(len(images) for split, images in splits.items() if split != train)
        found.append(
            Finding(
                "data",
                "duplicates_across_splits",
                WARNING,
                f"{len(pairs):,} of {held:,} evaluation images are also in the training split",
                cost=f"up to {len(pairs) / held:.1%} of the accuracy is memorized",
                fix=remove([image for group in leaks for split, image in group if split == train]),
                items=tuple(pairs),
            )
        )
    contradictions = [group for group in groups if len({image.label for _, image in group}) > 1]
    if contradictions:
        count = len(contradictions)
        subject = "1 image is" if count == 1 else f"{count:,} images are"
        found.append(
            Finding(
                "data",
                "contradictory_labels",
                WARNING,
                f"{subject} there more than once, with different labels",
                cost="at least one of the labels is wrong",
                fix="compare them, and remove the copies with wrong labels",
                items=tuple(_one_of_each_label(group, class_names) for group in contradictions),
            )
        )
    return found


def remove(images: Sequence[ImageFacts]) -> str:
    """Return the command that removes these files, or what to do if it would be too long."""
    paths = [image.path for image in images]
    if not all(paths) or any("://" in path for path in paths):
        return "prepare the data again without them"
    if len(paths) > _MOST_IN_COMMAND:
        return "remove them; --json lists them all"
    return f"rm -- {shlex.join(paths)}"


def _pairs(group: Sequence[tuple[str, ImageFacts]], train: str) -> list[str]:
    """Return each evaluation copy with one training copy, of which there may be hundreds."""
    trained = next(image.id for split, image in group if split == train)
    return [f"{train}: {trained} = {split}: {image.id}" for split, image in group if split != train]


def _one_of_each_label(group: Sequence[tuple[str, ImageFacts]], class_names: Sequence[str]) -> str:
    first = {image.label: image.id for _, image in reversed(group)}
    shown = " = ".join(f"{first[label]} ({class_names[label]})" for label in sorted(first))
    others = len(group) - len(first)
    return shown + (f" and {others:,} more" if others else "")
