import pytest

from trainer.process.errors import UserError
from trainer.settings import flags
from trainer.workdir import paths

VERTEX = {
    "AIP_MODEL_DIR": "gs://bucket/job/model/",
    "AIP_CHECKPOINT_DIR": "gs://bucket/job/checkpoints/",
    "AIP_TENSORBOARD_LOG_DIR": "gs://bucket/job/logs/",
}
TRIAL = {name: value.replace("job/", "job/7/") for name, value in VERTEX.items()}


@pytest.mark.parametrize(
    ("environ", "workdir", "name", "expected"),
    [
        ({}, "runs/a", "export", "runs/a/export"),
        ({}, "gs://b/run/", "logs", "gs://b/run/logs"),
        (VERTEX, "gs://bucket/job", "export", "gs://bucket/job/model"),
        (VERTEX, "gs://bucket/job", "checkpoints", "gs://bucket/job/checkpoints"),
        (VERTEX, "gs://bucket/job/", "logs", "gs://bucket/job/logs"),
        (TRIAL, "gs://bucket/job/7", "export", "gs://bucket/job/7/model"),
        # A --workdir of one's own wins.
        (VERTEX, "gs://bucket/mine", "export", "gs://bucket/mine/export"),
        (
            {"AIP_MODEL_DIR": VERTEX["AIP_MODEL_DIR"]},
            "gs://bucket/job",
            "logs",
            "gs://bucket/job/logs",
        ),
    ],
)
def test_part(environ, workdir, name, expected):
    assert paths.part(workdir, name, environ) == expected


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
        paths.vertex_dataset(environ)
    assert paths.vertex_dataset({"AIP_DATA_FORMAT": "bigquery"}) == ""


def test_vertex_says_where_the_workdir_is(monkeypatch):
    with pytest.raises(UserError, match="--workdir: required"):
        flags.config_from_argv([])
    for name, value in VERTEX.items():
        monkeypatch.setenv(name, value)
    assert flags.config_from_argv([]).workdir == "gs://bucket/job"
    assert flags.config_from_argv(["--workdir=runs/a"]).workdir == "runs/a"
