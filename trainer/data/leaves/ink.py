"""The means of drawing a leaf: ink, noise, blur, and windows to look at no more than is needed.

Planes are float32 `(size, size)`. A window is a part of a plane, `(left, top, right, bottom)` in
its pixels, as in Pillow; what a function returns for a window is cut out of what it returns for
the whole plane, to the bit.
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
    """The pixels of a plane that are not 0: where in its ravelled form, and the values there."""

    places: NDArray[np.intp]
    values: NDArray[np.float32]


class Ink:
    """A grey canvas `(size, size)` that is drawn larger than it is read, for smooth edges."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._draw: ImageDraw.ImageDraw | None = None  # most canvases for damage stay empty
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
        """What was drawn, float32 `(size, size)`, or as large as `window`, in [0, 1]."""
        left, top, right, bottom = window or (0, 0, self._size, self._size)
        if self._image is None:
            return np.zeros((bottom - top, right - left), np.float32)
        box = enlarged((left, top, right, bottom), _OVERSAMPLING)
        plane = np.asarray(self._image.reduce(_OVERSAMPLING, box), np.float32)
        plane *= np.float32(1 / 255)
        return plane

    def spots(self, window: Window) -> Spots:
        """What was drawn, for canvases that are nearly empty."""
        inked = self.window(0)
        left, top = (max(pair) for pair in zip(inked[:2], window[:2], strict=True))
        right, bottom = (min(pair) for pair in zip(inked[2:], window[2:], strict=True))
        if self._image is None or left >= right or top >= bottom:
            return Spots(np.empty(0, np.intp), np.empty(0, np.float32))
        box = enlarged((left, top, right, bottom), _OVERSAMPLING)
        grey = np.asarray(self._image.reduce(_OVERSAMPLING, box))
        rows, columns = np.nonzero(
            grey != 0
        )  # of truth values: of bytes it takes ten times as long
        values = grey[rows, columns].astype(np.float32) * np.float32(1 / 255)
        places = (rows + (top - window[1])) * (window[2] - window[0]) + columns + (left - window[0])
        return Spots(places, values)

    def window(self, margin: int) -> Window:
        """Where something was drawn and `margin` pixels around it; never empty."""
        found = self._image.getbbox() if self._image else None
        left, top, right, bottom = found or (0, 0, 1, 1)
        return (
            max(left // _OVERSAMPLING - margin, 0),
            max(top // _OVERSAMPLING - margin, 0),
            min(-(-right // _OVERSAMPLING) + margin, self._size),
            min(-(-bottom // _OVERSAMPLING) + margin, self._size),
        )

    def soft_plane(self, factor: int) -> Plane:
        """What was drawn, blurred, float32 `(ceil(size / factor), ceil(size / factor))`."""
        if self._image is None:
            return np.zeros((-(-self._size // factor), -(-self._size // factor)), np.float32)
        small = self._image.reduce(_OVERSAMPLING * factor)
        # Without a blur a slanting line turns into a string of beads when it is enlarged.
        small = small.filter(ImageFilter.GaussianBlur(1))
        return np.asarray(small, np.float32) * np.float32(1 / 255)


def cut(planes: Plane, window: Window) -> Plane:
    """The window's part of planes `(..., size, size)`: a view."""
    left, top, right, bottom = window
    return planes[..., top:bottom, left:right]


def enlarged(window: Window, factor: int) -> Window:
    """The same window of a plane that is `factor` times as large."""
    left, top, right, bottom = window
    return left * factor, top * factor, right * factor, bottom * factor


def resized(plane: Plane, size: int, window: Window | None = None) -> Plane:
    """A square plane at another size, bicubic and without aliasing, or a window of that."""
    # Two products with matrices of weights are faster, but their last bit, and so the bytes of
    # a picture, depend on the number of threads of the linear algebra library.
    if len(plane) == size:
        return plane if window is None else cut(plane, window)
    return _enlarged(Image.fromarray(plane), size, window)


def resized_all(planes: Plane, size: int, window: Window | None = None) -> Plane:
    """As resized, of each of several planes."""
    return np.stack([resized(plane, size, window) for plane in planes])


def softened(plane: Plane, factor: int, window: Window | None = None) -> Plane:
    """The plane blurred over about `factor` pixels, by reducing and enlarging it."""
    return _enlarged(Image.fromarray(plane).reduce(factor), len(plane), window)


def _enlarged(image: Image.Image, size: int, window: Window | None) -> Plane:
    if window is None:
        return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))
    # Unless the scale is a power of two, Pillow's weights for a window differ in the last bits.
    scale = size // image.width
    if scale * image.width != size or scale & (scale - 1):
        return cut(_enlarged(image, size, None), window)
    left, top, right, bottom = window
    # It takes rows before columns, as for the whole, where the window is not wider than high.
    start = min(top, max(0, size - (right - left)))
    stop = max(bottom, start + (right - left))
    box = left / scale, start / scale, right / scale, stop / scale
    part = image.resize((right - left, stop - start), Image.Resampling.BICUBIC, box)
    return np.asarray(part)[top - start : bottom - start]


def noise(rng: np.random.Generator, cells: int, size: int) -> Plane:
    """Smooth noise of unit variance at its knots, `cells` knots on a side of `size` pixels."""
    return resized(rng.standard_normal((cells, cells), np.float32), size)
