"""Storage in a bucket, with the faults of which tests/storage/gcs_test.py has the like."""

import pytest

from tests.inputs import tiny
from tests.storage.gcs_test import (
    SMALL,
    assert_published_for_all,
    assert_restored_for_all,
)

FAULTS = ("429", "500", "cut")


@pytest.fixture
def scratch(tmp_path):
    return tiny.write_files(tmp_path / "scratch", SMALL)


@pytest.mark.parametrize("fault", FAULTS)
def test_publish_survives_a_fault_of_each_kind_anywhere(gcs, scratch, fault):
    assert_published_for_all(fault, gcs, scratch)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_restore_survives_a_fault_of_each_kind_anywhere(gcs, scratch, fault):
    assert_restored_for_all(fault, gcs, scratch)
