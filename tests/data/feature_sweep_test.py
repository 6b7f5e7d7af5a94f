"""What no manifest names is swept from a feature cache, local or in a bucket, once it is old."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.data.feature_store_test import ROWS, WIDTH, assert_equal, part
from tests.inputs.tiny import write_folder
from tests.processes.feature_caches import counts, open_cache
from trainer.data import feature_store
from trainer.data.feature_store import FeatureStore
from trainer.storage import api as storage
from trainer.storage import gcs as gcs_storage

AGE_SECS = 2 * 86_400
DATA = "part-00002-of-00004.0123abcd"


class Place:
    """A directory of features, local or in the bucket, whose files can be made older."""

    def __init__(self, directory, list_versions=None):
        self.store = FeatureStore(directory, 4)
        self._older: dict[str, int] = {}  # in the bucket: which version
        self._list = list_versions

    def put(self, name, content=b"data"):
        storage.write_atomically(storage.join(self.store.directory, name), content)

    def names(self):
        return set(storage.list_names(self.store.directory))

    def age(self, *names, secs=AGE_SECS):
        for name in names:
            if self._list is None:
                path = Path(self.store.directory, name)
                written = path.stat().st_mtime - secs
                os.utime(path, (written, written))
            else:
                self._older[name] = self._list(self.store.directory)[name][1]

    def listed(self, directory):
        """The bucket's list, with the times of what was made older; the emulator keeps its own."""
        assert self._list is not None
        return {
            name: (written - AGE_SECS * (self._older.get(name) == version), version)
            for name, (written, version) in self._list(directory).items()
        }

    def prepare(self):
        self.store.prepare({}, "feature_cache")


@pytest.fixture(params=["local", pytest.param("gs://", marks=pytest.mark.integration)])
def place(request, tmp_path, monkeypatch):
    if request.param == "local":
        return Place(str(tmp_path / "20-abc"))
    gcs = request.getfixturevalue("gcs")

    def changed(message):
        """The emulator does not look at a deletion's condition; a bucket answers 412."""
        asked = re.search("ifGenerationMatch=(\\d+)", message.target)
        if message.method != "DELETE" or not asked:
            return None
        blob = gcs.bucket.get_blob(unquote(message.target.partition("?")[0].partition("/o/")[2]))
        return None if blob is None or blob.generation == int(asked[1]) else "412"

    gcs.proxy.plan = changed
    place = Place("gs://bucket/features/20-abc", gcs_storage.list_versions)
    monkeypatch.setattr(gcs_storage, "list_versions", place.listed)
    return place


def data_name(store, number):
    return os.path.basename(store.data_path(number))


def test_old_orphans_go_young_ones_and_what_is_committed_stay(place):
    store = place.store
    store.write(0, part(0))
    superseded = data_name(store, 0)
    store.write(0, part(7))  # with other content
    store.write(1, part(1))
    old = {superseded, DATA, ".partial-k1ll3d", ".preflight-0123"}
    young = {"part-00003-of-00004.89abcdef", ".partial-alive", "part-00001-of-00004.fedcba98"}
    foreign = {"notes.txt", "part-00002-of-00004.txt", "part-2.0123abcd", "deeper"}
    for name in old - {superseded} | young | foreign - {"deeper"}:
        place.put(name)
    place.put(f"deeper/{DATA}")
    committed = {f"part-0000{n}-of-00004.json" for n in range(2)}
    committed |= {data_name(store, n) for n in range(2)}
    place.age(*old, *committed, *foreign - {"deeper"})
    place.prepare()
    assert place.names() == young | foreign | committed | {"facts.json"}
    assert_equal(store.read(0, ROWS, WIDTH)[0], part(7))
    assert_equal(store.read(1, ROWS, WIDTH)[0], part(1))
    place.prepare()
    assert place.names() == young | foreign | committed | {"facts.json"}


def test_under_a_day_is_young(place, monkeypatch):
    place.put(DATA)
    place.prepare()
    assert DATA in place.names()
    monkeypatch.setattr(feature_store, "_ABANDONED_SECS", 0.0)
    place.prepare()
    assert place.names() == {"facts.json"}


@pytest.mark.parametrize(("hours", "stays"), [(23.9, True), (24.1, False)])
def test_the_clock_is_that_of_the_files(hours, stays, tmp_path, monkeypatch):
    place = Place(str(tmp_path / "20-abc"))
    place.put(DATA)
    place.age(DATA, secs=hours * 3600)
    monkeypatch.setattr("time.time", lambda: 0.0)
    place.prepare()
    assert (DATA in place.names()) is stays


@pytest.mark.parametrize("count", [1, 2])
def test_what_a_damaged_manifest_may_name_stays(count, place):
    names = {f"part-00002-of-00004.{n}123abcd" for n in range(count)}
    for name in names:
        place.put(name)
    place.put("part-00002-of-00004.json", b"{")
    place.age(*names)
    place.prepare()
    assert names < place.names()


def test_what_a_writer_takes_up_again_while_it_is_swept_stays(place, monkeypatch):
    """A killed run left a part's data; another commits the same part as this one removes them."""
    store, remove = place.store, storage.remove_version
    store.write(0, part(0))
    name = data_name(store, 0)
    remove_file = gcs_storage.remove_file if storage.is_remote(store.directory) else os.unlink
    remove_file(storage.join(store.directory, "part-00000-of-00004.json"))
    place.age(name)
    removed = []

    def remove_late(path, version):
        FeatureStore(store.directory, 4).write(0, part(0))
        removed.append(os.path.basename(path))
        remove(path, version)

    monkeypatch.setattr(storage, "remove_version", remove_late)
    place.prepare()
    assert removed == [name]
    assert_equal(store.read(0, ROWS, WIDTH)[0], part(0))


def test_two_sweep_at_once(place, monkeypatch):
    place.put(DATA)
    place.age(DATA)
    remove = storage.remove_version

    def remove_twice(path, version):
        remove(path, version)
        remove(path, version)

    monkeypatch.setattr(storage, "remove_version", remove_twice)
    place.prepare()
    assert place.names() == {"facts.json"}


KILLED = """
import os, signal, sys
from tests.data.feature_store_test import part
from trainer.storage import api as storage
from trainer.data.feature_store import FeatureStore
def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "manifest":
    write = storage.write_atomically
    storage.write_atomically = lambda path, x: kill() if path.endswith(".json") else write(path, x)
else:
    os.replace = kill
FeatureStore(sys.argv[1], 4).write(2, part(2))
"""


@pytest.mark.integration
@pytest.mark.parametrize("moment", ["manifest", "rename"])
def test_what_a_killed_process_leaves_goes_a_day_later(moment, tmp_path):
    place = Place(str(tmp_path / "20-abc"))
    command = [sys.executable, "-c", KILLED, place.store.directory, moment]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    (left,) = place.names()
    assert left.startswith("part-00002-of-00004." if moment == "manifest" else ".partial-")
    place.prepare()
    assert left in place.names()
    place.age(left)
    place.prepare()
    assert place.names() == {"facts.json"}


@pytest.mark.integration
def test_a_cache_is_swept_where_something_is_missing_and_only_there(tmp_path):
    folder = write_folder(tmp_path / "data", train=17, validation=3)
    open_cache(tmp_path / "cache", folder).table("train", 0, "float32")
    (directory,) = (tmp_path / "cache").iterdir()
    place = Place(str(directory))
    orphan = "part-00003-of-00008.0123abcd"
    place.put(orphan)
    place.age(*place.names())
    before = place.names()
    whole = open_cache(tmp_path / "cache", folder)
    whole.table("train", 0, "float32")
    assert place.names() == before
    (directory / "part-00005-of-00008.json").unlink()
    filled = open_cache(tmp_path / "cache", folder)
    filled.table("train", 0, "float32")
    assert counts(whole) + counts(filled) == [(8, 0), (7, 1)]
    assert place.names() == before - {orphan}


def test_a_bucket_is_not_listed_where_nothing_is_missing(gcs, tmp_path):
    folder = write_folder(tmp_path / "data", train=17, validation=3)
    for lists in (2, 0):  # whether it may be written to, and the sweep
        gcs.proxy.reset()
        open_cache("gs://bucket/features", folder).table("train", 0, "float32")
        assert gcs.proxy.count("GET", matching="/o?") == lists
