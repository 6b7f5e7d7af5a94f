"""What --feature_cache and --feature_views can and cannot be used with."""

import pytest

from tests.inputs import tiny
from tests.processes.commands import graft, refused
from trainer.process.errors import UserError
from trainer.settings.config import Config


def config(**settings):
    return Config(**{"workdir": "w", "cache_dir": "/c", **settings})


@pytest.mark.parametrize(
    ("settings", "caches"),
    [
        ({}, True),
        ({"feature_cache": "on"}, True),
        ({"feature_cache": "/kept/here"}, True),
        ({"feature_cache": "off"}, False),
        ({"augment": "light"}, False),
        ({"augment": "light", "feature_views": 1}, True),
        ({"augment": "light", "feature_views": 3, "feature_cache": "/kept/here"}, True),
        ({"freeze_backbone": False}, False),
        ({"mixup_alpha": 0.2}, False),
        ({"cutmix_alpha": 0.2}, False),
    ],
)
def test_when_features_are_cached(settings, caches):
    assert config(**settings).caches_features is caches


def test_where_features_are_kept():
    for name in ("auto", "on"):
        assert config(feature_cache=name).feature_cache_dir == "/c/features"
        assert config(feature_cache=name).feature_cache_flag == "cache_dir"
    assert config(feature_cache="here/größe 1").feature_cache_dir == "here/größe 1"
    assert config(feature_cache="here/größe 1").feature_cache_flag == "feature_cache"


REFUSALS = [
    (
        ["--feature_cache=on", "--augment=light"],
        "--feature_cache=on: --augment=light changes every image in every epoch; "
        "--feature_views=K keeps K augmented views of each",
    ),
    (
        ["--feature_cache=./DIR", "--augment=randaugment"],
        "--feature_cache=./DIR: --augment=randaugment changes every image in every epoch; "
        "--feature_views=K keeps K augmented views of each",
    ),
    (
        ["--feature_cache=on", "--nofreeze_backbone"],
        "--feature_cache=on: needs --freeze_backbone; training changes the features",
    ),
    (
        ["--feature_views=2", "--augment=light", "--nofreeze_backbone"],
        "--feature_views=2: needs --freeze_backbone; training changes the features",
    ),
    (
        ["--feature_cache=on", "--mixup_alpha=0.2"],
        "--feature_cache=on: --mixup_alpha and --cutmix_alpha mix images anew in every step",
    ),
    (
        ["--feature_views=2", "--augment=light", "--cutmix_alpha=1"],
        "--feature_views=2: --mixup_alpha and --cutmix_alpha mix images anew in every step",
    ),
    (
        ["--feature_views=2"],
        "--feature_views=2: counts augmented views; --augment=none makes none",
    ),
    (
        ["--feature_views=2", "--augment=light", "--feature_cache=off"],
        "--feature_views=2: needs the feature cache; --feature_cache=off disables it",
    ),
    (["--feature_views=-1"], "--feature_views=-1: must be a finite number, at least 0"),
    (["--feature_cache="], "--feature_cache=: must be auto, on, off or a directory"),
]


@pytest.mark.parametrize(("flags", "message"), REFUSALS)
def test_what_does_not_go_together_is_refused_before_tensorflow_is_loaded(flags, message, tmp_path):
    from trainer.settings import flags as trainer_flags

    with pytest.raises(UserError) as caught:
        trainer_flags.config_from_argv([f"--workdir={tmp_path / 'run'}", *flags])
    assert str(caught.value).startswith(message)


@pytest.mark.integration
def test_a_refusal_is_one_line_and_leaves_nothing(tmp_path):
    run = tmp_path / "run"
    process = graft("train", f"--workdir={run}", "--feature_cache=on", "--augment=light")
    refused(process, "--feature_cache=on", "--feature_views=K")
    assert len(process.stderr.splitlines()) == 1
    assert not run.exists()


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["no directory can be there", "a file"])
def test_a_directory_that_cannot_be_written_is_refused(kind, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    path = file if kind == "a file" else "/proc/graft"
    folder = tiny.write_folder(tmp_path / "data", train=4, validation=2)
    process = graft(
        *("train", f"--workdir={tmp_path / 'run'}", f"--dataset={folder}", "--num_epochs=1"),
        *(f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}", "--global_batch_size=4"),
        f"--feature_cache={path}",
    )
    refused(process, f"--feature_cache={path}/")
    assert len(process.stderr.splitlines()) == 1
    assert not (tmp_path / "run" / "export").exists()
