import json

import pytest

from trainer.engine import vertex_trial


def test_measures_are_lines_with_the_services_keys(tmp_path):
    path = tmp_path / "hypertune" / "output.metrics"
    environ = {"CLOUD_ML_HP_METRIC_FILE": str(path), "CLOUD_ML_TRIAL_ID": "7"}
    vertex_trial.report({"accuracy": 0.5, "loss": 1.25}, 32, environ, lambda: 1e9)
    vertex_trial.report({"accuracy": 0.75}, 64, environ, lambda: 1e9 + 1)
    common = {"trial": "7", "checkpoint_path": ""}
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {**common, "timestamp": 1e9, "global_step": "32", "accuracy": "0.5"},
        {**common, "timestamp": 1e9, "global_step": "32", "loss": "1.25"},
        {**common, "timestamp": 1e9 + 1, "global_step": "64", "accuracy": "0.75"},
    ]
    assert path.read_text().endswith("\n")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ""),
        ({"CLOUD_ML_TRIAL_ID": "1"}, "/tmp/hypertune/output.metrics"),
        ({"CLOUD_ML_HP_METRIC_FILE": "/a/b"}, "/a/b"),
        ({"CLOUD_ML_HP_METRIC_FILE": "/a/b", "CLOUD_ML_TRIAL_ID": "1"}, "/a/b"),
    ],
)
def test_where_measures_go(environ, expected):
    assert vertex_trial.metric_file(environ) == expected


def test_outside_of_a_trial_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vertex_trial.report({"accuracy": 0.5}, 1, {})
    assert list(tmp_path.iterdir()) == []
