"""Open data sets of TensorFlow Datasets: prepared directories, and names that TFDS prepares."""

from __future__ import annotations

import contextlib
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterable

import tensorflow as tf

from trainer.data.sources.tfds_source import TfdsSource
from trainer.process.errors import UserError
from trainer.process.file_lock import locked

_CONNECT_SECS = 10.0


def open_prepared(directory: str, shuffle_buffer_size: int, name: str = "") -> TfdsSource:
    """Open a prepared TFDS directory, or the directory of its one version.

    Args:
        directory: local or gs://.
        shuffle_buffer_size: see TfdsSource.
        name: of the data set in messages; empty for the directory.

    Raises:
        UserError: the directory holds no TFDS data, or no images with labels.
    """
    import tensorflow_datasets as tfds

    name = name or f"--dataset={directory}"
    try:
        builder = tfds.builder_from_directory(_version_directory(directory))
    except Exception as error:
        raise UserError(f"{name}: not readable as a TFDS directory ({_line(error)})") from error
    return TfdsSource(name, builder, shuffle_buffer_size)


def is_prepared(directory: str) -> bool:
    """Return whether `directory` holds a prepared TFDS data set, or versions of one."""
    is_version = tf.io.gfile.exists(os.path.join(directory, "dataset_info.json"))
    return is_version or bool(_versions(directory))


def open_named(dataset: str, data_dir: str, shuffle_buffer_size: int) -> TfdsSource:
    """Open a data set by its TFDS name (`beans`, `name/config:version`); prepare it if needed.

    Args:
        dataset: the name.
        data_dir: where TFDS keeps prepared data sets; empty for its default.
        shuffle_buffer_size: see TfdsSource.

    Raises:
        UserError: TFDS has no such name, or cannot download or prepare it.
    """
    import tensorflow_datasets as tfds

    name = f"--dataset={dataset}"
    try:
        builder = tfds.builder(dataset, data_dir=data_dir or None)
    except Exception as error:
        raise UserError(
            f"{name}: neither a file or directory nor a data set that TFDS knows ({_line(error)})"
        ) from error
    if not tf.io.gfile.exists(os.path.join(str(builder.data_dir), "dataset_info.json")):
        try:
            _connect(builder.url_infos or ())  # None: nothing to fetch
            # Processes that prepare at once would corrupt the result: one does, the others wait.
            lock = os.path.join(os.path.dirname(str(builder.data_dir)), ".graft-lock")
            with locked(lock), contextlib.redirect_stdout(None):
                builder.download_and_prepare()
        except Exception as error:
            raise UserError(
                f"{name}: TFDS could not download and prepare it in {builder.data_dir} "
                f"({_line(error)}); prepare it where there is a network and name the "
                "directory with --data_dir"
            ) from error
        # A new builder: the first does not notice that another process has prepared the data.
        builder = tfds.builder(dataset, data_dir=data_dir or None)
    return TfdsSource(name, builder, shuffle_buffer_size)


def _version_directory(directory: str) -> str:
    if tf.io.gfile.exists(os.path.join(directory, "dataset_info.json")):
        return directory
    versions = _versions(directory)
    if len(versions) != 1:
        names = ", ".join(map(os.path.basename, versions)) or "none"
        raise ValueError(f"must have one version below it, has {names}")
    return versions[0]


def _versions(directory: str) -> list[str]:
    below = [os.path.join(directory, name.rstrip("/")) for name in tf.io.gfile.listdir(directory)]
    return sorted(d for d in below if tf.io.gfile.exists(os.path.join(d, "dataset_info.json")))


def _connect(urls: Iterable[str]) -> None:
    """Fail at once if a host cannot be reached: TFDS would retry ten times, for minutes.

    Raises:
        ConnectionError: a host cannot be reached; the message names it.
    """
    if urllib.request.getproxies():
        return  # the proxy may reach hosts that this machine cannot
    for host in sorted({urllib.parse.urlsplit(url).netloc for url in urls}):
        name, _, port = host.partition(":")
        try:
            socket.create_connection((name, int(port or 443)), _CONNECT_SECS).close()
        except OSError as error:
            raise ConnectionError(f"{host} cannot be reached: {error.strerror or error}") from error


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
