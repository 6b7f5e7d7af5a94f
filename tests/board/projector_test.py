"""The projector's files: points that keep their distances, one row of metadata each, a sprite."""

import io

import numpy as np
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import ProjectorConfig

from trainer.board import projector

COLORS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250)]


def test_components_keep_distances():
    rng = np.random.default_rng(0)
    # 40 dimensions in 200 columns, far from the origin: nothing need be lost.
    features = (rng.normal(size=(90, 40)) @ rng.normal(size=(40, 200)) + 50).astype(np.float32)
    found = projector.principal_components(features)
    assert (found.shape, found.dtype) == ((90, 64), np.float32)
    distances = [np.linalg.norm(x[:, None] - x[None], axis=-1) for x in (features, found)]
    np.testing.assert_allclose(distances[1], distances[0], rtol=1e-3, atol=1e-2)
    spread = found.std(axis=0)
    assert (np.diff(spread) <= 1e-3).all()


def test_few_columns_stay_as_they_are():
    features = np.arange(128, dtype=np.float32).reshape(2, 64)
    assert projector.principal_components(features) is features


def test_few_points_have_few_components():
    assert projector.principal_components(np.eye(3, 100, dtype=np.float32)).shape == (3, 3)


def test_files():
    features = np.array([[0.5, -1], [2, 3], [4, 5], [6, 7], [8, 123456.7]], np.float32)
    found = projector.files(
        features,
        ["<script>", "b\tc", "", "d", "e"],
        ["1.jpg", "a\nb.jpg", "3.jpg", "größe.jpg", "5.jpg"],
        [Image.new("RGB", (16, 16), color) for color in COLORS],
    )
    assert list(found)[-1] == "projector_config.pbtxt"
    assert found["features.tsv"].decode().splitlines() == [
        "0.5\t-1",
        "2\t3",
        "4\t5",
        "6\t7",
        "8\t1.2346e+05",
    ]
    assert found["metadata.tsv"].decode().splitlines() == [
        "class\tid",
        "<script>\t1.jpg",
        "b c\ta b.jpg",
        "-\t3.jpg",
        "d\tgröße.jpg",
        "e\t5.jpg",
    ]
    sprite = Image.open(io.BytesIO(found["sprite.jpg"]))
    assert sprite.size == (48, 48)  # three columns: a square holds five
    for i, color in enumerate(COLORS):
        pixel = np.asarray(sprite)[i // 3 * 16 + 8, i % 3 * 16 + 8]
        assert np.abs(pixel.astype(int) - color).max() < 12
    config = text_format.Parse(found["projector_config.pbtxt"].decode(), ProjectorConfig())
    (entry,) = config.embeddings
    assert (entry.tensor_path, entry.metadata_path) == ("features.tsv", "metadata.tsv")
    assert list(entry.sprite.single_image_dim) == [16, 16]
