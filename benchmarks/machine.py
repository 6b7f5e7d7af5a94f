"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from trainer.process import provenance


def describe() -> str:
    """The processor, its cores, the memory, and the versions, in a sentence."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = provenance.versions()
    tensorflow = versions.get("tensorflow") or versions.get("tensorflow-cpu")
    return (
        f"Machine: {_processor()}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, "
        f"{platform.system()}; Python {versions['python']}, TensorFlow {tensorflow}."
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
