"""Finish a run: evaluate and export the best weights, write report and `metrics.json`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from typing import Any

from trainer.board import projector_and_hparams
from trainer.engine import export
from trainer.engine.evaluate import Evaluation
from trainer.engine.run import Run
from trainer.loop import progress
from trainer.report import write as report
from trainer.storage import api as storage
from trainer.workdir import paths
from trainer.workdir.finished import METRICS_FILE
from trainer.workdir.state import RunState


def finish(run: Run, state: RunState, wall_secs: Callable[[], float]) -> dict[str, Any]:
    """Export the best weights, and write their metrics.

    Args:
        run: the run.
        state: at the end of the loop.
        wall_secs: seconds that all processes of the run have taken so far.

    Returns:
        The content of `metrics.json`.

    Raises:
        ExportMismatch: the reloaded export does not have the model's accuracy.
        Preempted: SIGTERM came; the same command resumes here.
    """
    config = run.config
    run.ledger.start_phase("export")
    run.workers.all_reduce_sum("best weights")  # all checkpoints are published
    run.checkpoints.restore_best(state)
    evaluation = _evaluate(run, config.validation_split, keep_scored=config.report)
    _collect_skipped(run, state)
    if config.export_formats:
        _export(run, state)
    run.raise_if_stopping()
    metrics: dict[str, Any] = {
        "global_step": state.global_step,
        "num_params": run.classifier.num_params,
        "num_trainable_params": run.classifier.num_trainable_params,
        "class_names": list(run.source.class_names),
        "train": state.train,
        "eval": evaluation.to_dict(),
        "best": {key: state.best[key] for key in ("global_step", "accuracy")},
    }
    with _checked_export(run, state, evaluation):
        if config.test_split:
            metrics["test_split"] = config.test_split
            metrics["test"] = _evaluate(run, config.test_split).to_dict()
        _collect_skipped(run, state)
        projector_and_hparams.end(run)
        evidence = None
        if config.report and run.workers.is_chief:
            evidence = report.gather(run, evaluation, metrics)
    progress.warn_of_skipped(run, state)
    metrics["num_skipped"] = len(state.skipped)
    metrics["skipped"] = dict(sorted(state.skipped.items()))
    metrics["wall_secs"] = round(wall_secs(), 3)
    metrics["examples_per_sec"] = round(state.examples_per_sec, 1)
    metrics["input_wait"] = round(state.input_wait, 4)
    run.ledger.write()
    metrics["goodput"] = goodput = run.ledger.summary()
    run.reporter.say(f"goodput    {run.ledger.describe()}", **goodput)
    if run.workers.is_chief:
        if config.report:
            metrics["report"] = report.write(run, evidence, metrics)
            run.ledger.write()
        # The last file: a run that has it is over.
        storage.write_json(storage.join(config.workdir, METRICS_FILE), metrics)
    if run.kubeflow is not None:
        run.kubeflow.end({"accuracy": evaluation.accuracy})
        progress.warn_of_kubeflow(run)
    return metrics


def _export(run: Run, state: RunState) -> None:
    config = run.config
    run.reporter.say(f"exporting  the weights of step {state.best['global_step']:,}")
    export.export(
        run.classifier,
        run.source.class_names,
        paths.part(config.workdir, "export"),
        formats=config.export_formats,
        facts={
            "global_step": state.best["global_step"],
            "export_formats": list(config.export_formats),
            "identity": run.identity,
        },
        publishes=run.workers.is_chief,
    )


@contextlib.contextmanager
def _checked_export(run: Run, state: RunState, expected: Evaluation) -> Iterator[None]:
    """Score the export in a thread, concurrently with the Python code within.

    Raises (on exit):
        ExportMismatch, UserError, Preempted: see export.check and Run.raise_if_stopping.
    """
    config = run.config
    if not (config.export_formats and run.workers.is_chief):
        yield
        return
    is_cancelled = threading.Event()

    def raise_if_stopping() -> None:
        run.raise_if_stopping()
        if is_cancelled.is_set():
            raise CancelledError

    with ThreadPoolExecutor(max_workers=1) as pool:
        check = pool.submit(
            export.check,
            paths.part(config.workdir, "export"),
            run.source,
            config.validation_split,
            expected,
            config.global_batch_size,
            skipped=sorted(state.skipped),
            raise_if_stopping=raise_if_stopping,
        )
        try:
            yield
        except BaseException:
            is_cancelled.set()  # or the error within would wait for the last batch
            raise
        check.result()


def _collect_skipped(run: Run, state: RunState) -> None:
    """Merge the broken images that all workers have found so far into the state."""
    state.skipped.update(run.pipeline.bad_images.before_step(state.global_step))
    state.skipped = run.workers.all_gather("broken images", state.skipped)


def _evaluate(run: Run, split: str, keep_scored: bool = False) -> Evaluation:
    with run.ledger.phase("evaluation"):
        evaluation = run.evaluator(split).run(keep_scored)
    if evaluation is None:
        run.workers.wait_for_all()
        raise run.stop.error("after the last step; the same command exports")
    return evaluation
