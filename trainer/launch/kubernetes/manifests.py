"""Render the files of k8s/ as `kustomize build k8s/overlays/NAME` does.

They use a base, components and JSON patches (RFC 6902), which `jsonpatch` applies, so
kustomize's own merging is not needed. Format:
https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainer.process.errors import UserError

Object = dict[str, Any]

_LAST = "jobset"  # last, since it replaces the Job that the other components patch


def directory() -> Path:
    """Return the directory of the files: within an installed package, else in the checkout."""
    here = Path(__file__).parent
    candidates = (here / "k8s", here.parents[2] / "k8s")
    found = next((path for path in candidates if (path / "base").is_dir()), None)
    if found is None:
        raise UserError(f"{candidates[0]}: the manifests are missing; reinstall Graft")
    return found


def overlays() -> list[str]:
    """Return the names of all overlays."""
    return sorted(path.name for path in (directory() / "overlays").iterdir())


def render(names: Sequence[str]) -> list[Object]:
    """Return the objects of these overlays combined, in the order of creation.

    Raises:
        UserError: there is no such overlay, or a library is missing.
    """
    components: list[Path] = []
    resources: list[Path] = []
    for name in names:
        if name not in overlays():
            raise UserError(f"--overlay={name}: no such overlay; there are {', '.join(overlays())}")
        overlay = directory() / "overlays" / name
        (kustomization,) = _load(overlay / "kustomization.yaml")
        resources += [(overlay / path).resolve() for path in kustomization["resources"]]
        components += [(overlay / path).resolve() for path in kustomization.get("components", [])]
    objects = [item for base in dict.fromkeys(resources) for item in _base(base)]
    for component in sorted(dict.fromkeys(components), key=lambda path: path.name == _LAST):
        objects = _patched(objects, component)
    return objects


def to_text(objects: Sequence[Object], output_format: str) -> str:
    """Format the objects as `yaml`, a document each, or as `json`, in one list."""
    if output_format == "json":
        listing = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return json.dumps(listing, indent=2, ensure_ascii=False) + "\n"
    yaml = _library("yaml")
    text: str = yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True, width=100)
    return text


def _base(base: Path) -> Iterator[Object]:
    (kustomization,) = _load(base / "kustomization.yaml")
    for name in kustomization["resources"]:
        yield from _load(base / name)


def _patched(objects: Sequence[Object], component: Path) -> list[Object]:
    jsonpatch = _library("jsonpatch")
    (kustomization,) = _load(component / "kustomization.yaml")
    changed = list(objects)
    for entry in kustomization["patches"]:
        operations = _library("yaml").safe_load(entry["patch"])
        for i, item in enumerate(changed):
            if item["kind"] == entry["target"]["kind"]:
                changed[i] = jsonpatch.apply_patch(item, operations)
    return changed


def _load(path: Path) -> list[Object]:
    return list(_library("yaml").safe_load_all(path.read_text(encoding="utf-8")))


def _library(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(
            f"--platform=kubernetes: needs {error.name}; in a checkout of Graft: "
            "pip install '.[kubernetes]'"
        ) from error
