"""Curves that are damaged, or absent: what can be read is drawn, and what is left out is said."""

from tests.commands.compare_test import write_run
from tests.inputs import evidence
from tests.processes.in_process import graft as graft_here
from trainer.board.event_writer import SummaryWriter
from trainer.report import comparison, contents, page

STEPS = range(10, 110, 10)


def write_logs(logs):
    """Ten points of each curve, as a run writes them; the file."""
    summary_writer = SummaryWriter(str(logs), 0)
    for step in STEPS:
        summary_writer.write("train", step, {"loss": 1 / step, "accuracy": step / 200})
        summary_writer.write("eval", step, {"loss": 2 / step})
    summary_writer.close()
    return logs / "curves.jsonl"


def test_the_report_stands_and_says_it():
    damaged = evidence.small(remarks={"curves": "Left out: <b> of curves.jsonl."})
    text = page.report(contents.build(damaged))
    section = text.partition('<section id="curves">')[2].partition("</section>")[0]
    assert "Left out: &lt;b&gt; of curves.jsonl." in section


def test_the_comparison_stands_and_says_it(tmp_path, capsys):
    runs = [write_run(tmp_path / name) for name in ("whole", "damaged", "old")]
    write_logs(tmp_path / "whole" / "logs")
    file = write_logs(tmp_path / "damaged" / "logs")
    file.write_bytes(file.read_bytes()[:-100])
    # Of an earlier version: event files, and a page alone.
    write_logs(tmp_path / "old" / "logs").unlink()
    (tmp_path / "old" / "report" / "contents.json").unlink()
    found = comparison.build([comparison.read(run) for run in runs])
    damaged = "Left out: 1 of 19 lines of curves.jsonl (corrupt)."
    old = "Left out: curves.jsonl (No such file or directory)."
    old += " No images: there is no report/contents.json."
    assert found["dropped"] == [
        {"name": "damaged", "text": damaged},
        {"name": "old", "text": old},
    ]
    assert {
        name: len(of_run["train"].get("loss", ())) for name, of_run in found["curves"].items()
    } == {
        "whole": 10,
        "damaged": 9,
        "old": 0,
    }
    output = tmp_path / "page.html"
    process = graft_here(capsys, "compare", *runs, f"--output={output}")
    assert process.returncode == 0, process.stderr
    assert f"damaged: {damaged}" in output.read_text()
    assert f"old: {old}" in output.read_text()
