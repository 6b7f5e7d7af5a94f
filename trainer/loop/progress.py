"""Record steps and evaluations in the run's state, its curves and its console."""

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

# Warn once, after so many seconds, if training waits for data for more than this fraction.
_INPUT_BOUND, _JUDGED_AFTER_SECS = 0.2, 30.0

# So many left-out images are named. Records show their class only when they are read: at most so
# many are read to find classes without images.
_SHOWN, _MAX_READ = 3, 20_000


def note_steps(
    run: Run, state: RunState, summary_writer: SummaryWriter, rows: list[StepMetrics]
) -> None:
    """Add the steps of one loop to the state, the curves and the progress bar.

    Raises:
        UserError: a whole epoch is done, or the training is, and no image could be decoded.
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
        raise UserError(f"no image of split {config.train_split!r} that was met could be decoded")
    if is_begin:
        with run.ledger.phase("evaluation"):
            images.show_training_images(run, summary_writer)
    state.skipped.update(run.pipeline.bad_images.before_step(state.global_step))
    figures = state.epoch_means()
    if state.examples_per_sec:  # the first loop is not timed
        figures = {**figures, "images_per_sec": state.examples_per_sec}
    run.reporter.advance("training", state.global_step, plan.num_steps, **figures)
    _report_to_kubeflow(run, state, state.epoch_means())


def note_evaluation(
    run: Run, state: RunState, summary_writer: SummaryWriter, evaluation: Evaluation
) -> None:
    """Add an evaluation of the weights as they are to the state, the curves and the console."""
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
                f"the tuning job learns nothing: {vertex_trial.metric_file()}: {error.strerror}"
            )
    if state.stopped_early:
        run.reporter.say(f"stopping   early: no improvement in {patience} evaluations")


def warn_of_skipped(run: Run, state: RunState) -> None:
    """Warn at the end which images were left out, and which classes have none left."""
    if not state.skipped or not run.workers.is_chief:
        return
    count, shown = len(state.skipped), ", ".join(sorted(state.skipped)[:_SHOWN])
    more = ", …; metrics.json lists them" if count > _SHOWN else ""
    were = "image was" if count == 1 else "images were"
    run.reporter.warn(f"{count:,} {were} left out: {shown}{more}")
    source, split = run.source, run.config.train_split
    if run.features is not None:
        left = run.features.table.label_counts(len(source.class_names))
    elif isinstance(source, ListedSource) or source.num_examples(split) <= _MAX_READ:
        left = source.label_counts(split, without=state.skipped)
    else:
        return
    for name, number in zip(source.class_names, left, strict=True):
        if not number:
            run.reporter.warn(f"no image of class {name!r} could be trained on: all were left out")


def _report_to_kubeflow(run: Run, state: RunState, metrics: Mapping[str, float]) -> None:
    if run.kubeflow is None:
        return
    examples_left = (run.plan.num_steps - state.global_step) * run.config.global_batch_size
    rate = state.examples_per_sec
    secs_left = examples_left / rate if rate else math.inf
    run.kubeflow.note(state.global_step, run.plan.num_steps, secs_left, metrics)
    warn_of_kubeflow(run)


def warn_of_kubeflow(run: Run) -> None:
    """Warn, once, why Kubeflow's status server could not be reached."""
    if run.kubeflow is not None and run.kubeflow.problem:
        run.reporter.warn(f"Kubeflow does not learn how the run goes: {run.kubeflow.problem}")
        run.kubeflow.problem = ""


def note_speed(
    run: Run, state: RunState, num_steps: int, took_secs: float, waited_secs: float
) -> None:
    """Add the time of `num_steps` steps, `waited_secs` of it spent waiting for batches."""
    state.examples_per_sec = num_steps * run.config.global_batch_size / took_secs
    state.waited_secs += waited_secs
    before, state.timed_secs = state.timed_secs, state.timed_secs + took_secs
    if before < _JUDGED_AFTER_SECS <= state.timed_secs:
        _report_if_input_bound(run, state)


def judge_input(run: Run, state: RunState) -> None:
    """Report at the end of training whether it was input-bound, unless already reported."""
    if 1 < state.timed_secs < _JUDGED_AFTER_SECS:
        _report_if_input_bound(run, state)


def _report_if_input_bound(run: Run, state: RunState) -> None:
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
