"""Checkpoints in a bucket, published in the background: what is waited for, and what is left."""

import os
import statistics
import threading
import time
from functools import partial

import numpy as np
import pytest
import tensorflow as tf

from tests.engine.checkpoints_test import IDENTITY, Model, state_of
from trainer.engine.checkpoints import Checkpoints
from trainer.process.errors import UserError
from trainer.storage import api as storage
from trainer.storage.upload_queue import UploadQueue

DIRECTORY = "gs://bucket/run/checkpoints"


class World:
    def __init__(self):
        self.model = Model()
        self.warnings: list[str] = []
        self.upload_queue = UploadQueue()

    def open(self, model=None, keep=2, identity=IDENTITY):
        self.model = model or self.model
        return Checkpoints(
            DIRECTORY,
            self.model.trackable,
            identity,
            keep,
            self.warnings.append,
            self.upload_queue,
        )

    def save(self, checkpoints, *steps, best=None):
        for step in steps:
            self.model.train(step / 7)
            checkpoints.save(state_of(step, best))
        self.upload_queue.flush(60)


@pytest.fixture
def world(gcs):
    return World()


def test_restored_is_saved_bit_for_bit(gcs, world):
    world.save(world.open(), 1, 2, 3)
    saved = world.model.numbers()
    fresh = Model(seed=9)
    gcs.proxy.reset()
    assert world.open(fresh).restore_newest() == state_of(3)
    assert fresh.numbers() == saved
    assert gcs.proxy.count(matching="/o") == 4  # list, manifest, index, data
    assert world.warnings == []


def test_requests_of_a_save(gcs, world):
    checkpoints = world.open()
    world.save(checkpoints, 1, 2, 3)
    gcs.proxy.reset()
    world.save(checkpoints, 4)
    asked = [r.method for r in gcs.proxy.requests]
    # list, index, data, manifest; and the sweep: list, and three objects of step 2
    assert asked == ["GET", "POST", "POST", "POST", "GET", "DELETE", "DELETE", "DELETE"]


@pytest.mark.parametrize(
    ("keep", "best", "steps", "left"),
    [(1, None, [1, 2, 3], [3]), (2, 2, [1, 2, 3, 4, 5], [2, 4, 5]), (1, 1, [1, 2, 3], [1, 3])],
)
def test_retention(world, keep, best, steps, left):
    world.save(world.open(keep=keep), *steps, best=best)
    assert storage.list_names(DIRECTORY) == [f"step_{step:08d}" for step in left]


def test_a_damaged_one_is_passed_over(gcs, world):
    world.save(world.open(), 1)
    older = world.model.numbers()
    world.save(world.open(), 2)
    (data,) = (name for name in gcs.names("run/checkpoints/step_00000002") if ".data" in name)
    gcs.write(data, gcs.read(data)[:-1] + b"x")
    assert world.open(Model(seed=9)).restore_newest() == state_of(1)
    assert world.model.numbers() == older
    assert world.warnings == [f"skipping a corrupt checkpoint: gs://bucket/{data}: is missing"]


def test_a_manifest_cut_short_is_none(gcs, world):
    world.save(world.open(), 1, 2)
    name = "run/checkpoints/step_00000002/MANIFEST.json"
    gcs.write(name, gcs.read(name)[:-20])
    assert world.open(Model(seed=9)).restore_newest() == state_of(1)


def test_orphans_are_swept_and_never_written_over(gcs, world):
    gcs.write("run/checkpoints/step_00000002/variables.index", b"half")
    gcs.write("run/checkpoints/notes.txt", b"mine")
    world.save(world.open(keep=1), 2)
    assert storage.list_names(DIRECTORY) == ["notes.txt", "step_00000002_1"]
    assert world.open(Model(seed=9)).restore_newest() == state_of(2)


def test_another_run_is_refused(world):
    world.save(world.open(), 1)
    with pytest.raises(UserError, match=r"step_00000001: belongs to another run.*\n.*seed: 0"):
        world.open(identity={**IDENTITY, "seed": 1}).restore_newest()


def test_restore_best_waits_for_what_is_on_its_way(gcs, world):
    gcs.proxy.delay_secs = 0.04
    checkpoints = world.open(keep=1)
    world.model.train(0.5)
    checkpoints.save(state_of(2, best=2))
    best = world.model.numbers()
    world.model.train(0.5)
    checkpoints.save(state_of(3, best=2))
    checkpoints.restore_best(state_of(3, best=2))
    assert world.model.numbers() == best


def test_a_failed_upload_is_told_and_loses_nothing(gcs, world):
    checkpoints = world.open()
    world.save(checkpoints, 1)
    gcs.proxy.plan = lambda request: "403" if request.method == "POST" else None
    with pytest.raises(UserError, match="no permission to write"):
        world.save(checkpoints, 2)
    with pytest.raises(UserError, match="no permission to write"):
        checkpoints.save(state_of(3))
    gcs.proxy.reset()
    world.upload_queue = UploadQueue()
    assert world.open(Model(seed=9)).restore_newest() == state_of(1)


def test_no_scratch_is_left(world, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    world.save(world.open(), 1, 2, 3)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("delay_secs", [0.0, 0.04])
def test_training_is_not_kept_waiting_by_15_megabytes(gcs, delay_secs):
    """60 ms is the aim; the bound is wider, and of CPU time, which is ours on any machine."""
    variables = [tf.Variable(np.random.default_rng(0).normal(size=(1000, 1000))) for _ in range(2)]
    upload_queue = UploadQueue()
    checkpoints = Checkpoints(
        DIRECTORY,
        tf.train.Checkpoint(variables=variables),
        IDENTITY,
        2,
        lambda words: None,
        upload_queue,
    )
    checkpoints.save(state_of(0))
    upload_queue.flush(60)
    gcs.proxy.delay_secs = delay_secs
    spent = []
    for step in range(1, 6):
        gcs.proxy.requests = []
        is_saved = threading.Event()
        late: list[bool] = []
        # Nothing is answered before `save` has returned.
        gcs.proxy.plan = partial(answer_after, is_saved, late)
        began = time.process_time()
        checkpoints.save(state_of(step))
        spent.append(time.process_time() - began)
        is_saved.set()
        upload_queue.flush(60)
        assert late
        assert not any(late)
        size = max(int(r.headers.get("content-length", 0)) for r in gcs.proxy.requests)
        assert size > 15e6
        assert gcs.proxy.count("POST", "PUT") <= 6
    print(f"kept busy for {[round(1000 * secs) for secs in spent]} ms")
    assert statistics.median(spent) < 0.15


def answer_after(is_saved, late, request):
    late.append(not is_saved.wait(30))
