"""Killed at any change of the file system, a command that is run again ends as if it never was.

Sampled here; ``python -m tests.crashes`` kills at every change, and prints the table of
docs/security.md.
"""

import os

import pytest
from tests.crashes.harness import Case
from tests.crashes.trials import Server
from tests.crashes.verbs import CARELESS, VERBS

pytestmark = pytest.mark.skipif(
    not os.path.isdir("/proc/self/fd"), reason="this system has no /proc to count open files in"
)


@pytest.fixture(scope="session")
def server():
    with Server() as server:
        yield server


@pytest.mark.parametrize("name", list(VERBS))
def test_a_killed_command_ends_as_if_it_never_was(server, tmp_path, name):
    case = Case(server, name, tmp_path / "work")
    few = 1 if case.verb.costly else 3
    for instant in [*case.instants(few), *case.moments(few // 2)]:
        assert case.trial(**instant) == [], instant
    if not case.verb.costly:
        assert case.two_at_once() == []


def test_a_verb_that_writes_half_a_file_is_found(server, tmp_path):
    """The harness itself: a writer without a temporary file fails it at every change."""
    case = Case(server, "careless", tmp_path / "work", CARELESS)
    assert case.changes == 2
    assert case.trial(fatal=2, torn=True) == [
        "after the kill, first.txt is neither as before nor as at the end",
    ]
    assert case.trial(fatal=3, torn=True) == [
        "after the kill, second.txt is neither as before nor as at the end",
        "run again it ends with 1: ",
    ]
    assert case.trial(fatal=3) == ["run again it ends with 1: "]
