"""`graft compare`: what it reads, what it says, what it refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.inputs import evidence
from tests.processes.commands import graft, refused
from tests.processes.in_process import graft as graft_here
from trainer.report import comparison, contents, page


def write_run(directory, prediction=(0, 1, 1, 1, 2, 0), **config):
    """The files of a finished run on six images, without curves."""
    judged = evidence.scored([0, 0, 1, 1, 2, 2], prediction, [0.9, 0.8, 0.7, 0.6, 0.95, 0.99])
    names = ["ant", "bee", "cat"]
    found = evidence.small(scored=judged, metrics=evidence.metrics(names, judged))
    (directory / "report").mkdir(parents=True)
    (directory / "metrics.json").write_text(json.dumps(found.metrics))
    settings = {"config": {"workdir": str(directory), "seed": 0, **config}}
    (directory / "config.json").write_text(json.dumps(settings))
    (directory / "report" / "predictions.csv").write_text(page.predictions_csv(found))
    (directory / "report" / "contents.json").write_text(json.dumps(contents.build(found)))
    return str(directory)


@pytest.fixture
def two(tmp_path):
    first = write_run(tmp_path / "x" / "one")
    second = write_run(tmp_path / "x" / "two", (0, 0, 1, 2, 2, 2), seed=7)
    return [first, second]


def test_the_examples_that_changed_sides(two):
    found = comparison.build([comparison.read(workdir) for workdir in two])["examples"]
    assert found["num_common"] == 6
    assert found["num_changed"] == 3
    assert {e["id"] for e in found["shown"]} == {f"validation/{i}.png" for i in (1, 3, 5)}
    assert found["against_first"] == [{"gained": 2, "lost": 1, "chance": 1.0}]
    of_5 = next(e for e in found["shown"] if e["id"] == "validation/5.png")
    assert [answer["prediction"] for answer in of_5["answers"]] == ["ant", "cat"]
    assert [answer["is_right"] for answer in of_5["answers"]] == [False, True]
    assert of_5["picture"].startswith("data:image/jpeg;base64,")
    of_3 = next(e for e in found["shown"] if e["id"] == "validation/3.png")
    assert of_3["picture"] == ""  # on neither page


def test_the_figures_and_the_settings_that_differ(two):
    found = comparison.build([comparison.read(workdir) for workdir in two])
    assert found["names"] == ["one", "two"]
    accuracy = found["figures"][0]
    assert [cell["value"] for cell in accuracy["cells"]] == pytest.approx([4 / 6, 5 / 6])
    assert [cell["is_best"] for cell in accuracy["cells"]] == [False, True]
    assert found["settings"] == [{"name": "seed", "values": ["0", "7"]}]


def test_mcnemar_by_hand():
    assert comparison.mcnemar(0, 0) == 1.0
    assert comparison.mcnemar(6, 0) == pytest.approx(2 / 64)
    assert comparison.mcnemar(6, 1) == pytest.approx(2 * 8 / 128)
    assert comparison.mcnemar(3, 3) == 1.0


def test_names_that_tell_runs_apart(tmp_path):
    runs = [comparison.read(write_run(tmp_path / name / "run")) for name in ("a", "b")]
    assert comparison.build(runs)["names"] == ["a/run", "b/run"]
    assert len(set(comparison.build([runs[0], runs[0]])["names"])) == 2


@pytest.mark.integration
def test_the_command_writes_the_page(two, tmp_path):
    process = graft("compare", *two, f"--output={tmp_path / 'out.html'}")
    assert process.returncode == 0, process.stderr
    assert process.stdout == (
        f"2 runs, 3 of 6 validation images differ in correctness; page in {tmp_path}/out.html\n"
    )
    assert (tmp_path / "out.html").read_text().startswith("<!doctype html>")


def test_a_run_that_is_not_over_and_one_without_predictions(two, tmp_path, capsys):
    young = tmp_path / "young"
    young.mkdir()
    shutil.copy(f"{two[0]}/config.json", young)
    found = comparison.build([comparison.read(workdir) for workdir in (two[0], str(young))])
    assert [cell["value"] for cell in found["figures"][0]["cells"]] == [pytest.approx(4 / 6), None]
    assert found["examples"]["num_common"] == 0
    process = graft_here(capsys, "compare", two[0], young, f"--output={tmp_path / 'out.html'}")
    assert process.stdout.startswith("2 runs, no validation images in common; page in ")
    assert "no scored validation images in common" in page.comparison(found)


def test_figures_that_are_not_finite(two):
    path = Path(two[0], "metrics.json")
    metrics = json.loads(path.read_text())
    metrics["eval"]["loss"] = np.nan
    path.write_text(json.dumps(metrics))
    found = comparison.build([comparison.read(workdir) for workdir in two])
    json.dumps(found, allow_nan=False)
    page.comparison(found)


def test_what_is_refused(two, tmp_path, capsys):
    refused(graft_here(capsys, "compare", two[0]), "graft: compare: name two runs or more")
    refused(graft_here(capsys, "compare", two[0], tmp_path / "none"), f"{tmp_path}/none", "no run")
    refused(graft_here(capsys, "compare", *two, "--output="), "--output")
    refused(
        graft_here(capsys, "compare", *two, f"--output={two[0]}/config.json/x.html"), "config.json"
    )
    (tmp_path / "x" / "two" / "metrics.json").write_text("{")
    refused(graft_here(capsys, "compare", *two), "metrics.json", "not JSON")
    (tmp_path / "x" / "one" / "report" / "contents.json").write_text("{")
    refused(graft_here(capsys, "compare", *two), "one/report/contents.json", "not JSON")
