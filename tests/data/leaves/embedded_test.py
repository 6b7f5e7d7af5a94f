"""The embedded data set: what is drawn, how it is prepared, and how hard it is."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
from PIL import Image

from tests.processes import warm
from tests.processes.commands import DEADLINE_SECS
from trainer.data.leaves import drawing, embedded
from trainer.process.errors import UserError
from trainer.settings.locations import default_cache_dir

NAMES = ["angular_leaf_spot", "bean_rust", "healthy"]
SIZES = {"train": 1034, "validation": 133, "test": 128}
PREPARE = """
import signal, sys
from tests.processes import warm
from tests.processes.commands import DEADLINE_SECS
from trainer.data.leaves import drawing as leaf_drawing, embedded as leaves
directory, part, held_at = sys.argv[1], *map(int, sys.argv[2:])
for split, size in leaf_drawing.SPLIT_SIZES.items():
    leaf_drawing.SPLIT_SIZES[split] = min(part, size)
def progress(done, total):
    print(done, total, flush=True)
    if done == held_at:
        signal.pause()
print(leaves.prepare(directory, progress), flush=True)
"""


@pytest.fixture(scope="session")
def builder(leaves_dir):
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(leaves_dir)


@pytest.fixture(scope="session")
def examples(builder):
    return read(builder)


def read(builder):
    """For each split the encoded images and the labels, in the order of the files."""
    import tensorflow_datasets as tfds

    skip = {"image": tfds.decode.SkipDecoding()}
    splits = {}
    for split in SIZES:
        rows = list(tfds.as_numpy(builder.as_dataset(split, decoders=skip)))
        splits[split] = [row["image"] for row in rows], np.array([row["label"] for row in rows])
    return splits


@contextlib.contextmanager
def preparing(directory, part, held_at=0):
    """A process that prepares the first `part` of each split, and what it has printed so far.

    It holds for good as it has drawn `held_at`.
    """
    with tempfile.TemporaryFile("w+") as output:
        arguments = (directory, part, held_at)
        process = warm.Process(arguments, output, output, os.environ, program=PREPARE)

        def printed():
            return os.pread(output.fileno(), 2**20, 0).decode().splitlines()

        try:
            yield process, printed
        finally:
            process.kill()


def serve(requests, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "trainer.data.leaves.drawing"],
        input="".join(f"{split} {index}\n" for split, index in requests).encode(),
        env={**os.environ, **environment},
        capture_output=True,
        check=True,
    )
    return done.stdout


class TestDrawing:
    @pytest.mark.integration
    def test_two_processes_draw_the_same_bytes(self):
        requests = [("train", 0), ("train", 1), ("train", 2), ("validation", 7), ("test", 127)]
        one = serve(requests, PYTHONHASHSEED="1", OPENBLAS_NUM_THREADS="1")
        assert one == serve(requests[:2], PYTHONHASHSEED="2") + serve(requests[2:])

    def test_splits_differ(self):
        assert drawing.draw_leaf("train", 0) != drawing.draw_leaf("test", 0)

    @pytest.mark.parametrize("index", range(3))
    def test_a_picture(self, index):
        pixels, label = drawing.draw_pixels("validation", index)
        assert pixels.shape == (500, 500, 3)
        assert pixels.dtype == np.uint8
        assert label == index
        assert pixels.std() > 10
        encoded = Image.open(io.BytesIO(drawing.draw_leaf("validation", index)[0]))
        assert (encoded.format, encoded.mode, encoded.size) == ("JPEG", "RGB", (500, 500))
        assert np.abs(np.asarray(encoded, int) - pixels).mean() < 10

    @pytest.mark.parametrize(("split", "index"), [("dev", 0), ("train", 1034), ("test", -1)])
    def test_no_such_example(self, split, index):
        with pytest.raises(ValueError, match="no example"):
            drawing.draw_leaf(split, index)

    @pytest.mark.integration
    @pytest.mark.parametrize("module", ["drawing", "embedded"])
    def test_tensorflow_is_not_imported(self, module):
        code = f"import sys, trainer.data.leaves.{module}; sys.exit('tensorflow' in sys.modules)"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestPrepared:
    def test_features_are_those_of_beans(self, builder):
        assert builder.info.full_name == "leaves/1.0.0"
        assert "ynthetic" in builder.info.description
        assert builder.info.supervised_keys == ("image", "label")
        assert builder.info.features["label"].names == NAMES
        assert builder.info.features["image"].shape == (500, 500, 3)

    @pytest.mark.parametrize(
        ("split", "per_class"),
        [("train", [345, 345, 344]), ("validation", [45, 44, 44]), ("test", [43, 43, 42])],
    )
    def test_counts(self, builder, examples, split, per_class):
        assert builder.info.splits[split].num_examples == SIZES[split]
        assert builder.info.splits[split].num_shards == 1
        assert np.bincount(examples[split][1]).tolist() == per_class

    @pytest.mark.parametrize("split", SIZES)
    def test_jpegs_are_stored_as_drawn_and_in_order(self, examples, split):
        images, labels = examples[split]
        for index in (0, 1, SIZES[split] - 1):
            assert (images[index], labels[index]) == drawing.draw_leaf(split, index)

    def test_no_two_pictures_are_equal(self, examples):
        assert len({image for images, _ in examples.values() for image in images}) == 1295

    def test_pixels_alone_do_not_tell_the_classes(self, examples):
        """A linear classifier of 32×32 pixels stays under 70 %, whatever its regularisation."""
        small = {split: thumbnails(images) for split, (images, _) in examples.items()}
        labels = {split: labels for split, (_, labels) in examples.items()}
        mean, std = small["train"].mean(0), small["train"].std(0)
        small = {split: (pixels - mean) / std for split, pixels in small.items()}
        penalties = (1e-2, 1.0, 10.0)
        weights = softmax_regression(small["train"], labels["train"], penalties)
        for split in ("validation", "test"):
            found = (small[split] @ weights).reshape(-1, len(penalties), 3).argmax(2)
            accuracies = (found == labels[split][:, None]).mean(0)
            assert (accuracies < 0.7).all(), f"{split} accuracies {accuracies} at {penalties}"


def thumbnails(images):
    """Encoded JPEGs to float32 `(n, 3072)` in [0, 1]."""
    rows = []
    for encoded in images:
        image = Image.open(io.BytesIO(encoded))
        image.draft("RGB", (64, 64))
        rows.append(np.asarray(image.resize((32, 32), Image.Resampling.BOX)).ravel())
    return np.stack(rows).astype(np.float32) / 255


def softmax_regression(pixels, labels, penalties):
    """Weights `(3072, 3 × penalties)` after 400 steps of gradient descent with momentum each.

    A gradient is a combination of the pictures, and so are the weights: their shares are found.
    """
    target = np.tile(np.eye(3, dtype=np.float32)[labels], len(penalties))
    penalty = np.repeat(np.float32(penalties), 3)
    products = pixels @ pixels.T
    shares = np.zeros((len(pixels), 3 * len(penalties)), np.float32)
    velocity = np.zeros_like(shares)
    for _ in range(400):
        logits = (products @ shares).reshape(len(pixels), -1, 3)
        scores = np.exp(logits - logits.max(2, keepdims=True))
        scores /= scores.sum(2, keepdims=True)
        gradient = (scores.reshape(shares.shape) - target) / len(pixels) + penalty * shares
        velocity = 0.9 * velocity - 1e-3 * gradient
        shares += velocity
    return pixels.T @ shares


class TestPreparing:
    def test_a_second_call_returns_at_once(self, leaves_dir):
        calls = []
        assert embedded.prepare(default_cache_dir(), lambda *done: calls.append(done)) == leaves_dir
        assert calls == []

    def test_killed_in_the_middle_then_two_at_once(self, tmp_path, examples):
        assert_killed_then_two_at_once(tmp_path, examples, 8)

    def test_cache_that_cannot_be_written(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=r"--cache_dir=.*can be written to"):
            embedded.prepare(str(tmp_path / "file" / "cache"))


def assert_killed_then_two_at_once(directory, examples, part):
    """Of both, the data set is whole; `part` is of each split."""
    import tensorflow_datasets as tfds

    total = sum(min(part, size) for size in SIZES.values())
    target = directory / "leaves" / "1.0.0"
    with preparing(directory, part, held_at=20) as (killed, printed):
        while len(printed()) < 20 and killed.poll() is None:
            time.sleep(0.01)
        assert printed() == [f"{done} {total}" for done in range(1, 21)]
        killed.kill()
        assert killed.wait(60) == -signal.SIGKILL
    assert not target.exists()
    assert list((directory / "leaves").glob(".graft-*/leaves/incomplete.*"))

    with preparing(directory, part) as (one, printed), preparing(directory, part) as (other, also):
        codes = [process.wait(DEADLINE_SECS) for process in (one, other)]
        outputs = [printed(), also()]
    assert codes == [0, 0], outputs
    drawn, waited = sorted(outputs, key=len, reverse=True)
    assert drawn == [f"{done} {total}" for done in range(1, total + 1)] + [str(target)]
    assert waited == [str(target)]
    assert [path.name for path in (directory / "leaves").iterdir()] == ["1.0.0"]
    # What another preparation wrote. The files themselves may differ: the order in which a
    # record names its features is not fixed in Protocol Buffers.
    again = read(tfds.builder_from_directory(str(target)))
    for split, (images, labels) in examples.items():
        assert again[split][0] == images[:part]
        assert again[split][1].tolist() == labels[:part].tolist()
