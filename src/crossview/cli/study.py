"""``crossview study``: an ablation as one command; interrupted, it goes on where it was."""

from __future__ import annotations

import math
import shlex
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
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
    seeds: Annotated[
        int, typer.Option(help="Trainings per row, seeds 1 to N; 0: as the study says, mostly 3.")
    ] = 0,
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
    recipes: Annotated[
        bool,
        typer.Option(
            "--recipes", help="With --dry-run: write what every published recipe takes, full size."
        ),
    ] = False,
    minutes: Annotated[
        float, typer.Option(help="Stop and save after so long; the next call goes on. 0: never.")
    ] = 0.0,
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
    _check_options(data, cross, seeds, seed or [], minutes)
    if recipes and not dry_run:
        raise InvalidValue("--recipes counts and trains nothing. Give it with --dry-run.")
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
        if recipes:
            _count_recipes(chosen, rows, out)
        else:
            _dry_run(chosen, rows, data)
        return
    from crossview.studies.running import TOWNS, Workplace, open_real_areas, open_town_areas

    place = Workplace(runs=runs, cache=cache, workers=workers, device=device)
    areas = open_real_areas(data, cross) if data else open_town_areas(towns, chosen.plan or TOWNS)
    plan = _list_trainings(rows, seeds, seed or [])
    options = [("--config", text) for text in config or ()]
    options += [(option, text) for option, text in (("--data", data), ("--cross", cross)) if text]
    command = shlex.join(["crossview", "study", name, *(part for pair in options for part in pair)])
    _run(chosen, plan, areas, place, TableOutput(out, command, data, cross, quiet, _end(minutes)))


def _check_options(data: str, cross: str, seeds: int, seed: list[int], minutes: float) -> None:
    """InvalidValue for what no study can take."""
    if cross and not data:
        raise InvalidValue("--cross is for real data. Give the data to train on with --data.")
    if seeds < 0 or any(number < 1 for number in seed):
        raise InvalidValue(f"Seeds count from 1; got --seeds {seeds}, --seed {seed or 'none'}.")
    if not 0.0 <= minutes < math.inf:
        raise InvalidValue(f"--minutes takes a number of at least 0, got {minutes:g}.")


def _list_trainings(rows: tuple[Row, ...], seeds: int, chosen: list[int]) -> list[tuple[Row, int]]:
    """The rows with their seeds, all of the first seed before any of the second."""
    numbers = {row.name: chosen or range(1, (seeds or row.seeds) + 1) for row in rows}
    every = sorted({number for own in numbers.values() for number in own})
    return [(row, number) for number in every for row in rows if number in numbers[row.name]]


def _end(minutes: float) -> float:
    return time.monotonic() + 60.0 * minutes if minutes else math.inf


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
    ends: float = math.inf  # of the monotonic clock


def _run(
    chosen: Study, plan: list[tuple[Row, int]], areas: Areas, place: Workplace, output: TableOutput
) -> None:
    from crossview.studies.running import run_row
    from crossview.training.session import Stopped

    page, apart = output.folder / f"{chosen.name}.md", output.folder / chosen.name
    for number, (row, seed) in enumerate(plan):
        if time.monotonic() > output.ends:
            _say_missing(chosen, areas, place, output)
            break
        if _is_kept(chosen, row, seed, areas, apart):
            continue
        with console.show_progress(
            f"{number + 1} of {len(plan)}: {row.name}, seed {seed}",
            unit="steps",
            quiet=output.quiet,
        ) as bar:
            try:
                result = run_row(chosen, row, seed, areas, place, _watch(bar, output.ends))
            except Stopped as stopped:
                if time.monotonic() > output.ends:
                    _say_missing(chosen, areas, place, output)
                    break
                console.note("Stopped and saved. Run the same command again to continue.")
                raise SystemExit(128 + stopped.signal) from None
        if chosen.bench:
            result.write_apart(apart)
        console.note(f"{row.name}, seed {seed}: {_summarize(result)}", quiet=output.quiet)
        _tabulate(chosen, areas, place, output)
    if not page.is_file():
        _tabulate(chosen, areas, place, output)
    console.print_result(str(page))


def _tabulate(chosen: Study, areas: Areas, place: Workplace, output: TableOutput) -> None:
    """Write the tables of all that is on the disk, also by other processes."""
    from crossview.studies.study_tables import write_tables

    page = output.folder / f"{chosen.name}.md"
    with lock(page, "crossview study", wait=True, make_parents=True):
        write_tables(
            chosen,
            _list_results(chosen, areas, place, output),
            output.folder,
            output.command,
            synthetic=areas.synthetic,
            data=output.data,
            cross=output.cross,
        )


def _say_missing(chosen: Study, areas: Areas, place: Workplace, output: TableOutput) -> None:
    from crossview.studies.study_tables import list_missing

    missing = list_missing(chosen, _list_results(chosen, areas, place, output))
    lacks = f" Not run yet: {'; '.join(missing)}." if missing else ""
    console.note(f"Time is over; all is saved.{lacks} The same command goes on.")


def _list_results(
    chosen: Study, areas: Areas, place: Workplace, output: TableOutput
) -> dict[str, list[Result]]:
    results = _read_results(chosen, areas, place, output.folder / chosen.name)
    return {name: [seeds[k] for k in sorted(seeds)] for name, seeds in results.items()}


def _is_kept(chosen: Study, row: Row, seed: int, areas: Areas, apart: Path) -> bool:
    """Whether a bench has this training beside its table, whatever is in the run folders."""
    from crossview.studies.running import check_result
    from crossview.studies.study import read_result_file

    file = apart / f"{row.name}-{seed}.json"
    if not chosen.bench or not file.is_file():
        return False
    check_result(read_result_file(file), chosen, row, areas, file)
    return True


def _watch(bar: Bar, ends: float) -> Callable[[StepReport], None]:
    """Show steps, and stop the training once the time is over, as whoever stops one: it saves."""
    over = False

    def show(report: StepReport) -> None:
        nonlocal over
        bar.update(report.step, report.steps)
        if not over and time.monotonic() > ends:
            over = True  # a second signal would end it at once
            signal.raise_signal(signal.SIGTERM)

    return show


def _read_results(
    chosen: Study, areas: Areas, place: Workplace, apart: Path
) -> dict[str, dict[int, Result]]:
    """All results on the disk, also of rows and seeds that this command does not run.

    Those of a bench are the files beside its table.
    """
    from crossview.studies.running import check_result
    from crossview.studies.study import RESULT_NAME, read_result_file

    results: dict[str, dict[int, Result]] = {}
    for row in chosen.rows:
        folders = sorted(place.runs.glob(f"{chosen.name}/{row.name}-*"))
        files = [folder / RESULT_NAME for folder in folders]
        if chosen.bench:
            folders = files = sorted(apart.glob(f"{row.name}-*.json"))
        for named, file in zip(folders, files, strict=True):
            number = named.name.removesuffix(".json").removeprefix(f"{row.name}-")
            if number.isdigit() and file.is_file():
                result = read_result_file(file)
                check_result(result, chosen, row, areas, named)
                results.setdefault(row.name, {})[int(number)] = result
    return results


def _summarize(result: Any) -> str:
    tests = (f"{name} R@1 {figures['R@1']:.1f} %" for name, figures in result.tests.items())
    return f"{', '.join(tests)} after {result.seconds / 60:.1f} minutes"


def _count_recipes(chosen: Study, rows: tuple[Row, ...], out: Path) -> None:
    from crossview.studies.budgets import count_recipes, write_budgets

    methods = list(dict.fromkeys(row.method or chosen.method for row in rows))
    budgets = []
    for method in methods:
        for budget in count_recipes(method):
            budgets.append(budget)
            console.note(str(budget))
    console.print_result(str(write_budgets(budgets, out / f"{chosen.name}-full-size.md")))


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
