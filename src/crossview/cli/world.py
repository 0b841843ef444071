"""``crossview world``: write a synthetic town, seen from above and from its streets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossview.cli import console


def world(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    style: Annotated[str, typer.Option(help="Style of the town, such as old or suburb.")] = "old",
    seed: Annotated[
        int, typer.Option(help="Number of the town; 20000 and above are for tests.")
    ] = (20_000),
    side_m: Annotated[float, typer.Option(help="Side of the mapped square in metres.")] = 800.0,
    panoramas: Annotated[int, typer.Option(help="Number of 360-degree panoramas.")] = 12,
    photos: Annotated[int, typer.Option(help="Number of perspective photos.")] = 12,
    fov: Annotated[float, typer.Option(help="Their horizontal field of view in degrees.")] = 90.0,
    pitch: Annotated[float, typer.Option(help="Their largest pitch in degrees.")] = 0.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Write aerial.tif, ground/*.jpg, places.csv and sheet.png of one synthetic town."""
    from crossview.worlds.write import PhotoSeries, write_world

    series = (PhotoSeries(panoramas), PhotoSeries(photos, fov, pitch))
    with console.show_progress("pictures", panoramas + photos, unit="pictures", quiet=quiet) as bar:
        town = write_world(
            out, style, seed, side_m=side_m, series=series,
            progress=bar.update,
        )  # fmt: skip
    console.print_result(
        f"{town.folder}: {town.area_km2:.2f} km2 of synthetic town, {town.pictures} pictures.\n"
        f"Look at {town.folder / 'sheet.png'}, then:\n"
        f"  crossview index {town.map_file} --out {town.folder / 'region.cvx'}"
    )
