"""`graft predict`: classify images with an exported model."""

from __future__ import annotations

import csv
import glob
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TextIO

from trainer.data.decode.image_files import SUFFIXES, is_image
from trainer.process.errors import UserError
from trainer.process.tensorflow_import import import_tensorflow
from trainer.settings.command_line import Flag, Groups, command, parse, usage
from trainer.settings.locations import expand_home
from trainer.storage import api as storage

SYNOPSIS = "graft predict --model=DIR [flags] FILE|FOLDER|GLOB ..."
PURPOSE = "Classify images with an exported model."
_NOTHING = storage.Manifest({}, {})
FORMATS = ("table", "csv", "jsonl")
FLAGS: Groups = {
    "Flags": (
        Flag("model", "", "an export, or the --workdir of a run; local or gs://"),
        Flag("format", "table", "how it is printed", choices=FORMATS),
        Flag("top", 1, "classes printed for each image, the best first", int),
        Flag("batch_size", 32, "images scored at a time", int),
        Flag(
            "bad_images", "error", "end with code 2 if an image was bad", choices=("error", "skip")
        ),
    )
}


class Prediction(NamedTuple):
    """One image's classes.

    Attributes:
        path: the file, as found.
        classes: from the most to the least likely.
        scores: their softmax scores, in the same order.
        error: why there are none; empty where there are.
    """

    path: str
    classes: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    error: str = ""


def main(argv: Sequence[str] | None = None) -> int:
    """Predict as the command line says; returns the exit code."""
    return command(argv, _main, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _main(argv: Sequence[str]) -> int:
    values, words = parse(argv, FLAGS)
    for name in ("top", "batch_size"):
        if values[name] < 1:
            raise UserError(f"--{name}={values[name]}: must be at least 1")
    model = _model_directory(expand_home(values["model"]))
    paths = find_images(words)
    import_tensorflow()
    num_bad = 0
    printer = {"table": _print_table, "csv": _print_csv, "jsonl": _print_json_lines}

    def counted() -> Iterator[Prediction]:
        nonlocal num_bad
        for prediction in predict(model, paths, values["batch_size"]):
            num_bad += bool(prediction.error)
            yield prediction

    printer[values["format"]](counted(), values["top"], sys.stdout)
    if num_bad and values["bad_images"] == "error":
        raise UserError(f"{num_bad} of {len(paths)} images could not be read")
    return 0


def find_images(words: Sequence[str]) -> list[str]:
    """The image files that `words` mean: files as they are, folders and globs searched.

    Raises:
        UserError: a word means nothing, or there are no words.
    """
    if not words:
        raise UserError("no images: name files, folders or globs")
    found: dict[str, None] = {}
    for word in words:
        if os.path.isfile(word):
            matches = [word]
        elif os.path.isdir(word):
            matches = _images_below(word)
        else:
            matches = sorted(filter(os.path.isfile, glob.glob(word, recursive=True)))
        if not matches:
            raise UserError(f"{word}: no such file, or no images ({', '.join(SUFFIXES)})")
        found.update(dict.fromkeys(matches))
    return list(found)


def _images_below(root: str) -> list[str]:
    found = []
    for directory, subdirectories, names in os.walk(root):
        subdirectories[:] = [entry for entry in subdirectories if not entry.startswith(".")]
        found += [os.path.join(directory, name) for name in names if is_image(name)]
    return sorted(found)


def predict(model: str, paths: Sequence[str], batch_size: int) -> Iterator[Prediction]:
    """Classify the files at `paths`, in their order, with the export in directory `model`.

    Raises:
        UserError: `model` cannot be loaded.
    """
    import tensorflow as tf

    from trainer.graph.errors import reason

    try:
        signature = tf.saved_model.load(model).signatures["serving_default"]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise UserError(f"--model={model}: not an export of Graft, or damaged ({error})") from error

    def score(batch: Sequence[str], contents: Sequence[bytes]) -> list[Prediction]:
        try:
            outputs = signature(image_bytes=tf.constant(contents))
        except tf.errors.InvalidArgumentError as error:
            if len(batch) == 1:
                return [Prediction(batch[0], error=reason(error))]
            # One of them is bad; alone, each answers for itself.
            return [
                score([path], [content])[0] for path, content in zip(batch, contents, strict=True)
            ]
        return [
            Prediction(path, tuple(c.decode() for c in classes), tuple(map(float, scores)))
            for path, classes, scores in zip(
                batch,
                outputs["classes"].numpy().tolist(),
                outputs["scores"].numpy().tolist(),
                strict=True,
            )
        ]

    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        contents = []
        for path in batch:
            with open(path, "rb") as stream:
                contents.append(stream.read())
        yield from score(batch, contents)


def _model_directory(model: str) -> str:
    if not model:
        raise UserError("--model: required; an export, or the --workdir of a run")
    for directory in (model, storage.join(model, "export")):
        if storage.is_remote(directory):
            is_export = "saved_model.pb" in (storage.read_manifest(directory) or _NOTHING).files
        else:
            is_export = os.path.isfile(os.path.join(directory, "saved_model.pb"))
        if is_export:
            return directory
    raise UserError(f"--model={model}: holds no exported model (saved_model.pb)")


def _print_table(predictions: Iterator[Prediction], top: int, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # a path is no markup, whatever brackets it holds

    table = Table("image", "class", "score", box=box.SIMPLE_HEAD)
    table.columns[2].justify = "right"
    for p in predictions:
        if p.error:
            table.add_row(Text(p.path), Text(p.error, "red"), "")
        for i, (name, score) in enumerate(zip(p.classes[:top], p.scores[:top], strict=True)):
            table.add_row(Text("" if i else p.path), Text(name), f"{score:.4f}")
    # As wide as it must be where nobody looks: a path cut short is no path.
    Console(file=stream, width=None if stream.isatty() else 10_000).print(table)


def _print_csv(predictions: Iterator[Prediction], top: int, stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "rank", "class", "score", "error"])
    for p in predictions:
        if p.error:
            writer.writerow([p.path, "", "", "", p.error])
        for i, (name, score) in enumerate(
            zip(p.classes[:top], p.scores[:top], strict=True), start=1
        ):
            writer.writerow([p.path, i, name, f"{score:.6f}", ""])


def _print_json_lines(predictions: Iterator[Prediction], top: int, stream: TextIO) -> None:
    for p in predictions:
        line: dict[str, Any] = {"path": p.path}
        if p.error:
            line["error"] = p.error
        else:
            line.update(classes=p.classes[:top], scores=p.scores[:top])
        print(json.dumps(line, ensure_ascii=False), file=stream)
