"""Directories of models in the cache: read where they are prepared, refused where none can be."""

import pathlib

import pytest
import tensorflow as tf

from trainer.models import handles, model_cache
from trainer.process.errors import UserError


def write(directory):
    pathlib.Path(directory, "file").write_text("written")


def test_a_prepared_cache_is_read_first_and_never_written(tmp_path, monkeypatch):
    prepared, cache = tmp_path / "prepared", tmp_path / "cache"
    (prepared / "model").mkdir(parents=True)
    monkeypatch.setenv("GRAFT_PREPARED_DIR", str(prepared))

    assert model_cache.cached(str(cache), "model", write) == str(prepared / "model")
    assert not cache.exists()
    assert model_cache.cached(str(cache), "other", write) == str(cache / "other")
    # What is prepared may be damaged.
    assert model_cache.cached(str(cache), "model", write, use_prepared=False) == str(
        cache / "model"
    )
    assert [path.name for path in prepared.rglob("*")] == ["model"]


def refusal(cache, write=write):
    with pytest.raises(UserError) as caught:
        model_cache.cached(str(cache), "model", write)
    return str(caught.value)


def test_a_cache_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    cache = tmp_path / "file" / "cache"
    assert refusal(cache).startswith(
        f"--cache_dir={cache}: must be a directory that can be written to, to keep models in ("
    )


@pytest.mark.parametrize("kind", ["file", "broken link"])
def test_what_is_in_the_way_is_named_before_anything_is_made(tmp_path, kind):
    path = tmp_path / "model"
    path.touch() if kind == "file" else path.symlink_to("nowhere")
    assert refusal(tmp_path, write=None) == (
        f"--cache_dir={tmp_path}: {path} must be a directory, or not be there; remove it"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def large(directory):
    pathlib.Path(directory, "file").write_bytes(bytes(2**17))


def large_by_tensorflow(directory):
    tf.io.write_file(f"{directory}/file", "a" * 2**17)


@pytest.mark.integration
@pytest.mark.parametrize("write", [large, large_by_tensorflow, handles._write_embedded])
def test_a_full_disk_is_named_with_the_flag(small_disk, write):
    assert refusal(small_disk, write) == (
        f"--cache_dir={small_disk}: no room is left for {small_disk}/model; make some, or name "
        "another directory"
    )
    assert list(small_disk.iterdir()) == []


def test_other_failures_stay_what_they_are(tmp_path):
    def fail(directory):
        raise OSError("of the model")

    with pytest.raises(OSError, match="of the model"):
        model_cache.cached(str(tmp_path), "model", fail)
    assert list(tmp_path.iterdir()) == []
