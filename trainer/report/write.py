"""Writing the page of a run; nothing that goes wrong with it may cost the run."""

from __future__ import annotations

import time
from typing import Any

from trainer import storage
from trainer.evaluate import Evaluation
from trainer.finished import PAGE
from trainer.report import contents, gather, page
from trainer.run import Run

METRICS, PREDICTIONS = "report/metrics.csv", "report/predictions.csv"


def write(run: Run, evaluation: Evaluation, metrics: dict[str, Any]) -> bool:
    """Publish the page and the tables beside it; what fails is said, and no more.

    Args:
        run: it has come to its end.
        evaluation: of the validation split, with its scored examples.
        metrics: what `metrics.json` is to hold.

    Returns:
        whether they are there.
    """
    run.uploader.flush()  # the curves are read back
    began = time.monotonic()
    try:
        evidence = gather.gather(run, evaluation, metrics)
        files = {
            METRICS: page.metrics_csv(evidence.curves),
            PREDICTIONS: page.predictions_csv(evidence),
            PAGE: page.report(contents.build(evidence)),  # the last one: it speaks of the others
        }
        for name, text in files.items():
            content = text.encode("utf-8", "replace")
            storage.write_atomically(storage.join(run.config.workdir, name), content)
        secs, num_bytes = time.monotonic() - began, len(content)
        run.voice.say(
            f"report     of {num_bytes / 1e6:.1f} MB in {secs:.1f} s",
            report_secs=secs,
            report_bytes=num_bytes,
        )
    except Exception as error:  # the model and its figures are worth more than the page
        run.voice.warn(
            f"no report in {storage.join(run.config.workdir, PAGE)}: "
            f"{type(error).__name__}: {error}"
        )
        return False
    return True
