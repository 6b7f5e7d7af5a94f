"""What `graft submit --platform=kubernetes` shows, refuses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import trainer
from tests.inputs.kubernetes_schemas import VERSIONS, validate
from tests.inputs.pod_security import violations
from trainer.launch import submit
from trainer.launch.kubernetes import job as kubernetes_job

GOLDENS = Path(__file__).parents[2] / "inputs" / "goldens" / "kubernetes"
IMAGE = "--image=europe-docker.pkg.dev/project/graft/trainer@sha256:" + "0" * 64
WORKDIR = "--workdir=gs://bucket/runs/pets"
# To write them anew: graft submit WORDS > tests/inputs/goldens/kubernetes/NAME.yaml
SHOWN = {
    "single": ["--cpu=4", "--memory=8Gi", "--max_hours=0.5"],
    "workers": ["--num_workers=4", "--claim=shared", "--service_account=trainer"],
    "gpu": ["--num_workers=2", "--gpu_type=nvidia-tesla-t4", "--tensorboard"],
    "gpus": ["--gpus_per_worker=8", "--memory=300Gi"],
    "tpu": ["--namespace=team"],
    "spot": ["--num_workers=8"],
    "kueue": ["--num_workers=2", "--queue=research"],
    "jobset": ["--num_workers=2", "--tensorboard"],
}


def words(overlay):
    return ["--platform=kubernetes", f"--overlay={overlay}", IMAGE, *SHOWN[overlay]]


@pytest.mark.parametrize("overlay", SHOWN)
def test_dry_run(overlay, capsys, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    run = [WORKDIR, "--num_epochs=3", "--train_split=a$(HOME)$b"]
    assert submit.main([*words(overlay), "--dry_run=yaml", "--", *run]) == 0
    shown = capsys.readouterr().out
    assert shown == (GOLDENS / f"{overlay}.yaml").read_text()
    assert submit.main([*words(overlay), "--dry_run=json", "--", *run]) == 0
    objects = json.loads(capsys.readouterr().out)["items"]
    assert objects == list(yaml.safe_load_all(shown))
    for item in objects:
        validate(item, VERSIONS[-1])
        if item["kind"] in kubernetes_job.RUN_KINDS:
            assert list(violations(kubernetes_job.spec_of(item)["template"]["spec"])) == []
        elif item["kind"] == "Deployment":
            assert list(violations(item["spec"]["template"]["spec"])) == []


@pytest.mark.integration
def test_nothing_heavy_is_imported_for_a_dry_run():
    program = (
        "import sys\nfrom trainer.launch import submit\n"
        f"code = submit.main({[*words('single'), '--dry_run=json', '--', WORKDIR]})\n"
        "names = 'tensorflow', 'numpy', 'kubernetes', 'rich'\n"
        "print(code, [name for name in names if name in sys.modules], file=sys.stderr)"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.stderr.splitlines() == ["0 []"]


def test_flags_in_a_file_go_along(tmp_path, capsys):
    (tmp_path / "flags").write_text(f"# the run\n--seed=7\n{WORKDIR}\n")
    flagfile = f"--flagfile={tmp_path / 'flags'}"
    assert submit.main([*words("single"), "--dry_run=json", "--", flagfile, "--seed=8"]) == 0
    (job,) = (i for i in json.loads(capsys.readouterr().out)["items"] if i["kind"] == "Job")
    arguments = job["spec"]["template"]["spec"]["containers"][0]["args"]
    assert arguments == ["--log_format=json", "--seed=7", WORKDIR, "--seed=8"]


@pytest.mark.parametrize(
    ("flags", "run", "parts"),
    [
        ([], ["--workdir=gs://b/x", "--learning_rat=1"], ["learning_rat", "learning_rate"]),
        ([], ["--workdir=gs://b/x", "oops"], ["oops: not a flag"]),
        ([], [], ["--workdir: required"]),
        ([], ["--workdir=runs/x"], ["--workdir=runs/x", "gs://BUCKET/DIRECTORY", "--claim"]),
        (["--claim=c"], ["--workdir=/tmp/x"], ["--workdir=/tmp/x", "below /runs"]),
        (["--num_workers=4"], ["--workdir=/data/x"], ["--workdir=/data/x", "all workers share"]),
        ([], ["--workdir=s3://b/x"], ["--workdir=s3://b/x: must be a local directory or gs://"]),
        (["--num_workers=3"], ["--workdir=gs://b/x"], ["3 workers", "use 2 or 4 workers"]),
        (["--num_workers=0"], ["--workdir=gs://b/x"], ["--num_workers=0: must be"]),
        (["--image="], ["--workdir=gs://b/x"], ["--image: required"]),
        (["--image=a b"], ["--workdir=gs://b/x"], ["--image=a b: must be"]),
        (["--name=Pets"], ["--workdir=gs://b/x"], ["--name=Pets: must be a letter"]),
        (["--name=" + "a" * 46], ["--workdir=gs://b/x"], ["at most 45"]),
        (["--overlay=big"], ["--workdir=gs://b/x"], ["--overlay=big: no such overlay", "gpus"]),
        (["--overlay=gpu,tpu"], ["--workdir=gs://b/x"], ["use one of gpu, tpu"]),
        (["--overlay=single", "--num_workers=2"], ["--workdir=gs://b/x"], ["for one worker"]),
        (["--overlay=tpu", "--num_workers=2"], ["--workdir=gs://b/x"], ["tpu is for one worker"]),
        (
            ["--overlay=gpus", "--gpus_per_worker=3"],
            ["--workdir=gs://b/x"],
            ["--gpus_per_worker=3: a machine with nvidia-l4 has 1, 2, 4, 8 of them"],
        ),
        (
            ["--overlay=gpus", "--gpus_per_worker=4", "--gpu_type=nvidia-h200-141gb"],
            ["--workdir=gs://b/x"],
            ["nvidia-h200-141gb has 8 of them"],
        ),
        (
            ["--overlay=gpus", "--gpus_per_worker=5", "--gpu_type=of-my-own"],
            ["--workdir=gs://b/x"],
            ["of-my-own has 1, 2, 4, 8, 16"],
        ),
        (
            ["--overlay=gpus", "--gpus_per_worker=8"],
            ["--workdir=gs://b/x", "--num_logical_shards=4"],
            ["1 workers of 8 devices", "--num_logical_shards=8"],
        ),
        (["--gpus_per_worker=2"], ["--workdir=gs://b/x"], ["needs gpu or gpus"]),
        (["--gpu_type=nvidia-l4"], ["--workdir=gs://b/x"], ["needs gpu or gpus"]),
        (["--queue=q"], ["--workdir=gs://b/x"], ["--queue=q: needs kueue"]),
        (["--overlay=kueue", "--queue=Q!"], ["--workdir=gs://b/x"], ["--queue=Q!: must be"]),
        (["--namespace=a.b"], ["--workdir=gs://b/x"], ["--namespace=a.b: must be"]),
        (["--claim=A"], ["--workdir=gs://b/x"], ["--claim=A: must be"]),
        (["--cpu=two"], ["--workdir=gs://b/x"], ["--cpu=two: must be a number of cores"]),
        (["--cpu=0"], ["--workdir=gs://b/x"], ["--cpu=0"]),
        (["--memory=8"], ["--workdir=gs://b/x"], ["--memory=8: must be bytes with a unit"]),
        (["--memory=8m"], ["--workdir=gs://b/x"], ["--memory=8m"]),
        (["--memory=512Mi"], ["--workdir=gs://b/x"], ["at least 1Gi"]),
        (["--max_hours=0"], ["--workdir=gs://b/x"], ["--max_hours=0.0: must be above 0"]),
        (["--max_hours=nan"], ["--workdir=gs://b/x"], ["--max_hours=nan"]),
        ([], ["--workdir=gs://b/x", "--dataset=./pictures"], ["--dataset=./pictures", "gs://"]),
        ([], ["--workdir=gs://b/x", "--dataset=tests"], ["--dataset=tests: is a path on this"]),
        ([], ["--workdir=gs://b/x", "--worker_hosts=a:1"], ["--worker_hosts", "--num_workers"]),
        (
            [],
            ["--workdir=gs://b/x", "--backbone=https://ann:word@host/model"],
            ["a URL with a password"],
        ),
        (["--platform=nomad"], ["--workdir=gs://b/x"], ["--platform=nomad: must be one of"]),
        (["--tensorbord"], ["--workdir=gs://b/x"], ["tensorbord", "tensorboard"]),
        (["--dry_run=xml"], ["--workdir=gs://b/x"], ["--dry_run=xml"]),
    ],
)
def test_refused_before_anything_is_sent(flags, run, parts, capsys, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    monkeypatch.chdir(Path(trainer.__file__).parent.parent)
    base = ["--platform=kubernetes", "--image=r/graft:1"]
    assert submit.main([*base, *flags, "--", *run]) == 2
    error = capsys.readouterr().err
    assert error.startswith("graft: ")
    for part in parts:
        assert part in error


def claim(*modes):
    return {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "shared"},
        "spec": {"accessModes": modes},
    }


@pytest.mark.parametrize(
    ("modes", "num_workers", "part"),
    [
        (None, 1, "--claim=shared: there is none in namespace default"),
        (["ReadWriteOnce"], 2, "ReadWriteOnce, and 2 workers need ReadWriteMany"),
        (["ReadWriteOnce"], 1, None),
        (["ReadWriteMany"], 2, None),
    ],
)
def test_the_claim_is_looked_at(cluster_api, capsys, modes, num_workers, part):
    if modes is not None:
        cluster_api.put("persistentvolumeclaims", claim(*modes))
    flags = ["--image=r/graft:1", "--claim=shared", f"--num_workers={num_workers}"]
    code = submit.main(["--platform=kubernetes", *flags, "--", "--workdir=/runs/x"])
    assert code == (2 if part else 0)
    assert (part or "") in capsys.readouterr().err
    assert bool(cluster_api.writes()) == (part is None)
