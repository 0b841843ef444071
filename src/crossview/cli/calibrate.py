"""``crossview calibrate``: known photos of a region in, probabilities that hold there out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console
from crossview.errors import CannotWrite, InvalidValue
from crossview.locks import lock, write_alone
from crossview.schema import compute_checksum

if TYPE_CHECKING:
    from crossview.calibration.fit import CalibrationGoal
    from crossview.calibration.known_photos import KnownPhoto, LeftOut
    from crossview.index.store import Index
    from crossview.localization.accuracy import Truths
    from crossview.localization.answer import Answer
    from crossview.localization.calibration_record import Calibrated, Calibration
    from crossview.localization.hints import Hints
    from crossview.model import Embedder


@dataclass(frozen=True, kw_only=True)
class CalibrateCommand:
    """The command line, read."""

    index: Path
    photos: tuple[Path, ...]
    truth: str  # a places.csv, or "exif"
    carried_from: tuple[Path, ...]  # indexes of other regions; then nothing is measured
    elsewhere: Path | None
    wanted: CalibrationGoal
    ignore_direction: bool
    model: str | None
    out: Path | None
    figure: Path | None
    dry_run: bool
    threads: int
    quiet: bool


def calibrate(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    index: Annotated[Path, typer.Argument(help="Made by crossview index, such as region.cvx.")],
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos whose place is known, or folders of them. Default: those that --truth "
            "lists."
        ),
    ] = None,
    truth: Annotated[
        str, typer.Option(help="places.csv with their places, or exif: the GPS in each file.")
    ] = "exif",
    carried_from: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help="A calibrated index of another region, of the same model, stride and footprint: "
            "use what was measured there instead of photos. Repeatable.",
        ),
    ] = None,
    elsewhere: Annotated[
        Path | None,
        typer.Option(help="Folder of photos from outside the region: how many are accepted."),
    ] = None,
    coverage: Annotated[
        list[float] | None,
        typer.Option(help="How often, in percent, an area holds the truth. Default: 90 and 95."),
    ] = None,
    false_reject: Annotated[
        float, typer.Option(help="Percent of the region's own photos that may be refused.")
    ] = 5.0,
    elsewhere_share: Annotated[
        float, typer.Option(help="Assumed percent of future photos that are from elsewhere.")
    ] = 5.0,
    strata: Annotated[
        int,
        typer.Option(
            help="Groups of photos, by how bright the ground is against the sky, that are each "
            "covered; takes that many times as many photos."
        ),
    ] = 1,
    ignore_direction: Annotated[
        bool,
        typer.Option("--ignore-direction", help="Do not use the direction stored in a file."),
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="Where the index's model is now, if it was moved.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Also write everything measured to this JSON file.")
    ] = None,
    figure: Annotated[
        Path | None,
        typer.Option(help="Also draw the reliability diagram there: .png, .svg or .pdf."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure and print; do not change the index.")
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> int:
    """Measure on known photos how far an index can be trusted, and keep that in it.

    From then on, locate states probabilities, areas and sigmas for the kinds of picture measured.
    """
    from crossview.calibration.fit import CalibrationGoal

    wanted = CalibrationGoal(
        coverages=tuple(sorted({percent / 100.0 for percent in coverage or (90.0, 95.0)})),
        false_reject=false_reject / 100.0,
        share=elsewhere_share / 100.0,
        strata=strata,
    )
    command = CalibrateCommand(
        index=index,
        photos=tuple(photos or ()),
        truth=truth,
        carried_from=tuple(carried_from or ()),
        elsewhere=elsewhere,
        wanted=wanted,
        ignore_direction=ignore_direction,
        model=model,
        out=out,
        figure=figure,
        dry_run=dry_run,
        threads=threads,
        quiet=quiet,
    )
    return _run(command)


def _run(command: CalibrateCommand) -> int:
    """Calibrate, print, write, and return the exit code."""
    from crossview.index.selection import require_held
    from crossview.index.store import Index

    if command.carried_from:
        _refuse_photos(command)
    for path in (command.out, command.figure):
        if path is not None and not path.absolute().parent.is_dir():
            raise CannotWrite(f"Cannot write {path}: there is no folder {path.parent}.")
    if command.figure is not None:
        from crossview.reports.trust import read_figure_format  # needs the extra `report`

        read_figure_format(command.figure)  # before minutes of work
    for path in (command.index, *command.carried_from):  # a damaged index is refused before
        require_held(Index.open(path), "a calibration")  # the wait for other processes
    if command.dry_run:
        return _calibrate(command)
    with lock(command.index, "crossview calibrate", wait=True):
        return _calibrate(command)


def _refuse_photos(command: CalibrateCommand) -> None:
    """What is carried over is taken as it is: nothing can be measured beside it."""
    for given, name in (
        (bool(command.photos), "photos"),
        (command.truth != console.FROM_EXIF, "--truth"),
        (command.elsewhere is not None, "--elsewhere"),
        (command.figure is not None, "--figure"),
    ):
        if given:
            raise InvalidValue(
                f"--from takes a calibration as other regions have measured it; {name} would "
                "measure one here.\nGive one of the two."
            )


def _carry(command: CalibrateCommand) -> int:
    from crossview.calibration.calibrate import carry_calibration
    from crossview.index.store import Index

    index = Index.open(command.index)
    calibration = carry_calibration(index, [Index.open(path) for path in command.carried_from])
    console.print_result(_format_carried(calibration))
    return _keep(command, index, calibration)


def _calibrate(command: CalibrateCommand) -> int:
    if command.carried_from:
        return _carry(command)
    from crossview.calibration import calibrate as grouping
    from crossview.calibration.calibrate import add_elsewhere
    from crossview.calibration.known_photos import LeftOut
    from crossview.index.store import Index
    from crossview.localization.locate import open_embedder

    index = Index.open(command.index)
    embedder = open_embedder(index, command.model, threads=command.threads)
    left_out = LeftOut(said=console.print_error)
    paths, truths = _list_photos(command, left_out)
    photos = _measure(index, embedder, paths, truths, left_out, command)
    _warn_of_left_out(left_out)
    if not photos:
        raise InvalidValue(
            f"None of the {len(paths)} photos can be used: nothing to calibrate on.\n"
            "Take photos of this region whose place is in their GPS or in a --truth places.csv."
        )
    for reason in grouping.list_refusals(photos, command.wanted):
        console.warn(reason)
    calibration = grouping.calibrate(photos, command.wanted, index.manifest.stride_m)
    if command.elsewhere is not None:
        answers = list(_locate_elsewhere(index, embedder, command.elsewhere, command))
        calibration = add_elsewhere(calibration, answers)
    console.print_result(_format_calibration(calibration))
    _keep(command, index, calibration)
    return 1 if left_out.unreadable else 0


def _keep(command: CalibrateCommand, index: Index, calibration: Calibration) -> int:
    from crossview.calibration.calibrate import keep_calibration

    if command.out is not None:
        values = calibration.to_json()
        measured = json.dumps({**values, "checksum": compute_checksum(values)}, indent=1) + "\n"
        write_alone(command.out, measured, "crossview calibrate --out")
    if command.figure is not None:
        _draw(calibration, command.figure)
    if not command.dry_run:
        keep_calibration(index, calibration)
        console.note(f"Written to {index.path}; locate uses it.", quiet=command.quiet)
    return 0


def _list_photos(
    command: CalibrateCommand, left_out: LeftOut
) -> tuple[Sequence[Path], Truths | None]:
    from crossview.localization.accuracy import Truths

    photos = console.list_photos(command.photos, left_out.fail, quiet=command.quiet)
    if command.truth == console.FROM_EXIF:
        if not command.photos:
            raise InvalidValue(
                "Give photos with GPS in their files, or --truth places.csv that lists photos."
            )
        return photos, None
    truths = Truths.read(command.truth, headings=True)
    return photos if command.photos else truths.photos(), truths


def _measure(
    index: Index,
    embedder: Embedder,
    paths: Sequence[Path],
    truths: Truths | None,
    left_out: LeftOut,
    command: CalibrateCommand,
) -> list[KnownPhoto]:
    """Locate the photos and keep what each shows; count those that cannot be used."""
    from crossview.calibration.known_photos import locate_known_photos
    from crossview.localization.accuracy import true_place

    with console.show_progress("Locating", len(paths), unit="photos", quiet=command.quiet) as bar:
        return locate_known_photos(
            index,
            embedder,
            paths,
            lambda photo: true_place(photo, truths),
            lambda _: _hints(command),
            left_out,
            lambda done, _: bar.update(done),
            lambda photo: None if truths is None else truths.find_heading(photo.path),
        )


def _hints(command: CalibrateCommand) -> Hints:
    from crossview.localization.accuracy import RANKS
    from crossview.localization.hints import Hints

    return Hints(places=max(RANKS), ignore_direction=command.ignore_direction)


def _locate_elsewhere(
    index: Index, embedder: Embedder, folder: Path, command: CalibrateCommand
) -> Iterator[Answer]:
    """Answers to the photos of a folder that were taken outside of the region."""
    from crossview.localization.locate import locate_files
    from crossview.views.photo_folders import find_photos

    files = find_photos(folder)
    if files.remark:
        console.warn(files.remark)
    hints, total = _hints(command), len(files.photos)
    with console.show_progress("Elsewhere", total, unit="photos", quiet=command.quiet) as bar:
        for located, taken in locate_files(
            index, embedder, files.photos, lambda _: hints, console.print_error
        ):
            yield from (photo.answer for photo in located)
            bar.advance(taken)


def _draw(calibration: Calibration, path: Path) -> None:
    from crossview.reports.trust import draw_calibration

    kinds = {kind.name: kind.measured for kind in calibration.kinds}
    draw_calibration({f"calibrated {calibration.created[:10]}": kinds}, path)


def _warn_of_left_out(left_out: LeftOut) -> None:
    for count, reason in (
        (len(left_out.unreadable), "could not be read"),
        (left_out.unplaced, "have no known place"),
        (left_out.outside, "were taken where the index has no window near enough"),
    ):
        if count:
            console.warn(f"{count} photos {reason}; they are left out.")


def _format_calibration(calibration: Calibration) -> str:
    """What was measured of each kind of picture, beside chance, with 95 % intervals."""
    lines = [line for kind in calibration.kinds for line in (*_format_kind(calibration, kind), "")]
    prior = _format_percent(calibration.share)
    lines.append(
        "Every figure is of photos that its fit had not seen (five folds of places). "
        f"Prior odds: {prior} from elsewhere, which is assumed."
    )
    return "\n".join(lines)


def _format_kind(calibration: Calibration, kind: Calibrated) -> Iterator[str]:
    from crossview.outputs.records import format_km2

    measured = kind.measured
    yield f"{kind.name}: {kind.n} known photos at {measured['spots']} spots"
    for k, share in measured["recall"].items():
        among = "first place" if k == "1" else f"one of {k} places"
        chance = 1.0 - (1.0 - measured["within_25m_by_chance"]) ** int(k)
        yield f"  {among} within 25 m: {_format_share(share)}; by chance {_format_percent(chance)}"
    error = measured["median_error_m"]
    yield (
        f"  median error: {error['value']:.1f} m ({error['low']:.1f} to {error['high']:.1f}); "
        f"by chance {measured['median_error_m_by_chance']:.0f} m"
    )
    yield (
        f"  stated probabilities: expected calibration error {measured['calibration_error']:.3f} "
        f"({measured['calibration_error_by_chance']:.3f} by chance at this n), "
        f"Brier score {measured['brier']:.3f}"
    )
    yield from _format_poses(measured["poses"])
    for area in measured["sets"]:
        stated, median = _format_percent(area["asked"]), _format_percent(area["median_share"])
        yield (
            f"  area for {stated}: holds the truth of {_format_share(area['coverage'])}; "
            f"median {format_km2(area['median_km2'])}, {median} of the region"
        )
    allowed = _format_percent(calibration.false_reject)
    yield (
        f"  'not in this region': stated for {_format_share(measured['false_reject'])} of its own "
        f"photos (allowed: {allowed})"
    )
    if "false_accept" in measured:
        yield (
            f"    not stated for {_format_share(measured['false_accept'])} of them when their own "
            "ground is removed from the region"
        )
    if "false_accept_elsewhere" in measured:
        share = measured["false_accept_elsewhere"]
        yield f"    not stated for {_format_share(share)} of {share['n']} photos from elsewhere"


def _format_poses(poses: Mapping[str, Any]) -> Iterator[str]:
    """How far right first places are off, and how many errors their sigmas hold."""
    for what, unit in (("position", "m"), ("heading", "degrees")):
        figures = poses[what]
        if not figures["n"]:
            continue
        error = figures["median"]
        yield (
            f"  {what} where the first place is right (n = {figures['n']}): median error "
            f"{error['value']:.2f} {unit} ({error['low']:.2f} to {error['high']:.2f})"
        )
        if "within" not in figures:
            yield "    too few for a sigma"
            continue
        one, two = (_format_share(share) for share in figures["within"])
        sigma = f"median {figures['median_sigma']:.2f} {unit}"
        yield f"    within one sigma ({sigma}): {one}; within two: {two}"


def _format_carried(calibration: Calibration) -> str:
    """What was carried over, and from where."""
    lines = [f"{kind.name}: {kind.n} known photos of other regions" for kind in calibration.kinds]
    regions = ", ".join(f"{one.index} ({one.created[:10]})" for one in calibration.carried_from)
    lines.append(f"Carried over from {regions}; how far it holds in this region was not measured.")
    return "\n".join(lines)


def _format_share(share: Mapping[str, float]) -> str:
    low, high = _format_percent(share["low"]), _format_percent(share["high"])
    return f"{_format_percent(share['value'])} ({low} to {high})"


def _format_percent(share: float) -> str:
    percent = 100.0 * share
    return f"{percent:.2g} %" if 0.0 < percent < 0.95 else f"{percent:.1f} %"
