"""Execute a notebook from its first cell to its last, in a kernel of its own.

`make notebook` does so with examples/own_pictures.ipynb, and keeps what comes of it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.processes.commands import DEADLINE_SECS, python

# Sockets that are files: a port may be taken between its choice and its use.
_PROGRAM = f"""
import sys, nbformat
from nbclient import NotebookClient
from traitlets.config import Config
notebook = nbformat.read(sys.argv[1], 4)
client = NotebookClient(
    notebook, kernel_name="python3", timeout={DEADLINE_SECS}, record_timing=False,
    coalesce_streams=True, config=Config(KernelManager={{"transport": "ipc"}}))
client.execute()
notebook.metadata.language_info = {{"name": "python"}}  # of any version
nbformat.write(notebook, sys.argv[2])
"""
# Of the user there may be settings and another kernel of this name.
_HOMES = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "TMPDIR")


def execute(notebook: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Execute `notebook`, and write it with its outputs to `out`, if no cell fails."""
    with tempfile.TemporaryDirectory() as home:
        return python("-c", _PROGRAM, notebook, out, **dict.fromkeys(_HOMES, home))


if __name__ == "__main__":
    path = Path(sys.argv[1])
    process = execute(path, path)
    sys.exit(process.stderr or process.returncode)
