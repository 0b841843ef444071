"""``crossview locate --watch``: photos that arrive in a folder are answered as they come."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossview.cli import console
from crossview.errors import CrossviewError

if TYPE_CHECKING:
    from crossview.index.store import Index
    from crossview.localization.answer import Answer
    from crossview.localization.hints import Hints
    from crossview.localization.inbox import Arrival, Inbox
    from crossview.model import Embedder
    from crossview.views.decode import Photo

ON_PAGE = 20  # the last photos; each may hold scores of the whole index
POLL_S = 1.0
_REST = 4.0  # times as long as looking at the folder took: a slow one is looked at less often
_REFRESH_S = 10.0  # between two pages while more photos come
_TOGETHER = 32  # photos between two looks at the folder


@dataclass(frozen=True, kw_only=True)
class WatchCommand:
    """The command line, read."""

    folder: Path
    out: Path
    page: Path | None
    language: str
    audit: Path | None
    places: int
    once: bool
    quiet: bool


@dataclass(frozen=True, kw_only=True)
class Searcher:
    """What photos are located with."""

    index: Index
    embedder: Embedder
    hints: Callable[[Photo], Hints]

    def locate(
        self, paths: Sequence[Path], fail: Callable[[CrossviewError], None]
    ) -> Iterator[tuple[Path, Hints, Answer]]:
        """Each photo that can be located, decoded in a process of its own."""
        from crossview.localization.locate import locate_files

        batches = locate_files(self.index, self.embedder, paths, self.hints, fail, apart=True)
        with closing(batches):  # type: ignore[type-var]  # it is a generator
            for located, _ in batches:
                for photo, hints, answer in located:
                    yield Path(photo.path), hints, answer


def watch(command: WatchCommand, searcher: Searcher) -> int:
    """Answer photos until Ctrl-C or SIGTERM (130); with ``once`` until none is left.

    Then 1 if one of them could not be read, else 0.
    """
    from crossview.localization.inbox import Inbox
    from crossview.locks import lock

    for warning in searcher.index.manifest.warnings:
        console.warn(f"{warning}.")
    with lock(command.out, "crossview locate --watch"), _stop_at_sigterm():
        inbox = Inbox(command.folder, command.out, keep_last=ON_PAGE if command.page else 0)
        page = _Page(command, searcher.index)
        page.restore(searcher, inbox.list_last())
        page.refresh()
        console.note(
            f"Watching {command.folder}; answers are added to {command.out}. Ctrl-C stops it.",
            quiet=command.quiet or command.once,
        )
        try:
            return _follow(command, searcher, inbox, page)
        except KeyboardInterrupt:
            page.refresh()
            raise


def _follow(command: WatchCommand, searcher: Searcher, inbox: Inbox, page: _Page) -> int:
    unreadable, absent = 0, False
    while True:
        begun = time.monotonic()
        try:
            whole, absent = inbox.list_whole(), False
        except OSError as problem:
            if not absent:
                reason = problem.strerror or "it cannot be read"
                console.warn(f"{command.folder}: {reason}. It is looked for again and again.")
            whole, absent = [], True
        looked_s = time.monotonic() - begun
        if whole:
            unreadable += _answer(command, searcher, inbox, whole[:_TOGETHER], page)
        if not whole or page.age_s >= _REFRESH_S:
            page.refresh()
        if command.once and not inbox.is_waiting and not absent:
            page.refresh()
            return 1 if unreadable else 0
        if len(whole) <= _TOGETHER:
            time.sleep(max(POLL_S, _REST * looked_s))


def _answer(
    command: WatchCommand, searcher: Searcher, inbox: Inbox, whole: Sequence[Arrival], page: _Page
) -> int:
    """Answer photos and keep a line of each; how many could not be read."""
    from crossview.localization.audit import append_records, make_audit_record
    from crossview.outputs.text import to_jsonl

    problems: list[CrossviewError] = []
    left = {arrival.path: arrival for arrival in whole}
    for path, hints, found in searcher.locate(list(left), problems.append):
        arrival = left.pop(path)
        if not inbox.is_unchanged(arrival):
            continue  # it is answered when it is whole again
        answer = replace(found, places=found.places[: command.places])
        if command.audit is not None:
            append_records(command.audit, [make_audit_record(answer, hints, searcher.index)])
        page.add(answer)  # before: once the line is there, nobody comes back to this photo
        inbox.keep(arrival, json.loads(to_jsonl([answer])))
        best = answer.places[0].latlon if answer.places else None
        where = "no place" if best is None else f"{best.lat:.6f}, {best.lon:.6f}"
        console.note(f"{path}: {where}", quiet=command.quiet)
    unreadable = 0
    for path, arrival in left.items():
        reason = _find_reason(path, problems)
        if inbox.is_unchanged(arrival):
            console.print_error(reason)
            inbox.keep(arrival, {"photo": str(path), "error": reason})
            unreadable += 1
    return unreadable


def _find_reason(path: Path, problems: list[CrossviewError]) -> str:
    """What was said of a photo; messages begin with its name, but for a few."""
    named = [problem for problem in problems if str(problem).startswith(f"{path}:")]
    for problem in [*named, *problems][:1]:
        problems.remove(problem)
        return str(problem) if named else f"{path}: {problem}"
    return f"{path}: cannot be located"


class _Page:
    """The map page of the last photos."""

    def __init__(self, command: WatchCommand, index: Index) -> None:
        self._command, self._index = command, index
        self._answers: deque[Answer] = deque(maxlen=ON_PAGE)
        self._changed_at: float | None = None
        self._told: set[str] = set()

    @property
    def age_s(self) -> float:
        """How long something new has not been on the page."""
        return 0.0 if self._changed_at is None else time.monotonic() - self._changed_at

    def restore(self, searcher: Searcher, arrivals: Sequence[Arrival]) -> None:
        """Put photos on the page that an earlier process has answered: it is whole again then."""
        found: dict[Path, Any] = {}
        for path, _, answer in searcher.locate([a.path for a in arrivals], lambda _: None):
            found[path] = replace(answer, places=answer.places[: self._command.places])
        for arrival in arrivals:
            if arrival.path in found:
                self.add(found[arrival.path])

    def add(self, answer: Answer) -> None:
        """Show one more photo, at the next refreshing."""
        if self._command.page is not None:
            self._answers.append(answer)
            self._changed_at = self._changed_at or time.monotonic()

    def refresh(self) -> None:
        """Write the page, whole, if there is something new."""
        from crossview.outputs.map_page import write_map
        from crossview.texts import speak

        if self._command.page is None or self._changed_at is None:
            return
        with speak(self._command.language):
            remarks = write_map(self._command.page, self._index, list(self._answers))
        self._changed_at = None
        for remark in [r for r in remarks if r not in self._told]:
            self._told.add(remark)
            console.note(remark, quiet=self._command.quiet)


@contextmanager
def _stop_at_sigterm() -> Iterator[None]:
    """SIGTERM, as service managers send it, is as Ctrl-C while this lasts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
