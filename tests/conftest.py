"""What several test files share and is slow to make."""

import os
import random
import signal
import subprocess

import pytest

from tests.inputs import tiny
from trainer.settings import locations

pytest_plugins = ["tests.tiers", "tests.durations"]

# Of a background job of a shell, every process would be deaf to Ctrl-C, those of the tests too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What is compared here is float32's; a GPU would round it to TF32.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")


@pytest.fixture
def rng(request):
    """A random generator; GRAFT_TEST_SEED=N repeats what it drew."""
    seed = int(os.environ.get("GRAFT_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"GRAFT_TEST_SEED={seed}")
    request.node.user_properties.append(("seed", seed))  # for tests/durations.py
    return random.Random(seed)


@pytest.fixture
def gates(tmp_path_factory):
    """Make a Gate: by itself before steps that follow some others."""
    from tests.processes.gates import STEPS, Gate

    def make(function=STEPS, number=7):
        return Gate(tmp_path_factory.mktemp("gate"), function, number)

    return make


@pytest.fixture(scope="session")
def cache_dir():
    """Where embedded data and backbones are prepared, as for a user: once for all runs."""
    return locations.default_cache_dir()


@pytest.fixture(scope="session")
def leaves_dir(cache_dir):
    """The embedded data set, prepared."""
    from trainer.data.leaves import embedded

    return embedded.prepare(cache_dir)


@pytest.fixture(scope="session")
def beans_data_dir(tmp_path_factory):
    """Where TFDS has `beans` prepared, of tiny pictures in several shards; not to be changed."""
    root = tmp_path_factory.mktemp("größe 1")
    tiny.write_beans(root, num_shards=3)
    return root


@pytest.fixture(scope="session")
def arguments(tmp_path_factory):
    """The command line of a run that could remember much, without its workdir."""
    from tests.processes import same_run

    return same_run.arguments(tmp_path_factory.mktemp("resume"))


@pytest.fixture(scope="session")
def undisturbed(arguments, tmp_path_factory):
    """The workdir of such a run, from beginning to end in one process."""
    from tests.processes.commands import graft

    workdir = tmp_path_factory.mktemp("runs") / "undisturbed"
    process = graft(*arguments, f"--workdir={workdir}")
    assert process.returncode == 0, process.stderr
    return workdir


@pytest.fixture(scope="session")
def gang_arguments(tmp_path_factory):
    """The command line of a run for several workers, without its workdir."""
    from tests.processes import gang_runs

    return gang_runs.arguments(tmp_path_factory.mktemp("gang"))


@pytest.fixture(scope="session")
def one_worker_run(gang_arguments, tmp_path_factory):
    """The workdir of such a run by one worker, undisturbed."""
    from tests.processes import killed_runs

    return killed_runs.ended(["train", *gang_arguments], tmp_path_factory.mktemp("one") / "run")


@pytest.fixture(scope="session")
def two_worker_run(gang_arguments, tmp_path_factory):
    """The workdir of such a run by two workers, undisturbed."""
    from tests.processes import gang

    workdir = tmp_path_factory.mktemp("two") / "run"
    gang.train(2, [*gang_arguments, f"--workdir={workdir}"], workdir / "said")
    return workdir


@pytest.fixture(scope="session")
def planted_run(cache_dir, tmp_path_factory):
    """What is wrong with a folder of leaves, and the workdir of a run on it."""
    from tests.inputs import planted
    from tests.processes.commands import graft

    root = tmp_path_factory.mktemp("planted")
    found = planted.write(root / "leaves <b>&", *planted.leaf_images(cache_dir))
    process = graft(
        "train",
        f"--workdir={root / 'run'}",
        f"--dataset={found.root}",
        "--num_epochs=4",
        f"--feature_cache={root / 'features'}",
        "--export_formats=",
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    return found, root / "run"


@pytest.fixture(scope="session")
def gcs_server(tmp_path_factory):
    """An emulator of Google Cloud Storage, started once."""
    from tests.servers import gcs

    with gcs.serve(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture
def gcs(gcs_server):
    """The emulator with an empty bucket, no faults, and this process's environment set to it."""
    from tests.servers.gcs import environment
    from trainer.storage import gcs_client

    gcs_server.clear()
    with environment(gcs_server.environment):
        yield gcs_server
        gcs_client.close()
    gcs_server.proxy.reset()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 64 KiB; skips where this process may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "graft", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this process may not mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def cluster_api(tmp_path, monkeypatch):
    """A server that answers as Kubernetes does, and the kubeconfig that names it."""
    from tests.servers import kube_api

    with kube_api.serve() as server:
        config = kube_api.write_kubeconfig(tmp_path / "kubeconfig", server.url)
        monkeypatch.setenv("KUBECONFIG", str(config))
        yield server


@pytest.fixture
def vertex_ai(monkeypatch):
    """A server that answers as Vertex AI does, and the environment that names it."""
    from tests.servers import vertex_api

    with vertex_api.serving() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server
