"""Settings and exit codes are said once: in settings/table.py and process/errors.py."""

import ast
import re
import runpy
from pathlib import Path

import pytest
import yaml

import trainer
from trainer.process import errors
from trainer.process.errors import EXIT_CODES, Restart
from trainer.settings.table import TABLE

ROOT = Path(trainer.__file__).parents[1]
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


def codes(restart):
    return [row.code for row in EXIT_CODES.values() if row.restart is restart]


def test_the_job_restarts_what_the_table_of_exit_codes_says():
    job = yaml.safe_load((ROOT / "k8s" / "base" / "job.yaml").read_text(encoding="utf-8"))
    rules = {
        rule["action"]: rule["onExitCodes"]["values"]
        for rule in job["spec"]["podFailurePolicy"]["rules"]
        if "onExitCodes" in rule
    }
    assert rules == {"FailJob": codes(Restart.USELESS), "Ignore": codes(Restart.FREE)}


def test_the_classes_of_errors_have_codes_of_the_table():
    found = {
        error.exit_code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.GraftError)
    }
    assert found == {1, 2, 138, 143}
    assert found <= EXIT_CODES.keys()


def test_the_readme_has_the_table_of_exit_codes():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", readme, re.MULTILINE))
    assert rows == {str(row.code): row.meaning for row in EXIT_CODES.values()}
