"""The geometry of a drawn bean leaf.

A leaf is grown in its own coordinates (base at the origin, tip at x = 1), then bent, turned and
foreshortened into pixels. Its finest veins enclose a lattice of small cells, where lesions sit.
Points are float64 arrays `(n, 2)` of x, y.
"""

from dataclasses import dataclass

import numpy as np

from trainer.data.leaves.ink import Points

_ROWS_BETWEEN_VEINS = 4


@dataclass(frozen=True)
class Blade:
    """One leaf in pixels.

    Attributes:
        outline: closed polygon `(n, 2)`, the tip in the middle.
        half: the polygon of one side of the midrib, `(n, 2)`.
        midrib: from the end of the stalk to the tip, `(n, 2)`.
        veins: lateral veins, `(k, n, 2)`.
        lattices: for each side, the corners of the cells, `(rows, columns, 2)`.
        length: from base to tip, in pixels.
    """

    outline: Points
    half: Points
    midrib: Points
    veins: Points
    lattices: tuple[Points, Points]
    length: float


def grow(rng: np.random.Generator, center: Points, length: float, angle: float) -> Blade:
    """Draw the geometry of a leaf of random shape.

    Args:
        rng: the source of its shape.
        center: where the middle of the midrib lies, pixels `(2,)`.
        length: from base to tip in pixels, before foreshortening.
        angle: of the midrib, in radians.
    """
    habit = _Habit(
        width=rng.uniform(0.24, 0.43),
        belly=rng.uniform(0.05, 0.42),
        heart=rng.uniform(-0.01, 0.09),
        taper=rng.uniform(0.65, 1.05),
        lobe=rng.choice([0.0, 0.02, 0.06, 0.14], p=[0.4, 0.3, 0.2, 0.1]),
        lobes=rng.uniform(3, 9),
        num_veins=int(rng.integers(6, 10)),
    )
    sides = [_side(rng, habit, sign) for sign in (1, -1)]
    bend, wave = rng.normal(0, 0.16), rng.normal(0, 0.012)
    squeeze, tilt = rng.uniform(0.68, 1), rng.uniform(0, np.pi)
    across = np.array([np.cos(tilt), np.sin(tilt)])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])

    def place(points: Points) -> Points:
        x, y = points[..., 0] - 0.5, points[..., 1]
        bent = np.stack([x, y + bend * x * x + wave * np.sin(9 * x)], -1) @ turn
        # Seen from the side, a leaf shrinks along one direction.
        return (bent - (1 - squeeze) * (bent @ across)[..., None] * across) * length + center

    axis = np.linspace(0, 1, 40)
    midrib = np.stack([np.concatenate([[-0.5, -0.3, -0.12], axis]), np.zeros(43)], -1)
    (edge, veins, lattice), (other_edge, other_veins, other_lattice) = sides
    half = np.concatenate([edge, np.stack([axis[::-1], np.zeros(40)], -1)])
    return Blade(
        outline=place(np.concatenate([edge, other_edge[::-1]])),
        half=place(half),
        midrib=place(midrib),
        veins=place(np.concatenate([veins, other_veins])),
        lattices=(place(lattice), place(other_lattice)),
        length=length,
    )


@dataclass(frozen=True)
class _Habit:
    """What the two sides of a leaf share, in fractions of its length."""

    width: float
    belly: float
    heart: float
    taper: float
    lobe: float
    lobes: float
    num_veins: int


def _side(rng: np.random.Generator, habit: _Habit, sign: int) -> tuple[Points, Points, Points]:
    """Return the edge `(80, 2)`, the lateral veins `(k, 12, 2)` and the lattice of one side."""

    def edge(phi: Points) -> Points:
        near_base, near_tip = np.exp(-(((phi - 0.55) / 0.4) ** 2)), np.exp(-((np.pi - phi) / 0.55))
        ripple = habit.lobe * np.cos(habit.lobes * phi) + wobble @ np.sin(
            np.outer([5, 11, 23], phi) + phases[:, None]
        )
        x = (1 - np.cos(phi)) / 2 - habit.heart * near_base
        y = width * np.sin(phi) * (1 + habit.belly * np.cos(phi)) * (1 + ripple)
        return np.stack([x, sign * y * (1 - habit.taper * near_tip).clip(0)], -1)

    width = habit.width * rng.normal(1, 0.07)
    wobble, phases = rng.normal(0, [0.02, 0.012, 0.006]), rng.uniform(0, 6.3, 3)
    num = habit.num_veins
    order = np.linspace(0, 1, num)
    start = 0.015 + 0.8 * order**1.15 + rng.normal(0, 0.008, num) * (order > 0)
    end = edge(0.62 + 2.05 * order + rng.normal(0, 0.03, num))
    start = np.stack([start, np.zeros(num)], -1)
    # A vein leaves the midrib steeply and turns toward the tip.
    middle = (start + end) / 2 + np.stack([np.full(num, -0.035), 0.02 * sign * (1 - order)], -1)
    t = np.linspace(0, 1, 12)[:, None]
    curve = start[:, None] * (1 - t) ** 2 + middle[:, None] * 2 * t * (1 - t) + end[:, None] * t**2

    columns = int(rng.integers(11, 16))
    t = np.linspace(0, 0.97, columns)[:, None]
    rows = start[:, None] * (1 - t) ** 2 + middle[:, None] * 2 * t * (1 - t) + end[:, None] * t**2
    between = np.arange((num - 1) * _ROWS_BETWEEN_VEINS + 1) / _ROWS_BETWEEN_VEINS
    low = np.minimum(between.astype(int), num - 2)
    weight = (between - low)[:, None, None]
    lattice = rows[low] * (1 - weight) + rows[low + 1] * weight
    cell = 0.4 * habit.width / columns
    lattice[:, 1:] += (rng.uniform(-cell, cell, lattice.shape) * (weight % 1 > 0))[:, 1:]
    return edge(np.linspace(0, np.pi, 80)), curve, lattice
