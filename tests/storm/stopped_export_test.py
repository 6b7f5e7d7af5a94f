"""SIGTERM while a run exports, to any worker and at either moment of it."""

import pytest

from tests.stories.stopped_export_test import (
    SAVES,
    SCORES,
    assert_leaves_and_exports_later,
)
from tests.tiers import GANG

pytestmark = GANG


@pytest.mark.parametrize("moment", [SAVES, SCORES])
@pytest.mark.parametrize(("num_workers", "asked"), [(1, 0), (2, 0), (2, 1)])
def test_sigterm_in_the_export(gates, tmp_path, num_workers, asked, moment):
    assert_leaves_and_exports_later(gates(moment, 1), tmp_path, num_workers, asked)
