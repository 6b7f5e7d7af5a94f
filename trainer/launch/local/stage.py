"""Run the runs of one rehearsal in turn, and compare their weights."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from trainer.launch.local import launch
from trainer.launch.local.disturbance import (
    STORAGE,
    Disturbance,
    Observer,
    TimeOut,
    Workdir,
)
from trainer.process.errors import GraftError, Preempted
from trainer.storage import api as storage

if TYPE_CHECKING:
    import numpy as np

NewestTensors = Callable[[str], "tuple[int, dict[str, np.ndarray]]"]

_MAX_RESTARTS = 3


@dataclasses.dataclass
class Result:
    """The outcome of one disturbed run.

    Attributes:
        disturbance: one of disturbance.NAMES.
        worker: index of the worker that got the signal; None for STORAGE.
        after_step: steps done before it; None if the run ended before.
        recovered: whether the run finished after the disturbance.
        secs_until_training: from the disturbance to the next step done.
        steps_done_twice: because no checkpoint held them.
        equal_weights: whether its newest checkpoint equals the undisturbed run's bit for bit.
        problem: an error message; empty if there is none.
    """

    disturbance: str
    worker: int | None
    after_step: int | None
    recovered: bool
    secs_until_training: float | None
    steps_done_twice: int | None
    equal_weights: bool = False
    problem: str = ""

    @property
    def title(self) -> str:
        """The disturbance and its target."""
        if self.worker is None:
            return f"{self.disturbance} gone"
        return f"{self.disturbance} worker {self.worker}"


class Stage:
    """Runs the runs of one rehearsal.

    Args:
        values: of the flags of `graft rehearse`, by name.
        argv: returns the trainer's arguments for a workdir.
        directory: local or gs://; each run has a workdir of its own below.
        report: called with messages.
    """

    def __init__(
        self,
        values: dict[str, Any],
        argv: Callable[[str], list[str]],
        directory: str,
        report: Callable[[str], None],
    ) -> None:
        self._values = values
        self._argv = argv
        self._directory = directory
        self._report = report

    def undisturbed(self) -> None:
        """Run without a disturbance.

        Raises:
            GraftError: it does not finish; with its exit code.
        """
        began = time.monotonic()
        problem, code = self._run("undisturbed", Observer(None, self._values["timeout_secs"]), 0)
        if problem:
            error = GraftError(f"the undisturbed run: {problem}")
            error.exit_code = code
            raise error
        self._report(f"undisturbed: done in {time.monotonic() - began:.0f} s")

    def disturbed(self, planned: Disturbance) -> Result:
        """Run with a disturbance."""
        workdir = Workdir(self._part(planned.name))
        timeout_secs = self._values["timeout_secs"]
        observer = Observer(planned, timeout_secs, disconnect=workdir.disconnect)
        reconnect = workdir.reconnect if planned.name == STORAGE else None
        problem, _ = self._run(planned.name, observer, _MAX_RESTARTS, reconnect)
        if not problem and observer.secs_until_training is None:
            problem = "it ended before it was disturbed; use more --num_steps"
        result = Result(
            planned.name,
            planned.worker,
            observer.disturbed_step,
            not problem,
            observer.secs_until_training,
            observer.steps_done_twice,
            problem=problem,
        )
        if problem:
            self._report(f"{result.title}: {problem}")
        else:
            self._report(
                f"{result.title} after step {result.after_step:,}: "
                f"training went on after {result.secs_until_training:.1f} s"
            )
        return result

    def compare(self, results: Sequence[Result], newest_tensors: NewestTensors) -> None:
        """Set `equal_weights` of each result.

        Args:
            results: of the disturbed runs.
            newest_tensors: returns the step of a directory's newest checkpoint, and its tensors.
        """
        expected = newest_tensors(self._part("undisturbed", "checkpoints"))
        for result in results:
            if result.recovered:
                found = newest_tensors(self._part(result.disturbance, "checkpoints"))
                result.equal_weights = found[0] == expected[0] and same_bits(found[1], expected[1])

    def _run(
        self,
        name: str,
        observer: Observer,
        max_restarts: int,
        reconnect: Callable[[], bool] | None = None,
    ) -> tuple[str, int]:
        """Run once; return an error message and the exit code.

        A run that fails because its workdir was unavailable is restarted, as its user would do,
        after `reconnect`.
        """
        worker = [sys.executable, "-m", "trainer.task", *self._argv(self._part(name))]
        num_workers, grace_secs = self._values["num_workers"], self._values["grace_secs"]

        def start() -> int:
            return launch.run(
                worker,
                os.environ,
                observer.read_line,
                num_workers,
                max_restarts,
                grace_secs,
                observer.watch,
            )

        try:
            code = start()
            if reconnect is not None and reconnect() and code not in (130, Preempted.exit_code):
                code = start()
            problem = f"ended with code {code}" if code else ""
        except TimeOut as error:
            code, problem = error.exit_code, str(error)
        finally:
            if reconnect is not None:
                reconnect()
        if code == 130:
            raise KeyboardInterrupt
        if code == Preempted.exit_code:
            raise Preempted("stopped by SIGTERM")
        if problem:
            for line in observer.lines:
                self._report(line)
        return problem, code

    def _part(self, *names: str) -> str:
        return storage.join(self._directory, *names)


def same_bits(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Return whether the tensors have the same names, shapes, types and bits."""
    return one.keys() == other.keys() and all(
        (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        for a, b in ((one[name], other[name]) for name in one)
    )
