"""`make bench`: Graft beside the script it grew from and other peers; writes docs/benchmarks.md.

    python -m benchmarks.run [--rows=seed,forward] [--pairs=3] [--epochs=10]

Groups of rows that are not asked for keep their last figures (docs/benchmarks.json). PyTorch and
ONNX Runtime run in an interpreter of their own, --peers_python; without one their rows are left
out, and said.
"""

from __future__ import annotations

import datetime
import os
import tempfile
from pathlib import Path

from absl import app, flags

from benchmarks import machine, page
from benchmarks.processes import ROOT
from benchmarks.rows import (
    agreement,
    checkpoint,
    extraction,
    forward,
    growth,
    input_alone,
    keras,
    onnx,
    precision,
    restart,
    scaling,
    scaling_tuned,
    seed,
    start,
    storage,
    streaming,
    torch,
)
from benchmarks.setting import Setting
from trainer.process.tensorflow_import import import_tensorflow
from trainer.settings.locations import default_cache_dir

# In the order of the page.
GROUPS = {
    "seed": seed,
    "start": start,
    "streaming": streaming,
    "keras": keras,
    "torch": torch,
    "forward": forward,
    "onnx": onnx,
    "extraction": extraction,
    "precision": precision,
    "input": input_alone,
    "growth": growth,
    "scaling": scaling,
    "scaling_tuned": scaling_tuned,
    "restart": restart,
    "checkpoint": checkpoint,
    "agreement": agreement,
    "storage": storage,
}

_ROWS = flags.DEFINE_list("rows", list(GROUPS), f"groups to measure, of {', '.join(GROUPS)}")
_PAIRS = flags.DEFINE_integer("pairs", 3, "how often each process runs", lower_bound=1)
_EPOCHS = flags.DEFINE_integer("epochs", 10, "of the whole jobs", lower_bound=1)
_PEERS = flags.DEFINE_string(
    "peers_python",
    os.environ.get("GRAFT_PEERS_PYTHON", ""),
    "an interpreter with requirements/bench.in installed; empty: that of .venv-bench",
)
_RESULTS = ROOT / "docs" / "benchmarks.json"
_PAGE = ROOT / "docs" / "benchmarks.md"


def main(_: list[str]) -> None:
    """Prepare, measure group by group, write after each."""
    if unknown := set(_ROWS.value) - GROUPS.keys():
        raise app.UsageError(f"--rows={','.join(sorted(unknown))}: none of {', '.join(GROUPS)}")
    data, backbone = _prepare()
    peers_python = _peers_python()
    failed = []
    for name in (name for name in GROUPS if name in _ROWS.value):
        group = GROUPS[name]
        if not peers_python and getattr(group, "NEEDS_PEERS", False):
            print(f"{name}: left out; no interpreter with its packages (--peers_python)")
            continue
        print(f"{name}:", flush=True)
        with tempfile.TemporaryDirectory(prefix="graft-bench-") as scratch:
            setting = Setting(
                data, backbone, Path(scratch), _PAIRS.value, _EPOCHS.value, peers_python
            )
            try:
                rows = group.rows(setting)
            except RuntimeError as error:  # what is measured after it is not lost
                failed.append(name)
                print(f"{name}: failed; its last figures are kept\n{error}", flush=True)
                continue
        for row in rows:
            print("  " + " | ".join(row.cells()), flush=True)
        results = page.read(_RESULTS)  # anew: groups may be measured by several commands
        results[name] = {
            "date": str(datetime.date.today()),
            "machine": machine.describe(),
            "pairs": _PAIRS.value,
            "about": " ".join(group.ABOUT.split()),
            "rows": [row.to_dict() for row in rows],
        }
        page.write(_RESULTS, results)
        _PAGE.write_text(page.markdown(results, GROUPS), encoding="utf-8")
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _prepare() -> tuple[str, str]:
    """All processes find data and backbone prepared: the first use is not what is compared."""
    import_tensorflow()
    from trainer.data.leaves import embedded
    from trainer.models import handles

    cache = default_cache_dir()
    return embedded.prepare(cache), handles.resolve("efficientnet_lite0", cache)


def _peers_python() -> str:
    own = ROOT / ".venv-bench" / "bin" / "python"
    return _PEERS.value or (str(own) if (own.parents[1] / "ready").exists() else "")


if __name__ == "__main__":
    app.run(main)
