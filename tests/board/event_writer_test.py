import json
import os
import re
import shutil

import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from trainer.board.event_writer import SummaryWriter, truncate_after


def records(path):
    return [
        event_pb2.Event.FromString(record)
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    ]


def points(directory):
    """(step, tag, value) of every file of `directory`, in the order in which they were begun.

    A name has the second, the process and a counter: 9 comes before 10.
    """

    def order(name):
        return [int(number) for number in re.findall(r"\d+", name)]

    return [
        (event.step, value.tag, tf.make_ndarray(value.tensor).item())
        for name in sorted(os.listdir(directory), key=order)
        for event in records(directory / name)
        for value in event.summary.value
    ]


def data(directory):
    """The lines of curves.jsonl, without when they were written."""
    lines = map(json.loads, (directory / "curves.jsonl").read_bytes().splitlines())
    return [{k: v for k, v in line.items() if k != "wall_time"} for line in lines]


def write(directory, resumed_step, *steps):
    summary_writer = SummaryWriter(str(directory), resumed_step)
    for step in steps:
        summary_writer.write("train", step, {"loss": step / 4, "accuracy": 0.5})
        if step % 2 == 0:
            summary_writer.write("eval", step, {"loss": step / 2})
    summary_writer.flush()
    summary_writer.close()


def test_what_is_written_is_read_back(tmp_path):
    write(tmp_path, 0, 1, 2)
    expected = [(s, tag, v) for s in (1, 2) for tag, v in (("loss", s / 4), ("accuracy", 0.5))]
    assert points(tmp_path / "train") == expected
    assert points(tmp_path / "eval") == [(2, "loss", 1.0)]
    assert sorted(os.listdir(tmp_path)) == ["curves.jsonl", "eval", "train"]
    assert data(tmp_path) == [
        {"curve": "train", "step": 1, "loss": 0.25, "accuracy": 0.5},
        {"curve": "train", "step": 2, "loss": 0.5, "accuracy": 0.5},
        {"curve": "eval", "step": 2, "loss": 1.0},
    ]


def test_flush_is_enough(tmp_path):
    summary_writer = SummaryWriter(str(tmp_path), 0)
    summary_writer.write("eval", 3, {"loss": 1.0})
    summary_writer.flush()
    assert points(tmp_path / "eval") == [(3, "loss", 1.0)]
    assert data(tmp_path) == [{"curve": "eval", "step": 3, "loss": 1.0}]
    summary_writer.close()


def test_a_resumed_curve_never_steps_back(tmp_path):
    write(tmp_path, 0, 1, 2, 3, 4)
    write(tmp_path, 2, 3, 4, 5)  # killed after 4, resumed from the checkpoint of 2
    write(tmp_path, 4, 5, 6)
    assert [s for s, tag, _ in points(tmp_path / "train") if tag == "loss"] == [1, 2, 3, 4, 5, 6]
    assert [s for s, _, _ in points(tmp_path / "eval")] == [2, 4, 6]
    assert [(line["curve"], line["step"]) for line in data(tmp_path)] == [
        *(("train", 1), ("train", 2), ("eval", 2), ("train", 3), ("train", 4), ("eval", 4)),
        *(("train", 5), ("train", 6), ("eval", 6)),
    ]


def test_a_file_of_later_steps_alone_is_removed(tmp_path):
    write(tmp_path, 0, 5, 6)
    truncate_after(str(tmp_path / "train"), 4)
    assert os.listdir(tmp_path / "train") == []


def test_what_is_whole_is_not_touched(tmp_path):
    write(tmp_path, 0, 1, 2)
    (path,) = (tmp_path / "train").iterdir()
    before = path.stat()
    truncate_after(str(tmp_path / "train"), 2)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("logs")
    write(root, 0, 1, 2, 3)
    (path,) = (root / "train").iterdir()
    return path


@pytest.mark.parametrize("cut", [1, 4, 5, 40, "header", "length"])
def test_a_cut_last_record_is_survived(tmp_path, written, cut):
    copy = tmp_path / "train" / written.name
    copy.parent.mkdir()
    shutil.copy(written, copy)
    last = len(list(tf.data.TFRecordDataset(str(copy)).as_numpy_iterator())[-1]) + 16
    size = copy.stat().st_size
    # A record: length (8 bytes), its checksum (4), the content, its checksum (4).
    left = {"header": size - last + 10, "length": size - last + 3}.get(cut) or size - cut
    os.truncate(copy, left)
    truncate_after(str(copy.parent), 3)
    whole = points(written.parent)
    assert points(copy.parent) == whole[:-2]  # a record holds both points of a step
    assert copy.stat().st_size == size - last
    assert os.listdir(copy.parent) == [written.name]


def test_other_files_are_not_ours(tmp_path):
    write(tmp_path, 0, 1, 9)
    (tmp_path / "train" / "plugins").mkdir()
    (tmp_path / "train" / "notes.txt").write_text("mine")
    (tmp_path / "train" / ".partial-x").write_bytes(b"half")
    truncate_after(str(tmp_path / "train"), 1)
    assert (tmp_path / "train" / "notes.txt").read_text() == "mine"
    names = sorted(os.listdir(tmp_path / "train"))
    assert len(names) == 4
    assert [event.step for event in records(tmp_path / "train" / names[1])] == [0, 1]


def test_no_directory(tmp_path):
    truncate_after(str(tmp_path / "absent"), 3)
