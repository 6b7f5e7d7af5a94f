"""The pure parts of `make bench`: spreads, ratios, the page; and processes that run in turn."""

import json
import sys

import pytest

from benchmarks import gangs, page, readings
from benchmarks.figures import Row, Spread
from benchmarks.processes import Sample, in_turn, run

TIMES = Row("job, s", [4.0, 5.0, 8.0], "peer", [8.0, 15.0, 8.0], "peer/graft", "≥ 2×", 1)
RATES = Row("rate, images a second", [300.0], "peer", [100.0], "graft/peer", digits=0)
ALONE = Row("start, s", [1.26, 1.24], reach="≤ 5 s")


def said(*lines, began=0.0):
    return Sample(began, 1.0, 1.0, "noise\n" + "".join(json.dumps(line) + "\n" for line in lines))


def test_spread():
    assert Spread.of([3.0, 1.0, 2.0, 8.0]) == Spread(2.5, 1.0, 8.0)
    assert Spread(1520.4, 1500.0, 1600.0).format(0, "×") == "1,520× (1,500–1,600)"
    assert Spread.of([1.5]).format(2) == "1.50"


def test_ratios_are_taken_within_the_pairs():
    assert TIMES.ratios() == [2.0, 3.0, 1.0]  # of the medians it would be 1.6
    assert RATES.ratios() == [3.0]
    assert ALONE.ratios() == []


def test_a_ratio_of_unequal_numbers_is_refused():
    with pytest.raises(ValueError, match="zip"):
        Row("job, s", [4.0, 5.0], "peer", [8.0], "peer/graft").ratios()


def test_page():
    def group(rows, pairs):
        return {
            "date": "2026-01-02",
            "machine": "Machine: a box.",
            "pairs": pairs,
            "about": "So.",
            "rows": [row.to_dict() for row in rows],
        }

    results = {"b": group([RATES, ALONE], 1), "a": group([TIMES], 3)}
    text = page.markdown(results, {"a": None, "never measured": None, "b": None})
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table == [
        "| measure | Graft | peer | ratio | to reach |",
        "|---|---|---|---|---|",
        "| job, s | 5.0 (4.0–8.0) | peer: 8.0 (8.0–15.0) | 2.00× (1.00–3.00) | ≥ 2× |",
        "| rate, images a second | 300 | peer: 100 | 3.00× |  |",
        "| start, s | 1.25 (1.24–1.26) |  |  | ≤ 5 s |",
    ]
    assert text.count("Machine: a box.") == 1
    assert text.endswith("- **a** (2026-01-02, 3 pairs). So.\n- **b** (2026-01-02, 1 pair). So.\n")
    results["b"]["machine"] = "Machine: another."
    text = page.markdown(results, {"a": None, "b": None})
    assert "\n\n- Machine A: a box.\n- Machine B: another.\n\n|" in text
    assert "- **a** (2026-01-02, 3 pairs, on A). So.\n- **b** (2026-01-02, 1 pair, on B)." in text


def test_results_are_kept(tmp_path):
    path = tmp_path / "benchmarks.json"
    assert page.read(path) == {}
    results = {"a": {"rows": [TIMES.to_dict()]}}
    page.write(path, results)
    assert page.read(path) == results
    assert Row(**page.read(path)["a"]["rows"][0]) == TIMES


def test_epochs_are_timed_from_end_to_end_and_the_first_is_left_out():
    ours = [
        {"time": f"2026-01-02T00:00:{secs:06.3f}+00:00", "validation_accuracy": 0.5}
        for secs in (20.0, 24.5, 28.5, 34.5)
    ]
    theirs = [{"time": secs, "val_acc": 0.5} for secs in (20.0, 24.0, 29.0, 34.0)]
    assert readings.epoch_secs(said({"time": "x"}, *ours)) == 4.5
    assert readings.epoch_secs(said(*theirs)) == 5.0
    assert (
        readings.last(said({"val_acc": 0.25}, {"val_acc": 0.75}, {"time": 1.0}), "val_acc") == 0.75
    )


def test_the_steady_rate_is_of_training_alone():
    def report(task, done, secs):
        return {"time": f"2026-01-02T00:00:{secs:02d}+00:00", "message": f"{task}/9", "done": done}

    lines = [report("drawing 1", 1, 1), report("training 2", 2, 10), report("training 9", 9, 24)]
    assert readings.steady_images_per_sec(said(*lines), 32) == 16.0


def test_the_first_step_counts_from_the_start_of_the_process():
    line = {"time": "1970-01-01T00:01:40.500+00:00", "first_step_secs": 3.0}
    assert readings.first_step_secs(said(line, began=96.0)) == 4.5


def test_the_figures_of_a_gang():
    def observed(act, at, worker=0, **figures):
        return {"observed": act, "at": at, "worker": worker, **figures}

    sample = said(
        {"parameters": 100},
        observed("part", 1.0, split="validation", images=50),
        observed("part", 2.0, split="train", images=10),
        observed("part", 3.0, 1, split="train", images=10),
        observed("part", 5.0, split="train", images=20),
        observed("part", 6.0, 1, split="train", images=20),
        {"trained": 1, "at": 10.0, "bytes": 5000},
        {"trained": 2, "at": 12.0, "bytes": 6000},
        observed("agreement", 13.0, about="after step 2", secs=0.5),
        observed("agreement", 13.0, 1, about="after step 2", secs=0.25),
        observed("agreement", 13.0, 1, about="broken images", secs=9.0),
        observed("loop", 15.0, secs=2.0, steps=8),
        observed("loop", 15.0, 1, secs=3.0, steps=8),
        *(observed("checkpoint", at, secs=at) for at in (15.0, 16.0)),
        observed("checkpoint", 17.0, 1, secs=17.0),
        {"trained": 10, "at": 16.0, "bytes": 12400},
    )
    assert gangs.extracted_per_sec(sample) == 10.0  # 40 images, from 2 to 6
    assert gangs.steps_per_sec(sample) == 2.0
    assert (gangs.bytes_per_step(sample), gangs.gradient_bytes(sample)) == (800.0, 400.0)
    assert gangs.agreements(sample) == ([0.25], [2.0])
    assert gangs.stalls(sample) == [16.0]


@pytest.mark.integration
def test_processes_run_in_turn(tmp_path):
    order = tmp_path / "order"

    def command(name):
        def of_pair(pair):
            code = f"print(open({str(order)!r}, 'a').write('{name}{pair} '))"
            return [sys.executable, "-c", code]

        return of_pair

    samples = in_turn(2, {"a": command("a"), "b": command("b")})
    assert order.read_text() == "a0 b0 a1 b1 "
    assert [sample.output for sample in samples["b"]] == ["3\n", "3\n"]
    assert all(0 < s.wall_secs < 60 and s.peak_mb > 1 for s in samples["a"])


@pytest.mark.integration
def test_a_process_that_fails_is_no_figure():
    with pytest.raises(RuntimeError, match=r"exit code 3\nfor a reason"):
        run([sys.executable, "-c", "print('for a reason'); raise SystemExit(3)"])


@pytest.mark.integration
def test_an_unknown_group_is_named():
    with pytest.raises(RuntimeError, match=r"--rows=seeds: none of seed, start, "):
        run([sys.executable, "-m", "benchmarks.run", "--rows=seeds"])
