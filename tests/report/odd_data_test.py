"""Pages of real runs on data that are odd: names that are markup, a thousand classes, one image."""

import json

import pytest

from tests.inputs import tiny
from tests.inputs.evidence import encoded
from tests.processes.commands import graft
from tests.servers.browser import chromium, opened, serve

pytestmark = pytest.mark.integration

# What a file name can hold: anything but a slash.
HOSTILE = ("<script>alert(1)<", "<img src=x onerror=alert(2)>", "{{7*7}}'\"&\u2028")
FILE = '"><svg onload=alert({})>.png'


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny.write_backbone(tmp_path_factory.mktemp("backbone"))


def train(root, backbone):
    process = graft(
        "train",
        f"--workdir={root / 'run'}",
        f"--dataset={root / 'images'}",
        f"--backbone={backbone}",
        f"--feature_cache={root / 'features'}",
        "--num_epochs=1",
        "--global_batch_size=8",
        "--export_formats=",
        "--nolog_images",
    )
    assert process.returncode == 0, process.stderr
    assert "warning: " not in process.stdout
    metrics = json.loads((root / "run" / "metrics.json").read_text())
    return metrics, (root / "run" / "report" / "index.html").read_text()


def compare(root):
    output = root / "run" / "compare.html"
    process = graft("compare", root / "run", f"{root / 'run'}/", f"--output={output}")
    assert process.returncode == 0, process.stderr
    return output.read_text()


def write(path, color):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoded(color, size=(40, 40)))


def test_names_of_classes_and_files_that_are_markup(backbone, tmp_path):
    """Two classes that are learnt, and one of a single image that looks like the first."""
    for split, count in (("train", 24), ("validation", 6)):
        for number in range(count):
            colors = (250, 5, 5 + number), (5, 5 + number, 250)
            for name, color in zip(HOSTILE[:2], colors, strict=True):
                write(tmp_path / "images" / split / name / FILE.format(number), color)
        write(tmp_path / "images" / split / HOSTILE[2] / FILE.format("one"), (250, 5, 5))
    metrics, text = train(tmp_path, backbone)
    assert sorted(metrics["class_names"]) == sorted(HOSTILE)
    # One example in a class, which is never predicted.
    rare = metrics["eval"]["per_class"][HOSTILE[2]]
    assert rare["num_examples"] == 1
    assert (rare["precision"], rare["recall"]) == (None, 0.0)
    compared = compare(tmp_path)
    for page in (text, compared):
        for markup in ("<script>alert", "<img src=x", "<svg onload"):
            assert markup not in page
    with serve(tmp_path / "run") as address, chromium() as browser:
        for name in ("report/index.html", "compare.html"):
            with opened(browser, f"{address}/{name}") as shown:
                assert shown.locator("main script, main svg, main [onerror]").count() == 0
                if name != "compare.html":
                    heads = shown.inner_text("#matrix thead")
                    assert all(of_class in heads for of_class in HOSTILE[:2])
                    found = shown.locator(".findings li", has_text="Never predicted").inner_text()
                    assert "{{7*7}}" in found


def test_a_thousand_classes_of_one_image_each(backbone, tmp_path):
    for number in range(1000):
        color = (number % 10 * 25, number // 10 % 10 * 25, number // 100 * 25)
        for split in ("train", "validation"):
            write(tmp_path / "images" / split / f"class {number:03d}" / "only.png", color)
    metrics, text = train(tmp_path, backbone)
    assert len(metrics["class_names"]) == 1000
    assert metrics["eval"]["num_examples"] == 1000
    assert len(text) < 2_000_000
    assert "Never predicted: " in text
    assert "1,000 validation images are also in the training split" in text
    assert len(compare(tmp_path)) < 2_000_000
