"""What a run says of its speed: whether it waits for its data, and what to do about it."""

import io
from types import SimpleNamespace
from typing import Any

import pytest

from tests.inputs import tiny
from trainer.data.sources.folder_source import open_folder
from trainer.loop import progress
from trainer.process.console import LineReporter
from trainer.settings.config import Config
from trainer.workdir.state import RunState


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_folder(str(tiny.write_folder(tmp_path_factory.mktemp("data"), 4, 2)))


def said(source, stretches, **flags):
    """What is said after (seconds, seconds waited) of training, and after its end."""
    console = io.StringIO()
    config = Config(workdir="w", num_epochs=1, **flags)
    run: Any = SimpleNamespace(config=config, source=source, reporter=LineReporter(console))
    state = RunState()
    for took, waited in stretches:
        progress.record_speed(run, state, 10, took, waited)
    before_the_end = console.getvalue()
    progress.warn_if_input_bound(run, state)
    return before_the_end, console.getvalue(), state


def test_a_run_that_waits_is_told_once_after_half_a_minute(source):
    stretches = [(20.0, 5.0), (20.0, 7.0), (20.0, 20.0)]
    early, whole, state = said(source, stretches, freeze_backbone=False)
    assert early == whole
    assert whole == (
        "input-bound: 30% of the time waiting for data; pack the images with `graft pack`, "
        "best at the size that the backbone takes\n"
    )
    assert state.input_wait == pytest.approx(32 / 60)
    assert state.examples_per_sec == pytest.approx(10 * 32 / 20)


def test_a_short_run_is_told_at_its_end(source):
    early, whole, _ = said(source, [(10.0, 5.0)], feature_cache="off")
    assert early == ""
    assert whole == (
        "input-bound: 50% of the time waiting for data; --feature_cache=auto computes each "
        "feature once\n"
    )


def test_augmented_views_are_what_a_frozen_backbone_is_told_of(source):
    _, whole, _ = said(source, [(10.0, 5.0)], augment="light")
    assert "--feature_views=8 keeps" in whole


@pytest.mark.parametrize("stretches", [[(60.0, 11.0)], [(0.5, 0.4)], []])
def test_a_run_that_does_not_wait_or_is_over_at_once_hears_nothing(source, stretches):
    assert said(source, stretches)[1] == ""
