"""What is mistyped is refused with exit code 2, and told what is nearest."""

import pytest

from tests.processes.in_process import graft

LISTED = "(--help lists the flags)"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("tarin", "tarin: no such command; did you mean train? (graft --help lists them)"),
        ("version", "version: no such command; did you mean --version? (graft --help lists them)"),
        ("help", "help: no such command; did you mean --help? (graft --help lists them)"),
        ("fly", "fly: no such command (graft --help lists them)"),
        ("train --werkdir=x", f"--werkdir: no such flag; did you mean --workdir? {LISTED}"),
        ("predict --modle=x", f"--modle: no such flag; did you mean --model? {LISTED}"),
        ("launch -- --workdri=x", f"--workdri: no such flag; did you mean --workdir? {LISTED}"),
        (
            "submit --platform=vertex --image=i -- --workdri=gs://b/x",
            f"--workdri: no such flag; did you mean --workdir? {LISTED}",
        ),
        (
            "submit --platform=kubernetes --num_stps=4",
            f"--num_stps: no such flag; did you mean --num_steps after --? {LISTED}",
        ),
        (
            "submit --platfrom=vertex",
            f"--platfrom: no such flag; did you mean --platform? {LISTED}",
        ),
        ("submit", "--platform: must be one of kubernetes, vertex"),
        (
            "launch --workdir=x",
            "--workdir: flags of graft train come after -- (--help lists those before it)",
        ),
    ],
)
def test_a_mistyped_word_is_told_the_nearest(words, said, capsys):
    process = graft(capsys, *words.split())
    assert (process.returncode, process.stdout, process.stderr) == (2, "", f"graft: {said}\n")


def test_doctor_finds_it(capsys):
    process = graft(capsys, "doctor", "--json", "--wrkdir=x")
    assert process.returncode == 2
    assert f'"--wrkdir: no such flag; did you mean --workdir? {LISTED}"' in process.stdout
