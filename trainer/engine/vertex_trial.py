"""Report the metrics of a trial to a hyperparameter tuning job on Vertex AI.

The service reads JSON lines, one for each metric, values as text except the time, from the file
CLOUD_ML_HP_METRIC_FILE:
https://github.com/GoogleCloudPlatform/cloudml-hypertune
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping

_DEFAULT_FILE = "/tmp/hypertune/output.metrics"


def metric_file(environ: Mapping[str, str] = os.environ) -> str:
    """Return the path of the metrics file; "" outside of a trial."""
    is_trial = bool(environ.get("CLOUD_ML_TRIAL_ID"))
    return environ.get("CLOUD_ML_HP_METRIC_FILE") or (_DEFAULT_FILE if is_trial else "")


def report(
    metrics: Mapping[str, float],
    global_step: int,
    environ: Mapping[str, str] = os.environ,
    clock: Callable[[], float] = time.time,
) -> None:
    """Append `metrics`, named by the tuning job's metric ids, to the file, in a trial only.

    Args:
        metrics: of one evaluation.
        global_step: of the evaluation.
        environ: has the file's path and CLOUD_ML_TRIAL_ID.
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
    lines = [json.dumps({**common, name: str(value)}) + "\n" for name, value in metrics.items()]
    # In one write: the service may read at any time.
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(lines))
