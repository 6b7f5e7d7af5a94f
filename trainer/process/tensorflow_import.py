"""Import TensorFlow without its startup messages and with the garbage collector paused."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator

# Retries of TensorFlow's own gs:// reader; by default it takes minutes to give up.
_GCS_RETRIES = {
    "GCS_RETRY_CONFIG_INIT_DELAY_TIME_US": "200000",
    "GCS_RETRY_CONFIG_MAX_DELAY_TIME_US": "5000000",
    "GCS_RETRY_CONFIG_MAX_RETRIES": "8",
    "GCS_REQUEST_CONNECTION_TIMEOUT_SECS": "10",
    "GCS_REQUEST_IDLE_TIMEOUT_SECS": "30",
    "GCS_METADATA_REQUEST_TIMEOUT_SECS": "60",
}


def import_tensorflow() -> None:
    """Import TensorFlow silently; show its output only if the import fails.

    Its C++ code logs to file descriptor 2 before any level can be set, so the descriptor itself
    is redirected meanwhile. Later errors and warnings come through; a log level set in the
    environment is left alone.
    """
    with collector_paused():
        _import_in_silence()


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """Pause garbage collection, then freeze the objects created meanwhile.

    Modules live as long as the process. Python's collector would scan TensorFlow's 400,000
    objects a dozen times during the import (a quarter of its time), and again whenever a graph
    is traced.
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
    # Only Keras 2 is used; Keras 3 would be imported in addition.
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    for name, value in _GCS_RETRIES.items():
        os.environ.setdefault(name, value)
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as output:
        os.dup2(output.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except Exception:
            output.seek(0)
            os.write(stderr, output.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
