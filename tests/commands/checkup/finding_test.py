"""How `graft doctor` says what it found: exact lines, and JSON whose keys stay."""

import io

import pytest

from trainer.commands.checkup.finding import (
    ERROR,
    OK,
    WARNING,
    Finding,
    exit_code,
    show,
    to_json,
    train_command,
)

CORES = Finding("machine", "cores", OK, "2 cores")
MEMORY = Finding(
    "machine",
    "memory",
    WARNING,
    "0.9 of 2.1 GB of memory are free, which is a sentence of more than sixty characters",
    cost="a process that asks for more than there is, is killed",
    fix="end other processes",
)
BROKEN = Finding(
    "data",
    "unreadable_images",
    ERROR,
    "12 images cannot be decoded",
    cost="the run ends at the first of them",
    fix="graft train --workdir=runs/a --dataset='my pictures' --bad_images=skip",
    items=tuple(f"[red]{i}.jpg: an empty file" for i in range(12)),
    shows_all=True,
)
TINY = Finding("data", "tiny_images", WARNING, "11 images", items=tuple("abcdefghijk"))


def shown(*findings):
    stream = io.StringIO()
    show(findings, stream)
    return stream.getvalue().splitlines()


def test_lines():
    assert shown(CORES, MEMORY, BROKEN) == [
        "machine    ok       2 cores",
        "           warning  0.9 of 2.1 GB of memory are free, which is a sentence of",
        "                    more than sixty characters",
        "                    cost: a process that asks for more than there is, is killed",
        "                    fix:  end other processes",
        "data       error    12 images cannot be decoded",
        *(f"                      [red]{i}.jpg: an empty file" for i in range(12)),
        "                    cost: the run ends at the first of them",
        "                    fix:  graft train --workdir=runs/a --dataset='my pictures' "
        "--bad_images=skip",
        "",
        "1 error, 1 warning: this run would fail",
    ]


def test_of_what_is_many_ten_are_shown():
    lines = shown(TINY)
    assert lines[1:12] == [
        *(f"                      {name}" for name in "abcdefghij"),
        "                      and 1 more; --json lists all",
    ]


@pytest.mark.parametrize(
    ("findings", "code", "verdict"),
    [
        ([CORES], 0, "no problems found"),
        ([CORES, MEMORY], 0, "1 warning: this run would work"),
        ([MEMORY, TINY], 0, "2 warnings: this run would work"),
        ([BROKEN, BROKEN], 2, "2 errors: this run would fail"),
    ],
)
def test_verdict(findings, code, verdict):
    assert exit_code(findings) == code
    assert shown(*findings)[-1] == verdict


def test_json_has_these_keys_and_all_items():
    assert to_json([CORES, TINY]) == {
        "version": 1,
        "exit_code": 0,
        "num_errors": 0,
        "num_warnings": 1,
        "findings": [
            {
                "area": "machine",
                "check": "cores",
                "severity": "ok",
                "message": "2 cores",
                "cost": "",
                "fix": "",
                "items": [],
            },
            {
                "area": "data",
                "check": "tiny_images",
                "severity": "warning",
                "message": "11 images",
                "cost": "",
                "fix": "",
                "items": list("abcdefghijk"),
            },
        ],
    }


@pytest.mark.parametrize(
    ("words", "more", "expected"),
    [
        (["--workdir=a b"], "--bad_images=skip", "'--workdir=a b' --bad_images=skip"),
        (["--workdir=a", "--seed=1"], "--workdir=b", "--seed=1 --workdir=b"),
        (["--workdir", "a", "--seed", "1"], "--workdir=b", "--seed 1 --workdir=b"),
        (["-workdir=a", "--dataset", "workdir"], "--workdir=b", "--dataset workdir --workdir=b"),
    ],
)
def test_the_command_is_one_that_a_shell_takes(words, more, expected):
    assert train_command(words, more) == f"graft train {expected}"
