"""Evaluate a run's best weights outside of the run."""

from __future__ import annotations

import dataclasses

from trainer.engine import run as runs
from trainer.engine.build import build
from trainer.engine.evaluate import Evaluation
from trainer.graph.errors import translating_errors
from trainer.process.console import WarningsOnly, make_reporter
from trainer.process.errors import UserError
from trainer.process.stop_signal import StopRequest
from trainer.settings.config import Config
from trainer.workdir.goodput import Ledger
from trainer.workers.cluster import Cluster


@translating_errors()
def evaluate_best(config: Config, split: str) -> Evaluation:
    """Evaluate the best weights of the run of `config`; write nothing.

    Raises:
        UserError: the data, the split or the checkpoints are missing.
    """
    config = dataclasses.replace(config, test_split=split)  # an error names one that is missing
    with StopRequest(owns_process=False) as stop:
        run = build(config, WarningsOnly(make_reporter("text")), Cluster(), None, Ledger(), stop)
        try:
            state = run.checkpoints.restore_newest()
            if state is None or not state.best:
                raise UserError(f"{config.workdir}: no evaluated checkpoint yet")
            run.checkpoints.restore_best(state)
            evaluation = run.evaluator(split).run()
        finally:
            runs.release_batches()
    if evaluation is None:
        raise stop.error("while evaluating")
    return evaluation
