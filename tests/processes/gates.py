"""Hold a process at a chosen moment, so that a test need not poll for it and miss it."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import itertools
import time
from pathlib import Path
from typing import Any, Protocol

DEADLINE_SECS = 240
STEPS = "trainer.engine.train_step:TrainStep.run"  # some steps: the first call 1, then 2, then 4, …


class _Process(Protocol):
    def poll(self) -> int | None: ...


@dataclasses.dataclass(frozen=True)
class Gate:
    """Where a process holds: as it is about to call a function for the `number`-th time.

    Attributes:
        directory: an empty directory, for what the test and the process say to each other.
        function: `module:name` or `module:Class.name`.
        number: of the call, from 1.
    """

    directory: Path
    function: str = STEPS
    number: int = 3

    def install(self) -> None:
        """Set the gate up, in the process that is to hold."""
        module, _, name = self.function.partition(":")
        *owners, last = name.split(".")
        owner = functools.reduce(getattr, owners, importlib.import_module(module))
        original, calls = getattr(owner, last), itertools.count(1)

        @functools.wraps(original)
        def gated(*arguments: Any, **options: Any) -> Any:
            if next(calls) == self.number:
                (self.directory / "reached").touch()
                deadline = time.monotonic() + DEADLINE_SECS
                while not (self.directory / "open").exists():
                    assert time.monotonic() < deadline, "the test has gone"
                    time.sleep(0.01)
            return original(*arguments, **options)

        setattr(owner, last, gated)

    def wait(self, *processes: _Process) -> None:
        """Wait in the test until the process holds; all of `processes` must be alive by then."""
        deadline = time.monotonic() + DEADLINE_SECS
        while not (self.directory / "reached").exists():
            assert time.monotonic() < deadline, f"nobody called {self.function}"
            assert [process.poll() for process in processes] == [None] * len(processes)
            time.sleep(0.01)

    def open(self) -> None:
        """Let the process go on."""
        (self.directory / "open").touch()
