import dataclasses
import os
from typing import Any

import pytest

from tests.processes.commands import graft
from trainer.process.errors import UserError
from trainer.settings import flags, locations
from trainer.settings.config import Config
from trainer.settings.table import TABLE


def test_every_setting_has_a_flag_and_every_flag_a_setting():
    names = [flag.name for group in flags.TRAINER.values() for flag in group]
    assert sorted(names) == sorted(field.name for field in dataclasses.fields(Config))


def test_every_whole_number_is_one_that_tensorflow_can_hold():
    table: Any = TABLE
    numbers = {f.name for group in flags.TRAINER.values() for f in group if f.kind is int}
    assert max(table[name].within[1] for name in numbers - {"task_index"}) == 2**31


def test_a_config_made_by_hand_means_what_the_flags_mean(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert flags.config_from_argv([f"--workdir={tmp_path}"]) == Config(workdir=tmp_path)
    given: dict[str, Any] = {"workdir": "~/w", "dataset": tmp_path / "d", "hidden_units": [8]}
    by_hand = Config(**given, learning_rate=1, num_epochs=3)
    words = ["--workdir=~/w", f"--dataset={tmp_path}/d", "--learning_rate=1", "--hidden_units=8"]
    assert flags.config_from_argv([*words, "--num_epochs=3"]) == by_hand
    assert by_hand.feature_cache_dir == f"{tmp_path}/.cache/graft/features"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "--workdir: required; a directory to keep the run in"),
        ({"workdir": 3}, "--workdir=3: must be text"),
        ({"workdir": "w", "num_epochs": 1.5}, "--num_epochs=1.5: must be a whole number"),
        ({"workdir": "w", "num_epochs": True}, "--num_epochs=True: must be a whole number"),
        ({"workdir": "w", "dropout": "0.1"}, "--dropout=0.1: must be a number"),
        ({"workdir": "w", "report": 1}, "--report=1: must be true or false"),
        ({"workdir": "w", "seed": None}, "--seed=None: must be a whole number"),
        (
            {"workdir": "w", "hidden_units": 128},
            "--hidden_units=128: must be whole numbers, separated by commas",
        ),
    ],
)
def test_a_config_of_wrong_types_is_refused(settings, message):
    with pytest.raises(UserError) as caught:
        Config(**settings)
    assert str(caught.value) == message


def test_every_kind_of_flag(tmp_path):
    config = flags.config_from_argv(
        [
            f"--workdir={tmp_path}/größe mit leer",
            "--hidden_units=64, 32",
            "--export_formats=saved_model,tflite",
            "--nofreeze_backbone",
            "--checkpoint_every_steps=5",
            "--learning_rate=3e-4",
            "--cache_dir=/c",
        ]
    )
    assert config == Config(
        workdir=f"{tmp_path}/größe mit leer",
        hidden_units=(64, 32),
        export_formats=("saved_model", "tflite"),
        freeze_backbone=False,
        checkpoint_every_steps=5,
        learning_rate=3e-4,
        cache_dir="/c",
    )


def test_no_hidden_layer():
    assert flags.config_from_argv(["--workdir=w", "--hidden_units="]).hidden_units == ()


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        ([], ["--workdir", "required"]),
        (["--workdir=w", "more"], ["more", "not a flag"]),
        (["--workdir=w", "--hidden_units=a,1"], ["--hidden_units=a,1", "whole numbers"]),
        (["--workdir=w", "--hidden_units=1.5"], ["--hidden_units=1.5", "whole numbers"]),
        (["--workdir=w", "--num_epochs=1", "--num_steps=1"], ["--num_epochs=1", "--num_steps=1"]),
        (["--workdir=w", "--augment=heavy"], ["--augment=heavy", "light"]),
        (["--workdir=w", "--seed=-1"], ["--seed=-1", "at least 0"]),
        (
            ["--workdir=w", f"--keep_checkpoints={2**63}"],
            [f"--keep_checkpoints={2**63}: must be a finite number, at least 1 and below {2**31}"],
        ),
        (["--workdir=w", "--export_formats=onnx"], ["--export_formats=onnx", "tflite"]),
        (["--workdir=w", "--learning_rate=nan"], ["--learning_rate=nan", "at least 0"]),
    ],
)
def test_refusals(argv, parts):
    with pytest.raises(UserError) as caught:
        flags.config_from_argv(argv)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("word", "name", "expected"),
    [
        ("--workdir=~/w", "workdir", "/home/a/w"),
        ("--workdir=~", "workdir", "/home/a"),
        ("--cache_dir=~/c", "cache_dir", "/home/a/c"),
        ("--feature_cache=~/f", "feature_cache", "/home/a/f"),
        ("--data_dir=~/d", "data_dir", "/home/a/d"),
        ("--backbone=~/b.tgz", "backbone", "/home/a/b.tgz"),
        ("--dataset=~/d", "dataset", "/home/a/d"),
        ("--dataset=~/a.csv,~/b*.csv,c.csv", "dataset", "/home/a/a.csv,/home/a/b*.csv,c.csv"),
        ("--dataset=here/~/d", "dataset", "here/~/d"),
        ("--dataset=gs://b/~/d", "dataset", "gs://b/~/d"),
    ],
)
def test_a_home_is_found_as_a_shell_would(word, name, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/a")
    config = flags.config_from_argv(["--workdir=w", word])
    assert getattr(config, name) == expected
    elsewhere = flags.config_from_argv(["--workdir=w", word], is_local=False)
    assert getattr(elsewhere, name) == word.partition("=")[2]


@pytest.mark.integration
@pytest.mark.parametrize(
    "words",
    [
        ["watch", "--workdir=~/run", "--once"],
        ["tensorboard", "--workdir=~/run"],
        ["predict", "--model=~/run", "a.jpg"],
        ["pack", "--dataset=leaves", "--output_dir=~/run"],
        ["launch", "--num_workers=1", "--", "--workdir=~/run", "--dataset=~/no.csv"],
    ],
)
def test_every_command_finds_the_home(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home/run").mkdir(parents=True)
    process = graft(*words, HOME=f"{tmp_path}/home")
    assert f"{tmp_path}/home/" in process.stdout + process.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "/home/a/.cache/graft"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/graft"),
        ({"XDG_CACHE_HOME": "/x", "GRAFT_CACHE_DIR": "~/g"}, "/home/a/g"),
        ({"XDG_CACHE_HOME": "", "GRAFT_CACHE_DIR": ""}, "/home/a/.cache/graft"),
    ],
)
def test_default_cache_dir(environment, expected, monkeypatch):
    monkeypatch.setattr(os, "environ", {"HOME": "/home/a", **environment})
    assert locations.default_cache_dir() == expected
