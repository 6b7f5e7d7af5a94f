import pytest

from trainer.workers.fingerprint import differences, shortened

NAMES = ["w0", "w1", "w2", "w3"]


@pytest.mark.parametrize(
    ("fingerprints", "lines"),
    [
        ([{"a": "1", "b": "2"}] * 4, []),
        ([{"a": "1"}, {"a": "1"}, {"a": "2"}], ["a: w2 has 2; the other 2 have 1"]),
        ([{"a": "2"}, {"a": "1"}, {"a": "1"}], ["a: w0 has 2; the other 2 have 1"]),
        ([{"a": "1"}, {"a": "2"}], ["a: w1 has 2; w0 has 1"]),
        ([{"a": "1"}, {}], ["a: w1 has nothing; w0 has 1"]),
        (
            [{"b": "1", "a": "1"}, {"b": "2", "a": "3"}, {"b": "3", "a": "1"}],
            ["a: w1 has 3; the other 2 have 1", "b: w1 has 2, w2 has 3; w0 has 1"],
        ),
        ([{"a": str(i // 2)} for i in range(4)], ["a: w2 has 1, w3 has 1; the other 2 have 0"]),
    ],
)
def test_differences(fingerprints, lines):
    assert differences(fingerprints, NAMES[: len(fingerprints)]) == lines


def test_of_many_odd_ones_five_are_named():
    fingerprints = [{"a": "0"}] * 10 + [{"a": "1"}] * 8
    (line,) = differences(fingerprints, [f"w{i}" for i in range(18)])
    odd = ", ".join(f"w{i} has 1" for i in range(10, 15))
    assert line == f"a: {odd}, 3 more differ too; the other 10 have 0"


def test_long_values_stay_different():
    one, other = ("x" * 100_000 + end for end in "12")
    short = shortened({"one": one, "other": other, "same": one, "fine": "y" * 500})
    assert short["one"] == short["same"] != short["other"]
    assert max(map(len, short.values())) == 500
    assert short["fine"] == "y" * 500
