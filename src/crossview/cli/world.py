"""``crossview world``: a synthetic town, or worlds drawn from a real orthophoto."""

from __future__ import annotations

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
    fetch_sources,
)
from crossview.cli.index import Attribution, Bands, Crs, Stretch, read_source_options
from crossview.errors import UsageError

if TYPE_CHECKING:
    from crossview.worlds.changes import Changes
    from crossview.worlds.write import PhotoSeries

# Options of every verb that draws worlds of imagery.
HeightsFile = Annotated[
    Path | None, typer.Option(help="Raster of heights above the ground, or of the surface.")
]
OutlinesFile = Annotated[
    Path | None, typer.Option(help="Outlines of buildings: GeoJSON, GeoPackage, OSM extract.")
]


def world(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    style: Annotated[str, typer.Option(help="Style of the town, such as old or suburb.")] = "old",
    seed: Annotated[
        int | None,
        typer.Option(
            help="Number of the town (default 20000; from there on for tests), or of the "
            "worlds (default 0)."
        ),
    ] = None,
    side_m: Annotated[float, typer.Option(help="Side of the mapped square in metres.")] = 800.0,
    panoramas: Annotated[int, typer.Option(help="Number of 360-degree panoramas.")] = 12,
    photos: Annotated[int, typer.Option(help="Number of perspective photos.")] = 12,
    fov: Annotated[float, typer.Option(help="Their horizontal field of view in degrees.")] = 90.0,
    pitch: Annotated[float, typer.Option(help="Their largest pitch in degrees.")] = 0.0,
    outdated: Annotated[
        float, typer.Option(help="Share of buildings replaced since the aerial picture.")
    ] = 0.0,
    snow: Annotated[bool, typer.Option("--snow", help="Snow in the pictures taken later.")] = False,
    night: Annotated[bool, typer.Option("--night", help="Night in the pictures.")] = False,
    with_heights: Annotated[
        bool, typer.Option("--with-heights", help="Also heights.tif, the surface of the town.")
    ] = False,
    source: Annotated[
        list[str] | None,  # a Path would eat a slash of an address
        typer.Option("--from", help="Real orthophoto, as crossview index takes it; repeatable."),
    ] = None,
    heights: HeightsFile = None,
    buildings: OutlinesFile = None,
    skies: Annotated[
        Path | None, typer.Option(help="Folder of 360-degree panoramas to take skies from.")
    ] = None,
    textures: Annotated[
        Path | None, typer.Option(help="Folder of pictures of walls: brick, plaster, wood.")
    ] = None,
    pairs: Annotated[int, typer.Option(help="About how many pairs, with --from.")] = 500,
    keep: Annotated[
        float, typer.Option(help="Share of the region that validates, apart from the rest.")
    ] = 0.2,
    bands: Bands = None,
    stretch: Stretch = None,
    crs: Crs = None,
    attribution: Attribution = None,
    bbox: Bbox = None,
    area: AreaFile = None,
    accept_licence: AcceptLicence = False,
    workers: Annotated[int, typer.Option(help="Processes that draw; 0: one a core.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Write a synthetic town, or with --from training pairs of worlds on a real orthophoto.

    A town: aerial.tif, ground/*.jpg, places.csv and sheet.png. Worlds: pairs.csv, its pictures and
    sheet.png; stopped, the same command continues.
    """
    if not source:
        if any(
            given is not None for given in (heights, buildings, skies, textures, bands, crs, bbox)
        ):
            raise UsageError(
                "--heights, --buildings, --skies, --textures, --bands and --crs belong to worlds "
                "of a real orthophoto.\nGive it with --from, for example: --from city.tif"
            )
        from crossview.worlds.changes import Changes
        from crossview.worlds.write import PhotoSeries

        series = (PhotoSeries(panoramas), PhotoSeries(photos, fov, pitch))
        more = Changes(outdated, snow, night), with_heights
        town_seed = 20_000 if seed is None else seed
        _write_town(out, (style, town_seed, side_m), series, more, quiet=quiet)
        return
    if outdated or snow or night or with_heights:
        raise UsageError(
            "--outdated, --snow, --night and --with-heights belong to synthetic towns.\n"
            "Leave them out with --from."
        )
    paths = fetch_sources(
        source, (bbox, area, None, 0.0), choose_pairs_demand,
        FetchOptions(accept_licence=accept_licence, quiet=quiet),
    )  # fmt: skip
    from crossview.imagery.orthophotos import prepare_region
    from crossview.imagery.sources import open_sources
    from crossview.worlds.ortho_pairs import OrthoPlan

    options = read_source_options(bands=bands, stretch=stretch, crs=crs, attribution=attribution)
    plan = OrthoPlan(seed=seed or 0, skies=skies, textures=textures)
    with open_sources(paths or (), options) as imagery:
        for note in imagery.notes:
            console.note(f"{note}.", quiet=quiet)
        region = prepare_region(
            imagery, out, pairs=pairs, kept_share=keep, plan=plan, heights=heights,
            buildings=buildings, workers=workers,
        )  # fmt: skip
        region.require_own_folder()
        for note in region.notes:
            console.warn(f"{note}.")
        with console.show_progress("worlds", region.squares, unit="squares", quiet=quiet) as bar:
            for done in region.draw():
                bar.update(done, region.squares)
    counts = region.count_pairs()
    console.print_result(
        f"{out}: {sum(counts.values())} pairs of {region.squares} squares "
        f"({', '.join(f'{n} {split}' for split, n in counts.items())}). The pictures from above "
        "are the imagery's own, those from the ground are drawn.\n"
        f"Look at {out / 'sheet.png'}, then:\n"
        f"  crossview train --method compass --data pairs:{out / 'pairs.csv'} --out my-run"
    )


def _write_town(
    out: Path,
    town: tuple[str, int, float],
    series: tuple[PhotoSeries, ...],
    more: tuple[Changes, bool],
    *,
    quiet: bool,
) -> None:
    from crossview.worlds.write import write_world

    count = sum(part.count for part in series)
    with console.show_progress("pictures", count, unit="pictures", quiet=quiet) as bar:
        world = write_world(
            out, town[0], town[1], side_m=town[2], series=series, progress=bar.update,
            changes=more[0], heights=more[1],
        )  # fmt: skip
    console.print_result(
        f"{world.folder}: {world.area_km2:.2f} km2 of synthetic town, {world.pictures} pictures.\n"
        f"Look at {world.folder / 'sheet.png'}, then:\n"
        f"  crossview index {world.map_file} --out {world.folder / 'region.cvx'}"
    )
