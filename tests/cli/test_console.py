"""Results to stdout as they are; the rest to stderr; bars only where somebody watches."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest
from rich.console import Console

from crossview import cli
from crossview.cli import console
from crossview.errors import InvalidValue


def test_brackets_colons_and_long_lines_are_printed_as_they_are(capsys):
    line = "a[red].jpg :smile: " + "x" * 300
    console.print_result(line)
    console.note(line)
    captured = capsys.readouterr()
    assert captured.out == captured.err == line + "\n"


def test_quiet_silences_notes_and_never_warnings(capsys):
    console.note("reading", quiet=True)
    console.warn("imagery is coarse")
    assert capsys.readouterr().err == "Warning: imagery is coarse\n"


class Clock:
    """Seconds that pass only when a test says so."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(console.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_where_no_terminal_is_progress_comes_as_plain_lines(capsys, clock):
    with console.show_progress("Indexing [a]", total=2000, unit="tiles", done=400) as bar:
        for done in range(401, 2001):
            clock.now += 0.25
            bar.update(done)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Indexing [a]: 500 of 2,000 tiles (25 %), 4 tiles/s, 6 min left"
    assert lines[-1] == "Indexing [a]: 2,000 of 2,000 tiles (100 %), 4 tiles/s"
    assert len(lines) == 16, "one per twentieth of the work"


def test_lines_keep_five_seconds_apart_and_a_slow_job_gives_a_sign_of_life(capsys, clock):
    with console.show_progress("quick", total=100, unit="photos") as bar:
        for _ in range(100):
            clock.now += 0.1
            bar.advance()
    assert len(capsys.readouterr().err.splitlines()) == 2
    with console.show_progress("slow", total=10_000, unit="photos") as bar:
        for _ in range(10):
            clock.now += 13.0
            bar.advance()
    assert len(capsys.readouterr().err.splitlines()) == 2  # every 60 s, the end among them


def test_progress_without_a_total_and_of_a_moment(capsys, clock):
    with console.show_progress("read", unit="pictures") as bar:
        clock.now += 2.0
        bar.advance(5)
        bar.describe("loss 0.1")
    assert capsys.readouterr().err == "loss 0.1: 5 pictures, 2.5 pictures/s\n"
    with console.show_progress("Locating", total=30, unit="photos") as bar:
        clock.now += 0.9
        bar.update(30)
    with console.show_progress("nothing", total=0) as bar:
        bar.update(0)
    assert capsys.readouterr().err == ""


def test_quiet_silences_progress_and_a_failure_claims_no_end(capsys, clock):
    with console.show_progress("Indexing", total=30, quiet=True) as bar:
        clock.now += 99.0
        bar.update(30)
    with pytest.raises(OSError), console.show_progress("Indexing", total=30) as bar:
        bar.update(3)
        raise OSError
    assert capsys.readouterr().err == ""


EVIL = (
    "https://example.org/a/[red]b[/red]?x=1&y=[/]#:smile:" + "z" * 300,
    "/data/[bold]photos[/bold]/:warning:/a b [1].jpg",
    "C:\\photos\\[link=x]a.jpg",
    "\\[red]",
)


@pytest.mark.parametrize("text", EVIL)
@pytest.mark.parametrize("width", [20, 80, None], ids=str)
def test_names_and_addresses_are_printed_whole_on_any_terminal_and_in_pipes(text, width):
    script = (
        "import sys; from crossview.cli import console; text = sys.argv[1]\n"
        "console.print_result(text); console.note(text)\n"
        "console.warn(text); console.print_error(text)\n"
        "with console.show_progress('job', 3) as bar: console.note(text); bar.update(3)"
    )
    command = [sys.executable, "-c", script, text]
    printed = piped(command) if width is None else on_terminal(command, width)
    assert printed.count(text) == 5


def piped(command):
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def on_terminal(command, width):
    """What a terminal so many columns wide is sent."""
    pty = pytest.importorskip("pty", reason="no pseudo-terminals here")
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    parts = []
    try:
        while part := os.read(ours, 65536):
            parts.append(part)
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    return b"".join(parts).decode()


def test_control_characters_of_a_name_are_shown_and_not_obeyed(capsys):
    console.note("a\x1b[31mb\x9bc\rd")
    console.print_error(InvalidValue("e\x07f"))
    assert capsys.readouterr().err == "a\ufffd[31mb\ufffdc\ufffdd\nError: e\ufffdf\n"
    assert cli.main(["locate", "x.jpg", "--index", "no\x1b[2Jthing"]) == 1
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [
    ["calibrate", "https://example.org/[a]/b.csv", "--index", "x.cvx"],
    ["index", "a.tif", "--out", "s3://bucket/x.cvx"],
    ["index", "a.tif", "--out=s3://bucket/x.cvx"],
    ["index", "/vsicurl/https://example.org/b.tif", "--out", "x.cvx"],
    ["locate", "file:///photos/a.jpg", "--index", "x.cvx"],
    ["locate", "a.jpg", "--index", "x.cvx", "--out", "https://example.org/a.csv"],
    ["evaluate", "https://example.org/run", "--data", "pairs:a.csv"],
])  # fmt: skip
def test_an_address_in_place_of_a_file_is_refused_as_it_was_typed(words, capsys):
    assert cli.main(words) == 2
    message = capsys.readouterr().err
    address = next(word for word in words if "://" in word).removeprefix("--out=")
    assert message.startswith(f"Error: {address} is an address.")
    assert "Download it first" in message
    assert len(message.splitlines()) <= 3


def test_options_that_hold_addresses_may(capsys):
    base = ["serve", "--index", "absent.cvx", "--base-map-attribution", "X", "--base-map"]
    for words in ([*base, "https://example.org/{z}/{x}/{y}.png"], [*base, "https://[red]/a.png"]):
        cli.main(words)
        message = capsys.readouterr().err
        assert "is an address" not in message
    assert "https://[red]/a.png" in message


@pytest.mark.parametrize(("seconds", "text"), [
    (0.2, "1 s"), (89, "89 s"), (90, "2 min"), (5399, "90 min"), (5400, "1.5 h"),
])  # fmt: skip
def test_durations_as_text(seconds, text):
    assert console.format_duration(seconds) == text


@pytest.mark.parametrize(("count", "text"), [
    (0, "0.1 MB"), (2_340_000, "2.3 MB"), (999_900_000, "999.9 MB"), (1.2e9, "1.2 GB"),
])  # fmt: skip
def test_sizes_as_text(count, text):
    assert console.format_size(count) == text


def test_a_terminal_gets_a_bar_with_the_count_and_the_unit(monkeypatch):
    drawn = io.StringIO()
    terminal = Console(file=drawn, force_terminal=True, width=120)
    monkeypatch.setattr(console, "err", terminal)
    with console.show_progress("Indexing [a]", total=3, unit="tiles", done=1) as bar:
        bar.advance()
        bar.update(3, total=3)
    assert "Indexing [a]" in drawn.getvalue()
    assert "3/3" in drawn.getvalue()


@pytest.mark.parametrize("verb", cli.VERBS)
def test_no_help_holds_an_address_that_a_narrow_terminal_would_break(verb, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main([verb, "--help"]) == 0
    assert "://" not in capsys.readouterr().out
