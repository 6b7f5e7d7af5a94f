"""Set what is no flag, such as a deadline, in a process before it does anything else."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any


@dataclasses.dataclass(frozen=True)
class Setting:
    """A module's name and its value there: a tests.processes.warm.Preparation.

    Attributes:
        place: `module:name`.
        value: that can be pickled.
    """

    place: str
    value: Any

    def install(self) -> None:
        """Set it, in the process that is to have it."""
        module, _, name = self.place.partition(":")
        found = importlib.import_module(module)
        assert hasattr(found, name), self.place
        setattr(found, name, self.value)
