"""Data and backbones read from a bucket by TensorFlow's own reader, against the same ones here."""

import json
import random
import re
import tarfile
import time

import pytest
import tensorflow as tf

from tests.inputs import tiny
from tests.processes.commands import graft, metrics, python, refused, script
from tests.processes.settings import Setting

pytestmark = pytest.mark.integration

BARE = ("--export_formats=", "--noreport", "--nolog_images")  # where nobody looks at them


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("data") / "folder", train=6, validation=3)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny.write_backbone(tmp_path_factory.mktemp("model") / "backbone")


UNREACHABLE = "cannot be reached to list"


def assert_refused(gcs, flag, path, fault, words, workdir, **options):
    """Train on what is refused: said in one message, and soon."""
    gcs.write("there/x", b"x")
    gcs.proxy.plan = lambda request: fault
    began = time.monotonic()
    process = graft(
        "train", f"--workdir={workdir}", f"--{flag}={path}", **gcs.environment, **options
    )
    assert time.monotonic() - began < 90  # TensorFlow by itself tries again for minutes
    refused(process, f"graft: --{flag}={path}: ")
    assert re.search(words, process.stderr)


def packed(dataset, output, gcs):
    """The examples, by file, that `graft pack` makes of `dataset`: it reads every one."""
    process = graft("pack", f"--dataset={dataset}", f"--output_dir={output}", **gcs.environment)
    assert process.returncode == 0, process.stderr
    return {path.name: list(map(_example, _records(path))) for path in output.rglob("*.tfrecord*")}


def _records(path):
    return tf.data.TFRecordDataset(str(path)).as_numpy_iterator()


def _example(record):
    features = tf.train.Example.FromString(record).features.feature
    image, example_id = (features[name].bytes_list.value[0] for name in ("image", "id"))
    return example_id, features["label"].int64_list.value[0], image


def test_a_folder_and_what_is_packed_of_it(gcs, folder, tmp_path):
    assert_packed_is_the_same(gcs, folder, tmp_path, num_red=6)


def assert_packed_is_the_same(gcs, folder, tmp_path, num_red):
    """A tenth of all requests fails."""
    expected = packed(folder, tmp_path / "local" / "pack", gcs)
    assert len(expected) == 2
    gcs.upload(folder, "data/folder")
    rng = random.Random(5)
    faults = ("429", "503", "reset", "lost", "delay:0.04")
    gcs.proxy.plan = lambda request: rng.choice(faults) if rng.random() < 0.1 else None
    assert packed("gs://bucket/data/folder", tmp_path / "bucket" / "pack", gcs) == expected
    assert gcs.proxy.count("GET", matching="data%2Ffolder%2Ftrain%2Fred%2F") >= num_red
    gcs.upload(tmp_path / "local" / "pack", "data/packed")
    assert packed("gs://bucket/data/packed", tmp_path / "again" / "pack", gcs) == expected


def test_an_import_file(gcs, folder, tmp_path):
    gcs.upload(folder, "data/folder")
    images = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.png"))
    rows = [
        f"{'training' if image.startswith('train') else 'validation'},"
        f"gs://bucket/data/folder/{image},{image.split('/')[1]}"
        for image in images
    ]
    gcs.write("data/import.csv", "\n".join(rows).encode())
    found = packed("gs://bucket/data/import.csv", tmp_path / "bucket" / "pack", gcs)
    local = packed(folder, tmp_path / "local" / "pack", gcs)
    assert {name.split("-")[1] for name in found} == {name.split("-")[1] for name in local}
    images = [image for examples in found.values() for _, _, image in examples]
    assert sorted(images) == sorted(path.read_bytes() for path in folder.rglob("*.png"))


def test_a_backbone_and_a_run_all_in_the_bucket(gcs, folder, backbone, tmp_path):
    gcs.upload(folder, "data/folder")
    gcs.upload(backbone, "models/backbone")
    with tarfile.open(tmp_path / "backbone.tar.gz", "w:gz") as archive:
        archive.add(backbone, arcname=".")
    gcs.write("models/backbone.tar.gz", (tmp_path / "backbone.tar.gz").read_bytes())
    words = ["--num_steps=4", "--global_batch_size=8", f"--cache_dir={tmp_path / 'cache'}"]
    words += ["--noreport", "--nolog_images"]  # for which: tests/stories/gcs_report_test.py
    local = graft(
        "train",
        f"--dataset={folder}",
        f"--backbone={backbone}",
        f"--workdir={tmp_path / 'run'}",
        *words,
    )
    assert local.returncode == 0, local.stderr
    for handle, *more in (("models/backbone",), ("models/backbone.tar.gz", "--export_formats=")):
        process = graft(
            "train",
            "--dataset=gs://bucket/data/folder",
            f"--backbone=gs://bucket/{handle}",
            f"--workdir=gs://bucket/{handle}-run",
            *words,
            *more,
            **gcs.environment,
        )
        assert process.returncode == 0, process.stderr
        (tmp_path / "metrics.json").write_bytes(gcs.read(f"{handle}-run/metrics.json"))
        assert metrics(tmp_path) == metrics(tmp_path / "run")
    image = next((folder / "validation").rglob("*.png"))
    answers = [
        graft("predict", f"--model={model}", "--format=csv", image, **gcs.environment)
        for model in (tmp_path / "run", "gs://bucket/models/backbone-run")
    ]
    assert answers[1].returncode == 0, answers[1].stderr
    assert answers[0].stdout == answers[1].stdout


def features(process):
    """How many parts were known already, by split."""
    assert process.returncode == 0, process.stderr
    lines = map(json.loads, process.stdout.splitlines())
    known = [line["parts_cached"] for line in lines if "parts_cached" in line]
    return dict(zip(("validation", "train"), known, strict=True))


def test_features_of_replaced_pictures_are_computed_anew(gcs, folder, backbone, tmp_path):
    def run(name):
        return graft(
            "train",
            "--dataset=gs://bucket/data/folder",
            f"--backbone={backbone}",
            f"--workdir={tmp_path / name}",
            f"--cache_dir={tmp_path / 'cache'}",
            "--num_steps=2",
            "--global_batch_size=8",
            "--log_format=json",
            *BARE,
            **gcs.environment,
        )

    gcs.upload(folder, "data/folder")
    assert features(run("first")) == {"train": 0, "validation": 0}
    assert features(run("second")) == {"train": 8, "validation": 8}
    for path in (folder / "validation" / "blue").iterdir():
        gcs.write(f"data/folder/validation/red/{path.name}", path.read_bytes())
    assert features(run("third")) == {"train": 8, "validation": 0}


def test_a_replaced_file_of_records_has_another_digest(gcs, beans_data_dir):
    program = """
from trainer.data.sources.tfds_open import open_prepared
source = open_prepared("gs://bucket/beans/0.1.0", 1)
print(*(source.version_digest(split) for split in ("train", "test")))
"""

    def digests():
        process = script(program, **gcs.environment)
        assert process.returncode == 0, process.stderr
        return process.stdout.split()

    gcs.upload(beans_data_dir / "beans", "beans")
    before = digests()
    assert digests() == before
    (name,) = (name for name in gcs.names() if "train" in name and "00001-of" in name)
    gcs.write(name, gcs.read(name))
    after = digests()
    assert after[0] != before[0]
    assert after[1] == before[1]


@pytest.mark.parametrize("flag", ["dataset", "backbone"])
@pytest.mark.parametrize(
    ("path", "fault", "words"),
    [
        ("gs://absent/x", None, r"not found; is there a bucket gs://absent\?"),
        ("gs://bucket/absent", None, "the bucket has nothing by that name"),
        ("gs://bucket/there", "403", "no permission to list; it needs storage.objects.list on gs"),
        ("gs://bucket/there", "503", UNREACHABLE),
    ],
)
def test_refusals(gcs, flag, path, fault, words, tmp_path):
    # The whole time of a call is waited for in tests/storm/gcs_data_test.py.
    impatient = Setting("trainer.storage.gcs_check:_CALL_SECS", 1.0)
    assert_refused(gcs, flag, path, fault, words, tmp_path / "run", prepare=impatient)


def test_data_that_no_longer_can_be_read(gcs, folder, backbone, tmp_path):
    """The bucket answers until training begins, and then no more: that is for a scheduler."""
    gcs.upload(folder, "data/folder")
    gcs.proxy.plan = lambda request: "503" if request.target.startswith("/bucket/data") else None
    # Of a process of its own: TensorFlow reads how to try again as it is imported.
    process = python(
        *("-m", "trainer", "train"),
        "--dataset=gs://bucket/data/folder",
        f"--backbone={backbone}",
        "--global_batch_size=8",
        f"--workdir={tmp_path / 'run'}",
        **gcs.environment,
        GCS_RETRY_CONFIG_MAX_RETRIES="1",  # ours of 8 take half a minute for each image
    )
    assert process.returncode == 138, process.stderr
    assert "retry attempts failed" in process.stderr
    assert "Traceback" not in process.stderr
