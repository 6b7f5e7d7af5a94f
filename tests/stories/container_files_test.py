"""The files that build the image: what they promise, without a container.

In one, by a real engine, it is proved in tests/storm/container_test.py.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.inputs import tiny
from tests.processes import indexed_job
from tests.processes.containers import REVISION, ROOT, UID

BIN = Path(sys.executable).parent

# Capabilities of a container are none; this one reads, as root's own Python may be root's alone.
CAPABILITIES = "-all,+dac_read_search"
# With what is written to: everything below "$0", and nothing else.
CONFINED = 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && exec "$@"'


def run(*words):
    return subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=60)


@pytest.mark.integration
def test_the_dockerfile_is_clean():
    linted = run(BIN / "hadolint", "--no-color", "Dockerfile")
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.integration
def test_a_dockerfile_that_is_not_would_be_found(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian:latest\nRUN cd /tmp && apt-get install curl\n")
    linted = run(BIN / "hadolint", "--no-color", bad)
    assert linted.returncode == 1
    assert {"DL3007", "DL3003"} <= set(linted.stdout.split())


@pytest.mark.integration
def test_cloud_build_takes_its_file(tmp_path):
    check = [BIN / "check-jsonschema", "--builtin-schema=vendor.cloudbuild"]
    assert run(*check, "cloudbuild.yaml").returncode == 0
    (tmp_path / "bad.yaml").write_text("steps:\n- nam: python\n")
    assert run(*check, tmp_path / "bad.yaml").returncode == 1


def test_cloud_builds_variables_are_declared_and_said():
    text = (ROOT / "cloudbuild.yaml").read_text()
    build = yaml.safe_load(text)
    documented = {line.split()[1] for line in text.splitlines() if line.startswith("#   _")}
    assert documented == set(build["substitutions"]) - {"_NAME"}
    for name in build["substitutions"]:
        assert f"${{{name}}}" in text
    assert build["options"]["requestedVerifyOption"] == "VERIFIED"
    steps = {step["id"]: step for step in build["steps"]}
    assert steps["push"]["waitFor"] == ["test", "build"]


@pytest.mark.parametrize("directory", ["trainer", "requirements"])
def test_what_the_dockerfile_copies_is_not_ignored(directory):
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*"
    assert f"!{directory}" in ignored
    assert f"COPY {directory}/" in (ROOT / "Dockerfile").read_text()


def instructions(stage):
    """(instruction, words) of a stage of the Dockerfile, by the last words of its FROM."""
    text = (ROOT / "Dockerfile").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found, is_inside = [], False
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.partition(" ")
        if name == "FROM":
            is_inside = rest == stage
        elif name and is_inside:
            found.append((name, rest.strip()))
    return found


def settings(name):
    """What the image's ENV or LABEL says."""
    lines = [words for found, words in instructions("packages") if found == name]
    return dict(word.split("=", 1) for line in lines for word in shlex.split(line))


def test_what_the_image_says_of_itself():
    image = instructions("packages")
    assert image[-2:] == [
        ("USER", f"{UID}:{UID}"),
        ("ENTRYPOINT", json.dumps(["python", "-m", "trainer.task"])),
    ]
    (useradd,) = (words for name, words in image if name == "RUN" and "useradd" in words)
    assert f"--uid {UID} " in useradd
    labels = settings("LABEL")
    assert labels["org.opencontainers.image.title"] == "graft"
    assert labels["org.opencontainers.image.revision"] == "${REVISION}"
    assert settings("ENV")["GRAFT_GIT_COMMIT"] == "${REVISION}"


STAGES = "${BASE} AS base", "base AS packages", "packages AS backbone", "packages"


def test_nothing_of_the_index_stays_in_the_image():
    """Secrets are mounted for the one command that reads them, and are no argument of a build."""
    of_all = [found for stage in STAGES for found in instructions(stage)]
    readers = [(name, words) for name, words in of_all if "secret" in words]
    assert [name for name, _ in readers] == ["RUN"]
    (install,) = (words for _, words in readers)
    assert install.count("/run/secrets/pip_conf") == install.count("PIP_CONFIG_FILE=") + 1 == 2
    for secret in ("pip_conf", "ca_certificates"):
        assert f"--mount=type=secret,id={secret} " in install
    arguments = {words.partition("=")[0] for name, words in of_all if name == "ARG"}
    assert arguments == {"REQUIREMENTS", "REVISION", "VERSION"}
    assert not {name for name, _ in of_all} - {
        *("ARG", "COPY", "ENTRYPOINT", "ENV", "LABEL", "RUN", "USER", "WORKDIR")
    }


def test_a_change_of_the_code_changes_no_layer_of_packages_or_backbone():
    copied = {
        stage: [words.split()[:-1] for name, words in instructions(stage) if name == "COPY"]
        for stage in STAGES
    }
    assert copied["base AS packages"] == [["requirements/${REQUIREMENTS}.txt"]]
    code = "trainer/task.py"
    for names in copied["packages AS backbone"]:
        assert not [name for name in names if code.startswith(name)]
    image = instructions("packages")
    places = [
        at for at, (name, words) in enumerate(image) if (name, words[:8]) == ("COPY", "trainer/")
    ]
    (place,) = places
    later = [words for name, words in image[place + 1 :] if name in ("RUN", "COPY")]
    assert later == ["python -m compileall -q --invalidation-mode unchecked-hash trainer"]


def make_backbone(stage, missing=""):
    """Do in the directory `stage` what the Dockerfile's stage does, without the file `missing`."""
    text = (ROOT / "Dockerfile").read_text().partition(" AS backbone\n")[2].partition("\nFROM ")[0]
    lines = [shlex.split(line, comments=True) for line in text.replace("\\\n", " ").splitlines()]
    for line in lines:
        if line[:1] == ["COPY"]:
            for source in line[1:-1]:
                to = stage / line[-1]
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, to, ignore=shutil.ignore_patterns("*.pyc"))
                else:
                    to.mkdir(exist_ok=True)
                    shutil.copy(ROOT / source, to)
    if missing:
        (stage / missing).unlink()
    (command,) = (line[line.index("python") + 1 :] for line in lines if line[:1] == ["RUN"])
    words = [word.replace("/opt/prepared", str(stage / "prepared")) for word in command]
    # Without what leads an editable installation to the rest of the code.
    return subprocess.run(
        [sys.executable, "-S", *words],
        capture_output=True,
        text=True,
        cwd=stage,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": sysconfig.get_path("purelib")},
        timeout=240,
    )


@pytest.fixture(scope="module")
def public():
    """A directory that others may enter; pytest's own it makes private whenever it starts."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


@pytest.fixture(scope="module")
def backbone(public):
    stage = public / "stage"
    stage.mkdir()
    return make_backbone(stage), stage / "prepared"


@pytest.mark.integration
def test_the_backbone_is_built_from_the_copied_files_alone(backbone):
    made, prepared = backbone
    assert made.returncode == 0, made.stderr
    assert {path.name.partition("-")[0] for path in prepared.iterdir()} == {
        *("efficientnet_lite0", "frozen")
    }


@pytest.mark.integration
def test_a_module_that_is_not_copied_would_be_missed(tmp_path):
    made = make_backbone(tmp_path, missing="trainer/storage/manifest.py")
    assert made.returncode == 1
    assert "No module named 'trainer.storage.manifest'" in made.stderr


@pytest.mark.integration
@pytest.mark.skipif(not indexed_job.can_run(), reason="no namespaces can be made here (root)")
@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv, of util-linux, is not here")
def test_it_trains_as_another_user_on_a_read_only_root_without_a_network(backbone, public):
    _, prepared = backbone
    folder = tiny.write_folder(public / "folder", train=6, validation=2)
    work = public / "work"
    for name in (".", "run", "cache", "tmp"):
        (work / name).mkdir()
        os.chown(work / name, UID, UID)
    (entry_point,) = (words for name, words in instructions("packages") if name == "ENTRYPOINT")
    program, *words = json.loads(entry_point)
    assert program == "python"
    own = {name: value.replace("${REVISION}", REVISION) for name, value in settings("ENV").items()}
    places = {"/opt/prepared": str(prepared), "/tmp/graft": str(work / "cache")}
    own = {name: places.get(value, value) for name, value in own.items()}
    assert own["HOME"] == "/tmp"
    own |= {"HOME": str(work / "tmp"), "TMPDIR": str(work / "tmp")}
    user = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--no-new-privs"]
    user += [f"--{kind}={CAPABILITIES}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    process = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--pid", "--fork"),
            *("sh", "-c", CONFINED, str(work), *user, sys.executable, *words),
            *(f"--workdir={work / 'run'}", f"--dataset={folder}", "--num_steps=2"),
            "--global_batch_size=16",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **own},
        timeout=240,
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    metrics = json.loads((work / "run" / "metrics.json").read_text())
    assert metrics["eval"]["num_examples"] == 6
    config = json.loads((work / "run" / "config.json").read_text())
    assert config["git_commit"] == REVISION
    assert (work / "run" / "export" / "saved_model.pb").stat().st_uid == UID
    # The backbone is the one that was prepared; what is made of the data is in the cache.
    made = {path.name.partition("-")[0] for path in (work / "cache").iterdir()}
    assert made == {"decoder", "features"}
