"""The backbone's forward pass alone, on batches of 32 that lie in memory.

    python -m benchmarks.scripts.forward loaded|float32|mixed_bfloat16 SAVED_MODEL

`loaded` calls the SavedModel as `hub.load` returns it; the others are Graft's folded graph in that
precision. Prints {"import_secs": …, "ms_per_image": …, "feature_mean": …}.
"""

import json
import sys
import time
from collections.abc import Callable

from benchmarks.scripts.timing import a_batch, ms_per_image
from trainer.process.tensorflow_import import import_tensorflow


def main(kind: str, path: str) -> None:
    """See the module."""
    began = time.perf_counter()
    import_tensorflow()
    import_secs = time.perf_counter() - began
    import tensorflow as tf

    from trainer.engine import strategy as strategies

    images = tf.constant(a_batch())
    call = _loaded(path) if kind == "loaded" else _folded(path)
    with strategies.arithmetic("float32" if kind == "loaded" else kind):
        features = call(images).numpy()
        line = {"import_secs": import_secs, "ms_per_image": ms_per_image(lambda: call(images))}
    print(json.dumps({**line, "feature_mean": float(features.mean())}), flush=True)


def _loaded(path: str) -> Callable:
    from trainer.models import handles

    return handles.import_hub().load(path)


def _folded(path: str) -> Callable:
    import tensorflow as tf

    from trainer.models import frozen_backbone
    from trainer.settings.locations import default_cache_dir

    tf.config.experimental.enable_op_determinism()  # as a run does
    frozen = frozen_backbone.load(path, cache_dir=default_cache_dir())
    assert isinstance(frozen, frozen_backbone.FrozenBackbone), "the embedded backbone folds"
    return tf.function(lambda images: frozen(images), autograph=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
