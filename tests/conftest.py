"""What several test files share and is slow to make."""

import pytest

from tests import tiny
from trainer import flags


@pytest.fixture(scope="session")
def cache_dir():
    """Where embedded data and backbones are prepared, as for a user: once for all runs."""
    return flags.default_cache_dir()


@pytest.fixture(scope="session")
def leaves_dir(cache_dir):
    """The embedded data set, prepared."""
    from trainer.data import leaves

    return leaves.prepare(cache_dir)


@pytest.fixture(scope="session")
def beans_data_dir(tmp_path_factory):
    """Where TFDS has `beans` prepared, of tiny pictures in several shards; not to be changed."""
    root = tmp_path_factory.mktemp("größe 1")
    tiny.write_beans(root, num_shards=3)
    return root
