"""The head trained in PyTorch on the same weights, as a careful user would write it.

A loader process for each core decodes with Pillow; the frozen backbone runs without gradients, in
bfloat16 by autocast, its fastest form here.

    python -m benchmarks.scripts.torch_fit IMAGES EPOCHS

IMAGES holds <split>/<label>/*.jpg. Prints {"epoch", "time", "val_acc"} after each epoch, validation
included.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.scripts import torch_backbone
from benchmarks.setting import BATCH_SIZE


class Folder(torch.utils.data.Dataset):
    """Images, float32 [3, 224, 224] in [0, 1], and labels, of <label>/*.jpg."""

    def __init__(self, directory: Path) -> None:
        labels = sorted(path.name for path in directory.iterdir())
        self._files = [(p, labels.index(p.parent.name)) for p in sorted(directory.rglob("*.jpg"))]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self._files[index]
        size = torch_backbone.IMAGE_SIZE, torch_backbone.IMAGE_SIZE
        image = Image.open(path).convert("RGB").resize(size, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255, label


def loader(directory: Path, is_training: bool) -> torch.utils.data.DataLoader:
    """Batches, decoded by as many processes as there are cores."""
    return torch.utils.data.DataLoader(
        Folder(directory),
        BATCH_SIZE,
        shuffle=is_training,
        num_workers=len(os.sched_getaffinity(0)),
        persistent_workers=True,
    )


def main(images: str, epochs: int) -> None:
    """See the module."""
    backbone = torch_backbone.load()
    head = torch.nn.Sequential(
        torch.nn.Linear(torch_backbone.NUM_FEATURES, 128),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 3),
    )
    optimizer = torch.optim.Adam(head.parameters())
    loss_of = torch.nn.CrossEntropyLoss()
    training, validation = (loader(Path(images, s), s == "train") for s in ("train", "validation"))

    def features(batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            return backbone(batch).float()

    for epoch in range(epochs):
        for batch, labels in training:
            optimizer.zero_grad()
            loss_of(head(features(batch)), labels).backward()
            optimizer.step()
        hits = count = 0
        with torch.no_grad():
            for batch, labels in validation:
                hits += int((head(features(batch)).argmax(1) == labels).sum())
                count += len(labels)
        line = {"epoch": epoch + 1, "time": time.time(), "val_acc": hits / count}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
