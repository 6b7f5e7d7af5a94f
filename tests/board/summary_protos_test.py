"""What is written is what TensorBoard's own reader reads; what cannot be written is left out."""

import numpy as np
import pytest
import tensorflow as tf

from tests.inputs import board
from trainer.board.event_writer import SummaryWriter
from trainer.board.images import MOST_CURVES, per_class
from trainer.board.summary_protos import ImageSummary
from trainer.engine.evaluate import Evaluation
from trainer.process.errors import PeerLost, UserError

PICTURE = ImageSummary(b"\x89PNG", 3, 2, "what one sees")


@pytest.fixture
def warnings():
    return []


@pytest.fixture
def summary_writer(tmp_path, warnings):
    summary_writer = SummaryWriter(str(tmp_path), 0, warn=warnings.append)
    yield summary_writer
    summary_writer.close()


def read(tmp_path, summary_writer, name):
    summary_writer.flush()
    return board.read(tmp_path / name)


def values(reader, tag):
    return [(e.step, tf.make_ndarray(e.tensor_proto).tolist()) for e in reader.Tensors(tag)]


def plugin(reader, tag):
    return reader.SummaryMetadata(tag).plugin_data.plugin_name


def test_scalars(tmp_path, summary_writer):
    summary_writer.write("train", 4, {"loss": 0.1, "rate/<b>x</b>": float("nan")})
    reader = read(tmp_path, summary_writer, "train")
    assert values(reader, "loss") == [(4, np.float32(0.1))]
    assert np.isnan(values(reader, "rate/<b>x</b>")[0][1])
    assert plugin(reader, "loss") == "scalars"


def test_pictures(tmp_path, summary_writer):
    for step in (1, 2):
        summary_writer.write_images("eval", step, {"a": PICTURE, "b": PICTURE})
    reader = read(tmp_path, summary_writer, "eval")
    assert values(reader, "b") == [(step, [b"3", b"2", b"\x89PNG"]) for step in (1, 2)]
    assert plugin(reader, "b") == "images"
    assert reader.SummaryMetadata("b").summary_description == "what one sees"


def test_histograms_count_what_is_a_number(tmp_path, summary_writer):
    odd = np.array([[1.0, np.nan], [np.inf, 3.0]], np.float32)
    summary_writer.write_histograms("train", 7, {"odd": odd, "none": np.full(3, np.nan)})
    reader = read(tmp_path, summary_writer, "train")
    ((step, rows),) = values(reader, "odd")
    assert (step, rows[0][0], rows[-1][1]) == (7, 1.0, 3.0)
    assert sum(row[2] for row in rows) == 2
    assert sum(row[2] for row in values(reader, "none")[0][1]) == 0
    assert plugin(reader, "odd") == "histograms"


def test_pictures_beyond_the_checkpoint_are_taken_back(tmp_path):
    for resumed, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        summary_writer = SummaryWriter(str(tmp_path), resumed)
        for step in steps:
            summary_writer.write_images("train", step, {"a": PICTURE})
            summary_writer.write("train", step, {"loss": 1.0})
        summary_writer.close()
    reader = board.read(tmp_path / "train")
    assert [event.step for event in reader.Tensors("a")] == [1, 2, 3, 4]


def test_what_fails_is_said_once_of_each_kind(summary_writer, warnings):
    for what in ("pictures", "pictures", "points"):
        with summary_writer.optional(what):
            raise ValueError(f"no {what}\nat all")
    assert warnings == [
        "TensorBoard gets no pictures: ValueError: no pictures",
        "TensorBoard gets no points: ValueError: no points",
    ]


def test_what_ends_a_run_elsewhere_ends_it_here(summary_writer, warnings):
    with pytest.raises(PeerLost), summary_writer.optional("pictures"):
        raise PeerLost("worker 1 is gone")
    with summary_writer.optional("pictures"):
        raise UserError("the disk is full")
    assert len(warnings) == 1


def test_one_writer_writes_for_all(tmp_path):
    summary_writer = SummaryWriter(str(tmp_path), 0, writes=False)
    summary_writer.write_images("train", 1, {"a": PICTURE})
    summary_writer.close()
    assert not summary_writer.writes
    assert list(tmp_path.iterdir()) == []


def of(confusion):
    names = tuple(f"c{i}" for i in range(len(confusion)))
    return per_class(Evaluation(1.0, np.array(confusion), names))


def test_a_class_that_is_never_predicted_has_a_recall_alone():
    assert of([[3, 0, 0], [1, 0, 0], [0, 0, 0]]) == {
        "mean_recall": 0.5,
        "recall/c0": 1.0,
        "recall/c1": 0.0,
        "mean_precision": 0.75,
        "precision/c0": 0.75,
    }


def test_of_many_classes_the_means():
    confusion = np.diag(np.arange(1, MOST_CURVES + 2))
    assert of(confusion) == {"mean_recall": 1.0, "mean_precision": 1.0}
    assert len(of(confusion[:-1, :-1])) == 2 + 2 * MOST_CURVES
