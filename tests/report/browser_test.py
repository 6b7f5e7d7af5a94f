"""The pages in a real browser: figures, hover, keyboard, narrow screens, accessibility.

Every page in both themes is in tests/storm/report_browser_test.py.
"""

import json

import pytest

from tests.report.contents_test import HOSTILE
from tests.servers.browser import opened
from tests.servers.report_site import assert_accessible, browser, site

__all__ = ["browser", "site"]

# On one worker with those who have the same run made.
pytestmark = pytest.mark.xdist_group("tests/report/run_test.py")


@pytest.mark.parametrize(("name", "theme"), [("report.html", "light"), ("hostile.html", "dark")])
def test_it_is_accessible_and_fits_a_phone(browser, site, name, theme):
    assert_accessible(browser, f"{site[0]}/{name}", theme)


def at(metrics, path):
    for key in path.split("."):
        metrics = metrics[key]
    return metrics


def test_the_figures_are_those_of_metrics_json(browser, site):
    address, metrics = site
    with opened(browser, f"{address}/report.html") as shown:
        cells = shown.eval_on_selector_all(
            "[data-figure]", "all => all.map(x => ({...x.dataset, text: x.textContent}))"
        )
        figures = {c["figure"]: (json.loads(c["value"]), c["text"]) for c in cells}
        for path in [
            "eval.accuracy",
            "eval.loss",
            "train.accuracy",
            "train.loss",
            "best.global_step",
            "examples_per_sec",
            "wall_secs",
            "num_trainable_params",
            "goodput.in_steps",
            "goodput.wall_secs",
            "input_wait",
        ]:
            assert figures[path][0] == at(metrics, path), path
        assert figures["eval.accuracy"][1] == f"{100 * metrics['eval']['accuracy']:.2f} %"
        assert figures["eval.loss"][1] == f"{metrics['eval']['loss']:.4f}"
        for number, name in enumerate(metrics["class_names"]):
            for kind in ("precision", "recall"):
                cell = next(
                    c
                    for c in cells
                    if c["figure"] == f"eval.per_class.{kind}" and c["class"] == str(number)
                )
                assert json.loads(cell["value"]) == metrics["eval"]["per_class"][name][kind]
        matrix = shown.eval_on_selector_all(
            "#matrix td[data-row]", "all => all.map(x => Number(x.textContent || 0))"
        )
        assert matrix == [n for row in metrics["eval"]["confusion_matrix"] for n in row]


def test_the_matrix_answers_to_pointer_and_keyboard(browser, site):
    address, metrics = site
    names, matrix = metrics["class_names"], metrics["eval"]["confusion_matrix"]
    with opened(browser, f"{address}/report.html") as shown:
        readout = shown.locator("#readout")
        shown.hover('#matrix td[data-row="1"][data-column="1"]')
        total = sum(matrix[1])
        begin = f"{names[1]}: {matrix[1][1]} of {total} predicted as {names[1]}"
        assert readout.inner_text().startswith(begin)
        shown.focus("#matrix")
        shown.keyboard.press("ArrowRight")
        begin = f"{names[1]}: {matrix[1][2]} of {total} predicted as {names[2]}"
        assert readout.inner_text().startswith(begin)
        shown.keyboard.press("ArrowRight")  # no further
        assert readout.inner_text().startswith(begin)


def test_curves_are_drawn_and_answer_to_the_pointer(browser, site):
    with opened(browser, f"{site[0]}/report.html") as shown:
        canvas = shown.locator('figure[data-tag="loss"] canvas')
        canvas.scroll_into_view_if_needed()
        plain = canvas.screenshot()
        assert (
            shown.evaluate("Chart.getChart(document.querySelector('canvas')).data.datasets.length")
            == 2
        )
        box = canvas.bounding_box()
        shown.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        shown.wait_for_function(
            "Chart.getChart(document.querySelector('canvas')).tooltip.opacity === 1"
        )
        assert canvas.screenshot() != plain


def test_the_button_changes_the_colours(browser, site):
    with opened(browser, f"{site[0]}/report.html") as shown:
        ground = "getComputedStyle(document.body).backgroundColor"
        light = shown.evaluate(ground)
        shown.click("#theme")
        assert shown.evaluate(ground) != light
        shown.click("#theme")
        assert shown.evaluate(ground) == light


def test_no_name_becomes_an_element(browser, site):
    with opened(browser, f"{site[0]}/hostile.html") as shown:
        assert shown.locator("main script, main svg, main b b, main [onerror]").count() == 0
        assert HOSTILE[0] in shown.inner_text("#matrix thead")
        assert shown.inner_text("#duplicates .quiet") == "<script>alert(3)</script>"
