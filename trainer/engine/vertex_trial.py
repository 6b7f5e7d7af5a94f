"""A trial of a hyperparameter tuning job on Vertex AI: where its measures are read from.

The service reads JSON lines, one for each measure, values as text but for the time, from the file
that CLOUD_ML_HP_METRIC_FILE names:
https://github.com/GoogleCloudPlatform/cloudml-hypertune
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping

_DEFAULT_FILE = "/tmp/hypertune/output.metrics"


def metric_file(environ: Mapping[str, str] = os.environ) -> str:
    """The file that measures go to; "" where this process is no trial."""
    is_trial = bool(environ.get("CLOUD_ML_TRIAL_ID"))
    return environ.get("CLOUD_ML_HP_METRIC_FILE") or (_DEFAULT_FILE if is_trial else "")


def report(
    measures: Mapping[str, float],
    global_step: int,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.time,
) -> None:
    """Append `measures`, by the tuning job's metric ids, to the file; nothing outside of a trial.

    Args:
        measures: of one evaluation.
        global_step: that it was after.
        environ: says the file and CLOUD_ML_TRIAL_ID.
        clock: seconds since 1970.

    Raises:
        OSError: the file cannot be written.
    """
    path = metric_file(environ)
    if not path:
        return
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    common = {
        "timestamp": clock(),
        "trial": environ.get("CLOUD_ML_TRIAL_ID", "0"),
        "global_step": str(global_step),
        "checkpoint_path": "",
    }
    lines = [json.dumps({**common, name: str(value)}) + "\n" for name, value in measures.items()]
    # In one write: the service may read at any moment.
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(lines))
