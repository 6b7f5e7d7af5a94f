"""Which mistakes are the worst, and that their places are those of the examples."""

import numpy as np
import pytest
import tensorflow as tf

from tests.inputs import jpegs
from trainer.data.decode.decode_checked import BadImages
from trainer.data.input_pipeline import InputPipeline
from trainer.data.sources.folder_source import open_folder
from trainer.engine import mistakes
from trainer.engine.evaluate import Evaluator
from trainer.engine.mistakes import Mistake


def of(losses, labels, predictions, indices=None):
    indices = range(len(losses)) if indices is None else indices
    return mistakes.worst(*map(np.array, (losses, indices, labels, predictions)))


def test_the_highest_losses_of_what_is_wrong():
    found = of([0.1, 3.0, 9.0, 2.0], [0, 0, 1, 1], [1, 1, 1, 0], [7, 5, 3, 1])
    assert found == [Mistake(3.0, 5, 0, 1), Mistake(2.0, 1, 1, 0), Mistake(0.1, 7, 0, 1)]


def test_of_equal_losses_the_first_place_and_no_number_before_all():
    found = of([1.0, 1.0, np.nan, np.inf], [0, 0, 0, 0], [1, 1, 1, 1], [9, 2, 8, 4])
    assert [m.example_index for m in found] == [4, 8, 2, 9]


def test_nothing_wrong():
    assert of([1.0], [1], [1]) == []
    assert mistakes.from_facts({}) == []
    assert mistakes.worst_of([]) == []


def test_eight_of_all_workers():
    told: dict[str, str] = {}
    for worker in range(3):
        losses = [worker + i / 10 for i in range(9)]
        told |= mistakes.to_facts(
            of(losses, [0] * 9, [1] * 9, [100 * worker + i for i in range(9)])
        )
    found = mistakes.from_facts(told)
    assert [m.example_index for m in found] == [208, 207, 206, 205, 204, 203, 202, 201]
    assert found[0] == Mistake(2.8, 208, 0, 1)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    # No larger than twice what is asked for: no JPEG is decoded at a fraction of its size.
    root = jpegs.write_folder(tmp_path_factory.mktemp("data"), train=1, validation=7, size=15)
    return open_folder(str(root))


@pytest.mark.integration
@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_a_place_is_that_of_the_example(source, replicas):
    """Every image is taken for the next class, and its loss follows from its own pixels."""
    pipeline = InputPipeline(source, 6, 6, 0, (8, 8), BadImages())

    def logits(images):
        mean = tf.reduce_mean(images, axis=[1, 2])  # red, green, blue of the colours
        return tf.stack([mean[:, 1], mean[:, 0], mean[:, 2]], axis=1) * 30

    expected = []
    for example_index in range(21):
        example = source.example("validation", example_index)
        pixels = tf.io.decode_jpeg(example.encoded, 3, dct_method="INTEGER_ACCURATE")
        image = tf.image.resize(pixels, (8, 8), "bilinear") / 255
        scores = logits(image[None])[0].numpy().astype(np.float64)
        loss = np.log(np.exp(scores - scores[example.label]).sum())
        expected.append((loss, example_index, example.label, int(scores.argmax())))
    wrong = sorted(row for row in expected if row[2] != row[3])[::-1][:8]
    assert len(wrong) == 8

    found: list[Mistake] = []
    for replica in range(replicas):
        batches = pipeline.evaluation_batches("validation", [replica], replicas)
        strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
        evaluator = Evaluator(
            strategy,
            logits,
            iter(strategy.distribute_datasets_from_function(lambda _, batches=batches: batches)),
            pipeline.evaluation_steps("validation", replicas),
            source.class_names,
            lambda: False,
            indices=pipeline.evaluation_indices("validation", [replica], replicas),
        )
        for _ in range(2):  # a second pass begins where the first one did
            evaluation = evaluator.run()
        assert evaluation is not None
        found += evaluation.worst
    for ours, theirs in zip(mistakes.worst_of(found), wrong, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3)
