"""The data: what is broken, giant, tiny, rare, or there twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trainer.commands.checkup import duplicates
from trainer.commands.checkup.duplicates import Looks, remove
from trainer.commands.checkup.finding import ERROR, OK, WARNING, Finding, again
from trainer.commands.checkup.image_scan import ImageFacts
from trainer.process import machine
from trainer.process.errors import UserError
from trainer.settings import plan
from trainer.settings.config import Config

_GIANT_PIXELS = 5 * 10**7  # 150 MB decoded
_FEW_EXAMPLES, _IMBALANCE, _ENLARGED = 10, 10.0, 2.0


def check(
    config: Config,
    class_names: Sequence[str],
    looks: Looks,
    image_size: tuple[int, int] | None,
    words: Sequence[str],
) -> list[Finding]:
    """All that can be said of the data from a look at each image.

    Args:
        config: the run.
        class_names: in the order of the labels.
        looks: by split, the training split first.
        image_size: (height, width) of what the backbone takes; None where that is not known.
        words: of the command line, for the commands that help.
    """
    counts = {
        split: np.bincount([look.label for look in found], minlength=len(class_names))
        for split, found in looks.items()
    }
    shown = ", ".join(f"{len(found):,} in {split!r}" for split, found in looks.items())
    found = [Finding("data", "images", OK, f"{shown}; {len(class_names):,} classes")]
    found += _batches(config, len(looks[config.train_split]))
    found += _unreadable(config, looks, words)
    found += _giant(looks)
    found += _tiny(looks, image_size)
    found += _classes(config, class_names, counts, words)
    found += duplicates.check(config, class_names, looks)
    return found


def _batches(config: Config, num_train: int) -> list[Finding]:
    try:
        plan.plan(config, num_train)
    except UserError as error:
        cost, fix = "the run does not start", "the setting that the message names"
        return [Finding("data", "batches", ERROR, str(error), cost, fix)]
    unused = plan.warning_of_unused(num_train, config.global_batch_size)
    if not unused:
        return []
    fix = "a smaller --global_batch_size, or one that divides the number of training images"
    return [Finding("data", "unused_images", WARNING, unused, "learns from fewer images", fix)]


def _unreadable(config: Config, looks: Looks, words: Sequence[str]) -> list[Finding]:
    found = []
    missing = _all(looks, lambda look: look.is_missing)
    if missing:
        found.append(
            Finding(
                "data",
                "missing_files",
                ERROR,
                f"{_num(missing, 'file')} cannot be read",
                cost="the run ends at the first of them, whatever --bad_images says",
                fix="fetch them, or take them off the list",
                items=tuple(f"{look.path}: {look.problem}" for _, look in missing),
                shows_all=True,
            )
        )
    broken = _all(looks, lambda look: bool(look.problem) and not look.is_missing)
    if broken:
        skips = config.bad_images == "skip"
        found.append(
            Finding(
                "data",
                "unreadable_images",
                WARNING if skips else ERROR,
                f"{_num(broken, 'image')} cannot be decoded",
                cost="they are left out" if skips else "the run ends at the first of them",
                fix=remove([look for _, look in broken])
                if skips
                else again(words, "--bad_images=skip"),
                items=tuple(f"{look.path or look.id}: {look.problem}" for _, look in broken),
                shows_all=True,
            )
        )
    return found


def _giant(looks: Looks) -> list[Finding]:
    giant = _all(looks, lambda look: look.width * look.height > _GIANT_PIXELS)
    if not giant:
        return []
    giant.sort(key=lambda pair: -pair[1].width * pair[1].height)
    most = giant[0][1].width * giant[0][1].height * 3 * machine.num_cores()
    return [
        Finding(
            "data",
            "giant_images",
            WARNING,
            f"{_num(giant, 'image')} of more than {_GIANT_PIXELS / 1e6:.0f} million pixels",
            cost=f"decoding takes up to {most / 1e6:,.0f} MB of memory on "
            f"{machine.num_cores()} cores, and long",
            fix="keep copies that are smaller, of four times the backbone's size at the most",
            items=tuple(_sized(look) for _, look in giant),
        )
    ]


def _tiny(looks: Looks, image_size: tuple[int, int] | None) -> list[Finding]:
    if image_size is None:
        return []
    height, width = image_size

    def enlarged(look: ImageFacts) -> float:
        return max(height / look.height, width / look.width) if look.width else 0.0

    tiny = _all(looks, lambda look: enlarged(look) > _ENLARGED)
    if not tiny:
        return []
    tiny.sort(key=lambda pair: -enlarged(pair[1]))
    return [
        Finding(
            "data",
            "tiny_images",
            WARNING,
            f"{_num(tiny, 'image')} of less than half the backbone's {width}×{height}",
            cost=f"they are enlarged up to {enlarged(tiny[0][1]):.1f} times: a blur where the "
            "backbone expects detail",
            fix="larger originals, or a --backbone for images of their size",
            items=tuple(_sized(look) for _, look in tiny),
        )
    ]


def _classes(
    config: Config,
    class_names: Sequence[str],
    counts: Mapping[str, np.ndarray],
    words: Sequence[str],
) -> list[Finding]:
    found = []
    train, validation = counts[config.train_split], counts[config.validation_split]
    rare = [i for i in np.argsort(train, kind="stable") if train[i] < _FEW_EXAMPLES]
    if rare:
        found.append(
            Finding(
                "data",
                "rare_classes",
                WARNING,
                f"{len(rare):,} of {len(class_names):,} classes have fewer than {_FEW_EXAMPLES} "
                "training images",
                cost="what is learnt of them is chance",
                fix="more images of them, or --augment=light",
                items=tuple(f"{class_names[i]}: {train[i]}" for i in rare),
            )
        )
    most, least = int(train.argmax()), int(train.argmin())
    if config.class_weights == "none" and train[most] >= _IMBALANCE * max(train[least], 1):
        found.append(
            Finding(
                "data",
                "imbalance",
                WARNING,
                f"{class_names[most]!r} has {train[most]:,} training images, "
                f"{class_names[least]!r} {train[least]:,}",
                cost="a class that is seldom seen is seldom predicted",
                fix=again(words, "--class_weights=balanced"),
            )
        )
    absent = [name for name, n in zip(class_names, validation, strict=True) if not n]
    if absent:
        is_one = len(absent) == len(class_names) - 1
        found.append(
            Finding(
                "data",
                "one_class" if is_one else "absent_classes",
                WARNING,
                f"{config.validation_split!r} has images of one class alone"
                if is_one
                else f"{len(absent):,} of {len(class_names):,} classes have no image in "
                f"{config.validation_split!r}",
                cost="nothing is known of how well they are told apart, and the best weights are "
                "chosen without them",
                fix="images of them for validation",
                items=tuple(absent),
            )
        )
    return found


def _all(looks: Looks, wanted: Callable[[ImageFacts], bool]) -> list[tuple[str, ImageFacts]]:
    """What is `wanted`, split by split, in the order of names."""
    return [
        (split, look)
        for split, found in looks.items()
        for look in sorted(filter(wanted, found), key=lambda look: look.path or look.id)
    ]


def _num(found: Sequence[tuple[str, ImageFacts]], noun: str) -> str:
    return f"{len(found):,} {noun}{'s' * (len(found) > 1)}"


def _sized(look: ImageFacts) -> str:
    return f"{look.path or look.id}: {look.width}×{look.height}"
