"""Event files that are damaged: what can be read is drawn, and what is left out is said."""

import pytest

from tests.commands.compare_test import write_run
from tests.inputs import evidence
from tests.processes.commands import graft
from trainer.board.event_writer import Summaries
from trainer.report import comparison, contents, curves, page

STEPS = range(10, 110, 10)


def write_logs(logs):
    """Ten points of each curve in real event files; the files by curve."""
    summaries = Summaries(str(logs), 0)
    for step in STEPS:
        summaries.write("train", step, {"loss": 1 / step, "accuracy": step / 200})
        summaries.write("eval", step, {"loss": 2 / step})
    summaries.close()
    return {name: next((logs / name).iterdir()) for name in ("train", "eval")}


def steps(found, name="train"):
    return [step for step, _ in found[name].get("loss", [])]


def test_whole_files_leave_nothing_out(tmp_path):
    write_logs(tmp_path)
    found, dropped = curves.read(str(tmp_path))
    assert steps(found) == steps(found, "eval") == list(STEPS)
    assert dropped == ""


@pytest.mark.parametrize("at", [0.5, 0.9])
def test_a_flipped_bit_costs_what_comes_after_it(tmp_path, at):
    file = write_logs(tmp_path)["train"]
    content = bytearray(file.read_bytes())
    content[int(at * len(content))] ^= 1
    file.write_bytes(content)
    found, dropped = curves.read(str(tmp_path))
    kept = steps(found)
    assert kept == list(STEPS)[: len(kept)]
    assert 0 < len(kept) < len(STEPS)
    assert steps(found, "eval") == list(STEPS)
    assert dropped.startswith(f"Left out: train/{file.name} from byte ")
    assert dropped.endswith(f" of {len(content):,} on (damaged).")


def test_a_file_that_is_cut_short(tmp_path):
    file = write_logs(tmp_path)["train"]
    file.write_bytes(file.read_bytes()[:-1])
    found, dropped = curves.read(str(tmp_path))
    assert steps(found) == list(STEPS)[:-1]
    assert file.name in dropped


@pytest.mark.parametrize("content", [b"x", b"\xff" * 64, b"no event file at all" * 9])
def test_a_file_of_something_else(tmp_path, content):
    file = write_logs(tmp_path)["train"]
    file.write_bytes(content)
    found, dropped = curves.read(str(tmp_path))
    assert found["train"] == {}
    assert f"train/{file.name} from byte 0 of {len(content)} on" in dropped


def test_an_empty_file_and_one_that_cannot_be_read(tmp_path):
    file = write_logs(tmp_path)["train"]
    (tmp_path / "train" / "empty.tfevents").touch()
    (tmp_path / "train" / "directory.tfevents").mkdir()
    found, dropped = curves.read(str(tmp_path))
    assert steps(found) == list(STEPS)
    assert dropped == "Left out: train/directory.tfevents (Is a directory)."
    assert file.name not in dropped


def test_the_report_stands_and_says_it():
    damaged = evidence.small(remarks={"curves": "Left out: train/<b> from byte 0 of 9 on."})
    text = page.report(contents.build(damaged))
    section = text.partition('<section id="curves">')[2].partition("</section>")[0]
    assert "Left out: train/&lt;b&gt; from byte 0 of 9 on." in section


@pytest.mark.integration
def test_the_comparison_stands_and_says_it(tmp_path):
    whole, damaged = (write_run(tmp_path / name) for name in ("whole", "damaged"))
    write_logs(tmp_path / "whole" / "logs")
    file = write_logs(tmp_path / "damaged" / "logs")["train"]
    file.write_bytes(file.read_bytes()[:-100])
    found = comparison.build([comparison.read(whole), comparison.read(damaged)])
    assert [of_run["name"] for of_run in found["dropped"]] == ["damaged"]
    assert len(found["curves"]["whole"]["train"]["loss"]) == len(STEPS)
    assert 0 < len(found["curves"]["damaged"]["train"]["loss"]) < len(STEPS)
    process = graft("compare", whole, damaged, f"--output={tmp_path / 'page.html'}")
    assert process.returncode == 0, process.stderr
    assert f"damaged: Left out: train/{file.name} from byte" in (tmp_path / "page.html").read_text()
