"""`graft pack`: any data set as sharded TFRecords in TFDS format."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from trainer import machine
from trainer.command_line import Flag, Groups, command, parse_flags, usage
from trainer.console import Voice, voice
from trainer.errors import UserError
from trainer.flags import at_home, default_cache_dir
from trainer.locks import locked
from trainer.quiet import import_tensorflow

if TYPE_CHECKING:
    from trainer.data.source import Source

SYNOPSIS = "graft pack --dataset=DATA --output_dir=DIR [flags]"
PURPOSE = "Write any data set as sharded TFRecords in TFDS format; images are copied as they are."
FLAGS: Groups = {
    "Flags": (
        Flag("dataset", "", "what to pack: as the trainer's --dataset"),
        Flag("data_dir", "", "where TFDS keeps prepared data sets"),
        Flag("output_dir", "", "a new directory; train on it with --dataset=DIR"),
        Flag("splits", ["train", "validation", "test"], "which splits, if they exist", list),
        Flag("shard_mb", 128, "size of a shard to aim at, in MB", int),
    )
}

_VERSION = "1.0.0"
_PREFIX = ".graft-pack-"
_LOCK = ".graft-lock"
_SAMPLE = 64  # examples whose sizes stand for all


def main(argv: Sequence[str] | None = None) -> int:
    """Pack as the command line says; returns the exit code."""
    return command(argv, _main, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _main(argv: Sequence[str]) -> int:
    values = parse_flags(argv, FLAGS)
    values |= {name: at_home(values[name]) for name in ("dataset", "data_dir", "output_dir")}
    for name in ("dataset", "output_dir"):
        if not values[name]:
            raise UserError(f"--{name}: required")
    if values["shard_mb"] < 1:
        raise UserError(f"--shard_mb={values['shard_mb']}: must be at least 1")
    output = values["output_dir"].rstrip("/")
    if os.path.exists(output):
        raise UserError(f"--output_dir={output}: must not exist yet")
    import_tensorflow()
    from trainer.config import Config
    from trainer.data.catalog import open_source

    speaker = voice("auto")
    config = Config(
        workdir=output,
        dataset=values["dataset"],
        data_dir=values["data_dir"],
        cache_dir=default_cache_dir(),
    )
    try:
        counts = pack(
            open_source(config), values["splits"], output, values["shard_mb"] * 2**20, speaker
        )
    finally:
        speaker.close()
    sizes = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    speaker.say(f"packed {sizes} images; train on them with --dataset={output}")
    return 0


def pack(
    source: Source, splits: Sequence[str], output: str, shard_bytes: int, speaker: Voice
) -> dict[str, int]:
    """Write `splits` of `source` to the new directory `output`, one thread a shard.

    Returns:
        How many examples each split holds.

    Raises:
        UserError: `source` has none of the splits, or `output` cannot be written to.
    """
    import tensorflow as tf

    # What TFDS takes for a name: ASCII, and a letter first.
    name = re.sub("[^a-z0-9]+|^[^a-z]+", "_", os.path.basename(output).lower()).strip("_")
    name = name or "packed"
    try:
        with _scratch(os.path.dirname(os.path.abspath(output))) as scratch:
            counts = _write(source, splits, scratch, name, shard_bytes, speaker)
            os.remove(os.path.join(scratch, _LOCK))
            os.rename(scratch, output)
    except tf.errors.OpError as error:  # an image that is gone, a full disk
        raise UserError(f"{source.name}: cannot be packed ({error.message})") from error
    except OSError as error:
        raise UserError(f"--output_dir={output}: {error.strerror or error}") from error
    return counts


@contextlib.contextmanager
def _scratch(parent: str) -> Iterator[str]:
    """A new directory below `parent`, removed in the end unless it was moved.

    What a killed process left there is removed, too. Only directories of our name are touched that
    hold our lock, and those only while nobody holds it.
    """
    for lock in glob.glob(os.path.join(glob.escape(parent), f"{_PREFIX}*", _LOCK)):
        with contextlib.suppress(UserError, OSError), locked(lock, "a live process packs there"):
            shutil.rmtree(os.path.dirname(lock), ignore_errors=True)
    scratch = os.path.join(parent, f"{_PREFIX}{uuid.uuid4().hex}")
    os.makedirs(scratch)
    try:
        with locked(os.path.join(scratch, _LOCK)):
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _write(
    source: Source,
    splits: Sequence[str],
    scratch: str,
    name: str,
    shard_bytes: int,
    speaker: Voice,
) -> dict[str, int]:
    """Write the shards and what TFDS says of them; see pack."""
    import tensorflow_datasets as tfds

    infos, counts = [], {}
    for split in splits:
        try:
            count = source.num_examples(split)
        except UserError:
            continue
        if not count:
            continue
        num_shards = _num_shards(source, split, count, shard_bytes)
        template = tfds.core.ShardedFileTemplate(
            data_dir=scratch, dataset_name=name, split=split, filetype_suffix="tfrecord"
        )
        paths = [
            str(template.sharded_filepath(shard_index=i, num_shards=num_shards))
            for i in range(num_shards)
        ]
        lengths, num_bytes = _write_split(source, split, paths, count, speaker)
        infos.append(
            tfds.core.SplitInfo(
                name=split, shard_lengths=lengths, num_bytes=num_bytes, filename_template=template
            )
        )
        counts[split] = count
    if not infos:
        raise UserError(f"{source.name} has none of the splits {', '.join(splits)}")
    features = tfds.features.FeaturesDict(
        {
            "id": tfds.features.Text(),
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=list(source.class_names)),
        }
    )
    tfds.folder_dataset.write_metadata(
        data_dir=scratch,
        features=features,
        split_infos=infos,
        version=_VERSION,
        description=f"Packed from {source.name}.",
        supervised_keys=("image", "label"),
        check_data=False,
    )
    return counts


def _write_split(
    source: Source, split: str, paths: list[str], count: int, speaker: Voice
) -> tuple[list[int], int]:
    """Write one split's shards; returns the examples in each, and the bytes in all."""
    import tensorflow as tf

    done = 0
    lock = threading.Lock()  # of the count and of the voice

    def write(shard: int) -> tuple[int, int]:
        nonlocal done
        length = num_bytes = 0
        examples = source.examples(split, shard, len(paths), shuffle=False)
        with tf.io.TFRecordWriter(paths[shard]) as writer:
            for example in examples.prefetch(16).as_numpy_iterator():
                record = _record(example)
                writer.write(record)
                length, num_bytes = length + 1, num_bytes + len(record)
                with lock:
                    done += 1
                    speaker.advance(f"packing {split}", done, count)
        return length, num_bytes

    with ThreadPoolExecutor(min(len(paths), machine.num_cores())) as pool:
        results = list(pool.map(write, range(len(paths))))
    return [length for length, _ in results], sum(num_bytes for _, num_bytes in results)


def _record(example: dict[str, Any]) -> bytes:
    import tensorflow as tf

    def of_bytes(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    label = tf.train.Feature(int64_list=tf.train.Int64List(value=[int(example["label"])]))
    feature = {
        "id": of_bytes(example["id"]),
        "image": of_bytes(example["encoded"]),
        "label": label,
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _num_shards(source: Source, split: str, count: int, shard_bytes: int) -> int:
    sample = source.examples(split, 0, 1, shuffle=False).take(_SAMPLE).as_numpy_iterator()
    sizes = [len(example["encoded"]) for example in sample]
    return min(count, max(1, round(count * sum(sizes) / len(sizes) / shard_bytes)))
