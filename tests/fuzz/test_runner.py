"""The fuzz harness itself finds what it is for: readers that hang, swell, die, or lie."""

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the package torch")

from tests.fuzz import runner
from tests.fuzz.kinds import MB, Kind

from crossview.errors import BadData

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(),
    reason="no /proc to measure memory in",
)


def tally_of(monkeypatch, read, **bounds):
    def make(folder):
        (folder / "file").write_bytes(bytes(range(256)))

    def read_unless_whole(folder, name):
        data = (folder / name).read_bytes()
        return data if data == bytes(range(256)) else read(data)

    kind = Kind(make, read_unless_whole, **bounds)
    monkeypatch.setitem(runner.KINDS, "made up", kind)
    return runner.fuzz("made up", 4)


def hang(data):
    while True:
        time.process_time()


def swell(data):
    return b"x" * (200 * MB)


def die(data):
    os._exit(9)


def fail(data):
    return data[10**6]


def refuse(data):
    raise BadData("damaged")


def lie(data):
    return b"another"


@pytest.mark.parametrize(
    ("read", "what"),
    [
        (hang, "no end in time"),
        (swell, "more memory than it may take"),
        (die, "the process ended: status 9"),
        (fail, "IndexError in test_runner.py:fail"),
        (lie, "another answer"),
    ],
)
def test_a_reader_that_does_harm_is_found(monkeypatch, read, what):
    tally = tally_of(monkeypatch, read, seconds=0.2, memory_bytes=100 * MB, same=read is lie)
    assert tally.inputs == 4
    assert any(name.startswith(what) for name in tally.faults), tally.faults
    assert not tally.ok


def test_a_reader_that_refuses_in_our_words_is_fine(monkeypatch):
    tally = tally_of(monkeypatch, refuse)
    assert (tally.inputs, tally.refused, tally.ok) == (4, 4, True)
