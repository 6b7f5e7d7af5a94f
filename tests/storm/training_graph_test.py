"""Every kind of convolution, folded to train by, at every padding, stride and parity of size."""

import pytest

from tests.models.training_graph_test import LAYERS, assert_folded, assert_one_pixel


@pytest.mark.parametrize("size", [15, 16])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("layer", [*LAYERS, "1x1"])
def test_a_normalized_convolution(tmp_path, layer, padding, strides, size):
    if layer == "1x1":
        assert_one_pixel(tmp_path, padding, strides, size)
    else:
        assert_folded(tmp_path, layer, padding, strides, size)
