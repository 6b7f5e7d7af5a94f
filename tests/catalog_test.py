import os
import re

import pytest

from tests import tiny
from trainer.config import Config
from trainer.data.catalog import open_source
from trainer.data.source import ListedSource
from trainer.data.tfds_source import TfdsSource
from trainer.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    tiny.write_beans(root, num_shards=1)
    tiny.write_folder(root / "folder", train=2, validation=1)
    rows = "training,folder/train/red/000.png,r\ntraining,folder/train/blue/000.png,b\n"
    (root / "list.csv").write_text(rows)
    (root / "notes.txt").write_text("")
    os.mkdir(root / "empty")
    return root


@pytest.mark.parametrize(
    ("dataset", "kind", "class_names"),
    [
        ("{root}/beans/0.1.0", TfdsSource, tiny.BEANS),
        ("{root}/beans", TfdsSource, tiny.BEANS),
        ("beans", TfdsSource, tiny.BEANS),
        ("{root}/folder", ListedSource, ("blue", "green", "red")),
        ("{root}/folder/", ListedSource, ("blue", "green", "red")),
        ("{root}/list.csv", ListedSource, ("b", "r")),
    ],
)
def test_what_a_dataset_may_be(root, dataset, kind, class_names):
    dataset = dataset.format(root=root)
    source = open_source(Config(workdir="w", dataset=dataset, data_dir=str(root)))
    assert type(source) is kind
    assert source.class_names == class_names
    assert source.name == f"--dataset={dataset}"


def test_leaves(cache_dir, leaves_dir):
    source = open_source(Config(workdir="w", cache_dir=cache_dir))
    assert source.class_names == ("angular_leaf_spot", "bean_rust", "healthy")
    sizes = [source.num_examples(split) for split in ("train", "validation", "test")]
    assert sizes == [1034, 133, 128]


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        ("{root}/absent.csv", ": there is no such file"),
        ("{root}/absent.jsonl", ": there is no such file"),
        ("{root}/absent", ": must be a directory, a .csv or .jsonl import file, or a TFDS name"),
        ("{root}/notes.txt", ": must be a directory, a .csv or .jsonl import file, or a TFDS name"),
        ("~/pictures", ": must be a directory, a .csv or .jsonl import file, or a TFDS name"),
        ("{root}/empty", ": no images; expected"),
        ("no_such_name", ": neither a file or directory nor a data set that TFDS knows"),
    ],
)
def test_refusals(root, dataset, message):
    dataset = dataset.format(root=root)
    with pytest.raises(UserError, match=re.escape(f"--dataset={dataset}{message}")):
        open_source(Config(workdir="w", dataset=dataset, data_dir=str(root)))
