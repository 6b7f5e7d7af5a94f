import subprocess
import sys
from typing import Any

import pytest

from trainer.process.errors import Diverged, PeerLost, Preempted, UserError
from trainer.settings.command_line import Flag, Groups, parse, run, usage

GROUPS: Groups = {
    "First": (
        Flag("name", "", "what to call it"),
        Flag("size", 3, "how large", int),
        Flag("rate", 0.5, "how fast", float),
        Flag("loud", True, "whether it shouts", bool),
    ),
    "Second": (
        Flag("units", ["128"], "some sizes", list),
        Flag("kind", "a", "which", choices=("a", "b")),
        Flag("limit", None, "at most", int),
        Flag("a_flag_with_quite_a_long_name_here", 1, "long " * 20, int),
    ),
}
DEFAULTS = {
    "name": "",
    "size": 3,
    "rate": 0.5,
    "loud": True,
    "units": ["128"],
    "kind": "a",
    "limit": None,
    "a_flag_with_quite_a_long_name_here": 1,
}


@pytest.mark.parametrize(
    ("argv", "values", "words"),
    [
        ([], {}, []),
        (
            ["--name=x y", "--size", "4", "--rate=1e-3"],
            {"name": "x y", "size": 4, "rate": 1e-3},
            [],
        ),
        (["--noloud"], {"loud": False}, []),
        (["--loud=false", "--units=1,2"], {"loud": False, "units": ["1", "2"]}, []),
        (["--units="], {"units": []}, []),
        (["--kind=b", "--limit=7"], {"kind": "b", "limit": 7}, []),
        (["--size=1", "--size=2"], {"size": 2}, []),
        (["a.png", "--size=2", "b.png"], {"size": 2}, ["a.png", "b.png"]),
        (["--size=2", "--", "--odd.png"], {"size": 2}, ["--odd.png"]),
        (["--name=größe"], {"name": "größe"}, []),
    ],
)
def test_parse(argv, values, words):
    assert parse(argv, GROUPS) == ({**DEFAULTS, **values}, words)


@pytest.mark.parametrize(
    ("argv", "parts"),
    [
        (["--size=four"], ["--size=four: must be a whole number (--help"]),
        (["--rate=a: b"], ["--rate=a: b: must be a number (--help"]),
        (["--kind=c"], ["--kind=c", "a|b"]),
        (["--loud=maybe"], ["--loud=maybe: must be true or false"]),
        (["--size"], ["size"]),
        (["--flagfile=/nowhere/flags"], ["/nowhere/flags"]),
    ],
)
def test_parse_refuses(argv, parts):
    with pytest.raises(UserError) as caught:
        parse(argv, GROUPS)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--sizes=4", "; did you mean --size?"),
        ("--noloudd", "; did you mean --noloud?"),
        ("--flagfil=x", "; did you mean --flagfile?"),
        ("--num_stps=4", "; did you mean --num_steps after --?"),
        ("--colour", ""),
    ],
)
def test_a_mistyped_flag_is_told_the_nearest(word, hint):
    with pytest.raises(UserError) as caught:
        parse([word], GROUPS, {"Of train": (Flag("num_steps", 1, "how many", int),)})
    name = word.partition("=")[0]
    assert str(caught.value) == f"{name}: no such flag{hint} (--help lists the flags)"


@pytest.mark.parametrize("word", ["--size=4", "--noloud"])
def test_flags_of_another_command_come_after_dashes(word):
    with pytest.raises(UserError, match=r"--\w+: flags of graft train come after -- \(--help li"):
        parse([word], {}, GROUPS)
    assert parse(["--", word], {}, GROUPS) == ({}, [word])


def test_flagfile(tmp_path):
    file = tmp_path / "flags.txt"
    file.write_text("--size=9\n# a comment\n--name=from the file\n--noloud\n")
    values, words = parse([f"--flagfile={file}", "--name=later", "word"], GROUPS)
    expected = {**DEFAULTS, "size": 9, "name": "later", "loud": False}
    assert (values, words) == (expected, ["word"])


def test_usage():
    lines = usage("graft thing", "Do it.", GROUPS).splitlines()
    assert lines[:5] == ["Do it.", "", "usage: graft thing", "", "First"]
    assert "  --name                            what to call it" in lines
    assert "  --size=3                          how large" in lines
    assert "  --[no]loud                        whether it shouts (on)" in lines
    assert "  --units=128                       some sizes" in lines
    assert "  --kind=a                          which: a | b" in lines
    assert "  --limit                           at most" in lines
    assert "  --a_flag_with_quite_a_long_name_here=1" in lines
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (UserError("--size: no"), 2, "graft: --size: no\n"),
        (Diverged("nan"), 1, "graft: nan\n"),
        (PeerLost("worker 1"), 138, "graft: worker 1\n"),
        (Preempted("stopped"), 143, "graft: stopped\n"),
        (KeyboardInterrupt(), 130, "graft: interrupted\n"),
    ],
)
def test_run_turns_errors_into_exit_codes(error, code, message, capsys):
    def main():
        raise error

    assert run(main) == code
    assert capsys.readouterr() == ("", message)


def test_run_lets_bugs_through():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)


def test_run_passes_the_exit_code_on():
    assert run(lambda: 7) == 7


@pytest.mark.integration
def test_a_closed_pipe_ends_in_silence():
    program = (
        "import sys\nfrom trainer.settings.command_line import run\n"
        "def main():\n    while True:\n        print('a line')\n"
        "sys.exit(run(main))"
    )
    process: Any
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"a line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 141
