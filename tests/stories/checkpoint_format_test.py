"""A checkpoint of an earlier version resumes; one of a newer version is refused by name."""

import dataclasses

import pytest
import tensorflow as tf

import trainer
from tests.inputs import tiny
from tests.processes.commands import graft
from trainer.commands.checkup import run_check
from trainer.engine.checkpoints import Checkpoints
from trainer.process.errors import UserError
from trainer.settings.config import Config
from trainer.storage import api as storage
from trainer.workdir import finished
from trainer.workdir.checkpoint_list import FORMAT
from trainer.workdir.state import RunState


class Run:
    """A workdir with a checkpoint of step 3, in which a variable is 7."""

    def __init__(self, workdir):
        self.config = Config(workdir=str(workdir), num_steps=3)
        identity = {**self.config.identity(), "num_train_examples": 96}
        content = {"config": self.config.to_dict(), "identity": identity}
        storage.write_json(f"{workdir}/config.json", content)
        self.variable = tf.Variable(7.0)
        self.path = workdir / "checkpoints" / "step_00000003"
        self.checkpoints().save(RunState(global_step=3))

    def checkpoints(self):
        trackable = tf.train.Checkpoint(variable=self.variable)
        directory = str(self.path.parent)
        return Checkpoints(directory, trackable, {"seed": 0}, keep=2, warn=pytest.fail)

    def set_format(self, **fact):
        """Have the checkpoint say this of its format, as another version would; or nothing."""
        manifest = storage.read_manifest(str(self.path))
        assert manifest is not None
        assert manifest.facts.pop("format") == FORMAT == 1
        changed = dataclasses.replace(manifest, facts={**manifest.facts, **fact})
        (self.path / storage.MANIFEST).write_bytes(changed.to_bytes())
        self.refusal = (
            f"{self.path}: a checkpoint of format 2, made by a newer version; graft "
            f"{trainer.__version__} reads up to format 1 (graft --version); install the newer one, "
            "or choose another --workdir"
        )


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run")


def test_what_0_1_0_wrote_says_no_format_and_is_restored(run):
    run.set_format()
    run.variable.assign(0.0)
    assert run.checkpoints().restore_newest() == RunState(global_step=3)
    assert run.variable.numpy() == 7.0
    (finding,) = run_check.check_workdir(run.config, {}, 0, ["graft"])
    assert finding.message.startswith(f"{run.config.workdir}: resumes the run in it, ")


def test_of_a_newer_version_nothing_is_restored(run):
    run.set_format(format=2)
    run.variable.assign(0.0)
    for look in (
        run.checkpoints().restore_newest,
        lambda: finished.metrics_if_finished(run.config),
    ):
        with pytest.raises(UserError) as caught:
            look()
        assert str(caught.value) == run.refusal
    assert run.variable.numpy() == 0.0


def test_doctor_finds_that_a_newer_version_wrote_it(run):
    run.set_format(format=2)
    (finding,) = run_check.check_workdir(run.config, {}, 0, ["--seed=0"])
    assert (finding.severity, finding.message) == ("error", run.refusal)
    assert finding.fix == "graft train --seed=0 --workdir=ANOTHER"


@pytest.mark.integration
@pytest.mark.parametrize("command", ["train", "watch"])
def test_a_command_refuses_it_in_one_line(run, command, tmp_path):
    run.set_format(format=2)
    words = [f"--workdir={run.config.workdir}"]
    if command == "train":
        words += [f"--dataset={tiny.write_folder(tmp_path / 'folder', train=4, validation=2)}"]
        words += [f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}"]
        words += ["--global_batch_size=8", "--feature_cache=off", "--num_steps=3"]
    before = sorted(run.path.parent.rglob("*"))
    process = graft(command, *words)
    assert (process.returncode, process.stderr) == (2, f"graft: {run.refusal}\n")
    assert sorted(run.path.parent.rglob("*")) == before
