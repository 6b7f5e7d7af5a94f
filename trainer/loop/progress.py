"""Record steps and evaluations in the run's state, its curves and on its console."""

from __future__ import annotations

import math
from collections.abc import Mapping

from trainer.board import images
from trainer.board.event_writer import SummaryWriter
from trainer.data.sources.listed_source import ListedSource
from trainer.engine import optimizers, vertex_trial
from trainer.engine import strategy as strategies
from trainer.engine.evaluate import Evaluation
from trainer.engine.run import Run
from trainer.process import machine
from trainer.process.errors import UserError
from trainer.workdir.state import RunState, StepMetrics

# A run is input-bound above this share of input wait; it warns once, after so many seconds.
_INPUT_BOUND, _MIN_TIMED_SECS = 0.2, 30.0

# How many skipped images a warning names; and how many records, which have no labels until they
# are read, may be read to find classes without images.
_MAX_NAMED, _MAX_READ = 3, 20_000


def record_steps(
    run: Run, state: RunState, summary_writer: SummaryWriter, rows: list[StepMetrics]
) -> None:
    """Record the steps of one loop in the state, the curves and the progress bar.

    Raises:
        UserError: no image could be decoded in the first epoch.
    """
    config, plan = run.config, run.plan
    rate = optimizers.learning_rate(config, plan.num_steps)
    is_begin = state.global_step == 0
    for row in rows:
        state.add_step(row, plan.steps_per_epoch)
        step = state.global_step
        if step % config.log_every_steps == 0 or step == plan.num_steps:
            point = {
                **state.pop_recent_means(),
                "learning_rate": float(rate(step - 1)),
                "examples_per_sec": state.examples_per_sec,
                "input_wait": state.input_wait,
                "goodput": run.ledger.fraction(),
                **strategies.device_memory(),
            }
            summary_writer.write("train", step, point)
    if not state.has_seen and state.global_step >= min(plan.steps_per_epoch, plan.num_steps):
        raise UserError(f"no image of split {config.train_split!r} could be decoded so far")
    if is_begin:
        with run.ledger.phase("evaluation"):
            images.show_training_images(run, summary_writer)
    state.skipped.update(run.pipeline.bad_images.before_step(state.global_step))
    figures = state.epoch_means()
    if state.examples_per_sec:  # the first loop is not timed
        figures = {**figures, "images_per_sec": state.examples_per_sec}
    run.reporter.advance("training", state.global_step, plan.num_steps, **figures)
    _report_to_kubeflow(run, state, state.epoch_means())


def record_evaluation(
    run: Run, state: RunState, summary_writer: SummaryWriter, evaluation: Evaluation
) -> None:
    """Record an evaluation of the current weights in the state, the curves and on the console."""
    patience = run.config.early_stopping_patience
    is_best = state.add_evaluation(evaluation.accuracy, evaluation.loss, patience)
    summary_writer.write(
        "eval",
        state.global_step,
        {
            "loss": evaluation.loss,
            "accuracy": evaluation.accuracy,
            **images.per_class(evaluation),
        },
    )
    with run.ledger.phase("evaluation"):
        images.show_evaluation(run, summary_writer, state.global_step, evaluation)
    state.skipped.update(run.pipeline.bad_images.before_step(state.global_step))
    run.reporter.say(
        f"epoch {run.plan.epoch(state.global_step):>4g}  "
        f"train loss {state.train['loss']:.4f} accuracy {state.train['accuracy']:.4f}   "
        f"validation loss {evaluation.loss:.4f} accuracy {evaluation.accuracy:.4f}"
        + ("  best" if is_best else ""),
        global_step=state.global_step,
        validation_loss=evaluation.loss,
        validation_accuracy=evaluation.accuracy,
    )
    _report_to_kubeflow(
        run,
        state,
        {"validation_loss": evaluation.loss, "validation_accuracy": evaluation.accuracy},
    )
    if run.workers.is_chief:
        try:
            vertex_trial.report(
                {"accuracy": evaluation.accuracy, "loss": evaluation.loss}, state.global_step
            )
        except OSError as error:
            run.reporter.warn(
                f"cannot report to the tuning job: {vertex_trial.metric_file()}: {error.strerror}"
            )
    if state.stopped_early:
        evaluations = f"{patience} evaluation{'s' * (patience > 1)}"
        run.reporter.say(f"stopping   early: no improvement in {evaluations}")


def warn_of_skipped(run: Run, state: RunState) -> None:
    """Warn about the skipped images, and about classes without any image left."""
    if not state.skipped or not run.workers.is_chief:
        return
    count, shown = len(state.skipped), ", ".join(sorted(state.skipped)[:_MAX_NAMED])
    more = ", …; metrics.json lists them" if count > _MAX_NAMED else ""
    were = "image was" if count == 1 else "images were"
    run.reporter.warn(f"{count:,} {were} skipped: {shown}{more}")
    source, split = run.source, run.config.train_split
    if run.features is not None:
        counts = run.features.table.label_counts(len(source.class_names))
    elif isinstance(source, ListedSource) or source.num_examples(split) <= _MAX_READ:
        counts = source.label_counts(split, without=state.skipped)
    else:
        return
    for name, number in zip(source.class_names, counts, strict=True):
        if not number:
            run.reporter.warn(f"no image of class {name!r} could be trained on: all were skipped")


def _report_to_kubeflow(run: Run, state: RunState, metrics: Mapping[str, float]) -> None:
    if run.kubeflow is None:
        return
    examples_left = (run.plan.num_steps - state.global_step) * run.config.global_batch_size
    rate = state.examples_per_sec
    secs_left = examples_left / rate if rate else math.inf
    run.kubeflow.update(state.global_step, run.plan.num_steps, secs_left, metrics)
    warn_of_kubeflow(run)


def warn_of_kubeflow(run: Run) -> None:
    """Warn, once, why a post to Kubeflow's status server failed."""
    if run.kubeflow is not None and run.kubeflow.problem:
        run.reporter.warn(f"cannot report progress to Kubeflow: {run.kubeflow.problem}")
        run.kubeflow.problem = ""


def record_speed(
    run: Run, state: RunState, num_steps: int, took_secs: float, waited_secs: float
) -> None:
    """Record the time of some steps, of which `waited_secs` were input wait."""
    state.examples_per_sec = num_steps * run.config.global_batch_size / took_secs
    state.waited_secs += waited_secs
    before, state.timed_secs = state.timed_secs, state.timed_secs + took_secs
    if before < _MIN_TIMED_SECS <= state.timed_secs:
        _report_input_wait(run, state)


def warn_if_input_bound(run: Run, state: RunState) -> None:
    """Warn at the end of training if it was input-bound, unless that was checked before."""
    if 1 < state.timed_secs < _MIN_TIMED_SECS:
        _report_input_wait(run, state)


def _report_input_wait(run: Run, state: RunState) -> None:
    if state.input_wait < _INPUT_BOUND:
        return
    config = run.config
    if config.freeze_backbone and config.augment == "none" and not config.mixes:
        advice = "--feature_cache=auto computes each feature once"
    elif config.freeze_backbone and not config.mixes:
        advice = "--feature_views=8 keeps 8 augmented views of each image as features"
    elif isinstance(run.source, ListedSource):
        advice = "pack the images with `graft pack`, best at the size that the backbone takes"
    else:
        advice = f"give it more than {machine.num_cores()} cores, or smaller images"
    run.reporter.say(
        f"input-bound: {state.input_wait:.0%} of the time waiting for data; {advice}",
        input_wait=state.input_wait,
    )
