"""A window of a drawing is what one would cut out of the whole, to the bit."""

import numpy as np
import pytest

from trainer.data.leaves.ink import Ink, cut, resized, resized_all, softened

SEED = 11
WINDOWS = {
    "high": (90, 3, 181, 250),
    "wide": (2, 180, 203, 241),
    "wide at the bottom": (0, 201, 250, 250),
    "whole": (0, 0, 250, 250),
}


@pytest.fixture(params=list(WINDOWS.values()), ids=list(WINDOWS))
def window(request):
    return request.param


def drawn():
    ink = Ink(250)
    ink.polygon(np.array([[95.3, 170.0], [180.7, 190.2], [120.1, 244.9]]), 0.6)
    ink.lines(np.array([[[-5.0, 10], [130, 200]], [[40, 240], [249, 205]]]), 1.4, 0.3)
    return ink


def test_plane(window):
    whole = drawn().plane()
    assert 0.25 < whole.max() <= 1
    np.testing.assert_array_equal(drawn().plane(window), cut(whole, window))


def test_spots(window):
    spots = drawn().spots(window)
    plane = np.zeros_like(drawn().plane(window))
    plane.reshape(-1)[spots.indices] = spots.values
    np.testing.assert_array_equal(plane, cut(drawn().plane(), window))


def test_spots_where_nothing_is():
    assert drawn().spots((240, 0, 250, 10)).indices.tolist() == []
    assert Ink(250).spots((0, 0, 250, 250)).indices.tolist() == []


@pytest.mark.parametrize("width", [250, 125, 100, 50, 600])
def test_resized(window, width):
    planes = np.random.default_rng(SEED).random((2, width, width), np.float32)
    whole = resized_all(planes, 250)
    np.testing.assert_array_equal(resized(planes[0], 250, window), cut(whole[0], window))
    np.testing.assert_array_equal(resized_all(planes, 250, window), cut(whole, window))


@pytest.mark.parametrize("factor", [2, 5, 6])
def test_softened(window, factor):
    plane = np.random.default_rng(SEED).random((250, 250), np.float32)
    whole = softened(plane, factor)
    np.testing.assert_array_equal(softened(plane, factor, window), cut(whole, window))


def test_where_something_was_drawn():
    ink = Ink(100)
    assert ink.window(0) == (0, 0, 1, 1)
    ink.disc(30, 60, 4, 8)
    assert ink.window(0) == (26, 52, 35, 69)
    assert ink.window(35) == (0, 17, 70, 100)
    shown = ink.plane()
    assert shown[52:69, 26:35].sum() == shown.sum() > 0
