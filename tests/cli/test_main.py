"""What a user's mistake looks like: a line or three, an exit code, never a traceback."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import types
from typing import Annotated

import pytest
import typer

from crossview import cli
from crossview.cli import console
from crossview.errors import BadImage, InvalidValue

FAILURES = (
    (BadImage("photo.jpg is truncated.\nTake another copy."), 1, "Error: photo.jpg is truncated."),
    (InvalidValue("--fov 400: allowed is (0, 360]."), 2, "Error: --fov 400: allowed is (0, 360]."),
    (OSError(28, "No space left on device"), 1, "Error: No space left on device"),
    (FileNotFoundError(2, "No such file", "a[b].jpg"), 1, "Error: No such file: a[b].jpg"),
    (MemoryError(), 1, "Error: Out of memory."),
    (ModuleNotFoundError("no", name="torch.nn"), 1, "pip install 'crossview[train]'"),
    (KeyError("x"), 1, "Error: Unexpected KeyError: 'x'"),
    (KeyboardInterrupt(), 130, "Stopped."),
)


@pytest.fixture
def verb(monkeypatch):
    """Put a function in the place of the verb ``doctor``."""

    def install(function):
        module = types.ModuleType("crossview.cli.doctor")
        module.doctor = function
        monkeypatch.setitem(sys.modules, "crossview.cli.doctor", module)

    return install


@pytest.mark.parametrize(("problem", "code", "message"), FAILURES)
def test_a_failure_is_explained_in_at_most_three_lines(verb, capsys, problem, code, message):
    def doctor() -> None:
        raise problem

    verb(doctor)
    assert cli.main(["doctor"]) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert len(printed.splitlines()) <= 3


def test_the_traceback_is_there_for_who_asks(verb, capsys, monkeypatch):
    def doctor() -> None:
        raise KeyError("x")

    verb(doctor)
    monkeypatch.setenv("CROSSVIEW_DEBUG", "1")
    assert cli.main(["doctor"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_verb_may_end_with_its_own_exit_code(verb):
    def doctor() -> None:
        raise typer.Exit(1)

    verb(doctor)
    assert cli.main(["doctor"]) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["doctr"], "Unknown command 'doctr'. Did you mean 'doctor'?"),
        (["doctor", "--jsn"], "No such option: --jsn. Did you mean --json?"),
        (["doctor", "extra"], "unexpected extra argument"),
        (["--nonsense"], "No such option: --nonsense"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2_with_the_nearest_name(capsys, given, message):
    assert cli.main(given) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.out == ""


def test_negative_numbers_are_values_and_not_options(verb, capsys):
    def doctor(
        heading: Annotated[float, typer.Option()], near: Annotated[str, typer.Option()]
    ) -> None:
        typer.echo(f"{heading} {near}")

    verb(doctor)
    assert cli.main(["doctor", "--heading", "-90", "--near", "-33.8,-70.6"]) == 0
    assert capsys.readouterr().out == "-90.0 -33.8,-70.6\n"


@pytest.mark.parametrize("given", [[], ["--help"], ["-h"]])
def test_help_names_every_verb(capsys, given):
    assert cli.main(given) == 0
    printed = capsys.readouterr().out
    assert [verb for verb in cli.VERBS if f"\n  {verb} " not in printed] == []


def test_version_prints_the_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("crossview 0.")


def test_a_terminal_that_cannot_show_a_name_gets_it_escaped(verb, monkeypatch):
    def doctor() -> None:
        console.print_result("straße \udcff.jpg")

    verb(doctor)
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    assert cli.main(["doctor"]) == 0
    sys.stdout.flush()
    assert raw.getvalue().strip() == rb"stra\xdfe \udcff.jpg"


def test_windows_wildcards_are_expanded_and_brackets_are_not(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("a[1].jpg", "a1.jpg", "b.png"):
        (tmp_path / name).touch()
    monkeypatch.setattr(cli.os, "name", "nt")
    expanded = cli._expand_wildcards(["locate", "*.jpg", "a[1].jpg", "none*.tif"])
    monkeypatch.undo()
    assert expanded == ["locate", "a1.jpg", "a[1].jpg", "a[1].jpg", "none*.tif"]


def test_the_module_is_a_command_too():
    run = subprocess.run(
        [sys.executable, "-m", "crossview", "--version"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert (run.returncode, run.stderr) == (0, "")
