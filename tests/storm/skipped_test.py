"""No training image can be decoded, by epochs and with features cached."""

from tests.inputs import tiny
from tests.stories.skipped_test import CACHED, assert_refused_twice


def test_no_training_image_can_be_decoded(tmp_path):
    folder = tiny.write_folder(tmp_path / "folder", train=8, validation=4)
    backbone = tiny.write_backbone(tmp_path / "backbone")
    assert_refused_twice(CACHED, "--num_epochs=5", folder, backbone, tmp_path)
