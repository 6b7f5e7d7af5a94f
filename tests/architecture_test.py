"""Who may import whom: the floors of docs/design.md, read from the source files themselves."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import trainer
from trainer.__main__ import COMMANDS

ROOT = Path(trainer.__file__).parent

FLOORS = {
    0: "errors choices machine image_files identity config command_line flags steps storage locks "
    "quiet provenance console run_state manifest local_storage gcs_client gcs_transfer gcs_storage "
    "bucket_check lease uploader log_upload places job_cluster cluster shares fingerprint "
    "message_stream peer_probe preemption lifeline preflight_room preflight_chief "
    "preflight_worker preflight workers goodput run_status scores finished trial "
    "kubeflow",
    1: "scored report.calibration report.curves report.duplicates report.evidence report.mislabels "
    "report.matrix report.command_of report.findings report.contents report.page "
    "report.comparison graph_file "
    "tensorflow_errors strategy summary_records summaries checkpoints fused_updates optimizers "
    "profiling mistakes pictures confusion_picture embedding",
    2: "evaluate extraction feature_cache export train_step run assembly report.pictures "
    "report.gather report.write resume hparams board board_files progress finish",
    3: "train",
    4: "task __main__ predict pack packing doctor watch tensorboard compare",
}
FLOOR = {f"trainer.{name}": floor for floor, names in FLOORS.items() for name in names.split()}
FLOOR_OF_PACKAGE = {
    "trainer.data": 1,
    "trainer.models": 1,
    "trainer.checkup": 4,
    "trainer.launch": 4,
    "trainer.report": 1,
}
HEAVY = ("tensorflow", "keras", "tf_keras", "tensorflow_hub", "tensorflow_datasets", "numpy")


def module_name(path):
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py"))}


def floor(module):
    package = module.rpartition(".")[0]
    if module in FLOOR:
        return FLOOR[module]
    return FLOOR_OF_PACKAGE.get(package, FLOOR_OF_PACKAGE.get(module))


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


def test_every_module_has_a_floor():
    unplaced = [m for m in MODULES if m != "trainer" and floor(m) is None]
    assert unplaced == []
    assert sorted(FLOOR.keys() - MODULES.keys()) == []


@pytest.mark.parametrize("module", [m for m in MODULES if m != "trainer"])
def test_imports_go_down(module):
    ours = imports_of(module) & MODULES.keys() - {"trainer"}
    assert {m: floor(m) for m in ours if floor(m) > floor(module)} == {}


def test_there_are_no_circles():
    graph = {m: imports_of(m) & MODULES.keys() - {"trainer"} for m in MODULES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


LIGHT = [m for m in MODULES if floor(m) == 0 or m.startswith("trainer.launch")]


@pytest.mark.parametrize("module", LIGHT)
def test_the_lowest_floor_and_what_starts_workers_import_nothing_heavy(module):
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
        "try:\n    import tensorflow as tf\nexcept ImportError:\n    from trainer import locks\n"
    )
    assert set(imported(at_module_level(tree))) == {"typing", "tensorflow", "trainer.locks"}
