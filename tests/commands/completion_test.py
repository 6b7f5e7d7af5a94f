"""`graft completion`, as bash asks it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import trainer
from tests.processes.in_process import graft

PROGRAM = f"#!{sys.executable}\nfrom trainer.__main__ import console_script\nconsole_script()\n"
# What readline does at a TAB.
BASH = r"""
set -e
eval "$(graft completion bash)"
[[ $(complete -p graft) =~ -F\ ([_a-z]+) ]]
asked=${BASH_REMATCH[1]}
while read -r COMP_LINE; do
    COMP_POINT=${#COMP_LINE} COMP_TYPE=9 COMPREPLY=()
    $asked graft
    echo "${COMPREPLY[@]}"
done
"""
LINES = {
    "graft tr": "train",
    "graft train --strat": "--strategy",
    "graft train --seed=1 --strategy=t": "tpu",
    "graft doctor --nor": "--noreport",
    "graft submit --platform=v": "vertex",
    "graft submit --serving_i": "--serving_image",
    "graft launch --num_w": "--num_workers",
    "graft launch --workd": "",
    "graft launch --num_workers=2 -- --dataset=größe --workd": "--workdir",
}


@pytest.mark.integration
def test_bash_completes_commands_flags_and_values(tmp_path):
    (tmp_path / "graft").write_text(PROGRAM)
    (tmp_path / "graft").chmod(0o755)
    root = str(Path(trainer.__file__).parent.parent)
    paths = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "PYTHONPATH": f"{root}:{os.environ.get('PYTHONPATH', '')}",
    }
    process = subprocess.run(
        ["bash", "-c", BASH],
        input="".join(f"{line}\n" for line in LINES),
        capture_output=True,
        text=True,
        env={**os.environ, **paths},
        timeout=60,
    )
    answers = [line.rstrip() for line in process.stdout.splitlines()]
    assert dict(zip(LINES, answers, strict=True)) == LINES, process.stderr
    assert process.stderr == ""


def test_zsh_is_known_and_other_shells_are_refused(capsys):
    assert "compdef _python_argcomplete graft\n" in graft(capsys, "completion", "zsh").stdout
    process = graft(capsys, "completion", "fish")
    assert (process.returncode, process.stdout) == (2, "")
    assert process.stderr == "graft: completion fish: must be one of bash, zsh\n"
