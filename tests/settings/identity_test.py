from typing import Any

import pytest

from trainer.settings.config import Config
from trainer.settings.identity import differences, digest, quoted


def with_one(name, value):
    settings: dict[str, Any] = {"workdir": "w", name: value}
    return Config(**settings)


@pytest.mark.parametrize(
    ("name", "value", "is_same"),
    [
        ("workdir", "elsewhere", True),
        ("num_epochs", 99, True),
        ("num_steps", 99, True),
        ("log_format", "json", True),
        ("strategy", "mirrored", True),
        ("checkpoint_every_steps", 7, True),
        ("bad_images", "skip", True),
        ("cache_dir", "c", True),
        ("num_logical_shards", 8, True),  # what 0 means
        ("seed", 1, False),
        ("dataset", "elsewhere", True),  # its digest says whether it is the same
        ("backbone", "elsewhere", True),
        ("train_split", "train[:50%]", False),
        ("global_batch_size", 64, False),
        ("num_logical_shards", 4, False),
        ("hidden_units", (64,), False),
        ("learning_rate", 0.1, False),
        ("augment", "light", False),
        ("precision", "mixed_bfloat16", False),
        ("freeze_backbone", False, False),
        ("shuffle_buffer_size", 2, False),
    ],
)
def test_identity_leaves_out_what_may_change(name, value, is_same):
    then = Config(workdir="w").identity()
    now = with_one(name, value).identity()
    assert (then == now) == is_same
    assert (digest(then) == digest(now)) == is_same
    assert bool(differences(then, now)) != is_same


def test_digest_is_stable_and_blind_to_order():
    assert digest({"a": 1, "ü": [2]}) == digest({"ü": [2], "a": 1}) == "b4a370bd9b62c88d"


def test_differences_name_both_values():
    then = {"seed": 0, "class_names": ["a", "b"], "gone": 1, "same": 5}
    now = {"seed": 1, "class_names": ["a", "c"], "new": 2, "same": 5}
    assert differences(then, now) == [
        "class_names: a,b there, a,c now",
        "gone: 1 there, None now",
        "new: None there, 2 now",
        "seed: 0 there, 1 now",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [((128, 64), "128,64"), (["a"], "a"), (0.5, "0.5"), (None, "None")]
)
def test_shown_as_after_a_flag(value, text):
    assert quoted(value) == text
