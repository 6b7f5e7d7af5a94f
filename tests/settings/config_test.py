import dataclasses
import math
from typing import Any

import pytest

from trainer.process.errors import UserError
from trainer.settings.choices import value_range
from trainer.settings.config import Config
from trainer.settings.table import TABLE

ROWS: Any = TABLE


def refusal(**settings):
    with pytest.raises(UserError) as caught:
        Config(**{"workdir": "w", **settings})
    return str(caught.value)


def config_with(name, value):
    settings: dict[str, Any] = {"workdir": "w", name: value}
    return Config(**settings)


def test_the_defaults_are_the_seeds_job():
    config = Config(workdir="w")
    assert (config.hidden_units, config.optimizer, config.global_batch_size) == ((128,), "adam", 32)
    assert (config.learning_rate, config.freeze_backbone, config.num_epochs) == (1e-3, True, None)
    assert (config.logical_shards, config.dataset) == (8, "leaves")


def test_a_config_cannot_be_changed():
    config: Any = Config(workdir="w")
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 1


@pytest.mark.parametrize("name", ["backbone", "feature_cache"])
def test_a_place_must_be_named(name):
    assert refusal(**{name: ""}).startswith(f"--{name}=: must be a")


@pytest.mark.parametrize("name", ["workdir", "cache_dir", "feature_cache"])
def test_a_place_is_local_or_a_bucket(name):
    for good in ("/a", "./a", "a/b:c", "../größe 1", "gs://bucket/a"):
        if (name, good) == ("cache_dir", "gs://bucket/a"):
            assert refusal(cache_dir=good) == f"--cache_dir={good}: must be a local directory"
        else:
            assert getattr(config_with(name, good), name) == good
    for bad in ("s3://bucket/a", "file:///a", "https://host/a", "GS://bucket/a"):
        assert refusal(**{name: bad}) == f"--{name}={bad}: must be {ROWS[name].rule[1]}"


@pytest.mark.parametrize("word", ["true", "of", "On", "features", "yes"])
def test_a_mistyped_choice_is_no_directory_for_features(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refusal(feature_cache=word) == (
        f"--feature_cache={word}: must be auto, on, off or a directory, local or gs://, with a "
        "slash in it: ./features"
    )
    (tmp_path / word).mkdir()
    assert config_with("feature_cache", word).feature_cache_dir == word


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.choices])
def test_choices(name):
    rule = ", ".join(map(repr, ROWS[name].choices))
    assert refusal(**{name: "Nonsense"}) == f"--{name}=Nonsense: must be one of {rule}"
    for choice in ROWS[name].choices:
        assert getattr(config_with(name, choice), name) == choice


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.within])
def test_ranges(name):
    low, high = ROWS[name].within
    rule = f"must be a finite number, at least {low}" + (
        "" if high == math.inf else f" and below {high}"
    )
    number = ROWS[name].kind
    fractions = (low - 1e-9, math.nan, -math.inf) if number is float else ()
    for bad in (number(low - 1), number(high) if high < math.inf else high, *fractions):
        assert refusal(**{name: bad}) == f"--{name}={bad}: {rule}"
    assert getattr(config_with(name, low), name) == low


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_units": (64, 0)}, "--hidden_units=64,0: must be sizes from 1 to 65,536"),
        (
            {"export_formats": ("onnx",)},
            "--export_formats=onnx: must be out of saved_model, saved_model_no_webp, tflite",
        ),
        ({"num_epochs": 1, "num_steps": 2}, "--num_epochs=1 and --num_steps=2: give one of the"),
        (
            {"checkpoint_every_steps": 5, "checkpoint_every_secs": 6.0},
            "--checkpoint_every_steps=5 and --checkpoint_every_secs=6.0: give one of the two",
        ),
        (
            {"num_logical_shards": 12, "global_batch_size": 32},
            "--num_logical_shards=12: must divide --global_batch_size=32; 4 does",
        ),
        (
            {"mixup_alpha": 0.2, "global_batch_size": 8, "num_logical_shards": 8},
            "--mixup_alpha, --cutmix_alpha: mixing needs two examples of a logical shard",
        ),
        ({"image_range": "0"}, "--image_range=0: must be auto, or LOW,HIGH such as 0,1"),
        ({"image_range": "1,0"}, "--image_range=1,0: must be auto"),
        ({"image_range": "0,1,2"}, "--image_range=0,1,2: must be auto"),
        ({"image_range": "0,nan"}, "--image_range=0,nan: must be auto"),
        ({"image_range": "0,inf"}, "--image_range=0,inf: must be auto"),
    ],
)
def test_rules_between_and_beside(settings, message):
    assert refusal(**settings).startswith(message)


@pytest.mark.parametrize(
    ("text", "expected"), [("auto", None), ("0,1", (0.0, 1.0)), ("-1, 1", (-1.0, 1.0))]
)
def test_value_range(text, expected):
    assert value_range(text) == expected


@pytest.mark.parametrize(
    ("batch", "flag", "shards"), [(32, 0, 8), (12, 0, 4), (7, 0, 1), (32, 16, 16), (32, 1, 1)]
)
def test_logical_shards(batch, flag, shards):
    config = Config(workdir="w", global_batch_size=batch, num_logical_shards=flag)
    assert config.logical_shards == shards


@pytest.mark.parametrize(("batch", "shards"), [(32, 8), (8, 4), (4, 2), (2, 1), (9, 1)])
def test_logical_shards_leave_two_examples_to_mix(batch, shards):
    config = Config(workdir="w", global_batch_size=batch, mixup_alpha=0.2)
    assert config.logical_shards == shards


def test_to_dict_is_json_and_complete():
    config = Config(workdir="w", hidden_units=(8, 4))
    values = config.to_dict()
    assert values.keys() == {field.name for field in dataclasses.fields(Config)}
    assert values["hidden_units"] == [8, 4]
    assert values["export_formats"] == ["saved_model"]
