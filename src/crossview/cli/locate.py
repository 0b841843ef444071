"""``crossview locate``: photos in, places on a map out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossview.errors import InvalidValue


def locate(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    photos: Annotated[
        list[Path],
        typer.Argument(
            help="Photos and panoramas, or folders of them: JPEG, PNG, WebP, AVIF, TIFF, BMP, "
            "GIF, JPEG 2000, PPM; HEIC with the extra heif.",
            metavar="PHOTO",
        ),
    ],
    index: Annotated[Path, typer.Option(help="Made by crossview index, such as region.cvx.")],
    model: Annotated[
        str | None, typer.Option(help="Where the index's model is now, if it was moved.")
    ] = None,
    fov: Annotated[
        float | None, typer.Option(help="Horizontal field of view in degrees, 0.1 to 360.")
    ] = None,
    heading: Annotated[
        float | None,
        typer.Option(help="Where the middle of the picture looks, clockwise from north."),
    ] = None,
    ignore_direction: Annotated[
        bool,
        typer.Option("--ignore-direction", help="Do not use the heading that a file tells."),
    ] = False,
    horizon_px: Annotated[
        float | None, typer.Option(help="Row of the horizon in the upright picture; sets pitch.")
    ] = None,
    near: Annotated[str | None, typer.Option(help="Only around LAT,LON; with --within.")] = None,
    within: Annotated[float | None, typer.Option(help="Radius of that area in kilometres.")] = None,
    use_gps_as_hint: Annotated[
        bool,
        typer.Option("--use-gps-as-hint", help="Only around the place in each file (1 km)."),
    ] = False,
    places: Annotated[
        int | None, typer.Option(help="How many places to give. Default: 10, 5 in a table.")
    ] = None,
    output: Annotated[
        str | None, typer.Option("--format", help="table, jsonl, geojson, kml, kmz, gpx or csv.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write there instead; its ending tells the format.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--map", help="Also write a map page that works offline.")
    ] = None,
    truth: Annotated[
        str | None, typer.Option(help="places.csv, or exif: tell errors in metres and recall.")
    ] = None,
    audit: Annotated[
        Path | None, typer.Option(help="Add a record per photo to this JSON-lines file.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> int:
    """Find where in an indexed region photos were taken.

    A folder stands for all photos in it and below. A photo that cannot be read is reported, and
    the rest are located (exit code 1).
    """
    from crossview.cli import locating, reporting
    from crossview.geo.points import latlon_from_text
    from crossview.outputs.formats import format_named
    from crossview.retrieval.hints import Hints

    if use_gps_as_hint and near is not None:
        raise InvalidValue("Give --near or --use-gps-as-hint, not both.")
    hints = Hints(
        fov_deg=fov,
        heading_deg=heading,
        horizon_px=horizon_px,
        near=None if near is None else latlon_from_text(near),
        within_m=None if within is None or use_gps_as_hint else within * 1000.0,
        places=places or (10 if places is None else places),
        ignore_direction=ignore_direction,
    )
    report = reporting.Report(
        format=format_named(output, out),
        places=hints.places,
        shown=places or reporting.SHOWN,
        accuracy=truth is not None,
        out=out,
        page=page,
        audit=audit,
        quiet=quiet,
    )
    request = locating.Request(
        photos=tuple(photos),
        index=index,
        model=model,
        hints=hints,
        gps_within_m=(1.0 if within is None else within) * 1000.0 if use_gps_as_hint else None,
        truth=truth,
        report=report,
        threads=threads,
        quiet=quiet,
    )
    return locating.run(request)
