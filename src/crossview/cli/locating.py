"""What ``crossview locate`` does once its options are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crossview.cli import console
from crossview.errors import BadImage, CannotWrite, CrossviewError, InvalidValue, UnknownName
from crossview.files import atomic_write
from crossview.geo.points import LatLon
from crossview.maps.geojson import to_geojson
from crossview.maps.jsonl import to_jsonl
from crossview.maps.kml import to_kml
from crossview.maps.table import to_table
from crossview.retrieval.audit import append_records, audit_record
from crossview.retrieval.embedder import Embedder
from crossview.retrieval.hints import Hints, require_usable_heading
from crossview.retrieval.index import Index
from crossview.retrieval.locate import locate_many, model_of
from crossview.retrieval.models import open_model
from crossview.retrieval.places import Answer
from crossview.retrieval.truth import Truths, summary, with_truth
from crossview.views.decode import Photo, load_photo

SHOWN = 5  # places per photo in a table
FORMATS = ("table", "jsonl", "geojson", "kml")
_WRITERS: dict[str, Callable[[Sequence[Answer]], str]] = {
    "jsonl": to_jsonl,
    "geojson": to_geojson,
    "kml": to_kml,
}
_FROM_EXIF = "exif"
_TOGETHER = 32  # photos held decoded at a time
_OF_ONE_PHOTO = (BadImage, InvalidValue)  # the other photos are located all the same


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command line, read."""

    photos: tuple[Path, ...]
    index: Path
    model: str | None
    hints: Hints
    gps_within_m: float | None  # search around the place in each file
    shown: int
    format: str
    out: Path | None
    page: Path | None
    truth: str | None  # a places.csv, or "exif"
    audit: Path | None
    threads: int
    quiet: bool


@dataclass
class Work:
    """What came of the photos so far."""

    answers: list[Answer] = field(default_factory=list)
    hints: list[Hints] = field(default_factory=list)  # of each answer
    failures: list[CrossviewError] = field(default_factory=list)


def format_of(name: str | None, out: Path | None) -> str:
    """The format that was named, else the one that the ending of ``out`` names, else a table."""
    if name is not None:
        if name not in FORMATS:
            raise UnknownName("format", name, FORMATS)
        return name
    ending = out.suffix.lower().lstrip(".") if out else ""
    return {"json": "geojson", "ndjson": "jsonl"}.get(
        ending, ending if ending in FORMATS else "table"
    )


def run(request: Request) -> int:
    """Locate, print or write, and return the exit code."""
    for path in (request.out, request.page, request.audit):
        _require_folder(path)
    index = Index.open(request.index)
    embedder = _embedder(index, request)
    if request.hints.heading_deg is not None:
        require_usable_heading(embedder.info, request.hints.fov_deg or 360.0)
    truths = _truths(request)
    work = Work()
    with console.progress(
        "Locating", len(request.photos), unit="photos", quiet=request.quiet
    ) as bar:
        for start in range(0, len(request.photos), _TOGETHER):
            some = request.photos[start : start + _TOGETHER]
            _locate(index, embedder, request, some, truths, work)
            bar.advance(len(some))
    if work.answers:
        _tell(index, request, work)
    if not work.answers and work.failures:
        return work.failures[0].exit_code
    return 1 if work.failures else 0


def _require_folder(path: Path | None) -> None:
    """Refuse, before minutes of work, a file that could not be written."""
    if path is not None and not path.absolute().parent.is_dir():
        raise CannotWrite(f"Cannot write {path}: there is no folder {path.parent}.")
    if path is not None and path.is_dir():
        raise CannotWrite(f"Cannot write {path}: it is a folder. Choose another name.")


def _embedder(index: Index, request: Request) -> Embedder:
    if request.model is None:
        return model_of(index, threads=request.threads)
    embedder = open_model(request.model, threads=request.threads)
    index.require_model(embedder.fingerprint)
    return embedder


def _truths(request: Request) -> Truths | None:
    if request.truth in (None, _FROM_EXIF):
        return None
    truths = Truths.read(str(request.truth))
    if not any(truths.of(str(photo)) for photo in request.photos):
        raise InvalidValue(
            f"None of the photos is listed in {request.truth}.\n"
            "Its column file holds paths relative to its own folder, or file names."
        )
    return truths


def _locate(
    index: Index,
    embedder: Embedder,
    request: Request,
    paths: Sequence[Path],
    truths: Truths | None,
    work: Work,
) -> None:
    """Locate some photos together; if one of them makes trouble, each on its own."""
    photos = list(_read(paths, work))
    hints = [_hints(photo, request) for photo in photos]
    try:
        answers = locate_many(index, embedder, photos, hints)
    except _OF_ONE_PHOTO:
        answers, hints = [], []
        for photo in photos:
            try:
                given = _hints(photo, request)
                answers += locate_many(index, embedder, [photo], given)
                hints.append(given)
            except _OF_ONE_PHOTO as problem:
                _failed(problem, work)
    by_path = {photo.path: photo for photo in photos}
    work.hints += hints
    work.answers += [
        with_truth(answer, _truth(by_path[answer.photo], request, truths)) for answer in answers
    ]


def _read(paths: Sequence[Path], work: Work) -> Iterator[Photo]:
    for path in paths:
        try:
            yield load_photo(path)
        except _OF_ONE_PHOTO as problem:
            _failed(problem, work)


def _failed(problem: CrossviewError, work: Work) -> None:
    work.failures.append(problem)
    console.err.print(f"Error: {problem}")


def _hints(photo: Photo, request: Request) -> Hints:
    if request.gps_within_m is None:
        return request.hints
    if photo.gps is None:
        console.note(f"{photo.path}: no GPS in the file; searched everywhere.", quiet=request.quiet)
        return request.hints
    return replace(request.hints, near=photo.gps, within_m=request.gps_within_m)


def _truth(photo: Photo, request: Request, truths: Truths | None) -> LatLon | None:
    if request.truth == _FROM_EXIF:
        return photo.gps
    return truths.of(photo.path) if truths else None


def _tell(index: Index, request: Request, work: Work) -> None:
    """Print or write the answers, then the map, the audit records and the accuracy."""
    if request.format == "table":
        text = to_table(work.answers, top=request.shown)
    else:
        text = _WRITERS[request.format](work.answers)
    if request.out is None:
        console.result(text)
    else:
        atomic_write(request.out, text)
    if request.audit is not None:
        pairs = zip(work.answers, work.hints, strict=True)
        append_records(request.audit, [audit_record(a, h, index) for a, h in pairs])
    if request.page is not None:
        _write_map(index, request, work.answers)
    if request.truth is not None:
        _tell_accuracy(request, work.answers)
    for warning in dict.fromkeys(w for a in work.answers for w in a.warnings):
        if request.format != "table" or request.out is not None:
            console.warn(f"{warning}.")


def _write_map(index: Index, request: Request, answers: Sequence[Answer]) -> None:
    from crossview.maps.page import write_map

    page = request.page
    if page is None:
        return
    for remark in write_map(page, index, answers):
        console.note(remark, quiet=request.quiet)
    console.note(f"Map: {page}", quiet=request.quiet)


def _tell_accuracy(request: Request, answers: Sequence[Answer]) -> None:
    """One line on photos of known truth: on stdout below a table, else on stderr."""
    known = [answer for answer in answers if answer.truth is not None]
    unknown = len(answers) - len(known)
    if unknown:
        console.warn(
            f"The truth of {unknown} photos is not known; they are left out of the figures."
        )
    if not known:
        return
    line = _accuracy(known, request.hints.places)
    if request.format == "table" and request.out is None:
        console.result(line)
    else:
        console.err.print(line)


def _accuracy(answers: Sequence[Answer], places: int) -> str:
    figures = summary(answers, [a.truth for a in answers if a.truth is not None], places)
    low, high = figures["within_25m_interval"]
    recalls = [
        f"R@{k} {figures[f'recall_at_{k}']:.1%}" for k in (1, 5, 10) if f"recall_at_{k}" in figures
    ]
    return (
        f"{figures['n']} photos of known truth: first place within 25 m for "
        f"{figures['within_25m']:.1%} (95 % interval {low:.1%} to {high:.1%}), "
        f"median error {figures['median_error_m']:.1f} m; a place within 25 m among the first k: "
        + ", ".join(recalls)
    )
