"""A bucket that cannot be reached, for as long as a run waits for it; many images amid faults."""

import pytest

from tests.inputs import tiny
from tests.stories.gcs_data_test import (
    UNREACHABLE,
    assert_packed_is_the_same,
    assert_refused,
)


def test_a_folder_and_what_is_packed_of_it(gcs, tmp_path, storm_round):
    folder = tiny.write_folder(tmp_path / "folder", train=12, validation=4)
    assert_packed_is_the_same(gcs, folder, tmp_path, num_red=12)


@pytest.mark.parametrize("flag", ["dataset", "backbone"])
def test_a_bucket_that_cannot_be_reached_is_refused_soon(gcs, flag, tmp_path):
    assert_refused(gcs, flag, "gs://bucket/there", "503", UNREACHABLE, tmp_path / "run")
