"""Curves on their way to a bucket: what is sent, and what a resumed run takes back."""

import json

import pytest
import tensorflow as tf
from tensorflow.core.util import event_pb2

from trainer.board import event_upload
from trainer.board.event_upload import EventUpload
from trainer.board.event_writer import SummaryWriter
from trainer.board.summary_protos import ImageSummary
from trainer.storage import gcs as gcs_storage
from trainer.storage.upload_queue import UploadQueue

LOGS = "gs://bucket/run/logs"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class World:
    def __init__(self):
        self.upload_queue = UploadQueue()
        self.clock = Clock()
        self.upload = EventUpload(LOGS, self.upload_queue, 10.0, self.clock)

    def open(self, resumed_step=0):
        return SummaryWriter(LOGS, resumed_step, self.upload)


@pytest.fixture
def world(gcs):
    world = World()
    yield world
    world.upload_queue.flush(10)
    world.upload.discard()


def steps(gcs, tmp_path, name="train", tag="loss"):
    """Of every point in the bucket; each one once, if none was written twice."""
    found = []
    for file in gcs.names(f"run/logs/{name}/"):
        path = tmp_path / "events"
        path.write_bytes(gcs.read(file))
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = event_pb2.Event.FromString(record)
            found += [event.step for value in event.summary.value if value.tag == tag]
    return sorted(found)


def data(gcs):
    """The lines of curves.jsonl in the bucket: steps and scalars."""
    lines = map(json.loads, gcs.read("run/logs/curves.jsonl").splitlines())
    return [{k: v for k, v in line.items() if k not in ("curve", "wall_time")} for line in lines]


def test_two_hundred_flushes(gcs, world, tmp_path):
    """A point every 0.2 s for 40 s; TensorFlow itself would upload the whole file 200 times."""
    summary_writer = world.open()
    gcs.proxy.reset()
    for step in range(1, 201):
        world.clock.now += 0.2
        summary_writer.write("train", step, {"loss": 1.0, "accuracy": 0.5})
        summary_writer.flush_if_due()
    summary_writer.close()
    world.upload_queue.flush(10)
    assert steps(gcs, tmp_path) == list(range(1, 201))
    assert gcs.proxy.count("POST") == 4 + 1  # curves.jsonl once: there was no checkpoint
    (name,) = gcs.names("run/logs/train/")
    size = len(gcs.read(name)) + len(gcs.read("run/logs/curves.jsonl"))
    print(f"{gcs.proxy.bytes_received()} bytes for a file of {size}")
    assert gcs.proxy.bytes_received() < 4 * size
    # 200 uploads of a file that grows evenly are 100 times its size.
    assert gcs.proxy.bytes_received() < 100 * size / 20


def test_a_large_file_is_followed_by_a_new_one(gcs, world, tmp_path, monkeypatch):
    monkeypatch.setattr(event_upload, "ROTATE_BYTES", 2000)
    summary_writer = world.open()
    for step in range(1, 101):
        summary_writer.write("train", step, {"loss": 1.0})
        if step % 10 == 0:
            summary_writer.flush()
    summary_writer.close()
    world.upload_queue.flush(10)
    names = gcs.names("run/logs/train/")
    assert len(names) >= 3
    assert all(len(gcs.read(name)) < 3500 for name in names)
    assert steps(gcs, tmp_path) == list(range(1, 101))
    assert [m["last_step"] for m in gcs_storage.list_metadata(f"{LOGS}/train").values()][
        -1
    ] == "100"


def test_pictures_are_sent_as_well_and_taken_back(gcs, world, tmp_path, monkeypatch):
    monkeypatch.setattr(event_upload, "ROTATE_BYTES", 1)  # a file for each flush
    summary_writer = world.open()
    for step in (1, 2, 3):
        summary_writer.write_images(
            "eval", step, {"p": ImageSummary(bytes([step]) * 999, 1, 1, "")}
        )
        summary_writer.flush()
    world.upload_queue.flush(10)
    assert steps(gcs, tmp_path, "eval", "p") == [1, 2, 3]
    resumed = World()
    summary_writer = resumed.open(2)
    assert steps(gcs, tmp_path, "eval", "p") == [1, 2]
    summary_writer.write_images("eval", 3, {"p": ImageSummary(b"new", 1, 1, "")})
    summary_writer.close()
    resumed.upload_queue.flush(10)
    assert steps(gcs, tmp_path, "eval", "p") == [1, 2, 3]
    resumed.upload.discard()


def test_a_resumed_curve_never_steps_back(gcs, world, tmp_path, monkeypatch):
    monkeypatch.setattr(event_upload, "ROTATE_BYTES", 1)  # a file for each flush
    summary_writer = world.open()
    for step in range(1, 7):
        summary_writer.write("train", step, {"loss": step / 4})
        if step % 2 == 0:
            summary_writer.flush()
    world.upload_queue.flush(10)
    first, second, _ = gcs.names("run/logs/train/")
    gcs.proxy.reset()
    resumed = World()
    summary_writer = resumed.open(3)  # 1, 2 stay; 3 of (3, 4) stays; (5, 6) goes
    assert gcs.names("run/logs/train/") == [first, second]
    assert steps(gcs, tmp_path) == [1, 2, 3]
    downloads = [r.target for r in gcs.proxy.requests if "alt=media" in r.target]
    # The first one is known to have no later steps; curves.jsonl is written as a whole.
    assert len(downloads) == 2 + 1
    resumed.upload_queue.flush(10)
    assert data(gcs) == [{"step": step, "loss": step / 4} for step in (1, 2, 3)]
    for step in (4, 5):
        summary_writer.write("train", step, {"loss": step / 4})
    summary_writer.close()
    resumed.upload_queue.flush(10)
    assert steps(gcs, tmp_path) == [1, 2, 3, 4, 5]
    assert data(gcs) == [{"step": step, "loss": step / 4} for step in (1, 2, 3, 4, 5)]
    resumed.upload.discard()


def test_what_somebody_else_wrote_there_stays(gcs, world):
    gcs.write("run/logs/train/notes.txt", b"mine")
    world.open(0)
    assert gcs.names("run/logs/train/") == ["run/logs/train/notes.txt"]
