import hashlib
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from trainer.data.decode import decode_image
from trainer.graph.graph_cache import same_of_all_processes
from trainer.graph.saved_graph import SavedGraph

SCALAR = tf.TensorSpec([], tf.float32)


def traced(function, *specs):
    return SavedGraph.of(tf.function(function).get_concrete_function(*specs))


def difference(one, other):
    return tf.cond(one > other, lambda: one - other, lambda: other - one) * 2.0


def called(graph, *values):
    wrapped = tf.function(graph.__call__).get_concrete_function(*(SCALAR for _ in values))
    return float(wrapped(*map(tf.constant, values)))


def test_bytes_are_the_function_that_they_were_made_of():
    content = traced(difference, SCALAR, SCALAR).to_bytes("a/größe")
    graph = SavedGraph.from_bytes(content, "a/größe")
    assert graph is not None
    assert called(graph, 3.0, 1.0) == 4.0
    assert called(graph, 1.0, 4.0) == 6.0


DAMAGES = [
    *(lambda b: b[:-1], lambda b: b"\0" + b[1:], lambda b: b"", lambda b: b[:32], lambda b: b[32:]),
    *(lambda b: b + b"\0", lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:]),
    lambda b: hashlib.sha256(b[32:]).digest() + b[32:],  # as it was before it had a name
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_bytes_are_none(damage):
    content = traced(difference, SCALAR, SCALAR).to_bytes("name")
    assert SavedGraph.from_bytes(content, "name") is not None
    assert SavedGraph.from_bytes(damage(content), "name") is None


@pytest.mark.parametrize("name", ["", "nam", "names", "name\0"])
def test_under_another_name_it_is_none(name):
    content = traced(difference, SCALAR, SCALAR).to_bytes("name")
    assert SavedGraph.from_bytes(content, name) is None


def test_a_function_that_captures_is_refused():
    variable = tf.Variable(1.0)
    with pytest.raises(ValueError, match="captures 1 tensors"):
        traced(lambda x: x + variable, SCALAR)


def test_one_traces_and_the_others_read(tmp_path):
    path = tmp_path / "kept" / "graph.pb"
    times = []

    def trace():
        times.append(1)
        return traced(difference, SCALAR, SCALAR)

    for _ in range(2):
        assert called(same_of_all_processes(str(path), trace), 2.0, 0.0) == 4.0
    assert len(times) == 1
    path.write_bytes(path.read_bytes()[:-9])
    assert called(same_of_all_processes(str(path), trace), 2.0, 0.0) == 4.0
    assert len(times) == 2
    assert SavedGraph.from_bytes(path.read_bytes(), path.name) is not None


def test_where_nothing_can_be_written_it_is_traced(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    path = str(tmp_path / "file" / "graph.pb")
    graph = same_of_all_processes(path, lambda: traced(difference, SCALAR, SCALAR))
    assert called(graph, 2.0, 0.0) == 4.0


def test_what_is_not_used_for_30_days_is_swept(tmp_path):
    def keep(name):
        return same_of_all_processes(str(tmp_path / name), lambda: traced(lambda x: x + 1, SCALAR))

    def aged(name, days):
        seen = (tmp_path / name).stat()
        os.utime(tmp_path / name, (seen.st_atime, seen.st_mtime - days * 86_400))

    for name in ("kind-read.pb", "kind-old.pb", "kind-young.pb", "other-old.pb"):
        keep(name)
    (tmp_path / "kind-old.txt").touch()
    for name in ("kind-read.pb", "kind-old.pb", "other-old.pb", "kind-old.txt"):
        aged(name, 31)
    aged("kind-young.pb", 29)
    keep("kind-read.pb")
    assert (tmp_path / "kind-old.pb").exists()
    with open(tmp_path / "kind-old.pb", "rb") as reader:
        keep("kind-new.pb")
        assert SavedGraph.from_bytes(reader.read(), "kind-old.pb") is not None
    assert {path.name for path in tmp_path.iterdir()} == {
        *("kind-read.pb", "kind-young.pb", "kind-new.pb", "other-old.pb", "kind-old.txt")
    }


@pytest.mark.integration
def test_a_kept_decoder_gives_the_same_pixels(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, [40, 30, 3], np.uint8)
    files = [tf.io.encode_png(pixels), b"GIF8, and no more"]
    plain = decode_image._any_decoder.__wrapped__((32, 32), False, True)
    monkeypatch.setattr(decode_image, "_kept_as", "")
    decode_image.keep_graphs_in(str(tmp_path))
    for _ in range(2):  # traced and kept, then read
        kept = decode_image._any_decoder.__wrapped__((32, 32), False, True)
        np.testing.assert_array_equal(kept(files[0]), plain(files[0]))
        with pytest.raises(tf.errors.InvalidArgumentError, match="more than 134217728 pixels"):
            kept(tf.constant(files[1]))
    (path,) = tmp_path.iterdir()
    assert path.name.endswith("-32x32-webp.pb")


@pytest.mark.integration
def test_a_kept_decoder_of_another_shape_is_not_taken(tmp_path, monkeypatch):
    png = tf.io.encode_png(np.random.default_rng(0).integers(0, 256, [40, 30, 3], np.uint8))
    monkeypatch.setattr(decode_image, "_kept_as", "")
    decode_image.keep_graphs_in(str(tmp_path))
    expected = decode_image._any_decoder.__wrapped__((32, 32), False, True)(png)
    (path,) = tmp_path.iterdir()
    for other in (((48, 32), False, True), ((32, 32), True, True)):
        before = {*tmp_path.iterdir()}
        decode_image._any_decoder.__wrapped__(*other)
        (foreign,) = {*tmp_path.iterdir()} - before
        shutil.copyfile(foreign, path)
        again = decode_image._any_decoder.__wrapped__((32, 32), False, True)
        np.testing.assert_array_equal(again(png), expected)
        assert SavedGraph.from_bytes(path.read_bytes(), path.name) is not None
