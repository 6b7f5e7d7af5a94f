"""Locations of a run's parts: below its workdir, or in Vertex AI's directories."""

from __future__ import annotations

import os
from collections.abc import Mapping

from trainer.process.errors import UserError
from trainer.settings import vertex_env
from trainer.storage import api as storage


def part(workdir: str, name: str, environ: Mapping[str, str] = os.environ) -> str:
    """Return the directory of checkpoints, export or logs of the run in `workdir`.

    An explicit --workdir takes precedence over Vertex AI's directories.
    """
    on_vertex = workdir.rstrip("/") == vertex_env.base_directory(environ)
    given = vertex_env.directory(name, environ) if on_vertex else ""
    return given or storage.join(workdir, name)


def find_export(model: str) -> str:
    """Return the directory of the export `model`, or of the workdir `model`.

    Raises:
        UserError: there is none.
    """
    if not model:
        raise UserError("--model: required; an export, or the --workdir of a run")
    for directory in (model, storage.join(model, "export")):
        if storage.is_remote(directory):
            manifest = storage.read_manifest(directory)
            is_export = manifest is not None and "saved_model.pb" in manifest.files
        else:
            is_export = os.path.isfile(os.path.join(directory, "saved_model.pb"))
        if is_export:
            return directory
    raise UserError(f"--model={model}: holds no exported model (saved_model.pb)")
