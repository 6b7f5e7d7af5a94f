"""A run from its command line to its workdir, on a folder of PNGs of mixed sizes and alpha."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.inputs import tiny
from tests.processes.commands import graft, metrics, python, script
from trainer.storage import api as storage

pytestmark = pytest.mark.integration

BARE = ("--export_formats=", "--noreport", "--nolog_images")  # where nobody looks at them


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tiny.write_folder(tmp_path_factory.mktemp("images with späces"))
    rng = np.random.default_rng(3)
    for label, color in tiny.COLORS.items():
        for i, size in enumerate([(40, 90), (130, 60), (33, 33)]):
            pixels = np.clip(rng.normal(color, 40, (*size, 3)), 0, 255).astype(np.uint8)
            alpha = rng.integers(100, 255, (*size, 1)).astype(np.uint8)
            rgba = Image.fromarray(np.concatenate([pixels, alpha], axis=-1))
            for split in ("train", "validation"):
                rgba.save(root / split / label / f"alpha-{i}.png")
    return root


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return tiny.write_backbone(tmp_path_factory.mktemp("backbone") / "saved model")


@pytest.fixture(scope="module")
def trained(folder, backbone, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "first"
    arguments = [
        "train",
        f"--workdir={workdir}",
        f"--dataset={folder}",
        f"--backbone={backbone}",
        "--num_epochs=6",
        "--global_batch_size=8",
        "--learning_rate=0.05",
        "--log_every_steps=5",
    ]
    return workdir, arguments, python("-m", "trainer", *arguments, LANG="C", LC_ALL="C")


def test_a_run_ends_with_the_files_of_the_contract(trained):
    workdir, _, process = trained
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    for name in (
        "config.json",
        "metrics.json",
        "report/index.html",
        "report/contents.json",
        "report/metrics.csv",
        "export/saved_model.pb",
        "export/assets/labels.txt",
        "checkpoints/step_00000060/MANIFEST.json",
    ):
        assert (workdir / name).is_file(), name
    assert (workdir / "export/assets/labels.txt").read_text() == "blue\ngreen\nred\n"
    config = json.loads((workdir / "config.json").read_text())
    assert config["config"]["num_epochs"] == 6
    assert config["versions"]["graft"]


def test_the_last_line_gives_accuracy_and_paths(trained):
    workdir, _, process = trained
    accuracy = metrics(workdir)["eval"]["accuracy"]
    last = process.stdout.splitlines()[-1]
    assert f"accuracy {accuracy:.4f} on 33 validation images" in last
    assert str(workdir / "export") in last
    assert str(workdir / "report" / "index.html") in last


def test_metrics_have_the_figures_of_the_contract(trained):
    found = metrics(trained[0])
    assert found["global_step"] == 60  # (3 × 27) // 8 = 10 steps an epoch
    assert found["num_trainable_params"] == 8 * 128 + 128 + 128 * 3 + 3
    assert found["class_names"] == ["blue", "green", "red"]
    assert found["eval"]["num_examples"] == 33
    assert found["eval"]["accuracy"] > 0.9
    assert found["eval"]["accuracy"] == found["best"]["accuracy"]
    assert found["eval"]["per_class"]["red"]["num_examples"] == 11
    assert np.sum(found["eval"]["confusion_matrix"]) == 33
    assert found["num_skipped"] == 0


def test_the_same_command_again_has_nothing_left_to_do(trained):
    workdir, arguments, first = trained
    before = (workdir / "metrics.json").read_bytes()
    again = graft(*arguments)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1] == first.stdout.splitlines()[-1]
    assert (workdir / "metrics.json").read_bytes() == before


def test_predict_agrees_with_metrics(trained, folder):
    workdir = trained[0]
    process = graft("predict", f"--model={workdir}", "--format=csv", folder / "validation")
    assert process.returncode == 0, process.stderr
    rows = list(csv.DictReader(io.StringIO(process.stdout)))
    hits = [row["class"] == row["path"].split("/")[-2] for row in rows]
    assert len(hits) == 33
    assert np.mean(hits) == metrics(workdir)["eval"]["accuracy"]


def test_predict_json_lines_has_every_class_in_order(trained, folder):
    pattern = folder / "validation" / "*" / "alpha-*.png"
    process = graft("predict", f"--model={trained[0]}/export", "--format=jsonl", "--top=3", pattern)
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    assert len(lines) == 9
    for line in lines:
        assert sorted(line["classes"]) == ["blue", "green", "red"]
        assert line["scores"] == sorted(line["scores"], reverse=True)
        assert sum(line["scores"]) == pytest.approx(1, abs=1e-5)


def test_predict_names_a_broken_image_and_scores_the_others(trained, folder, tmp_path):
    (tmp_path / "broken.jpg").write_text("no image")
    good = folder / "validation" / "red" / "000.png"
    arguments = ("predict", f"--model={trained[0]}", "--format=jsonl", tmp_path, good)
    process = graft(*arguments)
    assert process.returncode == 2
    assert "1 of 2 images could not be read" in process.stderr
    first, second = map(json.loads, process.stdout.splitlines())
    assert first["path"].endswith("broken.jpg")
    assert first["error"]
    assert second["classes"] == ["red"]
    assert graft(*arguments, "--bad_images=skip").returncode == 0


def test_curves_hold_training_and_evaluation(trained):
    import tensorflow as tf

    def points(name):
        found: dict[str, dict[int, float]] = {}
        for path in (trained[0] / "logs" / name).glob("*tfevents*"):
            for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
                event = tf.compat.v1.Event.FromString(record)
                for value in event.summary.value:
                    array = tf.make_ndarray(value.tensor)
                    if array.size == 1:  # not a picture
                        found.setdefault(value.tag, {})[event.step] = array.item()
        return found

    train, evaluation = points("train"), points("eval")
    assert sorted(train) == [
        "accuracy",
        "examples_per_sec",
        "goodput",
        "gradient_norm",
        "input_wait",
        "learning_rate",
        "loss",
    ]
    lines = map(json.loads, (trained[0] / "logs" / "curves.jsonl").read_bytes().splitlines())
    as_data = {
        (tag, line["curve"], line["step"]): np.float32(value)
        for line in lines
        for tag, value in line.items()
        if tag not in ("curve", "step", "wall_time")
    }
    assert as_data == {
        (tag, curve, step): value
        for curve, tags in (("train", train), ("eval", evaluation))
        for tag, points in tags.items()
        for step, value in points.items()
    }
    assert list(train["loss"]) == list(range(5, 65, 5))
    assert list(evaluation["accuracy"]) == [10, 20, 30, 40, 50, 60]
    assert max(evaluation["accuracy"].values()) == metrics(trained[0])["best"]["accuracy"]
    # Half a cosine from 0.05: the 5th step is step 4 from 0.
    assert train["learning_rate"][5] == pytest.approx(
        0.025 * (1 + np.cos(np.pi * 4 / 60)), rel=1e-5
    )


def test_more_patience_goes_on_after_an_early_stop(folder, backbone, tmp_path):
    arguments = [
        *("train", f"--workdir={tmp_path / 'run'}", f"--dataset={folder}"),
        *(f"--backbone={backbone}", "--num_epochs=5", "--global_batch_size=8"),
        *("--learning_rate=0", *BARE),  # nothing ever gets better
    ]
    ended = []
    for patience in (1, 1, 3, 0):
        process = graft(*arguments, f"--early_stopping_patience={patience}")
        assert process.returncode == 0, process.stderr
        early, before = ("stopping   early" in process.stdout), ("already" in process.stdout)
        ended.append((metrics(tmp_path / "run")["global_step"], early, before))
    assert ended == [(20, True, False), (20, False, True), (40, True, False), (50, False, False)]


def test_a_restart_knows_of_the_roll_back(folder, backbone, tmp_path):
    arguments = [
        *("train", f"--workdir={tmp_path / 'run'}", f"--dataset={folder}"),
        *(f"--backbone={backbone}", "--num_epochs=1", "--global_batch_size=8"),
        *("--optimizer=sgd", "--learning_rate=1e30", *BARE),
    ]
    first, second = graft(*arguments), graft(*arguments)
    assert (first.returncode, second.returncode) == (1, 1), second.stderr
    assert "going back to step 0" in first.stdout
    assert "going back" not in second.stdout
    assert "is not finite, again" in second.stderr
    manifest = storage.read_manifest(str(tmp_path / "run" / "checkpoints" / "step_00000000_1"))
    assert manifest is not None
    assert manifest.facts["state"]["rolled_back"] is True


def test_mirrored_on_two_devices_learns_what_one_does(folder, backbone, tmp_path):
    """Two logical CPU devices: the same examples in the same steps, the same losses to rounding."""
    program = """
import sys, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from trainer import task
sys.exit(task.main(sys.argv[1:]))
"""
    found = {}
    for strategy in ("one_device", "mirrored"):
        workdir = tmp_path / strategy
        process = script(
            *(program, f"--workdir={workdir}", f"--dataset={folder}", f"--backbone={backbone}"),
            *(f"--strategy={strategy}", "--num_epochs=2", "--global_batch_size=8"),
            *("--learning_rate=0.01", "--dropout=0.2", "--augment=light", "--mixup_alpha=0.2"),
            *("--num_logical_shards=4", "--nofreeze_backbone", *BARE),
        )
        assert process.returncode == 0, process.stderr
        found[strategy] = metrics(workdir)
    assert "on 2 CPUs in " in process.stdout
    one, two = found["one_device"], found["mirrored"]
    assert two["train"]["loss"] == pytest.approx(one["train"]["loss"], rel=1e-4)
    assert two["eval"]["loss"] == pytest.approx(one["eval"]["loss"], rel=1e-4)
    assert two["eval"]["confusion_matrix"] == one["eval"]["confusion_matrix"]
