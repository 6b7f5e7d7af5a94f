"""Peak memory against the number of images."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from benchmarks.processes import run
from trainer.data import tfds_open

FACTORS = (1, 4, 16)


def peak_mb(scratch: str, data: str) -> dict[int, float]:
    """Peak memory in MiB of one streamed epoch over `factor` times the images, by factor.

    The larger data sets are packed from a folder that links each image so many times.
    """
    peaks = {}
    images = _unpack(Path(scratch, "images"), data)
    for factor in FACTORS:
        folder, packed = Path(scratch, f"folder-{factor}"), Path(scratch, f"packed-{factor}")
        _link(images, folder, factor)
        graft = [sys.executable, "-m", "trainer"]
        run([*graft, "pack", f"--dataset={folder}", f"--output_dir={packed}", "--shard_mb=16"])
        workdir = Path(scratch, f"growth-{factor}")
        sample = run(
            [*graft, "train", f"--dataset={packed}", f"--workdir={workdir}", "--num_epochs=1"]
        )
        peaks[factor] = sample.peak_mb
    return peaks


def _unpack(directory: Path, data: str) -> Path:
    source = tfds_open.open_prepared(data, shuffle_buffer_size=1)
    for split in ("train", "validation"):
        for i, example in enumerate(
            source.examples(split, 0, 1, shuffle=False).as_numpy_iterator()
        ):
            label = directory / split / source.class_names[example["label"]]
            label.mkdir(parents=True, exist_ok=True)
            (label / f"{i}.jpg").write_bytes(example["encoded"])
    return directory


def _link(images: Path, folder: Path, factor: int) -> None:
    for path in images.rglob("*.jpg"):
        directory = folder / path.parent.relative_to(images)
        directory.mkdir(parents=True, exist_ok=True)
        for copy in range(factor if "train" in path.parts else 1):
            os.link(path, directory / f"{copy}-{path.name}")
