"""Directories of a cache: made once, verified, made anew where damaged, swept by age."""

import os
import threading
from pathlib import Path

import pytest

from tests.inputs import tiny
from trainer.process.errors import UserError
from trainer.storage import api as storage
from trainer.storage import artifacts

NAME = "model-12ab"
FILES = {"a.bin": b"123456789", "sub/b.txt": b"", "sub/MANIFEST.json": b"its own"}


def write(directory):
    tiny.write_files(Path(directory), FILES)
    return {"width": 3}


def made(root, name=NAME, make=write, **options):
    return artifacts.get_or_create(str(root), name, make, **options)


def names(directory):
    return sorted(path.name for path in Path(directory).iterdir())


def test_what_is_made_is_found_with_its_facts_and_not_made_again(tmp_path):
    path, facts = made(tmp_path / "cache")
    assert path == str(tmp_path / "cache" / NAME)
    assert facts == {"width": 3, "name": NAME}
    assert storage.read_manifest(path) == storage.Manifest(
        # e3069283 is CRC-32C's check value: https://reveng.sourceforge.io/crc-catalogue/
        files={
            "a.bin": {"size": 9, "crc32c": "e3069283"},
            "sub/MANIFEST.json": {"size": 7, "crc32c": "7d327fad"},
            "sub/b.txt": {"size": 0, "crc32c": "00000000"},
        },
        facts=facts,
    )
    assert {name: Path(path, name).read_bytes() for name in FILES} == FILES
    assert made(tmp_path / "cache", make=None, is_checked=True) == (path, facts)
    assert names(tmp_path / "cache") == [NAME]


@pytest.mark.parametrize("file", ["MANIFEST.json", os.fsdecode(b"gr\xf6\xdfe 1")])
def test_files_of_any_name(file, tmp_path):
    """A manifest gives way to the artifact's; other names, as of an archive, may be any bytes."""
    path, facts = made(tmp_path, make=lambda to: Path(to, file).write_bytes(b"1") and {})
    assert made(tmp_path, make=None, is_checked=True) == (path, facts)


def test_everything_is_flushed_before_it_is_there(tmp_path, monkeypatch):
    flushed = []

    def noted(descriptor):
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        flushed.append((os.path.basename(path), (tmp_path / NAME).exists()))
        fsync(descriptor)

    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", noted)
    made(tmp_path)
    of_all = ["MANIFEST.json", "MANIFEST.json", "a.bin", "b.txt", NAME, "sub"]
    assert sorted(flushed[:-1]) == [(name, False) for name in of_all]
    assert flushed[-1] == (tmp_path.name, True)


def flip(path):
    content = bytearray(path.read_bytes())
    content[4] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-2])


DAMAGES = [
    ("a.bin", cut, "{path}/a.bin: 7 bytes instead of 9"),
    ("a.bin", Path.unlink, "{path}/a.bin: No such file or directory"),
    ("MANIFEST.json", cut, "{path}: has no valid MANIFEST.json"),
    ("MANIFEST.json", flip, "{path}: has no valid MANIFEST.json"),
    ("MANIFEST.json", lambda path: path.write_bytes(b""), "{path}: has no valid MANIFEST.json"),
    ("MANIFEST.json", lambda path: path.write_bytes(b"[" * 10**5), "{path}: has no valid MANIF"),
]
CHECKED = [
    ("a.bin", flip, "{path}/a.bin: checksum mismatch"),
    ("MANIFEST.json", Path.unlink, "{path}: has no valid MANIFEST.json"),
]


@pytest.mark.parametrize(
    ("file", "damage", "words", "is_checked"),
    [(*row, is_checked) for row in DAMAGES for is_checked in (False, True)]
    + [(*row, True) for row in CHECKED],
)
def test_what_is_damaged_is_named_and_made_anew(file, damage, words, is_checked, tmp_path):
    path, facts = made(tmp_path)
    damage(Path(path, file))
    with pytest.warns(UserWarning, match="; rebuilding it$") as caught:
        assert made(tmp_path, is_checked=is_checked) == (path, facts)
    (message,) = (str(warning.message) for warning in caught)
    assert message.startswith(words.format(path=path))
    assert {name: Path(path, name).read_bytes() for name in FILES} == FILES
    assert made(tmp_path, make=None, is_checked=True) == (path, facts)
    assert names(tmp_path) == [NAME]


def test_where_sizes_are_enough_no_file_is_read(tmp_path):
    path, facts = made(tmp_path)
    flip(Path(path, "a.bin"))
    assert made(tmp_path, make=None) == (path, facts)


def test_another_artifact_in_its_place_is_seen(tmp_path):
    other, _ = made(tmp_path, "model-34cd", lambda directory: {"width": 4})
    os.rename(other, tmp_path / NAME)
    with pytest.warns(UserWarning, match="has no valid MANIFEST.json"):
        assert made(tmp_path)[1] == {"width": 3, "name": NAME}


def test_what_an_earlier_version_left_is_taken_as_it_is(tmp_path):
    tiny.write_files(tmp_path / NAME, FILES)
    assert made(tmp_path, make=None) == (str(tmp_path / NAME), {})


def at_once(function, count=2):
    """What `count` threads return that call a function with their number."""
    found = {}
    threads = [
        threading.Thread(target=lambda n=n: found.update({n: function(n)})) for n in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[n] for n in range(count)]


@pytest.mark.parametrize("is_damaged", [False, True])
@pytest.mark.filterwarnings("ignore:.*rebuilding it")
def test_of_two_makers_at_once_both_succeed_and_one_wins(is_damaged, tmp_path):
    if is_damaged:
        Path(made(tmp_path)[0], "a.bin").unlink()
    both, first = threading.Barrier(2), threading.Event()

    def make(number):
        def write(directory):
            Path(directory, "a.bin").write_bytes(b"%d" % number)
            both.wait(60)  # neither has moved it yet
            assert number == 0 or first.wait(60)

        found = made(tmp_path, make=write)
        first.set()
        return found

    path = str(tmp_path / NAME)
    assert at_once(make) == [(path, {"name": NAME})] * 2
    assert Path(path, "a.bin").read_bytes() == b"0"
    assert made(tmp_path, make=None, is_checked=True) == (path, {"name": NAME})
    assert names(tmp_path) == [NAME]


def test_who_waits_takes_what_the_other_makes(tmp_path):
    makers = []
    both = threading.Barrier(2)

    def make(number):
        both.wait(60)
        return made(tmp_path, make=lambda directory: makers.append(number), waits=True)

    assert at_once(make) == [(str(tmp_path / NAME), {"name": NAME})] * 2
    assert len(makers) == 1
    assert names(tmp_path) == [NAME]


def test_a_prepared_cache_is_read_first_and_never_written(tmp_path, monkeypatch):
    prepared, cache = tmp_path / "prepared", tmp_path / "cache"
    path, _ = made(prepared)
    monkeypatch.setenv("GRAFT_PREPARED_DIR", str(prepared))
    assert made(cache, make=None)[0] == path
    assert not cache.exists()
    assert made(cache, "other")[0] == str(cache / "other")
    cut(Path(path, "a.bin"))
    with pytest.warns(UserWarning, match=f"{path}/a.bin: 7 bytes instead of 9"):
        assert made(cache)[0] == str(cache / NAME)
    assert names(prepared) == [NAME]
    assert Path(path, "a.bin").read_bytes() == b"1234567"


def refusal(cache, make=write, **options):
    with pytest.raises(UserError) as caught:
        made(cache, make=make, **options)
    return str(caught.value)


@pytest.mark.parametrize("waits", [False, True])
def test_a_cache_that_cannot_be_made_is_named(waits, tmp_path):
    (tmp_path / "file").touch()
    cache = tmp_path / "file" / "cache"
    assert refusal(cache, waits=waits).startswith(
        f"--cache_dir={cache}: must be a directory that can be written to, to keep models and data "
        "in ("
    )


@pytest.mark.parametrize("kind", ["file", "broken link"])
def test_what_is_in_the_way_is_named_before_anything_is_made(tmp_path, kind):
    path = tmp_path / NAME
    path.touch() if kind == "file" else path.symlink_to("nowhere")
    assert refusal(tmp_path, make=None) == (
        f"--cache_dir={tmp_path}: {path} must be a directory, or not exist; remove it"
    )
    assert names(tmp_path) == [NAME]


@pytest.mark.integration
def test_a_full_disk_is_named_with_the_flag(small_disk):
    def large(directory):
        Path(directory, "file").write_bytes(bytes(2**17))

    assert refusal(small_disk, large) == (
        f"--cache_dir={small_disk}: no space is left for {small_disk}/{NAME}; free some, or name "
        "another directory"
    )
    assert names(small_disk) == []


def test_other_failures_stay_what_they_are(tmp_path):
    def fail(directory):
        raise OSError("of the model")

    with pytest.raises(OSError, match="of the model"):
        made(tmp_path, make=fail)
    assert names(tmp_path) == []
