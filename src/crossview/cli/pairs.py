"""``crossview pairs``: photos of known place and imagery in, pairs to train and test on out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossview.cli import console
from crossview.cli.imagery import (
    AcceptLicence,
    AreaFile,
    Bbox,
    FetchOptions,
    choose_pairs_demand,
    is_remote,
    resolve_sources,
)
from crossview.cli.index import Attribution, Bands, Crs, Date, Stretch, read_source_options

if TYPE_CHECKING:
    from crossview.geo.perimeters import Perimeter
    from crossview.street.pairing import PairingProgress, PairingReport
    from crossview.street.street_photos import StreetPhoto


def pairs(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    photos: Annotated[
        list[Path],
        typer.Argument(
            help="Photos with GPS in their files, folders of them, or a list (CSV: file, lat, "
            "lon, and heading_deg, fov_deg, captured, position_sigma_m, ... where known).",
            metavar="PHOTOS",
        ),
    ],
    imagery: Annotated[
        list[str],  # a Path would eat a slash of an address
        typer.Option(help="Imagery, as crossview index takes it; repeatable."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    gpx: Annotated[
        list[Path] | None,
        typer.Option(help="GPX track that tells where photos were taken, by time; repeatable."),
    ] = None,
    clock_offset: Annotated[
        float, typer.Option(help="Seconds to add to the camera's clock to have the true time.")
    ] = 0.0,
    time_zone: Annotated[
        str | None,
        typer.Option(help="Of times whose files name none: UTC, +02:00, Europe/Berlin."),
    ] = None,
    declination: Annotated[
        float | None,
        typer.Option(help="Degrees of magnetic north from true north there, east positive."),
    ] = None,
    fov: Annotated[
        float | None,
        typer.Option(help="Horizontal field of view of photos that do not tell it, in degrees."),
    ] = None,
    footprint: Annotated[float, typer.Option(help="Side of a window in metres.")] = 104.0,
    keep_val: Annotated[
        float, typer.Option(help="Share of photos that validate, apart from the rest.")
    ] = 0.15,
    keep_test: Annotated[
        float, typer.Option(help="Share of photos that test, apart from both.")
    ] = 0.15,
    most: Annotated[
        int | None, typer.Option(help="At most so many, evenly over area and direction.")
    ] = None,
    max_error: Annotated[
        float, typer.Option(help="Largest error of a photo's place in metres, where it is told.")
    ] = 15.0,
    max_age: Annotated[
        float | None, typer.Option(help="Most years between a photo and the imagery.")
    ] = None,
    night: Annotated[bool, typer.Option("--night", help="Keep photos taken by night.")] = False,
    indoors: Annotated[
        bool, typer.Option("--indoors", help="Keep photos whose exposure is that of a room.")
    ] = False,
    series: Annotated[
        bool, typer.Option("--series", help="Keep all photos of a series that stood still.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Number of the draw of --most.")] = 0,
    licence: Annotated[str, typer.Option(help="Of the photos, such as CC BY 4.0.")] = "",
    by: Annotated[str, typer.Option(help="Who took the photos, to be named.")] = "",
    bands: Bands = None,
    stretch: Stretch = None,
    crs: Crs = None,
    attribution: Attribution = None,
    date: Date = None,
    finest: Annotated[
        float, typer.Option(help="Metres per pixel; finer imagery is averaged to it.")
    ] = 0.2,
    bbox: Bbox = None,
    area: AreaFile = None,
    accept_licence: AcceptLicence = False,
    workers: Annotated[int, typer.Option(help="Processes that read photos; 0: none.")] = 2,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace other pairs in --out.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Pair photos of known place with the imagery above them, to train and test on.

    Writes pairs.csv, the windows, sheet.png to look at, report.md (what was left out and why) and
    ATTRIBUTION.md. Photos stay where they are. Stopped, the same command continues.
    """
    from dataclasses import replace

    from crossview.geo.perimeters import read_area
    from crossview.imagery.sources import open_sources
    from crossview.street.own_photos import OwnPhotoOptions, parse_zone, read_own_photos
    from crossview.street.pairing import PairingOptions, make_pairs
    from crossview.street.street_photos import SelectionOptions

    own = read_own_photos(
        photos,
        OwnPhotoOptions(
            zone=None if time_zone is None else parse_zone(time_zone),
            clock_offset_s=clock_offset, declination_deg=declination, fov_deg=fov,
            tracks=tuple(gpx or ()), licence=licence, attribution=by,
        ),
    )  # fmt: skip
    how = read_source_options(
        bands=bands, stretch=stretch, crs=crs, attribution=attribution, date=date
    )
    fetching = FetchOptions(
        accept_licence=accept_licence,
        quiet=quiet,
    )  # fmt: skip
    paths = resolve_sources(
        imagery,
        (read_area(bbox, area) or _surround(own.photos)) if any(map(is_remote, imagery)) else None,
        lambda: choose_pairs_demand(footprint, finest),
        fetching,
    )
    with open_sources(paths or (), replace(how, finest_useful_m=finest)) as opened:
        for note in (*own.notes, *opened.notes):
            console.note(f"{note.removesuffix('.')}.", quiet=quiet)
        chosen = SelectionOptions(
            most=most, max_sigma_m=max_error, max_age_years=max_age,
            imagery_date=opened.info.date, keep_night=night, keep_indoors=indoors,
            keep_series=series, seed=seed,
        )  # fmt: skip
        options = PairingOptions(
            selection=chosen, footprint_m=footprint, val_share=keep_val, test_share=keep_test,
            workers=workers, overwrite=overwrite,
        )  # fmt: skip
        with show_pairing(len(own.photos), quiet=quiet) as show:
            report = make_pairs(
                own.photos, opened, out, options, left_out=own.left_out, notes=own.notes,
                progress=show,
            )  # fmt: skip
    print_pairs(report, out)


def _surround(photos: Sequence[StreetPhoto]) -> Perimeter | None:
    """The box around all photos; None without any."""
    import numpy as np

    from crossview.geo.perimeters import surround_points

    if not photos:
        return None
    lat, lon = (np.array([getattr(p.place, name) for p in photos]) for name in ("lat", "lon"))
    return surround_points(lat, lon, 1.0)


@contextmanager
def show_pairing(photos: int, *, quiet: bool) -> Iterator[PairingProgress]:
    """Progress of :func:`make_pairs`."""
    with console.show_progress("photos", photos, unit="photos", quiet=quiet) as bar:

        def show(what: str, done: int, total: int) -> None:
            bar.describe(what)
            bar.update(done, total)

        yield show


def print_pairs(report: PairingReport, out: Path) -> None:
    """How many pairs there are, what was left out, and what to do with them."""
    splits = ", ".join(f"{count} {name}" for name, count in report.count_splits().items())
    known = sum(pair.heading_deg is not None for pair in report.pairs)
    console.print_result(f"{out}: {len(report.pairs)} pairs ({splits}); heading known of {known}.")
    for rule, count in report.count_rules().items():
        console.print_result(f"  left out, {rule}: {count}")
    console.print_result(
        f"Look at {out / 'sheet.png'} and {out / 'report.md'}, then:\n"
        f"  crossview train --method compass --data pairs:{out / 'pairs.csv'} --out my-run"
    )
