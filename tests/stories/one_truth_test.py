"""What is said of a setting is said once, in trainer/settings/table.py."""

import ast
import runpy
from pathlib import Path

import pytest

import trainer
from trainer.settings.config import Config
from trainer.settings.setting import rows

ROOT = Path(trainer.__file__).parents[1]
TABLE = rows(Config)
SOURCES = {path: path.read_text(encoding="utf-8") for path in ROOT.glob("trainer/**/*.py")}


def texts(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_meaning_of_a_setting_occurs_once():
    found = [text for source in SOURCES.values() for text in texts(ast.parse(source))]
    literal = [row.help for row in TABLE.values() if not row.help.startswith("any of ")]
    assert {text: found.count(text) for text in literal} == dict.fromkeys(literal, 1)


@pytest.mark.parametrize("path", sorted(SOURCES), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_list_of_settings_is_kept_by_hand(path):
    """Of a few: those that a rule or a figure is about may be named together."""
    for node in ast.walk(ast.parse(SOURCES[path])):
        elements = [*getattr(node, "elts", []), *getattr(node, "keys", [])]
        named = {e.value for e in elements if isinstance(e, ast.Constant)} & TABLE.keys()
        assert len(named) < 5, named


def test_the_page_of_flags_is_made_from_the_table():
    page = runpy.run_path(str(ROOT / "docs" / "make_flags.py"))["page"]()
    assert (ROOT / "docs" / "flags.md").read_text(encoding="utf-8") == page
