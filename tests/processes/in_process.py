"""`graft` in the process of the test itself: for answers that come before anything is started."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from trainer.__main__ import main


def graft(capsys: pytest.CaptureFixture[str], *words: Any) -> subprocess.CompletedProcess[str]:
    """Do what `graft WORDS` does; what it says is what `capsys` has captured since."""
    capsys.readouterr()
    code = main(list(map(str, words)))
    return subprocess.CompletedProcess(["graft", *words], code, *capsys.readouterr())
