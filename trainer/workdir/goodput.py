"""Account for the wall time of a run since its first start, over all restarts.

Every microsecond is in exactly one category. `goodput.jsonl` in the workdir has a line for each
process, `{"began", "until", "step", "secs"}`: seconds since 1970, the most steps done by then, and
seconds by category, which add up to the time since the previous line. The last line has
`"stopped": true` if a signal ended its process. The file is rewritten each time; the time of a
killed process after its last write counts as `down`.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from trainer.process.errors import Preempted
from trainer.storage import api as storage

FILE = "goodput.jsonl"
CATEGORIES = (
    "startup",  # of the process, TensorFlow, data, model; reading the checkpoint
    "preflight",  # the rendezvous: waiting for the other workers
    "tracing",  # the first steps of a process, which build the graph
    "extraction",  # computing or reading a frozen backbone's features
    "step",  # training, and what the loop does between steps
    "input_wait",  # steps waiting for their batches
    "checkpoint_stall",  # the loop waiting for a checkpoint to be written
    "evaluation",
    "export",  # including its check
    "lost_work",  # steps repeated because no checkpoint had saved them
    "down",  # no process, or a killed one after its last write
)
WRITE_EVERY_SECS = 5.0


def steady_clock() -> Callable[[], float]:
    """Return a clock of seconds since 1970 that is monotonic within the process."""
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()


def open_ledger(workdir: str, started: float, is_chief: bool) -> Ledger:
    """Open the ledger of the run in `workdir`; only the chief's is written.

    Args:
        workdir: local or gs://.
        started: `time.monotonic()` when the process began.
        is_chief: whether this worker is the chief.
    """
    clock = steady_clock()
    began = clock() - (time.monotonic() - started)
    if not is_chief:
        return Ledger(clock, began)
    path = storage.join(workdir, FILE)
    try:
        earlier = storage.read_bytes(path)
    except FileNotFoundError:
        earlier = b""
    return Ledger(clock, began, earlier, lambda text: storage.write_atomically(path, text))


class Ledger:
    """Adds the time of this process to that of the run's earlier ones.

    Args:
        clock: seconds since 1970.
        began: start of the process by the same clock; None for now.
        earlier: content of FILE; corrupt lines are skipped, and their time counts as `down`.
        publish: replaces the content of FILE.

    Attributes:
        publish: see above; may be changed.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        began: float | None = None,
        earlier: bytes = b"",
        publish: Callable[[bytes], None] = lambda text: None,
    ) -> None:
        self._clock = clock
        self.publish = publish
        self._earlier = _lines(earlier)
        self._began = _micros(clock() if began is None else began)
        last = _micros(self._earlier[-1]["until"]) if self._earlier else self._began
        # Another machine's clock may have been ahead: continue from its time.
        self._ahead = max(0, last - self._began)
        self._began += self._ahead
        self._spent = dict.fromkeys(CATEGORIES, 0)
        self._spent["down"] = self._began - last
        self._category, self._since = "startup", self._began
        self._step = max((line["step"] for line in self._earlier), default=0)
        self._written_at = self._began

    @contextlib.contextmanager
    def phase(self, category: str) -> Iterator[None]:
        """Count the time within as `category`."""
        outer = self._category
        self.start_phase(category)
        try:
            yield
        finally:
            self.start_phase(outer)

    def start_phase(self, category: str) -> None:
        """Count the time from here on as `category`, one of CATEGORIES."""
        now = self._now()
        self._spent[self._category] += now - self._since
        self._category, self._since = category, now

    def add_steps(self, step: int, num_steps: int, took_secs: float, waited_secs: float) -> None:
        """Move repeated steps and input waits out of the category `step`.

        Args:
            step: the steps done so far.
            num_steps: steps of the loop that ends here.
            took_secs: duration of that loop.
            waited_secs: its time waiting for batches.
        """
        self.start_phase(self._category)
        repeated = min(max(self._step - (step - num_steps), 0), num_steps) / max(num_steps, 1)
        self._move("step", "lost_work", took_secs * repeated)
        self._move("step", "input_wait", waited_secs * (1 - repeated))
        self._step = max(self._step, step)

    @contextlib.contextmanager
    def recording_stop(self) -> Iterator[None]:
        """Record in FILE if the block is stopped by a signal."""
        try:
            yield
        except Preempted:
            self.write(is_stopped=True)
            raise

    def write(self, is_stopped: bool = False) -> None:
        """Publish the ledger; `is_stopped` if a signal ends this process."""
        with self.phase("checkpoint_stall"):
            self._written_at = self._since
            own: dict[str, Any] = {
                "began": self._began / 1e6,
                "until": self._since / 1e6,
                "step": self._step,
                "secs": {name: spent / 1e6 for name, spent in self._spent.items() if spent},
            }
            if is_stopped:
                own["stopped"] = True
            self.publish(b"".join(json.dumps(x).encode() + b"\n" for x in [*self._earlier, own]))

    def write_if_due(self) -> None:
        """Write every few seconds, because unwritten time of a killed process becomes `down`."""
        if self._now() - self._written_at >= _micros(WRITE_EVERY_SECS):
            self.write()

    def fraction(self, category: str = "step") -> float:
        """Return the fraction of the time since the first start in `category`, in [0, 1]."""
        micros = self._totals()
        return micros[category] / max(sum(micros.values()), 1)

    def summary(self) -> dict[str, Any]:
        """Return {"wall_secs", "in_steps", "secs"}: total, fraction in `step`, and by category."""
        micros = self._totals()
        wall = sum(micros.values())
        return {
            "wall_secs": wall / 1e6,
            "in_steps": round(micros["step"] / max(wall, 1), 4),
            "secs": {name: spent / 1e6 for name, spent in micros.items()},
        }

    def describe(self) -> str:
        """Return the summary in a line, the largest first, without those below half a percent."""
        micros = self._totals()
        wall = max(sum(micros.values()), 1)
        others = sorted((-n, name) for name, n in micros.items() if name != "step")
        shown = ", ".join(
            f"{name.replace('_', ' ')} {-n / wall:.0%}" for n, name in others if -n * 200 >= wall
        )
        return f"{micros['step'] / wall:.0%} of {wall / 1e6:,.0f} s in steps; {shown}"

    def _now(self) -> int:
        return max(_micros(self._clock()) + self._ahead, self._since)

    def _move(self, source: str, target: str, secs: float) -> None:
        moved = min(_micros(secs), self._spent[source])
        self._spent[source] -= moved
        self._spent[target] += moved

    def _totals(self) -> dict[str, int]:
        """Return microseconds by category, of all processes, up to now."""
        self.start_phase(self._category)
        totals = dict(self._spent)
        at = self._began - totals["down"]
        for line in reversed(self._earlier):  # a skipped line leaves a gap
            until, spent = _micros(line["until"]), line["secs"]
            totals["down"] += at - until
            for name, secs in spent.items():
                totals[name] += _micros(secs)
            at = until - sum(map(_micros, spent.values()))
        return totals


def _micros(secs: float) -> int:
    """Convert to integer microseconds, whose sums are exact; a float holds those since 1970."""
    return round(secs * 1e6)


def _lines(content: bytes) -> list[dict[str, Any]]:
    """Parse the valid lines of FILE, in order of time."""
    found: list[dict[str, Any]] = []
    for text in content.splitlines():
        try:
            line = json.loads(text)
            line = {
                "began": float(line["began"]),
                "until": float(line["until"]),
                "step": int(line["step"]),
                "secs": {name: float(line["secs"].get(name, 0)) for name in CATEGORIES},
            }
            begins = _micros(line["until"]) - sum(map(_micros, line["secs"].values()))
        except (ArithmeticError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if not found or begins >= _micros(found[-1]["until"]):
            found.append(line)
    return found
