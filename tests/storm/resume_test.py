"""Kill it anywhere, ten times: the result is the one it would have had, bit for bit."""

from tests.processes.killed_runs import ended, killed_at_moments
from tests.processes.same_run import NUM_STEPS, assert_same_run

NUM_KILLS = 10


def test_ten_kills_leave_no_trace(arguments, undisturbed, tmp_path, rng, storm_round):
    steps = sorted(rng.sample(range(NUM_STEPS), NUM_KILLS - 2))
    # Two more fall into the start of a process, where nothing is trained yet.
    moments = [("step", step) for step in steps] + [("secs", rng.uniform(0, 4)) for _ in range(2)]
    rng.shuffle(moments)
    moments.sort(key=lambda moment: moment[1] if moment[0] == "step" else rng.choice(steps))
    killed = killed_at_moments(moments, arguments, tmp_path / "killed", rng)
    assert_same_run(killed, undisturbed)


def test_kills_of_a_run_with_a_folded_backbone_leave_no_trace(
    arguments, tmp_path, rng, storm_round
):
    words = [a for a in arguments if a not in ("--nofreeze_batch_norm", "--nolog_images")]
    undisturbed = ended(words, tmp_path / "undisturbed")
    moments = [("step", step) for step in sorted(rng.sample(range(NUM_STEPS), 3))]
    killed = killed_at_moments(moments, words, tmp_path / "killed", rng)
    assert_same_run(killed, undisturbed)
