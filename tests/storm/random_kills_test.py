"""Two workers, one of them killed or asked to stop at any moment of a run, time and again."""

import signal
import time

from tests.inputs import tiny
from tests.processes.gang import curve, gang, train
from tests.processes.same_run import assert_same_weights
from tests.tiers import GANG

pytestmark = GANG

NUM_STEPS = 600
NUM_KILLS = 14
# By then even the slowest moments of a run are over: meeting, tracing, steps, evaluation, save.
LATEST_SECS = 15
LEAVING_SECS = 30  # what Kubernetes grants by default, even to a worker that is still tracing
RENDEZVOUS_SECS = 20


def arguments(directory):
    folder = tiny.write_folder(directory / "folder", train=30, validation=7)
    return [
        f"--dataset={folder}",
        f"--backbone={tiny.write_backbone(directory / 'backbone')}",
        "--nofreeze_backbone",
        "--augment=light",
        "--dropout=0.1",
        "--global_batch_size=16",
        "--num_logical_shards=4",
        f"--num_steps={NUM_STEPS}",
        "--log_every_steps=1",
        "--nolog_images",
        "--eval_every_epochs=10",
        "--checkpoint_every_steps=20",
        f"--rendezvous_timeout_secs={RENDEZVOUS_SECS}",
    ]


def test_no_moment_is_a_bad_one(tmp_path, rng, storm_round):
    words = arguments(tmp_path)
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    train(2, [*words, f"--workdir={undisturbed}"], tmp_path / "said")
    words.append(f"--workdir={disturbed}")
    for _ in range(NUM_KILLS):
        disturb(words, tmp_path / "said", rng)
    train(2, words, tmp_path / "said")
    assert_same_weights(disturbed, undisturbed, NUM_STEPS)
    for name in ("train", "eval"):
        assert curve(disturbed, name) == curve(undisturbed, name)


def disturb(words, logs, rng):
    """One worker gets a signal; none outlives it for long, and each says truly how it ended."""
    number = rng.choice([signal.SIGKILL, signal.SIGTERM])
    victim, moment = rng.randrange(2), rng.uniform(0, LATEST_SECS)
    print(f"{number.name} to worker {victim} after {moment:.2f} s")
    with gang(2, words, logs) as workers:
        began = time.monotonic()
        while time.monotonic() - began < moment and workers[victim].process.poll() is None:
            time.sleep(0.01)
        workers[victim].process.send_signal(number)
        began = time.monotonic()
        codes = [worker.end() for worker in workers]
        took = time.monotonic() - began
        errors = [worker.errors for worker in workers]
        if codes == [0, 0]:
            return
        if "the other workers:" in errors[1 - victim]:  # they had not met, so it was waited for
            assert codes[1 - victim] == 138, errors
            assert took < RENDEZVOUS_SECS + LEAVING_SECS, errors
            return
        assert took < LEAVING_SECS, (took, errors)
        if number == signal.SIGTERM:
            assert codes == [143, 143], errors
        else:
            assert codes[victim] == -signal.SIGKILL
            assert codes[1 - victim] in (138, 0), errors
