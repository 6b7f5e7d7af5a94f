"""The bodies of what is sent to Vertex AI, whole."""

import json
import re
import shlex

import pytest

from tests.inputs.vertex_requests import FULL, IMAGE, TUNING, dry_run
from tests.processes.containers import ROOT
from trainer.launch import submit


def pool(count, machine, args):
    return {
        "machineSpec": machine,
        "diskSpec": {"bootDiskType": "pd-ssd", "bootDiskSizeGb": 100},
        "containerSpec": {"imageUri": IMAGE, "args": args},
        "replicaCount": count,
    }


ARGS = ["--log_format=json", "--dataset=gs://bucket/pets.csv", "--learning_rate=0.01"]
T4 = {
    "machineType": "n1-standard-8",
    "acceleratorType": "NVIDIA_TESLA_T4",
    "acceleratorCount": 2,
}
JOB_SPEC = {
    "workerPoolSpecs": [pool("1", T4, ARGS), pool("3", T4, ARGS)],
    "scheduling": {
        "strategy": "SPOT",
        "timeout": "7200s",
        "restartJobOnWorkerRestart": True,
    },
    "baseOutputDirectory": {"outputUriPrefix": "gs://bucket/runs/pets"},
    "serviceAccount": "sa@proj.iam.gserviceaccount.com",
    "network": "projects/1/global/networks/vpc",
    "tensorboard": "projects/proj/locations/us-central1/tensorboards/7",
}


def test_a_custom_job(capsys):
    assert dry_run(capsys, *FULL, run=["--learning_rate=0.01"]) == {
        "displayName": "pets",
        "labels": {"graft": "pets"},
        "jobSpec": JOB_SPEC,
    }


def test_one_worker_on_a_machine_with_a_gpu_of_its_own_that_is_queued_for(capsys):
    body = dry_run(
        capsys,
        "--machine_type=g2-standard-8",
        "--scheduling=flex_start",
        "--max_wait_secs=3600",
        "--name=other",
    )
    machine = {"machineType": "g2-standard-8", "acceleratorType": "NVIDIA_L4"}
    assert body["displayName"] == "other"
    assert body["jobSpec"] == {
        "workerPoolSpecs": [pool("1", {**machine, "acceleratorCount": 1}, ARGS[:2])],
        "scheduling": {
            "strategy": "FLEX_START",
            "timeout": "604800s",
            "restartJobOnWorkerRestart": False,
            "maxWaitDuration": "3600s",
        },
        "baseOutputDirectory": {"outputUriPrefix": "gs://bucket/runs/pets"},
    }


def test_a_tuning_job(capsys):
    body = dry_run(capsys, *FULL, *TUNING, run=["--learning_rate=0.01"])
    assert body == {
        "displayName": "pets",
        "labels": {"graft": "pets"},
        "studySpec": {
            "metrics": [{"metricId": "accuracy", "goal": "MAXIMIZE"}],
            "parameters": [
                {
                    "parameterId": "learning_rate",
                    "doubleValueSpec": {"minValue": 1e-4, "maxValue": 1e-2},
                    "scaleType": "UNIT_LOG_SCALE",
                },
                {
                    "parameterId": "optimizer",
                    "categoricalValueSpec": {"values": ["adam", "adamw"]},
                },
            ],
            "measurementSelectionType": "BEST_MEASUREMENT",
        },
        "maxTrialCount": 8,
        "parallelTrialCount": 4,
        "trialJobSpec": JOB_SPEC,
    }


@pytest.mark.parametrize(
    ("region", "continent"),
    [
        ("us-east1", "us"),
        ("europe-west4", "europe"),
        ("asia-east1", "asia"),
        ("me-west1", "europe"),
    ],
)
def test_a_pipeline_that_uploads_the_model(region, continent, capsys):
    body = dry_run(capsys, "--model_name=pets model", f"--region={region}")
    inputs = body.pop("trainingTaskInputs")
    assert body == {
        "displayName": "pets",
        "labels": {"graft": "pets"},
        "trainingTaskDefinition": (
            "gs://google-cloud-aiplatform/schema/trainingjob/definition/custom_task_1.0.0.yaml"
        ),
        "modelToUpload": {
            "displayName": "pets model",
            "labels": {"graft": "pets"},
            "containerSpec": {
                "imageUri": f"{continent}-docker.pkg.dev/vertex-ai/prediction/tf2-cpu.2-15:latest"
            },
        },
    }
    # Vertex AI's images have TensorFlow 2.15, which knows no WebP.
    arguments = [*ARGS[:2], "--export_formats=saved_model_no_webp"]
    assert inputs["workerPoolSpecs"] == [pool(1, {"machineType": "n1-standard-8"}, arguments)]
    assert inputs["baseOutputDirectory"] == {"outputUriPrefix": "gs://bucket/runs/pets"}


def test_the_trainers_flags_are_the_containers_also_from_a_flag_file(tmp_path, capsys):
    (tmp_path / "flags").write_text("--num_epochs=3\n--nofreeze_backbone\n--hidden_units=64,32\n")
    body = dry_run(capsys, run=[f"--flagfile={tmp_path / 'flags'}", "--log_format=text"])
    container = body["jobSpec"]["workerPoolSpecs"][0]["containerSpec"]
    assert container["args"] == [
        "--log_format=text",
        "--dataset=gs://bucket/pets.csv",
        "--nofreeze_backbone",
        "--hidden_units=64,32",
        "--num_epochs=3",
    ]


@pytest.mark.parametrize("page", ["docs/vertex.md", "README.md"])
def test_the_commands_that_are_written_down_are_accepted(page, capsys):
    commands = re.findall(
        r"^graft submit (--platform=vertex (?:.*\\\n)*.*)$", (ROOT / page).read_text(), re.M
    )
    assert commands
    for command in commands:
        argv = shlex.split(command.replace("\\\n", " "))
        assert submit.main(["--dry_run=json", *argv]) == 0, command
        assert json.loads(capsys.readouterr().out)["displayName"] in ("pets", "tuned")
