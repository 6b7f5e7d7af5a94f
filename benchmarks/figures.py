"""A row of the table: Graft's figures, a peer's, and their ratios within the pairs."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median and the range of a figure over the pairs."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of `values`."""
        return cls(statistics.median(values), min(values), max(values))

    def format(self, digits: int, unit: str = "") -> str:
        """Such as `1.52× (1.50–1.55)`; of one value, or of equal ones, `1.52×`."""
        middle, low, high = (f"{v:,.{digits}f}" for v in (self.median, self.low, self.high))
        return f"{middle}{unit}" + ("" if low == high else f" ({low}–{high})")


@dataclasses.dataclass(frozen=True)
class Row:
    """One measure.

    Attributes:
        measure: what was measured, and its unit.
        graft: a figure a pair.
        peer: what it is compared with.
        peer_figures: a figure a pair, or none.
        ratio: "peer/graft" (of times), "graft/peer" (of rates and sizes), or "" for none.
        reach: the ratio, or the figure, that was to be reached.
        digits: after the point, of the figures.
    """

    measure: str
    graft: Sequence[float]
    peer: str = ""
    peer_figures: Sequence[float] = ()
    ratio: str = ""
    reach: str = ""
    digits: int = 2

    def ratios(self) -> list[float]:
        """A ratio a pair."""
        if not self.ratio:
            return []
        pairs = list(zip(self.graft, self.peer_figures, strict=True))
        if self.ratio == "peer/graft":
            return [peer / graft for graft, peer in pairs]
        return [graft / peer for graft, peer in pairs]

    def cells(self) -> list[str]:
        """The row as the table shows it."""
        peer = self.peer
        if self.peer_figures:
            peer = f"{peer}: {Spread.of(self.peer_figures).format(self.digits)}"
        ratio = Spread.of(self.ratios()).format(2, "×") if self.ratio else ""
        return [self.measure, Spread.of(self.graft).format(self.digits), peer, ratio, self.reach]

    def to_dict(self) -> dict[str, Any]:
        """In JSON's types; `Row(**row.to_dict())` is the row."""
        return dataclasses.asdict(self)
