"""Format an evaluation for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

MOST_IN_MATRIX = 12
_WEAKEST = 10
_NUM_CONFUSIONS = 2
_MOST_PADDED = 6  # up to so many classes the columns are padded
_WIDTH, _NUMBER, _PERCENT = 80, 2, 6


def table(evaluation: Mapping[str, Any]) -> Table:
    """Return the confusion matrix with each class's recall; of many classes, the weakest.

    Args:
        evaluation: as `metrics.json` holds it; see Evaluation.to_dict.
    """
    names = list(evaluation["per_class"])
    return _matrix(evaluation) if len(names) <= MOST_IN_MATRIX else _weakest(evaluation)


def worst_confusions(evaluation: Mapping[str, Any]) -> list[str]:
    """Describe the two most frequent confusions, if there are so many.

    Ordered by the number of images, then by the fraction of the class.
    """
    names = list(evaluation["per_class"])
    pairs = []
    for row, (label, counts) in enumerate(zip(names, evaluation["confusion_matrix"], strict=True)):
        total = sum(counts)
        for prediction, count in zip(names, counts, strict=True):
            if count and prediction != label:
                pairs.append((-count, -count / total, row, label, prediction, total))
    return [
        f"{label} predicted as {prediction}: {-count:,} of {total:,} images ({-fraction:.1%})"
        for count, fraction, _, label, prediction, total in sorted(pairs)[:_NUM_CONFUSIONS]
    ] or ["no mistakes"]


def figures(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return each class's recall and the worst confusions, for structured logs."""
    recall = {name: known["recall"] for name, known in evaluation["per_class"].items()}
    return {"recall": recall, "worst_confusions": worst_confusions(evaluation)}


def _matrix(evaluation: Mapping[str, Any]) -> Table:
    per_class = evaluation["per_class"]
    is_tight = len(per_class) > _MOST_PADDED
    columns = zip(*evaluation["confusion_matrix"], strict=True)
    widths = [max(2, *(len(_short(count)) for count in column)) for column in columns]
    taken = _NUMBER + _PERCENT + sum(widths) + (1 if is_tight else 3) * (len(widths) + 2) + 2
    found = _table(is_tight)
    found.add_column("", justify="right", style="dim", no_wrap=True, min_width=_NUMBER)
    found.add_column("label", no_wrap=True, overflow="ellipsis", max_width=_WIDTH - taken)
    for number, width in enumerate(widths, start=1):
        found.add_column(str(number), justify="right", no_wrap=True, min_width=width)
    found.add_column("recall", justify="right", no_wrap=True, min_width=_PERCENT)
    rows = zip(per_class.items(), evaluation["confusion_matrix"], strict=True)
    for number, ((name, known), counts) in enumerate(rows):
        cells = [_cell(count, i == number, sum(counts)) for i, count in enumerate(counts)]
        found.add_row(str(number + 1), _text(name), *cells, _percent(known["recall"]))
    return found


def _weakest(evaluation: Mapping[str, Any]) -> Table:
    per_class = evaluation["per_class"]
    known = [(name, f) for name, f in per_class.items() if f["recall"] is not None]
    weakest = sorted(known, key=lambda item: item[1]["recall"])[:_WEAKEST]
    found = _table(is_tight=False)
    found.add_column(f"weakest of {len(per_class):,} classes", no_wrap=True, overflow="ellipsis")
    for column in ("images", "recall", "precision"):
        found.add_column(column, justify="right", no_wrap=True)
    for name, f in weakest:
        found.add_row(
            _text(name), f"{f['num_examples']:,}", _percent(f["recall"]), _percent(f["precision"])
        )
    return found


def _table(is_tight: bool) -> Table:
    from rich import box
    from rich.table import Table

    padding = (0, 0) if is_tight else (0, 1)
    return Table(box=box.SIMPLE_HEAD, show_edge=False, padding=padding, header_style="bold")


def _cell(count: int, is_correct: bool, total: int) -> Any:
    from rich.text import Text

    if is_correct:
        return Text(_short(count), "bold blue")
    # For color-blind readers, only correct predictions are bold.
    return Text(_short(count), ("yellow" if count * 20 >= total else "") or "dim")


def _short(count: int) -> str:
    """Format in at most four characters, so that twelve columns fit."""
    if count >= 10_000:
        return f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.0f}M"
    return str(count) if count else "·"


def _text(name: str) -> Any:
    from rich.text import Text  # brackets in a class name are not markup

    return Text(name)


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.1%}"
