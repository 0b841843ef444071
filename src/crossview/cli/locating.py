"""What ``crossview locate`` does once its options are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crossview.cli import console
from crossview.cli.reporting import Report, tell
from crossview.errors import CrossviewError, InvalidValue
from crossview.geo.points import LatLon
from crossview.retrieval.hints import Hints, require_usable_heading
from crossview.retrieval.index import Index
from crossview.retrieval.locate import LocatedPhoto, embedder_for, locate_files
from crossview.retrieval.places import Answer
from crossview.retrieval.truth import RANKS, Truths, with_truth
from crossview.views.decode import Photo
from crossview.views.photo_files import listed_photos

_FROM_EXIF = "exif"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command line, read."""

    photos: tuple[Path, ...]  # files, and folders of them
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

    def fail(self, problem: CrossviewError) -> None:
        """Say and keep why a photo was not located."""
        self.failures.append(problem)
        console.error(problem)


def run(request: Request) -> int:
    """Locate, print or write, and return the exit code."""
    request.report.require_writable()
    index = Index.open(request.index)
    embedder = embedder_for(index, request.model, threads=request.threads)
    if request.hints.heading_deg is not None:
        require_usable_heading(embedder.info, request.hints.fov_deg or 360.0)
    work = Work()
    photos = _listed(request, work)
    if not photos:
        return work.failures[0].exit_code
    truths = _truths(request, photos)
    with console.progress("Locating", len(photos), unit="photos", quiet=request.quiet) as bar:
        for located, taken in locate_files(
            index, embedder, photos, lambda photo: _hints(photo, request), work.fail
        ):
            _keep(located, request, truths, work)
            bar.advance(taken)
    if work.answers:
        tell(index, request.report, work.answers, work.hints)
    if not work.answers and work.failures:
        return work.failures[0].exit_code
    return 1 if work.failures else 0


def _listed(request: Request, work: Work) -> Sequence[Path]:
    """The photos of the files and folders that were named."""
    photos, remarks, problems = listed_photos(request.photos)
    for problem in problems:
        work.fail(problem)
    for remark in remarks:
        console.note(remark, quiet=request.quiet)
    return photos


def _truths(request: Request, photos: Sequence[Path]) -> Truths | None:
    if request.truth in (None, _FROM_EXIF):
        return None
    truths = Truths.read(str(request.truth))
    if not any(truths.of(str(photo)) for photo in photos):
        raise InvalidValue(
            f"None of the photos is listed in {request.truth}.\n"
            "Its column file holds paths relative to its own folder, or file names."
        )
    return truths


def _keep(
    located: Sequence[LocatedPhoto], request: Request, truths: Truths | None, work: Work
) -> None:
    work.hints += [one.hints for one in located]
    work.answers += [with_truth(one.answer, _truth(one.photo, request, truths)) for one in located]


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
