"""What a run says of its scores at the end: exact lines, on 80 columns, whatever the names."""

import io
import json

import pytest

from trainer.process.console import JsonReporter, LineReporter, TerminalReporter
from trainer.workdir import score_table


def evaluation(confusion, names):
    columns = [sum(column) for column in zip(*confusion, strict=True)]
    per_class = {
        name: {
            "num_examples": sum(row),
            "precision": row[i] / columns[i] if columns[i] else None,
            "recall": row[i] / sum(row) if sum(row) else None,
        }
        for i, (name, row) in enumerate(zip(names, confusion, strict=True))
    }
    return {"per_class": per_class, "confusion_matrix": confusion}


BEANS = evaluation(
    [[40, 3, 1], [2, 39, 4], [0, 1, 43]], ["angular_leaf_spot", "bean_rust", "healthy"]
)


def plain(found):
    stream = io.StringIO()
    LineReporter(stream).show(score_table.table(found))
    return [line.rstrip() for line in stream.getvalue().splitlines()]


def test_a_small_matrix():
    assert plain(BEANS) == [
        "      label                1    2    3   recall",
        "─" * 48,
        "  1   angular_leaf_spot   40    3    1    90.9%",
        "  2   bean_rust            2   39    4    86.7%",
        "  3   healthy              ·    1   43    97.7%",
    ]


def test_the_two_worst_confusions_in_words():
    assert score_table.worst_confusions(BEANS) == [
        "bean_rust predicted as healthy: 4 of 45 images (8.9%)",
        "angular_leaf_spot predicted as bean_rust: 3 of 44 images (6.8%)",
    ]


def test_of_equally_many_the_larger_share_comes_first():
    found = evaluation([[90, 2, 0], [2, 8, 0], [1, 0, 1]], ["a", "b", "c"])
    assert score_table.worst_confusions(found) == [
        "b predicted as a: 2 of 10 images (20.0%)",
        "a predicted as b: 2 of 92 images (2.2%)",
    ]


def test_no_mistakes():
    assert score_table.worst_confusions(evaluation([[3, 0], [0, 4]], ["a", "b"])) == ["no mistakes"]


def test_a_class_without_images_has_no_share():
    found = evaluation([[3, 1], [0, 0]], ["a", "b"])
    assert plain(found)[-1].split() == ["2", "b", "·", "·", "-"]
    assert score_table.figures(found)["recall"] == {"a": 0.75, "b": None}


@pytest.mark.parametrize("count", [9, 9999, 123_456, 2_345_678])
def test_twelve_classes_fit_into_80_columns(count):
    names = [f"a class with a name that is long {i}" for i in range(12)]
    lines = plain(evaluation([[count] * 12] * 12, names))
    assert len(lines) == 14
    assert max(map(len, lines)) <= 80
    assert all(line.endswith("8.3%") for line in lines[2:])
    shown = {9: "9", 9999: "9999", 123_456: "123k", 2_345_678: "2M"}[count]
    assert lines[2].split()[-13:-1] == [shown] * 12


def test_of_many_classes_the_weakest():
    confusion = [[i + 1 if i == j else 0 for j in range(13)] for i in range(13)]
    confusion[4][5] = 15  # the fifth: 5 of 20
    names = [f"[red]{i}" for i in range(13)]
    lines = plain(evaluation(confusion, names))
    assert lines[0].split() == ["weakest", "of", "13", "classes", "images", "recall", "precision"]
    assert lines[2].split() == ["[red]4", "20", "25.0%", "100.0%"]
    assert len(lines) == 12


def test_a_name_is_no_markup():
    stream = io.StringIO()
    TerminalReporter(stream).show(
        score_table.table(evaluation([[1, 0], [0, 1]], ["[bold]a", ":smile:"]))
    )
    assert "[bold]a" in stream.getvalue()
    assert ":smile:" in stream.getvalue()


def test_a_machine_reads_figures():
    stream = io.StringIO()
    JsonReporter(stream).show(score_table.table(BEANS), **score_table.figures(BEANS))
    (line,) = stream.getvalue().splitlines()
    found = json.loads(line)
    assert (found["severity"], found["message"]) == ("INFO", "recall worst_confusions")
    assert found["recall"]["bean_rust"] == 39 / 45
    assert found["worst_confusions"] == score_table.worst_confusions(BEANS)
