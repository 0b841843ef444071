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
    from crossview.explain.masks import ExplainedRun
    from crossview.pairs.table import PairTable

ONE_DATA = ("-cleaned", "-corrected")  # a data set's list and its better one are one data set


def explain(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    run: Annotated[list[Path], typer.Argument(help="Run folders; several stand side by side.")],
    out: Annotated[Path, typer.Option(help="Folder for pictures and explain.json.")],
    data: Annotated[
        str, typer.Option(help="NAME:ROOT to explain on; without it, only losses are drawn.")
    ] = "",
    split: Annotated[str, typer.Option(help="Split of that data: test, val or train.")] = "test",
    sample: Annotated[int, typer.Option(help="Pairs to measure on, drawn by seed.")] = 300,
    show: Annotated[int, typer.Option(help="Pairs whose masks and samples are drawn.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps")] = "auto",
    method: Annotated[str | None, typer.Option(help=console.METHOD_HELP)] = None,
) -> None:
    """Draw layout masks, distances of changed pictures, samples of a training, and losses.

    Several runs stand side by side in each figure, on the same pairs. Masks from above are
    unrolled, so that the columns of both pictures look the same way.
    """
    from crossview import catalogue
    from crossview.explain import masks

    if not data and len(run) < 2:
        raise InvalidValue(
            "Give --data to explain one run, or several runs to compare their losses."
        )
    names = masks.label_runs(run)
    with lock(out, "crossview explain", make_parents=True):
        opened = [_open_run(path, method, alone=len(run) == 1) for path in run] if data else []
        _require_same_data(opened, names)
        if len(run) > 1 and _have_logs(run, aloud=bool(data)):
            _warn_of_torn_logs(run)
            masks.explain_courses(run, out)
        if data:
            source = catalogue.open_data(data)
            table = source.table(split)
            rows = _draw_rows(len(table), sample, seed)
            subjects = [
                _open_explained(name, trained, trained.frame(table, source.name), device)
                for name, trained in zip(names, opened, strict=True)
            ]
            _print_figures(masks.explain(subjects, rows, out, shown=show))
    console.print_result(str(out))


def _open_run(path: Path, method: str | None, *, alone: bool) -> Run:
    """A run; of several, ``method`` is for those that were made with a page from outside."""
    from crossview import catalogue
    from crossview.training.run_folder import RunFolder

    if method is not None and not alone:
        made_with = str(RunFolder(path).config().get("method", ""))
        method = None if made_with in catalogue.METHODS else method
    return console.open_run(path, method)


def _require_same_data(runs: list[Run], names: list[str]) -> None:
    """InvalidValue where runs were trained on different data: the data would be what differs."""
    for name, trained in zip(names[1:], runs[1:], strict=False):
        first, other = _describe_data(runs[0]), _describe_data(trained)
        if first != other:
            raise InvalidValue(
                f"{names[0]} was trained on {runs[0].record['data']}, {name} on "
                f"{trained.record['data']}: side by side they would show that, and not what "
                "their settings do.\nName runs of one data set, or explain them one by one."
            )


def _describe_data(run: Run) -> str:
    """What a run was trained on: a data set's name, and of other pairs what they were."""
    from crossview import catalogue

    kind, _, root = str(run.record["data"]).partition(":")
    kind = kind.strip().casefold()
    if kind in catalogue.BENCHMARKS:
        for ending in ONE_DATA:
            kind = kind.removesuffix(ending)
        return kind
    split = run.record.get("train")
    facts = split.get("facts") if isinstance(split, dict) else None
    return str(facts) if facts else f"{kind}:{root}"


def _have_logs(runs: list[Path], *, aloud: bool) -> bool:
    """Whether losses are to be drawn; beside other figures imported runs may have none."""
    from crossview.training.run_folder import RunFolder

    without = [path for path in runs if not RunFolder(path).log.is_file()]
    if without and aloud:
        console.note(f"No losses are drawn: {without[0]} has no log.jsonl, as imported runs.")
        return False
    return True


def _open_explained(name: str, run: Run, table: PairTable, device: str) -> ExplainedRun:
    from crossview.explain.masks import ExplainedRun
    from crossview.pairs.loading import make_plain_reader

    return ExplainedRun(
        name=name,
        model=_open_network(run, device),
        reader=make_plain_reader(table, run.views),
        page=run.page,
        config=run.config,
    )


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
    """What was measured of one run, or of each of several below its name."""
    for one in figures.get("runs", [figures]):
        if "run" in one:
            console.print_result(f"{one['run']}:")
        _print_run(one)


def _print_run(figures: dict[str, Any]) -> None:
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
