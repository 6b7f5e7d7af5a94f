"""The door for Python: a process that trains off its main thread, is interrupted, and goes on."""

import json
import subprocess
import sys

import pytest

import trainer
from tests.inputs import tiny
from tests.processes.commands import graft, metrics, python

PROGRAM = """
import json, os, signal, sys, threading
import trainer
heavy = sorted({"tensorflow", "numpy", "absl", "rich"} & set(sys.modules))
root = sys.argv[1]
def switches():
    from tensorflow.python.framework import config
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    handlers = [str(signal.getsignal(s)) for s in (signal.SIGTERM, signal.SIGINT)]
    return [handlers, wakeup, config.is_op_determinism_enabled()]
def config(name, **more):
    return trainer.Config(
        workdir=f"{root}/{name}", dataset=f"{root}/folder", backbone=f"{root}/backbone",
        num_steps=12, global_batch_size=8, checkpoint_every_steps=100, export_formats=(),
        report=False, log_images=False, **more)
environment = dict(os.environ)
found = {}
def train():
    found["thread"] = [trainer.train(config(name)).metrics["eval"] for name in "ab"]
thread = threading.Thread(target=train)
thread.start()
thread.join()
before = switches()
class Interrupting:
    said = []
    def say(self, message, **figures):
        self.said.append(message)
        if message.startswith("first step"):
            os.kill(os.getpid(), signal.SIGINT)
    def warn(self, message): self.said.append(message)
    def show(self, table, **figures): pass
    def advance(self, task, done, total, **figures): pass
    def close(self): pass
try:
    trainer.train(config("c"), Interrupting())
except trainer.Preempted as error:
    found["preempted"] = str(error)
between = switches()
result = trainer.train(config("c"))
found |= {
    "resumed": result.metrics["eval"],
    "evaluated": trainer.evaluate(f"{root}/c").to_dict(),
    "of_training": trainer.evaluate(f"{root}/c", "train").num_examples,
    "export": trainer.export(f"{root}/c"),
    "predictions": trainer.predict(f"{root}/c", f"{root}/folder/train/*/000.png"),
    "heavy": heavy,
    "kept": [before == between == switches(), environment == dict(os.environ)],
}
for call in (lambda: trainer.evaluate(root), lambda: trainer.evaluate(f"{root}/c", "no")):
    try:
        call()
    except trainer.UserError as error:
        found.setdefault("refusals", []).append(str(error).replace(root, "ROOT"))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("door")
    tiny.write_folder(root / "folder", train=16, validation=8)
    tiny.write_backbone(root / "backbone")
    return root


@pytest.fixture(scope="module")
def found(root):
    process = python("-c", PROGRAM, root)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


@pytest.mark.integration
def test_importing_it_imports_nothing_heavy(found):
    assert found["heavy"] == []


@pytest.mark.integration
def test_twice_in_one_process_off_the_main_thread_is_twice_the_same(found):
    assert found["thread"][0] == found["thread"][1]


@pytest.mark.integration
def test_it_is_the_run_of_the_command_line(found, root):
    words = [f"--dataset={root}/folder", f"--backbone={root}/backbone", "--num_steps=12"]
    words += ["--global_batch_size=8", "--export_formats=", "--noreport", "--nolog_images"]
    process = graft("train", f"--workdir={root}/d", *words)
    assert process.returncode == 0, process.stderr
    assert metrics(root / "d")["eval"] == found["thread"][0]


@pytest.mark.integration
def test_ctrl_c_saves_and_the_same_call_resumes(found):
    assert found["preempted"].startswith("stopped by Ctrl-C after step ")
    assert found["resumed"] == found["thread"][0]


@pytest.mark.integration
def test_evaluate_export_and_predict_are_of_that_run(found, root):
    expected = found["resumed"]
    assert found["evaluated"]["confusion_matrix"] == expected["confusion_matrix"]
    assert found["evaluated"]["loss"] == pytest.approx(expected["loss"], rel=1e-5)
    assert found["of_training"] == 48
    assert found["export"] == f"{root}/c/export"
    images = [path for path, classes, scores, error in found["predictions"]]
    assert images == [f"{root}/folder/train/{name}/000.png" for name in sorted(tiny.COLORS)]
    for _, classes, scores, error in found["predictions"]:
        assert sorted(classes) == sorted(expected["per_class"])
        assert scores == sorted(scores, reverse=True)
        assert error == ""


@pytest.mark.integration
def test_what_is_process_wide_is_put_back(found):
    assert found["kept"] == [True, True]


@pytest.mark.integration
def test_refusals_are_public_exceptions(found):
    assert found["refusals"] == [
        "ROOT: holds no run (config.json)",
        "--test_split=no: --dataset=ROOT/folder has no split 'no'; it has train, validation",
    ]


def test_what_is_public_is_listed_and_there():
    assert sorted(trainer.__all__) == sorted({*trainer._MODULE_OF, "__version__"})
    assert all(getattr(trainer, name) is not None for name in trainer.__all__)
    with pytest.raises(AttributeError, match="module 'trainer' has no attribute 'trian'"):
        trainer.trian  # noqa: B018


@pytest.mark.integration
def test_a_version_costs_no_import():
    program = "import sys, trainer; print(trainer.__version__, len(sys.modules))"
    bare = subprocess.check_output([sys.executable, "-c", "import sys; print(len(sys.modules))"])
    version, count = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert version == trainer.__version__
    assert int(count) - int(bare) < 10


def test_there_are_no_mistakes_to_read_without_a_report():
    result = trainer.Result("run", 0.5, 1.0, {}, export="run/export", report="")
    with pytest.raises(trainer.UserError, match="run: has no report; train with report=True"):
        result.mistakes()
