"""The workers of a run, from the environments of those who start them."""

import json

import pytest

from trainer.process.errors import UserError
from trainer.workers.cluster import Cluster, read

A, B, C = "a:2222", "b:2222", "c:2222"


def tf_config(cluster, kind="worker", index=0, **more):
    return {
        "TF_CONFIG": json.dumps(
            {"cluster": cluster, "task": {"type": kind, "index": index}, **more}
        )
    }


def cluster_spec(cluster, pool, index):
    return {
        "CLUSTER_SPEC": json.dumps({"cluster": cluster, "task": {"type": pool, "index": index}})
    }


INDEXED_JOB = {
    "JOB_COMPLETION_INDEX": "2",
    "GRAFT_JOB_NAME": "train",
    "GRAFT_SERVICE": "peers",
    "GRAFT_NUM_WORKERS": "3",
}
JOBSET = {
    "JOB_COMPLETION_INDEX": "1",
    "JOBSET_NAME": "set",
    "REPLICATED_JOB_NAME": "worker",
    "JOB_INDEX": "1",
    "GRAFT_NUM_JOBS": "2",
    "GRAFT_NUM_WORKERS": "4",
}
# What the training operators of Kubeflow give to the pods of a TFJob.
CHIEF, WORKER = "pets-chief-0.team.svc:2222", "pets-worker-0.team.svc:2222"
TF_JOB = {"chief": [CHIEF], "worker": [WORKER]}
TWO_POOLS = {"workerpool0": [A], "workerpool1": [B, C]}


@pytest.mark.parametrize(
    ("environment", "workers", "index", "source"),
    [
        ({}, ("localhost:0",), 0, "single"),
        ({"TF_CONFIG": ""}, ("localhost:0",), 0, "single"),
        ({"TF_CONFIG": "{}"}, ("localhost:0",), 0, "single"),
        (tf_config({"worker": [A, B]}, "worker", 1), (A, B), 1, "TF_CONFIG"),
        (tf_config({"worker": [A, B]}, "worker", "1"), (A, B), 1, "TF_CONFIG"),
        (tf_config({"worker": [B, C], "chief": [A]}, "worker", 1), (A, B, C), 2, "TF_CONFIG"),
        (tf_config({"worker": [B], "chief": [A]}, "chief", 0), (A, B), 0, "TF_CONFIG"),
        (tf_config({"master": [A], "worker": [B]}, "worker", 0), (A, B), 1, "TF_CONFIG"),
        (tf_config({"chief": [A]}, "chief", 0, environment="cloud"), (A,), 0, "TF_CONFIG"),
        (tf_config(TF_JOB, "chief", 0, environment="cloud"), (CHIEF, WORKER), 0, "TF_CONFIG"),
        (tf_config(TF_JOB, "worker", 0, environment="cloud"), (CHIEF, WORKER), 1, "TF_CONFIG"),
        (tf_config({"worker": [A], "ps": [], "evaluator": []}), (A,), 0, "TF_CONFIG"),
        (tf_config({"worker": {"0": A, "10": C, "2": B}}, "worker", 10), (A, B, C), 2, "TF_CONFIG"),
        (
            tf_config({"worker": ["[::1]:80", "10.0.0.1:81"]}),
            ("[::1]:80", "10.0.0.1:81"),
            0,
            "TF_CONFIG",
        ),
        (cluster_spec(TWO_POOLS, "workerpool0", 0), (A, B, C), 0, "CLUSTER_SPEC"),
        (cluster_spec(TWO_POOLS, "workerpool1", 1), (A, B, C), 2, "CLUSTER_SPEC"),
        (
            cluster_spec({"workerpool0": [A], "workerpool2": [B]}, "workerpool0", 0),
            (A,),
            0,
            "CLUSTER_SPEC",
        ),
        (
            INDEXED_JOB,
            ("train-0.peers:2222", "train-1.peers:2222", "train-2.peers:2222"),
            2,
            "JOB_COMPLETION_INDEX",
        ),
        (
            {
                **INDEXED_JOB,
                "GRAFT_PORT": "3333",
                "GRAFT_NUM_WORKERS": "2",
                "JOB_COMPLETION_INDEX": "0",
            },
            ("train-0.peers:3333", "train-1.peers:3333"),
            0,
            "JOB_COMPLETION_INDEX",
        ),
        ({"JOB_COMPLETION_INDEX": "7", "GRAFT_NUM_WORKERS": "1"}, ("localhost:0",), 0, "single"),
        (
            JOBSET,
            tuple(f"set-worker-{job}-{pod}.set:2222" for job in (0, 1) for pod in (0, 1)),
            3,
            "JOBSET_NAME",
        ),
        (
            {
                **JOBSET,
                "GRAFT_SERVICE": "net",
                "GRAFT_NUM_JOBS": "",
                "JOB_INDEX": "0",
                "GRAFT_NUM_WORKERS": "2",
            },
            ("set-worker-0-0.net:2222", "set-worker-0-1.net:2222"),
            1,
            "JOBSET_NAME",
        ),
        # Another's JobSet, whose pods train alone.
        ({"JOBSET_NAME": "set"}, ("localhost:0",), 0, "single"),
    ],
)
def test_read(environment, workers, index, source):
    assert read(environment) == Cluster(workers, index, source)


def test_flags_win_over_tf_config_over_cluster_spec_over_the_job():
    environment = {**INDEXED_JOB, **cluster_spec(TWO_POOLS, "workerpool0", 0)}
    assert read(INDEXED_JOB).source == "JOB_COMPLETION_INDEX"
    assert read(environment).source == "CLUSTER_SPEC"
    environment |= tf_config({"worker": [A, B]}, "worker", 1)
    assert read(environment) == Cluster((A, B), 1, "TF_CONFIG")
    flags = read(environment, [C, A], 0)
    assert (flags.workers, flags.index) == ((C, A), 0)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"TF_CONFIG": "{"}, "TF_CONFIG: not JSON ("),
        ({"TF_CONFIG": "[]"}, "TF_CONFIG: must be a JSON object"),
        (
            {"TF_CONFIG": '{"cluster": [], "task": {}}'},
            "TF_CONFIG: cluster must be an object, not []",
        ),
        ({"TF_CONFIG": json.dumps({"cluster": {"worker": [A, B]}})}, "TF_CONFIG: task is missing"),
        (
            {"TF_CONFIG": json.dumps({"cluster": {"worker": [A]}, "task": {"index": 0}})},
            "TF_CONFIG: task.type is missing",
        ),
        (
            {"TF_CONFIG": json.dumps({"cluster": {"worker": [A]}, "task": {"type": "worker"}})},
            "TF_CONFIG: task.index is missing",
        ),
        (tf_config({"worker": [A]}, "worker", "first"), "task.index must be a whole number"),
        (
            tf_config({"worker": [A, B]}, "worker", 2),
            "task worker 2 is not in cluster.worker",
        ),
        (
            tf_config({"worker": [A]}, "chief", 0),
            "task chief 0 is not in cluster.chief",
        ),
        (tf_config({"chief": [A, B]}, "chief", 0), "2 tasks of type 'chief'; there must be one"),
        (tf_config({"worker": [A]}, "evaluator", 0), "'evaluator'; training here is an all-reduce"),
        (tf_config({"worker": [A], "ps": [B]}), "'ps'; training here is an all-reduce"),
        (tf_config({"worker": [A], "gpu": [B]}), "type 'gpu': must be 'chief' or 'worker'"),
        (tf_config({"worker": [A, A]}), "TF_CONFIG: a:2222 is listed twice"),
        (tf_config({"worker": ["a"]}), "TF_CONFIG: 'a': an address is HOST:PORT"),
        (tf_config({"worker": {"1": B}}, "worker", 1), "cluster.worker names worker 1 alone"),
        (tf_config({"worker": {"x": B}}, "worker", 1), "cluster.worker: indices must be whole"),
        (tf_config({}, "worker", 1, sparseCluster={"worker": {"1": B}}), "enableDynamicWorker"),
        ({"CLUSTER_SPEC": "x"}, "CLUSTER_SPEC: not JSON"),
        (
            cluster_spec({"workerpool1": [A]}, "workerpool1", 0),
            "cluster.workerpool0 has 0 replicas",
        ),
        (
            cluster_spec(TWO_POOLS, "workerpool1", 2),
            "workerpool1 2 is not in cluster.workerpool1",
        ),
        (cluster_spec({"workerpool0": [A], "workerpool3": [B]}, "workerpool0", 0), "of evaluators"),
        (
            cluster_spec({"workerpool0": [A], "workerpool2": [B]}, "workerpool2", 0),
            "this is workerpool2",
        ),
        (
            {"JOB_COMPLETION_INDEX": "0"},
            "JOB_COMPLETION_INDEX set, and GRAFT_NUM_WORKERS, GRAFT_JOB_NAME, GRAFT_SERVICE not",
        ),
        ({**INDEXED_JOB, "JOB_COMPLETION_INDEX": ""}, "and JOB_COMPLETION_INDEX not"),
        ({**INDEXED_JOB, "GRAFT_SERVICE": ""}, "and GRAFT_SERVICE not"),
        ({"GRAFT_PORT": "1"}, "GRAFT_PORT set, and JOB_COMPLETION_INDEX, GRAFT_NUM_WORKERS"),
        ({**INDEXED_JOB, "JOB_COMPLETION_INDEX": "3"}, "the index 3 is not one of 3 workers"),
        (
            {**INDEXED_JOB, "GRAFT_NUM_WORKERS": "x"},
            "GRAFT_NUM_WORKERS=x: must be a whole number, at least 2",
        ),
        ({**INDEXED_JOB, "GRAFT_PORT": "70000"}, "with a port from 1 to 65535"),
        ({**INDEXED_JOB, "JOBSET_NAME": "set"}, "GRAFT_JOB_NAME and JOBSET_NAME are both set"),
        ({**JOBSET, "JOB_INDEX": ""}, "and JOB_INDEX not"),
        (
            {**JOBSET, "GRAFT_NUM_WORKERS": "3"},
            "GRAFT_NUM_WORKERS=3: must be a multiple of GRAFT_NUM_JOBS=2",
        ),
        ({**JOBSET, "JOB_COMPLETION_INDEX": "2"}, "JOB_COMPLETION_INDEX=2: must be below 2"),
        ({**JOBSET, "JOB_INDEX": "2"}, "JOB_INDEX=2: must be below 2"),
    ],
)
def test_half_and_contradictory_environments_are_refused(environment, message):
    with pytest.raises(UserError) as caught:
        read(environment)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("hosts", "index", "message"),
    [
        ([A, B], None, "--worker_hosts: needs --task_index"),
        ([], 1, "--task_index=1: needs --worker_hosts"),
        ([A, B], 2, "--worker_hosts, --task_index: the index 2 is not one of 2 workers"),
        ([A, B], -1, "the index -1 is not"),
        ([A, "b"], 0, "'b': an address is HOST:PORT"),
    ],
)
def test_half_flags_are_refused(hosts, index, message):
    with pytest.raises(UserError) as caught:
        read({}, hosts, index)
    assert message in str(caught.value)


def test_a_cluster_in_words_and_as_tensorflow_reads_it():
    cluster = read(tf_config({"worker": [B, C], "chief": [A]}, "worker", 0))
    assert (cluster.num_workers, cluster.is_chief, cluster.address) == (3, False, B)
    assert cluster.name(0) == "worker 0, the chief (a:2222)"
    assert cluster.name(2) == "worker 2 (c:2222)"
    assert json.loads(cluster.to_tf_config()) == {
        "cluster": {"worker": [A, B, C]},
        "task": {"type": "worker", "index": 1},
    }
    assert read({"TF_CONFIG": cluster.to_tf_config()}) == cluster
    assert not Cluster().is_distributed
    assert Cluster().is_chief
