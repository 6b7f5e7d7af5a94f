"""What is wrong is named in one message, with exit code 2, and leaves nothing half-written."""

import os
import shutil

import pytest
from PIL import Image

from tests import tiny
from tests.commands import graft, metrics, refused


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("data"), train=8, validation=4)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny.write_backbone(tmp_path_factory.mktemp("backbone"))


def train(workdir, folder, backbone, *more):
    return graft(
        "train",
        f"--workdir={workdir}",
        f"--dataset={folder}",
        f"--backbone={backbone}",
        "--num_epochs=1",
        "--global_batch_size=8",
        *more,
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--augment=heavy"], ["--augment=heavy", "randaugment"]),
        (["--num_steps=3"], ["--num_epochs=1", "--num_steps=3"]),
        (["--learning_rte=1"], ["learning_rte", "learning_rate"]),
        (["--global_batch_size=500"], ["--global_batch_size=500", "24"]),
        (["--validation_split=dev"], ["'dev'", "train, validation"]),
        (["--test_split=test"], ["'test'", "train, validation"]),
        (["--backbone=/nowhere/model"], ["--backbone=/nowhere/model"]),
        (["--dataset=/nowhere/images"], ["--dataset=/nowhere/images"]),
        (["--workdir=/proc/graft"], ["--workdir=/proc/graft"]),
        (["--workdir=gs://bucket/run"], ["--workdir=gs://bucket/run"]),
        (["--strategy=tpu"], ["--strategy=tpu"]),
        (["--num_logical_shards=3"], ["--num_logical_shards=3", "8"]),
    ],
)
def test_a_bad_flag_is_named(flags, words, folder, backbone, tmp_path):
    workdir = tmp_path / "run"
    refused(train(workdir, folder, backbone, *flags), *words)
    assert not (workdir / "checkpoints").exists()
    assert not (workdir / "export").exists()


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


def test_data_that_cannot_train_a_classifier(copy, backbone, tmp_path):
    run = tmp_path / "run"
    (copy / "validation" / "purple").mkdir()
    Image.new("RGB", (9, 9)).save(copy / "validation" / "purple" / "a.png")
    refused(train(run, copy, backbone), "'purple'", "validation")
    shutil.rmtree(copy / "validation" / "purple")
    for path in (copy / "train" / "red").iterdir():
        path.unlink()
    refused(train(run, copy, backbone), "'red'", "no image")
    for label in ("red", "green"):
        for split in ("train", "validation"):
            shutil.rmtree(copy / split / label)
    refused(train(run, copy, backbone), "1 class")
    empty = tmp_path / "empty"
    (empty / "train" / "red").mkdir(parents=True)
    refused(train(run, empty, backbone), "no images")


def broken_images(root):
    whole = (root / "000.png").read_bytes()
    giant = whole[:16] + (2**20).to_bytes(4, "big") * 2 + whole[24:]
    contents = {"truncated": whole[:200], "empty": b"", "text": b"no image", "giant": giant}
    for name, content in contents.items():
        (root / f"{name}.jpg").write_bytes(content)
    return sorted(f"train/red/{name}.jpg" for name in contents)


def test_a_broken_image_is_named(copy, backbone, tmp_path):
    (copy / "train" / "red" / "007.png").write_bytes(b"")
    refused(train(tmp_path / "run", copy, backbone), "train/red/007.png", "--bad_images")


def test_a_broken_validation_image_is_named(copy, backbone, tmp_path):
    (copy / "validation" / "red" / "003.png").write_bytes(b"text")
    refused(train(tmp_path / "run", copy, backbone), "validation/red/003.png", "--bad_images")


def test_broken_images_are_skipped_counted_and_listed(copy, backbone, tmp_path):
    names = broken_images(copy / "train" / "red")
    (copy / "validation" / "blue" / "001.png").write_bytes(b"text")
    process = train(tmp_path / "run", copy, backbone, "--bad_images=skip", "--num_epochs=6")
    assert process.returncode == 0, process.stderr
    found = metrics(tmp_path / "run")
    expected = sorted([*names, "validation/blue/001.png"])
    assert list(found["skipped"]) == expected
    assert all(found["skipped"].values())
    assert found["num_skipped"] == 5
    assert found["eval"]["num_examples"] == 11


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_an_unwritable_workdir(folder, backbone, tmp_path):
    tmp_path.chmod(0o500)
    refused(train(tmp_path / "run", folder, backbone), "--workdir", "ermission")


def test_a_loss_that_is_not_finite_goes_back_once_and_then_fails(folder, backbone, tmp_path):
    process = train(tmp_path / "run", folder, backbone, "--optimizer=sgd", "--learning_rate=1e30")
    assert process.returncode == 1
    assert "going back to step" in process.stdout
    assert "not finite" in process.stderr
    assert "--learning_rate" in process.stderr
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "run" / "export").exists()
