"""The pictures of the README, taken of real runs by a real browser: `make pictures`.

Another picture is another line of `shots`; what is served by a program of its own, as TensorBoard
is, is started in `main` beside the pages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.browser import chromium, serve

HERE = Path(__file__).resolve().parent
RUNS = {"leaves": [], "wide-head": ["--hidden_units=512", "--learning_rate=3e-4"]}


class Shot(NamedTuple):
    """One picture.

    Attributes:
        name: of the file, without `.png`.
        address: of the page.
        width, height: of the window, in CSS pixels.
        theme: "light" or "dark".
        above: what is scrolled to the top, as a CSS selector.
        hover: what the pointer is over.
        wait_for: what must be there before it is taken.
    """

    name: str
    address: str
    width: int = 1080
    height: int = 820
    theme: str = "light"
    above: str = ""
    hover: str = ""
    wait_for: str = "body"


def shots(pages: str) -> list[Shot]:
    """What is taken of the pages at the address `pages`."""
    report = f"{pages}/leaves/report/index.html"
    return [
        Shot("report", report),
        Shot(
            "report-dark",
            report,
            theme="dark",
            above="#confusion",
            hover='#matrix [data-row="0"][data-column="2"]',
        ),
        Shot("report-mistakes", report, above="#mistakes"),
        Shot("report-phone", report, width=360, height=740),
        Shot("compare", f"{pages}/compare.html"),
    ]


def main() -> None:
    """Train, serve, take."""
    with tempfile.TemporaryDirectory(prefix="graft-pictures-") as runs:
        for name, flags in RUNS.items():
            _graft("train", f"--workdir={name}", *flags, cwd=runs)
        _graft("compare", *RUNS, cwd=runs)
        with serve(runs) as pages, chromium() as browser:
            for shot in shots(pages):
                take(browser, shot)


def take(browser: Any, shot: Shot) -> None:
    """One picture, twice as dense as its CSS pixels where it is narrow."""
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme=shot.theme,
        device_scale_factor=2 if shot.width < 500 else 1,
    )
    page = context.new_page()
    page.goto(shot.address)
    page.wait_for_selector(shot.wait_for)
    if shot.above:
        page.locator(shot.above).evaluate(
            "element => element.scrollIntoView({behavior: 'instant'})"
        )
    if shot.hover:
        page.hover(shot.hover)
    page.wait_for_load_state("networkidle")
    page.screenshot(path=HERE / f"{shot.name}.png")
    context.close()


def _graft(*words: str, cwd: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
    command = [sys.executable, "-m", "trainer", *words]
    subprocess.run(command, cwd=cwd, check=True, env=environment)


if __name__ == "__main__":
    main()
