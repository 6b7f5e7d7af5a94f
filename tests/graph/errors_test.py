"""What TensorFlow's errors become."""

import pytest
import tensorflow as tf

from trainer.graph.errors import translating_errors
from trainer.process.errors import UserError

# As TensorFlow 2.21 says it.
TOO_LARGE = (
    "{{function_node __wrapped__StatelessRandomUniformV2_device_/job:localhost/replica:0/task:0/"
    "device:CPU:0}} OOM when allocating tensor with shape[65536,65536] and type float on "
    "/job:localhost/replica:0/task:0/device:CPU:0 by allocator mklcpu "
    "[Op:StatelessRandomUniformV2] name: "
)


def raised(kind, message):
    with translating_errors():
        raise kind(None, None, message)


def test_a_tensor_that_is_too_large_is_the_users_with_its_shape():
    with pytest.raises(UserError) as caught:
        raised(tf.errors.ResourceExhaustedError, TOO_LARGE)
    assert str(caught.value) == (
        "not enough memory for a tensor of shape [65536,65536] (OOM when allocating tensor with "
        "shape[65536,65536] and type float on /job:localhost/replica:0/task:0/device:CPU:0 by "
        "allocator mklcpu); ask for less, such as by --hidden_units or --global_batch_size, or "
        "take a larger machine"
    )


def test_what_is_used_up_is_the_users():
    with pytest.raises(UserError, match=r"^/data/a\.jpg; Too many open files$"):
        raised(tf.errors.ResourceExhaustedError, "/data/a.jpg; Too many open files")


def test_what_a_gpu_has_no_deterministic_kernel_for_is_named_with_the_flag():
    message = (
        "A deterministic GPU implementation of AdjustContrast is not currently available.\n"
        "\t [[{{node contrast}}]]"
    )
    with pytest.raises(UserError) as caught:
        raised(tf.errors.UnimplementedError, message)
    assert str(caught.value) == (
        "A deterministic GPU implementation of AdjustContrast is not currently available. "
        "--nodeterministic does without it."
    )


def test_a_bug_stays_one():
    with pytest.raises(tf.errors.InvalidArgumentError, match="Incompatible shapes"):
        raised(tf.errors.InvalidArgumentError, "Incompatible shapes: [2] vs. [3]")
