"""A bucket that cannot be reached, for as long as a run waits for it."""

import pytest

from tests.storage.gcs_check_test import assert_not_reachable


@pytest.mark.parametrize("fault", ["503", "reset", "delay:30"])
def test_not_reachable_for_as_long_as_a_run_waits(gcs, fault):
    assert_not_reachable(gcs, fault)
