"""Train, evaluate, export and predict from Python; `graft train` uses the same code.

The calls import TensorFlow after all checks that do not need it.
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
        id: of the image; for a folder, its relative path.
        label, prediction: the class in the data set, and the predicted one.
        confidence: the score of the prediction, in [0, 1].
    """

    id: str
    label: str
    prediction: str
    confidence: float


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a finished run.

    Attributes:
        workdir: of the run.
        accuracy: of the best weights on the validation split, in [0, 1].
        loss: of the same, in nats.
        metrics: what metrics.json in the workdir holds.
        export: the directory of the exported model, or "".
        report: the path of the report's page, or "".
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
            raise UserError(f"{self.workdir}: has no report; train with report=True")
        text = storage.read_bytes(storage.join(self.workdir, finished.PREDICTIONS_FILE)).decode()
        wrong = [
            Mistake(row["id"], row["label"], row["prediction"], float(row["confidence"]))
            for row in csv.DictReader(io.StringIO(text))
            if row["prediction"] != row["label"]
        ]
        return sorted(wrong, key=lambda mistake: -mistake.confidence)


def train(config: Config, reporter: Reporter | None = None) -> Result:
    """Train or resume the run of `config`; export the model, and check the export.

    The same call resumes a stopped run. Signal handlers and process-wide settings are restored at
    the end. Ctrl-C saves a checkpoint and raises Preempted; off the main thread signals are not
    handled.

    Args:
        config: the run.
        reporter: prints progress and warnings; by default to stdout, as config.log_format.

    Raises:
        UserError: the configuration, the data, the backbone or the workdir cannot work.
        Diverged: the loss was not finite, twice.
        Preempted: SIGTERM or Ctrl-C came; a checkpoint was saved.
        PeerLost: another worker does not join or is lost.
    """
    reporter = reporter or make_reporter(config.log_format, progress_secs=config.log_progress_secs)
    with _restored_environment():
        metrics = run(config, reporter, time.monotonic(), owns_process=False)
    return result(config, metrics)


def evaluate(workdir: str | os.PathLike[str], split: str = "") -> Evaluation:
    """Evaluate the best weights of the run in `workdir`.

    Args:
        workdir: of a run with at least one evaluation.
        split: of the run's data set; "" for its validation split.

    Returns:
        The evaluation: `accuracy`, `loss`, `num_examples`, `confusion`, `to_dict()` and more.

    Raises:
        UserError: the run, the split, the data or the checkpoints are missing.
    """
    config = _recorded_config(workdir)
    split = split or config.validation_split
    with _restored_environment():
        import_tensorflow()
        from trainer.loop.evaluation import evaluate_best

        return evaluate_best(config, split)


def export(workdir: str | os.PathLike[str], formats: Sequence[str] = ("saved_model",)) -> str:
    """Export the best weights of the finished run in `workdir` again, and check the export.

    Args:
        workdir: of the run.
        formats: as --export_formats.

    Returns:
        The directory, `export` of the workdir; it is replaced atomically.

    Raises:
        UserError: there is no such run, it has not ended, or a format is unknown.
        ExportMismatch: the reloaded export does not have the model's accuracy.
    """
    config = dataclasses.replace(_recorded_config(workdir), export_formats=tuple(formats))
    if not finished.has_ended(config):
        raise UserError(f"{config.workdir}: the run has not ended; trainer.train resumes it")
    return train(config).export


def predict(
    model: str | os.PathLike[str], images: Sequence[str | os.PathLike[str]], batch_size: int = 32
) -> list[Prediction]:
    """Classify image files by an exported model.

    Args:
        model: an export, or the workdir of a finished run.
        images: files, folders and globs.
        batch_size: images scored at a time.

    Returns:
        For each file, in order: its `path`, its `classes` from the most to the least likely, their
        `scores`, and the `error` of a file that cannot be decoded.

    Raises:
        UserError: `model` is not an export of Graft, or no images are found.
    """
    patterns = [images] if isinstance(images, (str, os.PathLike)) else images
    files = find_images([os.fspath(pattern) for pattern in patterns])
    directory = paths.find_export(os.path.expanduser(model))
    with _restored_environment():
        import_tensorflow()
        from trainer.engine.predictor import classify

        return list(classify(directory, files, batch_size))


def run(config: Config, reporter: Reporter, started: float, owns_process: bool) -> dict[str, Any]:
    """Run one worker of the run; used by `train` and `graft train`.

    Args:
        config: the run.
        reporter: prints progress and warnings; warnings alone unless this worker is the chief.
        started: `time.monotonic()` at the start of the process, or of this run in it.
        owns_process: whether the process exists for this run alone.

    Returns:
        The content of metrics.json in the workdir.
    """
    cluster = clusters.read(os.environ, config.worker_hosts, config.task_index)
    sharding.check(cluster.num_workers, config.logical_shards, config.global_batch_size)
    if not cluster.is_chief:
        reporter = WarningsOnly(reporter)
    ended = finished.metrics_if_finished(config) if cluster.is_kubernetes_job else None
    if ended is not None:
        reporter.say(finished.already_finished_message(config, ended["global_step"]))
        return ended
    # Held from now on: the other workers see that this worker is starting.
    port_socket = None
    if cluster.is_distributed:
        port_socket = rendezvous.reserve_port(cluster, os.environ.get(rendezvous.LISTENING_FD, ""))
    # TensorFlow takes seconds to import, so flags are checked before.
    with collector_paused() if owns_process else contextlib.nullcontext():
        import_tensorflow()
        from trainer.loop.start import train_and_evaluate
    try:
        return train_and_evaluate(config, reporter, started, cluster, port_socket, owns_process)
    finally:
        reporter.close()


def result(config: Config, metrics: dict[str, Any]) -> Result:
    """Return the Result of a run that has ended with `metrics`."""
    return Result(
        workdir=config.workdir,
        accuracy=metrics["eval"]["accuracy"],
        loss=metrics["eval"]["loss"],
        metrics=metrics,
        export=paths.part(config.workdir, "export") if config.export_formats else "",
        report=finished.report_path(config, metrics),
    )


def _recorded_config(workdir: str | os.PathLike[str]) -> Config:
    """Read the settings of the run in `workdir`, which may have been moved."""
    directory = os.path.expanduser(os.fspath(workdir))
    recorded = status.settings(directory).get("config")
    if not recorded:
        raise UserError(f"{directory}: holds no run (config.json)")
    known = {field.name for field in dataclasses.fields(Config)}
    values = {name: value for name, value in recorded.items() if name in known}
    return Config(**{**values, "workdir": directory})


@contextlib.contextmanager
def _restored_environment() -> Iterator[None]:
    """Restore the process's environment on exit.

    TensorFlow's logger shows only errors within: it would print each export where Python is
    interactive, and warn of functions that are traced again, as in every call.
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
