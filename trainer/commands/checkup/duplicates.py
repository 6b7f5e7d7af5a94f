"""Images that the data hold more than once, told by their content."""

from __future__ import annotations

import collections
import shlex
from collections.abc import Mapping, Sequence

from trainer.commands.checkup.finding import WARNING, Finding
from trainer.commands.checkup.image_scan import ImageFacts
from trainer.settings.config import Config

# By split.
Looks = Mapping[str, Sequence[ImageFacts]]

_MOST_IN_COMMAND = 20


def check(config: Config, class_names: Sequence[str], looks: Looks) -> list[Finding]:
    """Images that are there twice, byte for byte: in two splits, or under two labels."""
    found = []
    alike: dict[bytes, list[tuple[str, ImageFacts]]] = collections.defaultdict(list)
    for split, seen in looks.items():
        for look in seen:
            if look.digest and not look.problem:
                alike[look.digest].append((split, look))
    groups = [group for group in alike.values() if len(group) > 1]
    train = config.train_split
    leaks = [g for g in groups if {train} < {split for split, _ in g}]
    if leaks:
        pairs = [pair for group in leaks for pair in _pairs(group, train)]
        held = sum(len(seen) for split, seen in looks.items() if split != train)
        found.append(
            Finding(
                "data",
                "duplicates_across_splits",
                WARNING,
                f"{len(pairs):,} of {held:,} images that are evaluated are trained on, too",
                cost=f"up to {len(pairs) / held:.1%} of the accuracy is memory, and the figures "
                "promise too much",
                fix=remove([look for group in leaks for split, look in group if split == train]),
                items=tuple(pairs),
            )
        )
    contradictions = [group for group in groups if len({look.label for _, look in group}) > 1]
    if contradictions:
        images = "1 image is" if len(contradictions) == 1 else f"{len(contradictions):,} images are"
        found.append(
            Finding(
                "data",
                "contradictory_labels",
                WARNING,
                f"{images} there more than once, with different labels",
                cost="at least one of the labels is wrong",
                fix="look at them, and remove the copies that are wrong",
                items=tuple(_one_of_each_label(group, class_names) for group in contradictions),
            )
        )
    return found


def remove(looks: Sequence[ImageFacts]) -> str:
    """The command that removes these files, where they are files of their own and few."""
    paths = [look.path for look in looks]
    if not all(paths) or any("://" in path for path in paths):
        return "prepare the data anew without them"
    if len(paths) > _MOST_IN_COMMAND:
        return "remove them; --json lists them all"
    return f"rm -- {shlex.join(paths)}"


def _pairs(group: Sequence[tuple[str, ImageFacts]], train: str) -> list[str]:
    """Each copy that is evaluated, with one that is trained on: there may be hundreds."""
    trained = next(look.id for split, look in group if split == train)
    return [f"{train}: {trained} = {split}: {look.id}" for split, look in group if split != train]


def _one_of_each_label(group: Sequence[tuple[str, ImageFacts]], class_names: Sequence[str]) -> str:
    first = {look.label: look.id for _, look in reversed(group)}
    shown = " = ".join(f"{first[label]} ({class_names[label]})" for label in sorted(first))
    others = len(group) - len(first)
    return shown + (f" and {others:,} more" if others else "")
