"""Paint one leaf: color, relief and holes under one light.

Every leaf, ill or not, gets its holes, soil, dust, dew and yellow patches from the same
distributions, so that only the form of a lesion tells the classes apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trainer.data.leaves.anatomy import Blade
from trainer.data.leaves.ink import (
    Ink,
    Plane,
    Points,
    Spots,
    Window,
    cut,
    noise,
    resized,
    softened,
)
from trainer.data.leaves.lesions import Lesions

IMAGE_SIZE = 500

Afflict = Callable[[np.random.Generator, Blade, int, Window], Lesions]

_TURN = np.linspace(0, 2 * np.pi, 14, endpoint=False)
_ROUND = np.stack([np.cos(_TURN), np.sin(_TURN)], -1)
_MARGIN = 5  # pixels around a leaf that count when it is enlarged, and the first of a slope


@dataclass(frozen=True)
class Light:
    """One sun and one sky: where the light comes from `(2,)`, and how hard and glossy it falls."""

    towards: NDArray[np.float32]
    hardness: float
    gloss: float


def paint(
    rng: np.random.Generator, blade: Blade, size: int, light: Light, afflict: Afflict
) -> tuple[Plane, Plane, Window]:
    """Paint one leaf and return it with its window.

    Returns:
        linear color `(3, height, width)` of the window, cover `(size, size)` in [0, 1] which is
        0 outside, and the window.
    """
    inks = _ink_leaf(rng, blade, size)
    window = inks[2].window(_MARGIN)
    veins, half, cover = (ink.plane(window) for ink in inks)
    soft_veins, soft_cover = inks[0].soft_plane(4), inks[2].soft_plane(4)
    lesions = afflict(rng, blade, size, window)
    holes, rims = (ink.spots(window) for ink in _holes(rng, blade, size))

    # Color: mottled green, paler along the veins, yellow in patches.
    green = (rng.uniform(0.38, 0.54) * rng.uniform([0.58, 1, 0.22], [0.86, 1, 0.5])) ** 2
    yellow = np.array([0.66, 0.6, 0.14]) ** 2 * rng.uniform(0.8, 1.1)
    color = np.tile(green.astype(np.float32)[:, None, None], (1, *cover.shape))
    patch = ((noise(rng, 4, 100) - rng.uniform(0.3, 2.6)) * 0.8).clip(0, 0.8)
    if patch.any():
        mix(color, yellow, resized(patch, size, window))
    mix(color, green * rng.uniform(1.4, 2) + 0.03, veins * np.float32(rng.uniform(0.3, 0.65)))
    if lesions.halo.any():
        mix(color, yellow, lesions.halo)
    if lesions.cover.any():
        dead = cut(lesions.cover, window).ravel()
        indices = np.flatnonzero(dead != 0)
        dead = dead[indices]
        margin = 1 - softened(lesions.cover, 5, window).ravel()[indices].clip(0, 1)
        ash = resized(rng.random((100, 100), np.float32), size, window).ravel()[indices].clip(0, 1)
        _dab(color, lesions.color, Spots(indices, dead))
        _dab(color, lesions.rim, Spots(indices, dead * np.maximum(ash, margin)))
    _dab(color, [0.06, 0.03, 0.01], rims)
    dirt, dust = (_specks(rng, blade, size).spots(window) for _ in range(2))
    _dab(color, np.array([0.4, 0.29, 0.17]) ** 2 * rng.uniform(0.5, 1.4), dirt)
    dust = dust._replace(values=dust.values * np.float32(0.7))
    _dab(color, rng.uniform(0.12, 0.45) * np.array([1, 1, 0.8]), dust)

    # Relief: the blade bulges between its veins and curls at the edge.
    low = soft_veins * np.float32(-rng.uniform(5, 14))
    low += noise(rng, 8, len(low)) * np.float32(rng.uniform(1, 5))
    low += softened(soft_cover, 6) * np.float32(rng.normal(0, 16))
    relief = resized(low, size, window) + veins * np.float32(rng.uniform(-0.3, 0.5))
    relief += cut(rng.random((size, size), np.float32), window) * np.float32(0.4)
    raised = lesions.relief.ravel()  # a copy
    raised[dirt.indices] += np.float32(0.6) * dirt.values
    relief += raised.reshape(relief.shape)
    slope = np.zeros_like(relief)
    slope[:, 1:] = np.diff(relief, axis=1) * light.towards[0]
    slope[1:] += np.diff(relief, axis=0) * light.towards[1]
    slope *= np.float32(light.hardness * 0.9 * size / IMAGE_SIZE)
    slope += (half - 0.5) * np.float32(rng.normal(0, 0.25) * light.hardness)
    blotch = resized(noise(rng, 7, 100) * 0.2 + noise(rng, 40, 100) * 0.06, size, window)
    shine = (slope + blotch - 0.2).clip(0, 0.6) * np.float32(light.gloss)
    slope += 1 + 0.4 * blotch
    color *= slope.clip(0.3, 2)
    color += shine
    if rng.random() < 0.25:
        _add_dew(rng, color, blade, light, size, window)
    cover.reshape(-1)[holes.indices] *= 1 - holes.values
    full_cover = np.zeros((size, size), np.float32)
    cut(full_cover, window)[:] = cover
    return color, full_cover, window


def mix(color: Plane, other: ArrayLike, weight: Plane) -> None:
    """Blend `other` `(3,)` into the planes, in place, by `weight` in [0, 1]."""
    for plane, value in zip(color, np.asarray(other, np.float32), strict=True):
        step = value - plane
        step *= weight
        plane += step


def _dab(color: Plane, other: ArrayLike, spots: Spots) -> None:
    """Apply `mix` at the spots."""
    for plane, value in zip(color, np.asarray(other, np.float32), strict=True):
        here = plane.reshape(-1)  # a view
        old = here[spots.indices]
        here[spots.indices] = old + (value - old) * spots.values


def _ink_leaf(rng: np.random.Generator, blade: Blade, size: int) -> tuple[Ink, Ink, Ink]:
    """Ink the veins, one half of the leaf, and the entire leaf with its stalk."""
    px = blade.length / 450
    veins, half, cover = Ink(size), Ink(size), Ink(size)
    faint = rng.uniform(0.05, 0.28)
    for lattice in blade.lattices:
        veins.lines(lattice, 0.7 * px, faint)
        veins.lines(lattice.transpose(1, 0, 2), 0.7 * px, faint)
    for vein in blade.veins:
        veins.line(vein, 2.2 * px, 0.62)
        veins.line(vein[:5], 3 * px, 0.75)
    for width, first, last in ((6.5, 0, 15), (5, 14, 25), (3.5, 24, 36), (2.2, 35, 43)):
        veins.line(blade.midrib[first:last], width * px, 1)
    half.polygon(blade.half)
    cover.polygon(blade.outline)
    cover.line(blade.midrib[:6], 6.5 * px, 1)
    return veins, half, cover


def _spot_on(rng: np.random.Generator, blade: Blade) -> NDArray[np.float64]:
    lattice = blade.lattices[rng.integers(2)]
    return lattice[rng.integers(len(lattice)), rng.integers(lattice.shape[1])]


def _blob(rng: np.random.Generator, center: Points, radius: float) -> NDArray[np.float64]:
    """Return an irregular round polygon `(14, 2)`."""
    return center + radius * (1 + 0.25 * rng.standard_normal((14, 1))) * _ROUND


def _holes(rng: np.random.Generator, blade: Blade, size: int) -> tuple[Ink, Ink]:
    """Ink holes by insects, inside and at the edge, and their brown rims."""
    ink, rims = Ink(size), Ink(size)
    for _ in range(rng.poisson(1.2)):
        inside = rng.random() < 0.6
        spot = _spot_on(rng, blade) if inside else blade.outline[rng.integers(20, 140)]
        radius = blade.length * rng.uniform(0.008, 0.03)
        blob = _blob(rng, spot, radius)
        ink.polygon(blob)
        rims.polygon(spot + (blob - spot) * (1 + 1.6 / radius), 0.7)
    return ink, rims


def _specks(rng: np.random.Generator, blade: Blade, size: int) -> Ink:
    """Ink specks of soil or dust, of all forms."""
    ink = Ink(size)
    for _ in range(round(rng.exponential(5.5))):
        spot = _spot_on(rng, blade) + rng.normal(0, 0.02 * blade.length, 2)
        radius = blade.length * rng.lognormal(-5.4, 0.45)
        ink.polygon(_blob(rng, spot, radius), rng.uniform(0.4, 0.95))
    return ink


def _add_dew(
    rng: np.random.Generator,
    color: Plane,
    blade: Blade,
    light: Light,
    size: int,
    window: Window,
) -> None:
    """Paint drops that are dark toward the light, bright behind, with a glint."""
    first_x, first_y, last_x, last_y = window
    for _ in range(rng.integers(3, 16)):
        x, y = _spot_on(rng, blade) + rng.normal(0, 0.03 * blade.length, 2)
        r = blade.length * rng.uniform(0.006, 0.02)
        left, top, right, bottom = (int(v) for v in (x - r, y - r, x + r + 2, y + r + 2))
        if left < 0 or top < 0 or right > size or bottom > size:
            continue
        left, top = max(left, first_x), max(top, first_y)
        right, bottom = min(right, last_x), min(bottom, last_y)
        if left >= right or top >= bottom:
            continue
        v, u = (np.mgrid[top:bottom, left:right].astype(np.float32).T - [y, x]).T / r
        inside = ((1 - u * u - v * v) * r / 2).clip(0, 1)
        facing = u * light.towards[0] + v * light.towards[1]
        glint = (0.16 - (u + 0.4 * light.towards[0]) ** 2 - (v + 0.4 * light.towards[1]) ** 2) * 9
        patch = color[:, top - first_y : bottom - first_y, left - first_x : right - first_x]
        patch *= 1 + inside * 0.7 * facing
        patch += (0.9 - patch) * inside * glint.clip(0, 1)
