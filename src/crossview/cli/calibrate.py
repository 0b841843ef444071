"""``crossview calibrate``: known photos of a region in, probabilities that hold there out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


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
    elsewhere: Annotated[
        Path | None,
        typer.Option(help="Folder of photos taken outside of the region: how many are accepted."),
    ] = None,
    coverage: Annotated[
        list[float] | None,
        typer.Option(help="Percent of truths that an area is to hold. Default: 90 and 95."),
    ] = None,
    false_reject: Annotated[
        float, typer.Option(help="Percent of the region's own photos that may be refused.")
    ] = 5.0,
    elsewhere_share: Annotated[
        float, typer.Option(help="Percent of future photos taken elsewhere; an assumption.")
    ] = 5.0,
    ignore_direction: Annotated[
        bool,
        typer.Option("--ignore-direction", help="Do not use the heading that a file tells."),
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
        bool, typer.Option("--dry-run", help="Measure and tell; leave the index as it is.")
    ] = False,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> int:
    """Measure on known photos how far an index can be trusted, and keep that in it.

    From then on locate tells probabilities and areas, for pictures of the kinds that were measured.
    """
    from crossview.cli import calibrating
    from crossview.evaluation.calibrating import Wanted

    wanted = Wanted(
        coverages=tuple(sorted({percent / 100.0 for percent in coverage or (90.0, 95.0)})),
        false_reject=false_reject / 100.0,
        share=elsewhere_share / 100.0,
    )
    request = calibrating.Request(
        index=index,
        photos=tuple(photos or ()),
        truth=truth,
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
    return calibrating.run(request)
