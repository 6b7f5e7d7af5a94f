import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from trainer.engine.checkpoints import Checkpoints, newest_tensors
from trainer.process.errors import UserError
from trainer.storage import api as storage
from trainer.workdir.state import RunState, StepMetrics

IDENTITY = {"seed": 0, "class_names": ["a", "b"]}


class Model:
    """A head with Adam, as a run has; `train` moves weights and slots."""

    def __init__(self, seed=0, layers=1):
        rng = np.random.default_rng(seed)
        self.weights = [
            tf.Variable(rng.normal(size=(3, 2)), dtype=tf.float32) for _ in range(layers)
        ]
        self.optimizer = tf_keras.optimizers.Adam(0.1)
        self.optimizer.build(self.weights)
        self.trackable = tf.train.Checkpoint(optimizer=self.optimizer, weights=self.weights)

    def train(self, value):
        self.optimizer.apply_gradients([(tf.fill([3, 2], value), w) for w in self.weights])

    def numbers(self):
        return [v.numpy().tobytes() for v in (*self.weights, *self.optimizer.variables)]


class World:
    def __init__(self, root):
        self.directory = str(root / "checkpoints")
        self.model = Model()
        self.warnings = []

    def open(self, model=None, keep=2, identity=IDENTITY):
        self.model = model or self.model
        return Checkpoints(
            self.directory, self.model.trackable, identity, keep, self.warnings.append
        )

    def names(self):
        return storage.list_names(self.directory)

    def spoil(self, name):
        data = next(Path(self.directory, name).glob("variables.data*"))
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
        return data


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def state_of(step, best=None):
    state = RunState(global_step=step, recent=[StepMetrics(1 / 3, 1.0, 2.0, 0.1)])
    if best is not None:
        state.best = {"global_step": best, "accuracy": 0.5, "loss": 1.0}
    return state


def save(checkpoints, world, *steps, best=None):
    for step in steps:
        world.model.train(step / 7)
        checkpoints.save(state_of(step, best))


def test_restored_is_saved_bit_for_bit(world):
    save(world.open(), world, 1, 2, 3)
    saved = world.model.numbers()
    fresh = Model(seed=9)
    assert fresh.numbers() != saved
    assert world.open(fresh).restore_newest() == state_of(3)
    assert fresh.numbers() == saved
    assert fresh.optimizer.iterations.numpy() == 3
    # And what comes next is the same, which needs the slots.
    restored = world.model
    restored.train(0.3)
    uninterrupted = Model()
    for value in (1 / 7, 2 / 7, 3 / 7, 0.3):
        uninterrupted.train(value)
    assert restored.numbers() == uninterrupted.numbers()
    assert world.warnings == []


def test_nothing_to_restore(world):
    before = world.model.numbers()
    assert world.open().restore_newest() is None
    assert world.model.numbers() == before


def test_a_damaged_one_is_passed_over(world):
    save(world.open(), world, 1)
    older = world.model.numbers()
    save(world.open(), world, 2)
    data = world.spoil("step_00000002")
    assert world.open(Model(seed=9)).restore_newest() == state_of(1)
    assert world.model.numbers() == older
    assert world.warnings == [f"skipping a corrupt checkpoint: {data}: checksum mismatch"]


def test_an_unfinished_one_is_none(world):
    save(world.open(), world, 1, 2)
    os.remove(os.path.join(world.directory, "step_00000002", storage.MANIFEST))
    assert world.open(Model(seed=9)).restore_newest() == state_of(1)
    assert world.warnings == []


def test_all_damaged(world):
    save(world.open(), world, 1, 2)
    for name in world.names():
        world.spoil(name)
    assert world.open().restore_newest() is None
    assert len(world.warnings) == 2


def test_after_a_damaged_one_the_good_ones_are_kept(world):
    save(world.open(keep=1), world, 10, 20)
    # Both there, as a kill before the sweep leaves them.
    save(world.open(keep=2), world, 30)
    assert world.names() == ["step_00000020", "step_00000030"]
    world.spoil("step_00000030")
    checkpoints = world.open(keep=1)
    assert checkpoints.restore_newest().global_step == 20
    save(checkpoints, world, 25)
    assert world.names() == ["step_00000025"]
    assert world.open().restore_newest().global_step == 25


def test_the_same_step_again_is_newer(world):
    save(world.open(keep=20), world, 10)
    for _ in range(11):
        save(world.open(keep=20), world, 10)
    assert len(world.names()) == 12
    newest = world.model.numbers()
    world.open(Model(seed=9)).restore_newest()
    assert world.model.numbers() == newest


@pytest.mark.parametrize(
    ("identity", "lines"),
    [
        ({**IDENTITY, "seed": 1}, ["seed: 0 there, 1 now"]),
        ({**IDENTITY, "class_names": ["a", "c"]}, ["class_names: a,b there, a,c now"]),
        ({"class_names": ["a"]}, ["class_names: a,b there, a now", "seed: 0 there, None now"]),
    ],
)
def test_another_run_is_refused_with_both_values(world, identity, lines):
    save(world.open(), world, 1)
    before = world.model.numbers()
    with pytest.raises(UserError) as caught:
        world.open(identity=identity).restore_newest()
    first, *rest = str(caught.value).split("\n  ")
    assert first.startswith(f"{world.directory}/step_00000001: belongs to another run; choose")
    assert rest == lines
    assert world.model.numbers() == before


@pytest.mark.parametrize(
    ("keep", "best", "steps", "left"),
    [
        (1, None, [1, 2, 3], [3]),
        (2, None, [1, 2, 3, 4], [3, 4]),
        (2, 2, [1, 2, 3, 4, 5], [2, 4, 5]),
        (3, 5, [1, 2, 3, 4, 5], [3, 4, 5]),
        (1, 1, [1, 2, 3], [1, 3]),
    ],
)
def test_retention(world, keep, best, steps, left):
    save(world.open(keep=keep), world, *steps, best=best)
    assert world.names() == [f"step_{step:08d}" for step in left]


def test_what_a_kill_left_is_swept_and_what_is_not_ours_stays(world):
    save(world.open(keep=1), world, 1)
    half = Path(world.directory, "step_00000002")
    half.mkdir()
    (half / "variables.index").write_bytes(b"half")
    Path(world.directory, ".DS_Store").write_bytes(b"x")
    shutil.copytree(Path(world.directory, "step_00000001"), Path(world.directory, "step_1 copy"))
    save(world.open(keep=1), world, 3)
    assert world.names() == [".DS_Store", "step_00000003", "step_1 copy"]
    assert world.open().restore_newest().global_step == 3


def test_restore_best(world):
    checkpoints = world.open(keep=1)
    save(checkpoints, world, 1, 2, best=2)
    best = world.model.numbers()
    save(checkpoints, world, 3, best=2)
    checkpoints.restore_best(state_of(3, best=2))
    assert world.model.numbers() == best
    world.spoil("step_00000002")
    with pytest.raises(UserError, match="the best checkpoint, of step 2, is missing"):
        world.open().restore_best(state_of(3, best=2))


def test_missing_slots_are_an_error(world):
    """A checkpoint that was saved without them must not pass for one that has them."""
    bare = tf.train.Checkpoint(weights=world.model.weights)
    Checkpoints(world.directory, bare, IDENTITY, 2, world.warnings.append).save(state_of(1))
    with pytest.raises(AssertionError):
        world.open().restore_newest()


def test_a_variable_without_a_place_is_an_error(world):
    save(world.open(Model(layers=2)), world, 1)
    with pytest.raises(AssertionError):
        world.open(Model(layers=1)).restore_newest()


def test_a_variable_that_was_not_saved_is_an_error(world):
    save(world.open(Model(layers=1)), world, 1)
    with pytest.raises(AssertionError):
        world.open(Model(layers=2)).restore_newest()


def test_the_newest_tensors_are_those_of_the_last_complete_checkpoint(world):
    checkpoints = world.open(keep=9)
    save(checkpoints, world, 2, 10)
    expected = set(world.model.numbers())
    save(checkpoints, world, 11)
    Path(world.directory, "step_00000011", "MANIFEST.json").unlink()
    step, tensors = newest_tensors(world.directory)
    assert step == 10
    found = {tensor.tobytes() for tensor in tensors.values()}
    assert expected <= found
    assert world.model.weights[0].numpy().tobytes() not in found
    with pytest.raises(FileNotFoundError):
        newest_tensors(world.directory + "/absent")
