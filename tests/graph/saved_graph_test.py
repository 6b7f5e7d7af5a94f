import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from trainer.data.decode import decode_image
from trainer.graph.graph_cache import load_or_trace
from trainer.graph.saved_graph import SavedGraph
from trainer.process.errors import UserError

SCALAR = tf.TensorSpec([], tf.float32)


def traced(function, *specs):
    return SavedGraph.of(tf.function(function).get_concrete_function(*specs))


def difference(one, other):
    return tf.cond(one > other, lambda: one - other, lambda: other - one) * 2.0


def called(graph, *values):
    wrapped = tf.function(graph.__call__).get_concrete_function(*(SCALAR for _ in values))
    return float(wrapped(*map(tf.constant, values)))


def test_bytes_are_the_function_that_they_were_made_of():
    graph = SavedGraph.from_bytes(traced(difference, SCALAR, SCALAR).to_bytes())
    assert called(graph, 3.0, 1.0) == 4.0
    assert called(graph, 1.0, 4.0) == 6.0


def test_a_function_that_captures_is_refused():
    variable = tf.Variable(1.0)
    with pytest.raises(ValueError, match="captures 1 tensors"):
        traced(lambda x: x + variable, SCALAR)


def test_one_traces_and_the_others_read(tmp_path):
    path = tmp_path / "kept" / "kind-1"
    times = []

    def trace():
        times.append(1)
        return traced(difference, SCALAR, SCALAR), {"size": 7}

    for _ in range(2):
        graph, facts = load_or_trace(str(path), trace)
        assert called(graph, 2.0, 0.0) == 4.0
        assert facts["size"] == 7
    assert len(times) == 1
    file = path / "graph.pb"
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.warns(UserWarning, match=f"{file}: checksum mismatch"):
        assert called(load_or_trace(str(path), trace)[0], 2.0, 0.0) == 4.0
    assert len(times) == 2
    assert called(SavedGraph.from_bytes(file.read_bytes()), 2.0, 0.0) == 4.0


def test_where_nothing_can_be_written_it_is_traced(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    path = str(tmp_path / "file" / "kind-1")
    graph, _ = load_or_trace(path, lambda: (traced(difference, SCALAR, SCALAR), {}))
    assert called(graph, 2.0, 0.0) == 4.0


def test_what_tracing_fails_with_is_raised_and_not_met_twice(tmp_path):
    times = []

    def trace():
        times.append(1)
        raise UserError("no backbone")

    with pytest.raises(UserError, match="no backbone"):
        load_or_trace(str(tmp_path / "kind-1"), trace)
    assert len(times) == 1


def test_what_is_not_used_for_30_days_is_swept(tmp_path):
    def keep(name):
        graph = traced(lambda x: x + 1, SCALAR)
        load_or_trace(str(tmp_path / name), lambda: (graph, {}), 30 * 86_400)

    for name, days in {"kind-read": 31, "kind-old": 31, "kind-young": 29}.items():
        keep(name)
        written = os.stat(tmp_path / name).st_mtime - days * 86_400
        os.utime(tmp_path / name, (written, written))
    keep("kind-read")
    keep("kind-new")
    assert {path.name for path in tmp_path.iterdir()} == {"kind-read", "kind-young", "kind-new"}


@pytest.mark.integration
def test_a_kept_decoder_gives_the_same_pixels(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, [40, 30, 3], np.uint8)
    files = [tf.io.encode_png(pixels), b"GIF8, and no more"]
    plain = decode_image._any_decoder.__wrapped__((32, 32), False, True)
    monkeypatch.setattr(decode_image, "_cache_prefix", "")
    decode_image.cache_graphs_in(str(tmp_path))
    for _ in range(2):  # traced and kept, then read
        kept = decode_image._any_decoder.__wrapped__((32, 32), False, True)
        np.testing.assert_array_equal(kept(files[0]), plain(files[0]))
        with pytest.raises(tf.errors.InvalidArgumentError, match="more than 134217728 pixels"):
            kept(tf.constant(files[1]))
    (path,) = tmp_path.iterdir()
    assert path.name.endswith("-32x32-webp")


@pytest.mark.integration
def test_a_kept_decoder_of_another_shape_is_not_taken(tmp_path, monkeypatch):
    png = tf.io.encode_png(np.random.default_rng(0).integers(0, 256, [40, 30, 3], np.uint8))
    monkeypatch.setattr(decode_image, "_cache_prefix", "")
    decode_image.cache_graphs_in(str(tmp_path))
    expected = decode_image._any_decoder.__wrapped__((32, 32), False, True)(png)
    (path,) = tmp_path.iterdir()
    for other in (((48, 32), False, True), ((32, 32), True, True)):
        before = {*tmp_path.iterdir()}
        decode_image._any_decoder.__wrapped__(*other)
        (foreign,) = {*tmp_path.iterdir()} - before
        shutil.copytree(foreign, path, dirs_exist_ok=True)
        with pytest.warns(UserWarning, match="MANIFEST.json; rebuilding it"):
            again = decode_image._any_decoder.__wrapped__((32, 32), False, True)
        np.testing.assert_array_equal(again(png), expected)
