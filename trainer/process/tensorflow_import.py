"""Importing TensorFlow: its start-up messages kept off the screen, the garbage collector away."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator

# How TensorFlow's own reader of gs:// tries again; by itself it takes minutes to give up.
_GCS_RETRIES = {
    "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "200000",
    "GCS_RETRY_CONFIG_MAX_DELAY_TIME_US": "5000000",
    "GCS_RETRY_CONFIG_MAX_RETRIES": "8",
    "GCS_REQUEST_CONNECTION_TIMEOUT_SECS": "10",
    "GCS_REQUEST_IDLE_TIMEOUT_SECS": "30",
    "GCS_METADATA_REQUEST_TIMEOUT_SECS": "60",
}


def import_tensorflow() -> None:
    """Import TensorFlow in silence; what it says is shown only if it cannot be imported.

    Its C++ code logs to file descriptor 2 before any level can be set, so the descriptor itself
    is turned away meanwhile. From then on errors and warnings come through; a level that the user
    has set in the environment is left alone.
    """
    with uncollected():
        _import_in_silence()


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Within, no garbage is collected, and what is there in the end is never looked at again.

    Modules live as long as the process. Python's collector goes through the 400,000 objects of
    TensorFlow's a dozen times while they are imported (a quarter of the import's time), and
    through all of them again whenever a graph is traced.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def _import_in_silence() -> None:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Keras 2 is what is used here; Keras 3 would be imported besides, for nothing.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    for name, value in _GCS_RETRIES.items():
        os.environ.setdefault(name, value)
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except Exception:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
