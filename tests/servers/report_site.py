"""Pages for a browser: of a real run, a comparison, of hostile names, and of almost nothing."""

import dataclasses
import json

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.inputs import evidence
from tests.report.contents_test import HOSTILE
from tests.servers.browser import chromium, opened, serve
from trainer.commands import compare
from trainer.report import contents, page

PAGES = ("report.html", "hostile.html", "bare.html", "compare.html")
THEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site(planted_run, tmp_path_factory):
    """The report of a real run, a comparison, and a page of hostile names; (address, metrics)."""
    root = tmp_path_factory.mktemp("site")
    _, workdir = planted_run
    (root / "report.html").write_bytes((workdir / "report" / "index.html").read_bytes())
    small = evidence.small(
        names=HOSTILE,
        example_ids=[f"\"'><script>alert({i})</script>{'x' * 200}" for i in range(6)],
        remarks={"duplicates": "<script>alert(3)</script>"},
    )
    (root / "hostile.html").write_text(page.report(contents.build(small)))
    bare = dataclasses.replace(
        evidence.small(), metrics={}, scored=None, curves={}, near_duplicates=()
    )
    (root / "bare.html").write_text(
        page.report(contents.build(dataclasses.replace(bare, suspect_labels=())))
    )
    assert compare.main([str(workdir), f"{workdir}/", f"--output={root / 'compare.html'}"]) == 0
    with serve(root) as address:
        yield address, json.loads((workdir / "metrics.json").read_text())


def assert_accessible(browser, address, theme):
    """Nothing that axe-core objects to; and no more than the width of a phone, all unfolded."""
    with opened(browser, address, width=360, theme=theme) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth") == 360
        for details in shown.locator("details").all():
            details.evaluate("element => element.open = true")
        assert shown.evaluate("document.documentElement.scrollWidth") == 360
        problems = Axe().run(shown)
        assert problems.violations_count == 0, problems.generate_report()
