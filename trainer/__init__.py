"""Graft: fine-tune an image classifier on TensorFlow, from a laptop to a cluster.

    import trainer
    result = trainer.train(trainer.Config(workdir="runs/pets", dataset="pictures"))

What is not in `__all__` is private. Importing this imports nothing: not TensorFlow, either.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from trainer.loop.api import Result, evaluate, export, predict, train
    from trainer.process.errors import (
        Diverged,
        ExportMismatch,
        GraftError,
        PeerLost,
        Preempted,
        StorageUnreachable,
        UserError,
    )
    from trainer.settings.config import Config

_MODULES = {
    "trainer.loop.api": ("Result", "evaluate", "export", "predict", "train"),
    "trainer.process.errors": (
        *("Diverged", "ExportMismatch", "GraftError", "PeerLost", "Preempted"),
        *("StorageUnreachable", "UserError"),
    ),
    "trainer.settings.config": ("Config",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [  # what _MODULES names
    "Config",
    "Diverged",
    "ExportMismatch",
    "GraftError",
    "PeerLost",
    "Preempted",
    "Result",
    "StorageUnreachable",
    "UserError",
    "__version__",
    "evaluate",
    "export",
    "predict",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'trainer' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
