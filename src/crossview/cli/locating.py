"""What ``crossview locate`` does once its options are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crossview.cli import console
from crossview.cli.reporting import Report, tell
from crossview.errors import BadImage, CrossviewError, InvalidValue
from crossview.geo.points import LatLon
from crossview.retrieval.embedder import Embedder
from crossview.retrieval.hints import Hints, require_usable_heading
from crossview.retrieval.index import Index
from crossview.retrieval.locate import embedder_for, locate_many
from crossview.retrieval.places import Answer
from crossview.retrieval.queries import read_batches
from crossview.retrieval.truth import RANKS, Truths, with_truth
from crossview.views.decode import Photo

_FROM_EXIF = "exif"
_OF_ONE_PHOTO = (BadImage, InvalidValue)  # the other photos are located all the same


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command line, read."""

    photos: tuple[Path, ...]
    index: Path
    model: str | None
    hints: Hints
    gps_within_m: float | None  # search around the place in each file
    truth: str | None  # a places.csv, or "exif"
    report: Report
    threads: int
    quiet: bool


@dataclass
class Work:
    """What came of the photos so far."""

    answers: list[Answer] = field(default_factory=list)
    hints: list[Hints] = field(default_factory=list)  # of each answer
    failures: list[CrossviewError] = field(default_factory=list)


def run(request: Request) -> int:
    """Locate, print or write, and return the exit code."""
    request.report.require_writable()
    index = Index.open(request.index)
    embedder = embedder_for(index, request.model, threads=request.threads)
    if request.hints.heading_deg is not None:
        require_usable_heading(embedder.info, request.hints.fov_deg or 360.0)
    truths = _truths(request)
    work = Work()
    with console.progress(
        "Locating", len(request.photos), unit="photos", quiet=request.quiet
    ) as bar:
        for photos, taken in read_batches(request.photos, lambda problem: _failed(problem, work)):
            _locate(index, embedder, request, photos, truths, work)
            bar.advance(taken)
    if work.answers:
        tell(index, request.report, work.answers, work.hints)
    if not work.answers and work.failures:
        return work.failures[0].exit_code
    return 1 if work.failures else 0


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
    photos: Sequence[Photo],
    truths: Truths | None,
    work: Work,
) -> None:
    """Locate some photos together; if one of them makes trouble, each on its own."""
    hints = [_hints(photo, request) for photo in photos]
    try:
        answers = locate_many(index, embedder, photos, hints)
    except _OF_ONE_PHOTO:
        answers, located = [], []
        for photo, given in zip(photos, hints, strict=True):
            try:
                answers += locate_many(index, embedder, [photo], given)
                located.append(given)
            except _OF_ONE_PHOTO as problem:
                _failed(problem, work)
        hints = located
    by_path = {photo.path: photo for photo in photos}
    work.hints += hints
    work.answers += [
        with_truth(answer, _truth(by_path[answer.photo], request, truths)) for answer in answers
    ]


def _failed(problem: CrossviewError, work: Work) -> None:
    work.failures.append(problem)
    console.error(problem)


def _hints(photo: Photo, request: Request) -> Hints:
    hints = request.hints
    if request.truth is not None:  # recall is counted over the first ten
        hints = replace(hints, places=max(hints.places, *RANKS))
    if request.gps_within_m is None:
        return hints
    if photo.gps is None:
        console.note(
            f"{photo.path}: no usable GPS in the file; searched everywhere.", quiet=request.quiet
        )
        return hints
    return replace(hints, near=photo.gps, within_m=request.gps_within_m)


def _truth(photo: Photo, request: Request, truths: Truths | None) -> LatLon | None:
    if request.truth == _FROM_EXIF:
        return photo.gps
    return truths.of(photo.path) if truths else None
