"""``crossview locate``: photos in, places on a map out; with ``--watch`` also those that arrive."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console
from crossview.errors import CannotWrite, CrossviewError, InvalidValue, UsageError

if TYPE_CHECKING:
    from crossview.index.store import Index
    from crossview.localization.accuracy import Truths
    from crossview.localization.answer import Answer
    from crossview.localization.hints import Hints
    from crossview.localization.inbox import Arrival, Inbox
    from crossview.model import Embedder
    from crossview.runtime import Arithmetic
    from crossview.views.decode import Photo


SHOWN = 5  # places per photo in a table
GPS = "gps"  # as a prior: the place in each file


@dataclass(frozen=True, kw_only=True)
class AnswerFiles:
    """How the answers are written, and where to."""

    format: str
    places: int  # written per photo
    shown: int  # of them in a table
    out: Path | None
    page: Path | None
    language: str  # of the page
    audit: Path | None

    @property
    def on_stdout(self) -> bool:
        """Whether a person, not a program, reads stdout."""
        return self.format == "table" and self.out is None


@dataclass(frozen=True, kw_only=True)
class LocateCommand:
    """The command line, read."""

    photos: tuple[Path, ...]  # files, and folders of them
    index: Path
    model: str | None
    hints: Hints
    gps_within_m: float | None  # search around the place in each file
    gps_claimed: bool  # rank the place in each file
    together: bool  # one answer for all photos
    turns_deg: tuple[float, ...] | None  # of each photo from the first
    truth: str | None  # a places.csv, or "exif"
    files: AnswerFiles
    threads: int
    arithmetic: Arithmetic
    filter_first: bool
    quiet: bool


@dataclass
class Located:
    """What came of the photos so far."""

    answers: list[Answer] = field(default_factory=list)
    hints: list[Hints] = field(default_factory=list)  # of each answer
    failures: list[CrossviewError] = field(default_factory=list)

    def fail(self, problem: CrossviewError) -> None:
        """Print and keep why a photo was not located."""
        self.failures.append(problem)
        console.print_error(problem)


def locate(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    index: Annotated[Path, typer.Option(help="Made by crossview index, such as region.cvx.")],
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos and panoramas, or folders of them: JPEG, PNG, WebP, AVIF, TIFF, BMP, "
            "GIF, JPEG 2000, PPM; HEIC with the extra heif.",
            metavar="PHOTO",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Where the index's model is now, if it was moved.")
    ] = None,
    heading: Annotated[
        float | None,
        typer.Option(
            help="Direction of the picture's middle, clockwise from north: helps most of all."
        ),
    ] = None,
    heading_sigma: Annotated[
        float | None,
        typer.Option(help="How good that heading is, in degrees: one standard deviation."),
    ] = None,
    ignore_direction: Annotated[
        bool,
        typer.Option("--ignore-direction", help="Do not use the direction stored in a file."),
    ] = False,
    fov: Annotated[
        float | None, typer.Option(help="Horizontal field of view in degrees, 0.1 to 360.")
    ] = None,
    horizon_px: Annotated[
        float | None,
        typer.Option(help="Row of the horizon in the upright picture; sets the pitch."),
    ] = None,
    near: Annotated[
        str | None,
        typer.Option(
            metavar="LAT,LON",
            help="A place: search only around it (--within), or weigh all places by it (--sigma).",
        ),
    ] = None,
    within: Annotated[float | None, typer.Option(help="Radius of that area in kilometres.")] = None,
    sigma: Annotated[
        float | None,
        typer.Option(
            metavar="METRES",
            help="How good that place is: one standard deviation. Places far off are not excluded.",
        ),
    ] = None,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="gps", help="gps: weigh all places by the GPS in each file, as good as it says."
        ),
    ] = None,
    area: Annotated[
        Path | None, typer.Option(help="Only inside the polygons of this file (GeoJSON).")
    ] = None,
    use_gps_as_hint: Annotated[
        bool,
        typer.Option("--use-gps-as-hint", help="Only around the GPS place in each file (1 km)."),
    ] = False,
    together: Annotated[
        bool,
        typer.Option("--together", help="All photos were taken at one spot: one answer for them."),
    ] = False,
    turns: Annotated[
        str | None,
        typer.Option(
            metavar="DEG,DEG,...",
            help="With --together: how far each photo is turned clockwise from the first.",
        ),
    ] = None,
    claim: Annotated[
        str | None,
        typer.Option(
            metavar="LAT,LON",
            help="A place that somebody names, or exif: where it stands among all. No place "
            "changes by it, and it proves nothing.",
        ),
    ] = None,
    places: Annotated[
        int | None, typer.Option(help="How many places to return. Default: 10, or 5 in a table.")
    ] = None,
    rerank: Annotated[
        int | None,
        typer.Option(help="How many of the best windows are compared again; 0: none (default)."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--format", help="table, jsonl, geojson, kml, kmz, gpx or csv.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file; its ending sets the format.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--map", help="Also write a map page that works offline.")
    ] = None,
    language: Annotated[
        str, typer.Option(help="Of the map page: en or de.", metavar="NAME")
    ] = "en",
    truth: Annotated[
        str | None, typer.Option(help="places.csv, or exif: report errors in metres and recall.")
    ] = None,
    audit: Annotated[
        Path | None, typer.Option(help="Add a record per photo to this JSON-lines file.")
    ] = None,
    watch: Annotated[
        Path | None,
        typer.Option(
            help="Wait for photos in this folder and add each answer to --out.", metavar="FOLDER"
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="With --watch: answer what is there, and stop.")
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    filter_first: console.FilterFirst = False,
    runtime: console.RuntimeName = "onnxruntime",
    precision: console.PrecisionName = "float32",
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> int:
    """Find where in an indexed region photos were taken.

    A folder stands for all photos in it and below. A photo that cannot be read is reported, and
    the rest are located (exit code 1).
    """
    from crossview.geo.perimeters import read_perimeter
    from crossview.geo.points import parse_latlon
    from crossview.localization.belief import parse_turns
    from crossview.localization.hints import DEFAULT_RERANK, Hints, Prior
    from crossview.outputs.formats import choose_format
    from crossview.runtime import Arithmetic
    from crossview.texts import match_language

    if not photos and watch is None:
        raise UsageError("Missing argument 'PHOTO'. Give photos, folders, or --watch FOLDER.")
    if use_gps_as_hint and near is not None:
        raise InvalidValue("Give --near or --use-gps-as-hint, not both.")
    _check_place(near, within, sigma, prior)
    if turns is not None and not together:
        raise UsageError("--turns belongs to --together: photos of one spot.")
    centre = None if near is None else parse_latlon(near)
    known = None
    if centre is not None and sigma is not None:
        known = Prior(place=centre, sigma_m=sigma)
    hints = Hints(
        fov_deg=fov,
        heading_deg=heading,
        heading_sigma_deg=heading_sigma,
        horizon_px=horizon_px,
        near=None if within is None else centre,
        within_m=None if within is None or use_gps_as_hint else within * 1000.0,
        area=None if area is None else read_perimeter(area),
        claim=None if claim in (None, console.FROM_EXIF) else parse_latlon(claim),
        places=places or (10 if places is None else places),
        ignore_direction=ignore_direction,
        prior=known,
        gps_prior=prior == GPS,
        rerank=DEFAULT_RERANK if rerank is None else rerank,
    )
    files = AnswerFiles(
        format=choose_format(output, out),
        places=hints.places,
        shown=places or SHOWN,
        out=out,
        page=page,
        language=match_language(language),
        audit=audit,
    )
    command = LocateCommand(
        photos=tuple(photos or ()),
        index=index,
        model=model,
        hints=hints,
        gps_within_m=(1.0 if within is None else within) * 1000.0 if use_gps_as_hint else None,
        gps_claimed=claim == console.FROM_EXIF,
        together=together,
        turns_deg=None if turns is None else tuple(parse_turns(turns)),
        truth=truth,
        files=files,
        threads=threads,
        arithmetic=Arithmetic(runtime, precision),
        filter_first=filter_first,
        quiet=quiet,
    )
    if watch is not None or once:
        return _watch(command, watch, once=once)
    return _run(command)


def _check_place(
    near: str | None, within: float | None, sigma: float | None, prior: str | None
) -> None:
    """Refuse options of places that do not belong together."""
    if near is not None and within is None and sigma is None:
        raise InvalidValue(
            "--near needs a radius in kilometres, outside of which nothing is searched (--within), "
            "or how good it is in metres, by which places are weighed (--sigma), or both."
        )
    if near is None and sigma is not None:
        raise InvalidValue("--sigma says how good a place is: give the place with --near LAT,LON.")
    if prior not in (None, GPS):
        raise InvalidValue(
            f"--prior {prior}: only {GPS} is known, the place in each photo's file.\n"
            "A place of your own is given with --near LAT,LON --sigma METRES."
        )
    if prior is not None and sigma is not None:
        raise InvalidValue("Give --near and --sigma, or --prior gps: not both.")


def _watch(command: LocateCommand, folder: Path | None, *, once: bool) -> int:
    """Answer photos as they arrive in a folder, and return the exit code."""
    files = command.files
    if folder is None:
        raise UsageError("--once belongs to --watch FOLDER.")
    if command.photos or command.truth is not None:
        raise UsageError("--watch takes its photos from the folder: give no PHOTO and no --truth.")
    if command.together:
        raise UsageError("--together needs photos that are there: it does not go with --watch.")
    if files.out is None or files.format != "jsonl":
        raise UsageError("--watch adds JSON lines to a file. Name it: --out answers.jsonl")
    _require_writable(files)
    index, embedder = _open(command)
    watching = WatchCommand(
        folder=folder,
        out=files.out,
        page=files.page,
        language=files.language,
        audit=files.audit,
        places=files.places,
        once=once,
        quiet=command.quiet,
    )
    hints = partial(_hints, command=command)
    return watch(watching, Searcher(index=index, embedder=embedder, hints=hints))


def _open(command: LocateCommand) -> tuple[Index, Embedder]:
    """The index and the model that made it, which can use the heading if one is given."""
    from crossview.index.selection import require_held
    from crossview.index.store import Index
    from crossview.localization.hints import require_usable_heading
    from crossview.localization.locate import open_embedder

    index = Index.open(command.index)
    if command.filter_first:
        index = require_held(index, "--filter").quicken()
    embedder = open_embedder(
        index, command.model, threads=command.threads, arithmetic=command.arithmetic
    )
    if command.hints.heading_deg is not None:
        require_usable_heading(embedder.info, command.hints.fov_deg or 360.0)
    return index, embedder


def _run(command: LocateCommand) -> int:
    """Locate, print or write, and return the exit code."""
    from crossview.localization.accuracy import add_truth, true_place
    from crossview.localization.locate import locate_files

    _require_writable(command.files)
    index, embedder = _open(command)
    located = Located()
    photos = console.list_photos(command.photos, located.fail, quiet=command.quiet)
    if not photos:
        return located.failures[0].exit_code
    truths = _read_truths(command, photos)
    with console.show_progress("Locating", len(photos), unit="photos", quiet=command.quiet) as bar:
        if command.together:
            _locate_together(index, embedder, command, photos, located)
            bar.advance(len(photos))
            photos = []
        for batch, taken in locate_files(
            index, embedder, photos, lambda photo: _hints(photo, command), located.fail
        ):
            for photo, hints, answer in batch:
                place = None if command.truth is None else true_place(photo, truths)
                located.hints.append(hints)
                located.answers.append(add_truth(answer, place))
            bar.advance(taken)
    if located.answers:
        _write(index, command, located)
    if not located.answers and located.failures:
        return located.failures[0].exit_code
    return 1 if located.failures else 0


def _locate_together(
    index: Index,
    embedder: Embedder,
    command: LocateCommand,
    photos: Sequence[Path],
    located: Located,
) -> None:
    """Add the one answer of photos of one spot. Its truth, claim and area are those of the first.

    Photos that cannot be read are left out.
    """
    from crossview.localization.accuracy import add_truth, true_place
    from crossview.localization.belief import answer_together, turn_hints
    from crossview.localization.locate import require_ready
    from crossview.localization.queries import (
        Query,
        find_common_bearing,
        make_queries,
        open_photo,
        read_photos,
    )

    require_ready(index, embedder)
    truths = _read_truths(command, photos)
    bearing = find_common_bearing(index, embedder.info.azimuth_bins)
    turns = command.turns_deg
    queries: list[Query] = []
    kept: list[int] = []
    hints: list[Hints] = []
    place = None
    for number, outcome in enumerate(read_photos(photos)):
        if isinstance(outcome, CrossviewError):
            located.fail(outcome)
            continue
        if not queries:
            hints = turn_hints(_hints(outcome, command), len(photos), turns)
            place = None if command.truth is None else true_place(outcome, truths)
        queries += make_queries([open_photo(outcome)], [hints[number]], embedder, bearing)
        kept.append(number)
    try:
        answer = answer_together(
            index, queries, None if turns is None else [turns[number] for number in kept]
        )
    except InvalidValue as problem:
        located.fail(problem)
        return
    located.hints.append(queries[0].hints)
    located.answers.append(add_truth(answer, place))


def _require_writable(files: AnswerFiles) -> None:
    """Refuse, before minutes of work, files that could not be written or would be wrong."""
    from crossview.outputs.formats import PAGE_ENDINGS, find_format

    if files.format == "kmz" and files.out is None:
        raise InvalidValue("KMZ is not text and cannot be printed.\nName a file: --out places.kmz")
    if files.page is not None and (other := find_format(files.page.suffix)):
        raise InvalidValue(
            f"--map writes a page ({PAGE_ENDINGS[0]}), and {files.page} ends like {other}.\n"
            f"To write {other}: --out {files.page}"
        )
    paths = [path for path in (files.out, files.page, files.audit) if path is not None]
    if len({path.absolute() for path in paths}) < len(paths):
        raise InvalidValue("--out, --map and --audit must name different files.")
    for path in paths:
        if not path.absolute().parent.is_dir():
            raise CannotWrite(f"Cannot write {path}: there is no folder {path.parent}.")
        if path.is_dir():
            raise CannotWrite(f"Cannot write {path}: it is a folder. Choose another name.")


def _read_truths(command: LocateCommand, photos: Sequence[Path]) -> Truths | None:
    from crossview.localization.accuracy import Truths

    if command.truth in (None, console.FROM_EXIF):
        return None
    truths = Truths.read(str(command.truth))
    if not any(truths.find(str(photo)) for photo in photos):
        raise InvalidValue(
            f"None of the photos is listed in {command.truth}.\n"
            "Its column file holds paths relative to its own folder, or file names."
        )
    return truths


def _hints(photo: Photo, command: LocateCommand) -> Hints:
    from crossview.localization.accuracy import RANKS

    hints = command.hints
    if command.truth is not None:  # recall is counted over the first ten
        hints = replace(hints, places=max(hints.places, *RANKS))
    if command.gps_claimed:
        hints = replace(hints, claim=photo.gps)
        if photo.gps is None:
            console.note(
                f"{photo.path}: no usable GPS in the file, so no claim.", quiet=command.quiet
            )
    if command.gps_within_m is None:
        return hints
    if photo.gps is None:
        console.note(
            f"{photo.path}: no usable GPS in the file; searched everywhere.", quiet=command.quiet
        )
        return hints
    return replace(hints, near=photo.gps, within_m=command.gps_within_m)


def _write(index: Index, command: LocateCommand, located: Located) -> None:
    """Print or write the answers, then the audit records, the map and the accuracy."""
    from crossview.localization.audit import append_records, make_audit_record
    from crossview.locks import write_alone
    from crossview.outputs.formats import FORMATS
    from crossview.outputs.map_page import write_map
    from crossview.outputs.text import to_table
    from crossview.texts import speak

    files = command.files
    answers = [replace(a, places=a.places[: files.places]) for a in located.answers]
    if files.format == "table":
        content: str | bytes = to_table(answers, top=files.shown)
    else:
        content = FORMATS[files.format].write(answers)
    if files.out is not None:
        write_alone(files.out, content, "crossview locate --out")
    elif isinstance(content, str):
        console.print_result(content)
    if files.audit is not None:
        pairs = zip(answers, located.hints, strict=True)
        append_records(files.audit, [make_audit_record(a, h, index) for a, h in pairs])
    if files.page is not None:
        with speak(files.language):
            remarks = write_map(files.page, index, answers)
        for remark in remarks:
            console.note(remark, quiet=command.quiet)
        console.note(f"Map: {files.page}", quiet=command.quiet)
    if command.truth is not None:
        _print_accuracy(located.answers, on_stdout=files.on_stdout)
    if not files.on_stdout:
        _print_remarks(answers, quiet=command.quiet)


def _print_remarks(answers: Sequence[Answer], *, quiet: bool) -> None:
    """What a table says below itself, once for all photos: advice, and warnings."""
    from crossview.outputs.text import advise_headings

    if advice := advise_headings(answers):
        console.note(advice, quiet=quiet)
    for warning in dict.fromkeys(w for answer in answers for w in answer.warnings):
        console.warn(f"{warning}.")


def _print_accuracy(answers: Sequence[Answer], *, on_stdout: bool) -> None:
    """One line on photos of known truth: below a table on stdout, else on stderr."""
    placed = [answer for answer in answers if answer.truth is not None]
    if unknown := len(answers) - len(placed):
        console.warn(f"The truth of {unknown} photos is unknown; the figures leave them out.")
    if placed and on_stdout:
        console.print_result(_accuracy_text(placed))
    elif placed:
        console.note(_accuracy_text(placed))


def _accuracy_text(answers: Sequence[Answer]) -> str:
    from crossview.localization.accuracy import RANKS, summarise

    truths = [answer.truth for answer in answers if answer.truth is not None]
    figures = summarise(answers, truths, max(RANKS))
    low, high = figures["within_25m_interval"]
    recalls = ", ".join(f"R@{k} {figures[f'recall_at_{k}']:.1%}" for k in RANKS)
    return (
        f"{figures['n']} photos of known truth: first place within 25 m for "
        f"{figures['within_25m']:.1%} (95 % interval {low:.1%} to {high:.1%}), median error "
        f"{figures['median_error_m']:.1f} m; a place within 25 m among the first k: {recalls}"
    )


# ``--watch``: photos that arrive in a folder are answered as they come.

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
