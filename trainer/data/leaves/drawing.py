"""Draw synthetic bean leaves for the embedded data set `leaves`.

A leaf is grown as geometry (outline, veins, the lattice of small cells that the finest veins
enclose), then painted as color and relief under one light. The three classes share everything
but the form of their lesions: `angular_leaf_spot` fills vein-bounded cells and so has straight
edges, `bean_rust` scatters small raised discs with a yellow halo, `healthy` has neither. Brown
dirt, holes, dew, pale flecks and yellowing are equally frequent in all three, so that the mean
color of an image does not separate them. Planes of color are float32 `(3, H, W)` in linear light.

This file imports neither TensorFlow nor TFDS: the processes of a drawing pool start fast.
"""

import io
import signal
import struct
import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.leaves.anatomy import grow
from trainer.data.leaves.ground import ground
from trainer.data.leaves.ink import (
    Plane,
    Window,
    cut,
    enlarged,
    noise,
    resized,
    resized_all,
    softened,
)
from trainer.data.leaves.lesions import angular_spots, no_lesions, rust_pustules
from trainer.data.leaves.painting import IMAGE_SIZE, Afflict, Light, paint

CLASS_NAMES = ("angular_leaf_spot", "bean_rust", "healthy")  # the order of TFDS `beans`
SPLIT_SIZES = {"train": 1034, "validation": 133, "test": 128}  # as in TFDS `beans`

HEADER = struct.Struct("<BI")  # label and number of bytes, before each drawing that is served

_ENTROPY = 20210323
_FAR = IMAGE_SIZE // 2  # blurred parts are drawn at half size and enlarged

_BAND = 50  # rows


def draw_leaf(split: str, index: int) -> tuple[bytes, int]:
    """Draw one example, a pure function of its arguments.

    Args:
        split: a key of `SPLIT_SIZES`.
        index: position in the split, `0 <= index < SPLIT_SIZES[split]`.

    Returns:
        The JPEG file's bytes (RGB, 500 × 500) and the label, an index into `CLASS_NAMES`.

    Raises:
        ValueError: there is no such split or index.
    """
    image, label, quality = _draw(split, index)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue(), label


def draw_pixels(split: str, index: int) -> tuple[NDArray[np.uint8], int]:
    """Draw the same example before JPEG compression: uint8 `(500, 500, 3)` RGB, and its label."""
    image, label, _ = _draw(split, index)
    return np.asarray(image), label


def serve() -> None:
    """Draw what lines of `<split> <index>` on standard input ask for, until it ends.

    Each drawing goes to standard output as `HEADER` and the JPEG file's bytes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # in silence
    for line in sys.stdin:
        split, index = line.split()
        jpeg, label = draw_leaf(split, int(index))
        sys.stdout.buffer.write(HEADER.pack(label, len(jpeg)) + jpeg)
        sys.stdout.buffer.flush()


def _draw(split: str, index: int) -> tuple[Image.Image, int, int]:
    if split not in SPLIT_SIZES or not 0 <= index < SPLIT_SIZES[split]:
        raise ValueError(f"no example {index} in split {split!r}; the splits are {SPLIT_SIZES}")
    seed = np.random.SeedSequence(_ENTROPY, spawn_key=(list(SPLIT_SIZES).index(split), index))
    rng = np.random.Generator(np.random.PCG64(seed))
    label = index % len(CLASS_NAMES)
    scene = _compose(rng, (angular_spots, rust_pustules, no_lesions)[label])
    return _develop(rng, scene), label, int(rng.integers(72, 96))


def _compose(rng: np.random.Generator, afflict: Afflict) -> Plane:
    """Draw a leaf on a background, perhaps with other leaves: linear color `(3, 500, 500)`."""
    bearing = rng.uniform(0, 2 * np.pi)
    light = Light(
        towards=np.array([np.cos(bearing), np.sin(bearing)], np.float32),
        hardness=rng.uniform(0.3, 1),
        gloss=rng.uniform(0, 0.5),
    )
    angle = rng.uniform(0, 2 * np.pi)
    center = rng.normal(IMAGE_SIZE / 2, 28, 2)
    blade = grow(rng, center, rng.uniform(370, 600), angle)
    leaf, cover, window = paint(rng, blade, IMAGE_SIZE, light, afflict)

    scene = ground(rng, _FAR)
    for _ in range(rng.integers(0, 4)):
        _add_far_leaf(rng, scene, light, afflict, rng.uniform(-0.1, 1.1, 2), dim=True)
    _cast_shadow(scene, resized(cover, _FAR), light, rng.uniform(3, 14))
    scene = resized_all(scene, IMAGE_SIZE)
    seen = cut(scene, window)
    leaf -= seen
    leaf *= cut(cover, window)
    seen += leaf
    if rng.random() < 0.25:
        # A leaf in front, across a corner and out of focus.
        away = rng.uniform(0, 2 * np.pi)
        corner = 0.5 + rng.uniform(0.54, 0.7) * np.array([np.cos(away), np.sin(away)])
        front = np.zeros((3, _FAR, _FAR), np.float32)
        shown, window = _add_far_leaf(rng, front, light, afflict, corner, dim=False)
        window = enlarged(window, IMAGE_SIZE // _FAR)
        shown = resized(shown, IMAGE_SIZE, window).clip(0, 1)
        seen = cut(scene, window)
        seen += resized_all(front, IMAGE_SIZE, window) - seen * shown
    if rng.random() < 0.35:
        # Sun through leaves that are out of the image.
        dapple = (noise(rng, int(rng.integers(4, 9)), 125) * 2.5 + rng.normal()).clip(-1, 1)
        scene *= resized(1 + dapple * np.float32(rng.uniform(0.1, 0.4)), IMAGE_SIZE)
    return scene


def _develop(rng: np.random.Generator, scene: Plane) -> Image.Image:
    """Simulate the camera: exposure, white balance, vignette, blur and noise, to 8-bit sRGB."""
    warmth, tint = rng.normal(0, 0.12), rng.normal(0, 0.03)
    gains = np.exp([warmth, tint, -warmth]) * 2.0 ** rng.normal(0.75, 0.38)
    axis = np.linspace(-1, 1, IMAGE_SIZE, dtype=np.float32) ** 2
    vignette = 1 - np.float32(rng.uniform(0, 0.25)) * (axis[:, None] + axis)
    grain = (rng.random(scene.shape[1:], np.float32) - 0.5) * np.float32(rng.uniform(3, 22))
    pixels = np.empty(scene.shape, np.uint8)
    for top in range(0, IMAGE_SIZE, _BAND):  # what fits into the processor's cache
        rows = slice(top, top + _BAND)
        band = scene[:, rows]
        band *= vignette[rows]
        band *= gains.astype(np.float32)[:, None, None]
        np.maximum(band, 0, out=band)
        band *= 1 / (1 + 0.45 * band)  # a film's shoulder, so that highlights do not clip hard
        np.sqrt(band, out=band)
        band *= 255
        band += grain[rows]
        pixels[:, rows] = band.clip(0, 255)
    image = Image.merge("RGB", [Image.fromarray(plane) for plane in pixels])
    if rng.random() < 0.4:
        # Out of focus, or from a camera of fewer pixels.
        side = int(rng.choice([250, 300, 360, 420]))
        image = image.resize((side, side), Image.Resampling.BILINEAR)
        image = image.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
    return image


def _add_far_leaf(
    rng: np.random.Generator,
    scene: Plane,
    light: Light,
    afflict: Afflict,
    center: NDArray[np.float64],
    dim: bool,
) -> tuple[Plane, Window]:
    """Paint a leaf at half size into `scene` `(3, 250, 250)`, in place.

    Returns:
        its cover `(250, 250)`, and the window outside of which that is 0.
    """
    size = int(rng.choice([_FAR, _FAR // 2, _FAR // 2, _FAR // 5]))  # the fewer, the less sharp
    length = size * rng.uniform(0.5, 1.2)
    blade = grow(rng, center * size, length, rng.uniform(0, 2 * np.pi))
    ill = rng.random() < 0.35
    color, cover, window = paint(rng, blade, size, light, afflict if ill else no_lesions)
    full = np.zeros((3, size, size), np.float32)
    cut(full, window)[:] = color
    window = enlarged(window, _FAR // size)
    leaf, cover = resized_all(full, _FAR, window), resized(cover, _FAR).clip(0, 1)
    _cast_shadow(scene, cover, light, rng.uniform(2, 10))
    leaf *= np.float32(rng.uniform(0.35, 0.85) if dim else rng.uniform(0.8, 1.2))
    seen = cut(scene, window)
    seen += (leaf - seen) * cut(cover, window)
    return cover, window


def _cast_shadow(scene: Plane, cover: Plane, light: Light, depth: float) -> None:
    """Darken `scene` in place where a leaf `depth` pixels above it takes the light."""
    if not cover.any():
        return
    dx, dy = (light.towards * depth).round().astype(int)
    wide = np.pad(softened(cover, 5), 16, "edge")  # depths are below 16
    shade = wide[16 + dy : 16 + dy + _FAR, 16 + dx : 16 + dx + _FAR]
    scene *= 1 - shade.clip(0, 1) * np.float32(0.35 + 0.4 * light.hardness)


if __name__ == "__main__":
    serve()
