"""Real processes on loopback meet, or say why not."""

import contextlib
import os
import random
import signal
import socket

import pytest

from tests.processes.meeting import localhosts, release, workers
from tests.processes.ports import free_ports
from trainer.process.errors import Preempted, UserError
from trainer.process.stop_signal import StopRequest
from trainer.workers import rendezvous
from trainer.workers.cluster import Cluster

integration = pytest.mark.integration


@pytest.fixture
def start():
    with workers() as start:
        yield start


@integration
@pytest.mark.parametrize("num_workers", [2, 5])
def test_all_meet_and_have_their_ports_free(start, num_workers):
    hosts = localhosts(num_workers)
    order = list(range(num_workers))
    random.Random(num_workers).shuffle(order)
    release([start(hosts, index, {"a": "1"}) for index in order])


@integration
def test_by_name_and_over_ipv6(start):
    one, other = free_ports(2)
    hosts = [f"localhost:{one}", f"[::1]:{other}"]
    release([start(hosts, index) for index in (0, 1)])


@integration
def test_a_late_worker_is_waited_for_with_a_line_every_ten_seconds(start):
    hosts = localhosts(3)
    early = [start(hosts, index, timeout_secs=800, speed=8) for index in (0, 1)]
    reason = f"worker 2 ({hosts[2]}): nothing listens on its port\n"
    for worker in early:
        first, second = worker.wait_for("waiting"), worker.wait_for("waiting")
        assert first.endswith(reason)
        assert second.endswith(reason)
        waited = [int(line.split()[1]) for line in (first, second)]
        assert waited[0] >= 10
        assert waited[1] - waited[0] >= 10
    release([*early, start(hosts, 2, timeout_secs=800, speed=8)])


@integration
def test_an_absent_worker_is_named_by_all(start):
    hosts = localhosts(3)
    started = [start(hosts, index, timeout_secs=2) for index in (0, 2)]
    for worker in started:
        code, _, errors = worker.end()
        assert code == 138
        assert errors == (
            "graft: waited 2 s for the other workers:\n"
            f"  worker 1 ({hosts[1]}): nothing listens on its port\n"
        )


@integration
def test_an_absent_chief_is_named(start):
    hosts = localhosts(2)
    code, _, errors = start(hosts, 1, timeout_secs=1).end()
    assert code == 138
    assert f"worker 0, the chief ({hosts[0]}): nothing listens on its port\n" in errors


@integration
def test_an_unresolvable_name_is_named(start):
    hosts = [*localhosts(1), "nowhere.invalid:2222"]
    code, _, errors = start(hosts, 0, timeout_secs=3).end()
    assert code == 138
    assert "worker 1 (nowhere.invalid:2222): its name does not resolve\n" in errors


@integration
def test_what_one_worker_alone_does_not_reach_is_named(start):
    hosts = localhosts(3)
    # The same port by another name: worker 1 knows worker 2 by a name that does not resolve.
    elsewhere = [hosts[0], hosts[1], "nowhere.invalid:2222"]
    started = [start(h, i, timeout_secs=3) for i, h in enumerate((hosts, elsewhere, hosts))]
    for worker in started:
        code, _, errors = worker.end()
        assert code == 138
        assert errors.endswith(
            f"  worker 2 ({hosts[2]}): not reached from worker 1: its name does not resolve\n"
        )


def test_a_busy_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cluster = Cluster(("a:1", f"b:{port}"), 1, "TF_CONFIG")
        with pytest.raises(UserError) as caught:
            rendezvous.reserve_port(cluster)
    assert str(caught.value).startswith(f"TF_CONFIG: port {port} of worker 1 (b:{port}): another ")


@integration
def test_the_odd_one_out_is_named_by_all(start):
    hosts = localhosts(3)
    same = {"tensorflow": "2.21.0", "class_names": "a,b"}
    odd = {**same, "class_names": "a,c", "extra": "x"}
    started = [start(hosts, i, f) for i, f in enumerate((same, same, odd))]
    for worker in started:
        code, _, errors = worker.end()
        assert code == 2
        assert errors == (
            "graft: the workers differ, and must have the same:\n"
            f"  class_names: worker 2 ({hosts[2]}) has a,c; the other 2 have a,b\n"
            f"  extra: worker 2 ({hosts[2]}) has x; the other 2 have nothing\n"
        )


@integration
def test_another_number_of_workers_is_refused_on_both_sides(start):
    hosts = localhosts(3)
    started = [start(hosts[:2], 0), start(hosts, 1)]
    for worker in started:
        code, _, errors = worker.end()
        assert code == 2
        assert "knows of 2 workers, and worker 1 of 3" in errors


def test_an_inherited_socket_is_taken_over():
    (port,) = free_ports(1)
    listening = rendezvous.listen(port)
    cluster = Cluster((f"a:{port}", "b:1"), 0, "test")
    held = rendezvous.reserve_port(cluster, str(listening.fileno()))
    assert held.fileno() == listening.detach()
    assert not held.get_inheritable()
    held.close()


@pytest.mark.parametrize("kind", ["closed", "unix", "connected", "file"])
def test_a_descriptor_that_is_another_by_now_is_left_alone(kind, tmp_path):
    with contextlib.ExitStack() as stack:
        (port,) = free_ports(1)
        if kind == "unix":
            other = stack.enter_context(socket.socketpair()[0])
        elif kind == "connected":
            server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            other = socket.create_connection(server.getsockname(), source_address=("", port))
            stack.enter_context(other)
            stack.enter_context(server.accept()[0])
        else:
            other = stack.enter_context((tmp_path / "file").open("w"))
        number = other.fileno()
        if kind == "closed":
            other.close()
        assert rendezvous._inherited(str(number), port) is None
        assert kind == "closed" or os.fstat(number)


def test_the_port_is_free_after_an_error():
    cluster = Cluster(tuple(localhosts(2)), 0, "test")
    stop = StopRequest()
    stop._on_signal(signal.SIGTERM, None)
    with pytest.raises(Preempted):
        rendezvous.join(cluster, rendezvous.reserve_port(cluster), {}, stop, print)
    rendezvous.reserve_port(cluster).close()
