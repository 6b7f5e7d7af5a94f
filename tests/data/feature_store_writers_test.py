"""Parts of features where several write, and where nothing more can be written."""

import os
import subprocess
import sys

import pytest

from tests.data.feature_store_test import ROWS, WIDTH, assert_equal, part
from trainer.data.feature_store import FeatureStore
from trainer.process.errors import UserError

pytestmark = pytest.mark.integration

WRITER = """
import sys, time
from tests.data.feature_store_test import part
from trainer.data.feature_store import FeatureStore
store = FeatureStore(sys.argv[1], 16)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(5):
    for number in range(16):
        store.write(number, part(number + int(sys.argv[2]) * (number % 2)))
"""


def leave_data_behind(store):
    """What a run leaves that is killed before the manifests, two days ago: one writer's data."""
    for number in range(16):
        store.write(number, part(number))
        path = store.data_path(number)
        os.utime(path, (os.stat(path).st_mtime - 2 * 86_400,) * 2)
        os.unlink(f"{store.directory}/part-{number:05d}-of-00016.json")


@pytest.mark.parametrize("sweeps", [False, True])
def test_two_writers_at_once_do_no_harm_nor_does_who_sweeps(sweeps, tmp_path):
    directory = str(tmp_path / "320-abc")
    if sweeps:
        leave_data_behind(FeatureStore(directory, 16))
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, directory, str(100 * i)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    store = FeatureStore(directory, 16)
    num_read = 0
    # At every moment a part is absent, one writer's or the other's: never a mixture.
    while any(writer.poll() is None for writer in writers):
        if sweeps:
            store.prepare({}, "feature_cache")
        for number in range(16):
            found, problem = store.read(number, ROWS, WIDTH)
            assert problem == ""
            num_read += found is not None
    assert [writer.wait(60) for writer in writers] == [0, 0]
    for writer in writers:
        writer.communicate()
    assert num_read > 0
    for number in range(16):
        found, problem = store.read(number, ROWS, WIDTH)
        assert problem == ""
        assert found is not None
        # Even ones are the same from both, odd ones differ.
        seeds = {number, number + 100 * (number % 2)}
        assert found.features.tobytes() in {part(seed).features.tobytes() for seed in seeds}
    assert not [name for name in os.listdir(directory) if name.startswith(".partial")]


FULL = """
import resource, signal, sys
from tests.data.feature_store_test import part
from trainer.data.feature_store import FeatureStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = FeatureStore(sys.argv[1], 2)
store.write(0, part(0, rows=100))
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
try:
    store.write(1, part(1, rows=100))
finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
"""


def test_a_file_that_cannot_be_written_names_the_path_and_its_bytes(tmp_path):
    """With a limit on the size of files, which any user can set; the mount below needs root."""
    store = FeatureStore(str(tmp_path / "200-abc"), 2)
    process = subprocess.run(
        [sys.executable, "-c", FULL, store.directory], capture_output=True, text=True
    )
    last = process.stderr.splitlines()[-1]
    assert last.startswith(
        f"trainer.process.errors.UserError: {store.directory}/part-00001-of-00002."
    )
    assert last.endswith("File too large; it needs 1,200 bytes")
    assert_equal(store.read(0, 100, WIDTH)[0], part(0, rows=100))
    assert store.read(1, 100, WIDTH) == (None, "")
    assert len(os.listdir(store.directory)) == 2


def write_all(store):
    for number in range(store.num_parts):
        store.write(number, part(number, rows=1000))


def test_a_full_disk_keeps_the_committed_parts(small_disk):
    store = FeatureStore(str(small_disk / "9-abc"), 9)
    with pytest.raises(UserError, match="No space left on device; it needs 9,442") as caught:
        write_all(store)
    assert str(caught.value).startswith(f"{store.directory}/part-0000")
    found = [store.read(number, 1000, WIDTH) for number in range(9)]
    num_committed = sum(one is not None for one, _ in found)
    assert 1 <= num_committed <= 4
    for number, (one, problem) in enumerate(found):
        assert (one is None) == (number >= num_committed)
        assert problem == ""
        if one is not None:
            assert_equal(one, part(number, rows=1000))
