"""Summarize the page in a few sentences, each with the section that shows more."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

_MAX_NAMES = 3
_INPUT_BOUND, _OVERFIT, _EARLY, _MISCALIBRATED, _IMBALANCED = 0.2, 0.1, 0.6, 0.05, 5
_FEW = 10
# False positives among correct labels; see docs/report.md. Two deviations above that are many.
_FALSE_POSITIVE_RATE = 0.0026


def find(contents: dict[str, Any]) -> list[dict[str, str]]:
    """Return the findings of `contents`, which contents.build returns.

    Returns:
        {"kind", "text", "section"}: "look" if something should be done, else "note".
    """
    rules = (_data, _classes, _training)
    found = [finding for rule in rules for finding in rule(contents)]
    return sorted(found, key=lambda finding: finding["kind"] != "look")


def _data(contents: dict[str, Any]) -> Iterator[dict[str, str]]:
    near_duplicates, suspect_labels = contents["duplicates"], contents["mislabels"]["count"]
    if near_duplicates["num_exact"] or near_duplicates["num_near"]:
        count = near_duplicates["num_exact"] + near_duplicates["num_near"]
        yield _look(
            f"{_images(count, 'validation')} {_is(count)} also in the training split "
            f"({near_duplicates['num_exact']:,} byte for byte): the accuracy is overestimated.",
            "duplicates",
        )
    if suspect_labels:
        named = f"{suspect_labels:,} suspect label" + ("" if suspect_labels == 1 else "s")
        splits = [split for split in contents["data"]["splits"] if split["role"] != "test"]
        expected = _FALSE_POSITIVE_RATE * sum(split["num_examples"] for split in splits)
        if suspect_labels > expected + 2 * math.sqrt(expected):
            yield _look(f"{named}.", "mislabels")
        else:
            yield _note(f"{named}, about as many as among correct labels.", "mislabels")
    skipped = contents["data"]["num_skipped"]
    if skipped:
        yield _look(f"{_images(skipped, 'broken')} {_is(skipped)} left out.", "data")
    for split in contents["data"]["splits"]:
        counts = split["counts"]
        if split["role"] == "training" and counts and max(counts) > _IMBALANCED * min(counts):
            yield _note(
                f"The largest class has {max(counts):,} training images, the smallest "
                f"{min(counts):,}: --class_weights=balanced may help.",
                "data",
            )


def _classes(contents: dict[str, Any]) -> Iterator[dict[str, str]]:
    never = contents["confusion"]["never_predicted"]
    if never:
        yield _look(f"Never predicted: {_names(never)}.", "confusion")
    for pair in contents["confusion"]["pairs"][:2]:
        yield _note(
            f"{pair['count']:,} of {pair['num_examples']:,} images of {pair['label']} are "
            f"predicted as {pair['prediction']}.",
            "confusion",
        )
    few = [c["name"] for c in contents["classes"] if 0 < c["num_examples"] < _FEW]
    if few:
        yield _note(
            f"Fewer than {_FEW} validation images: {_names(few)}; their figures are uncertain.",
            "classes",
        )
    error, evaluation = contents["calibration"]["error"], contents["metrics"].get("eval") or {}
    confidence = contents["calibration"]["confidence"]
    if error is not None and error > _MISCALIBRATED and evaluation.get("accuracy") is not None:
        yield _note(
            f"The mean confidence is {confidence:.0%}, the accuracy {evaluation['accuracy']:.0%}: "
            "the scores are not calibrated.",
            "calibration",
        )


def _training(contents: dict[str, Any]) -> Iterator[dict[str, str]]:
    metrics = contents["metrics"]
    best, last = (metrics.get("best") or {}).get("global_step"), metrics.get("global_step")
    if best is not None and last and best < _EARLY * last:
        yield _note(
            f"The best weights are those of step {best:,} of {last:,}: later steps did not "
            "improve them.",
            "curves",
        )
    train = (metrics.get("train") or {}).get("accuracy")
    validation = (metrics.get("eval") or {}).get("accuracy")
    if train is not None and validation is not None and train - validation > _OVERFIT:
        yield _note(
            f"The accuracy is {train:.0%} on training and {validation:.0%} on validation images: "
            "more images, --augment or --dropout may help.",
            "curves",
        )
    if (metrics.get("input_wait") or 0) > _INPUT_BOUND:
        yield _look(
            f"Training waits for data for {metrics['input_wait']:.0%} of its time.", "speed"
        )
    if not (metrics.get("eval") or {}).get("num_examples"):
        yield _look("There is no evaluation: the run has not finished.", "curves")


def _look(text: str, section: str) -> dict[str, str]:
    return {"kind": "look", "text": text, "section": section}


def _note(text: str, section: str) -> dict[str, str]:
    return {"kind": "note", "text": text, "section": section}


def _images(count: int, kind: str) -> str:
    return f"{count:,} {kind} image" + ("" if count == 1 else "s")


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _names(names: list[str]) -> str:
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f" and {more:,} more" if more > 0 else "")
