"""A profile begins and ends at its steps, in the place where TensorBoard looks for it."""

import tensorflow as tf

from trainer.engine.profiling import Profiler


def traces(directory):
    return list(directory.glob("plugins/profile/*/*.xplane.pb"))


def test_it_covers_the_steps_that_are_asked_for(tmp_path):
    profiler = Profiler((3, 5), str(tmp_path))
    step, boundaries = 0, []
    while step < 8:
        step = min(step + 4, profiler.next_step(step))
        profiler.at(step)
        tf.constant(1.0) + 1.0
        boundaries.append((step, len(traces(tmp_path))))
    assert boundaries == [(3, 0), (5, 1), (9, 1)]


def test_a_run_that_ends_within_writes_what_it_has(tmp_path):
    profiler = Profiler((3, 50), str(tmp_path))
    profiler.at(7)  # resumed in the middle of it
    profiler.close()
    profiler.close()
    assert len(traces(tmp_path)) == 1


def test_without_steps_nothing_happens(tmp_path):
    profiler = Profiler((), str(tmp_path))
    assert profiler.next_step(10) > 2**60
    profiler.at(10)
    profiler.close()
    assert not list(tmp_path.iterdir())
