"""`graft submit --platform=vertex`, as the tests of it type it."""

import json

from trainer.launch import submit

IMAGE = "us-central1-docker.pkg.dev/proj/graft/graft@sha256:" + "0" * 64
RUN = ["--workdir=gs://bucket/runs/pets", "--dataset=gs://bucket/pets.csv"]
FULL = [
    "--num_workers=4",
    "--accelerator_type=NVIDIA_TESLA_T4",
    "--accelerator_count=2",
    "--scheduling=spot",
    "--max_run_secs=7200",
    "--service_account=sa@proj.iam.gserviceaccount.com",
    "--network=projects/1/global/networks/vpc",
    "--tensorboard=projects/proj/locations/us-central1/tensorboards/7",
]
TUNING = ["--tune=learning_rate=1e-4..1e-2:log,optimizer=adam|adamw", "--max_trials=8"]


def words(*more, run=()):
    return ["--platform=vertex", f"--image={IMAGE}", *more, "--", *RUN, *run]


def dry_run(capsys, *more, run=()):
    assert submit.main(words("--dry_run=json", *more, run=run)) == 0
    return json.loads(capsys.readouterr().out)
