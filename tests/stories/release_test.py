"""The version is said in one place, `trainer.__version__`; the wheel's is in wheel_test.py."""

import re
from pathlib import Path

import pytest

import trainer

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("file", "where"), [("Dockerfile", r"^ARG VERSION=(.*)$"), ("CHANGELOG.md", r"^## (.*)$")]
)
def test_the_version_is_the_trainers(file, where):
    said = re.findall(where, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert said[0] == trainer.__version__
