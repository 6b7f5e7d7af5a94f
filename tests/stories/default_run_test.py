"""The embedded default, as `make train` runs it."""

from tests.processes.commands import graft, metrics


def test_the_default_run_lands_where_the_data_are_made_to_land(leaves_dir, tmp_path):
    process = graft("train", f"--workdir={tmp_path / 'run'}", "--test_split=test")
    assert process.returncode == 0, process.stderr
    found = metrics(tmp_path / "run")
    assert found["num_trainable_params"] == 164_355
    assert found["class_names"] == ["angular_leaf_spot", "bean_rust", "healthy"]
    assert found["eval"]["num_examples"] == 133
    assert found["test"]["num_examples"] == 128
    assert 0.90 <= found["eval"]["accuracy"] <= 0.98
    assert 0.90 <= found["test"]["accuracy"] <= 0.99
