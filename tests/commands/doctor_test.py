"""`graft doctor` on data with one fault of each kind: each is found, named and priced."""

import json
import os
import shutil

import pytest
from PIL import Image

from tests.inputs import tiny
from tests.inputs.pictures import bomb, encoded, picture
from tests.processes.commands import graft

pytestmark = pytest.mark.integration


def noise(seed, size=64):
    return Image.effect_noise((size, size), 40 + seed).convert("RGB")


def save(path, content):
    tiny.write_files(path.parent, {path.name: content})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """30 cats, 3 dogs, and among them what may be wrong with pictures."""
    root = tmp_path_factory.mktemp("data") / "my pictures"
    for i in range(24):
        save(root / f"train/cat/{i:02d}.png", encoded(noise(i), "PNG"))
    for i in range(2):
        save(root / f"train/dog/{i}.png", encoded(noise(60 + i), "PNG"))
    for i in range(4):
        save(root / f"validation/cat/{i}.png", encoded(noise(100 + i), "PNG"))
    jpeg = encoded(picture(200, 200), "JPEG")
    save(root / "train/cat/empty.jpg", b"")
    save(root / "train/cat/text.png", b"no picture at all")
    save(root / "train/cat/cut.jpg", jpeg[: len(jpeg) // 2])
    save(root / "train/cat/bomb.png", bomb(60_000, 60_000))
    save(root / "train/cat/large.png", encoded(Image.new("L", (8000, 7000)), "PNG"))
    save(root / "train/cat/tiny.png", encoded(noise(300, 8), "PNG"))
    shutil.copy(root / "train/cat/03.png", root / "validation/cat/leaked.png")
    shutil.copy(root / "train/cat/05.png", root / "train/dog/5 again.png")
    return root


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny.write_backbone(tmp_path_factory.mktemp("models") / "backbone")


@pytest.fixture(scope="module")
def words(folder, backbone, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "new"
    return [
        f"--workdir={workdir}",
        f"--dataset={folder}",
        f"--backbone={backbone}",
        "--global_batch_size=8",
    ]


def examined(*arguments, **environment):
    process = graft("doctor", "--json", *arguments, **environment)
    report = json.loads(process.stdout)
    assert process.returncode == report["exit_code"], process.stderr
    assert "Traceback" not in process.stderr
    found = {finding["check"]: finding for finding in report["findings"]}
    assert len(found) == len(report["findings"])
    return report, found


@pytest.fixture(scope="module")
def report(words):
    return examined(*words)


def test_every_kind_of_fault_is_found(report):
    whole, found = report
    assert (whole["version"], whole["exit_code"], whole["num_errors"]) == (1, 2, 1)
    bad = {name for name, f in found.items() if f["severity"] != "ok"} - {"memory", "hidden_gpus"}
    assert bad == {
        "unreadable_images",
        "giant_images",
        "tiny_images",
        "rare_classes",
        "imbalance",
        "one_class",
        "duplicates_across_splits",
        "contradictory_labels",
    }
    for name in bad:
        assert found[name]["cost"]
        assert found[name]["fix"]


def test_every_broken_image_is_named_with_what_is_wrong(report, folder, words):
    finding = report[1]["unreadable_images"]
    assert finding["message"] == "4 images cannot be decoded"
    assert finding["severity"] == "error"
    said = dict(item.removeprefix(f"{folder}/").split(": ", 1) for item in finding["items"])
    assert said["train/cat/empty.jpg"] == "an empty file"
    assert said["train/cat/text.png"] == "not a JPEG, PNG, GIF, BMP or WebP image"
    assert said["train/cat/bomb.png"] == "the header announces more than 134217728 pixels"
    assert set(said) == {f"train/cat/{n}" for n in ("empty.jpg", "text.png", "cut.jpg", "bomb.png")}
    quoted = [f"'{w}'" if " " in w else w for w in words]
    assert finding["fix"] == f"graft train {' '.join(quoted)} --bad_images=skip"


def test_what_is_skipped_is_no_error(words, tmp_path):
    whole, found = examined(*words, "--bad_images=skip", f"--cache_dir={tmp_path}")
    assert len([*tmp_path.glob("decoder-*-32x32-webp")]) == 1  # it is not traced again
    assert (whole["exit_code"], whole["num_errors"]) == (0, 0)
    assert found["unreadable_images"]["severity"] == "warning"
    assert found["unreadable_images"]["fix"].startswith("rm -- '")


def test_what_may_be_trained_on_and_costs(report, folder):
    found = report[1]
    assert found["giant_images"]["items"] == [f"{folder}/train/cat/large.png: 8000×7000"]
    assert found["tiny_images"]["items"] == [f"{folder}/train/cat/tiny.png: 8×8"]
    assert found["tiny_images"]["cost"].startswith("they are enlarged up to 4.0 times")
    assert found["rare_classes"]["items"] == ["dog: 3"]
    assert found["imbalance"]["message"] == "'cat' has 30 training images, 'dog' 3"
    assert found["imbalance"]["fix"].endswith(" --class_weights=balanced")
    assert found["one_class"]["items"] == ["dog"]


def test_copies_are_told_by_their_content(report, folder):
    leak = report[1]["duplicates_across_splits"]
    assert leak["message"] == "1 of 5 evaluation images are also in the training split"
    assert leak["items"] == ["train: train/cat/03.png = validation: validation/cat/leaked.png"]
    assert leak["fix"] == f"rm -- '{folder}/train/cat/03.png'"
    other = report[1]["contradictory_labels"]
    assert other["items"] == ["train/cat/05.png (cat) = train/dog/5 again.png (dog)"]


def test_a_person_reads_the_same(words, folder):
    process = graft("doctor", *words)
    assert process.returncode == 2
    assert "Traceback" not in process.stderr
    lines = process.stdout.splitlines()
    at = lines.index("           error    4 images cannot be decoded")
    assert sorted(lines[at + 1 : at + 5])[2] == (
        f"                      {folder}/train/cat/empty.jpg: an empty file"
    )
    assert lines[at + 5] == "                    cost: the run ends at the first of them"
    assert lines[-1].startswith("1 error, ")
    assert not os.path.exists(words[0].partition("=")[2]), "a look leaves nothing"


def test_a_missing_file_of_an_import_file_is_an_error(tmp_path, backbone):
    rows = []
    for label in ("a", "b"):
        for i in range(12):
            save(tmp_path / f"{label}{i}.png", encoded(noise(i + 50 * (label == "b")), "PNG"))
            rows.append(f"{'validation' if i > 8 else 'training'},{label}{i}.png,{label}")
    rows.append("training,gone.png,b")
    (tmp_path / "import.csv").write_text("\n".join(rows))
    whole, found = examined(
        f"--workdir={tmp_path}/run",
        f"--dataset={tmp_path}/import.csv",
        f"--backbone={backbone}",
        "--bad_images=skip",
        "--global_batch_size=8",
    )
    assert whole["exit_code"] == 2
    assert found["missing_files"]["items"] == [f"{tmp_path}/gone.png: No such file or directory"]


def test_a_good_start_and_then_another_run(tmp_path, backbone):
    folder = tiny.write_folder(tmp_path / "folder")
    run = [f"--workdir={tmp_path}/run", f"--dataset={folder}", f"--backbone={backbone}"]
    whole, found = examined(*run)
    assert whole["exit_code"] == 0
    assert found["workdir"]["message"].startswith(f"{tmp_path}/run: new, ")
    assert found["images"]["message"] == "72 in 'train', 24 in 'validation'; 3 classes"
    assert found["contract"]["message"] == (
        f"{backbone}: images of 32×32 to 8 features, 248 parameters, frozen"
    )
    assert graft("train", *run, "--num_steps=2", "--export_formats=").returncode == 0
    assert "resumes" in examined(*run, "--num_steps=9")[1]["workdir"]["message"]
    whole, found = examined(*run, "--seed=7", "--hidden_units=5")
    assert whole["exit_code"] == 2
    assert found["other_run"]["items"] == ["hidden_units: 128 there, 5 now", "seed: 0 there, 7 now"]
    assert found["other_run"]["fix"].endswith(" --hidden_units=5 --workdir=ANOTHER")


@pytest.mark.parametrize(
    ("more", "check", "said"),
    [
        (["--backbone=/nowhere"], "backbone", "--backbone=/nowhere: "),
        (["--dataset=/nowhere"], "data", "--dataset=/nowhere: "),
        (["--test_split=secret"], "data", "--test_split=secret: "),
        (["--global_batch_size=64"], "batches", "--global_batch_size=64: must be at most"),
        (["--workdir=/proc/run"], "workdir", "--workdir=/proc/run: must be a writable directory"),
        (["--workdir=/dev/null/run"], "workdir", "--workdir=/dev/null/run: must be a writable"),
        (["--feature_cache=/proc/f"], "feature_cache", "--feature_cache=/proc/f: must be a"),
        (["--worker_hosts=a:1,b:2"], "cluster", "--worker_hosts: needs --task_index"),
        (["--learning_rate=fast"], "settings", "learning_rate"),
        (["--no_such_flag"], "settings", "no_such_flag"),
        (["word"], "settings", "word: not a flag"),
        (["--strategy=tpu"], "devices", "--strategy=tpu: no TPU can be reached"),
    ],
)
def test_what_would_be_refused_is_an_error(words, more, check, said):
    whole, found = examined(*words, *more)
    assert whole["exit_code"] == 2
    assert found[check]["severity"] == "error"
    assert said in found[check]["message"]


def test_the_cluster_is_that_of_the_environment(words):
    cluster = {"cluster": {"worker": ["localhost:1", "no-such-host.invalid:2222"]}}
    config = json.dumps({**cluster, "task": {"type": "worker", "index": 1}})
    found = examined(*words, TF_CONFIG=config)[1]
    assert found["cluster"]["message"] == "2 workers, by TF_CONFIG"
    assert found["unknown_hosts"]["items"] == ["worker 1 (no-such-host.invalid:2222)"]


def test_a_damaged_record_file_is_named(tmp_path, backbone):
    directory = tiny.write_beans(tmp_path)
    path = next(directory.glob("*-train.tfrecord-00000*"))
    os.truncate(path, path.stat().st_size - 10)
    found = examined(
        f"--workdir={tmp_path}/run", f"--dataset={directory}", f"--backbone={backbone}"
    )[1]
    assert found["damaged_file"]["items"] == [str(path)]


def test_data_and_a_workdir_in_a_bucket(gcs, backbone, tmp_path):
    folder = tiny.write_folder(tmp_path / "folder", train=10, validation=3)
    gcs.upload(folder, "folder")
    gcs.write("folder/train/red/cut.jpg", encoded(picture(), "JPEG")[:300])
    before = gcs.names("")
    words = ["--dataset=gs://bucket/folder", f"--backbone={backbone}", "--global_batch_size=8"]
    found = examined("--workdir=gs://bucket/run", *words, **gcs.environment)[1]
    assert found["workdir"]["message"] == "gs://bucket/run: new"
    (item,) = found["unreadable_images"]["items"]
    assert item.startswith("gs://bucket/folder/train/red/cut.jpg: ")
    assert gcs.names("") == before
    whole, found = examined("--workdir=gs://no-such-bucket/run", *words, **gcs.environment)
    assert (whole["exit_code"], found["workdir"]["severity"]) == (2, "error")
    assert "--workdir=gs://no-such-bucket/run" in found["workdir"]["message"]
