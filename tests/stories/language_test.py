"""The field's terms, and none of the project's earlier dialect, in code, messages and docs."""

import re
from pathlib import Path

import pytest

import trainer

ROOT = Path(trainer.__file__).parents[1]
FILES = [
    path
    for pattern in ("trainer/**/*.py", "docs/**/*.md", "*.md", "examples/*", "k8s/**/*.yaml")
    for path in sorted(ROOT.glob(pattern))
    if path.is_file()
]
# An earlier term, and what is written instead.
TERMS = {
    r"WaitingRoom|heed_stop|tell_all|[Ll]ifeline|_obey": "RendezvousContext, raise_if_stopping, …",
    r"preflight_(room|chief|worker)": "rendezvous_…",
    r"KnownParts|\b_know\(": "FeatureShards, _register",
    r"\bdamage\(\)|\bDamaged\b": "verify(), ChecksumMismatch",
    r"\bVoice\b|\bspeaker\b|\bvoice\b": "Reporter, reporter",
    r"is_of_here|\bof_a_job\b|of_the_machine|\brarely\(|taken_as_deterministic": "is_local, …",
    r"\bsaid\(\)|before_meeting|\.turn\(|\.spending\(": "already_finished_message(), …, phase()",
    r"\bstamp\(|evaluation_places|\bKnownPart": "version_digest, evaluation_indices",
    r"is taken for|are taken for": "predicted as",
    r"\bof \{[^}]*\} MB\b": "report  0.3 MB",
    r"form of what is said|how the learning rate goes on": "output format, schedule after warm-up",
    r"who waits sees|not for 45 s": "a waiter takes over when the lease has not been renewed",
    r"no better evaluation": "no improvement",
    r"\b[Cc]olour|\b[Bb]ehaviour|\b\w*(normalis|optimis|initialis|recognis)\w*": "US spelling",
}


@pytest.mark.parametrize("pattern", TERMS)
def test_an_earlier_term_is_gone(pattern):
    found = {
        f"{path.relative_to(ROOT)}:{number}": line.strip()
        for path in FILES
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if re.search(pattern, line)
    }
    assert found == {}, f"write {TERMS[pattern]}"
