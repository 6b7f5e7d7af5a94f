"""Start-up itself: each in a process that executes Python anew."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration


def run(program, *paths, **environment):
    places = [*map(str, paths), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "from trainer.process.tensorflow_import import import_tensorflow\n" + program,
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places), **environment},
    )


def test_tensorflow_says_nothing_and_what_comes_later_is_heard():
    process = run(
        "import os, sys\n"
        "import_tensorflow()\n"
        "os.write(2, b'later\\n')\n"
        "print('tensorflow' in sys.modules, os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    )
    assert (process.stdout, process.stderr) == ("True 2\n", "later\n")


def test_the_users_level_stays(tmp_path):
    (tmp_path / "tensorflow.py").write_text("")
    process = run(
        "import_tensorflow()\nimport os\nprint(os.environ['TF_CPP_MIN_LOG_LEVEL'])",
        tmp_path,
        TF_CPP_MIN_LOG_LEVEL="0",
    )
    assert (process.stdout, process.stderr) == ("0\n", "")


def test_what_it_says_is_shown_where_it_fails(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import os\nos.write(2, b'no such instruction\\n')\nraise ImportError('broken')\n"
    )
    process = run("import_tensorflow()", tmp_path)
    assert process.returncode == 1
    assert process.stderr.startswith("no such instruction\nTraceback")
    assert process.stderr.endswith("ImportError: broken\n")


def test_what_is_imported_is_not_looked_at_by_the_garbage_collector(tmp_path):
    (tmp_path / "tensorflow.py").write_text(
        "import gc\nassert not gc.isenabled()\nkept = [[n] for n in range(100_000)]\n"
    )
    process = run(
        "import gc\nimport_tensorflow()\nprint(gc.isenabled(), gc.get_freeze_count() > 100_000)",
        tmp_path,
    )
    assert (process.stdout, process.stderr) == ("True True\n", "")
