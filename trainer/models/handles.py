"""Find the SavedModel of a backbone's handle, and cache it where needed."""

import hashlib
import os
import re
import socket
import tarfile
import tempfile
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf

from trainer.graph.errors import reason
from trainer.models import efficientnet_lite0
from trainer.process.errors import UserError
from trainer.storage import api as storage
from trainer.storage import artifacts

EMBEDDED = "efficientnet_lite0"

_ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar")
_CONNECT_TIMEOUT_SECS = 20
_KINDS = (
    f"A handle is '{EMBEDDED}', the https:// address of a TF Hub or Kaggle model, or the path "
    "(local or gs://) of a SavedModel directory or of an archive (.tar.gz, .tgz, .tar) of one."
)


def resolve(handle: str, cache_dir: str) -> str:
    """Find, write, extract or download the SavedModel that `handle` names.

    Args:
        handle: see `_KINDS`, which the error messages quote.
        cache_dir: a local directory, created if needed, for written, extracted or downloaded
            models. `TFHUB_CACHE_DIR`, if set, takes precedence for downloads.

    Returns:
        A directory, local or gs://, whose content is not checked.

    Raises:
        UserError: the handle names nothing readable, or the cache cannot be written.
    """
    if handle == EMBEDDED:
        name = f"{EMBEDDED}-{efficientnet_lite0.DIGEST[:16]}"
        return artifacts.get_or_create(cache_dir, name, _write_embedded)[0]
    if handle.startswith("gs://"):
        return _resolve_in_bucket(handle, cache_dir)
    if re.match(r"[a-z][a-z0-9+.-]*://", handle):
        return _resolve_remote(handle, cache_dir)
    path = os.path.abspath(handle)
    if os.path.isdir(path):
        return path
    if not os.path.isfile(path):
        raise UserError(f"--backbone={handle}: there is no {path}. {_KINDS}")
    if not path.lower().endswith(_ARCHIVE_SUFFIXES):
        raise UserError(f"--backbone={handle}: a file that is not an archive. {_KINDS}")
    return _resolve_archive(handle, path, cache_dir)


def digest(handle: str, path: str) -> str:
    """Return the digest of the backbone's function: equal digests, equal features.

    Args:
        handle: as the user gave it.
        path: what `resolve` returned for it.

    Returns:
        64 hexadecimal digits: sha256 over the names and bytes of the files that TensorFlow loads
        from a SavedModel; for the embedded backbone over its weights and architecture, since
        TensorFlow writes other bytes each time.
    """
    if handle == EMBEDDED:
        return efficientnet_lite0.DIGEST
    digest = hashlib.sha256()
    for file in _loaded_files(path):
        with tf.io.gfile.GFile(tf.io.gfile.join(path, file), "rb") as stream:
            digest.update(f"{file}\0{_sha256(stream)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def import_hub() -> Any:
    """Import `tensorflow_hub` without the warning about its import of `pkg_resources`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow_hub
    return tensorflow_hub


def _loaded_files(path: str) -> list[str]:
    found = []
    for directory, _, names in tf.io.gfile.walk(path):
        relative = os.path.relpath(directory, path).replace(os.sep, "/").rstrip("/")
        for name in names:
            file = name if relative == "." else f"{relative}/{name}"
            if file in ("saved_model.pb", "saved_model.pbtxt") or file.startswith(
                ("variables/", "assets/")
            ):
                found.append(file)
    return sorted(found)


def _resolve_remote(handle: str, cache_dir: str) -> str:
    hub = import_hub()
    before = os.environ.get("TFHUB_CACHE_DIR")
    timeout = socket.getdefaulttimeout()
    # TF Hub reads its cache's path from the environment only, and connects without a timeout.
    os.environ["TFHUB_CACHE_DIR"] = before or os.path.join(os.path.abspath(cache_dir), "tfhub")
    socket.setdefaulttimeout(_CONNECT_TIMEOUT_SECS)
    try:
        path = hub.resolve(handle)
    # The resolvers raise OSError, ValueError, RuntimeError, tarfile's and TensorFlow's own errors.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"--backbone={handle}: cannot be fetched: {reason}. Check the address and the network; "
            "without one, download the model elsewhere and give the path of its archive. "
            f"{_KINDS}"
        ) from error
    finally:
        socket.setdefaulttimeout(timeout)
        if before is None:
            del os.environ["TFHUB_CACHE_DIR"]
    return path


def _resolve_in_bucket(handle: str, cache_dir: str) -> str:
    storage.check_readable(handle, "backbone")
    if not handle.lower().endswith(_ARCHIVE_SUFFIXES):
        return handle.rstrip("/")
    with tempfile.TemporaryDirectory(prefix="graft-backbone-") as scratch:
        path = os.path.join(scratch, os.path.basename(handle))
        try:
            tf.io.gfile.copy(handle, path)
        except tf.errors.OpError as error:
            raise UserError(f"--backbone={handle}: {reason(error)}") from error
        return _resolve_archive(handle, path, cache_dir)


def _resolve_archive(handle: str, path: str, cache_dir: str) -> str:
    def extract(target: str) -> None:
        with tarfile.open(path) as archive:
            # Python before 3.10.12 and 3.11.4 has no filter that keeps a member inside `target`.
            if not hasattr(tarfile, "data_filter"):
                raise tarfile.TarError("this Python is too old to extract archives safely")
            archive.extractall(target, filter="data")

    try:
        with open(path, "rb") as file:
            name = f"archive-{_sha256(file)[:16]}"
        root, _ = artifacts.get_or_create(cache_dir, name, extract)
    except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(
            f"--backbone={handle}: cannot be extracted: {error}. It must be a complete tar archive "
            "of a SavedModel; or extract it yourself and give the directory."
        ) from error
    # Most archives hold the files at the top; some hold them in one directory.
    entries = sorted({*os.listdir(root)} - {storage.MANIFEST})
    if len(entries) == 1 and os.path.isdir(os.path.join(root, entries[0])):
        return os.path.join(root, entries[0])
    return root


def _write_embedded(target: str) -> None:
    # The scope of a tf.distribute strategy belongs to a thread. In a new one the variables are
    # plain, whatever the caller's scope.
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(efficientnet_lite0.write_saved_model, target).result()


def _sha256(stream: Any) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(1 << 22):
        digest.update(chunk)
    return digest.hexdigest()
