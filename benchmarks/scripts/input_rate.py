"""Images a second of the input pipeline alone, or of the bare JPEG decoder in one thread.

    python -m benchmarks.scripts.input_rate pipeline none|light DATA
    python -m benchmarks.scripts.input_rate decoder DATA

The pipeline is the one that training reads: records, decoding, augmentation, resizing, batches of
32, with every core. The decoder is `tf.io.decode_jpeg` at full size on the same files in memory,
and nothing else. Prints {"images_per_sec": …, "cores": …}.
"""

import json
import sys
import time

from benchmarks.setting import BATCH_SIZE, NUM_TRAIN
from trainer.process.tensorflow_import import import_tensorflow

_SECS = 12.0


def main(kind: str, *arguments: str) -> None:
    """See the module."""
    import_tensorflow()
    import tensorflow as tf

    from trainer.process import machine

    if kind == "decoder":
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        rate = _decoder(*arguments)
    else:
        tf.config.experimental.enable_op_determinism()  # as a run does
        rate = _pipeline(*arguments)
    line = {"images_per_sec": rate, "cores": machine.num_cores()}
    print(json.dumps(line), flush=True)


def _pipeline(augment: str, data: str) -> float:
    import tensorflow as tf

    from trainer.data.decode.decode_checked import BadImages
    from trainer.data.input_pipeline import InputPipeline
    from trainer.data.sources import tfds_open
    from trainer.graph.plain_pipeline import skip_determinism_check, skip_graph_optimizer

    with skip_graph_optimizer():  # as a run does, too
        tf.config.list_logical_devices()
    source = tfds_open.open_prepared(data, shuffle_buffer_size=2048)
    pipeline = InputPipeline(
        source=source,
        global_batch_size=BATCH_SIZE,
        num_logical_shards=8,
        seed=0,
        image_size=(224, 224),
        bad_images=BadImages(),
        augment=augment,
    )
    with skip_determinism_check():
        batches = iter(pipeline.training_batches("train", range(8), 1, 0))
    for _ in range(8):  # the shuffle buffers fill, the functions are traced
        next(batches)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _SECS:
        next(batches)
        count += BATCH_SIZE
    return count / (time.perf_counter() - began)


def _decoder(data: str) -> float:
    import tensorflow as tf

    from trainer.data.sources import tfds_open

    source = tfds_open.open_prepared(data, shuffle_buffer_size=1)
    examples = source.examples("train", 0, 1, shuffle=False).as_numpy_iterator()
    files = [tf.constant(example["encoded"]) for example in examples]
    assert len(files) == NUM_TRAIN
    tf.io.decode_jpeg(files[0])
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < _SECS:
        tf.io.decode_jpeg(files[count % len(files)])
        count += 1
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    main(*sys.argv[1:])
