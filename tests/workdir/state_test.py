import json
import math

import pytest

from trainer.workdir.state import RunState, StepMetrics


def test_what_is_read_back_has_every_bit():
    state = RunState(train={"loss": 0.1 + 0.2}, best={"global_step": 3, "accuracy": 1 / 3})
    for i in range(5):
        state.add_step(StepMetrics(1 / (i + 3), float(i), 8.0, math.pi**i), steps_per_epoch=3)
    state.skipped["größe.png"] = "truncated"
    again = RunState.from_dict(json.loads(json.dumps(state.to_dict())))
    assert again == state
    assert again.recent[0].gradient_norm == 1.0
    assert isinstance(again.recent[0], StepMetrics)


def test_an_unknown_entry_is_an_error():
    with pytest.raises(TypeError, match="colour"):
        RunState.from_dict({**RunState().to_dict(), "colour": 1})


def test_train_is_of_the_last_whole_epoch():
    state, seen = RunState(), []
    for loss, correct in ((8.0, 1.0), (4.0, 3.0), (2.0, 4.0), (1.0, 4.0), (100.0, 0.0)):
        state.add_step(StepMetrics(loss, correct, 4.0, 1.0), steps_per_epoch=2)
        seen.append((state.global_step, state.train["loss"], state.train["accuracy"]))
    # The first epoch shows what there is of it; later ones wait until they are whole.
    assert seen == [
        (1, 2.0, 0.25),
        (2, 1.5, 0.5),
        (3, 1.5, 0.5),
        (4, 0.375, 1.0),
        (5, 0.375, 1.0),
    ]
    assert (state.loss_sum, state.num_correct, state.num_seen) == (100.0, 0.0, 4.0)


def test_pop_recent_means():
    state = RunState()
    state.add_step(StepMetrics(4.0, 1.0, 4.0, 3.0), steps_per_epoch=10)
    state.add_step(StepMetrics(2.0, 2.0, 2.0, 1.0), steps_per_epoch=10)
    assert state.pop_recent_means() == {"loss": 1.0, "accuracy": 0.5, "gradient_norm": 2.0}
    assert state.recent == []
    state.add_step(StepMetrics(0.0, 0.0, 0.0, 0.0), steps_per_epoch=10)  # every image was bad
    assert state.pop_recent_means() == {"loss": 0.0, "accuracy": 0.0, "gradient_norm": 0.0}


def test_best_and_early_stopping():
    state, seen = RunState(), []
    for accuracy, loss in ((0.5, 2.0), (0.5, 1.5), (0.4, 1.0), (0.5, 1.5), (0.6, 9.0), (0.6, 9.5)):
        state.global_step += 10
        is_best = state.add_evaluation(accuracy, loss, patience=2)
        seen.append((is_best, state.best["global_step"], state.stopped_early))
    assert seen == [
        (True, 10, False),
        (True, 20, False),  # as accurate, with a lower loss
        (False, 20, False),
        (False, 20, True),
        (True, 50, False),
        (False, 50, False),
    ]
    assert state.best == {"global_step": 50, "accuracy": 0.6, "loss": 9.0}
    assert state.evaluated_step == 60


def test_no_patience_never_stops():
    state = RunState()
    for _ in range(50):
        state.add_evaluation(0.0, 1.0, patience=0)
    assert (state.stopped_early, state.evaluations_since_best) == (False, 49)


def test_another_patience_judges_anew():
    state = RunState()
    for _ in range(4):
        state.add_evaluation(0.5, 1.0, patience=3)
    judged = []
    for patience in (3, 4, 2, 0):
        state.update_early_stopping(patience)
        judged.append((patience, state.stopped_early))
    assert judged == [(3, True), (4, False), (2, True), (0, False)]
