"""``crossview data``: check a data set, find repeated pictures, keep decoded ones on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crossview.cli import console

data = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Check a data set, find repeated pictures in it, or keep its pictures decoded on disk.",
)
Quiet = Annotated[bool, typer.Option("--quiet", help="Only errors and results.")]
Workers = Annotated[int, typer.Option(help="Reading processes; 0: none.")]


@data.command()
def check(
    name: Annotated[str, typer.Argument(help="A data set, such as cvusa; or pairs.")],
    root: Annotated[Path, typer.Option(help="Its folder; of pairs, the file.")],
    everything: Annotated[
        bool, typer.Option("--all", help="Open every picture, not a sample.")
    ] = False,
    sample: Annotated[int, typer.Option(help="How many pictures to open.")] = 200,
    workers: Workers = 2,
    quiet: Quiet = False,
) -> None:
    """Say what is there, what is missing and where it belongs; open pictures.

    Exit code 1 if something has to be put right.
    """
    from crossview.cli.checking import check_data

    problems = check_data(name, root, None if everything else sample, workers, quiet)
    if problems:
        raise typer.Exit(1)


@data.command()
def dedup(
    name: Annotated[str, typer.Argument(help="A data set, such as cvusa.")],
    root: Annotated[Path, typer.Option(help="Its folder.")],
    workers: Workers = 2,
    quiet: Quiet = False,
) -> None:
    """Find pictures of equal pixels; of CVUSA, write lists without them."""
    from crossview.cli.repeating import find_repeats

    find_repeats(name, root, workers, quiet)


@data.command()
def cache(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    data_name: Annotated[str, typer.Option("--data", help="NAME:ROOT, as for train.")],
    method: Annotated[str, typer.Option(help="Whose pictures: a method, or a page ./mine.py")],
    out: Annotated[Path, typer.Option(help="Folder of the cache, to be given to train --cache.")],
    config: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the method's Config; repeatable.")
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="Only this split; repeatable.")] = None,
    decoding: Annotated[
        str, typer.Option(help="exact: as the papers resize. fast: DCT-scaled, then by area.")
    ] = "exact",
    workers: Workers = 2,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Report unreadable pictures, do not fail.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how large it is.")] = False,
    quiet: Quiet = False,
) -> None:
    """Decode and resize every picture once. Says the size first; goes on where it was stopped."""
    from crossview.cli.caching import CacheRequest, fill

    request = CacheRequest(
        data=data_name,
        method=method,
        settings=tuple(config or ()),
        splits=tuple(split or ()),
        decoding=decoding,
        out=out,
        workers=workers,
        skip_unreadable=skip_unreadable,
    )
    lost = fill(request, dry_run=dry_run, quiet=quiet)
    if lost:
        console.warn(f"{lost} pictures cannot be read; they are not in the cache.")
