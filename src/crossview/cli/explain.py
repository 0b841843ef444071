"""``crossview explain``: what a trained network looks at, in pictures and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console
from crossview.errors import InvalidValue
from crossview.locks import lock

if TYPE_CHECKING:
    from crossview.catalogue import Run


def explain(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    run: Annotated[list[Path], typer.Argument(help="Run folders; the first one is explained.")],
    out: Annotated[Path, typer.Option(help="Folder for pictures and explain.json.")],
    data: Annotated[
        str, typer.Option(help="NAME:ROOT to explain on; without it, only losses are drawn.")
    ] = "",
    split: Annotated[str, typer.Option(help="Split of that data: test, val or train.")] = "test",
    sample: Annotated[int, typer.Option(help="Pairs to measure on, drawn by seed.")] = 300,
    show: Annotated[int, typer.Option(help="Pairs whose masks are drawn.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    method: Annotated[str | None, typer.Option(help=console.METHOD_HELP)] = None,
) -> None:
    """Draw layout masks, distances of changed pictures, and the losses of several trainings.

    Masks from above are unrolled, so that the columns of both pictures look the same way.
    """
    from crossview import catalogue
    from crossview.explain.masks import explain as write_figures
    from crossview.explain.masks import explain_courses
    from crossview.pairs.loading import make_plain_reader

    if not data and len(run) < 2:
        raise InvalidValue(
            "Give --data to explain one run, or several runs to compare their losses."
        )
    with lock(out, "crossview explain", make_parents=True):
        if len(run) > 1:
            _warn_of_torn_logs(run)
            explain_courses(run, out)
        if data:
            trained = console.open_run(run[0], method)
            model = _open_network(trained, device)
            source = catalogue.open_data(data)
            table = trained.frame(source.table(split), source.name)
            reader = make_plain_reader(table, trained.views)
            rows = _draw_rows(len(table), sample, seed)
            _print_figures(write_figures(model, reader, rows, out, shown=show))
    console.print_result(str(out))


def _warn_of_torn_logs(runs: list[Path]) -> None:
    from crossview.training.run_folder import RunFolder

    for folder in map(RunFolder, runs):
        if folder.entries()[1]:
            console.warn(
                f"the last line of {folder.log} is incomplete, as a killed training leaves it; "
                "it is ignored."
            )


def _open_network(run: Run, device: str) -> Any:
    from crossview.training.device import open_device
    from crossview.training.session import build_without_weights
    from crossview.training.train_state import load_weights

    model = build_without_weights(run.page, run.config)
    load_weights(model, run.folder.weights)
    return model.to(open_device(device))


def _draw_rows(count: int, sample: int, seed: int) -> list[int]:
    import numpy as np

    order = np.random.default_rng(seed).permutation(count)
    return [int(row) for row in order[:sample]]


def _print_figures(figures: dict[str, Any]) -> None:
    for name, distance in figures["distances"].items():
        mean, spread = distance["mean"], distance["std"]
        console.print_result(f"distance, {name}: mean {mean:.3f}, spread {spread:.3f}")
    recalls = ", ".join(f"{name} {value:.1f} %" for name, value in figures["recall"].items())
    console.print_result(f"R@1 among {figures['pairs']} pairs, both views alike: {recalls}")
    if "alignment" not in figures:
        console.note("This network has no layout masks; only distances were measured.")
        return
    alignment = figures["alignment"]
    for name, words in (("", "masks"), ("own_", "masks without what all places share")):
        same, other = alignment[f"{name}matched"], alignment[f"{name}unmatched"]
        console.print_result(
            f"correlation of {words}: matched {same[0]:.3f} [{same[1]:.3f}, {same[2]:.3f}], "
            f"unmatched {other[0]:.3f} [{other[1]:.3f}, {other[2]:.3f}]"
        )
    console.print_result(
        f"a matched pair correlates more than an unmatched one in "
        f"{100 * alignment['separated']:.0f} % of draws ({alignment['pairs']} pairs)"
    )
