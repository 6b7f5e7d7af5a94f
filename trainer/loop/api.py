"""Training, evaluating, exporting and predicting from Python; `graft train` goes the same way.

TensorFlow is imported by the calls, after all that can be refused without it.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import logging
import os
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from trainer.data.decode.image_files import find_images
from trainer.process.console import Reporter, WarningsOnly, make_reporter
from trainer.process.errors import UserError
from trainer.process.tensorflow_import import collector_paused, import_tensorflow
from trainer.settings.config import Config
from trainer.storage import api as storage
from trainer.workdir import finished, paths, status
from trainer.workers import cluster as clusters
from trainer.workers import rendezvous, sharding

if TYPE_CHECKING:
    from trainer.engine.evaluate import Evaluation
    from trainer.engine.predictor import Prediction


class Mistake(NamedTuple):
    """A validation image that the best weights predict as another class.

    Attributes:
        id: of the image; in a folder, its path below that.
        label, prediction: the class in the data set, and that of the highest score.
        confidence: that score, in [0, 1].
    """

    id: str
    label: str
    prediction: str
    confidence: float


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a run that has come to its end.

    Attributes:
        workdir: of the run.
        accuracy: of the best weights on the validation split, in [0, 1].
        loss: of the same, in nats.
        metrics: what metrics.json in the workdir holds.
        export: the directory of the exported model; "" where none was asked for.
        report: the path of the report's page; "" where there is none.
    """

    workdir: str
    accuracy: float
    loss: float
    metrics: dict[str, Any] = dataclasses.field(repr=False)
    export: str
    report: str

    def mistakes(self) -> list[Mistake]:
        """Read the mistakes from `report/predictions.csv`, the most confident first.

        Raises:
            UserError: the run has no report.
        """
        if not self.report:
            raise UserError(f"{self.workdir}: has no report, which report=True writes")
        text = storage.read_bytes(storage.join(self.workdir, "report/predictions.csv")).decode()
        wrong = [
            Mistake(row["id"], row["label"], row["prediction"], float(row["confidence"]))
            for row in csv.DictReader(io.StringIO(text))
            if row["prediction"] != row["label"]
        ]
        return sorted(wrong, key=lambda mistake: -mistake.confidence)


def train(config: Config, reporter: Reporter | None = None) -> Result:
    """Train, or go on training, what `config` describes; export it, and check the export.

    The same call resumes a run that was stopped. Signal handlers and what else belongs to the
    whole process are put back in the end; Ctrl-C saves a checkpoint and raises Preempted, but off
    the main thread no signal is listened to.

    Args:
        config: the run.
        reporter: told what a person should know; else lines on stdout, as config.log_format says.

    Raises:
        UserError: the configuration, the data, the backbone or the workdir cannot work.
        Diverged: the loss was not finite, twice.
        Preempted: SIGTERM or Ctrl-C came; a checkpoint of where the run stood is saved.
        PeerLost: another worker does not come, or is gone.
    """
    reporter = reporter or make_reporter(config.log_format, progress_secs=config.log_progress_secs)
    with _environment_put_back():
        metrics = run(config, reporter, time.monotonic(), owns_process=False)
    return result(config, metrics)


def evaluate(workdir: str | os.PathLike[str], split: str = "") -> Evaluation:
    """Evaluate the best weights of the run in `workdir`.

    Args:
        workdir: of a run that has evaluated once, at least.
        split: of the run's data set; else its validation split.

    Returns:
        The evaluation: `accuracy`, `loss`, `num_examples`, `confusion`, `to_dict()` and more.

    Raises:
        UserError: there is no such run or split, or its data or checkpoints are gone.
    """
    config = _recorded_config(workdir)
    split = split or config.validation_split
    with _environment_put_back():
        import_tensorflow()
        from trainer.loop.evaluation import evaluate_best

        return evaluate_best(config, split)


def export(workdir: str | os.PathLike[str], formats: Sequence[str] = ("saved_model",)) -> str:
    """Export the best weights of the run in `workdir`, which has ended, anew and checked.

    Args:
        workdir: of the run.
        formats: as --export_formats.

    Returns:
        The directory, `export` of the workdir; it is replaced as a whole.

    Raises:
        UserError: there is no such run, it has not ended, or a format is none of ours.
        ExportMismatch: the export, loaded anew, does not score what the model scored.
    """
    config = dataclasses.replace(_recorded_config(workdir), export_formats=tuple(formats))
    if not finished.has_ended(config):
        raise UserError(f"{config.workdir}: the run has not ended; trainer.train goes on with it")
    return train(config).export


def predict(
    model: str | os.PathLike[str], images: Sequence[str | os.PathLike[str]], batch_size: int = 32
) -> list[Prediction]:
    """Classify image files by an exported model.

    Args:
        model: an export, or the workdir of a run that has ended.
        images: files, folders and globs.
        batch_size: images scored at a time.

    Returns:
        For each file, in order, a tuple of its `path`, `classes` from the most likely on, their
        `scores`, and the `error` of one that cannot be decoded.

    Raises:
        UserError: `model` is no export of ours, or no images are found.
    """
    words = [images] if isinstance(images, (str, os.PathLike)) else images
    files = find_images([os.fspath(word) for word in words])
    directory = paths.find_export(os.path.expanduser(model))
    with _environment_put_back():
        import_tensorflow()
        from trainer.engine.predictor import classify

        return list(classify(directory, files, batch_size))


def run(config: Config, reporter: Reporter, started: float, owns_process: bool) -> dict[str, Any]:
    """Be one worker of the run: the part of `train` that `graft train` has, too.

    Args:
        config: the run.
        reporter: told what a person should know; of other workers than the chief, the warnings.
        started: `time.monotonic()` when the process, or this run in it, began.
        owns_process: whether the process is there for this run alone.

    Returns:
        What metrics.json in the workdir holds.
    """
    cluster = clusters.read(os.environ, config.worker_hosts, config.task_index)
    sharding.check(cluster.num_workers, config.logical_shards, config.global_batch_size)
    if not cluster.is_chief:
        reporter = WarningsOnly(reporter)
    ended = finished.metrics_if_finished(config) if cluster.is_kubernetes_job else None
    if ended is not None:
        reporter.say(finished.already_finished_message(config, ended["global_step"]))
        return ended
    # Held from here on: the others see that this worker is coming.
    port_socket = None
    if cluster.is_distributed:
        port_socket = rendezvous.reserve_port(cluster, os.environ.get(rendezvous.LISTENING_FD, ""))
    # TensorFlow takes seconds to import: a bad flag is named before.
    with collector_paused() if owns_process else contextlib.nullcontext():
        import_tensorflow()
        from trainer.loop.start import train_and_evaluate
    try:
        return train_and_evaluate(config, reporter, started, cluster, port_socket, owns_process)
    finally:
        reporter.close()


def result(config: Config, metrics: dict[str, Any]) -> Result:
    """The Result of a run that has ended with `metrics`."""
    return Result(
        workdir=config.workdir,
        accuracy=metrics["eval"]["accuracy"],
        loss=metrics["eval"]["loss"],
        metrics=metrics,
        export=paths.part(config.workdir, "export") if config.export_formats else "",
        report=finished.report_path(config, metrics),
    )


def _recorded_config(workdir: str | os.PathLike[str]) -> Config:
    """The settings of the run in `workdir`, which may have been moved there since."""
    directory = os.path.expanduser(os.fspath(workdir))
    recorded = status.settings(directory).get("config")
    if not recorded:
        raise UserError(f"{directory}: holds no run (config.json)")
    known = {field.name for field in dataclasses.fields(Config)}
    values = {name: value for name, value in recorded.items() if name in known}
    return Config(**{**values, "workdir": directory})


@contextlib.contextmanager
def _environment_put_back() -> Iterator[None]:
    """What is set within in the process's environment is gone in the end.

    TensorFlow's logger is heard of errors only: where Python is interactive it prints each export,
    and it warns of functions that are traced again, as they are in every call.
    """
    before, logger = os.environ.copy(), logging.getLogger("tensorflow")
    logger.addFilter(is_shown := lambda record: record.levelno >= logging.ERROR)
    try:
        yield
    finally:
        logger.removeFilter(is_shown)
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
