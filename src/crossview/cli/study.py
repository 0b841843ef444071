"""``crossview study``: an ablation as one command; interrupted, it goes on where it was."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console
from crossview.errors import InvalidValue
from crossview.locks import lock

if TYPE_CHECKING:
    from crossview.cli.console import Bar
    from crossview.studies.running import Areas, Workplace
    from crossview.studies.study import Result, Row, Study
    from crossview.training.loop import StepReport


def study(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    name: Annotated[str, typer.Argument(help="Name of the study; --list shows all.")] = "",
    show: Annotated[
        bool, typer.Option("--list", help="Print names and rows of all studies.")
    ] = False,
    row: Annotated[
        list[str] | None, typer.Option(help="Only these rows; repeatable. Default: all.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Trainings per row, seeds 1 to N.")] = 3,
    seed: Annotated[
        list[int] | None, typer.Option(help="Only these seeds, in place of --seeds; repeatable.")
    ] = None,
    config: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE in every row, such as steps; repeatable.")
    ] = None,
    data: Annotated[
        str, typer.Option(help="Train at full size on NAME:ROOT; default: synthetic towns.")
    ] = "",
    cross: Annotated[str, typer.Option(help="Also test on NAME:ROOT; needs --data.")] = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Build every row's network, run one batch; keep nothing."),
    ] = False,
    runs: Annotated[Path, typer.Option(help="Folder of the run folders.")] = Path("runs/studies"),
    towns: Annotated[Path, typer.Option(help="Folder of the towns, rendered if missing.")] = Path(
        "runs/study-towns"
    ),
    out: Annotated[Path, typer.Option(help="Folder of the tables.")] = Path("docs/results"),
    cache: Annotated[Path | None, typer.Option(help="Folder for decoded pictures.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    workers: Annotated[int, typer.Option(help="Loading processes; 0: none.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on stderr.")] = False,
) -> None:
    """Train, test and tabulate the rows of an ablation, seed by seed.

    The table is rewritten after every training. A stopped command continues when run again.
    """
    from crossview import catalogue
    from crossview.studies.study import find_study, read_studies

    if show:
        for listed in read_studies().values():
            console.print_result(
                f"{listed.name}: {listed.title}\n  rows: {', '.join(r.name for r in listed.rows)}"
            )
        return
    if not name:
        raise InvalidValue(f"Give the name of a study: {', '.join(read_studies())}.")
    if cross and not data:
        raise InvalidValue("--cross is for real data. Give the data to train on with --data.")
    if seeds < 1 or any(number < 1 for number in seed or ()):
        raise InvalidValue(f"Seeds count from 1; got --seeds {seeds}, --seed {seed or 'none'}.")
    names = tuple(row or ())
    plain = find_study(name)
    chosen = plain.changed(console.read_settings(config), names)
    rows = chosen.chosen(names)
    _note_steps(plain, chosen, rows, quiet)
    data, cross = (text and catalogue.data_name(text) for text in (data, cross))
    _warn_without_recipe(chosen, rows, data)
    if threads:
        import torch

        torch.set_num_threads(threads)
    if dry_run:
        _dry_run(chosen, rows, data)
        return
    from crossview.studies.running import TOWNS, Workplace, open_real_areas, open_town_areas

    place = Workplace(runs=runs, cache=cache, workers=workers, device=device)
    areas = open_real_areas(data, cross) if data else open_town_areas(towns, chosen.plan or TOWNS)
    numbers = sorted(set(seed)) if seed else range(1, seeds + 1)
    plan = [(one, number) for number in numbers for one in rows]
    options = [("--config", text) for text in config or ()]
    options += [(option, text) for option, text in (("--data", data), ("--cross", cross)) if text]
    command = shlex.join(["crossview", "study", name, *(part for pair in options for part in pair)])
    _run(chosen, plan, areas, place, TableOutput(out, command, data, cross, quiet))


def _note_steps(plain: Study, chosen: Study, rows: tuple[Row, ...], quiet: bool) -> None:
    """Print which rows take more steps than --config steps=N."""
    if chosen is plain:
        return
    for row in rows:
        steps = row.settings.get("steps")
        if steps and plain.steps_ratio(plain.row(row.name)) != 1.0:
            text = f"{row.name} takes {steps} steps, so that all rows cost the same."
            console.note(text, quiet=quiet)


def _warn_without_recipe(chosen: Study, rows: tuple[Row, ...], data: str) -> None:
    """Warn of methods that have no published settings for an official data set."""
    from crossview import catalogue

    if not data or catalogue.find_framing(data) is None:
        return
    for method in dict.fromkeys(row.method or chosen.method for row in rows):
        if catalogue.find_published(method, data) is None:
            name = data.partition(":")[0]
            console.warn(f"{method} has no published settings for {name}; its defaults are used.")


@dataclass(frozen=True)
class TableOutput:
    """Where tables go, the command and data that they name, and whether progress is shown."""

    folder: Path
    command: str
    data: str
    cross: str
    quiet: bool


def _run(
    chosen: Study, plan: list[tuple[Row, int]], areas: Areas, place: Workplace, output: TableOutput
) -> None:
    from crossview.studies.running import run_row
    from crossview.studies.study_tables import write_tables
    from crossview.training.session import Stopped

    page = output.folder / f"{chosen.name}.md"
    for number, (row, seed) in enumerate(plan):
        with console.show_progress(
            f"{number + 1} of {len(plan)}: {row.name}, seed {seed}",
            unit="steps",
            quiet=output.quiet,
        ) as bar:
            try:
                result = run_row(chosen, row, seed, areas, place, partial(_show, bar))
            except Stopped as stopped:
                console.note("Stopped and saved. Run the same command again to continue.")
                raise SystemExit(128 + stopped.signal) from None
        console.note(f"{row.name}, seed {seed}: {_summarize(result)}", quiet=output.quiet)
        with lock(page, "crossview study", wait=True, make_parents=True):
            results = _read_results(chosen, areas, place)  # also of other processes
            listed = {name: [s[k] for k in sorted(s)] for name, s in results.items()}
            page = write_tables(
                chosen,
                listed,
                output.folder,
                output.command,
                synthetic=areas.synthetic,
                data=output.data,
                cross=output.cross,
            )
    console.print_result(str(page))


def _show(bar: Bar, report: StepReport) -> None:
    bar.update(report.step, report.steps)


def _read_results(chosen: Study, areas: Areas, place: Workplace) -> dict[str, dict[int, Result]]:
    """All results on the disk, also of rows and seeds that this command does not run."""
    from crossview.studies.running import check_result
    from crossview.studies.study import read_result

    results: dict[str, dict[int, Result]] = {}
    for row in chosen.rows:
        for folder in sorted(place.runs.glob(f"{chosen.name}/{row.name}-*")):
            number = folder.name.removeprefix(f"{row.name}-")
            if number.isdigit() and (result := read_result(folder)):
                check_result(result, chosen, row, areas, folder)
                results.setdefault(row.name, {})[int(number)] = result
    return results


def _summarize(result: Any) -> str:
    tests = (f"{name} R@1 {figures['R@1']:.1f} %" for name, figures in result.tests.items())
    return f"{', '.join(tests)} after {result.seconds / 60:.1f} minutes"


def _dry_run(chosen: Study, rows: tuple[Row, ...], data: str) -> None:
    from crossview.studies.running import dry_run_rows

    for line in dry_run_rows(chosen, rows, data):
        (gh, gw), (ah, aw) = line.ground_px, line.aerial_px
        losses = ", ".join(f"{name} {value:.3f}" for name, value in line.losses.items())
        console.print_result(
            f"{line.row}: {line.parameters / 1e6:.2f} million parameters, ground {gw} x {gh}, "
            f"aerial {aw} x {ah}, vectors of {line.dim}; {line.places} places of a batch of "
            f"{line.batch}, {line.copies} {'pair' if line.copies == 1 else 'pairs'} each, in "
            f"{line.seconds:g} s: {losses}"
        )
