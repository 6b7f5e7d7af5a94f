"""What Kubernetes' own schemas say of the objects of k8s/."""

from __future__ import annotations

import functools
import json
from typing import Any

import kubernetes_validate

from trainer.launch.kubernetes import job, manifests

VERSIONS = ("1.33", "1.34", "1.35", "1.36", "1.37")

# It reads two files of schemas, one of them large, for each object: here once for all.
kubernetes_validate.utils.schema_contents = functools.cache(
    kubernetes_validate.utils.schema_contents
)


def validate(item: dict[str, Any], version: str) -> None:
    """Raise ValidationError where `item` is no object of that version of Kubernetes."""
    if item["kind"] == "JobSet":  # has no schema there; but the Job in it has
        spec = job.spec_of(item)
        item = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {}, "spec": spec}
    _validate(json.dumps(item), version)


def assert_valid(overlay: str, version: str) -> None:
    """Assert that an overlay has the objects that it should, each of them valid."""
    objects = manifests.render([overlay])
    for item in objects:
        validate(item, version)
    assert sorted("Job" if item["kind"] == "JobSet" else item["kind"] for item in objects) == [
        "ConfigMap",
        "Deployment",
        "Job",
        "Service",
        "Service",
        "ServiceAccount",
    ]


@functools.cache  # the overlays have most of their objects in common
def _validate(item: str, version: str) -> None:
    kubernetes_validate.validate(json.loads(item), version, strict=True)
