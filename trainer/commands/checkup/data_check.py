"""Check the data: broken, giant and tiny images, rare classes, duplicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from trainer.commands.checkup import duplicates
from trainer.commands.checkup.duplicates import Splits, remove
from trainer.commands.checkup.finding import ERROR, OK, WARNING, Finding, train_command
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
    splits: Splits,
    image_size: tuple[int, int] | None,
    argv: Sequence[str],
) -> list[Finding]:
    """Check the data, given the facts about each image.

    Args:
        config: the run.
        class_names: in the order of the labels.
        splits: the facts by split, the training split first.
        image_size: the backbone's input resolution (height, width); None if unknown.
        argv: the command line, for the commands in the fixes.
    """
    counts = {
        split: np.bincount([image.label for image in found], minlength=len(class_names))
        for split, found in splits.items()
    }
    shown = ", ".join(f"{len(found):,} in {split!r}" for split, found in splits.items())
    found = [Finding("data", "images", OK, f"{shown}; {len(class_names):,} classes")]
    found += _batches(config, len(splits[config.train_split]))
    found += _unreadable(config, splits, argv)
    found += _giant(splits)
    found += _tiny(splits, image_size)
    found += _classes(config, class_names, counts, argv)
    found += duplicates.check(config, class_names, splits)
    return found


def _batches(config: Config, num_train: int) -> list[Finding]:
    try:
        plan.plan(config, num_train)
    except UserError as error:
        cost, fix = "the run does not start", "change the setting in the message"
        return [Finding("data", "batches", ERROR, str(error), cost, fix)]
    unused = plan.unused_examples_warning(num_train, config.global_batch_size)
    if not unused:
        return []
    fix = "use a smaller --global_batch_size, or one that divides the number of training images"
    return [Finding("data", "unused_images", WARNING, unused, "learns from fewer images", fix)]


def _unreadable(config: Config, splits: Splits, argv: Sequence[str]) -> list[Finding]:
    found = []
    missing = _all(splits, lambda image: image.is_missing)
    if missing:
        found.append(
            Finding(
                "data",
                "missing_files",
                ERROR,
                f"{_num(missing, 'file')} cannot be read",
                cost="the run ends at the first of them, whatever --bad_images says",
                fix="fetch them, or remove them from the list",
                items=tuple(f"{image.path}: {image.problem}" for _, image in missing),
                shows_all=True,
            )
        )
    broken = _all(splits, lambda image: bool(image.problem) and not image.is_missing)
    if broken:
        skips = config.bad_images == "skip"
        found.append(
            Finding(
                "data",
                "unreadable_images",
                WARNING if skips else ERROR,
                f"{_num(broken, 'image')} cannot be decoded",
                cost="they are left out" if skips else "the run ends at the first of them",
                fix=remove([image for _, image in broken])
                if skips
                else train_command(argv, "--bad_images=skip"),
                items=tuple(f"{image.path or image.id}: {image.problem}" for _, image in broken),
                shows_all=True,
            )
        )
    return found


def _giant(splits: Splits) -> list[Finding]:
    giant = _all(splits, lambda image: image.width * image.height > _GIANT_PIXELS)
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
            f"{machine.num_cores()} cores, and is slow",
            fix="use smaller copies, of at most four times the backbone's input resolution",
            items=tuple(_sized(image) for _, image in giant),
        )
    ]


def _tiny(splits: Splits, image_size: tuple[int, int] | None) -> list[Finding]:
    if image_size is None:
        return []
    height, width = image_size

    def enlarged(image: ImageFacts) -> float:
        return max(height / image.height, width / image.width) if image.width else 0.0

    tiny = _all(splits, lambda image: enlarged(image) > _ENLARGED)
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
            fix="use larger originals, or a --backbone with a smaller input resolution",
            items=tuple(_sized(image) for _, image in tiny),
        )
    ]


def _classes(
    config: Config,
    class_names: Sequence[str],
    counts: Mapping[str, np.ndarray],
    argv: Sequence[str],
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
                cost="too few to learn from",
                fix="add images of them, or use --augment=light",
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
                cost="rare classes are seldom predicted",
                fix=train_command(argv, "--class_weights=balanced"),
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
                f"{config.validation_split!r} has images of only one class"
                if is_one
                else f"{len(absent):,} of {len(class_names):,} classes have no image in "
                f"{config.validation_split!r}",
                cost="their recall is unknown, and the best weights are chosen without them",
                fix="add validation images of them",
                items=tuple(absent),
            )
        )
    return found


def _all(splits: Splits, wanted: Callable[[ImageFacts], bool]) -> list[tuple[str, ImageFacts]]:
    """Return the images that are `wanted`, split by split, in the order of names."""
    return [
        (split, image)
        for split, found in splits.items()
        for image in sorted(filter(wanted, found), key=lambda image: image.path or image.id)
    ]


def _num(found: Sequence[tuple[str, ImageFacts]], noun: str) -> str:
    return f"{len(found):,} {noun}{'s' * (len(found) > 1)}"


def _sized(image: ImageFacts) -> str:
    return f"{image.path or image.id}: {image.width}×{image.height}"
