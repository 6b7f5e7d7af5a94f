"""The folded graph of a frozen backbone on disk: made once, verified, the same as the original."""

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from trainer.errors import UserError
from trainer.models import backbone as backbones
from trainer.models import frozen_backbone, inference_graph


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


@pytest.mark.parametrize("file", ["graph.pb", "card.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_file_is_made_anew(saved, tmp_path, file, damage):
    frozen = frozen_backbone.load(saved, cache_dir=str(tmp_path))
    expected = frozen(images(frozen)).numpy()
    (path,) = tmp_path.glob(f"frozen-*/{file}")
    content = path.read_bytes()
    if damage == "remove":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(content[:20] + bytes([content[20] ^ 255]) + content[21:])
    again = frozen_backbone.load(saved, cache_dir=str(tmp_path))
    np.testing.assert_array_equal(again(images(again)), expected)
    assert frozen_backbone._sound_card(str(path.parent)) is not None


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
