"""Keras's Adam and SGD with one fused TensorFlow kernel for each variable and step.

Keras's update is a dozen operations, each of which reads and writes arrays as large as the
variable. The kernels compute the same formulas in one pass.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras


class Adam(tf_keras.optimizers.Adam):
    """Kingma and Ba, 2015 (arXiv:1412.6980), in the form given just before the paper's section 2.1.

    With `weight_decay` it is AdamW (Loshchilov and Hutter, 2019, arXiv:1711.05101). Slots and
    checkpoints are Keras's.
    """

    def __init__(self, learning_rate: Any, **settings: Any) -> None:
        # Keras would use XLA on a GPU, which has nothing left to fuse.
        super().__init__(learning_rate, jit_compile=False, **settings)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Update `variable` and its two moments; Keras calls it once a replica."""
        step = tf.cast(self.iterations + 1, variable.dtype)
        beta_1, beta_2 = (tf.cast(beta, variable.dtype) for beta in (self.beta_1, self.beta_2))
        slot = self._index_dict[self._var_key(variable)]
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[slot].handle,
            v=self._velocities[slot].handle,
            beta1_power=tf.pow(beta_1, step),
            beta2_power=tf.pow(beta_2, step),
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.cast(self.epsilon, variable.dtype),
            grad=gradient,
        )


class SGD(tf_keras.optimizers.SGD):
    """Nesterov's momentum, as in Sutskever et al., 2013; slots and checkpoints are Keras's."""

    def __init__(self, learning_rate: Any, momentum: float, **settings: Any) -> None:
        super().__init__(learning_rate, momentum, nesterov=True, jit_compile=False, **settings)

    def update_step(self, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Update `variable` and its momentum; Keras calls it once a replica."""
        slot = self._index_dict[self._var_key(variable)]
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=self.momentums[slot].handle,
            lr=tf.cast(self.learning_rate, variable.dtype),
            grad=gradient,
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=True,
        )
