"""``crossview adapt``: a model of one's own region, from its imagery alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console
from crossview.cli.imagery import (
    AcceptLicence,
    AreaFile,
    Bbox,
    FetchOptions,
    choose_demand,
    choose_pairs_demand,
    fetch_sources,
    join_demands,
)
from crossview.cli.index import Attribution, Bands, Crs, Date, Stretch, read_source_options
from crossview.cli.world import HeightsFile, OutlinesFile

_SHOWN = ("R@1", "within 25 m")

if TYPE_CHECKING:
    from crossview.adaptation import Adaptation, AdaptationPlan, Survey


def adapt(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    sources: Annotated[
        list[str],  # a Path would eat a slash of an address
        typer.Argument(help="Imagery, as crossview index takes it; or an index.", metavar="SOURCE"),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the model to make.")],
    model: Annotated[
        str, typer.Option(help="The model to begin from: a name or a folder.")
    ] = "earth",
    heights: HeightsFile = None,
    buildings: OutlinesFile = None,
    pairs: Annotated[
        Path | None, typer.Option(help="pairs.csv of real pairs, mixed into the training.")
    ] = None,
    photos: Annotated[
        list[Path] | None,
        typer.Option(help="Photos of unknown place, or folders of them; repeatable."),
    ] = None,
    known: Annotated[
        Path | None, typer.Option(help="places.csv of photos of known place: measured on, only.")
    ] = None,
    bbox: Bbox = None,
    area: AreaFile = None,
    accept_licence: AcceptLicence = False,
    minutes: Annotated[float, typer.Option(help="About how long it may take.")] = 40.0,
    bands: Bands = None,
    stretch: Stretch = None,
    crs: Crs = None,
    attribution: Attribution = None,
    date: Date = None,
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that draw; 0: one a core.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done; write nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Make a model of a region from its imagery: worlds of it, and fine-tuning on them.

    Measures before and after on a part kept apart, and keeps what is surely better. If it is
    stopped, the same command continues.
    """
    import logging

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    from crossview import adaptation

    paths = fetch_sources(
        sources,
        (bbox, area, None, 0.0),
        lambda: join_demands(choose_demand(model), choose_pairs_demand()),
        FetchOptions(accept_licence=accept_licence, dry_run=dry_run, quiet=quiet),
    )
    if paths is None:
        return
    options = adaptation.AdaptOptions(
        sources=tuple(paths),
        out=out,
        model=model,
        source_options=read_source_options(
            bands=bands, stretch=stretch, crs=crs, attribution=attribution, date=date
        ),
        heights=heights,
        buildings=buildings,
        pairs=pairs,
        photos=tuple(photos or ()),
        known=known,
        minutes=minutes,
        seed=seed,
        workers=workers,
        threads=threads,
    )
    if threads:
        import torch

        torch.set_num_threads(threads)
    if dry_run:
        survey, plan = adaptation.estimate(options)
        console.print_result(f"{_describe_plan(survey, plan)} Nothing was written.")
        console.warn_of_disk(plan.bytes, out)
        return
    with show_stages(quiet) as progress:
        outcome = adaptation.adapt(options, progress, lambda text: console.note(text, quiet=quiet))
    if outcome.was_there:
        console.note("Nothing to do: the model is complete already.", quiet=quiet)
    console.print_result(_format_outcome(outcome, out))


@contextmanager
def show_stages(quiet: bool) -> Iterator[Any]:
    """A bar for each job in turn."""
    from crossview.training.session import Stopped

    with ExitStack() as stack:
        shown: dict[str, console.Bar] = {}

        def progress(job: str, done: int, total: int) -> None:
            if job not in shown:
                stack.close()
                bar = console.show_progress(job, total, unit="steps", quiet=quiet)
                shown.clear()
                shown[job] = stack.enter_context(bar)
            shown[job].update(done, total)

        try:
            yield progress
        except (KeyboardInterrupt, Stopped) as stopped:
            stack.close()
            console.note("Run the same command again to continue.", quiet=quiet)
            if isinstance(stopped, Stopped):
                raise SystemExit(128 + stopped.signal) from None
            raise


def _describe_plan(survey: Survey, plan: AdaptationPlan) -> str:
    jobs = ", ".join(
        f"{job} {console.format_duration(seconds)}" for job, seconds in plan.seconds.items()
    )
    return (
        f"{survey.area_km2:.2f} km2: {survey.trained_km2:.2f} km2 to train on, "
        f"{survey.kept_km2:.2f} km2 kept apart, the rest between them.\n"
        f"About {plan.pairs} pairs of worlds, {plan.steps} steps of training, "
        f"{console.format_size(plan.bytes)} on disk while it runs.\n"
        f"About {console.format_duration(plan.total_s)} on this machine ({jobs})."
    )


def _format_outcome(outcome: Adaptation, out: Path) -> str:
    """What was measured, what it means, and what was kept."""
    lines = []
    for data, candidates in outcome.figures.items():
        first = next(iter(candidates.values()))
        lines.append(f"{data}: {first['queries']} queries among {first['references']} pictures")
        for condition in (name for name in first if isinstance(first[name], Mapping)):
            lines.append(f"  {condition}")
            for name, figures in candidates.items():
                shown = {key: _format_share(figures[condition][key]) for key in _SHOWN}
                if data != "worlds":  # there are no pairs, only places
                    del shown["R@1"]
                words = "   ".join(f"{key} {share}" for key, share in shown.items())
                lines.append(f"    {name:<24} {words}")
    lines.append("")
    for name, found in outcome.differences.items():
        lines.append(
            f"{name} minus as given, {outcome.judged_by}: {100 * found['difference']:+.1f} points "
            f"({100 * found['low']:+.1f} to {100 * found['high']:+.1f}), p {found['p_holm']:.2g}"
        )
    verdict = (
        f"It helped: {outcome.kept} is surely better, and kept."
        if outcome.helped
        else "Nothing was surely better: the model is kept as it was given."
    )
    lines.append(verdict)
    if outcome.judged_by == "worlds":
        lines.append(
            "Worlds are drawn, not real: a gain there promises none on photos. Give --known "
            "places.csv of 30 photos or more to have them decide."
        )
    lines.append(f"{out}\nNext: crossview index IMAGERY --model {out} --out region.cvx")
    return "\n".join(lines)


def _format_share(share: Mapping[str, float]) -> str:
    return f"{100 * share['value']:5.1f} % ({100 * share['low']:.0f} to {100 * share['high']:.0f})"
