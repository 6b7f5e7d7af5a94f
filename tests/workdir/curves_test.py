"""`logs/curves.jsonl`: what is written, taken back, left out and read."""

import itertools
import math

import pytest

from trainer.workdir import curves

LINE = b'{"curve": "train", "step": %d, "wall_time": %s, "loss": %s}\n'


def opened(directory, resumed_step=0, every_steps=1):
    directory.mkdir(exist_ok=True)
    clock = itertools.count(1790000000.1234).__next__
    publish = (directory / curves.FILE).write_bytes
    return curves.CurvesFile(str(directory), resumed_step, every_steps, publish, clock)


def lines(directory):
    return (directory / curves.FILE).read_bytes().splitlines(keepends=True)


def written(directory, steps, resumed_step=0, every_steps=1):
    """Add training points of `steps` and write, each on its own."""
    file = opened(directory, resumed_step, every_steps)
    file.write()
    for step in steps:
        file.add("train", step, {"loss": step / 4})
        file.write()


def test_a_point_is_a_line(tmp_path):
    file = opened(tmp_path)
    file.add("train", 10, {"loss": 0.1, "gradient_norm": math.inf})
    file.add("eval", 10, {"loss": math.nan, 'recall/a "é"': 2 / 3})
    assert list(tmp_path.iterdir()) == []
    file.write()
    assert lines(tmp_path) == [
        b'{"curve": "train", "step": 10, "wall_time": 1790000000.123, "loss": 0.1, '
        b'"gradient_norm": null}\n',
        b'{"curve": "eval", "step": 10, "wall_time": 1790000001.123, "loss": null, '
        b'"recall/a \\"\\u00e9\\"": 0.6666666666666666}\n',
    ]
    found, left_out = curves.read(str(tmp_path))
    assert (found["eval"]['recall/a "é"'], left_out) == ([(10, 2 / 3)], "")
    assert found["train"]["loss"] == [(10, 0.1)]
    ((step, norm),) = found["train"]["gradient_norm"]
    assert (step, math.isnan(norm)) == (10, True)


def test_what_is_beyond_the_resumed_step_is_taken_back(tmp_path):
    written(tmp_path, [1, 2, 3, 4])
    before = lines(tmp_path)
    opened(tmp_path, 2).write()
    assert lines(tmp_path) == before[:2]
    written(tmp_path, [3, 4, 5], resumed_step=2)
    assert lines(tmp_path)[:2] == before[:2]
    assert curves.read(str(tmp_path))[0]["train"]["loss"] == [(n, n / 4) for n in range(1, 6)]


def test_a_file_that_need_not_change_is_not_written(tmp_path):
    written(tmp_path, [1, 2])
    before = (tmp_path / curves.FILE).stat().st_mtime_ns
    opened(tmp_path, 2).write()
    assert (tmp_path / curves.FILE).stat().st_mtime_ns == before


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_cut_last_line(tmp_path, cut):
    written(tmp_path, [1, 2])
    content = (tmp_path / curves.FILE).read_bytes()
    (tmp_path / curves.FILE).write_bytes(content[:-cut])
    is_whole = cut == 1  # but for its end
    found, left_out = curves.read(str(tmp_path))
    assert found["train"]["loss"] == [(1, 0.25), (2, 0.5)][: 1 + is_whole]
    assert left_out == ("" if is_whole else "Left out: 1 of 2 lines of curves.jsonl (corrupt).")
    written(tmp_path, [3], resumed_step=2)
    first, *second, third = lines(tmp_path)
    assert [first, *second] == content.splitlines(keepends=True)[: 1 + is_whole]
    assert third == LINE % (3, b"1790000000.123", b"0.75")


@pytest.mark.parametrize(
    "line",
    [b"\xff\n", b"[]\n", b"7\n", b"{}\n", b'{"curve": "test", "step": 1, "wall_time": 1.0}\n']
    + [LINE % (1, b"1.0", value) for value in (b'"high"', b"[1]", b"1" + b"0" * 400)],
)
def test_a_line_of_something_else(tmp_path, line):
    sound = LINE % (2, b"1.0", b"0.5")
    (tmp_path / curves.FILE).write_bytes(line + sound)
    found, left_out = curves.read(str(tmp_path))
    assert found == {"train": {"loss": [(2, 0.5)]}, "eval": {}}
    assert left_out == "Left out: 1 of 2 lines of curves.jsonl (corrupt)."


def test_no_file_and_one_that_cannot_be_read(tmp_path):
    nothing: curves.Curves = {"train": {}, "eval": {}}
    why = "Left out: curves.jsonl (No such file or directory)."
    assert curves.read(str(tmp_path)) == (nothing, why)
    (tmp_path / curves.FILE).mkdir()
    assert curves.read(str(tmp_path)) == (nothing, "Left out: curves.jsonl (Is a directory).")
    with pytest.raises(IsADirectoryError):
        opened(tmp_path)


@pytest.mark.parametrize(("last", "stride"), [(80, 10), (81, 10), (90, 20), (160, 20), (170, 40)])
def test_of_many_points_every_second_one_is_left_out(tmp_path, monkeypatch, last, stride):
    monkeypatch.setattr(curves, "MOST_POINTS", 8)
    steps = [step for step in range(1, last + 1) if step % 10 == 0 or step == last]
    file = opened(tmp_path, every_steps=10)
    for step in steps:
        file.add("train", step, {"loss": 1.0})
        file.add("eval", step, {"loss": 1.0})
    file.write()
    found = {
        name: [step for step, _ in tags["loss"]]
        for name, tags in curves.read(str(tmp_path))[0].items()
    }
    assert found["eval"] == steps
    assert found["train"] == [s for s in steps if s % stride == 0 or s == last or stride == 10]


def test_which_are_left_out_does_not_depend_on_kills(tmp_path, monkeypatch):
    monkeypatch.setattr(curves, "MOST_POINTS", 3)
    for last in range(1, 26):
        written(tmp_path / str(last), range(2, last + 1, 2), every_steps=2)
    for killed, resumed, last in itertools.product(range(2, 26, 5), range(0, 26, 3), (13, 24, 25)):
        if resumed <= killed <= last:
            run = tmp_path / f"{killed} {resumed} {last}"
            written(run, range(2, killed + 1, 2), every_steps=2)
            again = range(resumed + 2 - resumed % 2, last + 1, 2)
            written(run, again, resumed_step=resumed, every_steps=2)
            assert curves.read(str(run)) == curves.read(str(tmp_path / str(last))), run.name
