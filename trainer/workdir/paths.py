"""Where the parts of a run are: below its workdir, or where Vertex AI wants them.

Vertex AI names three directories, AIP_MODEL_DIR=<base>/model/, AIP_CHECKPOINT_DIR=
<base>/checkpoints/ and AIP_TENSORBOARD_LOG_DIR=<base>/logs/:
https://cloud.google.com/vertex-ai/docs/training/code-requirements
A job on a managed dataset gets it as import files:
https://cloud.google.com/vertex-ai/docs/training/using-managed-datasets
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from trainer.process.errors import UserError
from trainer.storage.api import join

_VERTEX = {
    "checkpoints": "AIP_CHECKPOINT_DIR",
    "export": "AIP_MODEL_DIR",
    "logs": "AIP_TENSORBOARD_LOG_DIR",
}


def vertex_workdir(environ: Mapping[str, str] = os.environ) -> str:
    """The directory that holds the model's directory on Vertex AI; "" anywhere else."""
    return environ.get("AIP_MODEL_DIR", "").rstrip("/").rpartition("/")[0]


def vertex_dataset(environ: Mapping[str, str] = os.environ) -> str:
    """What --dataset is where Vertex AI brings a managed dataset; "" anywhere else.

    Returns:
        The import files of training, validation and test, with a `*` in each name, and commas
        between them.

    Raises:
        UserError: the dataset is of another kind than pictures.
    """
    uris = [environ.get(f"AIP_{use}_DATA_URI", "") for use in ("TRAINING", "VALIDATION", "TEST")]
    if not uris[0]:
        return ""
    found = environ.get("AIP_DATA_FORMAT", "jsonl")
    if found != "jsonl":
        raise UserError(
            f"AIP_DATA_FORMAT={found}: the job's managed dataset must be one of images with one "
            "label each, which Vertex AI gives as jsonl; --dataset=… takes other data"
        )
    return ",".join(uri for uri in uris if uri)


def part(workdir: str, name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The directory of checkpoints, export or logs of the run in `workdir`.

    A --workdir of one's own wins over what Vertex AI says.
    """
    on_vertex = workdir.rstrip("/") == vertex_workdir(environ)
    given = environ.get(_VERTEX[name], "").rstrip("/") if on_vertex else ""
    return given or join(workdir, name)
