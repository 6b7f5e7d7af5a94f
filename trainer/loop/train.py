"""The training loop: step, periodic actions, evaluate, save, stop."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from trainer.engine import strategy as strategies
from trainer.engine.run import Run
from trainer.engine.train_step import TrainStep, class_weights
from trainer.loop import progress, resume
from trainer.loop.periodic import PeriodicActions
from trainer.workdir.state import RunState


@dataclasses.dataclass
class LoopState:
    """The state between loop boundaries.

    Attributes:
        state: the state in checkpoints.
        batches: the training batches from the next step on.
        saved_step: of the checkpoint with this `state`, or None.
        num_steps, secs: the steps of the last loop, and its time; 0 before the first.
        is_traced: whether this process has run a step.
        is_finite: whether the last loss, of training or evaluation, was finite.
    """

    state: RunState
    batches: Iterator[Any]
    saved_step: int | None
    num_steps: int = 0
    secs: float = 0.0
    is_traced: bool = False
    is_finite: bool = True

    @property
    def is_best(self) -> bool:
        """Whether the current weights are the best ones."""
        return self.state.best.get("global_step") == self.state.global_step


def train(run: Run, state: RunState, wall_secs: Callable[[], float]) -> RunState:
    """Train to the end of the plan, to early stopping, or until a signal.

    Args:
        run: the run.
        state: its state.
        wall_secs: seconds that all processes of the run have taken so far.

    Returns:
        The state at the end.

    Raises:
        Diverged: the loss was not finite, again after a roll-back.
        Preempted: a signal came; a checkpoint was saved.
    """
    loop = LoopState(state, run.training_batches(state.global_step), state.global_step)
    actions = PeriodicActions(run, state.global_step)
    train_step = _train_step(run)
    while True:
        step = loop.state.global_step
        actions.flush()
        _evaluate_if_due(run, loop, actions)
        if not loop.is_finite:
            _roll_back(run, loop, actions, wall_secs())
            continue
        # All workers agree on what a clock or a signal decides, or one would wait forever.
        agreed = run.workers.all_reduce_sum(
            f"after step {step}",
            stop=float(run.stop.requested),
            checkpoint=float(actions.timer.is_due(step)),
            loop_secs=loop.secs / run.workers.cluster.num_workers,
        )
        actions.loop_length.update(loop.num_steps, agreed["loop_secs"])
        is_over = loop.state.is_over(run.plan.num_steps)
        is_due = is_over or loop.is_best or agreed["stop"] or agreed["checkpoint"]
        if is_due and loop.saved_step != step:
            _save(run, loop, actions, wall_secs())
        run.ledger.write_if_due()
        if is_over or agreed["stop"]:
            actions.end_profile()
        if agreed["stop"]:
            run.workers.wait_for_all()
            raise run.stop.error(f"after step {step:,}; the same command resumes")
        if is_over:
            break
        actions.profile(step)
        _run_steps(run, loop, actions, train_step, wall_secs)
    run.workers.expect_progress(False)
    progress.warn_if_input_bound(run, loop.state)
    actions.close()
    run.reporter.close()
    return loop.state


def _train_step(run: Run) -> TrainStep:
    return TrainStep(
        run.config,
        run.strategy,
        run.classifier,
        run.optimizer,
        class_weights(run.config, run.source),
        from_features=run.features is not None,
    )


def _evaluate_if_due(run: Run, loop: LoopState, actions: PeriodicActions) -> None:
    """Evaluate the current weights once, if the plan says so; a signal cancels it."""
    state = loop.state
    if not run.plan.is_evaluation(state.global_step) or state.evaluated_step == state.global_step:
        return
    with run.ledger.phase("evaluation"):
        evaluation = run.evaluator(run.config.validation_split).run()
    if evaluation is None:
        return
    loop.is_finite = bool(np.isfinite(evaluation.loss))
    if loop.is_finite:
        progress.record_evaluation(run, state, actions.summary_writer, evaluation)
        loop.saved_step = None


def _roll_back(run: Run, loop: LoopState, actions: PeriodicActions, wall_secs: float) -> None:
    """Go back to the newest checkpoint after a loss that is not finite, once."""
    loop.state = resume.roll_back(run, loop.state)
    loop.batches = run.training_batches(loop.state.global_step)
    loop.is_finite = True
    actions.roll_back(loop.state.global_step)
    _save(run, loop, actions, wall_secs)  # so that a restart knows of the roll-back


def _save(run: Run, loop: LoopState, actions: PeriodicActions, wall_secs: float) -> None:
    state = loop.state
    with run.ledger.phase("checkpoint_stall"):
        # The curves first: they have every step of a checkpoint.
        actions.summary_writer.flush()
        state.skipped = run.workers.all_gather("broken images", state.skipped)
        state.wall_secs = wall_secs
        run.checkpoints.save(state)
    run.ledger.write()
    actions.timer.reset()
    loop.saved_step = state.global_step


def _run_steps(
    run: Run,
    loop: LoopState,
    actions: PeriodicActions,
    train_step: TrainStep,
    wall_secs: Callable[[], float],
) -> None:
    """Run the steps to the next loop boundary, and record them."""
    state = loop.state
    step, num_steps = state.global_step, actions.next_step(state.global_step) - state.global_step
    began = time.monotonic()
    phase = run.ledger.phase("step" if loop.is_traced else "tracing")
    with phase, strategies.arithmetic(run.precision, run.strategy.num_replicas_in_sync):
        rows, waited_secs = train_step.run(loop.batches, step, num_steps)
    took_secs = time.monotonic() - began
    loop.is_finite = bool(np.isfinite(rows[-1].loss_sum))
    if not loop.is_finite:
        return
    if loop.is_traced:
        progress.record_speed(run, state, len(rows), took_secs, waited_secs)
    else:  # tracing is not timed as speed
        secs = wall_secs() - state.wall_secs
        run.reporter.say(f"first step after {secs:.1f} s", first_step_secs=secs)
        run.ledger.start_phase("step")
        run.workers.expect_progress(True)
        loop.is_traced = True
    run.ledger.add_steps(step + len(rows), len(rows), took_secs, waited_secs)
    progress.record_steps(run, state, actions.summary_writer, rows)
    loop.num_steps, loop.secs = len(rows), took_secs
