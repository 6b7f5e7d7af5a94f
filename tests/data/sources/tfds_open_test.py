import json
import os
import re
import shutil
import subprocess
import sys
import time
from typing import Any

import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.inputs import tiny
from tests.processes.commands import script
from trainer.data.sources.tfds_open import is_prepared, open_named, open_prepared
from trainer.process.errors import UserError

BUFFER = 16


@pytest.fixture(scope="module")
def prepared(beans_data_dir):
    return beans_data_dir / "beans" / "0.1.0"


@pytest.fixture(scope="module")
def source(prepared):
    return open_prepared(str(prepared), BUFFER)


def rows(source, split):
    return [
        (e["id"].decode(), e["encoded"], int(e["label"]))
        for e in source.examples(split, 0, 1, shuffle=False).as_numpy_iterator()
    ]


def test_every_way_to_the_same_data(beans_data_dir, prepared, source):
    ways = [
        open_prepared(str(prepared) + "/", BUFFER),
        open_prepared(str(prepared.parent), BUFFER),
        open_named("beans", str(beans_data_dir), BUFFER),  # the seed's case
        open_named("beans:0.1.0", str(beans_data_dir), BUFFER),
    ]
    assert source.class_names == tiny.BEANS
    for way in ways:
        assert way.class_names == tiny.BEANS
        assert way.digest == source.digest
        assert rows(way, "validation") == rows(source, "validation")
    assert sorted(os.listdir(beans_data_dir)) == ["beans", "downloads"]


def test_digest_names_the_content(tmp_path, prepared, source):
    copy = tmp_path / "copy"
    shutil.copytree(prepared, copy)
    assert open_prepared(str(copy), BUFFER).digest == source.digest
    info = json.loads((copy / "dataset_info.json").read_text())
    info["splits"][0]["numBytes"] = str(int(info["splits"][0]["numBytes"]) + 1)
    (copy / "dataset_info.json").write_text(json.dumps(info))
    assert open_prepared(str(copy), BUFFER).digest != source.digest


def test_is_prepared(beans_data_dir, prepared):
    assert is_prepared(str(prepared))
    assert is_prepared(str(prepared.parent))
    assert not is_prepared(str(beans_data_dir))


def test_two_versions_are_refused(tmp_path, prepared):
    for version in ("0.1.0", "0.2.0"):
        shutil.copytree(prepared, tmp_path / version)
    assert is_prepared(str(tmp_path))
    message = rf"--dataset={tmp_path}: not readable .* one version below it, has 0\.1\.0, 0\.2\.0"
    with pytest.raises(UserError, match=message):
        open_prepared(str(tmp_path), BUFFER)


def write_metadata(directory, features, **options):
    template = tfds.core.ShardedFileTemplate(
        data_dir=directory, dataset_name="odd", split="train", filetype_suffix="tfrecord"
    )
    directory.mkdir()
    tf.io.TFRecordWriter(str(template.sharded_filepath(shard_index=0, num_shards=1))).close()
    tfds.folder_dataset.write_metadata(
        data_dir=str(directory),
        features=tfds.features.FeaturesDict(features),
        split_infos=[
            tfds.core.SplitInfo(
                name="train", shard_lengths=[0], num_bytes=0, filename_template=template
            )
        ],
        version="1.0.0",
        check_data=False,
        **options,
    )
    return str(directory)


IMAGE = {"image": tfds.features.Image(shape=(None, None, 3))}
TWO_LABELS = {
    "coarse": tfds.features.ClassLabel(names=["a", "b"]),
    "fine": tfds.features.ClassLabel(names=["c", "d", "e"]),
}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (
            {**IMAGE, "text": tfds.features.Text()},
            r"must have one Image and one ClassLabel .*; it has .*text \(Text\)",
        ),
        ({**IMAGE, **TWO_LABELS}, "must have one Image and one ClassLabel among its features"),
        ({**IMAGE, "label": tfds.features.ClassLabel(names=["a"])}, "holds 1 class; a classifier"),
    ],
)
def test_other_features_are_refused(tmp_path, features, message):
    with pytest.raises(UserError, match=message):
        open_prepared(write_metadata(tmp_path / "odd", features), BUFFER)


def test_supervised_keys_choose_among_labels(tmp_path):
    directory = write_metadata(
        tmp_path / "odd", {**IMAGE, **TWO_LABELS}, supervised_keys=("image", "fine")
    )
    assert open_prepared(directory, BUFFER).class_names == ("c", "d", "e")


def test_what_is_no_tfds_directory_is_refused(tmp_path):
    (tmp_path / "dataset_info.json").write_text("{")
    with pytest.raises(UserError, match=f"--dataset={tmp_path}: not readable as a TFDS directory"):
        open_prepared(str(tmp_path), BUFFER)


@pytest.mark.parametrize("name", ["no_such_data", "Not a name!", "beans:9.9.9"])
def test_an_unknown_name_is_refused(tmp_path, name):
    message = re.escape(f"--dataset={name}: neither a file or directory nor a data set that TFDS")
    with pytest.raises(UserError, match=message):
        open_named(name, str(tmp_path), BUFFER)
    assert os.listdir(tmp_path) == []


OFFLINE = """
import socket, sys
from trainer.data.sources.tfds_open import open_named
from trainer.process.errors import UserError
def refuse(*arguments, **options):
    raise socket.gaierror(-2, "Name or service not known")
socket.getaddrinfo = refuse
try:
    open_named("beans", sys.argv[1], 16)
except UserError as error:
    print(error)
"""


@pytest.mark.integration
def test_not_prepared_and_no_network(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    began = time.monotonic()
    process = script(OFFLINE, tmp_path / "new")
    assert process.stdout == (
        "--dataset=beans: TFDS could not download and prepare it in "
        f"{tmp_path}/new/beans/0.1.0 (ConnectionError: storage.googleapis.com cannot be reached: "
        "Name or service not known); prepare it where there is a network and name the directory "
        "with --data_dir\n"
    ), process.stderr
    assert time.monotonic() - began < 60  # TFDS by itself takes minutes
    assert os.listdir(tmp_path) == []


PREPARER = """
import io, os, sys, time
import tensorflow_datasets as tfds
from PIL import Image
from trainer.data.sources.tfds_open import open_named

class SlowDots(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")
    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["a", "b"])}))
    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}
    def _generate_examples(self):
        with open(sys.argv[2], "a") as log:
            log.write("generated\\n")
        while len(os.listdir(sys.argv[3])) < 2:
            time.sleep(0.01)
        time.sleep(0.3)  # the other process has come: it takes no longer to the lock
        for i in range(4):
            encoded = io.BytesIO()
            Image.new("RGB", (8, 8)).save(encoded, "PNG")
            encoded.seek(0)
            yield i, {"image": encoded, "label": i % 2}

print("ready", flush=True)
sys.stdin.readline()
open(os.path.join(sys.argv[3], str(os.getpid())), "w").close()
source = open_named("slow_dots", sys.argv[1], 16)
print(source.num_examples("train"), source.label_counts("train").tolist(), source.digest)
"""


@pytest.mark.integration
def test_of_two_processes_one_prepares(tmp_path):
    log = tmp_path / "log"
    (tmp_path / "come").mkdir()
    processes: list[Any] = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                PREPARER,
                str(tmp_path / "data"),
                str(log),
                str(tmp_path / "come"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOME": str(tmp_path)},
        )
        for _ in range(2)
    ]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    answers = {out.splitlines()[-1].rpartition(" ")[0] for out, _ in said}
    assert answers == {"4 [2, 2]"}
    assert len({out.splitlines()[-1] for out, _ in said}) == 1
    assert log.read_text() == "generated\n"
