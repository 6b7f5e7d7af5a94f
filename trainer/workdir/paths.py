"""Where the parts of a run are: below its workdir, or where Vertex AI wants them."""

from __future__ import annotations

import os
from collections.abc import Mapping

from trainer.settings import vertex_env
from trainer.storage.api import join


def part(workdir: str, name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The directory of checkpoints, export or logs of the run in `workdir`.

    A --workdir of one's own wins over what Vertex AI says.
    """
    on_vertex = workdir.rstrip("/") == vertex_env.base_directory(environ)
    given = vertex_env.directory(name, environ) if on_vertex else ""
    return given or join(workdir, name)
