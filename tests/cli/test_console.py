"""Results to stdout as they are; the rest to stderr; bars only where somebody watches."""

from __future__ import annotations

import io

from rich.console import Console

from crossview.cli import console


def test_brackets_colons_and_long_lines_are_printed_as_they_are(capsys):
    line = "a[red].jpg :smile: " + "x" * 300
    console.result(line)
    console.note(line)
    captured = capsys.readouterr()
    assert captured.out == captured.err == line + "\n"


def test_quiet_silences_notes_and_never_warnings(capsys):
    console.note("reading", quiet=True)
    console.warn("imagery is coarse")
    assert capsys.readouterr().err == "Warning: imagery is coarse\n"


def test_no_bar_is_drawn_where_nobody_watches(capsys):
    with console.progress("Indexing", total=3, unit="tiles") as bar:
        bar.advance()
        bar.to(2)
        bar.describe("Still indexing")
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_a_terminal_gets_a_bar_with_the_count_and_the_unit(monkeypatch):
    drawn = io.StringIO()
    terminal = Console(file=drawn, force_terminal=True, width=120)
    monkeypatch.setattr(console, "err", terminal)
    with console.progress("Indexing [a]", total=3, unit="tiles", done=1) as bar:
        bar.advance()
        bar.to(3, total=3)
    assert "Indexing [a]" in drawn.getvalue()
    assert "3/3" in drawn.getvalue()
