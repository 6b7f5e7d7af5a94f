"""What became of steps and evaluations: told to the run's state, its curves and its console."""

from __future__ import annotations

from trainer import optimizers
from trainer.evaluate import Evaluation
from trainer.run import Run
from trainer.run_state import Row, RunState
from trainer.summaries import Summaries


def note_steps(run: Run, state: RunState, summaries: Summaries, rows: list[Row]) -> None:
    """Add the steps of one loop to the state, the curves and the progress bar."""
    config, plan = run.config, run.plan
    rate = optimizers.learning_rate(config, plan.num_steps)
    for row in rows:
        state.add_step(row, plan.steps_per_epoch)
        step = state.global_step
        if step % config.log_every_steps == 0 or step == plan.num_steps:
            point = {
                **state.take_recent(),
                "learning_rate": float(rate(step - 1)),
                "examples_per_sec": state.examples_per_sec,
            }
            summaries.write("train", step, point)
    state.skipped.update(run.pipeline.bad_images.before_step(state.global_step))
    run.voice.advance(
        "training",
        state.global_step,
        plan.num_steps,
        **state.running(),
        images_per_sec=state.examples_per_sec,
    )


def note_evaluation(
    run: Run, state: RunState, summaries: Summaries, evaluation: Evaluation
) -> None:
    """Add an evaluation of the weights as they are to the state, the curves and the console."""
    patience = run.config.early_stopping_patience
    is_best = state.add_evaluation(evaluation.accuracy, evaluation.loss, patience)
    summaries.write(
        "eval",
        state.global_step,
        {"loss": evaluation.loss, "accuracy": evaluation.accuracy},
    )
    state.skipped.update(run.pipeline.bad_images.before_step(state.global_step))
    run.voice.say(
        f"epoch {run.plan.epoch(state.global_step):>4g}  "
        f"train loss {state.train['loss']:.4f} accuracy {state.train['accuracy']:.4f}   "
        f"validation loss {evaluation.loss:.4f} accuracy {evaluation.accuracy:.4f}"
        + ("  best" if is_best else ""),
        global_step=state.global_step,
        validation_loss=evaluation.loss,
        validation_accuracy=evaluation.accuracy,
    )
    if state.stopped_early:
        run.voice.say(f"stopping   early: no better evaluation in {patience}")
