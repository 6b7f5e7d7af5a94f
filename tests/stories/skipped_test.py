"""`--bad_images=skip` where there is little left: said aloud, and an error where nothing is."""

import pytest

from tests.inputs import tiny
from tests.processes.commands import graft, metrics, refused

pytestmark = pytest.mark.integration

CACHED, UNCACHED = "--feature_cache=on", "--feature_cache=off"
BARE = ("--export_formats=", "--noreport", "--nolog_images")  # where nobody looks at them


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny.write_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture
def folder(tmp_path):
    return tiny.write_folder(tmp_path / "folder", train=8, validation=4)


def train(tmp_path, folder, backbone, *more):
    return graft(
        "train",
        f"--workdir={tmp_path / 'run'}",
        f"--dataset={folder}",
        f"--backbone={backbone}",
        f"--cache_dir={tmp_path / 'cache'}",
        "--global_batch_size=8",
        "--bad_images=skip",
        *more,
    )


def spoil(directory):
    for path in directory.rglob("*.png"):
        path.write_text("no image")


def warnings(process):
    assert process.returncode == 0, process.stderr
    return [line for line in process.stdout.splitlines() if line.startswith("warning: ")]


@pytest.mark.parametrize(
    ("cache", "length"),
    # The fourth: tests/storm/skipped_test.py.
    [(CACHED, "--num_steps=2"), (UNCACHED, "--num_steps=2"), (UNCACHED, "--num_epochs=5")],
)
def test_no_training_image_can_be_decoded(cache, length, folder, backbone, tmp_path):
    assert_refused_twice(cache, length, folder, backbone, tmp_path)


def assert_refused_twice(cache, length, folder, backbone, tmp_path):
    """No training image can be decoded."""
    spoil(folder / "train")
    for _ in range(2):  # the second time features are cached, or a checkpoint is there
        process = train(tmp_path, folder, backbone, cache, length)
        refused(process, "no image of split 'train'", "decoded")
        assert not (tmp_path / "run" / "export").exists()
        assert not (tmp_path / "run" / "metrics.json").exists()


@pytest.mark.parametrize("cache", [CACHED, UNCACHED])
def test_a_class_that_is_lost_is_named(cache, folder, backbone, tmp_path):
    spoil(folder / "train" / "red")
    process = train(tmp_path, folder, backbone, cache, "--num_epochs=1", *BARE)
    assert warnings(process) == [
        "warning: 8 images were skipped: train/red/000.png, train/red/001.png, "
        "train/red/002.png, …; metrics.json lists them",
        "warning: no image of class 'red' could be trained on: all were skipped",
    ]
    assert metrics(tmp_path / "run")["num_skipped"] == 8


@pytest.mark.parametrize("kind", ["folder", "packed"])
def test_an_image_that_is_left_out_is_named(kind, folder, backbone, tmp_path):
    (folder / "train" / "red" / "003.png").write_text("no image")
    data = folder
    if kind == "packed":
        data = tmp_path / "packed"
        process = graft("pack", f"--dataset={folder}", f"--output_dir={data}")
        assert process.returncode == 0, process.stderr
    process = train(tmp_path, data, backbone, UNCACHED, "--num_epochs=1", *BARE)
    assert warnings(process) == ["warning: 1 image was skipped: train/red/003.png"]
