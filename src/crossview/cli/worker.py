"""``crossview worker``: help to embed an index that was begun elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossview.cli import console

if TYPE_CHECKING:
    from crossview.index.build import Progress


def worker(
    address: Annotated[
        Path,
        typer.Argument(
            help="The index that is being built, such as region.cvx, in a folder that all see.",
            metavar="ADDRESS",
        ),
    ],
    source: Annotated[
        list[Path] | None,
        typer.Option(
            "--source", help="Where the same imagery is on this machine; may be repeated."
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Where the same model is on this machine.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the index to be begun.")] = 0.0,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Embed units of an index that crossview index has begun, until all are done.

    Start as many as you like, here or on other machines. One that dies costs what it had in hand.
    """
    from crossview.index.workers import WorkerOptions, work

    options = WorkerOptions(
        sources=tuple(source or ()), model=model or "", threads=threads, wait_s=wait
    )
    with show_units("Embedding", quiet=quiet) as progress:
        ours = work(address, options, progress)
    if ours is None:
        console.print_result(f"Nothing to do: {address} is complete.")
    else:
        console.print_result(
            f"All units of {address} are done; {ours} of its tiles were embedded here. "
            "The crossview index that began it puts them together."
        )


@contextmanager
def show_units(title: str, *, quiet: bool) -> Iterator[Progress]:
    """A progress bar over all workers, that appears with the first report."""
    with ExitStack() as stack:
        bars: list[console.Bar] = []

        def progress(done: int, total: int) -> None:
            if not bars:
                bar = console.show_progress(title, total, unit="tiles", done=done, quiet=quiet)
                bars.append(stack.enter_context(bar))
            bars[0].update(done)

        yield progress
