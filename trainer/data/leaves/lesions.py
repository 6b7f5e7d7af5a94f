"""The lesions of a drawn bean leaf: two diseases of one range of colors and different forms."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.leaves.anatomy import Blade
from trainer.data.leaves.ink import Ink, Plane, Window, cut, softened


@dataclass(frozen=True)
class Lesions:
    """What a disease does to a leaf, as planes in [0, 1] and linear colors `(3,)`.

    Attributes:
        cover: where the tissue is dead or burst, in the full plane; the other two are of a window.
        halo: where it has turned yellow.
        relief: raised (positive) or sunken (negative) surface, in pixels of height.
        color: of the covered tissue.
        rim: color of its margin.
    """

    cover: Plane
    halo: Plane
    relief: Plane
    color: NDArray[np.float32]
    rim: NDArray[np.float32]


def angular_spots(rng: np.random.Generator, blade: Blade, size: int, window: Window) -> Lesions:
    """Draw brown patches that fill cells of the lattice, and so have straight edges."""
    severity = rng.uniform()
    ink = Ink(size)
    for _ in range(round(5 * 7**severity)):
        lattice = blade.lattices[rng.integers(2)]
        last = np.array(lattice.shape[:2]) - 1
        reach = rng.uniform(1.3, 1.8 + 1.6 * severity)
        turn = np.sort(rng.uniform(0, 2 * np.pi, rng.integers(4, 8)))[:, None]
        around = reach * rng.uniform(0.8, 1.3) * np.concatenate([np.cos(turn), np.sin(turn)], 1)
        row, column = (rng.uniform(0, last) + around).round().astype(int).clip(0, last).T
        ink.polygon(lattice[row, column])
    cover = ink.plane()
    halo = softened(cover, 10, window) * np.float32(rng.uniform(0, 0.5))
    return Lesions(cover * _strength(rng), halo, -0.7 * cut(cover, window), *_browns(rng))


def rust_pustules(rng: np.random.Generator, blade: Blade, size: int, window: Window) -> Lesions:
    """Draw many small raised discs, in loose groups, each in a yellow ring."""
    severity = rng.uniform()
    ink, rings = Ink(size), Ink(size)
    num_groups = int(rng.integers(2, 7))
    groups = [(int(rng.integers(2)), rng.uniform(0, 1, 2)) for _ in range(num_groups)]
    lattices = [lattice.tolist() for lattice in blade.lattices]
    lasts = [(len(lattice) - 1, len(lattice[0]) - 1) for lattice in lattices]
    spread, radius = rng.uniform(0.08, 0.4), blade.length * rng.uniform(0.0046, 0.008)
    for _ in range(round(20 * 12**severity)):
        side, middle = groups[int(rng.integers(num_groups))]
        cell = (middle + rng.normal(0, spread, 2)).clip(0, 0.999) * lasts[side]
        x, y = _between(lattices[side], *cell.tolist())
        r = radius * rng.lognormal(0, 0.35)
        ink.disc(x, y, r * rng.uniform(0.85, 1.15), r)
        rings.disc(x, y, 2.4 * r, 2.4 * r)
    cover = ink.plane()
    halo = softened(rings.plane(), 6, window) * np.float32(rng.uniform(0.2, 0.75))
    return Lesions(cover * _strength(rng), halo, 2.2 * cut(cover, window), *_browns(rng))


def _between(lattice: list[list[list[float]]], u: float, v: float) -> list[float]:
    """Interpolate the point of the lattice in row u, column v."""
    row, column = int(u), int(v)
    u, v = u - row, v - column
    near, far = (line[column : column + 2] for line in lattice[row : row + 2])
    ends = zip(*near, *far, strict=True)  # Python numbers are faster than arrays of two
    return [(a * (1 - v) + b * v) * (1 - u) + (c * (1 - v) + d * v) * u for a, b, c, d in ends]


def no_lesions(rng: np.random.Generator, blade: Blade, size: int, window: Window) -> Lesions:
    """Return the empty planes of a healthy leaf."""
    nothing = np.zeros((size, size), np.float32)
    return Lesions(nothing, cut(nothing, window), cut(nothing, window), *_browns(rng))


def _strength(rng: np.random.Generator) -> np.float32:
    return np.float32(rng.uniform(0.65, 0.97))


def _browns(rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    # The two diseases draw from one range of browns, so that color does not tell them apart.
    red = rng.uniform(0.34, 0.6)
    inner = np.array([red, red * rng.uniform(0.58, 0.78), red * rng.uniform(0.28, 0.5)])
    return (inner**2).astype(np.float32), (inner**2 * rng.uniform(0.25, 0.6)).astype(np.float32)
