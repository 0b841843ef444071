"""``crossview region``: a place on Earth in one command, from imagery and street photos."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossview.cli import console
from crossview.cli.adapt import show_stages
from crossview.cli.imagery import (
    AcceptLicence,
    FetchOptions,
    choose_demand,
    choose_pairs_demand,
    is_remote,
    join_demands,
    resolve_sources,
)
from crossview.cli.index import (
    AllowCoarse,
    Attribution,
    Bands,
    Crs,
    Date,
    DemoOnly,
    Footprint,
    Stretch,
    Stride,
    read_source_options,
)
from crossview.errors import UsageError

if TYPE_CHECKING:
    from crossview.imagery.remote import Demand
    from crossview.region_model import PlannedStep, RegionPlan


def region(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    imagery: Annotated[
        list[str],  # a Path would eat a slash of an address
        typer.Option(help="Imagery, as crossview index takes it; repeatable.", metavar="SOURCE"),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the region, such as my-region.")],
    street: Annotated[
        str,
        typer.Option(
            help="Street photos: panoramax, panoramax:URL, mapillary, kartaview, folder:PATH, or "
            "pairs:FILE. Default: none.",
            metavar="SOURCE",
        ),
    ] = "",
    bbox: Annotated[
        str | None,
        typer.Option(
            metavar="W,S,E,N", help="Where photos and imagery by address are fetched, in degrees."
        ),
    ] = None,
    area: Annotated[
        Path | None, typer.Option(help="The same: GeoJSON. Default: where local imagery is.")
    ] = None,
    accept_photo_licence: Annotated[
        list[str] | None,
        typer.Option(help="Use photos of this licence, too, as the service names it; repeatable."),
    ] = None,
    accept_licence: AcceptLicence = False,
    token_file: Annotated[
        Path | None, typer.Option(help="File that holds the service's token.")
    ] = None,
    model: Annotated[
        str, typer.Option(help="The model to begin from. Default: the one for this imagery.")
    ] = "",
    most: Annotated[int, typer.Option(help="Street photos, at most.")] = 600,
    max_age: Annotated[
        float | None, typer.Option(help="Years at most between a photo and the imagery.")
    ] = None,
    minutes: Annotated[float, typer.Option(help="About how long adapting may take.")] = 40.0,
    no_training: Annotated[
        bool, typer.Option("--no-training", help="Train nothing: calibrate and test only.")
    ] = False,
    footprint: Footprint = None,
    stride: Stride = None,
    bands: Bands = None,
    stretch: Stretch = None,
    crs: Crs = None,
    attribution: Attribution = None,
    date: Date = None,
    allow_coarse: AllowCoarse = False,
    demo_only: DemoOnly = False,
    language: Annotated[
        str, typer.Option(help="Of the report and the map: en or de.", metavar="NAME")
    ] = "en",
    seed: Annotated[int, typer.Option(help="Seed of every random draw.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that draw; 0: one a core.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads of the network; 0: all.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan; write nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Go on without asking.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Make a model and a calibrated index of a region, test them there, and report in plain words.

    Prints the plan first. If it is stopped, the same command goes on; what is done is not repeated.
    """
    import logging

    from crossview import region_model
    from crossview.geo.perimeters import read_area
    from crossview.index.index_options import IndexOptions
    from crossview.texts import match_language

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    where = read_area(bbox, area)
    is_far = any(map(is_remote, imagery))
    if is_far and not (yes or dry_run):
        _require_terminal()
    paths = resolve_sources(
        imagery,
        where,
        lambda: _choose_demand(
            choose_demand(model or None, footprint, allow_coarse=allow_coarse),
            has_photos=bool(street),
            training=not no_training,
        ),
        FetchOptions(
            accept_licence=accept_licence,
            dry_run=dry_run,
            quiet=quiet,
        ),
    )
    options = region_model.RegionOptions(
        out=out,
        sources=tuple(map(Path, imagery)) if paths is None else tuple(paths),
        street=street,
        area=where,
        accepted_licences=tuple(accept_photo_licence or ()),
        token_file=token_file,
        model=model,
        most=most,
        max_age_years=max_age,
        minutes=minutes,
        training=not no_training,
        source_options=read_source_options(
            bands=bands, stretch=stretch, crs=crs, attribution=attribution, date=date
        ),
        index_options=IndexOptions(
            footprint_m=footprint,
            stride_m=stride,
            allow_coarse=allow_coarse,
            demo_only=demo_only,
        ),
        seed=seed,
        workers=workers,
        threads=threads,
        language=match_language(language),
    )
    if threads and not no_training:
        _limit_threads(threads)

    def tell(text: str) -> None:
        console.note(text, quiet=quiet)

    if paths is None:
        step, licences = region_model.plan_photos(options, tell)
        lines = [_describe_step(step)] if step.what else []
        lines += [f"  Licence of the {text}" for text in licences]
        lines.append("The other steps are planned when the imagery is here. Nothing was written.")
        console.print_result("\n".join(lines))
        return
    plan = region_model.plan_region(options, tell)
    text = _describe_plan(plan)
    if dry_run:
        console.print_result(f"{text}\nNothing was written.")
        console.warn_of_disk(plan.bytes, out)
        return
    console.note(text)
    console.warn_of_disk(plan.bytes, out)
    if not yes:
        _ask()
    with show_stages(quiet) as progress:
        report = region_model.make_region(options, progress, tell)
    console.print_result("\n".join([*report["says"]["works"], str(out / "report.html")]))


def _choose_demand(demand: Demand, *, has_photos: bool, training: bool) -> Demand:
    """As fine as windows beside street photos must be, or as worlds, which can be gone without."""
    pairs = choose_pairs_demand()
    if has_photos:
        return join_demands(demand, pairs)
    return replace(demand, px_m=min(demand.px_m, pairs.px_m)) if training else demand


def _limit_threads(threads: int) -> None:
    from importlib.util import find_spec

    if find_spec("torch") is not None:
        import torch

        torch.set_num_threads(threads)


def _require_terminal() -> None:
    if not sys.stdin.isatty():
        raise UsageError("Nobody is there to be asked.\nAdd --yes to go on, or --dry-run.")


def _ask() -> None:
    """Go on only if a person says so."""
    _require_terminal()
    typer.confirm("Go on?", abort=True, err=True)


def _describe_step(step: PlannedStep) -> str:
    size = f", {console.format_size(step.bytes)}" if step.bytes else ""
    return f"  {step.name}: {step.what} ({console.format_duration(step.seconds)}{size})"


def _describe_plan(plan: RegionPlan) -> str:
    lines = [f"{plan.area_km2:.2f} km2"]
    for step in plan.steps:
        if step.done:
            lines.append(f"  {step.name}: done already")
            continue
        lines.append(_describe_step(step))
    lines += [f"  {text}" for text in plan.remarks]
    lines += [f"  Licence of the {text}" for text in plan.licences]
    lines.append(
        f"About {console.format_duration(plan.seconds)} on this machine, and "
        f"{console.format_size(plan.bytes)} on disk."
    )
    return "\n".join(lines)
