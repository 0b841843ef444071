"""Everything the command line prints goes through here: results to stdout, the rest to stderr.

Markup, highlighting, emoji codes and wrapping are off, so that names and addresses are printed as
they are, at any width. Control characters in messages on stderr are replaced, never obeyed.
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer
from rich.console import Console

from crossview.errors import CrossviewError, InvalidValue
from crossview.files import measure_free_bytes

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from crossview.catalogue import Run

FROM_EXIF = "exif"  # --truth and --claim: the GPS in each file
METHOD_HELP = "The method's page, if it is a file: it is run only if named here."

_LOG = logging.getLogger("crossview.cli")  # what is printed here, for a log file
_LOG.addHandler(logging.NullHandler())  # where nobody keeps one, this is not printed twice
err = Console(markup=False, highlight=False, emoji=False, soft_wrap=True, stderr=True)


_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_SHORT_JOB_S = 1.0  # a job as short as this needs no line
_LINE_EVERY_S = 5.0  # at least, where progress is printed as lines
_LINE_EVERY_SHARE = 0.05  # of the work at least ...
_LINE_AT_LATEST_S = 60.0  # ... unless that share takes longer


def replace_controls(text: str) -> str:
    """``text`` without control characters except line ends and tabs: a name may hold any."""
    return _CONTROLS.sub("\ufffd", text)


def format_size(count: float) -> str:
    """Bytes as people read them: ``1.2 GB``, ``0.1 MB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):.1f} MB"


def warn_of_disk(needed_bytes: float, out: Path) -> None:
    """Say so where the disk has less room than a command will take."""
    free = measure_free_bytes(out)
    if free < needed_bytes:
        warn(f"only {format_size(free)} are free where {out} would be.")


RuntimeName = Annotated[
    str,
    typer.Option(
        "--runtime",
        help="What computes the network: onnxruntime, or openvino (extra openvino), which is "
        "faster on many processors.",
    ),
]
FilterFirst = Annotated[
    bool,
    typer.Option(
        "--filter",
        help="Compare all windows in 8 bits, and only the best exactly: several times faster in "
        "large indexes, the same best places.",
    ),
]
PrecisionName = Annotated[
    str,
    typer.Option(
        "--precision",
        help="Numbers that the network is computed in: float32, bfloat16 (openvino only), int8. "
        "What the last two change is measured on the region first.",
    ),
]


def format_duration(seconds: float) -> str:
    """A duration as people read it: ``12 s``, ``3 min``, ``1.5 h``."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def read_settings(texts: Iterable[str] | None) -> dict[str, str]:
    """Names and values of ``--config NAME=VALUE`` as typed; InvalidValue without equals sign."""
    return dict(_read_setting(text) for text in texts or [])


def _read_setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidValue(f"--config takes NAME=VALUE, got {text!r}.")
    return name.strip(), value.strip()


def open_method(name: str, recipe: str, texts: Iterable[str] | None) -> tuple[str, Any, Any]:
    """A method's name and page, and its Config of ``--recipe`` and ``--config``."""
    from crossview import catalogue

    method = catalogue.method_name(name)
    published = catalogue.recipe(method, recipe) if recipe else {}
    page, config = catalogue.configure(method, published | read_settings(texts))
    return method, page.load(), config


def open_run(path: Path, method: str | Path | None) -> Run:
    """As ``catalogue.open_run``, and warn of what is odd; ``method``: of ``--method``."""
    from crossview import catalogue

    run = catalogue.open_run(path, None if method is None else str(method))
    for remark in run.notes:
        warn(f"{remark}.")
    return run


def list_photos(
    paths: Sequence[Path], fail: Callable[[CrossviewError], None], *, quiet: bool
) -> list[Path]:
    """The photos of files and folders, with notes of what is left out.

    ``fail`` gets each path that cannot be used.
    """
    from crossview.views.photo_folders import list_photos

    photos, remarks, problems = list_photos(paths)
    for problem in problems:
        fail(problem)
    for remark in remarks:
        note(remark, quiet=quiet)
    return photos


def print_result(text: str) -> None:
    """Print a result on stdout exactly as it is, ending with one line end."""
    sys.stdout.write(text if text.endswith("\n") else text + "\n")


def note(text: str, *, quiet: bool = False) -> None:
    """Print on stderr what is going on; nothing when ``quiet``."""
    _LOG.info("%s", text)
    if not quiet:
        err.print(replace_controls(text))


def warn(text: str) -> None:
    """Warn on stderr, also with ``--quiet``."""
    _LOG.warning("%s", text)
    err.print(replace_controls(f"Warning: {text}"), style="yellow")


def print_error(problem: object) -> None:
    """Print on stderr what went wrong with one of several things."""
    _LOG.error("%s", problem)
    err.print(replace_controls(f"Error: {problem}"))


class Bar(Protocol):
    """Shows how far a long job is."""

    def advance(self, count: float = 1) -> None:
        """Count ``count`` more as done."""

    def update(self, done: float, total: float | None = None) -> None:
        """Set how many are done, and of how many (``total`` None: as before)."""

    def describe(self, text: str) -> None:
        """Replace the words before the bar."""


@contextmanager
def show_progress(
    title: str, total: float | None = None, *, unit: str = "", done: float = 0, quiet: bool = False
) -> Iterator[Bar]:
    """A progress bar on stderr with throughput (``unit`` per second) and the time left.

    Where stderr is not a terminal (a pipe, a file, ``nohup``), plain lines instead: at most one
    every five seconds and per twentieth of the work, and one at the end of a job longer than a
    second. Silent when ``quiet``. A resumed job says how much is ``done`` already, so that this
    does not count as speed.
    """
    if quiet:
        yield _NoBar()
        return
    if not err.is_terminal:
        lines = _LineBar(title, total, unit, done)
        yield lines
        lines.end()
        return
    with _build_progress(unit) as drawing:
        yield _DrawnBar(drawing, drawing.add_task(title, total=total, completed=done))  # type: ignore[arg-type]


class _NoBar:
    def advance(self, count: float = 1) -> None:
        """See :class:`Bar`."""

    def update(self, done: float, total: float | None = None) -> None:
        """See :class:`Bar`."""

    def describe(self, text: str) -> None:
        """See :class:`Bar`."""


class _LineBar:
    """Plain lines: ``Indexing: 1,200 of 24,000 tiles (5 %), 80 tiles/s, 4 min left``."""

    def __init__(self, title: str, total: float | None, unit: str, done: float) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._done_before = self._done_printed = self._done = done
        self._start = self._last_s = time.monotonic()

    def advance(self, count: float = 1) -> None:
        """See :class:`Bar`."""
        self.update(self._done + count)

    def update(self, done: float, total: float | None = None) -> None:
        """See :class:`Bar`."""
        self._done = done
        self._total = self._total if total is None else total
        silent_s = time.monotonic() - self._last_s
        step = (self._total or 0.0) * _LINE_EVERY_SHARE
        is_due = silent_s >= _LINE_EVERY_S and done - self._done_printed >= step
        if is_due or silent_s >= _LINE_AT_LATEST_S:
            self._print()

    def describe(self, text: str) -> None:
        """See :class:`Bar`."""
        self._title = text

    def end(self) -> None:
        """A last line, unless it says nothing new or the job was short."""
        if self._done > self._done_printed and time.monotonic() - self._start >= _SHORT_JOB_S:
            self._print()

    def _print(self) -> None:
        self._done_printed, self._last_s = self._done, time.monotonic()
        of = "" if self._total is None else f" of {self._total:,.0f}"
        share = f" ({100 * self._done / self._total:.0f} %)" if self._total else ""
        seconds = self._last_s - self._start
        speed = (self._done - self._done_before) / seconds if seconds > 0 else 0.0
        facts = [f"{self._title}: {self._done:,.0f}{of} {self._unit}".rstrip() + share]
        if speed:
            facts.append(f"{speed:.3g} {self._unit}/s")
            if self._total and self._total > self._done:
                facts.append(f"{format_duration((self._total - self._done) / speed)} left")
        note(", ".join(facts))


class _DrawnBar:
    def __init__(self, drawing: Progress, task: TaskID) -> None:
        self._drawing, self._task = drawing, task

    def advance(self, count: float = 1) -> None:
        """See :class:`Bar`."""
        self._drawing.advance(self._task, count)

    def update(self, done: float, total: float | None = None) -> None:
        """See :class:`Bar`."""
        self._drawing.update(self._task, completed=done, total=total)

    def describe(self, text: str) -> None:
        """See :class:`Bar`."""
        self._drawing.update(self._task, description=text)


def _build_progress(unit: str) -> Progress:
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
