"""What Vertex AI tells a training job by its environment.

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

_DIRECTORIES = {
    "checkpoints": "AIP_CHECKPOINT_DIR",
    "export": "AIP_MODEL_DIR",
    "logs": "AIP_TENSORBOARD_LOG_DIR",
}


def base_directory(environ: Mapping[str, str] = os.environ) -> str:
    """The directory that holds the model's directory on Vertex AI; "" anywhere else."""
    return environ.get("AIP_MODEL_DIR", "").rstrip("/").rpartition("/")[0]


def dataset(environ: Mapping[str, str] = os.environ) -> str:
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


def directory(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Where Vertex AI wants checkpoints, export or logs; "" anywhere else."""
    return environ.get(_DIRECTORIES[name], "").rstrip("/")
