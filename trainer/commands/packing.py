"""Write the splits of a source as sharded TFRecords in TFDS format."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from trainer.commands.checkup.image_scan import problem
from trainer.data.sources.source import Source
from trainer.process import machine
from trainer.process.console import Reporter
from trainer.process.errors import UserError
from trainer.storage import artifacts

_VERSION = "1.0.0"
_MAX_NAMED = 3  # broken images
_SAMPLE = 64  # examples whose sizes estimate the mean


def pack(
    source: Source, splits: Sequence[str], output: str, shard_bytes: int, reporter: Reporter
) -> dict[str, int]:
    """Write `splits` of `source` to the new directory `output`, with a thread for each shard.

    Returns:
        The number of examples by split.

    Raises:
        UserError: `source` has none of the splits, or `output` cannot be written to.
    """
    # TFDS accepts ASCII names that begin with a letter.
    name = re.sub("[^a-z0-9]+|^[^a-z]+", "_", os.path.basename(output).lower()).strip("_")
    name = name or "packed"
    try:
        # The rest of a killed process may be large: it is removed at once.
        with artifacts.scratch(output, name, abandoned_secs=0.0) as scratch:
            counts = _write(source, splits, scratch, name, shard_bytes, reporter)
            artifacts.move(scratch, os.path.abspath(output))
    except tf.errors.OpError as error:  # a missing image, a full disk
        raise UserError(f"{source.name}: cannot be packed ({error.message})") from error
    except OSError as error:
        raise UserError(f"--output_dir={output}: {error.strerror or error}") from error
    return counts


def _write(
    source: Source,
    splits: Sequence[str],
    scratch: str,
    name: str,
    shard_bytes: int,
    reporter: Reporter,
) -> dict[str, int]:
    """Write the shards and their TFDS metadata; see pack."""
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
        lengths, num_bytes = _write_split(source, split, paths, count, reporter)
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
    source: Source, split: str, paths: list[str], count: int, reporter: Reporter
) -> tuple[list[int], int]:
    """Write one split's shards; return the examples in each, and the total of bytes."""
    done = 0
    broken: dict[str, str] = {}
    lock = threading.Lock()  # of these and of the reporter

    def write(shard: int) -> tuple[int, int]:
        nonlocal done
        length = num_bytes = 0
        examples = source.examples(split, shard, len(paths), shuffle=False)
        with tf.io.TFRecordWriter(paths[shard]) as writer:
            for example in examples.prefetch(16).as_numpy_iterator():
                record = _record(example)
                writer.write(record)
                length, num_bytes = length + 1, num_bytes + len(record)
                why = problem(example["encoded"])
                with lock:
                    done += 1
                    if why:
                        broken[example["id"].decode("utf-8", "replace")] = why
                    reporter.advance(f"packing {split}", done, count)
        return length, num_bytes

    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(min(len(paths), machine.num_cores())) as pool,
    ):
        warnings.simplefilter("ignore")  # Pillow's, of images that the decoder may accept
        results = list(pool.map(write, range(len(paths))))
    if broken:
        named = [f"{name} ({broken[name]})" for name in sorted(broken)[:_MAX_NAMED]]
        more = f" and {len(broken) - len(named):,} more" if len(broken) > len(named) else ""
        reporter.warn(
            f"{len(broken):,} of {count:,} {split} images cannot be decoded, and are packed as "
            f"they are: {', '.join(named)}{more}; training leaves them out with --bad_images=skip"
        )
    return [length for length, _ in results], sum(num_bytes for _, num_bytes in results)


def _record(example: dict[str, Any]) -> bytes:
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
