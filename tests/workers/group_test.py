"""One worker agrees with itself; several are in many_workers_test.py."""

import pytest

from trainer.process.errors import UserError
from trainer.process.stop_signal import StopRequest
from trainer.settings.config import Config
from trainer.workers.cluster import Cluster
from trainer.workers.group import WorkerGroup, join_workers


def test_one_worker_is_its_own_chief_and_waits_for_nobody():
    said: list[str] = []
    workers = join_workers(Config(workdir="x"), Cluster(), None, {}, StopRequest(), said.append)
    assert workers.is_chief
    assert workers.all_reduce_sum("anything", stop=1.0, secs=0.25) == {"stop": 1.0, "secs": 0.25}
    assert workers.all_gather("names", {"a": "b"}) == {"a": "b"}
    with pytest.raises(UserError, match="wrong"), workers.propagating_errors():
        raise UserError("wrong")
    workers.wait_for_all()
    assert said == []


@pytest.mark.parametrize(("index", "shards"), [(0, range(3)), (1, range(3, 6))])
def test_each_worker_owns_its_part(index, shards):
    workers = WorkerGroup(Cluster(("a:1", "b:1"), index, "test"))
    assert workers.is_chief == (index == 0)
    assert workers.owned_shards(6) == shards
    assert workers.owned_replicas(6) == shards
