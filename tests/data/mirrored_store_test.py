"""Parts of features in a bucket, on the emulator, with local copies."""

import threading
from collections import deque
from pathlib import Path

import numpy as np
import pytest

from trainer.data.feature_store import FeatureShard, FeatureStore
from trainer.data.mirrored_store import MirroredStore
from trainer.process.errors import UserError

ROOT = "gs://bucket/features"


def fetched(gcs):
    """Names of the data that were downloaded."""
    targets = [
        r.target for r in gcs.proxy.requests if r.method == "GET" and "alt=media" in r.target
    ]
    names = [target.partition("?")[0].rpartition("%2F")[2] for target in targets]
    return sorted(name for name in names if name.startswith("part-") and ".json" not in name)


def stored(seed, n=5):
    features = np.random.default_rng(seed).normal(size=(n, 3)).astype(np.float32)
    return FeatureShard(features, np.arange(n) % 3, {2: ("rot/größe 1.png", "an empty file")})


def test_the_part_of_the_bucket_counts(gcs, tmp_path):
    store = MirroredStore(f"{ROOT}/10-abc", 2, str(tmp_path))
    store.prepare_copies({}, 120)
    for number in range(2):
        store.write(number, stored(number))
    for seed in (7, 1):  # another run, with other content; and back, which is here already
        FeatureStore(f"{ROOT}/10-abc", 2).write(1, stored(seed))
        found, problem = store.read(1, 5, 3)
        assert problem == ""
        assert found is not None
        np.testing.assert_array_equal(found.features, stored(seed).features)
        assert Path(store.data_path(1)).read_bytes() == stored(seed).features.tobytes()
        assert Path(store.data_path(1)).parent == tmp_path / "10-abc"
    assert MirroredStore(f"{ROOT}/10-abc", 3, str(tmp_path)).read(0, 5, 3) == (None, "")


def test_of_several_processes_of_a_machine_one_fetches(gcs, tmp_path):
    remote = FeatureStore(f"{ROOT}/80-abc", 16)
    for number in range(16):
        remote.write(number, stored(number))
    gcs.proxy.reset()
    found: dict[int, list[FeatureShard | None]] = {}

    def read(worker):
        store = MirroredStore(remote.directory, 16, str(tmp_path))
        store.prepare_copies({}, 16 * 60)
        found[worker] = [store.read(number, 5, 3)[0] for number in range(16)]

    threads = [threading.Thread(target=read, args=[worker]) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for parts in found.values():
        for number, part in enumerate(parts):
            assert part is not None
            np.testing.assert_array_equal(part.features, stored(number).features)
    assert len(found) == 3
    assert len(fetched(gcs)) == 16


def test_a_disk_that_fills_up_meanwhile_is_named(gcs, small_disk):
    remote = FeatureStore(f"{ROOT}/20000-abc", 10)
    for number in range(10):
        remote.write(number, stored(number, n=2000))
    store = MirroredStore(remote.directory, 10, str(small_disk))
    store.prepare_copies({}, 24_000)
    with pytest.raises(
        UserError, match=r"No space left on device; it needs [\d,]+ bytes"
    ) as caught:
        deque(store.read(number, 2000, 3) for number in range(10))
    assert str(caught.value).startswith(f"{small_disk}/20000-abc/part-0000")
