"""Who may import whom: a table of packages, held against the source files themselves."""

import ast
import collections
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import trainer
from trainer.__main__ import COMMANDS

ROOT = Path(trainer.__file__).parent

# Each package, and those that it may import: rows above it only.
MAY_IMPORT = """
process
settings process
storage  process settings
workers  process settings
workdir  process settings storage
graph    process settings storage
data     process settings storage graph
models   process settings storage graph
engine   process settings storage workers workdir graph data models
board    process settings storage workers workdir graph data models engine
report   process settings storage workers workdir graph data models engine
loop     process settings storage workers workdir graph data models engine board report
launch   process settings storage workers workdir
commands process settings storage workers workdir graph data models engine board report loop launch
""".strip().splitlines()
ALLOWED = {name: set(others) for name, *others in map(str.split, MAY_IMPORT)}
WITHOUT_TENSORFLOW = ["process", "settings", "storage", "workers", "workdir", "launch"]
ENTRY_POINTS = {"trainer", "trainer.__main__", "trainer.task"}
HEAVY = ("tensorflow", "keras", "tf_keras", "tensorflow_hub", "tensorflow_datasets", "numpy")


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def package(module):
    return module.split(".")[1]


def imported(tree):
    """The modules that the statements of `tree` import, `a.b` for `from a import b`, too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not used here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in names)


def at_module_level(tree):
    """The same tree without what only runs later, or never: functions and TYPE_CHECKING."""

    class Pruned(ast.NodeTransformer):
        def visit_FunctionDef(self, node):
            return None

        visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815

        def visit_If(self, node):
            return None if "TYPE_CHECKING" in ast.dump(node.test) else self.generic_visit(node)

    return Pruned().visit(tree)


def imports_of(module, prune=False):
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return set(imported(at_module_level(tree) if prune else tree)) - {module}


def test_a_package_stands_on_those_above_it_in_the_table():
    seen: set[str] = set()
    for name, others in ALLOWED.items():
        assert others <= seen
        seen.add(name)
    assert {p.name for p in ROOT.iterdir() if p.is_dir() and p.name != "__pycache__"} == seen


def test_nothing_lies_beside_the_packages():
    assert {m for m in MODULES if m.count(".") < 2} - {f"trainer.{p}" for p in ALLOWED} == (
        ENTRY_POINTS
    )


def test_a_package_has_at_most_twenty_modules():
    sizes = collections.Counter(path.parent for path in MODULES.values())
    assert {directory: size for directory, size in sizes.items() if size > 21} == {}


@pytest.mark.parametrize("name", ALLOWED)
def test_imports_are_those_of_the_table(name):
    edges = {
        (module, other)
        for module in MODULES.keys() - ENTRY_POINTS
        if package(module) == name
        for other in imports_of(module) & MODULES.keys() - {"trainer"}
        if other in ENTRY_POINTS or package(other) not in ALLOWED[name] | {name}
    }
    assert edges == set()


def test_there_are_no_circles():
    graph = {m: imports_of(m) & MODULES.keys() - {"trainer"} for m in MODULES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


LIGHT = sorted(m for m in MODULES.keys() - ENTRY_POINTS if package(m) in WITHOUT_TENSORFLOW)


@pytest.mark.parametrize("module", LIGHT)
def test_what_runs_without_tensorflow_imports_nothing_heavy(module):
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        found = imports_of(waiting.pop(), prune=True)
        waiting += (found & MODULES.keys()) - reached
        reached |= found
    assert {m for m in reached if m.partition(".")[0] in HEAVY} == set()


HELP = [[], ["--help"], ["--version"], *([c, "--help"] for c in COMMANDS)]
# Each in a fork of a process that has imported no more than every command does.
ASKED = f"""
import os, sys, trainer.__main__
for words in {HELP}:
    if os.fork() == 0:
        code = trainer.__main__.main(words)
        print("imported", words, sorted({{*{HEAVY}, "rich"}} & sys.modules.keys()), code)
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""


@pytest.mark.integration
def test_help_imports_nothing_heavy():
    process = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True)
    lines = [line for line in process.stdout.splitlines() if line.startswith("imported ")]
    assert lines == [f"imported {words} [] 0" for words in HELP], process.stderr


def test_a_heavy_import_would_be_found():
    tree = ast.parse(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import keras\n"
        "def f():\n    import numpy\n"
        "try:\n    import tensorflow as tf\n"
        "except ImportError:\n    from trainer.process import console\n"
    )
    assert set(imported(at_module_level(tree))) == {
        "typing",
        "tensorflow",
        "trainer.process.console",
    }
