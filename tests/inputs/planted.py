"""A folder of drawn leaves in which some labels are wrong and some pictures lie in both splits."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from trainer.data.leaves import embedded

NUM_TRAIN, NUM_VALIDATION = 480, 60


class Planted(NamedTuple):
    """Where it is, and what is wrong with it, by ids."""

    root: Path
    mislabelled: set[str]
    exact: set[tuple[str, str]]
    near: set[tuple[str, str]]


def write(root, images, names, seed=0):
    """Write `images`, pairs (bytes, label), as a folder; the wrong labels follow from `seed`.

    Three training images and a validation image get another class's directory; two validation
    images are copied to the training split as they are, and two once more compressed and smaller.
    """
    rng = np.random.default_rng(seed)
    splits = {
        "train": images[:NUM_TRAIN],
        "validation": images[NUM_TRAIN : NUM_TRAIN + NUM_VALIDATION],
    }
    wrong = {"train": rng.choice(NUM_TRAIN, 3, replace=False)}
    copied = rng.choice(NUM_VALIDATION, 4, replace=False)
    wrong["validation"] = rng.choice(np.setdiff1d(np.arange(NUM_VALIDATION), copied), 1)
    mislabelled = set()
    for split, members in splits.items():
        for number, (content, label) in enumerate(members):
            is_wrong = number in wrong[split]
            shown = (label + 1) % len(names) if is_wrong else label
            path = f"{split}/{names[shown]}/{number:04d}.jpg"
            if is_wrong:
                mislabelled.add(path)
            _write(root / path, content)
    exact, near = set(), set()
    for turn, number in enumerate(copied):
        content, label = splits["validation"][number]
        name = names[label]
        copy = f"train/{name}/copy-{number:04d}.jpg"
        pair = (f"validation/{name}/{number:04d}.jpg", copy)
        if turn < 2:
            _write(root / copy, content)
            exact.add(pair)
        else:
            _write(root / copy, _compressed_again(content))
            near.add(pair)
    return Planted(root, mislabelled, exact, near)


def leaf_images(cache_dir, count=NUM_TRAIN + NUM_VALIDATION):
    """Leaves of the embedded data set: (bytes, label) each, and the names of the classes."""
    from trainer.data.sources.tfds_open import open_prepared

    source = open_prepared(embedded.prepare(cache_dir), 1)
    examples = source.examples("train", 0, 1, shuffle=True, seed=1).take(count)
    images = [(e["encoded"], int(e["label"])) for e in examples.as_numpy_iterator()]
    return images, source.class_names


def _compressed_again(content):
    image = Image.open(io.BytesIO(content))
    buffer = io.BytesIO()
    image.resize((image.width * 4 // 5, image.height * 4 // 5)).save(buffer, "JPEG", quality=70)
    return buffer.getvalue()


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
