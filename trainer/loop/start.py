"""Start a run: meet the workers, build, resume, train, finish."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

import tensorflow as tf

from trainer.engine import run as runs
from trainer.engine import strategy as strategies
from trainer.engine.build import build
from trainer.engine.run import Run
from trainer.graph.errors import is_peer_error, machine_error, peer, reason, translating_errors
from trainer.graph.plain_pipeline import deterministic_ops
from trainer.loop import finish, resume
from trainer.loop.train import train
from trainer.process import machine
from trainer.process.console import Reporter
from trainer.process.errors import UserError
from trainer.process.stop_signal import StopRequest
from trainer.settings.config import Config
from trainer.storage import api as storage
from trainer.workdir import finished, lease
from trainer.workdir.goodput import open_ledger
from trainer.workdir.state import RunState
from trainer.workers.cluster import Cluster


@translating_errors()
def train_and_evaluate(
    config: Config,
    reporter: Reporter,
    started: float,
    cluster: Cluster,
    port_socket: socket.socket | None = None,
    owns_process: bool = True,
) -> dict[str, Any]:
    """Train or resume the run of `config`; export the model, and check the export.

    Args:
        config: the run.
        reporter: prints progress and warnings.
        started: `time.monotonic()` at the start of the process, or of this run in it.
        cluster: the workers of the run.
        port_socket: this worker's port in a distributed run; see rendezvous.reserve_port.
        owns_process: whether the process exists for this run alone; else process-wide settings
            are restored at the end.

    Returns:
        The content of `metrics.json` in the workdir.

    Raises:
        UserError: the configuration, the data, the backbone or the workdir cannot work.
        Diverged: the loss was not finite, twice.
        Preempted: SIGTERM or Ctrl-C came; a checkpoint was saved.
        PeerLost: another worker does not join or is lost.
    """
    is_new = storage.ensure_directory(config.workdir, "workdir")
    alone = lease.hold(config.workdir, reporter.say, is_new)
    with contextlib.ExitStack() as stack:
        check_lease = stack.enter_context(alone) if cluster.is_chief else None
        ledger = open_ledger(config.workdir, started, cluster.is_chief)
        strategies.limit_threads(machine.num_cores())
        # No global seed: every random number has its own seed, which op determinism requires.
        stack.enter_context(deterministic_ops(config.deterministic))
        stop = stack.enter_context(StopRequest(owns_process))
        if not owns_process:
            stack.callback(runs.release_batches)
        run = build(config, reporter, cluster, port_socket, ledger, stop)
        if check_lease is not None:
            run.upload_queue.precondition = check_lease
        with run.workers.propagating_errors():
            metrics = _train_and_evaluate(run, started)
            run.workers.wait_for_all()
            return metrics


def _train_and_evaluate(run: Run, started: float) -> dict[str, Any]:
    config, reporter = run.config, run.reporter
    # The order of resume: 1 find the newest complete checkpoint; 2 verify its checksums and its
    # identity; 3 (all is built); 4 restore, asserting that everything matched.
    state = run.checkpoints.restore_newest()
    resume.check_same_step(run, state)
    if state is None:
        state = RunState()
        run.checkpoints.save(state)  # for a roll-back in the first steps
    elif state.global_step > run.plan.num_steps:
        raise UserError(
            f"--workdir={config.workdir}: has {state.global_step:,} steps done, more than the "
            f"{run.plan.num_steps:,} that are asked for; ask for more, or choose another --workdir"
        )
    else:
        state.update_early_stopping(config.early_stopping_patience)  # which may have changed
        ended = finished.read(config, state) if state.is_over(run.plan.num_steps) else None
        if ended is not None:
            reporter.say(finished.already_finished_message(config, state.global_step))
            return ended
        reporter.say(
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
        # 5 data from the next step; 6 the curves continue.
        with run.upload_queue.draining(), run.ledger.recording_stop():
            with run.ledger.phase("extraction"):
                run.open_features()
            if run.features is None:
                run.check_files()
            state = train(run, state, wall_secs)
            return finish.finish(run, state, wall_secs)
    except tf.errors.OpError as error:
        named = run.pipeline.bad_images.user_error(error) or machine_error(error)
        if named is None and run.workers.cluster.is_distributed and is_peer_error(error):
            named = run.workers.peer_lost(peer(error), reason(error))
        if named is None:
            raise
        raise named from error
