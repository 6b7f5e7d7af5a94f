"""A run that has ended is known by its workdir, and in doubt it is not."""

import dataclasses
import json

import pytest

from trainer.settings.config import Config
from trainer.storage import api as storage
from trainer.workdir import finished
from trainer.workdir.state import RunState

METRICS = {"global_step": 64, "eval": {"accuracy": 0.5, "num_examples": 8}}


@pytest.fixture
def config(tmp_path):
    """Of a run of 2 epochs, 32 steps each, which has ended."""
    config = Config(workdir=str(tmp_path / "run"), num_epochs=2, export_formats=())
    storage.ensure_directory(config.workdir, "workdir")
    write(config, tmp_path, RunState(global_step=64, evaluated_step=64), METRICS)
    return config


def write(config, tmp_path, state, metrics):
    content = {"config": config.to_dict(), "identity": {"num_train_examples": 1034}}
    storage.write_json(f"{config.workdir}/config.json", content)
    storage.write_json(f"{config.workdir}/metrics.json", metrics)
    scratch = tmp_path / "scratch"
    scratch.mkdir(exist_ok=True)
    (scratch / "weights").write_bytes(b"w")
    facts = {"global_step": state.global_step, "state": state.to_dict()}
    directory = f"{config.workdir}/checkpoints/step_{state.global_step:08d}"
    storage.publish(str(scratch), directory, facts)


def test_it_has_ended(config):
    assert finished.metrics_if_finished(config) == METRICS
    elsewhere = dataclasses.replace(config, cache_dir="/cache", log_format="json")
    assert finished.metrics_if_finished(elsewhere) == METRICS


@pytest.mark.parametrize(
    "asked",
    [
        {"num_epochs": 3},
        {"learning_rate": 0.1},
        {"test_split": "test"},
        {"export_formats": ("saved_model",)},
        {"early_stopping_patience": 3},
    ],
)
def test_another_is_asked_for(config, asked):
    assert finished.metrics_if_finished(dataclasses.replace(config, **asked)) is None


def test_a_report_is_missed_only_where_nobody_waits_for_it(config):
    state = RunState(global_step=64, evaluated_step=64)
    without = dataclasses.replace(config, report=False)
    assert finished.read(without, state) == METRICS
    assert finished.read(config, state) is None  # made with --noreport
    assert finished.metrics_if_finished(config) == METRICS
    made = {**METRICS, "report": True}
    storage.write_json(f"{config.workdir}/metrics.json", made)
    assert finished.read(config, state) is None  # deleted
    storage.write_atomically(f"{config.workdir}/{finished.REPORT_FILE}", b"<!doctype html>")
    assert finished.read(config, state) == made
    storage.write_json(f"{config.workdir}/metrics.json", METRICS)
    assert finished.read(config, state) is None  # of an earlier end


def test_no_run_is_there(tmp_path):
    assert finished.metrics_if_finished(Config(workdir=str(tmp_path / "none"))) is None


@pytest.mark.parametrize(
    ("changed", "state", "metrics"),
    [
        # Prolonged, and killed before its first new checkpoint, or after it.
        ({"num_epochs": 3}, {"global_step": 64, "evaluated_step": 64}, METRICS),
        ({"num_epochs": 3}, {"global_step": 96, "evaluated_step": 96}, METRICS),
        # The last step is not evaluated yet.
        ({}, {"global_step": 64, "evaluated_step": 32}, METRICS),
        # Stopped early by less patience than is asked for now.
        (
            {"num_epochs": 3, "early_stopping_patience": 3},
            {
                "global_step": 64,
                "evaluated_step": 64,
                "evaluations_since_best": 2,
                "stopped_early": True,
            },
            METRICS,
        ),
        ({}, {"global_step": 64, "evaluated_step": 64}, {"global_step": 64}),
    ],
)
def test_it_has_not_ended(config, tmp_path, changed, state, metrics):
    other = dataclasses.replace(config, **changed)
    write(other, tmp_path, RunState(**state), metrics)
    assert finished.metrics_if_finished(other) is None


def test_stopped_early(config, tmp_path):
    other = dataclasses.replace(config, num_epochs=9, early_stopping_patience=2)
    state = RunState(global_step=64, evaluated_step=64, evaluations_since_best=2)
    write(other, tmp_path, state, METRICS)
    assert finished.metrics_if_finished(other) == METRICS


def test_an_export_that_is_damaged(config, tmp_path):
    asked = dataclasses.replace(config, export_formats=("saved_model",))
    write(asked, tmp_path, RunState(global_step=64, evaluated_step=64), METRICS)
    assert finished.metrics_if_finished(asked) is None
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"m")
    facts = json.loads('{"export_formats": ["saved_model"]}')
    storage.publish(str(tmp_path / "model"), f"{asked.workdir}/export", facts)
    assert finished.metrics_if_finished(asked) == METRICS
    (tmp_path / "run" / "export" / "saved_model.pb").write_bytes(b"x")
    assert finished.metrics_if_finished(asked) is None
