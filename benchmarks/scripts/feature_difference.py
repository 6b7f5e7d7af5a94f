"""How far a frozen backbone's features in bfloat16 are from those in float32, on real images.

    python -m benchmarks.scripts.feature_difference DATA BACKBONE

Prints {"largest": the largest difference as a share of the largest feature, "cosine": the lowest
over the images} of the validation split.
"""

import json
import sys

import numpy as np

from benchmarks.setting import NUM_VALIDATION
from trainer.process.tensorflow_import import import_tensorflow


def main(data: str, path: str) -> None:
    """See the module."""
    import_tensorflow()
    import tensorflow as tf

    from trainer.data.decode.decode_image import decode_and_resize
    from trainer.data.sources import tfds_open
    from trainer.engine import strategy as strategies
    from trainer.models import frozen_backbone
    from trainer.settings.locations import default_cache_dir

    frozen = frozen_backbone.load(path, cache_dir=default_cache_dir())
    source = tfds_open.open_prepared(data, shuffle_buffer_size=1)
    encoded = [e["encoded"] for e in source.examples("validation", 0, 1, shuffle=False)]
    images = tf.stack([decode_and_resize(content, frozen.image_size) for content in encoded])
    assert len(images) == NUM_VALIDATION
    features = {}
    for precision in ("float32", "mixed_bfloat16"):
        # A function of its own: a traced one keeps the arithmetic it was traced in.
        call = tf.function(lambda batch: frozen(batch), autograph=False)
        with strategies.arithmetic(precision):
            features[precision] = call(images).numpy().astype(np.float64)
    plain, half = features["float32"], features["mixed_bfloat16"]
    norms = np.linalg.norm(plain, axis=1) * np.linalg.norm(half, axis=1)
    line = {
        "largest": float(np.abs(half - plain).max() / np.abs(plain).max()),
        "cosine": float(((plain * half).sum(1) / norms).min()),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
