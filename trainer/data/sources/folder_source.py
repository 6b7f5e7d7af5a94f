"""A folder of images by label, with or without split directories above.

root/<split>/<label>/*.jpg      the splits are the directories
root/<label>/*.jpg              every fifth image, by a hash of its path, is for validation
"""

from __future__ import annotations

import os
from collections import defaultdict

import tensorflow as tf

from trainer.data.decode.image_files import SUFFIXES, is_image
from trainer.data.sources.listed_source import (
    ListedSource,
    Listing,
    check_classes,
    split_by_hash,
)
from trainer.process.errors import UserError

# Names of split directories, and the split of each.
SPLIT_DIRECTORIES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def open_folder(root: str) -> ListedSource:
    """Open the images under `root`, local or gs://.

    Classes are the label directories in sorted order; hidden entries and files without an image's
    suffix are skipped. An id is the path relative to `root`.

    Raises:
        UserError: no image, one class, a class without images, or a label that train lacks.
    """
    name = f"--dataset={root}"
    try:
        top = _directories(root)
        if top and all(entry.lower() in SPLIT_DIRECTORIES for entry in top):
            splits = _with_split_directories(name, root, top)
        else:
            splits = _without_split_directories(root, top)
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: file names must be UTF-8; {error.object!r} is not") from error
    if not any(found for labels in splits.values() for found in labels.values()):
        own = any(is_image(entry) for entry in tf.io.gfile.listdir(root))
        raise UserError(
            f"{name}: no images; {'its own are of no class; ' if own else ''}"
            "expected <label>/*.jpg or <split>/<label>/*.jpg below it "
            f"({', '.join(SUFFIXES)})"
        )
    class_names = tuple(sorted(splits["train"]))
    for split, labels in splits.items():
        for label in sorted(labels.keys() - splits["train"].keys()):
            raise UserError(f"{name}: label {label!r} of split {split!r} is not in train")
    listings = {split: _listing(root, class_names, labels) for split, labels in splits.items()}
    check_classes(name, listings, class_names)
    return ListedSource(name, class_names, listings)


# split -> label -> paths relative to the root.
_Found = dict[str, dict[str, list[str]]]


def _with_split_directories(name: str, root: str, top: list[str]) -> _Found:
    splits: _Found = {}
    for directory in top:
        split = SPLIT_DIRECTORIES[directory.lower()]
        if split in splits:
            raise UserError(f"{name}: two directories for the split {split!r}: {', '.join(top)}")
        labels = _directories(os.path.join(root, directory))
        splits[split] = {label: _images(root, os.path.join(directory, label)) for label in labels}
    if "train" not in splits:
        raise UserError(f"{name}: no train directory beside {', '.join(top)}")
    return splits


def _without_split_directories(root: str, top: list[str]) -> _Found:
    splits: _Found = {"train": {label: [] for label in top}, "validation": defaultdict(list)}
    for label in top:
        for path in _images(root, label):
            splits[split_by_hash(path)][label].append(path)
    return splits


def _directories(path: str) -> list[str]:
    entries = (entry.rstrip("/") for entry in tf.io.gfile.listdir(path))
    return sorted(
        entry
        for entry in entries
        if not entry.startswith(".") and tf.io.gfile.isdir(os.path.join(path, entry))
    )


def _images(root: str, below: str) -> list[str]:
    found = []
    for directory, subdirectories, files in tf.io.gfile.walk(os.path.join(root, below)):
        subdirectories[:] = [
            entry
            for entry in subdirectories
            if not entry.startswith(".") and not _leads_back(directory, entry)
        ]
        for file in files:
            if is_image(file):
                found.append(os.path.relpath(os.path.join(directory, file), root))
    return sorted(found)


def _leads_back(directory: str, entry: str) -> bool:
    """Return whether a link points to one of its parents, which would make the walk endless."""
    path = os.path.join(directory, entry)
    if not os.path.islink(path):
        return False
    target = os.path.join(os.path.realpath(path), "")
    return os.path.join(os.path.realpath(directory), "").startswith(target)


def _listing(root: str, class_names: tuple[str, ...], labels: dict[str, list[str]]) -> Listing:
    rows = [
        (os.path.join(root, path), index, path)
        for index, label in enumerate(class_names)
        for path in labels.get(label, ())
    ]
    paths, indices, ids = zip(*rows, strict=True) if rows else ((), (), ())
    return Listing(paths, indices, ids)
