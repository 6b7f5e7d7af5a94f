"""Features in a bucket, on the emulator: committed part by part, verified, shared."""

import numpy as np

from trainer.data.feature_store import FeatureShard, FeatureStore
from trainer.storage import api as storage

DIRECTORY = "gs://bucket/features/30-abc"


def part(seed):
    features = np.random.default_rng(seed).normal(size=(5, 3)).astype(np.float32)
    return FeatureShard(features, np.arange(5) % 3, {2: ("rot/größe 1.png", "an empty file")})


def test_what_is_written_is_read_and_nothing_else(gcs):
    storage.ensure_directory(DIRECTORY, "feature_cache")
    FeatureStore(DIRECTORY, 2).write(1, part(1))
    reader = FeatureStore(DIRECTORY, 2)
    found, problem = reader.read(1, 5, 3)
    assert problem == ""
    assert found is not None
    np.testing.assert_array_equal(found.features, part(1).features)
    assert found.labels.tolist() == [0, 1, 2, 0, 1]
    assert found.bad_images == part(1).bad_images
    assert reader.read(0, 5, 3) == (None, "")


def test_a_damaged_object_is_named(gcs):
    store = FeatureStore(DIRECTORY, 1)
    store.write(0, part(1))
    path = store.data_path(0)
    content = bytearray(storage.read_bytes(path))
    content[7] ^= 1
    storage.write_atomically(path, bytes(content))
    found, problem = store.read(0, 5, 3)
    assert found is None
    assert path in problem
    assert "checksum" in problem
