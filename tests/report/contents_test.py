"""What a page says of a run, in words and figures, and of runs that are odd."""

import dataclasses
import json
import re

import numpy as np
import pytest

from tests.inputs import evidence
from trainer.report import command_of, contents, examples, page
from trainer.report.evidence import ReportData, Split, SuspectLabel


def build(found):
    """Contents that are JSON, and make a page."""
    built = contents.build(found)
    json.dumps(built, allow_nan=False)
    text = page.report(built)
    assert text.startswith("<!doctype html>")
    assert text.rstrip().endswith("</html>")
    return built, text


def texts(built):
    return [finding["text"] for finding in built["findings"]]


def test_a_small_run_section_by_section():
    built, _ = build(evidence.small())
    assert built["metrics"]["eval"]["accuracy"] == pytest.approx(4 / 6)
    assert built.keys() <= set(re.findall(r"\w+", contents.__doc__ or ""))
    assert [m["id"] for m in built["mistakes"]["shown"]] == ["validation/5.png", "validation/1.png"]
    assert built["mistakes"]["shown"][0]["prediction"] == "ant"
    assert built["duplicates"]["num_exact"] == 1
    assert built["duplicates"]["shown"][0]["train"]["id"] == "train/7.png"
    assert built["mislabels"]["shown"][0]["id"] == "train/8.png"
    assert built["mislabels"]["shown"][0]["suggestion"] == "ant"
    assert built["confusion"]["pairs"][0]["count"] == 1
    assert [part["name"] for part in built["goodput"]] == ["export", "step"]
    assert built["goodput"][0]["share"] == 0.75
    assert any("1 suspect label" in text for text in texts(built))
    assert any("1 validation image is also in the training split" in text for text in texts(built))


@pytest.mark.parametrize(("num_images", "kind"), [(1167, "note"), (300, "look")])
def test_three_suspect_labels_of_a_thousand_are_a_note(num_images, kind):
    splits = [Split("train", "training", num_images - 133, None), Split("test", "test", 9999, None)]
    splits.insert(1, Split("validation", "validation", 133, None))
    suspect_labels = [SuspectLabel(("train", 8), 0, 0.9, 0.05)] * 3
    built, _ = build(evidence.small(splits=splits, suspect_labels=suspect_labels))
    remark = "" if kind == "look" else ", about as many as among correct labels"
    text = f"3 suspect labels{remark}."
    assert {"kind": kind, "text": text, "section": "mislabels"} in built["findings"]


def test_settings_as_one_reads_them():
    config = {"dataset": "pets", "backbone": "b", "freeze_backbone": False, "test_split": ""}
    _, text = build(evidence.small(settings={"config": {**config, "num_steps": None}}))
    for row in (
        '<tr><th scope="row">--nofreeze_backbone</th><td>off</td><td class="quiet">on</td></tr>',
        '<tr><th scope="row">--nofreeze_backbone</th><td>off</td></tr>',
        '<tr><th scope="row">--test_split</th><td>not set</td></tr>',
        '<tr><th scope="row">--num_steps</th><td>not set</td></tr>',
    ):
        assert row in text


def test_ids_of_tfds_are_shown_by_what_tells_them_apart():
    ids = [f"my_set-validation.tfrecord-0000{i % 2}-of-00002__{i}" for i in range(5)]
    name = "my_set-validation.tfrecord-00000-of-00001__111"
    _, text = build(evidence.small(example_ids=[*ids, name]))
    assert f'<p class="id" title="{name}">validation 111</p>' in text
    assert f'<p class="id" title="{ids[1]}">validation 1/1</p>' in text
    assert '<span class="tag">train</span> train/8.png</p>' in text


def test_the_interval_is_wilsons():
    assert contents.interval(0.9, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert contents.interval(1.0, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)
    assert contents.interval(None, 10) is None
    assert contents.interval(float("nan"), 10) is None


def test_no_evaluation():
    found = ReportData("runs/young", {}, {}, {})
    built, text = build(found)
    assert built["mistakes"]["count"] == 0
    assert "There is no evaluation: the run has not finished." in text
    assert "No curves could be read." in text


def test_a_class_that_is_never_predicted():
    judged = evidence.scored([0, 1, 2, 2], [0, 1, 0, 1], [0.9, 0.9, 0.8, 0.7])
    names = ["a", "b", "never"]
    built, _ = build(evidence.small(scored=judged, metrics=evidence.metrics(names, judged)))
    assert built["confusion"]["never_predicted"] == ["never"]
    assert "Never predicted: never." in texts(built)
    row = built["classes"][2]
    assert (row["precision"], row["recall"], row["confidence"]) == (None, 0.0, None)


def test_figures_that_are_not_finite():
    judged = evidence.scored([0, 1, 1], [0, 0, 0], [np.nan, np.inf, 0.5])
    metrics = evidence.metrics(["a", "b"], judged, examples_per_sec=float("nan"))
    metrics["eval"]["loss"] = float("inf")
    metrics["eval"]["accuracy"] = float("nan")
    curves = {"train": {"loss": [(1, float("nan")), (2, 1.0)]}, "eval": {}}
    built, text = build(evidence.small(scored=judged, metrics=metrics, curves=curves))
    assert built["metrics"]["eval"]["loss"] is None
    assert built["curves"]["train"]["loss"] == [[1, None], [2, 1.0]]
    assert "NaN" not in text.partition("<script type")[2].partition("</script>")[0]


def test_a_thousand_classes_and_one_example_in_a_class():
    rng = np.random.default_rng(0)
    label = np.concatenate([np.arange(1000), rng.integers(0, 1000, 4000)])
    prediction = np.where(rng.random(5000) < 0.8, label, rng.integers(0, 1000, 5000))
    judged = evidence.scored(label, prediction, rng.random(5000))
    names = [f"class {i}" for i in range(1000)]
    splits = [Split("train", "training", 1000, np.ones(1000, int))]
    built, text = build(
        evidence.small(
            scored=judged,
            metrics=evidence.metrics(names, judged),
            ids=[str(i) for i in range(5000)],
            splits=splits,
            suspect_labels=[SuspectLabel(("train", i), 0, 0.9, 0.1) for i in range(500)],
        )
    )
    assert built["confusion"]["is_part"]
    assert np.shape(built["confusion"]["rows"]) == (20, 20)
    assert len(built["mistakes"]["shown"]) == examples.MAX_MISTAKES
    assert len(built["mislabels"]["shown"]) == examples.MAX_SUSPECT_LABELS
    assert built["mislabels"]["count"] == 500
    assert len(text) < 2_000_000


def test_suspect_labels_of_both_splits_are_shown():
    suspect_labels = [SuspectLabel(("validation", i), 0, 0.9, 0.1) for i in range(40)]
    suspect_labels += [SuspectLabel(("train", i), 0, 0.9, 0.1) for i in range(3)]
    shown = examples.shown_suspect_labels(
        dataclasses.replace(evidence.small(), suspect_labels=suspect_labels)
    )
    assert sum(suspect_labels[number].at[0] == "train" for number in shown) == 3
    assert len(shown) == examples.MAX_SUSPECT_LABELS


HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\u2028'\"&{{7*7}}",
)


def test_names_that_are_html_or_script_are_harmless():
    ids = [f'"><svg onload=alert({i})>' for i in range(6)]
    found = evidence.small(
        names=HOSTILE,
        example_ids=ids,
        workdir="<script>alert(2)</script>",
        settings={"config": {"workdir": "$(rm -rf ~)", "dataset": "</pre><script>x</script>"}},
        remarks={"duplicates": "<b>remark</b>"},
    )
    found.metrics["skipped"]["<i>file</i>"] = "<script>reason</script>"
    _, text = build(found)
    for hostile in (
        *HOSTILE[:2],
        *ids,
        "<script>alert(2)",
        "<b>remark",
        "<i>file",
        "<script>reason",
    ):
        assert hostile not in text
    assert text.count("<script") == 3  # the figures, Chart.js, the program
    assert "{{7*7}}" in text
    assert "49" not in text.partition("What to look at")[2].partition("</section>")[0]


def test_a_name_over_the_matrix_is_broken_between_its_words():
    _, text = build(evidence.small(names=["ant", "cat", "bee_<b>&_wasp"]))
    assert "<span>bee_<wbr>&lt;b&gt;&amp;_<wbr>wasp</span></th>" in text


def test_what_is_charted_cannot_end_its_block():
    found = evidence.small(curves={"train": {"</script><script>": [(1, 1.0)]}, "eval": {}})
    _, text = build(found)
    block = text.partition('id="for-charts">')[2].partition("</script>")[0]
    assert "</script><script>" in json.loads(block)["curves"][""]["train"]


def test_the_command_says_what_is_no_default_and_quotes_it():
    config = {
        "workdir": "a b",
        "dataset": "x'y",
        "freeze_backbone": False,
        "hidden_units": [64, 32],
    }
    assert command_of.command({**config, "seed": 0}) == (
        "graft train --workdir=ANOTHER '--dataset=x'\"'\"'y' --nofreeze_backbone "
        "--hidden_units=64,32"
    )
    assert command_of.command({}) == ""


def test_the_tables_beside_the_page():
    found = evidence.small(example_ids=["a,b", 'c"d', "e", "f", "g", "h"])
    assert page.metrics_csv(found.curves).splitlines() == [
        "step,train_loss,train_accuracy,eval_loss,eval_accuracy",
        "10,1.0,0.5,,",
        "20,0.5,0.75,0.5,0.6666666666666666",
    ]
    lines = page.predictions_csv(found).splitlines()
    assert lines[0] == "id,label,prediction,confidence,label_probability"
    assert lines[1] == '"a,b",ant,ant,0.900000,0.900000'
    assert lines[2] == '"c""d",ant,bee,0.800000,0.200000'
    assert len(lines) == 7
