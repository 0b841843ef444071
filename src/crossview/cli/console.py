"""Everything the command line prints goes through here: results to stdout, the rest to stderr.

Markup and highlighting are off, so that square brackets in a file name stay what they are.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.console import Console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

out = Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
err = Console(markup=False, highlight=False, emoji=False, soft_wrap=True, stderr=True)


def result(text: str) -> None:
    """Print a result on stdout exactly as it is, ending with one line end."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def note(text: str, *, quiet: bool = False) -> None:
    """Tell on stderr what is going on; nothing when ``quiet``."""
    if not quiet:
        err.print(text)


def warn(text: str) -> None:
    """Warn on stderr; ``--quiet`` does not silence a warning."""
    err.print(f"Warning: {text}", style="yellow")


class Bar(Protocol):
    """What a long job reports to."""

    def advance(self, count: float = 1) -> None:
        """``count`` more are done."""

    def to(self, done: float, total: float | None = None) -> None:
        """``done`` are done now, of ``total`` (unchanged when None)."""

    def describe(self, text: str) -> None:
        """Replace the words before the bar."""


@contextmanager
def progress(
    title: str, total: float | None = None, *, unit: str = "", done: float = 0, quiet: bool = False
) -> Iterator[Bar]:
    """A progress bar on stderr with throughput (``unit`` per second) and the time left.

    Silent when ``quiet`` or when stderr is no terminal. A resumed job gives what is ``done``
    already, which then does not count as speed.
    """
    if quiet or not err.is_terminal:
        yield _Silence()
        return
    with _drawn(unit) as drawing:
        yield _Drawn(drawing, drawing.add_task(title, total=total, completed=done))  # type: ignore[arg-type]


class _Silence:
    def advance(self, count: float = 1) -> None:
        """See :class:`Bar`."""

    def to(self, done: float, total: float | None = None) -> None:
        """See :class:`Bar`."""

    def describe(self, text: str) -> None:
        """See :class:`Bar`."""


class _Drawn:
    def __init__(self, drawing: Progress, task: TaskID) -> None:
        self._drawing, self._task = drawing, task

    def advance(self, count: float = 1) -> None:
        """See :class:`Bar`."""
        self._drawing.advance(self._task, count)

    def to(self, done: float, total: float | None = None) -> None:
        """See :class:`Bar`."""
        self._drawing.update(self._task, completed=done, total=total)

    def describe(self, text: str) -> None:
        """See :class:`Bar`."""
        self._drawing.update(self._task, description=text)


def _drawn(unit: str) -> Progress:
    from rich import progress as bars  # 50 ms that only a long job should pay

    class Throughput(bars.ProgressColumn):
        def render(self, task: bars.Task) -> str:
            return f"{task.speed:.3g} {unit}/s" if task.speed else ""

    return bars.Progress(
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        Throughput(),
        bars.TextColumn("left"),
        bars.TimeRemainingColumn(compact=True),
        console=err,
    )
