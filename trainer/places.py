"""Where the parts of a run are: below its workdir, or where Vertex AI wants them.

Vertex AI names three directories, AIP_MODEL_DIR=<base>/model/, AIP_CHECKPOINT_DIR=
<base>/checkpoints/ and AIP_TENSORBOARD_LOG_DIR=<base>/logs/:
https://cloud.google.com/vertex-ai/docs/training/code-requirements
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from trainer.storage import join

_VERTEX = {
    "checkpoints": "AIP_CHECKPOINT_DIR",
    "export": "AIP_MODEL_DIR",
    "logs": "AIP_TENSORBOARD_LOG_DIR",
}


def vertex_workdir(environ: Mapping[str, str] = os.environ) -> str:
    """The directory that holds the model's directory on Vertex AI; "" anywhere else."""
    return environ.get("AIP_MODEL_DIR", "").rstrip("/").rpartition("/")[0]


def part(workdir: str, name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The directory of checkpoints, export or logs of the run in `workdir`.

    A --workdir of one's own wins over what Vertex AI says.
    """
    on_vertex = workdir.rstrip("/") == vertex_workdir(environ)
    given = environ.get(_VERTEX[name], "").rstrip("/") if on_vertex else ""
    return given or join(workdir, name)
