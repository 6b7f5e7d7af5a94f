"""Where features are to be kept, as `graft doctor` sees it; doctor_test.py has the rest."""

import pytest

from trainer.commands.checkup import run_check
from trainer.settings.config import Config


@pytest.mark.parametrize(
    ("settings", "severity", "message"),
    [
        ({}, "ok", "{root}/cache/features: features are cached here"),
        ({"feature_cache": "off"}, None, None),
        ({"augment": "light"}, None, None),
        ({"feature_cache": "{root}/new"}, "ok", "{root}/new: features are cached here"),
        ({"feature_cache": "{root}/file"}, "error", "--feature_cache={root}/file: must be a wr"),
        (
            {"cache_dir": "{root}/file"},
            "error",
            "--cache_dir={root}/file/features: must be a writable directory ({root}/file: Not a "
            "directory)",
        ),
        # What can only be read may hold all features.
        ({"feature_cache": "/proc"}, "warning", "--feature_cache=/proc: must be a writable"),
    ],
)
def test_where_features_are_kept(tmp_path, settings, severity, message):
    (tmp_path / "file").touch()
    given = {"workdir": "w", "cache_dir": "{root}/cache", **settings}
    config = Config(**{name: text.format(root=tmp_path) for name, text in given.items()})
    found = run_check.check_feature_cache(config, ["--workdir=w"])
    assert [finding.severity for finding in found] == [severity] * (severity is not None)
    for finding in found:
        assert finding.message.startswith(message.format(root=tmp_path))
        assert (severity == "ok") == (not finding.fix)
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "a look leaves nothing"
