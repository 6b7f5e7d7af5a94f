"""Resume a run from its newest checkpoint, the same one on all workers."""

from __future__ import annotations

from trainer.board import projector_and_hparams
from trainer.engine.run import Run
from trainer.process import provenance
from trainer.process.errors import Diverged, UserError
from trainer.storage import api as storage
from trainer.workdir.state import RunState


def roll_back(run: Run, state: RunState) -> RunState:
    """Restore the newest checkpoint, once: a bit flip does not recur, divergence does."""
    if state.rolled_back:
        raise Diverged(
            f"the loss after step {state.global_step:,} is not finite, again after going back to "
            "a checkpoint; a lower --learning_rate, or --gradient_clip_norm=1, may help"
        )
    run.workers.all_reduce_sum("roll back")  # all checkpoints are published
    restored = run.checkpoints.restore_newest()
    assert restored is not None, "a run saves step 0 before it trains"
    restored.rolled_back = True
    run.reporter.warn(
        f"the loss after step {state.global_step:,} is not finite; going back to step "
        f"{restored.global_step:,}"
    )
    return restored


def check_same_step(run: Run, state: RunState | None) -> None:
    """Check that all workers resume at one step, before the chief publishes anything."""
    step = -1 if state is None else state.global_step
    workers = run.workers.cluster
    total = run.workers.all_reduce_sum("resume", step=step)["step"]
    if total != step * workers.num_workers:
        raise UserError(
            f"--workdir={run.config.workdir}: {workers.name(workers.index)} finds "
            + (f"step {step:,}" if state else "no checkpoint")
            + " there, the other workers another; the workdir must be shared by all workers"
        )


def write_config(run: Run) -> None:
    """Record the settings, the code and the libraries in the workdir."""
    content = {
        "config": run.config.to_dict(),
        "identity": run.identity,
        **provenance.describe(),
    }
    storage.write_json(storage.join(run.config.workdir, "config.json"), content)
    projector_and_hparams.begin(run)
