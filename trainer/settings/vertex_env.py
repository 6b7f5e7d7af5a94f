"""Read what Vertex AI sets in a training job's environment.

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
    """Return the parent of the model's directory on Vertex AI, "" elsewhere."""
    return environ.get("AIP_MODEL_DIR", "").rstrip("/").rpartition("/")[0]


def dataset(environ: Mapping[str, str] = os.environ) -> str:
    """Return the --dataset of a Vertex AI job with a managed dataset, "" elsewhere.

    Returns:
        The import files of training, validation and test, with a `*` in each name, separated by
        commas.

    Raises:
        UserError: the dataset does not hold images.
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
    """Return Vertex AI's directory for checkpoints, export or logs, "" elsewhere."""
    return environ.get(_DIRECTORIES[name], "").rstrip("/")
