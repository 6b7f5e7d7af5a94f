import pytest

from trainer.process.errors import UserError
from trainer.settings import flags, vertex_env


def test_a_managed_dataset_is_the_data_where_no_other_is_given(monkeypatch):
    workdir = "--workdir=runs/a"
    assert flags.config_from_argv([workdir]).dataset == "leaves"
    for use, name in (("TRAINING", "training"), ("VALIDATION", "validation"), ("TEST", "test")):
        monkeypatch.setenv(f"AIP_{use}_DATA_URI", f"gs://b/data/{name}-*")
    monkeypatch.setenv("AIP_DATA_FORMAT", "jsonl")
    managed = "gs://b/data/training-*,gs://b/data/validation-*,gs://b/data/test-*"
    assert flags.config_from_argv([workdir]).dataset == managed
    assert flags.config_from_argv([workdir, "--dataset=leaves"]).dataset == "leaves"
    monkeypatch.setenv("AIP_TEST_DATA_URI", "")
    expected = "gs://b/data/training-*,gs://b/data/validation-*"
    assert flags.config_from_argv([workdir]).dataset == expected


def test_a_managed_dataset_of_another_kind_is_refused():
    environ = {"AIP_TRAINING_DATA_URI": "bq://p.d.t", "AIP_DATA_FORMAT": "bigquery"}
    with pytest.raises(UserError, match=r"AIP_DATA_FORMAT=bigquery: .*--dataset"):
        vertex_env.dataset(environ)
    assert vertex_env.dataset({"AIP_DATA_FORMAT": "bigquery"}) == ""


def test_vertex_says_where_the_workdir_is(monkeypatch):
    with pytest.raises(UserError, match="--workdir: required"):
        flags.config_from_argv([])
    monkeypatch.setenv("AIP_MODEL_DIR", "gs://bucket/job/model/")
    assert flags.config_from_argv([]).workdir == "gs://bucket/job"
    assert flags.config_from_argv(["--workdir=runs/a"]).workdir == "runs/a"
