"""The run from top to bottom: resume, the loop, and what becomes of the best weights."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from trainer.board import event_upload
from trainer.board.event_writer import Summaries
from trainer.engine import strategy as strategies
from trainer.engine.build import build
from trainer.engine.profiling import Profiler
from trainer.engine.run import Run
from trainer.engine.train_step import TrainStep, class_weights
from trainer.graph.errors import explained, is_of_a_peer, of_the_machine, peer, reason
from trainer.loop import finish, progress, resume
from trainer.process import machine
from trainer.process.console import Voice
from trainer.process.errors import UserError
from trainer.settings import plan as steps
from trainer.settings.config import Config
from trainer.storage import api as storage
from trainer.workdir import lease, paths
from trainer.workdir.finished import read as read_finished
from trainer.workdir.finished import said as said_finished
from trainer.workdir.goodput import open_ledger
from trainer.workdir.state import RunState
from trainer.workers.cluster import Cluster


@explained()
def train_and_evaluate(
    config: Config,
    voice: Voice,
    started: float,
    cluster: Cluster,
    held: socket.socket | None = None,
) -> dict[str, Any]:
    """Train, or go on training, what `config` describes; export it, and check the export.

    Args:
        config: the run.
        voice: told what a person should know.
        started: `time.monotonic()` when the process began.
        cluster: the workers of the run.
        held: this worker's port where there are others; see preflight.hold_port.

    Returns:
        What `metrics.json` in the workdir holds.

    Raises:
        UserError: the configuration, the data, the backbone or the workdir cannot work.
        Diverged: the loss was not finite, twice.
        Preempted: SIGTERM or Ctrl-C came; a checkpoint of where the run stood is saved.
        PeerLost: another worker does not come, or is gone.
    """
    is_new = storage.ensure_directory(config.workdir, "workdir")
    alone = lease.held(config.workdir, voice.say, is_new)
    with alone if cluster.is_chief else contextlib.nullcontext() as check_lease:
        ledger = open_ledger(config.workdir, started, cluster.is_chief)
        _prepare(config)
        run = build(config, voice, cluster, held, ledger)
        if check_lease is not None:
            run.uploader.must_hold = check_lease
        with run.workers.together():
            metrics = _train_and_evaluate(run, started)
            run.workers.leave()
            return metrics


def _prepare(config: Config) -> None:
    strategies.limit_threads(machine.num_cores())
    # No global seed: every random number here has a seed of its own, and op determinism refuses
    # one that has none.
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()


def _train_and_evaluate(run: Run, started: float) -> dict[str, Any]:
    config, voice = run.config, run.voice
    # The order of resume: 1 find the newest complete checkpoint; 2 verify its checksums and that
    # it is of this run; 3 (all is built); 4 restore, asserting that everything matched.
    state = run.checkpoints.restore_newest()
    resume.same_on_all(run, state)
    if state is None:
        state = RunState()
        run.checkpoints.save(state)  # where a non-finite loss in the first steps rolls back to
    elif state.global_step > run.plan.num_steps:
        raise UserError(
            f"--workdir={config.workdir}: has {state.global_step:,} steps done, more than the "
            f"{run.plan.num_steps:,} that are asked for; ask for more, or choose another --workdir"
        )
    else:
        state.judge(config.early_stopping_patience)  # which may be another one now
        ended = read_finished(config, state)
        if ended is not None and _is_over(run, state):
            voice.say(said_finished(config, state.global_step))
            return ended
        voice.say(
            f"resuming   after step {state.global_step:,} of {run.plan.num_steps:,}",
            resumed_step=state.global_step,
        )
    if run.workers.is_chief:
        resume.write_config(run)
        run.ledger.write()

    wall_secs_before = state.wall_secs

    def wall_secs() -> float:
        return wall_secs_before + time.monotonic() - started

    try:
        # 5 data at the next step; 6 the summaries go on.
        with run.uploader.draining(), run.ledger.until_stopped():
            with run.ledger.spending("extraction"):
                run.open_features()
            if run.features is None:
                run.check_files()
            state = train(run, state, wall_secs)
            return finish.finish(run, state, wall_secs)
    except tf.errors.OpError as error:
        named = run.pipeline.bad_images.user_error(error) or of_the_machine(error)
        if named is None and run.workers.cluster.is_distributed and is_of_a_peer(error):
            named = run.workers.lost(peer(error), reason(error))
        if named is None:
            raise
        raise named from error


def train(run: Run, state: RunState, wall_secs: Callable[[], float]) -> RunState:
    """The loop: evaluate and save where it is time, else train up to the next boundary."""
    config, plan, voice = run.config, run.plan, run.voice
    timer = steps.CheckpointTimer(
        config.checkpoint_every_steps, config.checkpoint_every_secs, time.monotonic
    )
    loop_length = steps.LoopLength()
    train_step = TrainStep(
        config,
        run.strategy,
        run.classifier,
        run.optimizer,
        class_weights(config, run.source),
        from_features=run.features is not None,
    )
    batches = run.training_batches(state.global_step)
    logs = paths.part(config.workdir, "logs")
    writes = run.workers.is_chief
    upload = event_upload.open_upload(logs, run.uploader, config.log_upload_secs, writes)
    summaries = Summaries(logs, state.global_step, upload, writes, voice.warn)
    profiler = Profiler(config.profile_steps if writes else (), logs)
    saved_step = state.global_step
    is_first_loop = is_finite = True
    loop_steps, loop_secs = 0, 0.0

    while True:
        step = state.global_step
        run.uploader.check()
        summaries.flush_if_due()
        if plan.is_evaluation(step) and state.evaluated_step != step:
            with run.ledger.spending("evaluation"):
                evaluation = run.evaluator(config.validation_split).run()
            if evaluation is not None and not np.isfinite(evaluation.loss):
                is_finite = False
            elif evaluation is not None:
                progress.note_evaluation(run, state, summaries, evaluation)
                saved_step = -1
        if not is_finite:
            state = resume.roll_back(run, state)
            batches = run.training_batches(state.global_step)
            summaries.close()
            run.uploader.flush()
            summaries = Summaries(logs, state.global_step, upload, writes, voice.warn)
            _save(run, state, summaries, wall_secs())  # a restart must know of the roll-back
            saved_step, is_finite = state.global_step, True
            continue
        # What a clock or a signal decides is decided by all workers, or one would wait for ever.
        agreed = run.workers.agree(
            f"after step {step}",
            stop=float(run.stop.requested),
            checkpoint=float(timer.is_due(step)),
            loop_secs=loop_secs / run.workers.cluster.num_workers,
        )
        if loop_steps:
            loop_length.took(loop_steps, agreed["loop_secs"])
        is_over = _is_over(run, state)
        is_best = state.best.get("global_step") == step
        if saved_step != step and (is_over or is_best or agreed["stop"] or agreed["checkpoint"]):
            _save(run, state, summaries, wall_secs())
            timer.saved()
            saved_step = step
        run.ledger.write_if_due()
        if is_over or agreed["stop"]:
            profiler.close()
        if agreed["stop"]:
            run.workers.leave()
            raise run.stop.error(f"after step {step:,}; the same command resumes")
        if is_over:
            break

        boundary = min(
            step + loop_length.steps,
            plan.next_evaluation(step),
            timer.next_step(step, plan.num_steps),
            profiler.next_step(step),
        )
        profiler.at(step)
        began = time.monotonic()
        spending = run.ledger.spending("tracing" if is_first_loop else "step")
        with spending, strategies.arithmetic(run.precision, run.strategy.num_replicas_in_sync):
            rows, waited = train_step.run(batches, step, boundary - step)
        took = time.monotonic() - began
        is_finite = bool(np.isfinite(rows[-1].loss_sum))
        if not is_finite:
            continue
        if is_first_loop:
            secs = wall_secs() - state.wall_secs
            voice.say(f"first step after {secs:.1f} s", first_step_secs=secs)
            is_first_loop = False
            run.ledger.turn("step")
            run.workers.expect_progress(True)  # tracing takes as long as it takes
        else:  # the first one also traces
            progress.note_speed(run, state, len(rows), took, waited)
        run.ledger.add_steps(step + len(rows), len(rows), took, waited)
        progress.note_steps(run, state, summaries, rows)
        loop_steps, loop_secs = len(rows), took

    run.workers.expect_progress(False)
    progress.judge_input(run, state)
    summaries.close()
    if upload is not None:
        upload.discard()
    voice.close()
    return state


def _is_over(run: Run, state: RunState) -> bool:
    is_last = state.global_step >= run.plan.num_steps or state.stopped_early
    return is_last and state.evaluated_step == state.global_step


def _save(run: Run, state: RunState, summaries: Summaries, wall_secs: float) -> None:
    with run.ledger.spending("checkpoint_stall"):
        # The curves first: what a checkpoint has seen is never missing from them.
        summaries.flush()
        state.skipped = run.workers.union("broken images", state.skipped)
        state.wall_secs = wall_secs
        run.checkpoints.save(state)
    run.ledger.write()
