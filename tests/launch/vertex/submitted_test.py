"""The trainer as Vertex AI runs it: nothing on its command line that the environment says."""

import json
import os

import pytest

from tests.inputs import tiny
from tests.processes import warm
from tests.processes.commands import DEADLINE_SECS, graft, python, refused
from tests.processes.ports import free_ports
from tests.tiers import GANG

pytestmark = pytest.mark.integration

BARE = ("--export_formats=", "--noreport", "--nolog_images")  # where nobody looks at them


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny.write_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def managed(tmp_path_factory):
    """A managed data set as the service exports it: JSON lines in several files."""
    root = tiny.write_folder(tmp_path_factory.mktemp("data"), train=8, validation=4)
    lines: dict[str, list[str]] = {"training": [], "validation": []}
    for split, use in (("train", "training"), ("validation", "validation")):
        for path in sorted((root / split).rglob("*.png")):
            row = {
                "imageGcsUri": str(path),
                "classificationAnnotation": {"displayName": path.parent.name},
                "dataItemResourceLabels": {"aiplatform.googleapis.com/ml_use": use},
            }
            lines[use].append(json.dumps(row))
    export = root / "export"
    export.mkdir()
    for use, rows in lines.items():
        half = len(rows) // 2
        for part, some in enumerate((rows[:half], rows[half:]), start=1):
            (export / f"{use}-0000{part}-of-00002").write_text("\n".join(some))
    return {
        "AIP_DATA_FORMAT": "jsonl",
        "AIP_TRAINING_DATA_URI": f"{export}/training-*",
        "AIP_VALIDATION_DATA_URI": f"{export}/validation-*",
    }


def places(base):
    return {
        "AIP_MODEL_DIR": f"{base}/model/",
        "AIP_CHECKPOINT_DIR": f"{base}/checkpoints/",
        "AIP_TENSORBOARD_LOG_DIR": f"{base}/logs/",
    }


def arguments(backbone, *more):
    return [f"--backbone={backbone}", "--global_batch_size=8", *more]


def test_a_trial_on_a_managed_data_set(tmp_path, backbone, managed):
    base = tmp_path / "study" / "7"
    environment = {
        **places(base),
        **managed,
        "CLUSTER_SPEC": json.dumps(
            {"cluster": {"workerpool0": ["a:2222"]}, "task": {"type": "workerpool0", "index": 0}}
        ),
        "CLOUD_ML_TRIAL_ID": "7",
        "CLOUD_ML_HP_METRIC_FILE": str(tmp_path / "hypertune" / "output.metrics"),
    }
    words = arguments(backbone, "--num_epochs=2", "--noreport", "--nolog_images")
    process = python("-m", "trainer.task", *words, **environment)
    assert process.returncode == 0, process.stderr
    assert (base / "model" / "saved_model.pb").is_file()
    assert {path.name for path in base.iterdir()} >= {"model", "checkpoints", "logs"}
    metrics = json.loads((base / "metrics.json").read_text())
    assert metrics["class_names"] == ["blue", "green", "red"]
    assert metrics["eval"]["num_examples"] == 12
    told = (tmp_path / "hypertune" / "output.metrics").read_text().splitlines()
    rows = [json.loads(line) for line in told]
    assert [row["global_step"] for row in rows] == ["3", "3", "6", "6"]
    assert {row["trial"] for row in rows} == {"7"}
    best = max(float(row["accuracy"]) for row in rows if "accuracy" in row)
    assert best == pytest.approx(metrics["best"]["accuracy"])
    assert sum("loss" in row for row in rows) == 2


@GANG
def test_two_pools_train_together_and_the_chief_alone_tells(tmp_path, backbone, managed):
    ports = free_ports(2)
    cluster = {f"workerpool{i}": [f"127.0.0.1:{port}"] for i, port in enumerate(ports)}
    words = arguments(backbone, "--num_epochs=1", "--noreport", "--nolog_images")
    processes = []
    for pool in cluster:
        environment = {
            **places(tmp_path / "run"),
            **managed,
            "CLUSTER_SPEC": json.dumps({"cluster": cluster, "task": {"type": pool, "index": 0}}),
            "CLOUD_ML_HP_METRIC_FILE": str(tmp_path / pool),
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        with open(tmp_path / f"{pool}.said", "w") as said:
            everything = {**os.environ, **environment}
            processes.append(warm.Process(["train", *words], said, said, everything))
    try:
        codes = [process.wait(DEADLINE_SECS) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert codes == [0, 0], [path.read_text() for path in tmp_path.glob("*.said")]
    assert (tmp_path / "run" / "model" / "saved_model.pb").is_file()
    assert len((tmp_path / "workerpool0").read_text().splitlines()) == 2
    assert not (tmp_path / "workerpool1").exists()


def test_a_metric_file_that_cannot_be_written_is_said_and_ends_nothing(tmp_path, backbone, managed):
    process = graft(
        *("train", *arguments(backbone, "--num_epochs=1", *BARE)),
        f"--workdir={tmp_path / 'run'}",
        **managed,
        CLOUD_ML_HP_METRIC_FILE="/proc/graft/output.metrics",
    )
    assert process.returncode == 0, process.stderr
    warning = "warning: cannot report to the tuning job: /proc/graft/output.metrics: "
    assert warning in process.stdout


def test_a_managed_data_set_of_another_kind_is_refused(tmp_path, backbone):
    refused(
        graft(
            *("train", *arguments(backbone, f"--workdir={tmp_path}")),
            AIP_DATA_FORMAT="bigquery",
            AIP_TRAINING_DATA_URI="bq://project.dataset.table",
        ),
        "AIP_DATA_FORMAT=bigquery",
        "--dataset",
    )
