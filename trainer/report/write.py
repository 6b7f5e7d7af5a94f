"""Write the report of a run; a failure here must not fail the run."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from trainer.engine.evaluate import Evaluation
from trainer.engine.run import Run
from trainer.process.errors import Preempted
from trainer.report import contents, page
from trainer.report import gather as gathering
from trainer.report.evidence import ReportData
from trainer.storage import api as storage
from trainer.workdir.finished import CONTENTS_FILE, PREDICTIONS_FILE, REPORT_FILE

CURVES_CSV = "report/metrics.csv"


def gather(run: Run, evaluation: Evaluation, metrics: dict[str, Any]) -> ReportData | None:
    """Collect what the report shows, which is most of the work; turn an error into a warning.

    Args:
        run: a finished run.
        evaluation: of the validation split, with its scored examples.
        metrics: those of `metrics.json` that are known.

    Returns:
        None if it fails.

    Raises:
        Preempted: see Run.raise_if_stopping.
    """
    run.upload_queue.flush()  # the curves are read back
    try:
        return gathering.gather(run, evaluation, metrics)
    except Preempted:
        raise
    except Exception as error:  # the model and its metrics matter more than the report
        _warn(run, error)
        return None


def write(run: Run, evidence: ReportData | None, metrics: dict[str, Any]) -> bool:
    """Publish the page and the files beside it; turn an error into a warning.

    Args:
        run: a finished run.
        evidence: see gather.
        metrics: those of `metrics.json`.

    Returns:
        whether they were written.
    """
    if evidence is None:
        return False
    try:
        evidence = dataclasses.replace(evidence, metrics=metrics)
        shown = contents.build(evidence)
        files = {
            CURVES_CSV: page.metrics_csv(evidence.curves),
            PREDICTIONS_FILE: page.predictions_csv(evidence),
            CONTENTS_FILE: json.dumps(shown, allow_nan=False) + "\n",
            REPORT_FILE: page.report(shown),  # last: it refers to the others
        }
        for name, text in files.items():
            content = text.encode("utf-8", "replace")
            storage.write_atomically(storage.join(run.config.workdir, name), content)
        num_bytes = len(content)
        run.reporter.say(f"report     {num_bytes / 1e6:.1f} MB", report_bytes=num_bytes)
    except Exception as error:  # as above
        _warn(run, error)
        return False
    return True


def _warn(run: Run, error: Exception) -> None:
    run.reporter.warn(
        f"no report in {storage.join(run.config.workdir, REPORT_FILE)}: "
        f"{type(error).__name__}: {error}"
    )
