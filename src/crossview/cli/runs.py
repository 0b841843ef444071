"""Run folders on the command line: opened, and what is odd about them said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crossview.cli import console

if TYPE_CHECKING:
    from crossview.wiring import Run

METHOD_HELP = "The method's page, if it is a file: it is run only if named here."


def open_run(path: Path, method: str | Path | None) -> Run:
    """As :func:`crossview.wiring.open_run`; ``method`` is what ``--method`` says."""
    from crossview import wiring

    run = wiring.open_run(path, None if method is None else str(method))
    for note in run.notes:
        console.warn(f"{note}.")
    return run
