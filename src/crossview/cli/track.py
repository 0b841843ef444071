"""``crossview track``: photos in the order of time, or a video, in; the way of the camera out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossview.cli import console
from crossview.errors import CannotWrite, CrossviewError, InvalidValue, UsageError

if TYPE_CHECKING:
    from crossview.localization.track import Track, TrackOptions

_UNITS = {"seconds of video": "s", "pictures": "pictures", "steps": "steps"}


@dataclass(frozen=True, kw_only=True)
class TrackCommand:
    """The command line, read."""

    pictures: tuple[Path, ...]  # photos and folders of them, or one video
    index: Path
    model: str | None
    options: TrackOptions
    odometry: Path | None
    truth: Path | None  # a GPX track, or a places.csv
    format: str
    out: Path | None
    page: Path | None
    language: str  # of the page
    threads: int
    quiet: bool


def track(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    index: Annotated[Path, typer.Option(help="Made by crossview index, such as region.cvx.")],
    pictures: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos, or folders of them, in the order of their times; or one video (the "
            "extra video).",
            metavar="PHOTO|VIDEO",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Where the index's model is now, if it was moved.")
    ] = None,
    fov: Annotated[
        float | None, typer.Option(help="Horizontal field of view in degrees, 0.1 to 360.")
    ] = None,
    ignore_direction: Annotated[
        bool,
        typer.Option("--ignore-direction", help="Do not use the direction stored in a file."),
    ] = False,
    order: Annotated[
        str, typer.Option(help="Of photos: time, or name for those that tell no time.")
    ] = "time",
    ignore_times: Annotated[
        bool, typer.Option("--ignore-times", help="With --order name: times are wrong.")
    ] = False,
    time_zone: Annotated[
        str | None,
        typer.Option(help="Of times in files without one: UTC, +02:00 or Europe/Berlin."),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="When a video began, such as 2024-05-01T12:00:00+02:00."),
    ] = None,
    most_speed: Annotated[
        float | None,
        typer.Option(help="Limit of the speed in m/s. Default: 3 for photos, 20 for a video."),
    ] = None,
    most_step: Annotated[
        float, typer.Option(help="Limit of a step in metres, where times are not known.")
    ] = 30.0,
    odometry: Annotated[
        Path | None,
        typer.Option(
            help="CSV with a line for each step: metres, and where known turn_deg, metres_sigma, "
            "turn_sigma_deg."
        ),
    ] = None,
    turn: Annotated[
        float,
        typer.Option(
            help="How far the camera turns from a picture to the next, in degrees: one standard "
            "deviation. From 90 on it may look anywhere."
        ),
    ] = 25.0,
    foreign: Annotated[
        float, typer.Option(help="Share of pictures, 0 to 1, that may show something else.")
    ] = 0.2,
    past_only: Annotated[
        bool, typer.Option("--past-only", help="Every point by the pictures up to it alone.")
    ] = False,
    every: Annotated[
        float, typer.Option(help="Seconds of video of which one frame is taken, the sharpest.")
    ] = 1.0,
    moved: Annotated[
        float,
        typer.Option(
            help="How far the picture moves from a frame to the next, at least, as a share of its "
            "width; 0 takes frames of a standing camera, too."
        ),
    ] = 0.01,
    frames: Annotated[int, typer.Option(help="Frames taken of a video, at most.")] = 1000,
    near: Annotated[str | None, typer.Option(help="Only around LAT,LON; needs --within.")] = None,
    within: Annotated[float | None, typer.Option(help="Radius of that area in kilometres.")] = None,
    area: Annotated[
        Path | None, typer.Option(help="Only inside the polygons of this file (GeoJSON).")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--format", help="table, geojson, kml, gpx or csv.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file; its ending sets the format.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--map", help="Also write a page that plays the track beside its pictures."),
    ] = None,
    language: Annotated[str, typer.Option(help="Of the page: en or de.", metavar="NAME")] = "en",
    truth: Annotated[
        Path | None,
        typer.Option(help="GPX track of a receiver, or places.csv: report errors in metres."),
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> int:
    """Find the way along which photos or a video were taken.

    A photo that cannot be read or tells no time is reported, and the rest are used (exit code 1).
    """
    from crossview.geo.perimeters import read_perimeter
    from crossview.geo.points import parse_latlon
    from crossview.localization.hints import Hints
    from crossview.localization.track import TrackOptions
    from crossview.outputs.formats import TRACK_FORMATS, choose_format
    from crossview.street.own_photos import parse_zone
    from crossview.texts import match_language
    from crossview.views.video import FrameOptions

    if not pictures:
        raise UsageError("Missing argument 'PHOTO|VIDEO'. Give photos, folders, or a video.")
    hints = Hints(
        fov_deg=fov,
        near=None if near is None else parse_latlon(near),
        within_m=None if within is None else within * 1000.0,
        area=None if area is None else read_perimeter(area),
        ignore_direction=ignore_direction,
    )
    options = TrackOptions(
        order=order,
        ignore_times=ignore_times,
        zone=None if time_zone is None else parse_zone(time_zone),
        start=None if start is None else _parse_start(start),
        most_speed_m_s=most_speed,
        most_step_m=most_step,
        turn_sigma_deg=turn,
        foreign_share=foreign,
        past_only=past_only,
        frames=FrameOptions(every_s=every, moved=moved, most=frames),
        hints=hints,
    )
    command = TrackCommand(
        pictures=tuple(pictures),
        index=index,
        model=model,
        options=options,
        odometry=odometry,
        truth=truth,
        format=choose_format(output, out, TRACK_FORMATS),
        out=out,
        page=page,
        language=match_language(language),
        threads=threads,
        quiet=quiet,
    )
    return _run(command)


def _parse_start(text: str) -> datetime:
    try:
        start = datetime.fromisoformat(text)
    except ValueError as problem:
        raise InvalidValue(
            f"--start {text!r} is not a time. Write it such as 2024-05-01T12:00:00+02:00."
        ) from problem
    if start.utcoffset() is None:
        raise InvalidValue(f"--start {text} has no zone. Add it, such as {text}+02:00 or {text}Z.")
    return start


def _run(command: TrackCommand) -> int:
    """Follow the camera, print or write the track, and return the exit code."""
    from dataclasses import replace

    from crossview.index.store import Index
    from crossview.localization.locate import open_embedder
    from crossview.localization.track import locate_track, read_odometry

    _require_writable(command)
    options = command.options
    if command.odometry is not None:
        options = replace(options, odometry=read_odometry(command.odometry))
    compare = _open_truth(command.truth)
    index = Index.open(command.index)
    embedder = open_embedder(index, command.model, threads=command.threads)
    failures: list[CrossviewError] = []

    def fail(problem: CrossviewError) -> None:
        failures.append(problem)
        console.print_error(problem)

    paths = _list_pictures(command, fail)
    if not paths:
        return failures[0].exit_code
    with _show_progress(quiet=command.quiet) as progress:
        found = locate_track(
            index, embedder, [str(p) for p in paths], options, failed=fail, progress=progress
        )
    found = compare(found)
    _write(command, found)
    if command.page is not None:
        _write_page(command, found)
    _print_remarks(command, found)
    return 1 if failures else 0


def _list_pictures(command: TrackCommand, fail: Callable[[CrossviewError], None]) -> list[Path]:
    """The one video, or the photos of files and folders."""
    from crossview.views.video import is_video_name

    videos = [p for p in command.pictures if is_video_name(p) and not p.is_dir()]
    if videos and len(command.pictures) > 1:
        raise UsageError(
            f"{videos[0]} is a video, and a track is made of one video or of photos.\n"
            "Give the video alone."
        )
    if videos:
        return videos
    return console.list_photos(command.pictures, fail, quiet=command.quiet)


def _require_writable(command: TrackCommand) -> None:
    """Refuse, before minutes of work, files that could not be written or would be wrong."""
    from crossview.outputs.formats import PAGE_ENDINGS, find_format

    if command.page is not None and (other := find_format(command.page.suffix)):
        raise InvalidValue(
            f"--map writes a page ({PAGE_ENDINGS[0]}), and {command.page} ends like {other}.\n"
            f"To write {other}: --out {command.page}"
        )
    paths = [path for path in (command.out, command.page) if path is not None]
    if len({path.absolute() for path in paths}) < len(paths):
        raise InvalidValue("--out and --map must name different files.")
    for path in paths:
        if not path.absolute().parent.is_dir():
            raise CannotWrite(f"Cannot write {path}: there is no folder {path.parent}.")
        if path.is_dir():
            raise CannotWrite(f"Cannot write {path}: it is a folder. Choose another name.")


def _open_truth(path: Path | None) -> Callable[[Track], Track]:
    """What adds the truth to a track: nothing, a receiver's track, or a list of places."""
    from crossview.localization.accuracy import Truths
    from crossview.localization.track import add_truths, find_truths
    from crossview.street.own_photos import read_tracks

    if path is None:
        return lambda found: found
    if path.suffix.lower() == ".gpx":
        recorded = read_tracks([path])
        return lambda found: add_truths(found, find_truths(found, recorded))
    truths = Truths.read(path)

    def look_up(found: Track) -> Track:
        places = [truths.find(point.photo) for point in found.points]
        if not any(places):
            raise InvalidValue(
                f"None of the pictures is listed in {path}.\n"
                "Its column file holds paths relative to its own folder, or file names."
            )
        return add_truths(found, places)

    return look_up


@contextmanager
def _show_progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each job, one after the other."""
    with ExitStack() as stack:
        bars: dict[str, console.Bar] = {}

        def show(job: str, done: int, total: int) -> None:
            if job not in bars:
                stack.pop_all().close()
                title = "Reading" if job.startswith("seconds") else "Following"
                bar = console.show_progress(title, total, unit=_UNITS[job], quiet=quiet)
                bars[job] = stack.enter_context(bar)
            bars[job].update(done, total)

        yield show


def _write(command: TrackCommand, found: Track) -> None:
    from crossview.locks import write_alone
    from crossview.outputs.formats import TRACK_FORMATS

    content = TRACK_FORMATS[command.format](found)
    if command.out is None:
        console.print_result(content)
    else:
        write_alone(command.out, content, "crossview track --out")


def _write_page(command: TrackCommand, found: Track) -> None:
    from crossview.index.store import Index
    from crossview.outputs.map_page import write_track_page
    from crossview.texts import speak

    assert command.page is not None  # noqa: S101 - asked before
    with speak(command.language):
        remarks: Sequence[str] = write_track_page(command.page, Index.open(command.index), found)
    for remark in remarks:
        console.note(remark, quiet=command.quiet)
    console.note(f"Page: {command.page}", quiet=command.quiet)


def _print_remarks(command: TrackCommand, found: Track) -> None:
    """What a table says below itself, where a program reads the result."""
    from crossview.outputs.records import explain_track

    if command.format == "table" and command.out is None:
        return
    console.note(explain_track(found), quiet=command.quiet)
    for warning in found.warnings:
        console.warn(f"{warning}.")
