"""The runs of one rehearsal, one after the other, and what they are compared by."""

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
    """What became of one disturbed run.

    Attributes:
        disturbance: one of disturbance.NAMES.
        worker: who got the signal; None where the workdir was taken away.
        after_step: steps done by then; None if the run was over before.
        recovered: whether the run came to its end after it was disturbed.
        secs_until_training: from the disturbance to the next step done.
        steps_done_twice: because no checkpoint held them.
        equal_weights: whether its newest checkpoint has the bits of the undisturbed run's.
        problem: in words; empty where there is none.
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
        """What was done, to whom."""
        if self.worker is None:
            return f"{self.disturbance} gone"
        return f"{self.disturbance} worker {self.worker}"


class Stage:
    """Where the runs of one rehearsal are played.

    Args:
        values: of the flags of `graft rehearse`, by name.
        words: a workdir to the trainer's command line for a run there.
        directory: local or gs://; each run has a workdir of its own below.
        say: told what happens.
    """

    def __init__(
        self,
        values: dict[str, Any],
        words: Callable[[str], list[str]],
        directory: str,
        say: Callable[[str], None],
    ) -> None:
        self._values = values
        self._words = words
        self._directory = directory
        self._say = say

    def undisturbed(self) -> None:
        """Run it as it is.

        Raises:
            GraftError: it does not come to its end; with the exit code.
        """
        began = time.monotonic()
        problem, code = self._run("undisturbed", Observer(None, self._values["timeout_secs"]), 0)
        if problem:
            error = GraftError(f"the undisturbed run: {problem}")
            error.exit_code = code
            raise error
        self._say(f"undisturbed: done in {time.monotonic() - began:.0f} s")

    def disturbed(self, planned: Disturbance) -> Result:
        """Run it, and disturb it."""
        workdir = Workdir(self._part(planned.name))
        timeout_secs = self._values["timeout_secs"]
        observer = Observer(planned, timeout_secs, take_away=workdir.take_away)
        bring_back = workdir.bring_back if planned.name == STORAGE else None
        problem, _ = self._run(planned.name, observer, _MAX_RESTARTS, bring_back)
        if not problem and observer.secs_until_training is None:
            problem = "it was over before it was disturbed; more --num_steps help"
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
            self._say(f"{result.title}: {problem}")
        else:
            self._say(
                f"{result.title} after step {result.after_step:,}: "
                f"training went on after {result.secs_until_training:.1f} s"
            )
        return result

    def compare(self, results: Sequence[Result], newest_tensors: NewestTensors) -> None:
        """Say of each result whether its weights are those of the undisturbed run.

        Args:
            results: of the runs.
            newest_tensors: gives the step of a directory's newest checkpoint, and its tensors.
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
        bring_back: Callable[[], bool] | None = None,
    ) -> tuple[str, int]:
        """What went wrong, in words, and the exit code.

        A run that ends because its workdir was gone is started again, as its user would, with the
        workdir that `bring_back` has brought back.
        """
        worker = [sys.executable, "-m", "trainer.task", *self._words(self._part(name))]
        num_workers, grace_secs = self._values["num_workers"], self._values["grace_secs"]

        def start() -> int:
            return launch.run(
                worker,
                os.environ,
                observer.tell,
                num_workers,
                max_restarts,
                grace_secs,
                observer.watch,
            )

        try:
            code = start()
            if bring_back is not None and bring_back() and code not in (130, Preempted.exit_code):
                code = start()
            problem = f"ended with code {code}" if code else ""
        except TimeOut as error:
            code, problem = error.exit_code, str(error)
        finally:
            if bring_back is not None:
                bring_back()
        if code == 130:
            raise KeyboardInterrupt
        if code == Preempted.exit_code:
            raise Preempted("stopped by SIGTERM")
        if problem:
            for line in observer.lines:
                self._say(line)
        return problem, code

    def _part(self, *names: str) -> str:
        return storage.join(self._directory, *names)


def same_bits(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    """Whether the tensors have the same names, shapes, types and bits."""
    return one.keys() == other.keys() and all(
        (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        for a, b in ((one[name], other[name]) for name in one)
    )
