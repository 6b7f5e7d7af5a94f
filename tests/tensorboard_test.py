"""`graft tensorboard` as a process: it answers over HTTP with the scalars of the run."""

import json
import re
import subprocess
import sys
import time
import urllib.request

from tests.commands import graft, refused
from trainer.tensorboard import short_names

DEADLINE_SECS = 90


def write_run(root):
    from trainer.summaries import Summaries

    (root / "logs").mkdir(parents=True)
    (root / "config.json").write_text('{"config": {}}')
    summaries = Summaries(str(root / "logs"), 0)
    summaries.write("train", 5, {"loss": 0.5})
    summaries.close()
    return root


def test_it_answers_with_the_scalars(tmp_path):
    run = write_run(tmp_path / "pets")
    words = ["-m", "trainer", "tensorboard", f"--workdir={run}", "--port=0"]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, text=True)
    with process:
        try:
            assert process.stdout is not None
            said = re.match(r"curves     (http://localhost:\d+/)", process.stdout.readline())
            assert said
            deadline = time.monotonic() + DEADLINE_SECS
            while True:
                with urllib.request.urlopen(f"{said[1]}data/plugin/scalars/tags", timeout=30) as at:
                    tags = json.load(at)
                if "loss" in tags.get("train", {}):
                    break
                assert time.monotonic() < deadline, tags
                time.sleep(0.2)
        finally:
            process.terminate()
    assert process.returncode == -15


def test_no_run_is_there(tmp_path):
    refused(graft("tensorboard", f"--workdir={tmp_path / 'none'}"), "there is no run")


def test_names_of_several():
    assert short_names(["runs/a", "gs://b/c"]) == ["a", "c"]
    assert short_names(["one/a", "two/a"]) == ["one/a", "two/a"]
