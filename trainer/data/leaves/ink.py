"""Tools to draw a leaf: ink, noise, blur, and windows that limit the work.

Planes are float32 `(size, size)`. A window is a part of a plane, `(left, top, right, bottom)` in
its pixels, as in Pillow; a function's result for a window equals that part of its result for the
plane bit for bit.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

Plane = NDArray[np.float32]
Points = NDArray[np.float64]
Window = tuple[int, int, int, int]

_OVERSAMPLING = 2


class Spots(NamedTuple):
    """The nonzero pixels of a plane: indices in its raveled form, and values."""

    indices: NDArray[np.intp]
    values: NDArray[np.float32]


class Ink:
    """A gray canvas `(size, size)` that is drawn larger than it is read, for smooth edges."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._draw: ImageDraw.ImageDraw | None = None  # most canvases stay empty
        self._image: Image.Image | None = None

    def _pen(self) -> ImageDraw.ImageDraw:
        if self._draw is None:
            self._image = Image.new("L", (self._size * _OVERSAMPLING, self._size * _OVERSAMPLING))
            self._draw = ImageDraw.Draw(self._image)
        return self._draw

    def polygon(self, points: Points, value: float = 1.0) -> None:
        """Fill the polygon `(n, 2)` with a value in [0, 1]."""
        self._pen().polygon((points * _OVERSAMPLING).ravel().tolist(), fill=round(value * 255))

    def line(self, points: Points, width: float, value: float) -> None:
        """Draw a line through `(n, 2)` points, `width` pixels wide."""
        self.lines(points[None], width, value)

    def lines(self, points: Points, width: float, value: float) -> None:
        """Draw a line through each of the `(k, n, 2)` rows of points."""
        pen, shade, width = self._pen(), round(value * 255), max(1, round(width * _OVERSAMPLING))
        for line in (points * _OVERSAMPLING).reshape(len(points), -1).tolist():
            pen.line(line, shade, width)

    def disc(self, x: float, y: float, rx: float, ry: float, value: float = 1.0) -> None:
        """Fill the ellipse around x, y."""
        box = [(x - rx), (y - ry), (x + rx), (y + ry)]
        self._pen().ellipse([v * _OVERSAMPLING for v in box], fill=round(value * 255))

    def plane(self, window: Window | None = None) -> Plane:
        """Return the drawing, float32 `(size, size)`, or of the size of `window`, in [0, 1]."""
        left, top, right, bottom = window or (0, 0, self._size, self._size)
        if self._image is None:
            return np.zeros((bottom - top, right - left), np.float32)
        box = enlarged((left, top, right, bottom), _OVERSAMPLING)
        plane = np.asarray(self._image.reduce(_OVERSAMPLING, box), np.float32)
        plane *= np.float32(1 / 255)
        return plane

    def spots(self, window: Window) -> Spots:
        """Return the nonzero pixels of the drawing, for nearly empty canvases."""
        inked = self.window(0)
        left, top = (max(pair) for pair in zip(inked[:2], window[:2], strict=True))
        right, bottom = (min(pair) for pair in zip(inked[2:], window[2:], strict=True))
        if self._image is None or left >= right or top >= bottom:
            return Spots(np.empty(0, np.intp), np.empty(0, np.float32))
        box = enlarged((left, top, right, bottom), _OVERSAMPLING)
        gray = np.asarray(self._image.reduce(_OVERSAMPLING, box))
        rows, columns = np.nonzero(
            gray != 0
        )  # of truth values: of bytes it takes ten times as long
        values = gray[rows, columns].astype(np.float32) * np.float32(1 / 255)
        indices = (
            (rows + (top - window[1])) * (window[2] - window[0]) + columns + (left - window[0])
        )
        return Spots(indices, values)

    def window(self, margin: int) -> Window:
        """Return the window of the drawing with a margin of `margin` pixels; never empty."""
        found = self._image.getbbox() if self._image else None
        left, top, right, bottom = found or (0, 0, 1, 1)
        return (
            max(left // _OVERSAMPLING - margin, 0),
            max(top // _OVERSAMPLING - margin, 0),
            min(-(-right // _OVERSAMPLING) + margin, self._size),
            min(-(-bottom // _OVERSAMPLING) + margin, self._size),
        )

    def soft_plane(self, factor: int) -> Plane:
        """Return the blurred drawing, float32 `(ceil(size / factor), ceil(size / factor))`."""
        if self._image is None:
            return np.zeros((-(-self._size // factor), -(-self._size // factor)), np.float32)
        small = self._image.reduce(_OVERSAMPLING * factor)
        # Without a blur a slanting line turns into a string of beads when it is enlarged.
        small = small.filter(ImageFilter.GaussianBlur(1))
        return np.asarray(small, np.float32) * np.float32(1 / 255)


def cut(planes: Plane, window: Window) -> Plane:
    """Return a view of the window's part of planes `(..., size, size)`."""
    left, top, right, bottom = window
    return planes[..., top:bottom, left:right]


def enlarged(window: Window, factor: int) -> Window:
    """Return the same window of a plane that is `factor` times as large."""
    left, top, right, bottom = window
    return left * factor, top * factor, right * factor, bottom * factor


def resized(plane: Plane, size: int, window: Window | None = None) -> Plane:
    """Resize a square plane, bicubic and without aliasing; or return a window of the result."""
    # Two products with matrices of weights are faster, but their last bit, and so the bytes of an
    # image, depend on the number of threads of the linear algebra library.
    if len(plane) == size:
        return plane if window is None else cut(plane, window)
    return _enlarged(Image.fromarray(plane), size, window)


def resized_all(planes: Plane, size: int, window: Window | None = None) -> Plane:
    """Apply `resized` to each of several planes."""
    return np.stack([resized(plane, size, window) for plane in planes])


def softened(plane: Plane, factor: int, window: Window | None = None) -> Plane:
    """Blur the plane over about `factor` pixels, by reducing and enlarging it."""
    return _enlarged(Image.fromarray(plane).reduce(factor), len(plane), window)


def _enlarged(image: Image.Image, size: int, window: Window | None) -> Plane:
    if window is None:
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    # Unless the scale is a power of two, Pillow's weights for a window differ in the last bits.
    scale = size // image.width
    if scale * image.width != size or scale & (scale - 1):
        return cut(_enlarged(image, size, None), window)
    left, top, right, bottom = window
    # Pillow resizes rows before columns, as for the plane, if the window is not wider than high.
    start = min(top, max(0, size - (right - left)))
    stop = max(bottom, start + (right - left))
    box = left / scale, start / scale, right / scale, stop / scale
    part = image.resize((right - left, stop - start), Image.Resampling.BICUBIC, box)
    return np.asarray(part)[top - start : bottom - start]


def noise(rng: np.random.Generator, cells: int, size: int) -> Plane:
    """Draw smooth noise of unit variance at its knots, `cells` knots on a side of `size` pixels."""
    return resized(rng.standard_normal((cells, cells), np.float32), size)
