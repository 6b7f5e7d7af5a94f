"""The accelerators of Vertex AI's machines; refuse a machine that no region has.

The tables are those of https://cloud.google.com/vertex-ai/docs/training/configure-compute.
"""

from __future__ import annotations

from typing import Any

from trainer.process.errors import UserError

_T4, _L4, _A100, _H100 = "NVIDIA_TESLA_T4", "NVIDIA_L4", "NVIDIA_TESLA_A100", "NVIDIA_H100_80GB"

# These come with their accelerators.
_BUILT_IN = {
    **{f"g2-standard-{cpus}": (_L4, 1) for cpus in (4, 8, 12, 16, 32)},
    "g2-standard-24": (_L4, 2),
    "g2-standard-48": (_L4, 4),
    "g2-standard-96": (_L4, 8),
    **{f"a2-highgpu-{count}g": (_A100, count) for count in (1, 2, 4, 8)},
    "a2-megagpu-16g": (_A100, 16),
    **{f"a2-ultragpu-{count}g": ("NVIDIA_A100_80GB", count) for count in (1, 2, 4, 8)},
    **{f"a3-highgpu-{count}g": (_H100, count) for count in (1, 2, 4, 8)},
    "a3-megagpu-8g": ("NVIDIA_H100_MEGA_80GB", 8),
    "a3-ultragpu-8g": ("NVIDIA_H200_141GB", 8),
    "a4-highgpu-8g": ("NVIDIA_B200", 8),
}

# These are added to an N1 machine: (most vCPUs, fewest accelerators), and all possible counts.
_FEWEST = ((16, 1), (32, 2), (96, 4))
_N1 = {
    _T4: (_FEWEST, (1, 2, 4)),
    "NVIDIA_TESLA_P4": (_FEWEST, (1, 2, 4)),
    "NVIDIA_TESLA_P100": (_FEWEST, (1, 2, 4)),
    "NVIDIA_TESLA_V100": (((8, 1), (16, 2), (32, 4), (96, 8)), (1, 2, 4, 8)),
}

_FLEX_START = (_L4, _A100, "NVIDIA_A100_80GB", "NVIDIA_H200_141GB", "NVIDIA_B200")


def machine_spec(
    machine_type: str, accelerator_type: str, accelerator_count: int
) -> dict[str, Any]:
    """Return the MachineSpec of one replica; built-in accelerators need not be named.

    A machine of an unknown family is requested as it is.

    Raises:
        UserError: no machine of that type has such accelerators, or so many.
    """
    flag = f"--machine_type={machine_type}"
    built_in = _BUILT_IN.get(machine_type)
    if built_in is None and machine_type.startswith(("a2-", "a3-", "a4-", "g2-")):
        raise UserError(f"{flag}: no such machine; must be one of {', '.join(_like(machine_type))}")
    if built_in is not None:
        kind, count = accelerator_type or built_in[0], accelerator_count or built_in[1]
        if (kind, count) != built_in:
            raise UserError(
                f"--accelerator_type={kind}, --accelerator_count={count}: {flag} has "
                f"{built_in[1]} of {built_in[0]}, always"
            )
        return _spec(machine_type, kind, count)
    if not accelerator_type:
        if accelerator_count:
            raise UserError(f"--accelerator_count={accelerator_count}: needs --accelerator_type")
        return {"machineType": machine_type}
    if accelerator_type not in _N1:
        raise UserError(
            f"--accelerator_type={accelerator_type}: {flag} has none; those that can be added are "
            f"{', '.join(_N1)}, to n1 machines; others come with a machine type, as g2-standard-8"
        )
    if not machine_type.startswith("n1-"):
        raise UserError(
            f"--accelerator_type={accelerator_type}: {flag} takes none; must be an n1 machine, as "
            "n1-standard-8"
        )
    count = accelerator_count or 1
    allowed = _counts(machine_type, accelerator_type)
    if count not in allowed:
        raise UserError(
            f"--accelerator_count={count}: {flag} takes {' or '.join(map(str, allowed))} of "
            f"{accelerator_type}"
        )
    return _spec(machine_type, accelerator_type, count)


def check_flex_start(spec: dict[str, Any]) -> None:
    """Refuse a machine that flex_start cannot queue for.

    Raises:
        UserError: it has none of the accelerators of flex_start.
    """
    kind = spec.get("acceleratorType", "")
    if kind not in _FLEX_START and "H100" not in kind:
        raise UserError(
            "--scheduling=flex_start: queues for L4, A100, H100, H200 and B200 only, and "
            f"--machine_type={spec['machineType']} has {kind or 'no accelerator'}"
        )


def _spec(machine_type: str, kind: str, count: int) -> dict[str, Any]:
    return {"machineType": machine_type, "acceleratorType": kind, "acceleratorCount": count}


def _like(machine_type: str) -> list[str]:
    return [name for name in _BUILT_IN if name[:3] == machine_type[:3]]


def _counts(machine_type: str, accelerator_type: str) -> list[int]:
    steps, counts = _N1[accelerator_type]
    cpus = machine_type.rpartition("-")[2]
    if not cpus.isdigit():
        return list(counts)
    fewest = next((fewest for most, fewest in steps if int(cpus) <= most), counts[-1])
    return [count for count in counts if count >= fewest]
