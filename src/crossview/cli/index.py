"""``crossview index``: imagery of a region in, ``region.cvx`` out."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from crossview.errors import InvalidValue, UsageError


def index(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    sources: Annotated[
        list[Path],
        typer.Argument(
            help="GeoTIFF, JPEG 2000, MBTiles or PMTiles files; an XYZ folder; a folder or CSV of "
            "georeferenced images. With --verify: indexes.",
            metavar="SOURCE",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="The index to make, such as region.cvx.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Model folder; 'town' knows the synthetic town only.")
    ] = None,
    footprint: Annotated[
        float | None, typer.Option(help="Side of a window in metres. Default: the model's.")
    ] = None,
    stride: Annotated[
        float | None, typer.Option(help="Metres between windows. Default: footprint / 4.")
    ] = None,
    near: Annotated[str | None, typer.Option(help="Only around LAT,LON; with --within.")] = None,
    within: Annotated[float, typer.Option(help="Radius of that area in kilometres.")] = 0.0,
    bands: Annotated[
        str | None, typer.Option(help="Bands for red, green, blue, such as 4,3,2; or one.")
    ] = None,
    stretch: Annotated[
        str | None, typer.Option(help="Percentiles for black and white. 16 bit: 2,98.")
    ] = None,
    crs: Annotated[
        str | None, typer.Option(help="Whatever the files say, such as EPSG:25833.")
    ] = None,
    metres_per_px: Annotated[
        float | None, typer.Option(help="Of images in a CSV that tell none.")
    ] = None,
    width_m: Annotated[float | None, typer.Option(help="Likewise: metres across.")] = None,
    zoom: Annotated[
        int | None, typer.Option(help="Of tile pyramids. Default: what the model needs.")
    ] = None,
    tms: Annotated[
        bool | None,
        typer.Option("--tms/--no-tms", help="Of tile pyramids: rows from the south, the north."),
    ] = None,
    nodata: Annotated[
        str | None, typer.Option(help="Stored value of no data: V, or R,G,B.")
    ] = None,
    allow_vrt: Annotated[
        bool,
        typer.Option("--allow-vrt", help="Read VRT files, of local files in their folder."),
    ] = False,
    attribution: Annotated[str | None, typer.Option(help="Whose imagery it is.")] = None,
    date: Annotated[str | None, typer.Option(help="When the imagery was taken.")] = None,
    allow_coarse: Annotated[
        bool, typer.Option("--allow-coarse", help="Imagery coarser than the model's; marked.")
    ] = False,
    demo_only: Annotated[
        bool, typer.Option("--demo-only", help="The town's model on real imagery; marked.")
    ] = False,
    add: Annotated[bool, typer.Option("--add", help="Add to the index --out.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the index --out.")
    ] = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew instead of going on.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell how many tiles, how large, how long.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare an index with its checksums.")
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Index imagery, so that photos can be located in it.

    Stopped or killed, the same command goes on where it was. An index is complete or absent.
    """
    from crossview.cli import indexing
    from crossview.geo.points import latlon_from_text
    from crossview.imagery.options import SourceOptions
    from crossview.retrieval.settings import IndexOptions

    if verify:
        indexing.verify(sources)
        return
    if out is None:
        raise UsageError("Say where to write the index, for example: --out region.cvx")
    described = SourceOptions(
        bands=_whole_numbers(bands),
        stretch=_percentiles(stretch),
        crs=crs,
        metres_per_px=metres_per_px,
        width_m=width_m,
        zoom=zoom,
        tms=tms,
        nodata=_nodata(nodata),
        allow_vrt=allow_vrt or None,
        attribution=attribution,
        date=date,
    )
    wanted = IndexOptions(
        footprint_m=footprint,
        stride_m=stride,
        near=None if near is None else latlon_from_text(near),
        within_m=within * 1000.0,
        allow_coarse=allow_coarse,
        demo_only=demo_only,
        restart=restart,
        overwrite=overwrite,
    )
    request = indexing.Request(tuple(sources), out, model, described, wanted, threads, add, quiet)
    if dry_run:
        indexing.estimate(request)
    else:
        indexing.build(request)


def _whole_numbers(text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(part) for part in text.split(","))
    except ValueError as problem:
        raise InvalidValue(f"--bands {text}: give band numbers, for example 4,3,2.") from problem


def _nodata(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(map(math.isfinite, values)):
        raise InvalidValue(f"--nodata {text}: give one number, or three as in 255,255,255.")
    return values


def _percentiles(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError as problem:
        raise InvalidValue(f"--stretch {text}: give two percentiles, such as 2,98.") from problem
    return low, high
