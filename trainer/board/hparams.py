"""A run's settings and outcome for TensorBoard's HPARAMS page, which compares runs.

`tensorboard --logdir=runs` reads `runs/<run>/logs` as a session, and the curves below it as its
metrics. The events belong to no step, and replace those of an earlier process.
"""

from __future__ import annotations

import os
import tempfile
import time
from typing import Any

import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2 as hparams_api
from tensorboard.plugins.hparams import summary
from tensorboard.plugins.hparams import summary_v2 as api

from trainer.engine.run import Run
from trainer.settings.config import names
from trainer.settings.setting import Scope

_METRICS = (
    ("accuracy", "eval", "validation accuracy"),
    ("loss", "eval", "validation loss"),
    ("accuracy", "train", "training accuracy"),
    ("loss", "train", "training loss"),
)


def begin(run: Run) -> dict[str, bytes]:
    """Return the event file, by its name, with the run's settings."""
    settings = {name: _plain(getattr(run.config, name)) for name in names(Scope.HYPERPARAMETER)}
    settings |= {"num_steps": run.plan.num_steps, "precision": run.precision}
    metrics = [api.Metric(tag, group, display_name=title) for tag, group, title in _METRICS]
    columns = [api.HParam(name) for name in settings]
    config = api.hparams_config_pb(columns, metrics, time_created_secs=0)
    return {"events.out.tfevents.1.graft-hparams": _file(config, api.hparams_pb(settings))}


def end() -> dict[str, bytes]:
    """Return the event file, by its name, that marks the run as finished."""
    # A proto of TensorFlow's own class, unlike the other protos.
    done = summary.session_end_pb(hparams_api.STATUS_SUCCESS).SerializeToString()
    return {"events.out.tfevents.2.graft-hparams": _file(Summary.FromString(done))}


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else ",".join(map(str, value))


def _file(*summaries: Any) -> bytes:
    now = time.time()
    events = [Event(wall_time=now, file_version="brain.Event:2")]
    events += [Event(wall_time=now, step=0, summary=summary) for summary in summaries]
    with tempfile.TemporaryDirectory(prefix="graft-hparams-") as scratch:
        path = os.path.join(scratch, "events")
        with tf.io.TFRecordWriter(path) as writer:
            for event in events:
                writer.write(event.SerializeToString())
        with open(path, "rb") as stream:
            return stream.read()
