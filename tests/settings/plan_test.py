import pytest

from trainer.process.errors import UserError
from trainer.settings.config import Config
from trainer.settings.plan import (
    CheckpointTimer,
    LoopLength,
    Plan,
    plan,
    unused_examples_warning,
)


@pytest.mark.parametrize(
    ("settings", "num_examples", "expected"),
    [
        ({}, 1034, Plan(32, 320, 32)),
        ({"num_epochs": 3}, 1034, Plan(32, 96, 32)),
        ({"num_steps": 50}, 1034, Plan(32, 50, 32)),
        ({"num_epochs": 4, "eval_every_epochs": 2}, 1034, Plan(32, 128, 64)),
        ({"global_batch_size": 1034}, 1034, Plan(1, 10, 1)),
        ({"num_epochs": 1, "warmup_steps": 31}, 1034, Plan(32, 32, 32)),
    ],
)
def test_plan(settings, num_examples, expected):
    assert plan(Config(workdir="w", **settings), num_examples) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"global_batch_size": 128}, "--global_batch_size=128: must be at most the number of tra"),
        ({"num_epochs": 1, "warmup_steps": 3}, "--warmup_steps=3: must be below the run's 3 steps"),
    ],
)
def test_plan_refuses(settings, message):
    with pytest.raises(UserError, match=message):
        plan(Config(workdir="w", **settings), 100)


@pytest.mark.parametrize(
    ("num_examples", "settings", "remedy"),
    [
        (5, {}, "training examples, 5; use --global_batch_size=4"),
        (31, {"num_logical_shards": 16}, "training examples, 31; use --global_batch_size=16"),
        (15, {"num_logical_shards": 16}, "training examples, 15"),
        (0, {}, "training examples, 0"),
    ],
)
def test_too_few_examples_come_with_a_remedy(num_examples, settings, remedy):
    with pytest.raises(UserError) as caught:
        plan(Config(workdir="w", **settings), num_examples)
    assert str(caught.value).endswith(remedy)


@pytest.mark.parametrize(
    ("num_examples", "batch", "words"),
    [
        (1034, 32, ""),
        (110, 100, ""),  # 9 %
        (100, 90, ""),  # 10 % are not yet many
        (100, 89, "--global_batch_size=89: leaves 11 of 100 training images (11%) out of each"),
        (1600, 1000, "--global_batch_size=1000: leaves 600 of 1,600 training images (38%) out of"),
        (64, 64, ""),
    ],
)
def test_many_examples_that_fill_no_batch_are_worth_a_warning(num_examples, batch, words):
    warning = unused_examples_warning(num_examples, batch)
    assert warning.startswith(words)
    assert bool(warning) == bool(words)


@pytest.mark.parametrize(
    ("a_plan", "evaluations"),
    [
        (Plan(4, 12, 4), [4, 8, 12]),
        (Plan(4, 10, 4), [4, 8, 10]),
        (Plan(4, 3, 4), [3]),
        (Plan(4, 10, 8), [8, 10]),
    ],
)
def test_evaluations(a_plan, evaluations):
    steps = range(a_plan.num_steps + 1)
    assert [step for step in steps if a_plan.is_evaluation(step)] == evaluations
    # Following next_evaluation from anywhere meets every later one.
    for step in range(a_plan.num_steps):
        assert a_plan.next_evaluation(step) == next(e for e in evaluations if e > step)


def test_epoch():
    assert [Plan(4, 12, 4).epoch(step) for step in (0, 3, 4, 10)] == [0, 0.75, 1, 2.5]


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def test_checkpoints_by_steps():
    timer = CheckpointTimer(5, None, Clock())
    assert [timer.next_step(step, 12) for step in (0, 4, 5, 9, 10)] == [5, 5, 10, 10, 12]
    assert [step for step in range(1, 13) if timer.is_due(step)] == [5, 10]


def test_checkpoints_by_seconds():
    clock = Clock()
    timer = CheckpointTimer(None, 30.0, clock)
    assert timer.next_step(3, 12) == 12
    clock.now += 29.9
    assert not timer.is_due(3)
    clock.now += 0.1
    assert timer.is_due(3)
    timer.reset()
    assert not timer.is_due(4)
    clock.now += 30
    assert timer.is_due(4)


def test_checkpoints_every_half_minute_where_nothing_else_is_asked_for():
    clock = Clock()
    timer = CheckpointTimer(None, None, clock)
    clock.now += 29
    assert not timer.is_due(3)
    clock.now += 1
    assert timer.is_due(3)


def test_loop_length_grows_at_most_twofold_to_what_fits():
    length = LoopLength(target_secs=1.0, limit=100)
    seen = [length.steps]
    for _ in range(9):
        length.update(length.steps, length.steps * 0.013)  # 76 steps fit a second
        seen.append(length.steps)
    assert seen == [1, 2, 4, 8, 16, 32, 64, 76, 76, 76]


@pytest.mark.parametrize(
    ("num_steps", "secs", "expected"), [(64, 128.0, 1), (64, 2.0, 32), (64, 0.0, 100)]
)
def test_loop_length_follows_the_speed(num_steps, secs, expected):
    length = LoopLength(target_secs=1.0, limit=100)
    length.steps = 64
    length.update(num_steps, secs)
    assert length.steps == expected
