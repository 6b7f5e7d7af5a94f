"""The report of a real run, on data in which something is wrong."""

import csv
import html
import json
import re

import numpy as np
import pytest

from tests.inputs import tiny
from tests.inputs.evidence import encoded
from tests.processes.commands import graft
from trainer.report import page as report_page
from trainer.report import pictures


def section(text, name):
    return text.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def ids(text):
    """The examples that a section shows, in its order."""
    found = re.findall(r'<p class="id">(?:<span class="tag">.*?</span> )?(.*?)</p>', text)
    return [html.unescape(name) for name in found]


@pytest.fixture(scope="module")
def page(planted_run):
    return (planted_run[1] / "report" / "index.html").read_text()


def test_each_planted_duplicate_is_shown_beside_its_copy(planted_run, page):
    found, _ = planted_run
    text = section(page, "duplicates")
    names = ids(text)
    pairs = set(zip(names[::2], names[1::2], strict=True))
    assert pairs == found.exact | found.near
    assert text.count("the same file") == len(found.exact)
    assert "2 byte for byte, 2 by their features" in text


def test_the_planted_mislabels_of_both_splits_are_shown_and_few_others(planted_run, page):
    found, _ = planted_run
    text = section(page, "mislabels")
    assert found.mislabelled <= set(ids(text))
    assert sum(name.startswith("validation/") for name in found.mislabelled) == 1
    assert len(ids(text)) <= 8
    assert "Suspect labels" in section(page, "mislabels")


def test_the_tables_hold_what_the_run_measured(planted_run):
    _, workdir = planted_run
    metrics = json.loads((workdir / "metrics.json").read_text())
    with open(workdir / "report" / "predictions.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == metrics["eval"]["num_examples"] == 60
    assert all(row["id"].split("/")[1] == row["label"] for row in rows)
    right = sum(row["label"] == row["prediction"] for row in rows)
    assert right / 60 == metrics["eval"]["accuracy"]
    losses = [-np.log(float(row["label_probability"])) for row in rows]
    assert np.mean(losses) == pytest.approx(metrics["eval"]["loss"], rel=1e-3)
    with open(workdir / "report" / "metrics.csv") as stream:
        last = list(csv.DictReader(stream))[-1]
    assert int(last["step"]) == metrics["global_step"]


def test_the_page_shows_what_is_in_its_contents_and_no_more(planted_run, page):
    """Anybody can draw the same page from the file alone."""
    found, workdir = planted_run
    contents = json.loads((workdir / "report" / "contents.json").read_text())
    assert report_page.report(contents) == page
    metrics = json.loads((workdir / "metrics.json").read_text())
    del metrics["report"]  # which is not known before the page is there
    assert contents["metrics"] == {"test": None, **metrics}
    lines = [json.loads(x) for x in (workdir / "logs/curves.jsonl").read_bytes().splitlines()]
    for name in ("train", "eval"):
        assert contents["curves"][name]["loss"] == [
            [line["step"], line["loss"]] for line in lines if line["curve"] == name
        ]
    assert contents["curves_remark"] == ""
    pairs = contents["duplicates"]["shown"]
    assert {(p["validation"]["id"], p["train"]["id"]) for p in pairs} == found.exact | found.near
    assert contents["duplicates"]["num_exact"] == len(found.exact)
    assert sum(pair["is_exact"] for pair in pairs) == len(found.exact)
    assert found.mislabelled <= {example["id"] for example in contents["mislabels"]["shown"]}


def test_the_page_is_one_file(page):
    assert len(page) < 2_000_000
    assert not re.search(r'(?:src|href)="(?!data:|#)', page)


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory):
    """Arguments of a run on images, without features, and with a broken one."""
    root = tmp_path_factory.mktemp("tiny")
    folder = tiny.write_folder(root / "images", train=12, validation=5)
    content = (folder / "train" / "blue" / "000.png").read_bytes()
    (folder / "validation" / "blue" / "twin.png").write_bytes(content)
    (folder / "validation" / "red" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return [
        "train",
        f"--dataset={folder}",
        f"--backbone={tiny.write_backbone(root / 'backbone')}",
        "--num_epochs=1",
        "--global_batch_size=8",
        "--export_formats=",
        "--nolog_images",
        "--bad_images=skip",
        "--feature_cache=off",
    ]


@pytest.mark.integration
def test_without_features_the_same_files_are_found(tiny_run, tmp_path):
    process = graft(*tiny_run, f"--workdir={tmp_path}", "--nofreeze_backbone")
    assert process.returncode == 0, process.stderr
    text = (tmp_path / "report" / "index.html").read_text()
    duplicates = section(text, "duplicates")
    assert ids(duplicates) == ["validation/blue/twin.png", "train/blue/000.png"]
    assert "there are no features to compare" in duplicates
    assert "there are no features of them" in section(text, "mislabels")
    assert "validation/red/broken.png" in section(text, "data")
    with open(tmp_path / "report" / "predictions.csv") as stream:
        names = {row["id"] for row in csv.DictReader(stream)}
    assert len(names) == 16
    assert "validation/red/broken.png" not in names


@pytest.mark.integration
def test_a_report_that_cannot_be_written_does_not_cost_the_run(tiny_run, tmp_path):
    (tmp_path / "report").write_text("a file where a directory should be")
    process = graft(*tiny_run, f"--workdir={tmp_path}")
    assert process.returncode == 0, process.stderr
    assert f"warning: no report in {tmp_path}/report/index.html: " in process.stdout
    assert json.loads((tmp_path / "metrics.json").read_text())["eval"]["num_examples"] == 16
    assert process.stdout.splitlines()[-1].endswith(f"figures in {tmp_path}/metrics.json")
    (tmp_path / "report").unlink()
    again = graft(*tiny_run, f"--workdir={tmp_path}")
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1].endswith(f"report in {tmp_path}/report/index.html")
    assert (tmp_path / "report" / "index.html").is_file()


@pytest.mark.integration
def test_no_report_where_none_is_asked_for(tiny_run, tmp_path):
    process = graft(*tiny_run, f"--workdir={tmp_path}", "--noreport")
    assert process.returncode == 0, process.stderr
    assert not (tmp_path / "report").exists()
    assert process.stdout.splitlines()[-1].endswith(f"figures in {tmp_path}/metrics.json")
    earlier = json.loads((tmp_path / "metrics.json").read_text())
    # The same run with a report makes it from the best weights, and trains no step.
    again = graft(*tiny_run, f"--workdir={tmp_path}")
    assert again.returncode == 0, again.stderr
    assert "first step" not in again.stdout
    assert again.stdout.splitlines()[-1].endswith(f"report in {tmp_path}/report/index.html")
    text = (tmp_path / "report" / "index.html").read_text()
    assert f'data-value="{earlier["eval"]["accuracy"]}"' in text
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["eval"] == earlier["eval"]
    third = graft(*tiny_run, f"--workdir={tmp_path}")
    assert "finished   already at step " in third.stdout
    assert third.stdout.splitlines()[-1] == again.stdout.splitlines()[-1]


def test_small_pictures_of_any_kind():
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        uri = pictures.thumbnail(encoded(size=(400, 200), kind=kind))
        assert uri.startswith("data:image/jpeg;base64,"), kind
    assert pictures.thumbnail(b"no image") == ""
    assert pictures.thumbnail(encoded()[:40]) == ""
