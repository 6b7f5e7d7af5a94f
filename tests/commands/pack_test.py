import io
import os
import shutil
import signal

import pytest
import tensorflow_datasets as tfds

from tests.inputs import tiny
from tests.processes import warm
from tests.processes.commands import DEADLINE_SECS
from trainer.commands.pack import main
from trainer.commands.packing import pack
from trainer.data.sources.folder_source import open_folder
from trainer.data.sources.tfds_open import open_prepared
from trainer.process.console import LineReporter
from trainer.process.errors import UserError

SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.write_folder(tmp_path_factory.mktemp("größe 1"), train=20, validation=5)


@pytest.fixture(scope="module")
def source(folder):
    return open_folder(str(folder))


@pytest.fixture(scope="module")
def packed(source, tmp_path_factory):
    output = tmp_path_factory.mktemp("packed") / "three colours"
    reporter = LineReporter(io.StringIO())
    assert pack(source, SPLITS, str(output), 100_000, reporter) == {"train": 60, "validation": 15}
    return output


def contents(source, split):
    """(encoded, class name) of every example, in no order."""
    return sorted(
        (e["encoded"], source.class_names[e["label"]])
        for e in source.examples(split, 0, 1, shuffle=False).as_numpy_iterator()
    )


@pytest.mark.parametrize("split", ["train", "validation"])
def test_we_read_the_same_bytes_and_labels(source, packed, split):
    ours = open_prepared(str(packed), 16)
    assert ours.class_names == source.class_names == ("blue", "green", "red")
    assert ours.num_examples(split) == source.num_examples(split)
    assert contents(ours, split) == contents(source, split)


def test_tfds_reads_the_same(source, packed):
    builder = tfds.builder_from_directory(packed)
    names = builder.info.features["label"].names
    decoders = {"image": tfds.decode.SkipDecoding()}
    examples = list(builder.as_dataset(split="train", decoders=decoders).as_numpy_iterator())
    assert sorted((e["image"], names[e["label"]]) for e in examples) == contents(source, "train")
    ids = {e["id"] for e in source.examples("train", 0, 1).as_numpy_iterator()}
    assert {e["id"] for e in examples} == ids
    (pair,) = builder.as_dataset(split="train", as_supervised=True).take(1).as_numpy_iterator()
    assert pair[0].shape == (48, 48, 3)
    assert builder.info.splits["train"].num_examples == 60
    assert builder.info.splits["train"].num_bytes > sum(len(e["image"]) for e in examples)


def test_it_is_in_shards_of_about_the_size(packed):
    shards = sorted(packed.glob("*-train.tfrecord*"))
    assert len(shards) == 4
    assert [path.name for path in shards] == [
        f"three_colours-train.tfrecord-{i:05d}-of-00004" for i in range(4)
    ]
    sizes = [path.stat().st_size for path in shards]
    assert 80_000 < min(sizes) <= max(sizes) < 140_000
    assert len(list(packed.glob("*-validation.tfrecord*"))) == 1
    assert os.listdir(packed.parent) == ["three colours"]
    assert not [path for path in packed.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("name", ["2024-größe [x] {y}", "Ünï", "_", "a"])
def test_any_name_of_a_directory(source, tmp_path, name):
    output = tmp_path / name
    pack(source, ["validation"], str(output), 2**20, LineReporter(io.StringIO()))
    assert contents(open_prepared(str(output), 16), "validation") == contents(source, "validation")
    assert os.listdir(tmp_path) == [name]


def test_progress_is_said_to_the_end(source, tmp_path):
    stream = io.StringIO()
    pack(source, SPLITS, str(tmp_path / "out"), 10_000, LineReporter(stream, lambda: 0.0))
    lines = ["packing train 1/60", "packing train 60/60", "packing validation 15/15"]
    assert stream.getvalue().splitlines() == lines


def test_none_of_the_splits(source, tmp_path):
    with pytest.raises(UserError, match="has none of the splits dev, test"):
        pack(source, ["dev", "test"], str(tmp_path / "out"), 2**20, LineReporter(io.StringIO()))
    assert os.listdir(tmp_path) == []


def test_broken_images_are_packed_and_named(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    broken = sorted((copy / "train" / "red").iterdir())[:5]
    for path in broken:
        path.write_bytes(path.read_bytes()[:-30])
    (copy / "train" / "green" / "000.png").write_bytes(b"no image")
    source, stream = open_folder(str(copy)), io.StringIO()
    pack(source, SPLITS, str(tmp_path / "out"), 2**20, LineReporter(stream))
    (line,) = [line for line in stream.getvalue().splitlines() if "decoded" in line]
    assert line.startswith(
        "warning: 6 of 60 train images cannot be decoded, and are packed as they"
    )
    assert "are: train/green/000.png (not a JPEG, PNG, GIF, BMP or WebP image" in line
    assert line.endswith(" and 3 more; training leaves them out with --bad_images=skip")
    ours = open_prepared(str(tmp_path / "out"), 16)
    assert contents(ours, "train") == contents(source, "train")


def test_an_image_that_is_gone(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    source = open_folder(str(copy))
    (copy / "train" / "red" / "007.png").unlink()
    with pytest.raises(UserError, match=r"--dataset=.*: cannot be packed \(.*red/007\.png"):
        pack(source, SPLITS, str(tmp_path / "out"), 2**20, LineReporter(io.StringIO()))
    assert os.listdir(tmp_path) == ["copy"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--output_dir=o"], "graft: --dataset: required\n"),
        (["--dataset=d"], "graft: --output_dir: required\n"),
        (["--dataset=d", "--output_dir={exists}"], "graft: --output_dir={exists}: must not exist"),
        (["--dataset=d", "--output_dir={exists}/"], "graft: --output_dir={exists}: must not exist"),
        (["--dataset=d", "--output_dir=o", "--shard_mb=0"], "graft: --shard_mb=0: must be at lea"),
        (["--dataset=d", "--output_dir=o", "more"], "graft: more: not a flag"),
        (
            ["--dataset=/nowhere", "--output_dir={new}"],
            "graft: --dataset=/nowhere: no such path",
        ),
    ],
)
def test_refusals(flags, message, tmp_path, capfd):
    places = {"exists": tmp_path, "new": tmp_path / "new"}
    assert main([flag.format(**places) for flag in flags]) == 2
    assert capfd.readouterr().err.startswith(message.format(**places))
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written(folder, tmp_path, capfd):
    (tmp_path / "file").write_text("")
    assert main([f"--dataset={folder}", f"--output_dir={tmp_path}/file/out"]) == 2
    message = f"graft: --output_dir={tmp_path}/file/out: Not a directory\n"
    assert capfd.readouterr().err.endswith(message)


PACKER = """
import sys
from trainer.process.console import LineReporter
from trainer.data.sources.folder_source import open_folder
from trainer.commands.packing import pack

folder = open_folder(sys.argv[1])
pack(folder, ["train", "validation"], sys.argv[2], 100_000, LineReporter(sys.stdout))
"""


@pytest.fixture
def half_packed(gates):
    """Starts a process that packs a folder, and that holds where it has packed half of it."""
    gate = gates("trainer.process.console:LineReporter.advance", 30)

    def begin(folder, output):
        with open(os.devnull, "w") as nowhere:
            arguments = [folder, output]
            process = warm.Process(
                arguments, nowhere, nowhere, os.environ, prepare=gate, program=PACKER
            )
        gate.wait(process)
        return process, gate

    return begin


@pytest.mark.integration
def test_a_kill_leaves_nothing_that_looks_complete(folder, source, half_packed, tmp_path):
    output = tmp_path / "out"
    process, _ = half_packed(folder, output)
    process.kill()
    assert process.wait(DEADLINE_SECS) == -signal.SIGKILL
    (left,) = os.listdir(tmp_path)
    assert left.startswith(".graft-")
    with pytest.raises(UserError):
        open_prepared(str(tmp_path / left), 16)
    # The same command again: done, and what was left is gone.
    assert main([f"--dataset={folder}", f"--output_dir={output}"]) == 0
    assert os.listdir(tmp_path) == ["out"]
    assert contents(open_prepared(str(output), 16), "train") == contents(source, "train")


def test_directories_of_others_are_left_alone(source, tmp_path):
    names = ["out.incomplete", ".graft-mine", ".graft-lock"]
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "diary.txt").write_text("dear diary")
    pack(source, ["validation"], str(tmp_path / "out"), 2**20, LineReporter(io.StringIO()))
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "out"])
    assert {(tmp_path / name / "diary.txt").read_text() for name in names} == {"dear diary"}


@pytest.mark.integration
def test_two_at_once_do_not_disturb_each_other(folder, source, half_packed, tmp_path):
    slow, gate = half_packed(folder, tmp_path / "slow")
    pack(source, ["validation"], str(tmp_path / "quick"), 2**20, LineReporter(io.StringIO()))
    gate.open()
    assert slow.wait(DEADLINE_SECS) == 0
    assert sorted(os.listdir(tmp_path)) == ["quick", "slow"]
    assert contents(open_prepared(str(tmp_path / "slow"), 16), "train") == contents(source, "train")


@pytest.mark.integration
def test_an_output_that_appears_meanwhile_is_kept(folder, half_packed, tmp_path):
    process, gate = half_packed(folder, tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("")
    gate.open()
    assert process.wait(DEADLINE_SECS) == 1
    assert os.listdir(tmp_path) == ["out"]
    assert os.listdir(tmp_path / "out") == ["mine.txt"]
