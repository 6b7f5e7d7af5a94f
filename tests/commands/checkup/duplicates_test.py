"""Copies are told pair by pair, however many there are."""

from trainer.commands.checkup import duplicates
from trainer.commands.checkup.image_scan import ImageFacts
from trainer.settings.config import Config

CONFIG = Config(workdir="run")


def looks(names, label=0, content=b"same", path="x"):
    return [ImageFacts(name, f"{path}/{name}" * bool(path), label, content, 8, 8) for name in names]


def found(**splits):
    return {f.check: f for f in duplicates.check(CONFIG, ("a", "b"), splits)}


def test_each_evaluated_copy_is_named_with_one_that_is_trained_on():
    leak = found(train=looks("pqr"), validation=looks("st"), test=looks("u"))
    finding = leak["duplicates_across_splits"]
    assert finding.message == "3 of 3 evaluation images are also in the training split"
    assert finding.cost.startswith("up to 100.0% of the accuracy is memorized")
    assert finding.items == (
        "train: p = validation: s",
        "train: p = validation: t",
        "train: p = test: u",
    )
    assert finding.fix == "rm -- x/p x/q x/r"


def test_what_cannot_be_removed_one_by_one():
    splits = {"train": looks("p", path=""), "validation": looks("s", path="")}
    assert found(**splits)["duplicates_across_splits"].fix == "prepare the data again without them"
    many = {"train": looks(map(str, range(21))), "validation": looks("s")}
    fix = found(**many)["duplicates_across_splits"].fix
    assert fix == "remove them; --json lists them all"


def test_one_of_each_label_is_named():
    several = looks("pqr") + looks("st", label=1)
    finding = found(train=several, validation=[])["contradictory_labels"]
    assert finding.items == ("p (a) = s (b) and 3 more",)
    assert finding.message == "1 image is there more than once, with different labels"


def test_other_content_and_what_is_broken_are_no_copies():
    broken = [ImageFacts("z", "z", 1, b"same", problem="an empty file")]
    assert found(train=looks("p"), validation=looks("s", content=b"other") + broken) == {}
    assert found(train=looks("pq"), validation=[]) == {}
