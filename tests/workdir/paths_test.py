import pytest

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
