"""Evidence of runs that never were, for pages of them."""

import io

import numpy as np
from PIL import Image

from trainer.engine.evaluate import Evaluation
from trainer.engine.scored_examples import ScoredExamples
from trainer.report.evidence import NearDuplicate, ReportData, ReportImage, Split, SuspectLabel
from trainer.report.pictures import thumbnail

GOODPUT = {"wall_secs": 10.0, "in_steps": 0.25, "secs": {"step": 2.5, "export": 7.5, "down": 0.0}}


def encoded(color=(200, 40, 60), size=(20, 30), kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, kind)
    return buffer.getvalue()


def scored(label, prediction, confidence, label_probability=None):
    label, prediction = np.array(label, np.int64), np.array(prediction, np.int64)
    confidence = np.array(confidence, np.float32)
    if label_probability is None:
        label_probability = np.where(label == prediction, confidence, 1 - confidence)
    return ScoredExamples(
        label,
        prediction,
        confidence,
        np.asarray(label_probability, np.float32),
        np.ones(len(label), bool),
    )


def metrics(names, judged, **more):
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (judged.label, judged.prediction), judged.is_scored)
    evaluation = Evaluation(0.5, confusion, tuple(names)).to_dict()
    return {
        "global_step": 20,
        "num_params": 30,
        "num_trainable_params": 20,
        "class_names": list(names),
        "train": {"loss": 0.25, "accuracy": 0.75},
        "eval": evaluation,
        "best": {"global_step": 16, "accuracy": evaluation["accuracy"]},
        "num_skipped": 0,
        "skipped": {},
        "wall_secs": 10.0,
        "examples_per_sec": 123.4,
        "input_wait": 0.125,
        "goodput": GOODPUT,
        **more,
    }


def small(names=("ant", "bee", "cat"), example_ids=None, uri=None, **more):
    """Six validation images of which two are wrong, a twin and a doubt, all of them shown."""
    names = list(names)
    judged = scored([0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 0], [0.9, 0.8, 0.7, 0.6, 0.95, 0.99])
    ids = list(example_ids or [f"validation/{i}.png" for i in range(6)])
    uri = thumbnail(encoded()) if uri is None else uri
    pictures = {
        ("validation", i): ReportImage(ids[i], int(judged.label[i]), uri) for i in (0, 1, 5)
    }
    pictures["train", 7] = ReportImage("train/7.png", 1, uri)
    pictures["train", 8] = ReportImage("train/8.png", 2, uri)
    facts = {
        "workdir": "runs/small",
        "metrics": metrics(names, judged),
        "settings": {"config": {"workdir": "runs/small", "dataset": "pets", "seed": 3}},
        "curves": {
            "train": {"loss": [(10, 1.0), (20, 0.5)], "accuracy": [(10, 0.5), (20, 0.75)]},
            "eval": {"loss": [(20, 0.5)], "accuracy": [(20, 2 / 3)]},
        },
        "splits": [
            Split("train", "training", 12, np.array([4, 4, 4])),
            Split("validation", "validation", 6, np.array([2, 2, 2])),
        ],
        "scored": judged,
        "ids": ids,
        "near_duplicates": [NearDuplicate(0, 7, 1.0, True)],
        "suspect_labels": [SuspectLabel(("train", 8), 0, 0.75, 0.125)],
        "images": pictures,
    }
    return ReportData(**{**facts, **more})
