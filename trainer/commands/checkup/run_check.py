"""Check the surroundings of a run: its workdir, its feature cache, the other workers."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from trainer.commands.checkup.finding import ERROR, OK, WARNING, Finding, train_command
from trainer.process.errors import UserError
from trainer.process.file_lock import locked
from trainer.settings import identity
from trainer.settings.config import Config
from trainer.storage import api as storage
from trainer.workdir import checkpoint_list, paths, status
from trainer.workers import cluster as clusters
from trainer.workers import rendezvous, sharding
from trainer.workers.cluster import Cluster, host_and_port

# TensorFlow's overhead for a checkpoint and an export, besides the weights.
_OVERHEAD_BYTES = 20 * 10**6


def check_cluster(config: Config, environment: Mapping[str, str]) -> list[Finding]:
    """Check that the workers are known, their names resolve, and this one's port is free."""
    try:
        cluster = clusters.read(environment, config.worker_hosts, config.task_index)
        sharding.check(cluster.num_workers, config.logical_shards, config.global_batch_size)
    except UserError as error:
        return [_refused("cluster", "cluster", error)]
    if not cluster.is_distributed:
        return [Finding("cluster", "cluster", OK, "one worker")]
    me = cluster.name(cluster.index)
    found = [
        Finding("cluster", "cluster", OK, f"{cluster.num_workers} workers, by {cluster.source}")
    ]
    try:
        rendezvous.reserve_port(cluster).close()
        found.append(Finding("cluster", "port", OK, f"the port of {me} is free"))
    except UserError as error:
        found.append(_refused("cluster", "port", error))
    if unknown := _unknown_hosts(cluster):
        found.append(
            Finding(
                "cluster",
                "unknown_hosts",
                WARNING,
                f"the names of {len(unknown)} of {cluster.num_workers} workers cannot be resolved",
                cost=f"if it stays so, all workers end after {config.rendezvous_timeout_secs:.0f} s"
                " (--rendezvous_timeout_secs)",
                fix="start them, and name a headless service that publishes their addresses",
                items=tuple(unknown),
            )
        )
    return found


def check_workdir(
    config: Config, facts: Mapping[str, Any], num_bytes: int, argv: Sequence[str]
) -> list[Finding]:
    """Check that the workdir is writable, has space, and is free for this run; create nothing.

    Args:
        config: the run.
        facts: about its data and its backbone, by the names of a run's identity.
        num_bytes: what its checkpoints and its export will take.
        argv: the command line.
    """
    workdir = config.workdir
    try:
        free = _free_bytes(workdir, "workdir")
        space = "" if free is None else f", {free / 1e9:,.1f} GB are free"
        if free is not None and free < (needed := num_bytes + _OVERHEAD_BYTES):
            raise UserError(
                f"--workdir={workdir}: its disk has {free / 1e6:,.0f} MB left, and checkpoints and "
                f"export take {needed / 1e6:,.0f} MB"
            )
        _not_in_use(workdir)
        status.newest_checkpoint(workdir)  # refuses one of a newer version
    except UserError as error:
        fix = train_command(argv, "--workdir=ANOTHER")
        return [_refused("workdir", "workdir", error, fix)]
    differences = _differences(config, facts)
    if not differences:
        known = storage.list_names(workdir)
        state = "resumes the run in it" if "config.json" in known else "new"
        return [Finding("workdir", "workdir", OK, f"{workdir}: {state}{space}")]
    return [
        Finding(
            "workdir",
            "other_run",
            ERROR,
            f"{workdir}: holds a run with other settings",
            cost="the run does not start: it cannot resume another run",
            fix=train_command(argv, "--workdir=ANOTHER"),
            items=tuple(differences),
            shows_all=True,
        )
    ]


def check_feature_cache(config: Config, argv: Sequence[str]) -> list[Finding]:
    """Check that the feature cache is writable; create nothing."""
    if not config.caches_features:
        return []
    path = config.feature_cache_dir
    try:
        _free_bytes(path, config.feature_cache_flag)
    except UserError as error:
        fix = train_command(argv, "--feature_cache=ANOTHER")
        found = _refused("workdir", "feature_cache", error, fix)
        if not _is_not_empty(path):
            return [found]
        cost = "the run ends here if a feature is missing"
        return [dataclasses.replace(found, severity=WARNING, cost=cost)]
    return [Finding("workdir", "feature_cache", OK, f"{path}: features are cached here")]


def _is_not_empty(path: str) -> bool:
    with contextlib.suppress(OSError, UserError):
        return bool(storage.list_names(path))
    return False


def _free_bytes(path: str, flag: str) -> int | None:
    """Return the free bytes of a directory's disk; None for one in a bucket.

    Raises:
        UserError: it cannot be created or written to; the message names `flag`.
    """
    if storage.is_remote(path):
        storage.ensure_directory(path, flag)
        return None
    parent = os.path.abspath(path)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    try:
        with tempfile.TemporaryFile(dir=parent):  # removed at once
            pass
    except OSError as error:
        raise UserError(
            f"--{flag}={path}: must be a writable directory ({parent}: {error.strerror})"
        ) from error
    return shutil.disk_usage(parent).free


def _not_in_use(workdir: str) -> None:
    lock = os.path.join(workdir, ".lock")
    if not storage.is_remote(workdir) and os.path.exists(lock):
        with locked(lock, f"--workdir={workdir}: another process trains here"):
            pass


def _differences(config: Config, facts: Mapping[str, Any]) -> list[str]:
    """Return how the settings differ from those of the checkpoints in the workdir."""
    workdir = config.workdir
    try:
        then = json.loads(storage.read_bytes(storage.join(workdir, "config.json")))["identity"]
        has_checkpoints = bool(checkpoint_list.names(paths.part(workdir, "checkpoints")))
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if not has_checkpoints:
        return []
    now = {**config.identity(), **facts}
    return identity.differences({name: then.get(name) for name in now}, now)


def _unknown_hosts(cluster: Cluster) -> list[str]:
    def is_unknown(address: str) -> bool:
        try:
            socket.getaddrinfo(*host_and_port(address))
            return False
        except OSError:
            return True

    with ThreadPoolExecutor(min(32, cluster.num_workers)) as pool:
        answers = list(pool.map(is_unknown, cluster.workers))
    return [cluster.name(index) for index, unknown in enumerate(answers) if unknown]


def _refused(area: str, check: str, error: UserError, fix: str = "") -> Finding:
    return Finding(area, check, ERROR, str(error), cost="the run does not start", fix=fix)
