"""What runs by itself, at a push, every night and before a commit, is what a person runs."""

import os
import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
EVENTS = WORKFLOW[True]  # YAML 1.1 reads `on` so


def commands(job):
    return [step["run"] for step in WORKFLOW["jobs"][job]["steps"] if "run" in step]


def events(job):
    return set(re.findall(r"github\.event_name == '(\w+)'", WORKFLOW["jobs"][job]["if"]))


def test_the_workflow_runs_the_scripts_and_nothing_else():
    assert {job: commands(job) for job in WORKFLOW["jobs"]} == {
        "run": [".ci/run"],
        "storm": [".ci/storm"],
    }
    for (script,) in map(commands, WORKFLOW["jobs"]):
        assert os.access(ROOT / script, os.X_OK)


def test_a_push_runs_the_tests_and_every_night_the_storm():
    assert EVENTS.keys() == events("run") | events("storm")
    assert events("run") == {"push", "pull_request"}
    assert events("storm") == {"schedule", "workflow_dispatch"}
    ((cron,),) = [list(entry.values()) for entry in EVENTS["schedule"]]
    assert re.fullmatch(r"\d+ \d+ \* \* \*", cron)


def test_actions_are_pinned_to_a_major_version():
    for job in WORKFLOW["jobs"].values():
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        names, versions = zip(*(name.split("@") for name in used), strict=True)
        assert names == ("actions/checkout", "actions/setup-python")
        assert all(re.fullmatch(r"v\d+", version) for version in versions)


def test_what_is_checked_before_a_commit_is_make_lint_without_a_download():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    ((source, hooks),) = [(each["repo"], each["hooks"]) for each in config["repos"]]
    assert source == "local"
    assert [(h["language"], h["entry"], h["pass_filenames"]) for h in hooks] == [
        ("system", "make lint", False)
    ]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    tools = re.findall(r"\$\(BIN\)/(ruff \S+(?: --check)?|mypy)", recipe[1])
    assert hooks[0]["name"] == ", ".join(tools)
