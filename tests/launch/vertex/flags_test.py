"""What Vertex AI cannot run is named before anything is sent."""

import pytest

from trainer.launch import submit
from trainer.launch.request import Request
from trainer.launch.vertex import tuning
from trainer.launch.vertex.machines import check_flex_start, machine_spec
from trainer.process.errors import UserError
from trainer.settings.config import Config

RUN = ["--workdir=gs://bucket/runs/pets"]


@pytest.mark.parametrize(
    ("more", "run", "expected"),
    [
        ([], ["--workdir=runs/pets"], ["--workdir=runs/pets", "gs://BUCKET"]),
        ([], ["--workdir=gs://bucket"], ["--workdir=gs://bucket:", "gs://BUCKET/DIRECTORY"]),
        ([], [*RUN, "--dataset=./pets"], ["--dataset=./pets", "this machine"]),
        ([], [*RUN, "--backbone=/models/a"], ["--backbone=/models/a", "this machine"]),
        ([], [*RUN, "--learning_rte=1"], ["learning_rte"]),
        (["--region=here"], RUN, ["--region=here", "us-central1"]),
        (["--num_workers=3"], RUN, ["--num_logical_shards=8", "3 workers"]),
        # Eight logical shards cannot be divided among 2 × 16 devices.
        (["--num_workers=2", "--machine_type=a2-megagpu-16g"], RUN, ["16 devices", "32"]),
        (["--network=default"], RUN, ["--network=default", "PROJECT_NUMBER"]),
        (["--service_account=me"], RUN, ["--service_account=me", "iam.gserviceaccount.com"]),
        (["--tensorboard=7"], RUN, ["--tensorboard=7"]),
        (
            ["--tensorboard=projects/p/locations/us-central1/tensorboards/7"],
            RUN,
            ["--tensorboard: needs --service_account"],
        ),
        (
            [
                "--tensorboard=projects/p/locations/us-east1/tensorboards/7",
                "--service_account=a@p.iam.gserviceaccount.com",
            ],
            RUN,
            ["--region=us-central1", "us-east1"],
        ),
        (["--scheduling=flex_start"], RUN, ["--scheduling=flex_start", "no accelerator"]),
        (["--max_wait_secs=9"], RUN, ["--max_wait_secs=9", "flex_start"]),
        (["--max_run_secs=999999"], RUN, ["--max_run_secs=999999", "604,800"]),
        (["--boot_disk_size_gb=10"], RUN, ["--boot_disk_size_gb=10"]),
        (["--serving_image=x"], RUN, ["--serving_image=x", "--model_name"]),
        (["--model_name=m", "--tune=dropout=0..0.5"], RUN, ["--model_name", "--tune"]),
        (["--model_name=m"], [*RUN, "--export_formats="], ["--model_name", "--export_formats"]),
        (["--tune=dropout=0..0.5", "--parallel_trials=20"], RUN, ["--parallel_trials=20", "16"]),
    ],
)
def test_a_job_that_cannot_work_is_refused(more, run, expected, capsys):
    argv = ["--platform=vertex", "--image=x/y:1", "--dry_run=json", *more, "--", *run]
    assert submit.main(argv) == 2
    said = capsys.readouterr()
    assert said.out == ""
    for text in expected:
        assert text in said.err


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("n1-standard-8", "", 0), ("", 0)),
        (("x9-mega-2", "", 0), ("", 0)),
        (("n1-standard-8", "NVIDIA_TESLA_T4", 0), ("NVIDIA_TESLA_T4", 1)),
        (("n1-standard-32", "NVIDIA_TESLA_T4", 2), ("NVIDIA_TESLA_T4", 2)),
        (("n1-highmem-64", "NVIDIA_TESLA_V100", 8), ("NVIDIA_TESLA_V100", 8)),
        (("g2-standard-96", "", 0), ("NVIDIA_L4", 8)),
        (("a2-highgpu-4g", "NVIDIA_TESLA_A100", 4), ("NVIDIA_TESLA_A100", 4)),
        (("a3-ultragpu-8g", "", 0), ("NVIDIA_H200_141GB", 8)),
    ],
)
def test_a_machine_and_its_accelerators(asked, expected):
    spec = {"machineType": asked[0]}
    if expected[0]:
        spec |= {"acceleratorType": expected[0], "acceleratorCount": expected[1]}
    assert machine_spec(*asked) == spec


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (("n1-standard-8", "NVIDIA_TESLA_T4", 3), "takes 1 or 2 or 4 of NVIDIA_TESLA_T4"),
        (("n1-standard-32", "NVIDIA_TESLA_T4", 1), "takes 2 or 4"),
        (("n1-standard-96", "NVIDIA_TESLA_V100", 4), "takes 8"),
        (("e2-standard-8", "NVIDIA_TESLA_T4", 1), "must be an n1 machine"),
        (("n1-standard-8", "NVIDIA_L4", 1), "as g2-standard-8"),
        (("n1-standard-8", "", 2), "needs --accelerator_type"),
        (("a2-highgpu-4g", "NVIDIA_TESLA_A100", 2), "has 4 of NVIDIA_TESLA_A100, always"),
        (("a2-highgpu-4g", "NVIDIA_TESLA_T4", 4), "has 4 of NVIDIA_TESLA_A100, always"),
        (("g2-standard-7", "", 0), "must be one of g2-standard-4"),
    ],
)
def test_accelerators_that_no_machine_has(asked, expected):
    with pytest.raises(UserError, match=expected):
        machine_spec(*asked)


@pytest.mark.parametrize("machine", ["g2-standard-8", "a3-megagpu-8g", "a4-highgpu-8g"])
def test_what_is_queued_for(machine):
    check_flex_start(machine_spec(machine, "", 0))
    with pytest.raises(UserError, match="has NVIDIA_TESLA_T4"):
        check_flex_start(machine_spec("n1-standard-8", "NVIDIA_TESLA_T4", 1))


def request(num_workers=1):
    config = Config(workdir="gs://b/r", checkpoint_every_secs=30.0)
    return Request(config, ("--workdir=gs://b/r",), "x/y:1", "r", num_workers)


def test_what_trials_draw():
    words = ["warmup_steps=0..100", "dropout=0..0.5", "hidden_units=64|128", "weight_decay=1|2:3"]
    with pytest.raises(UserError, match=r"--tune=weight_decay=1\|2:3: .*2:3"):
        tuning.parameters(words, request())
    assert tuning.parameters(words[:3], request()) == [
        {
            "parameterId": "warmup_steps",
            "integerValueSpec": {"minValue": "0", "maxValue": "100"},
            "scaleType": "UNIT_LINEAR_SCALE",
        },
        {
            "parameterId": "dropout",
            "doubleValueSpec": {"minValue": 0.0, "maxValue": 0.5},
            "scaleType": "UNIT_LINEAR_SCALE",
        },
        {"parameterId": "hidden_units", "categoricalValueSpec": {"values": ["64", "128"]}},
    ]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("learning_rte=1..2", "'learning_rte' is no flag of the trainer"),
        ("workdir=a|b", "'workdir' is no flag of the trainer that can be tuned"),
        ("dropout=0..1.5", "--dropout=1.5"),
        ("learning_rate=0.1", "two different values"),
        ("learning_rate=0.1..0.01", "LOW must be below HIGH"),
        ("weight_decay=0..1:log", "above 0 for log"),
        ("weight_decay=0..1:cube", "must be FLAG=LOW..HIGH"),
        ("optimizer=adam|adamm", "--optimizer"),
        ("optimizer=adam..sgd", "a range is of a number"),
        ("learning_rate=a..b", "learning_rate"),
        ("global_batch_size=30|32", "cannot be divided"),
    ],
)
def test_what_trials_cannot_draw(word, expected):
    with pytest.raises(UserError) as caught:
        tuning.parameters([word], request(num_workers=4))
    assert f"--tune={word}: " in str(caught.value)
    assert expected in str(caught.value)


def test_a_flag_is_drawn_once():
    with pytest.raises(UserError, match="dropout is named twice"):
        tuning.parameters(["dropout=0|0.5", "dropout=0..1e-3"], request())
