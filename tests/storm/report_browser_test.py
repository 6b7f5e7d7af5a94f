"""Every page in a real browser, in both themes."""

import pytest

from tests.servers.report_site import PAGES, THEMES, assert_accessible, browser, site

__all__ = ["browser", "site"]


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("name", PAGES)
def test_it_is_accessible_and_fits_a_phone(browser, site, name, theme):
    assert_accessible(browser, f"{site[0]}/{name}", theme)
