import json
import os
import re
import subprocess
import sys

import pytest

from trainer.data.sources.folder_source import open_folder
from trainer.data.sources.listed_source import split_by_hash
from trainer.process.errors import UserError


def write(root, *paths):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(path.encode())
    return str(root)


def found(source, split):
    """(id, class name, content) of each example of `split`."""
    return sorted(
        (e["id"].decode(), source.class_names[e["label"]], e["encoded"].decode())
        for e in source.examples(split, 0, 1).as_numpy_iterator()
    )


def test_split_directories(tmp_path):
    root = write(
        tmp_path / "größe 1",
        "train/b/1.jpg",
        "train/a/deep/er/2.PNG",
        "train/a/größe zwei.Jpeg",
        "train/a/.hidden.jpg",
        "train/a/.thumbnails/3.jpg",
        "train/a/notes.txt",
        "train/.cache/4.jpg",
        "train/loose.jpg",
        "validation/a/1.jpg",
        "test/b/1.gif",
        ".git/a/1.jpg",
        "README.md",
    )
    source = open_folder(root)
    assert source.name == f"--dataset={root}"
    assert source.class_names == ("a", "b")
    assert found(source, "train") == [
        (f"train/{path}", label, f"train/{path}")
        for path, label in (("a/deep/er/2.PNG", "a"), ("a/größe zwei.Jpeg", "a"), ("b/1.jpg", "b"))
    ]
    assert found(source, "validation") == [("validation/a/1.jpg", "a", "validation/a/1.jpg")]
    assert found(source, "test") == [("test/b/1.gif", "b", "test/b/1.gif")]


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("training", "val", "testing"), ("Train", "VALID", "Test"), ("train", "validation", "test")],
)
def test_split_aliases(tmp_path, train, validation, test):
    paths = [f"{top}/{label}/1.png" for top in (train, validation, test) for label in "ab"]
    source = open_folder(write(tmp_path, *paths))
    for split, top in (("train", train), ("validation", validation), ("test", test)):
        assert [path for path, _, _ in found(source, split)] == [f"{top}/a/1.png", f"{top}/b/1.png"]


def test_without_split_directories_the_split_is_by_hash(tmp_path):
    paths = [f"{label}/{i}.png" for label in ("cat", "dog", "train") for i in range(40)]
    source = open_folder(write(tmp_path / "one", *paths))
    assert source.class_names == ("cat", "dog", "train")
    for split in ("train", "validation"):
        expected = sorted(path for path in paths if split_by_hash(path) == split)
        assert [path for path, _, _ in found(source, split)] == expected
        assert len(expected) > 10
    # Elsewhere, and with more images: what was there stays where it was.
    other = open_folder(write(tmp_path / "two", *paths, *(f"cat/new{i}.png" for i in range(20))))
    for split in ("train", "validation"):
        before = {path for path, _, _ in found(source, split)}
        assert before <= {path for path, _, _ in found(other, split)}


def test_digest_is_of_names_and_labels_not_of_the_place(tmp_path):
    paths = ["train/a/1.png", "train/b/1.png", "validation/a/1.png"]
    one, two = (open_folder(write(tmp_path / name, *paths)) for name in ("one", "two"))
    more = open_folder(write(tmp_path / "three", *paths, "train/b/2.png"))
    assert one.digest == two.digest != more.digest


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "no images; expected <label>/*.jpg or <split>/<label>/*.jpg below it (.bmp, .gif, "),
        (["1.png", "2.png"], "no images; its own are of no class; expected <label>/*.jpg or"),
        (["a/notes.txt", "b/.1.png"], "no images; expected"),
        (["train/a/notes.txt", "validation/a/notes.txt"], "no images; expected"),
        (["a/1.png"], " holds 1 class (a); a classifier needs two"),
        (["train/a/1.png"], " holds 1 class (a); a classifier needs two"),
        (["train/a/1.png", "train/b/notes.txt"], ": class 'b' has no image in the training split"),
        (["a/1.png", "a/2.png", "b/x.txt"], ": class 'b' has no image in the training split"),
        (
            ["train/a/notes.txt", "train/b/x.txt", "val/a/1.png"],
            ": class 'a' has no image in the training split, and some in 'validation'; add",
        ),
        (
            ["train/a/1.png", "train/b/1.png", "validation/c/1.png"],
            ": label 'c' of split 'validation' is not in train",
        ),
        (
            ["train/a/1.png", "train/b/1.png", "val/a/1.png", "validation/a/1.png"],
            ": two directories for the split 'validation': train, val, validation",
        ),
        (["val/a/1.png", "test/a/1.png"], ": no train directory beside test, val"),
    ],
)
def test_refusals(tmp_path, paths, message):
    root = write(tmp_path, *paths)
    with pytest.raises(UserError, match=rf"--dataset={root}:? ?{re.escape(message.lstrip(': '))}"):
        open_folder(root)


def test_a_name_that_is_no_utf8_is_named(tmp_path):
    write(tmp_path, "a/1.png", "b/1.png")
    os.close(os.open(os.fsencode(tmp_path) + b"/a/caf\xe9.png", os.O_CREAT))
    with pytest.raises(UserError, match=r"file names must be UTF-8; .*caf\\xe9"):
        open_folder(str(tmp_path))


READER = """
import json, sys
from trainer.data.sources.folder_source import open_folder
source = open_folder(sys.argv[1])
examples = source.examples("train", 0, 1, shuffle=False).as_numpy_iterator()
print(json.dumps([source.class_names, sorted(e["encoded"].decode() for e in examples)]))
print(source.name)
"""


@pytest.mark.integration
def test_a_c_locale_reads_any_name(tmp_path):
    root = write(tmp_path / "größe 1", "train/äpfel/日本 1.png", "train/b c/é.png")
    process = subprocess.run(
        [sys.executable, "-c", READER, root],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "LANG": "C", "LC_ALL": "C"},
    )
    assert process.returncode == 0, process.stderr
    facts, name = process.stdout.splitlines()
    expected = [["b c", "äpfel"], ["train/b c/é.png", "train/äpfel/日本 1.png"]]
    assert json.loads(facts) == expected
    assert name == f"--dataset={root}"
