"""`graft predict`: classify images with an exported model."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

from trainer.data.decode.image_files import find_images
from trainer.process.errors import UserError
from trainer.process.tensorflow_import import import_tensorflow
from trainer.settings.command_line import Flag, Groups, command, parse, usage
from trainer.settings.locations import expand_home
from trainer.workdir.paths import find_export

if TYPE_CHECKING:
    from trainer.engine.predictor import Prediction

SYNOPSIS = "graft predict --model=DIR [flags] FILE|FOLDER|GLOB ..."
PURPOSE = "Classify images with an exported model."
FORMATS = ("table", "csv", "jsonl")
FLAGS: Groups = {
    "Flags": (
        Flag("model", "", "an export, or the --workdir of a run; local or gs://"),
        Flag("format", "table", "output format", choices=FORMATS),
        Flag("top", 1, "classes printed for each image, the best first", int),
        Flag("batch_size", 32, "images scored at a time", int),
        Flag(
            "bad_images", "error", "end with code 2 if an image was bad", choices=("error", "skip")
        ),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """Classify the images that `argv` names; return the exit code."""
    return command(argv, _main, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _main(argv: Sequence[str]) -> int:
    values, patterns = parse(argv, FLAGS)
    for name in ("top", "batch_size"):
        if values[name] < 1:
            raise UserError(f"--{name}={values[name]}: must be at least 1")
    model = find_export(expand_home(values["model"]))
    paths = find_images(patterns)
    import_tensorflow()
    from trainer.engine.predictor import classify

    num_bad = 0
    printer = {"table": _print_table, "csv": _print_csv, "jsonl": _print_json_lines}

    def counted() -> Iterator[Prediction]:
        nonlocal num_bad
        for prediction in classify(model, paths, values["batch_size"]):
            num_bad += bool(prediction.error)
            yield prediction

    printer[values["format"]](counted(), values["top"], sys.stdout)
    if num_bad and values["bad_images"] == "error":
        raise UserError(f"{num_bad} of {len(paths)} images could not be read")
    return 0


def _print_table(predictions: Iterator[Prediction], top: int, stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # brackets in a path are no markup

    table = Table("image", "class", "score", box=box.SIMPLE_HEAD)
    table.columns[2].justify = "right"
    for p in predictions:
        if p.error:
            table.add_row(Text(p.path), Text(p.error, "red"), "")
        for i, (name, score) in enumerate(zip(p.classes[:top], p.scores[:top], strict=True)):
            table.add_row(Text("" if i else p.path), Text(name), f"{score:.4f}")
    # Never truncate a path unless a terminal does.
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
