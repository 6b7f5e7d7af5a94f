"""The export holds its pre-processing and says what the model says, or is found out."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from tests.inputs import tiny
from trainer.data.sources.folder_source import open_folder
from trainer.engine.evaluate import Evaluation
from trainer.engine.export import check, export
from trainer.models import frozen_backbone
from trainer.models.classifier import Classifier, Head
from trainer.process.errors import ExportMismatch, UserError
from trainer.storage import api as storage

pytestmark = pytest.mark.integration

CLASS_NAMES = ("blue", "green", "red")


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    saved = tiny.write_backbone(tmp_path_factory.mktemp("backbone"))
    backbone = frozen_backbone.load(str(saved), cache_dir=str(tmp_path_factory.mktemp("cache")))
    head = Head(backbone.num_features, (16,), 3, seed=1)
    return Classifier(backbone, head)


@pytest.fixture(scope="module")
def exported(classifier, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("run") / "export")
    formats = ("saved_model", "tflite")
    export(classifier, CLASS_NAMES, directory, formats, {"global_step": 3})
    return directory


@pytest.fixture(scope="module")
def without_webp(classifier, tmp_path_factory):
    directory = str(tmp_path_factory.mktemp("run") / "export")
    export(classifier, CLASS_NAMES, directory, ("saved_model_no_webp",), {})
    return directory


def test_it_is_published_whole_with_its_labels(exported):
    manifest = storage.read_manifest(exported)
    assert manifest is not None
    assert storage.verify(exported, manifest) is None
    assert manifest.facts == {"global_step": 3}
    assert {"saved_model.pb", "assets/labels.txt", "model.tflite"} <= set(manifest.files)
    assert Path(exported, "assets/labels.txt").read_text() == "blue\ngreen\nred\n"


def test_both_signatures_give_scores_best_first(classifier, exported):
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(image).save(encoded, "PNG")
    signatures = tf.saved_model.load(exported).signatures
    of_bytes = signatures["serving_default"](image_bytes=tf.constant([encoded.getvalue()] * 2))
    of_images = signatures["images"](images=tf.constant(image[None] / 255, tf.float32))
    expected = tf.nn.softmax(classifier(tf.constant(image[None] / 255, tf.float32))).numpy()[0]
    order = np.argsort(-expected)
    for outputs in (of_bytes, of_images):
        np.testing.assert_allclose(outputs["scores"][0], expected[order], atol=1e-6)
        assert [c.decode() for c in outputs["classes"].numpy()[0]] == [
            CLASS_NAMES[i] for i in order
        ]
    assert of_bytes["scores"].shape == (2, 3)


@pytest.mark.filterwarnings("ignore:.*tf.lite.Interpreter is deprecated")
def test_tflite_gives_the_same_scores_in_the_order_of_labels(classifier, exported):
    images = tf.random.stateless_uniform([1, 32, 32, 3], [1, 2])
    interpreter = tf.lite.Interpreter(f"{exported}/model.tflite")
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], images)
    interpreter.invoke()
    scores = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(scores, tf.nn.softmax(classifier(images)), atol=1e-5)


def test_check_compares_the_number_of_examples_and_of_hits(classifier, exported, tmp_path):
    source = open_folder(str(tiny.write_folder(tmp_path, train=2, validation=6)))
    confusion = np.zeros((3, 3), np.int64)
    predict = tf.saved_model.load(exported).signatures["serving_default"]
    for example in source.examples("validation", 0, 1, shuffle=False):
        best = predict(image_bytes=example["encoded"][None])["classes"].numpy()[0, 0].decode()
        confusion[int(example["label"]), CLASS_NAMES.index(best)] += 1

    def evaluation(changed):
        return Evaluation(1.0, changed, CLASS_NAMES)

    check(exported, source, "validation", evaluation(confusion), batch_size=4)
    more = confusion.copy()
    more[0, 0] += 1
    with pytest.raises(ExportMismatch, match=f"of 18 images.*of {19}"):
        check(exported, source, "validation", evaluation(more), batch_size=4)
    other = np.roll(confusion, 1, axis=1)  # as many examples, other hits
    assert np.trace(other) != np.trace(confusion)
    with pytest.raises(ExportMismatch, match="scores"):
        check(exported, source, "validation", evaluation(other), batch_size=4)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("text", "^the image validation/red/001.png cannot be decoded: .*has changed during the "),
        ("WEBP", "^by the export, the image validation/red/001.png .*: not a JPEG, PNG, GIF or BM"),
    ],
)
def test_check_names_an_image_that_the_export_does_not_take(without_webp, tmp_path, kind, message):
    folder = tiny.write_folder(tmp_path, train=1, validation=3)
    source = open_folder(str(folder))
    if kind == "text":
        (folder / "validation" / "red" / "001.png").write_text("no image")
    else:
        Image.new("RGB", (9, 9)).save(folder / "validation" / "red" / "001.png", kind)
    evaluation = Evaluation(1.0, np.zeros((3, 3), np.int64), CLASS_NAMES)
    with pytest.raises(UserError, match=message):
        check(without_webp, source, "validation", evaluation, batch_size=4)


def operations(directory):
    """The names of all operations of a SavedModel."""
    saved = saved_model_pb2.SavedModel.FromString(Path(directory, "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return {node.op for node in nodes}


def test_without_webp_it_is_loaded_by_older_tensorflow(exported, without_webp):
    # TensorFlow 2.15, which Vertex AI serves with, has all other operations.
    assert "DecodeWebP" in operations(exported) - operations(without_webp)
    assert operations(without_webp) < operations(exported)
    predict = tf.saved_model.load(without_webp).signatures["serving_default"]
    encoded = {}
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        buffer = io.BytesIO()
        Image.new("RGB", (40, 30), (50, 180, 60)).save(buffer, kind)
        encoded[kind] = buffer.getvalue()
    webp = encoded.pop("WEBP")
    assert predict(image_bytes=tf.constant([*encoded.values()]))["scores"].shape == (4, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="not a JPEG, PNG, GIF or BMP image"):
        predict(image_bytes=tf.constant([webp]))
