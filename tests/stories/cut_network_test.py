"""The network between two workers is cut: no packet arrives, and no reset says so."""

import time

import pytest

from tests.inputs import tiny
from tests.processes.gang import gang, wait_for_training
from tests.processes.two_hosts import ADDRESSES, two_hosts
from tests.tiers import GANG

pytestmark = [pytest.mark.integration, GANG]

STALL_SECS = 6
# Both workers see it after STALL_SECS, and then write down all stacks and leave.
LEAVING_SECS = 30


@pytest.fixture
def arguments(tmp_path):
    folder = tiny.write_folder(tmp_path / "folder", train=30, validation=7)
    return [
        f"--dataset={folder}",
        f"--backbone={tiny.write_backbone(tmp_path / 'backbone')}",
        "--nofreeze_backbone",
        "--global_batch_size=16",
        "--num_logical_shards=4",
        "--num_steps=1000000",
        "--checkpoint_every_steps=50",
        "--nolog_images",
        f"--stall_timeout_secs={STALL_SECS}",
        f"--workdir={tmp_path / 'run'}",
    ]


def test_both_leave_within_the_stall_timeout(arguments, tmp_path):
    with (
        two_hosts() as hosts,
        gang(
            2,
            arguments,
            tmp_path / "said",
            addresses=[f"{address}:2222" for address in ADDRESSES],
            prepare=dict(enumerate(hosts.enter)),
        ) as workers,
    ):
        wait_for_training(workers)
        hosts.cut()
        began = time.monotonic()
        assert [worker.end() for worker in workers] == [138, 138]
        assert time.monotonic() - began < STALL_SECS + LEAVING_SECS
        for worker in workers:
            assert "most recent call first" in worker.errors  # the stacks of its threads
            assert "or the network is down" in worker.errors
