"""`graft rehearse` with real workers, and what it must have found."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.inputs import tiny
from trainer.launch.local.disturbance import NAMES, STORAGE
from trainer.launch.local.rehearse import FLAGS, plan
from trainer.settings.command_line import parse

STALL_SECS = 15


def rehearse(
    graft: Callable[..., subprocess.CompletedProcess[str]],
    directory: Path,
    num_steps: int,
    disturbances: Sequence[str] = NAMES,
) -> int:
    """Assert that a run goes on after each disturbance, and ends with the same bits.

    Args:
        graft: starts it, with the words of its command line.
        directory: for all that it needs and makes.
        num_steps: of each run.
        disturbances: all of them are what it does by itself.

    Returns:
        The seed of who was disturbed, and when: that of GRAFT_TEST_SEED, if it is set.
    """
    folder = tiny.write_folder(directory / "folder", train=30, validation=4)
    workdir = directory / "run"
    process = graft(
        *("rehearse", "--json", f"--num_steps={num_steps}"),
        *([] if disturbances == NAMES else [f"--disturbances={','.join(disturbances)}"]),
        *([f"--seed={os.environ['GRAFT_TEST_SEED']}"] if "GRAFT_TEST_SEED" in os.environ else []),
        *(f"--stall_timeout_secs={STALL_SECS}", "--grace_secs=5"),
        *("--", f"--workdir={workdir}"),
        *(f"--dataset={folder}", "--global_batch_size=16", "--nofreeze_backbone"),
        *("--eval_every_epochs=100", "--num_epochs=7"),
        f"--backbone={tiny.write_backbone(directory / 'backbone')}",
    )
    print(process.stderr)  # says the seed
    assert process.returncode == 0
    found = json.loads(process.stdout)
    assert (found["num_workers"], found["num_steps"], found["passed"]) == (2, num_steps, True)
    wanted = {"num_steps": num_steps, "disturbances": list(disturbances)}
    planned = plan({**parse([], FLAGS)[0], **wanted}, found["seed"])
    results = {result["disturbance"]: result for result in found["results"]}
    assert list(results) == [result["disturbance"] for result in found["results"]]
    assert list(results) == list(disturbances)
    for result, expected in zip(found["results"], planned, strict=True):
        assert result["worker"] == expected.worker
        assert (expected.worker is None) == (expected.name == STORAGE)
        assert expected.step <= result["after_step"] < num_steps
        assert result["recovered"] is result["equal_weights"] is True
        assert result["secs_until_training"] > 0
        # A loop ends at each checkpoint, ten times in a run: no more can be lost.
        assert 0 <= result["steps_done_twice"] <= num_steps // 10
    if "freeze" in results:
        assert results["freeze"]["secs_until_training"] > STALL_SECS
    if "sigterm" in results:
        assert results["sigterm"]["steps_done_twice"] == 0
    assert os.listdir(workdir) == []
    return int(found["seed"])
