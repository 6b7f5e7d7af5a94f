"""Kill it anywhere: the result is the one it would have had, bit for bit.

A streaming source, augmentation, dropout, MixUp and fine-tuning: all that could remember.
"""

import os
import random
import signal
import time

from tests.commands import graft, start
from tests.same_run import DEADLINE_SECS, NUM_STEPS, assert_same_run, wait_until

NUM_KILLS = 10


def test_ten_kills_leave_no_trace(arguments, undisturbed, tmp_path):
    rng = printed_seed()
    steps = sorted(rng.sample(range(NUM_STEPS), NUM_KILLS - 2))
    # Two more fall into the start of a process, where nothing is trained yet.
    moments = [("step", step) for step in steps] + [("secs", rng.uniform(0, 4)) for _ in range(2)]
    rng.shuffle(moments)
    moments.sort(key=lambda moment: moment[1] if moment[0] == "step" else rng.choice(steps))
    assert_same_run(killed_at(moments, arguments, tmp_path / "killed", rng), undisturbed)


def test_kills_of_a_run_with_a_folded_backbone_leave_no_trace(arguments, tmp_path):
    """With frozen statistics the backbone is trained by models/training_graph.py."""
    rng = printed_seed()
    words = [a for a in arguments if a != "--nofreeze_batch_norm"]
    undisturbed = graft(*words, f"--workdir={tmp_path / 'undisturbed'}")
    assert undisturbed.returncode == 0, undisturbed.stderr
    moments = [("step", step) for step in sorted(rng.sample(range(NUM_STEPS), 3))]
    killed = killed_at(moments, words, tmp_path / "killed", rng)
    assert_same_run(killed, tmp_path / "undisturbed")


def printed_seed():
    seed = int(os.environ.get("GRAFT_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"GRAFT_TEST_SEED={seed}")
    return random.Random(seed)


def killed_at(moments, words, workdir, rng):
    """The workdir of a run killed when so many steps were saved, or so many seconds went by."""
    for kind, moment in moments:
        process = start(*words, f"--workdir={workdir}")
        began = time.monotonic()
        while process.poll() is None:
            reached = newest_step(workdir) if kind == "step" else time.monotonic() - began
            if reached >= moment:
                break
            assert time.monotonic() - began < DEADLINE_SECS, f"no {kind} {moment}"
            time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_SECS)
    last = graft(*words, f"--workdir={workdir}")
    assert last.returncode == 0, last.stderr
    return workdir


def test_sigterm_saves_and_leaves_with_143(arguments, undisturbed, tmp_path):
    workdir = tmp_path / "preempted"
    # No checkpoint is due before the end: the one that is resumed from is SIGTERM's.
    rare = [a for a in arguments if "checkpoint" not in a] + ["--checkpoint_every_steps=9999"]
    process = start(*rare, f"--workdir={workdir}")
    logs = workdir / "logs" / "train"
    wait_until(lambda: logs.is_dir() and any(f.stat().st_size > 0 for f in logs.iterdir()))
    process.send_signal(signal.SIGTERM)
    assert process.wait(DEADLINE_SECS) == 143
    resumed = graft(*rare, f"--workdir={workdir}")
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming" in resumed.stdout
    assert_same_run(workdir, undisturbed)


def test_a_workdir_of_another_run_is_refused(arguments, undisturbed):
    process = graft(*arguments, f"--workdir={undisturbed}", "--seed=5", "--global_batch_size=32")
    assert process.returncode == 2
    assert "global_batch_size: 16 there, 32 now" in process.stderr
    assert "seed: 0 there, 5 now" in process.stderr
    assert "Traceback" not in process.stderr


def newest_step(workdir):
    directory = workdir / "checkpoints"
    names = [p.parent.name for p in directory.glob("*/MANIFEST.json")]
    return max((int(name.split("_")[1]) for name in names), default=-1)
