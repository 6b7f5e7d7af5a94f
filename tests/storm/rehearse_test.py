"""The whole rehearsal: a worker killed, one frozen, one sent SIGTERM, and the workdir gone."""

import subprocess
import sys

from tests.processes.rehearsals import rehearse
from trainer.launch.local.disturbance import NAMES

DEADLINE_SECS = 900


def graft(*words):
    return subprocess.run(
        [sys.executable, "-m", "trainer", *words],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECS,
    )


def test_a_run_goes_on_after_each_disturbance_with_the_same_bits(
    tmp_path, storm_round, record_property
):
    assert NAMES == ("kill", "freeze", "sigterm", "storage")
    record_property("seed", rehearse(graft, tmp_path, 60))
