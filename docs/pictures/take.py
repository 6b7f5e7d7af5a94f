"""The pictures of the README, taken of real runs by a real browser: `make pictures`.

Another picture is another line of `shots`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from docs.pictures import terminal
from tests.inputs.board import tensorboard
from tests.servers.browser import chromium, serve

HERE = Path(__file__).resolve().parent
GRAFT = [sys.executable, "-m", "trainer"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
RUNS = {"leaves": [], "wide-head": ["--hidden_units=512", "--learning_rate=3e-4"]}


TAGS = ("accuracy", "confusion_matrix", "training_images", "worst_mistakes")
MOST_BYTES = 200_000


class Shot(NamedTuple):
    """One picture.

    Attributes:
        name: of the file, without `.png`.
        address: of the page.
        width, height: of the window, in CSS pixels.
        theme: "light" or "dark".
        above: what is scrolled to the top, as a CSS selector.
        hover: what the pointer is over.
        only: what of the page is taken, as a CSS selector; without, what the window shows.
        click: what is clicked first.
        wait_for: what must be there before it is taken.
    """

    name: str
    address: str
    width: int = 1080
    height: int = 820
    theme: str = "light"
    above: str = ""
    hover: str = ""
    only: str = ""
    click: str = ""
    wait_for: str = "body"


def shots(pages: str, board: str) -> list[Shot]:
    """What is taken of the pages at the address `pages`, and of TensorBoard at `board`."""
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
        Shot("terminal", f"{pages}/terminal.html", only="pre"),
        Shot("terminal-end", f"{pages}/terminal-end.html", only="pre"),
        Shot(
            "tensorboard",
            f"{board}?tagFilter=%5E({'%7C'.join(TAGS)})%24&smoothing=0#timeseries",
            height=960,
            click='[aria-label="Toggle settings side pane"]',
            wait_for="image-card img",
        ),
    ]


def main() -> None:
    """Train, serve, take."""
    with tempfile.TemporaryDirectory(prefix="graft-pictures-") as runs:
        for name, flags in RUNS.items():
            _graft("train", f"--workdir={name}", *flags, cwd=runs)
        _graft("compare", *RUNS, cwd=runs)
        for name, text in _played().items():
            Path(runs, f"{name}.html").write_text(text, encoding="utf-8")
        with (
            serve(runs) as pages,
            tensorboard(Path(runs, "leaves", "logs")) as board,
            chromium() as browser,
        ):
            for shot in shots(pages, board.address):
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
    if shot.click:
        page.click(shot.click)
        page.wait_for_timeout(2000)  # it slides, and charts are drawn anew
    if shot.above:
        page.locator(shot.above).evaluate(
            "element => element.scrollIntoView({behavior: 'instant'})"
        )
    if shot.hover:
        page.hover(shot.hover)
    page.wait_for_load_state("networkidle")
    taken = page.locator(shot.only) if shot.only else page
    path = HERE / f"{shot.name}.png"
    taken.screenshot(path=path)
    context.close()
    if path.stat().st_size > MOST_BYTES:
        with Image.open(path) as image:
            image.convert("RGB").quantize(256).save(path, optimize=True)


def _played() -> dict[str, str]:
    """Pages of a terminal; features are not cached, or training would be over in a second."""
    words = ["train", "--workdir=runs/leaves", "--feature_cache=off", "--num_epochs=4"]
    wanted: dict[str, Callable[[str], bool]] = {
        "terminal": lambda text: bool(re.search(r"\ntraining .* (7|8|9)\d/128", text)),
        "terminal-end": lambda text: "done  " in text,
    }
    with tempfile.TemporaryDirectory(prefix="graft-pictures-") as cwd:
        shown = " ".join(["graft", *words])
        return terminal.played([*GRAFT, *words], shown, wanted, cwd=cwd, env=ENVIRONMENT)


def _graft(*words: str, cwd: str) -> None:
    subprocess.run([*GRAFT, *words], cwd=cwd, check=True, env=ENVIRONMENT)


if __name__ == "__main__":
    main()
