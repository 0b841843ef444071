"""What ``crossview calibrate`` does once its options are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from crossview.cli import console
from crossview.cli.calibration_text import calibration_text
from crossview.errors import CannotWrite, CrossviewError, InvalidValue
from crossview.evaluation.calibrating import Wanted
from crossview.evaluation.elsewhere import with_elsewhere
from crossview.evaluation.grouping import calibrate, refusals
from crossview.evaluation.known import Known, known
from crossview.geo.points import LatLon
from crossview.locks import locked, write_alone
from crossview.retrieval.calibration import Calibration
from crossview.retrieval.embedder import Embedder
from crossview.retrieval.hints import Hints
from crossview.retrieval.index import Index
from crossview.retrieval.locate import embedder_for, locate_files
from crossview.retrieval.manifest import write_manifest
from crossview.retrieval.places import Answer
from crossview.retrieval.truth import RANKS, Truths
from crossview.views.decode import Photo
from crossview.views.photo_files import listed_photos, photos_below

_FROM_EXIF = "exif"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The command line, read."""

    index: Path
    photos: tuple[Path, ...]
    truth: str  # a places.csv, or "exif"
    elsewhere: Path | None
    wanted: Wanted
    ignore_direction: bool
    model: str | None
    out: Path | None
    figure: Path | None
    dry_run: bool
    threads: int
    quiet: bool


@dataclass
class LeftOut:
    """Photos that the calibration does not rest on, by reason."""

    unreadable: list[CrossviewError] = field(default_factory=list)
    unplaced: int = 0  # nothing tells where they were taken
    outside: int = 0  # no cell of the index holds their place

    def fail(self, problem: CrossviewError) -> None:
        """Say and keep why a photo cannot be read."""
        self.unreadable.append(problem)
        console.error(problem)


def run(request: Request) -> int:
    """Calibrate, tell, write, and return the exit code."""
    for path in (request.out, request.figure):
        if path is not None and not path.absolute().parent.is_dir():
            raise CannotWrite(f"Cannot write {path}: there is no folder {path.parent}.")
    if request.figure is not None:
        from crossview.reports.calibration import format_of  # needs the extra `report`

        format_of(request.figure)  # before minutes of work
    Index.open(request.index)  # what is wrong with it is told before others are waited for
    if request.dry_run:
        return _calibrate(request)
    with locked(request.index, "crossview calibrate", wait=True):
        return _calibrate(request)


def _calibrate(request: Request) -> int:
    index = Index.open(request.index)
    embedder = embedder_for(index, request.model, threads=request.threads)
    left_out = LeftOut()
    paths, truths = _paths(request, left_out)
    photos = _known(index, embedder, paths, truths, left_out, request)
    _tell_left_out(left_out)
    if not photos:
        raise InvalidValue(
            f"None of the {len(paths)} photos can be used: nothing to calibrate on.\n"
            "Take photos of this region whose place is in their GPS or in a --truth places.csv."
        )
    for said in refusals(photos, request.wanted):
        console.warn(said)
    calibration = calibrate(photos, request.wanted, index.manifest.stride_m)
    if request.elsewhere is not None:
        answers = list(_elsewhere(index, embedder, request))
        calibration = with_elsewhere(calibration, answers)
    console.result(calibration_text(calibration))
    if request.out is not None:
        measured = json.dumps(calibration.to_json(), indent=1) + "\n"
        write_alone(request.out, measured, "crossview calibrate --out")
    if request.figure is not None:
        _draw(calibration, request.figure)
    if not request.dry_run:
        calibrated = replace(index.manifest, calibration=calibration.to_json())
        write_manifest(index.path, calibrated, index.manifest)
        console.note(f"Kept in {index.path}; locate uses it.", quiet=request.quiet)
    return 1 if left_out.unreadable else 0


def _paths(request: Request, left_out: LeftOut) -> tuple[Sequence[Path], Truths | None]:
    photos, remarks, problems = listed_photos(request.photos)
    for problem in problems:
        left_out.fail(problem)
    for remark in remarks:
        console.note(remark, quiet=request.quiet)
    if request.truth == _FROM_EXIF:
        if not request.photos:
            raise InvalidValue(
                "Give photos with GPS in their files, or --truth places.csv that lists photos."
            )
        return photos, None
    truths = Truths.read(request.truth)
    return photos if request.photos else truths.photos(), truths


def _known(
    index: Index,
    embedder: Embedder,
    paths: Sequence[Path],
    truths: Truths | None,
    left_out: LeftOut,
    request: Request,
) -> list[Known]:
    """Locate the photos and keep what each tells; count those that cannot be used."""
    found: list[Known] = []

    def hints(photo: Photo) -> Hints | None:
        if _place(photo, truths) is None:
            left_out.unplaced += 1
            return None
        return _hints(request)

    with console.progress("Locating", len(paths), unit="photos", quiet=request.quiet) as bar:
        for located, taken in locate_files(index, embedder, paths, hints, left_out.fail):
            for photo, _, answer in located:
                place = _place(photo, truths)
                one = None if place is None else known(index, answer, place)
                left_out.outside += one is None
                found += [] if one is None else [one]
            bar.advance(taken)
    return found


def _place(photo: Photo, truths: Truths | None) -> LatLon | None:
    return photo.gps if truths is None else truths.of(photo.path)


def _hints(request: Request) -> Hints:
    return Hints(places=max(RANKS), ignore_direction=request.ignore_direction)


def _elsewhere(index: Index, embedder: Embedder, request: Request) -> Iterator[Answer]:
    """Answers to the photos of a folder that were taken outside of the region."""
    files = photos_below(Path(str(request.elsewhere)))
    if files.remark:
        console.warn(files.remark)
    left_out = LeftOut()
    paths = files.photos
    with console.progress("Elsewhere", len(paths), unit="photos", quiet=request.quiet) as bar:
        for located, taken in locate_files(
            index, embedder, paths, lambda _: _hints(request), left_out.fail
        ):
            yield from (one.answer for one in located)
            bar.advance(taken)


def _draw(calibration: Calibration, path: Path) -> None:
    from crossview.reports.calibration import draw_calibration

    kinds = {kind.name: kind.measured for kind in calibration.kinds}
    draw_calibration({f"calibrated {calibration.created[:10]}": kinds}, path)


def _tell_left_out(left_out: LeftOut) -> None:
    for count, why in (
        (len(left_out.unreadable), "could not be read"),
        (left_out.unplaced, "have no known place"),
        (left_out.outside, "were taken where the index has no window near enough"),
    ):
        if count:
            console.warn(f"{count} photos {why}; they are left out.")
