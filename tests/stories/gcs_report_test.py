"""The report of a run whose workdir is in a bucket, and comparing runs there."""

import csv
import json

from tests.processes.commands import graft
from trainer.report import page

WORKDIR = "gs://bucket/run"


def test_a_run_in_a_bucket_has_its_report_there(gcs, arguments, undisturbed):
    # Its checkpoints are those of tests/stories/gcs_run_test.py.
    rare = [*arguments, "--checkpoint_every_steps=9999", f"--workdir={WORKDIR}"]
    process = graft(*rare, **gcs.environment)
    assert process.returncode == 0, process.stderr
    assert "no report" not in process.stdout
    ours = gcs.read("run/report/metrics.csv").decode()
    theirs = (undisturbed / "report" / "metrics.csv").read_text()
    assert [row["step"] for row in csv.DictReader(ours.splitlines())] == [
        row["step"] for row in csv.DictReader(theirs.splitlines())
    ]
    predictions = (undisturbed / "report" / "predictions.csv").read_bytes()
    assert gcs.read("run/report/predictions.csv") == predictions
    shown = json.loads(gcs.read("run/report/contents.json"))
    assert gcs.read("run/report/index.html").decode() == page.report(shown)
    lines = [json.loads(line) for line in gcs.read("run/logs/curves.jsonl").splitlines()]
    assert [(line["step"], line["accuracy"]) for line in lines if line["curve"] == "eval"] == [
        tuple(point) for point in shown["curves"]["eval"]["accuracy"]
    ]

    output = f"--output={WORKDIR}/compare.html"
    process = graft("compare", WORKDIR, undisturbed, output, **gcs.environment)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith("2 runs, 0 of ")
    assert gcs.read("run/compare.html").startswith(b"<!doctype html>")
