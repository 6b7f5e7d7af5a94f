"""The files of k8s/, rendered: the same as `kustomize build k8s/overlays/NAME` makes of them.

Of kustomize these files use a base, components, and JSON patches (RFC 6902), which `jsonpatch`
applies; so nothing of kustomize's own merging is needed here. Format:
https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainer.process.errors import UserError

Object = dict[str, Any]

_LAST = "jobset"  # it turns the Job, which the others change, into something else


def directory() -> Path:
    """Where the files are: within the package once it is installed, else beside it."""
    here = Path(__file__).parent
    places = (here / "k8s", here.parents[2] / "k8s")
    found = next((place for place in places if (place / "base").is_dir()), None)
    if found is None:
        raise UserError(f"{places[0]}: the manifests are missing; install Graft anew")
    return found


def overlays() -> list[str]:
    """The names of all overlays."""
    return sorted(path.name for path in (directory() / "overlays").iterdir())


def render(names: Sequence[str]) -> list[Object]:
    """The objects of these overlays, all in one; in the order in which they can be created.

    Raises:
        UserError: there is no such overlay, or a library is missing.
    """
    components: list[Path] = []
    resources: list[Path] = []
    for name in names:
        if name not in overlays():
            raise UserError(f"--overlay={name}: no such overlay; there are {', '.join(overlays())}")
        place = directory() / "overlays" / name
        (kustomization,) = _load(place / "kustomization.yaml")
        resources += [(place / path).resolve() for path in kustomization["resources"]]
        components += [(place / path).resolve() for path in kustomization.get("components", [])]
    objects = [item for base in dict.fromkeys(resources) for item in _base(base)]
    for component in sorted(dict.fromkeys(components), key=lambda path: path.name == _LAST):
        objects = _patched(objects, component)
    return objects


def to_text(objects: Sequence[Object], form: str) -> str:
    """The objects as `yaml`, a document each, or as `json`, in one list; with a final newline."""
    if form == "json":
        whole = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
    yaml = _library("yaml")
    text: str = yaml.safe_dump_all(objects, sort_keys=False, allow_unicode=True, width=100)
    return text


def _base(place: Path) -> Iterator[Object]:
    (kustomization,) = _load(place / "kustomization.yaml")
    for name in kustomization["resources"]:
        yield from _load(place / name)


def _patched(objects: Sequence[Object], component: Path) -> list[Object]:
    jsonpatch = _library("jsonpatch")
    (kustomization,) = _load(component / "kustomization.yaml")
    changed = list(objects)
    for entry in kustomization["patches"]:
        operations = _library("yaml").safe_load(entry["patch"])
        for place, item in enumerate(changed):
            if item["kind"] == entry["target"]["kind"]:
                changed[place] = jsonpatch.apply_patch(item, operations)
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
