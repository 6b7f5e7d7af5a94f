"""Disable rewriting by tf.data and AutoGraph: a pipeline runs as written.

The pipelines set their own parallelism, have no stateful functions and need no AutoGraph.
Searching them for rewrites took most of an iterator's startup time, and found none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf
from tensorflow.python.framework import config as tf_config

# For dataset functions: they need no AutoGraph, and converting them takes seconds.
do_not_convert = tf.autograph.experimental.do_not_convert


def skip_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Disable tf.data's autotuning and rewriting of `dataset`.

    Deleting an autotuned iterator may also take seconds, because TensorFlow joins the tuning
    thread.
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
    """Disable graph optimization of dataset functions if TensorFlow starts within.

    tf.data uses the graph optimizer's options at TensorFlow's start; any other function uses
    those of its first call.
    """
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})


@contextlib.contextmanager
def deterministic_ops(enabled: bool) -> Iterator[None]:
    """Enable op determinism within, if `enabled`."""
    was_enabled = tf_config.is_op_determinism_enabled()
    if enabled:
        tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        if enabled and not was_enabled:
            tf_config.disable_op_determinism()  # has no public name


@contextlib.contextmanager
def skip_determinism_check() -> Iterator[None]:
    """Create iterators within this without searching them for nondeterministic functions.

    Under op determinism tf.data otherwise inspects every dataset function, to make the stateful
    ones sequential.
    """
    if not tf_config.is_op_determinism_enabled():
        yield
        return
    tf_config.disable_op_determinism()
    try:
        yield
    finally:
        tf.config.experimental.enable_op_determinism()
