"""What every comparison shares: data, backbone, a scratch directory, how often, how long."""

from __future__ import annotations

import dataclasses
import os
import sys
from pathlib import Path

BATCH_SIZE = 32
NUM_TRAIN, NUM_VALIDATION = 1034, 133


@dataclasses.dataclass(frozen=True)
class Setting:
    """Where and how to measure.

    Attributes:
        data: the prepared directory of `leaves`.
        backbone: the directory of the embedded SavedModel.
        scratch: an empty directory, gone afterwards.
        pairs: how often each process runs.
        epochs: how long the whole jobs are.
        peers_python: an interpreter with PyTorch and ONNX Runtime, or "".
    """

    data: str
    backbone: str
    scratch: Path
    pairs: int
    epochs: int
    peers_python: str

    def graft(self, name: str, **flags: object) -> list[str]:
        """Graft's trainer in a workdir called `name`, with these flags."""
        workdir = self.workdir(name)
        words = [f"--{flag}={value}" for flag, value in flags.items()]
        return [
            *(sys.executable, "-m", "trainer.task", f"--workdir={workdir}", "--log_format=json"),
            *words,
        ]

    def workdir(self, name: str) -> Path:
        """Where the run called `name` is kept."""
        return self.scratch / "runs" / name

    def script(self, name: str, *arguments: object) -> list[str]:
        """One of benchmarks/scripts, with Graft's interpreter."""
        return [sys.executable, "-m", f"benchmarks.scripts.{name}", *map(str, arguments)]

    def peer_script(self, name: str, *arguments: object) -> list[str]:
        """One of benchmarks/scripts, with the peers' interpreter."""
        return [self.peers_python, *self.script(name, *arguments)[1:]]

    def seed_script(self, epochs: int) -> list[str]:
        """The script that Graft grew from."""
        return self.script("seed_script", self.data, self.backbone, epochs)

    def images(self) -> Path:
        """The data set as files: <split>/<label>/<number>.jpg, written at the first call."""
        directory = self.scratch / "images"
        if directory.exists():
            return directory
        from trainer.data.sources import tfds_open

        source = tfds_open.open_prepared(self.data, shuffle_buffer_size=1)
        for split in ("train", "validation"):
            examples = source.examples(split, 0, 1, shuffle=False).as_numpy_iterator()
            for number, example in enumerate(examples):
                label = directory / split / source.class_names[example["label"]]
                label.mkdir(parents=True, exist_ok=True)
                (label / f"{number}.jpg").write_bytes(example["encoded"])
        return directory

    def linked(self, factor: int) -> Path:
        """The same with every training image linked `factor` times."""
        images, directory = self.images(), self.scratch / f"linked-{factor}"
        if directory.exists():
            return directory
        for path in images.rglob("*.jpg"):
            label = directory / path.parent.relative_to(images)
            label.mkdir(parents=True, exist_ok=True)
            for copy in range(factor if "train" in path.parts else 1):
                os.link(path, label / f"{copy}-{path.name}")
        return directory
