"""The log of a command: ``--log FILE`` keeps one, ``--verbose`` shows it while the command runs.

What the command line prints (:mod:`crossview.cli.console`) and what the rooms of the package log
under their own names (``crossview.locks``) comes together at the logger ``crossview``. Every line
of a file begins with the time in UTC and the process; a record is one write at the end of the file,
so that several processes share one and a killed one leaves no half of a line. Keys and passwords of
addresses are left out; names of files are not.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from crossview._version import __version__
from crossview.errors import CannotWrite, CrossviewError
from crossview.files import require_text

LOG = logging.getLogger("crossview")
PRINTED = "crossview.cli"  # these records are on stderr already, as notes and errors
_OF_SERVICE = "crossview.service"  # shown by ``crossview serve`` itself
_SECRETS = (  # of addresses: user and password, and all behind the question mark
    (re.compile(r"(?<=://)[^/\s@]*@"), "...@"),
    (re.compile(r"(?<=\?)[^\s#'\"]+"), "..."),
)
_TOKEN = re.compile(r"\bMLY\|[\w|.-]+")  # of Mapillary, typed where a file was meant
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://[^\s'\"]+")
_LINE_ENDS = re.compile(r"[\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")


def conceal_secrets(text: str) -> str:
    """``text`` without what addresses in it keep secret, passwords and queries, and tokens."""

    def conceal(address: re.Match[str]) -> str:
        shown = address[0]
        for pattern, instead in _SECRETS:
            shown = pattern.sub(instead, shown)
        return shown

    return _ADDRESS.sub(conceal, _TOKEN.sub("...", text))


@contextmanager
def attend(words: Sequence[str]) -> Iterator[None]:
    """Show warnings of the package on stderr while a command of these words runs.

    The command's own ``--log`` and ``--verbose`` add to that (:func:`add_log_options`). What was
    added goes at the end.
    """
    level, before = LOG.level, list(LOG.handlers)
    LOG.addHandler(_TerminalHandler())
    _State.words, _State.untyped = tuple(words), ""
    try:
        yield
    finally:
        for handler in [h for h in LOG.handlers if h not in before]:
            LOG.removeHandler(handler)
            handler.close()
        LOG.setLevel(level)


def tell_end(code: int, seconds: float) -> None:
    """Write how the command ended; nothing where nobody listens."""
    logging.getLogger(PRINTED).info("Ended after %.1f s with exit code %d.", seconds, code)


def remember_untyped(options: Mapping[str, str]) -> None:
    """Keep for the log, and for the message of a wrong command, what was not typed, and by whom.

    ``options``: where each was set, by the option.
    """
    names = [f"--{option} by {origin}" for option, origin in options.items()]
    _State.untyped = f"Not typed but set: {', '.join(names)}." if names else ""


def tell_untyped() -> str:
    """A line for who does not know why a command is wrong; nothing where all was typed."""
    return f"\n{_State.untyped}" if _State.untyped else ""


def tell_failure(message: str, problem: Exception) -> None:
    """Write why the command failed, with a traceback where it is a fault of ours."""
    ours = not isinstance(problem, CrossviewError | typer.TyperException | OSError)
    logging.getLogger(PRINTED).error("%s", message, exc_info=problem if ours else None)


class _State:
    """Of the command that runs."""

    words: tuple[str, ...] = ()
    untyped = ""


def _log_options(
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show on stderr what happens, with times.")
    ] = False,
    log: Annotated[
        Path | None, typer.Option(help="Add to this file what happens and what is printed.")
    ] = None,
) -> None:
    """Nothing: the options of every command."""


def add_log_options(command: Any) -> None:
    """Give a command, or each inside it, ``--verbose`` and ``--log``, which act by themselves."""
    for inner in getattr(command, "commands", {}).values():
        add_log_options(inner)
    if getattr(command, "commands", None):
        return
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command()(_log_options)
    for parameter in typer.main.get_command(single).params:
        if parameter.name in {"verbose", "log"}:
            parameter.expose_value = False
            parameter.callback = _show_all if parameter.name == "verbose" else _keep_file
            command.params.append(parameter)


def _show_all(context: Any, _parameter: Any, wanted: bool) -> bool:
    if wanted and not context.resilient_parsing:
        for handler in LOG.handlers:
            if isinstance(handler, _TerminalHandler):
                handler.show_all()
        LOG.setLevel(logging.DEBUG)
    return wanted


def _keep_file(context: Any, _parameter: Any, path: Path | None) -> Path | None:
    attended = any(isinstance(handler, _TerminalHandler) for handler in LOG.handlers)
    if path is not None and attended and not context.resilient_parsing:  # a command that runs
        LOG.addHandler(_FileHandler(path))
        LOG.setLevel(logging.DEBUG)
        words = conceal_secrets(shlex.join(["crossview", *_State.words]))
        logging.getLogger(PRINTED).info(
            "%s (crossview %s, Python %s, %s)",
            words, __version__, platform.python_version(), platform.platform(),
        )  # fmt: skip
        if _State.untyped:
            logging.getLogger(PRINTED).info("%s", _State.untyped)
    return path


class _Formatter(logging.Formatter):
    """A record as one line, or with a traceback whose lines are indented: none can be forged."""

    def format(self, record: logging.LogRecord) -> str:
        """See the class."""
        from crossview.cli.console import replace_controls

        message = replace_controls(_LINE_ENDS.sub(" | ", conceal_secrets(record.getMessage())))
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        origin = f"{record.process} {record.levelname} {record.name}"
        line = f"{moment.replace('+00:00', 'Z')} {origin}: {message}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {replace_controls(t)}" for t in trace.splitlines())
        return conceal_secrets(line)


class _FileHandler(logging.Handler):
    """Appends each record in one write; a disk that refuses is told of once and then left alone."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._refused = path, False
        self.setFormatter(_Formatter())
        require_text(path)
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            if not _ends_whole(path):
                os.write(self._file, b"\n")
        except OSError as problem:
            raise CannotWrite(f"The log {path} cannot be written: {problem.strerror}.") from problem

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, whole."""
        try:
            text = self.format(record) + "\n"
            os.write(self._file, text.encode("utf-8", "backslashreplace"))
        except OSError as problem:
            if not self._refused:
                self._refused = True
                sys.stderr.write(f"Warning: the log {self._path} cannot be written: {problem}\n")

    def close(self) -> None:
        """Close the file."""
        super().close()
        os.close(self._file)


def _ends_whole(path: Path) -> bool:
    """Whether the last line has its end: a full disk may have cut it."""
    with path.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            return True
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


class _TerminalHandler(logging.Handler):
    """Warnings on stderr as they are; with ``--verbose`` every record, with its time."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._all = False
        self.setFormatter(_Formatter())

    def show_all(self) -> None:
        """Show every record from now on."""
        self._all = True
        self.setLevel(logging.DEBUG)

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record, above a progress bar if there is one."""
        from crossview.cli.console import err, replace_controls

        if record.name.startswith((PRINTED, _OF_SERVICE)):
            return
        text = self.format(record) if self._all else replace_controls(record.getMessage())
        err.print(text)
