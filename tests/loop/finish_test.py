"""What follows the loop, of which a part runs beside the rest."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from trainer.engine import export
from trainer.loop import finish
from trainer.settings.config import Config
from trainer.workdir.state import RunState

DEADLINE_SECS = 60


def test_what_fails_beside_the_check_of_the_export_is_said_before_the_check_is_over(monkeypatch):
    never = threading.Event()
    batches = []

    def check(*arguments, raise_if_stopping, **options):
        for batch in range(DEADLINE_SECS * 100):
            raise_if_stopping()
            batches.append(batch)
            never.wait(0.01)

    monkeypatch.setattr(export, "check", check)
    run: Any = SimpleNamespace(
        config=Config(workdir="w", num_epochs=1),
        source=None,
        raise_if_stopping=lambda: None,
        workers=SimpleNamespace(is_chief=True),
    )
    evaluation: Any = None
    with (
        pytest.raises(ZeroDivisionError),
        finish._checked_export(run, RunState(), evaluation),
    ):
        raise ZeroDivisionError
    assert len(batches) < DEADLINE_SECS * 100
