"""What tf.data and AutoGraph are kept from doing: a pipeline runs as it is written.

The pipelines here are written out: their parallelism is that of the cores, nothing in them has a
state, and no step needs Python translated. To look for what could be rewritten took most of the
time in which an iterator starts, and found nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.framework import config as tf_config

# For the functions of a data set: they need no AutoGraph, and translating them costs seconds.
as_written = tf.autograph.experimental.do_not_convert


def skip_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """`dataset`, neither tuned nor rewritten by tf.data.

    An iterator that is tuned may take seconds to go, too, for TensorFlow waits for the thread that
    tunes it.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    rewriting = options.experimental_optimization
    rewriting.apply_default_optimizations = False
    rewriting.inject_prefetch = rewriting.noop_elimination = False
    rewriting.seq_interleave_prefetch = False
    return dataset.with_options(options)


@contextlib.contextmanager
def skip_graph_optimizer() -> Iterator[None]:
    """Where TensorFlow starts within this, the functions of data sets are not optimised.

    tf.data keeps the graph optimizer's options of the moment in which TensorFlow starts; any other
    function has those of the moment in which it is first called.
    """
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@contextlib.contextmanager
def deterministic_ops(enabled: bool) -> Iterator[None]:
    """Within, the same operations give the same bits, if `enabled`; else as it was."""
    was_enabled = tf_config.is_op_determinism_enabled()
    if enabled:
        tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        if enabled and not was_enabled:
            tf_config.disable_op_determinism()  # which has no public name


@contextlib.contextmanager
def skip_determinism_check() -> Iterator[None]:
    """Iterators are made within this without being searched for what is not deterministic.

    Under op determinism tf.data otherwise looks through every function of a data set, to take the
    parallelism from those that have a state.
    """
    if not tf_config.is_op_determinism_enabled():
        yield
        return
    tf_config.disable_op_determinism()
    try:
        yield
    finally:
        tf.config.experimental.enable_op_determinism()
