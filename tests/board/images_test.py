"""A run as TensorBoard sees it: curves, pictures, histograms, settings, features as points."""

import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.inputs import board, tiny
from tests.processes import gang
from tests.processes.commands import graft, metrics
from trainer.data.sources.folder_source import open_folder

pytestmark = pytest.mark.integration

RECALLS = [f"recall/{name}" for name in tiny.COLORS]


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return [
        f"--dataset={tiny.write_folder(root / 'folder')}",
        f"--backbone={tiny.write_backbone(root / 'backbone')}",
        "--global_batch_size=8",
        "--num_epochs=4",
        "--hidden_units=5",
        "--export_formats=",
        "--noreport",
    ]


@pytest.fixture(scope="module")
def run(words, tmp_path_factory):
    """Features cached, histograms of every second epoch."""
    workdir = tmp_path_factory.mktemp("runs") / "first"
    asked = ["--histograms_every_epochs=2", "--embedding_points=500"]
    process = graft("train", *words, *asked, f"--workdir={workdir}")
    assert process.returncode == 0, process.stderr
    assert "TensorBoard" not in process.stdout
    return workdir


@pytest.fixture(scope="module")
def page(run, words):
    """TensorBoard on the directory of two runs."""
    more = ["--learning_rate=0.01", f"--workdir={run.parent / 'second'}"]
    process = graft("train", *words, *more, "--nolog_images")
    assert process.returncode == 0, process.stderr
    with board.tensorboard(run.parent) as page:
        yield page


def pictures(workdir, name, tag):
    """By step: the picture of a tag."""
    found = {}
    for event in board.read(workdir / "logs" / name).Tensors(tag):
        width, height, content = tf.make_ndarray(event.tensor_proto).tolist()
        image = Image.open(io.BytesIO(content))
        assert image.size == (int(width), int(height))
        found[event.step] = image.convert("RGB")
    return found


def scalars(workdir, name, tag):
    events = board.read(workdir / "logs" / name).Tensors(tag)
    return {event.step: tf.make_ndarray(event.tensor_proto).item() for event in events}


def test_curves_of_each_class_and_their_means(run):
    reader = board.read(run / "logs" / "eval")
    curves_and_pictures = ["accuracy", "confusion_matrix", "loss", "mean_precision", "mean_recall"]
    tags = [tag for tag in reader.Tags()["tensors"] if not tag.startswith("precision/")]
    assert sorted(tags) == [*curves_and_pictures, *RECALLS, "worst_mistakes"]
    content = metrics(run)
    best = content["best"]["global_step"]
    per_class = content["eval"]["per_class"]
    assert list(scalars(run, "eval", "accuracy")) == [9, 18, 27, 36]
    for name, figures in per_class.items():
        for kind in ("precision", "recall"):
            if figures[kind] is not None:
                found = scalars(run, "eval", f"{kind}/{name}")[best]
                assert found == np.float32(figures[kind])
    recalls = [figures["recall"] for figures in per_class.values()]
    assert scalars(run, "eval", "mean_recall")[best] == np.float32(np.mean(recalls))


def test_training_images_are_from_all_over_the_split(run):
    reader = board.read(run / "logs" / "train")
    assert [event.step for event in reader.Tensors("training_images")] == [1]
    (image,) = pictures(run, "train", "training_images").values()
    assert image.size == (4 * 136 + 8, 4 * (136 + 15) + 8)
    source = open_folder(json.loads((run / "config.json").read_text())["config"]["dataset"])
    labels = source.listing("train").labels
    for number in range(16):
        name = source.class_names[labels[round(number * (len(labels) - 1) / 15)]]
        left, top = 8 + number % 4 * 136, 8 + number // 4 * (136 + 15)
        mean = np.array(image)[top : top + 128, left : left + 128].mean(axis=(0, 1))
        assert np.abs(mean - tiny.COLORS[name]).max() < 40, number


def test_a_confusion_matrix_and_the_worst_mistakes_at_each_evaluation(run):
    for tag in ("confusion_matrix", "worst_mistakes"):
        assert list(pictures(run, "eval", tag)) == [9, 18, 27, 36]


def test_histograms_at_the_epochs_that_are_asked_for(run):
    reader = board.read(run / "logs" / "train")
    names = [tag for tag in reader.Tags()["tensors"] if tag.startswith("weights/")]
    layers = ("hidden_0/kernel", "hidden_0/bias", "logits/kernel", "logits/bias")
    assert sorted(names) == sorted(f"weights/{name}" for name in layers)
    events = reader.Tensors("weights/hidden_0/kernel")
    assert [event.step for event in events] == [18, 36]
    assert tf.make_ndarray(events[0].tensor_proto)[:, 2].sum() == 8 * 5


def test_features_are_points_with_class_id_and_picture(run):
    directory = run / "logs" / "eval"
    points = np.loadtxt(directory / "features.tsv", delimiter="\t")
    assert points.shape == (24, 8)
    header, *rows = (directory / "metadata.tsv").read_text().splitlines()
    assert header == "class\tid"
    source = open_folder(json.loads((run / "config.json").read_text())["config"]["dataset"])
    assert [row.split("\t")[1] for row in rows] == list(source.listing("validation").ids)
    sprite = Image.open(directory / "sprite.jpg")
    assert sprite.size == (5 * 48, 5 * 48)
    for example_index, row in enumerate(rows):
        name, example_id = row.split("\t")
        assert example_id.startswith(f"validation/{name}/")
        pixel = np.array(sprite.resize((5, 5), Image.Resampling.BOX))[
            example_index // 5, example_index % 5
        ]
        assert np.abs(pixel - tiny.COLORS[name]).max() < 60


def test_tensorboard_shows_all_of_it(page, run):
    assert set(page.json("runs")) == {
        f"{r}/logs{n}" for r in ("first", "second") for n in ("", "/train", "/eval")
    }
    tags = page.json("plugin/scalars/tags")
    assert set(RECALLS) < set(tags["first/logs/eval"])
    images = page.json("plugin/images/tags")
    assert set(images["first/logs/eval"]) == {"confusion_matrix", "worst_mistakes"}
    assert set(images["first/logs/train"]) == {"training_images"}
    assert "second/logs/eval" not in images  # --nolog_images
    query = "plugin/images/images?run=first/logs/eval&tag=confusion_matrix&sample=0"
    entries = page.json(query)
    assert [entry["step"] for entry in entries] == [9, 18, 27, 36]
    content = page.get(f"plugin/images/individualImage?{entries[-1]['query']}")
    assert Image.open(io.BytesIO(content)).format == "PNG"
    assert "weights/logits/bias" in page.json("plugin/histograms/tags")["first/logs/train"]


def test_tensorboard_shows_the_points(page):
    assert "first/logs/eval" in page.json("plugin/projector/runs")
    config = page.json("plugin/projector/info?run=first/logs/eval")
    (entry,) = config["embeddings"]
    assert (entry["tensorName"], entry["tensorShape"]) == ("validation features", [24, 8])
    name = "run=first/logs/eval&name=validation%20features"
    values = np.frombuffer(page.get(f"plugin/projector/tensor?{name}"), np.float32)
    assert values.shape == (24 * 8,)
    assert page.get(f"plugin/projector/metadata?{name}").startswith(b"class\tid\n")
    assert page.get(f"plugin/projector/sprite_image?{name}").startswith(b"\xff\xd8\xff")


def test_tensorboard_compares_the_runs_by_their_settings(page, run):
    experiment = page.json("plugin/hparams/experiment", {"experimentName": ""})
    columns = {info["name"] for info in experiment["hparamInfos"]}
    assert {"learning_rate", "hidden_units", "backbone", "seed"} <= columns
    metric_infos = experiment["metricInfos"]
    assert [info["displayName"] for info in metric_infos] == [
        "validation accuracy",
        "validation loss",
        "training accuracy",
        "training loss",
    ]
    request = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"metric": info["name"]} for info in metric_infos],
        "startIndex": 0,
        "sliceSize": 10,
    }
    groups = page.json("plugin/hparams/session_groups", request)["sessionGroups"]
    rates = {group["hparams"]["learning_rate"] for group in groups}
    assert rates == {0.001, 0.01}
    first = next(g for g in groups if g["hparams"]["learning_rate"] == 0.001)
    assert first["hparams"]["hidden_units"] == "5"
    values = {
        m["name"]["group"] + "/" + m["name"]["tag"]: m["value"] for m in first["metricValues"]
    }
    assert values["eval/accuracy"] == scalars(run, "eval", "accuracy")[36]


def test_what_is_shown_leaves_no_trace_in_the_run(page, run, words, tmp_path):
    process = graft("train", *words, f"--workdir={tmp_path / 'bare'}", "--nolog_images")
    assert process.returncode == 0, process.stderr
    assert metrics(tmp_path / "bare") == metrics(run)
    with_pictures, without = (
        {**gang.curve(workdir, "train"), **gang.pictures(workdir, "train")}
        for workdir in (run, tmp_path / "bare")
    )
    assert without == {k: v for k, v in with_pictures.items() if k in without}
    assert {tag for _, tag in with_pictures.keys() - without.keys()} == {
        "training_images",
        *(tag for _, tag in with_pictures if tag.startswith("weights/")),
    }


def test_a_directory_that_cannot_be_written_ends_no_run(words, tmp_path):
    logs = tmp_path / "run" / "logs"
    logs.parent.mkdir()
    logs.write_text("in the way")
    process = graft("train", *words, f"--workdir={tmp_path / 'run'}", "--embedding_points=9")
    assert process.returncode == 0, process.stderr
    said = [line for line in process.stdout.splitlines() if line.startswith("warning: Tensor")]
    assert [line.partition(":")[0] for line in said] == ["warning"] * len(said)
    assert any("gets no train curves" in line for line in said)
    assert len(said) == 5  # train and eval curves, settings, features, the end
    missing = f"NotADirectoryError: [Errno 20] Not a directory: '{logs}/curves.jsonl'"
    assert f"warning: the report gets no curves: {missing}\n" in process.stdout
    assert logs.read_text() == "in the way"


def test_damaged_event_files_end_no_run_and_are_cut(words, tmp_path):
    workdir = tmp_path / "run"
    train = ["train", *words, f"--workdir={workdir}"]
    assert graft(*train[:-1], "--num_epochs=2", train[-1]).returncode == 0
    (path,) = (workdir / "logs" / "eval").glob("*tfevents*")
    path.write_bytes(path.read_bytes()[:-7])
    (workdir / "logs" / "train" / "events.out.tfevents.0.odd").write_bytes(b"no events")
    process = graft(*train)
    assert process.returncode == 0, process.stderr
    assert list(scalars(workdir, "train", "loss")) == [10, 18, 20, 30, 36]
    shutil.rmtree(workdir)
