"""`graft pack`: any data set as sharded TFRecords in TFDS format."""

from __future__ import annotations

import os
from collections.abc import Sequence

from trainer.process.console import make_reporter
from trainer.process.errors import UserError
from trainer.process.tensorflow_import import import_tensorflow
from trainer.settings.command_line import Flag, Groups, command, parse_flags, usage
from trainer.settings.locations import default_cache_dir, expand_home

SYNOPSIS = "graft pack --dataset=DATA --output_dir=DIR [flags]"
PURPOSE = "Write any data set as sharded TFRecords in TFDS format; images are copied unchanged."
FLAGS: Groups = {
    "Flags": (
        Flag("dataset", "", "what to pack: as the trainer's --dataset"),
        Flag("data_dir", "", "where TFDS keeps prepared data sets"),
        Flag("output_dir", "", "a new directory; train on it with --dataset=DIR"),
        Flag("splits", ["train", "validation", "test"], "which splits, if they exist", list),
        Flag("shard_mb", 128, "size of a shard to aim at, in MB", int),
    )
}


def main(argv: Sequence[str] | None = None) -> int:
    """Pack the data set that `argv` names; return the exit code."""
    return command(argv, _main, lambda: usage(SYNOPSIS, PURPOSE, FLAGS))


def _main(argv: Sequence[str]) -> int:
    values = parse_flags(argv, FLAGS)
    values |= {name: expand_home(values[name]) for name in ("dataset", "data_dir", "output_dir")}
    for name in ("dataset", "output_dir"):
        if not values[name]:
            raise UserError(f"--{name}: required")
    if values["shard_mb"] < 1:
        raise UserError(f"--shard_mb={values['shard_mb']}: must be at least 1")
    output = values["output_dir"].rstrip("/")
    if os.path.exists(output):
        raise UserError(f"--output_dir={output}: must not exist yet")
    import_tensorflow()
    from trainer.commands.packing import pack
    from trainer.data.sources.catalog import open_source
    from trainer.settings.config import Config

    reporter = make_reporter("auto")
    config = Config(
        workdir=output,
        dataset=values["dataset"],
        data_dir=values["data_dir"],
        cache_dir=default_cache_dir(),
    )
    try:
        counts = pack(
            open_source(config), values["splits"], output, values["shard_mb"] * 2**20, reporter
        )
    finally:
        reporter.close()
    sizes = ", ".join(f"{count:,} {split}" for split, count in counts.items())
    reporter.say(f"packed {sizes} images; train on them with --dataset={output}")
    return 0
