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
    seed = int(os.environ.get("GRAFT_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"GRAFT_TEST_SEED={seed}")
    rng = random.Random(seed)
    workdir = tmp_path / "killed"
    steps = sorted(rng.sample(range(NUM_STEPS), NUM_KILLS - 2))
    # Two more fall into the start of a process, where nothing is trained yet.
    moments = [("step", step) for step in steps] + [("secs", rng.uniform(0, 4)) for _ in range(2)]
    rng.shuffle(moments)
    moments.sort(key=lambda moment: moment[1] if moment[0] == "step" else rng.choice(steps))
    for kind, moment in moments:
        process = start(*arguments, f"--workdir={workdir}")
        began = time.monotonic()
        while process.poll() is None:
            reached = newest_step(workdir) if kind == "step" else time.monotonic() - began
            if reached >= moment:
                break
            assert time.monotonic() - began < DEADLINE_SECS, f"no {kind} {moment}"
            time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_SECS)
    last = graft(*arguments, f"--workdir={workdir}")
    assert last.returncode == 0, last.stderr
    assert_same_run(workdir, undisturbed)


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
