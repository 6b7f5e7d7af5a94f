"""Vertex AI import files for single-label image classification: CSV and JSON lines.

The formats:
https://cloud.google.com/vertex-ai/docs/image-data/classification/prepare-data
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator

import tensorflow as tf

from trainer.data.sources.listed_source import (
    ListedSource,
    Listing,
    check_classes,
    split_by_hash,
)
from trainer.process.errors import UserError

SUFFIXES = (".csv", ".jsonl")

_SPLITS = {
    "training": "train",
    "train": "train",
    "validation": "validation",
    "test": "test",
    "unassigned": "",
    "": "",
}
_ML_USE_LABEL = "aiplatform.googleapis.com/ml_use"

# One row: its file and line, the split as written, the image's path, its label.
_Row = tuple[str, str, str, str]
# One image: its path as written, its resolved path, its label.
_Image = tuple[str, str, str]


def are_import_files(dataset: str) -> bool:
    """Return whether `--dataset` names import files, by suffix or a `*` in the last part."""
    return all(
        path.lower().endswith(SUFFIXES) or "*" in path.rpartition("/")[2]
        for path in dataset.split(",")
    )


def open_import_files(dataset: str) -> ListedSource:
    """Open the images that import files list; relative paths are relative to their file.

    Rows of `[ML_USE,]PATH,LABEL`, or JSON objects with `imageGcsUri`,
    `classificationAnnotation.displayName` and, for the split, `dataItemResourceLabels`. A row
    without a split gets one by a hash of its path. An id is the path as written.

    Args:
        dataset: files separated by commas; a `*` matches any part of a name.

    Raises:
        UserError: a missing file, an invalid row (named by its line), an image listed twice, no
            rows, one class, or a label that train lacks.
    """
    name = f"--dataset={dataset}"
    splits: dict[str, list[_Image]] = {"train": [], "validation": []}
    seen: dict[str, str] = {}
    for path in _files(dataset):
        rows = _csv_rows if path.lower().endswith(".csv") else _json_rows
        for where, ml_use, image, label in rows(f"--dataset={path}: line", _text(path)):
            split = _SPLITS.get(ml_use.strip().lower())
            if split is None:
                raise UserError(f"{where}: ML_USE is {ml_use!r}; training, validation or test")
            if not image or not label:
                raise UserError(f"{where}: must name an image and its label")
            here = where.removeprefix("--dataset=" if path != dataset else f"{name}: ")
            if image in seen:
                raise UserError(f"{where}: {image} is already in {seen[image]}")
            seen[image] = here
            found = image if "://" in image else os.path.join(os.path.dirname(path), image)
            splits.setdefault(split or split_by_hash(image), []).append((image, found, label))
    class_names = tuple(sorted({label for *_, label in splits["train"]}))
    for split, images in splits.items():
        for *_, label in images:
            if label not in class_names:
                raise UserError(f"{name}: label {label!r} of split {split!r} is not in train")
    if not seen:
        raise UserError(f"{name}: no images")
    listings = {split: _listing(class_names, images) for split, images in splits.items()}
    check_classes(name, listings, class_names)
    return ListedSource(name, class_names, listings)


def _files(dataset: str) -> list[str]:
    files: list[str] = []
    for path in dataset.split(","):
        found = sorted(tf.io.gfile.glob(path)) if "*" in path else [path]
        if not found or not tf.io.gfile.exists(found[0]):
            raise UserError(f"--dataset={path}: there is no such file")
        files += found
    return files


def _text(path: str) -> str:
    with tf.io.gfile.GFile(path, "rb") as stream:
        try:
            return str(stream.read().decode("utf-8-sig"))  # spreadsheets write a byte order mark
        except UnicodeDecodeError as error:
            raise UserError(f"--dataset={path}: must be UTF-8 text ({error})") from error


def _csv_rows(where: str, text: str) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise UserError(f"{where} {reader.line_num}: {error}") from error
        line = f"{where} {reader.line_num}"
        if not any(cells):
            continue
        # The first column is optional; several labels would be a multi-label task.
        if len(cells) == 3:
            yield line, cells[0], cells[1].strip(), cells[2].strip()
        elif len(cells) == 2:
            yield line, "", cells[0].strip(), cells[1].strip()
        else:
            raise UserError(f"{line}: {len(cells)} columns; must be [ML_USE,]PATH,LABEL")


def _json_rows(where: str, text: str) -> Iterator[_Row]:
    for number, row in enumerate(text.split("\n"), start=1):
        line = f"{where} {number}"
        if not row.strip():
            continue
        try:
            item = json.loads(row)
            image = item["imageGcsUri"]
            label = item["classificationAnnotation"]["displayName"]
            ml_use = item.get("dataItemResourceLabels", {}).get(_ML_USE_LABEL, "")
            if not all(isinstance(value, str) for value in (image, label, ml_use)):
                raise TypeError("all of them text")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{line}: must be a JSON object with imageGcsUri and "
                f"classificationAnnotation.displayName ({type(error).__name__}: {error})"
            ) from error
        yield line, ml_use, image, label


def _listing(class_names: tuple[str, ...], images: list[_Image]) -> Listing:
    index = {label: i for i, label in enumerate(class_names)}
    return Listing(
        paths=tuple(found for _, found, _ in images),
        labels=tuple(index[label] for *_, label in images),
        ids=tuple(image for image, *_ in images),
    )
