"""Draw the blurred background of a leaf: soil, foliage, something plain, straw."""

import numpy as np

from trainer.data.leaves.ink import Ink, Plane, noise, resized_all, softened
from trainer.data.leaves.painting import mix


def ground(rng: np.random.Generator, size: int) -> Plane:
    """Draw a background, linear color `(3, size, size)`."""
    kind = (_soil, _foliage, _plain, _straw)[rng.choice(4, p=[0.35, 0.3, 0.15, 0.2])]
    return kind(rng, size).astype(np.float32)


def _soil(rng: np.random.Generator, size: int) -> Plane:
    red = rng.uniform(0.2, 0.5)
    brown = np.array([red, red * rng.uniform(0.78, 0.9), red * rng.uniform(0.5, 0.72)]) ** 2
    height = sum(noise(rng, k, size) * a for k, a in ((5, 0.2), (22, 0.4), (70, 0.5), (170, 0.3)))
    crumbs = np.maximum(noise(rng, 45, size), height)
    rough = 1 + 0.3 * height + 0.9 * np.diff(crumbs, axis=1, append=0)
    return brown[:, None, None] * rough.clip(0.12, 2.5)


def _foliage(rng: np.random.Generator, size: int) -> Plane:
    green = rng.uniform([0.12, 0.25, 0.05], [0.35, 0.45, 0.2]) ** 2
    scene = green[:, None, None] * (1 + 0.5 * noise(rng, 5, 125)).clip(0.15, 2)
    scene = scene.astype(np.float32)
    for _ in range(rng.integers(6, 16)):
        ink = Ink(125)
        x, y = rng.uniform(0, 125, 2)
        radius = rng.uniform(6, 34)
        ink.disc(x, y, radius, radius * rng.uniform(0.3, 1))
        tone = rng.uniform([0.15, 0.3, 0.04], [0.42, 0.5, 0.25]) ** 2 * rng.uniform(0.3, 1.5)
        soft = softened(ink.plane(), int(rng.choice([3, 6, 12]))).clip(0, 1)
        mix(scene, tone, soft * np.float32(0.7))
    return resized_all(scene, size)


def _plain(rng: np.random.Generator, size: int) -> Plane:
    """Draw paper, cloth or sky: one tone with a gradient and a fine texture."""
    tone = (rng.uniform(0.35, 0.9) * rng.uniform(0.93, 1.05, 3)) ** 2
    slope = np.linspace(-1, 1, size) * rng.normal(0, 0.2)
    across = np.linspace(-1, 1, size)[:, None] * rng.normal(0, 0.2)
    tooth = noise(rng, 125, size) * rng.uniform(0, 0.08) + noise(rng, 4, size) * 0.05
    return tone[:, None, None] * (1 + slope + across + tooth).clip(0.2, 2)


def _straw(rng: np.random.Generator, size: int) -> Plane:
    scene = _soil(rng, size).astype(np.float32) * 0.6
    tone = (rng.uniform(0.5, 0.78) * np.array([1, rng.uniform(0.84, 0.92), 0.6])) ** 2
    for _ in range(4):
        ink = Ink(size)
        for _ in range(rng.integers(10, 40)):
            start, bearing = rng.uniform(-30, size + 30, 2), rng.uniform(0, 2 * np.pi)
            reach = rng.uniform(20, 120) * np.array([np.cos(bearing), np.sin(bearing)])
            ink.line(np.stack([start, start + reach]), rng.uniform(0.8, 3), rng.uniform(0.5, 1))
        shadow = np.roll(ink.plane(), (2, 2), (0, 1))
        scene *= 1 - 0.5 * shadow
        mix(scene, tone * rng.uniform(0.4, 1.1), ink.plane())
    return scene
