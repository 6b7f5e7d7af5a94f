"""The folded graph of a frozen backbone on disk: made once, verified, the same as the original."""

import shutil
import subprocess

import numpy as np
import pytest
import tensorflow as tf

from tests.inputs import tiny
from trainer.models import backbone as backbones
from trainer.models import frozen_backbone, inference_graph
from trainer.process.errors import UserError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return str(tiny.write_backbone(tmp_path_factory.mktemp("backbone")))


def images(backbone, count=3):
    return tf.random.stateless_uniform([count, *backbone.image_size, 3], [3, 4])


def test_it_is_the_backbone_but_for_rounding(saved, tmp_path):
    frozen = frozen_backbone.load(saved, cache_dir=str(tmp_path))
    original = backbones.load(saved, trainable=False, cache_dir=str(tmp_path))
    assert isinstance(frozen, frozen_backbone.FrozenBackbone)
    for name in ("digest", "image_size", "value_range", "num_features", "num_params"):
        assert getattr(frozen, name) == getattr(original, name)
    np.testing.assert_allclose(
        frozen(images(frozen)), original(images(frozen)), rtol=1e-4, atol=1e-6
    )


def test_it_is_folded_once(saved, tmp_path, monkeypatch):
    first = frozen_backbone.load(saved, cache_dir=str(tmp_path))
    expected = first(images(first)).numpy()
    monkeypatch.setattr(inference_graph, "fold", None)  # a call of it would fail
    again = frozen_backbone.load(saved, cache_dir=str(tmp_path))
    np.testing.assert_array_equal(again(images(again)).numpy(), expected)


def flipped(content):
    return content[:20] + bytes([content[20] ^ 255]) + content[21:]


# What is verified of an artifact, tests/storage/artifacts_test.py asks.
DAMAGES = {
    "nothing": {},
    "graph flipped": {"graph.pb": flipped},
    "graph of another": {"graph.pb": "another"},
    "facts flipped": {"MANIFEST.json": flipped},
    "facts of another": {"MANIFEST.json": "another"},
    "facts gone": {"MANIFEST.json": None},
    "both of another": {"graph.pb": "another", "MANIFEST.json": "another"},
    "both gone": {"graph.pb": None, "MANIFEST.json": None},
}


def facts(frozen):
    return [getattr(frozen, name) for name in ("digest", *frozen_backbone._FACTS)]


def verify(directory, changes, another):
    for file, change in changes.items():
        path = directory / file
        if change is None:
            path.unlink()
        elif change == "another":
            shutil.copyfile(another / file, path)
        else:
            path.write_bytes(change(path.read_bytes()))


@pytest.fixture(scope="module")
def another(saved, tmp_path_factory):
    """What is kept of the model for another range of values: the same shapes, other features."""
    cache = tmp_path_factory.mktemp("another")
    frozen_backbone.load(saved, value_range=(-1.0, 1.0), cache_dir=str(cache))
    (directory,) = cache.glob("frozen-*")
    return directory


@pytest.fixture(scope="module")
def sound(saved, tmp_path_factory):
    """A cache, and what is loaded from it."""
    cache = tmp_path_factory.mktemp("sound")
    return cache, frozen_backbone.load(saved, cache_dir=str(cache))


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore:.*rebuilding it")
@pytest.mark.parametrize("what", DAMAGES)
def test_what_is_damaged_is_made_anew(saved, sound, another, tmp_path, monkeypatch, what):
    frozen = sound[1]
    cache = shutil.copytree(sound[0], tmp_path / "cache")
    (directory,) = cache.glob("frozen-*")
    verify(directory, DAMAGES[what], another)
    again = frozen_backbone.load(saved, cache_dir=str(cache))
    assert facts(again) == facts(frozen)
    np.testing.assert_array_equal(again(images(frozen)), frozen(images(frozen)))
    monkeypatch.setattr(inference_graph, "fold", None)  # a call of it would fail
    assert facts(frozen_backbone.load(saved, cache_dir=str(cache))) == facts(frozen)


@pytest.fixture
def read_only():
    """Makes a directory one that can only be read; skips where this process may not mount."""
    mounted = []

    def make(directory):
        for options in (["--bind", directory, directory], ["-o", "remount,bind,ro", directory]):
            if subprocess.run(["mount", *options], capture_output=True).returncode:
                pytest.skip("this process may not mount a directory to be read only")
            mounted.append(directory)

    yield make
    for directory in mounted[:1]:
        subprocess.run(["umount", directory], check=True)


@pytest.mark.integration
@pytest.mark.parametrize("what", ["graph flipped", "facts gone", "both of another"])
@pytest.mark.parametrize("is_prepared", [False, True])
def test_what_is_damaged_and_can_only_be_read_is_left_alone(
    saved, sound, another, tmp_path, monkeypatch, read_only, what, is_prepared
):
    frozen = sound[1]
    kept = shutil.copytree(sound[0], tmp_path / "kept")
    (directory,) = kept.glob("frozen-*")
    verify(directory, DAMAGES[what], another)
    before = {path: path.read_bytes() for path in directory.iterdir()}
    cache = tmp_path / "cache" if is_prepared else kept
    if is_prepared:
        monkeypatch.setenv("GRAFT_PREPARED_DIR", str(kept))
    else:
        read_only(kept)
    with pytest.warns(UserWarning, match="; rebuilding it$"):
        again = frozen_backbone.load(saved, cache_dir=str(cache))
    assert facts(again) == facts(frozen)
    np.testing.assert_array_equal(again(images(frozen)), frozen(images(frozen)))
    assert {path: path.read_bytes() for path in directory.iterdir()} == before
    assert len([*cache.glob("frozen-*")]) == 1


def test_another_size_or_range_is_another_file(saved, tmp_path):
    for options in ({}, {"image_size": 32}, {"value_range": (-1.0, 1.0)}):
        frozen_backbone.load(saved, cache_dir=str(tmp_path), **options)
    assert len(list(tmp_path.glob("frozen-*"))) == 3


def test_what_cannot_be_folded_runs_as_it_came(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(inference_graph, "fold", lambda backbone: None)
    loaded = frozen_backbone.load(saved, cache_dir=str(tmp_path))
    assert isinstance(loaded, backbones.Backbone)
    assert loaded.trainable_variables == ()
    assert not list(tmp_path.glob("frozen-*"))


def test_what_is_no_backbone_is_refused(tmp_path):
    with pytest.raises(UserError, match=f"--backbone={tmp_path}/none"):
        frozen_backbone.load(f"{tmp_path}/none", cache_dir=str(tmp_path))
