import os
import re
from typing import Any

import pytest

from tests.inputs import tiny
from trainer.data.sources.catalog import check_splits, open_source
from trainer.data.sources.listed_source import ListedSource
from trainer.data.sources.tfds_source import TfdsSource
from trainer.process.errors import UserError
from trainer.settings.config import Config


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
        ("{root}/absent", ": no such path; it must be a directory, a .csv or .jsonl import"),
        ("{root}/notes.txt", ": must be a directory, a .csv or .jsonl import file, or a TFDS name"),
        ("~/pictures", ": no such path; it must be a directory, a .csv or .jsonl import"),
        ("{root}/empty", ": no images; expected"),
        ("no_such_name", ": neither a file or directory nor a data set that TFDS knows"),
    ],
)
def test_refusals(root, dataset, message):
    dataset = dataset.format(root=root)
    flag = f"--dataset={os.path.expanduser(dataset)}"
    with pytest.raises(UserError, match=re.escape(flag + message)):
        open_source(Config(workdir="w", dataset=dataset, data_dir=str(root)))


@pytest.mark.parametrize(
    ("flag", "split", "message"),
    [
        (
            "train_split",
            "train[90%",
            " has no split 'train[90%'; it has test, train, validation; a ",
        ),
        ("train_split", "train[abc]", " has no split 'train[abc]'; it has test, train, validation"),
        ("train_split", "", " has no split ''; it has test, train, validation"),
        ("validation_split", "dev", " has no split 'dev'; it has test, train, validation"),
        ("test_split", "test[:200%]", " has no split 'test[:200%]'; it has test, train, valid"),
        ("validation_split", "validation[3:3]", " has no image in it"),
        ("train_split", "train[9:3]", " has no image in it"),
    ],
)
def test_a_split_that_is_not_there_is_named_by_its_flag(root, flag, split, message):
    settings: dict[str, Any] = {"workdir": "w", "dataset": f"{root}/beans", flag: split}
    config = Config(**settings)
    source = open_source(config)
    with pytest.raises(
        UserError, match="^" + re.escape(f"--{flag}={split}: {source.name}{message}")
    ):
        check_splits(source, config)


def test_splits_and_slices_that_are_there(root):
    slices: dict[str, Any] = {"train_split": "train[:90%]", "validation_split": "train[90%:]"}
    for test_split in ("", "test"):
        config = Config(workdir="w", dataset=f"{root}/beans", test_split=test_split, **slices)
        check_splits(open_source(config), config)
