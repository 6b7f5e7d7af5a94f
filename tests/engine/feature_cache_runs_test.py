"""Whole runs with the feature cache: the same result as without it, and nothing computed twice."""

import json
import signal
from pathlib import Path

import pytest

from tests.inputs import tiny
from tests.processes.commands import DEADLINE_SECS, graft, metrics, refused, start
from tests.processes.gang import curve

pytestmark = pytest.mark.integration

UNREAD = ("--export_formats=", "--noreport")  # where nobody looks at either
BARE = (*UNREAD, "--nolog_images")
WRITES = "trainer.data.feature_store:FeatureStore.write"  # a call for each part
MANIFESTS = "trainer.data.feature_store:Manifest"  # and of these, between data and manifest


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny.write_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # Two that are no images, and in the first epoch's steps: a run without a cache lists what it
    # has met.
    root = tiny.write_folder(tmp_path_factory.mktemp("größe 1"), train=9, validation=5)
    for name in ("train/red/001.png", "validation/blue/001.png"):
        (root / name).write_bytes(b"text")
    return root


@pytest.fixture(scope="module")
def train(folder, backbone, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")

    def run(name, *flags):
        """[(cached, computed) parts of each split], and the workdir."""
        process = graft(
            *("train", f"--workdir={root / name}", f"--dataset={folder}"),
            *(f"--backbone={backbone}", "--num_epochs=3", "--global_batch_size=8"),
            *("--precision=float32", "--bad_images=skip", "--dropout=0.1", "--log_every_steps=1"),
            *("--learning_rate=0.02", "--log_format=json", *flags),
        )
        assert process.returncode == 0, process.stderr
        return parts(process.stdout), root / name

    return run


def parts(stdout):
    lines = map(json.loads, stdout.splitlines())
    return [
        (line["parts_cached"], line["parts_computed"]) for line in lines if "parts_cached" in line
    ]


def assert_same(one, other):
    """To rounding: figures, curves, and the images that were left out."""
    for name in ("train", "eval"):
        left, right = curve(one, name), curve(other, name)
        assert left.keys() == right.keys()
        assert len(left) > 5
        for key in left:
            if isinstance(left[key], list):
                continue  # a picture, which may show a figure that is rounded
            assert left[key] == pytest.approx(right[key], rel=2e-4, abs=1e-6), key
    figures, others = metrics(one), metrics(other)
    assert figures["eval"]["confusion_matrix"] == others["eval"]["confusion_matrix"]
    for name in ("skipped", "num_skipped", "best", "num_params"):
        assert figures[name] == others[name], name


def test_a_cached_run_is_the_uncached_run_and_the_next_computes_nothing(train, tmp_path):
    _, uncached = train("uncached", "--feature_cache=off", *UNREAD)
    cache = f"--feature_cache={tmp_path / 'cache'}"
    first, cached = train("cached", cache, *UNREAD)
    second, again = train("again", cache, *BARE)
    assert first == [(0, 8), (0, 8)]
    assert second == [(8, 0), (8, 0)]
    assert_same(cached, uncached)
    assert metrics(again) == metrics(cached)
    assert metrics(cached)["num_skipped"] == 2
    other, _ = train("other values", cache, "--image_range=-1,1", *BARE)
    assert other == [(0, 8), (0, 8)]


def test_as_many_views_as_epochs_are_the_augmented_run(train, tmp_path):
    flags = ("--augment=light", "--test_split=validation")
    _, uncached = train("augmented", *flags, *BARE)
    computed, cached = train(
        "views", *flags, "--feature_views=3", f"--feature_cache={tmp_path / 'cache'}", *BARE
    )
    assert computed == [(0, 8), (0, 24)]
    assert_same(cached, uncached)
    assert (
        metrics(cached)["test"]["confusion_matrix"] == metrics(cached)["eval"]["confusion_matrix"]
    )


def test_one_split_to_train_and_to_validate_with_is_not_evaluated_augmented(train, tmp_path):
    """The export is checked against the files: an evaluation of augmented views would fail it."""
    flags = ("--augment=randaugment", "--validation_split=train", "--test_split=train")
    _, uncached = train("one split", *flags, *BARE)
    computed, cached = train(
        *("one split, cached", *flags, "--feature_views=3", "--noreport", "--nolog_images"),
        f"--feature_cache={tmp_path / 'cache'}",
    )
    assert computed == [(0, 8), (0, 24)]
    assert_same(cached, uncached)


@pytest.fixture(scope="module")
def many(tmp_path_factory, backbone):
    """300 images to train on, in parts of 37 or 38 and ten batches; 8 parts to validate with."""
    root = tmp_path_factory.mktemp("many")
    tiny.write_images(root / "train", dict.fromkeys(tiny.COLORS, 100), size=16)
    tiny.write_images(root / "validation", dict.fromkeys(tiny.COLORS, 3), size=16)
    return [
        *("train", f"--dataset={root}", f"--backbone={backbone}", "--num_epochs=2"),
        *("--precision=float32", "--log_format=json", *BARE),
    ]


def committed(cache):
    return {path: path.stat().st_mtime_ns for path in Path(cache).glob("*/part-*.json")}


def stop_at(gate, arguments, number):
    """Send signal `number` as the gate is reached; the exit code."""
    process = start(*arguments, prepare=gate)
    gate.wait(process)
    process.send_signal(number)
    gate.open()
    return process.wait(DEADLINE_SECS)


def test_kills_in_mid_extraction_lose_no_committed_part(many, gates, tmp_path, rng):
    cache = tmp_path / "cache"
    arguments = [*many, f"--workdir={tmp_path / 'killed'}", f"--feature_cache={cache}"]
    # 8 parts of the validation split, then 8 of the training split.
    first, second = sorted(rng.sample(range(1, 15), 2))
    print(f"killed with {first} and {second} parts")
    kept: dict[Path, int] = {}
    # The first kill leaves a part's data without its manifest, the second none.
    for gate, moment, num_data in (
        (gates(MANIFESTS, first + 1), first, first + 1),
        (gates(WRITES, second - first + 1), second, second),
    ):
        assert stop_at(gate, arguments, signal.SIGKILL) == -signal.SIGKILL
        now = committed(cache)
        assert kept.items() <= now.items()
        assert len(now) == moment
        assert len([p for p in cache.glob("*/part-*") if p.suffix != ".json"]) == num_data
        kept = now
    last = graft(*arguments)
    assert last.returncode == 0, last.stderr
    found = parts(last.stdout)
    assert [sum(split) for split in found] == [8, 8]
    assert [cached for cached, _ in found] == [min(8, len(kept)), max(0, len(kept) - 8)]
    assert kept.items() <= committed(cache).items()
    undisturbed = tmp_path / "undisturbed"
    process = graft(*many, f"--workdir={undisturbed}", f"--feature_cache={tmp_path / 'other'}")
    assert process.returncode == 0, process.stderr
    assert metrics(tmp_path / "killed") == metrics(undisturbed)


def test_sigterm_in_mid_extraction_leaves_with_143_and_goes_on(many, gates, tmp_path):
    cache = tmp_path / "cache"
    arguments = [*many, f"--workdir={tmp_path / 'run'}", f"--feature_cache={cache}"]
    assert stop_at(gates(WRITES, 10), arguments, signal.SIGTERM) == 143
    kept = committed(cache)
    assert len(kept) == 10  # the part in hand is committed, and no other
    process = graft(*arguments)
    assert process.returncode == 0, process.stderr
    assert parts(process.stdout) == [(8, 0), (len(kept) - 8, 16 - len(kept))]
    assert kept.items() <= committed(cache).items()


def test_bad_images_are_named_the_first_time_and_where_others_left_them_out(
    folder, backbone, tmp_path
):
    cache = tmp_path / "cache"
    arguments = (
        *("train", f"--dataset={folder}", f"--backbone={backbone}", "--num_epochs=1"),
        *("--global_batch_size=8", f"--feature_cache={cache}", *BARE),
    )
    named = ("validation/blue/001.png cannot be decoded", "--bad_images=skip")
    refused(graft(*arguments, f"--workdir={tmp_path / 'first'}"), *named)
    skipping = graft(*arguments, f"--workdir={tmp_path / 'skips'}", "--bad_images=skip")
    assert skipping.returncode == 0, skipping.stderr
    assert len(committed(cache)) == 16
    refused(graft(*arguments, f"--workdir={tmp_path / 'second'}"), *named)
