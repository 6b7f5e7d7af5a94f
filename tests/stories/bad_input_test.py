"""What is wrong is named in one message, with exit code 2, and leaves nothing half-written."""

import shutil
import signal
import subprocess

import pytest
from PIL import Image

from tests.inputs import tiny
from tests.processes.commands import graft, metrics, refused, start
from trainer.data.sources.folder_source import open_folder

pytestmark = pytest.mark.integration

BARE = ("--export_formats=", "--noreport", "--nolog_images")  # where nobody looks at them


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
        (["--validation_split=dev"], ["--validation_split=dev:", "'dev'", "train, validation"]),
        (["--test_split=test"], ["--test_split=test:", "'test'", "train, validation"]),
        (["--backbone=/nowhere/model"], ["--backbone=/nowhere/model"]),
        (["--dataset=/nowhere/images"], ["--dataset=/nowhere/images"]),
        (["--workdir=/proc/graft"], ["--workdir=/proc/graft"]),
        (["--workdir=gs://bucket/run"], ["--workdir=gs://bucket/run"]),
        (["--strategy=tpu"], ["--strategy=tpu"]),
        (["--hidden_units=99999999999"], ["--hidden_units=99999999999", "65,536"]),
        (["--learning_rate=nan"], ["--learning_rate=nan", "finite"]),
        (["--nodeterministic=true"], ["nodeterministic"]),
        (["--num_logical_shards=3"], ["--num_logical_shards=3", "8"]),
    ],
)
def test_a_bad_flag_is_named(flags, words, folder, backbone, tmp_path):
    workdir = tmp_path / "run"
    refused(train(workdir, folder, backbone, *flags), *words)
    assert not (workdir / "checkpoints").exists()
    assert not (workdir / "export").exists()


@pytest.mark.parametrize(
    "flag", ["--train_split=train[90%", "--validation_split=train[abc]", "--test_split=train[:0]"]
)
def test_a_bad_slice_is_named(flag, leaves_dir, backbone, tmp_path):
    flags = (f"--dataset={leaves_dir}", f"--backbone={backbone}", flag)
    refused(graft("train", f"--workdir={tmp_path / 'run'}", *flags), f"{flag}:")


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
    # With its export, whose check leaves them out, too.
    process = train(
        tmp_path / "run", copy, backbone, "--bad_images=skip", "--noreport", "--nolog_images"
    )
    assert process.returncode == 0, process.stderr
    found = metrics(tmp_path / "run")
    expected = sorted([*names, "validation/blue/001.png"])
    assert list(found["skipped"]) == expected
    assert all(found["skipped"].values())
    assert found["num_skipped"] == 5
    assert found["eval"]["num_examples"] == 11


def test_a_loss_that_is_not_finite_goes_back_once_and_then_fails(folder, backbone, tmp_path):
    process = train(tmp_path / "run", folder, backbone, "--optimizer=sgd", "--learning_rate=1e30")
    assert process.returncode == 1
    assert "going back to step" in process.stdout
    assert "not finite" in process.stderr
    assert "--learning_rate" in process.stderr
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "run" / "export").exists()


def test_weights_that_diverge_in_the_last_step_are_not_exported(folder, backbone, tmp_path):
    flags = ("--optimizer=sgd", "--learning_rate=1e38", "--num_steps=1")
    process = graft(
        *("train", f"--workdir={tmp_path / 'run'}", f"--dataset={folder}"),
        *(f"--backbone={backbone}", "--global_batch_size=8", *flags),
    )
    assert process.returncode == 1
    assert "not finite" in process.stderr
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "run" / "export").exists()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_an_image_that_is_gone_is_named(split, copy, backbone, tmp_path):
    path = copy / split / "red" / "000.png"
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    refused(train(tmp_path / "run", copy, backbone), f"{split}/red/000.png", "No such file")


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_records_that_cannot_be_read_are_named(split, damage, folder, backbone, tmp_path):
    packed = tmp_path / "packed"
    assert graft("pack", f"--dataset={folder}", f"--output_dir={packed}").returncode == 0
    (shard,) = packed.glob(f"*-{split}.tfrecord-*")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    if damage == "remove":
        shard.unlink()
    else:
        shard.write_bytes(content if damage == "flip" else content[: len(content) // 2])
    refused(train(tmp_path / "run", packed, backbone), str(shard))
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_a_full_disk_keeps_the_checkpoints_there_are(folder, backbone, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "graft", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this process may not mount a small disk")
    try:
        flags = ("--num_epochs=9", "--checkpoint_every_steps=1", "--keep_checkpoints=99")
        process = train(disk / "run", folder, backbone, *flags)
        refused(process, str(disk / "run"), "No space left", "bytes")
        assert list((disk / "run" / "checkpoints").glob("*/MANIFEST.json"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_fewer_steps_than_are_done_and_what_may_change(folder, backbone, tmp_path):
    run = tmp_path / "run"
    assert train(run, folder, backbone, "--num_epochs=2", *BARE).returncode == 0
    refused(train(run, folder, backbone), "6 steps done", "3 that are asked for")
    longer = train(run, f"{folder}/", backbone, "--num_epochs=3", *BARE)
    assert longer.returncode == 0, longer.stderr
    assert "resuming   after step 6 of 9" in longer.stdout
    assert metrics(run)["global_step"] == 9


def test_a_batch_that_leaves_many_images_out_is_warned_of(folder, backbone, tmp_path):
    process = train(tmp_path / "run", folder, backbone, "--global_batch_size=16", *BARE)
    assert process.returncode == 0, process.stderr
    said = process.stdout + process.stderr
    assert said.count("--global_batch_size=16: leaves 8 of 24 training images (33%)") == 1


def test_a_second_process_on_a_workdir_is_refused(folder, backbone, gates, tmp_path):
    run = tmp_path / "run"
    flags = (f"--workdir={run}", f"--dataset={folder}", f"--backbone={backbone}")
    gate = gates(number=3)
    first = start("train", *flags, "--num_epochs=9", "--global_batch_size=8", prepare=gate)
    try:
        gate.wait(first)
        assert list(run.glob("checkpoints/*/MANIFEST.json"))
        refused(train(run, folder, backbone), f"--workdir={run}", "another process")
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGINT)
        gate.open()
    assert first.wait(120) == 130


def test_no_validation_image_can_be_decoded(copy, backbone, tmp_path):
    for path in (copy / "validation").rglob("*.png"):
        path.write_text("no image")
    process = train(tmp_path / "run", copy, backbone, "--bad_images=skip")
    refused(process, "no image", "decoded")


def test_links_that_lead_back_are_not_followed(copy):
    (copy / "train" / "red" / "loop").symlink_to(copy)
    source = open_folder(str(copy))
    assert source.num_examples("train") == 24


def test_a_model_that_is_none(backbone, tmp_path):
    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    refused(graft("predict", f"--model={backbone}", tmp_path / "a.png"), f"--model={backbone}")
    (tmp_path / "saved_model.pb").write_bytes(b"cut")
    refused(graft("predict", f"--model={tmp_path}", tmp_path / "a.png"), f"--model={tmp_path}")
