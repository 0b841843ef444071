"""Imagery by address: ``crossview imagery list`` shows what can be named, other verbs fetch it.

For every verb that takes imagery: what it would cost, whose it is, fetched. This is the one place
of the command line from which imagery is fetched, and only where an address or the name of a source
was given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import typer

from crossview.cli import console
from crossview.errors import InvalidValue, UsageError

if TYPE_CHECKING:
    from crossview.downloads import Downloads
    from crossview.geo.perimeters import Perimeter
    from crossview.imagery.addresses import Address, OpenSource
    from crossview.imagery.remote import Demand, FetchPlan


imagery = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Show open imagery that servers give, by names that every verb takes.",
)


@imagery.callback()
def group() -> None:
    """Show open imagery that servers give, by names that every verb takes."""


@imagery.command(name="list")
def list_(
    country: Annotated[
        list[str] | None,
        typer.Option("--country", help="Two letters, such as CH; repeatable."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON, with every column.")] = False,
) -> None:
    """Show the table of open sources: licence, attribution, resolution, date and address.

    Nothing is fetched. The addresses were not opened when the table was made.
    """
    import json

    from crossview.imagery.addresses import NOT_OPENED, choose_open_sources

    sources = choose_open_sources(country or ())
    if json_:
        rows = [source.to_json() for source in sources]
        console.print_result(json.dumps({"note": NOT_OPENED, "sources": rows}, indent=2))
        return
    for source in sources:
        fine = f"{source.resolution_m:g} m per pixel" if source.resolution_m else "not known"
        lines = {
            f"{source.name}": f"{source.country}  {source.title}",
            "licence": f"{source.licence}  {source.licence_url}",
            "attribution": source.attribution,
            "resolution": f"{fine}; {source.date}",
            "address": source.written,
            "token": f"needed, in the environment variable {source.token}" if source.token else "",
            "taken": f"{source.read_on} from {source.read_from}",
            "checked": source.checked,
        }
        for index, (name, text) in enumerate(lines.items()):
            if text:
                console.print_result(f"{name}  {text}" if index == 0 else f"  {name:<12}{text}")
        console.print_result("")
    console.print_result(NOT_OPENED)


# For the other verbs.

MOST_REQUESTS_PER_S = 20.0  # also where a service allows more
_NAME = re.compile(r"[a-z]{2}-[a-z0-9-]+")  # of a source of the shipped table

# Options of every verb that takes imagery by address.
Bbox = Annotated[
    str | None,
    typer.Option(help="Area to fetch, by an address: WEST,SOUTH,EAST,NORTH in degrees."),
]
AreaFile = Annotated[
    Path | None, typer.Option("--area", help="The same as a file: polygons as GeoJSON.")
]
AcceptLicence = Annotated[
    bool,
    typer.Option(
        "--accept-licence", help="The licence of the imagery was read and allows this use."
    ),
]


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """What the command line says of fetching, whatever is fetched."""

    accept_licence: bool = False
    dry_run: bool = False
    quiet: bool = False


def is_remote(source: str | Path) -> bool:
    """Whether a source is an address or the name of an open source; an existing path is neither."""
    from crossview.imagery.addresses import is_address

    text = str(source)
    return is_address(text) or (not Path(text).exists() and _find_named(text) is not None)


def fetch_sources(
    sources: Sequence[str | Path],
    area: tuple[str | None, Path | None, str | None, float],
    choose: Callable[[], Demand],
    options: FetchOptions,
) -> list[Path] | None:
    """As :func:`resolve_sources`, of ``--bbox``, ``--area``, ``--near`` and ``--within`` (km).

    UsageError where a box or an area is given and no address.
    """
    bbox, file, near, within_km = area
    if not any(map(is_remote, sources)):
        if bbox is not None or file is not None:
            raise UsageError(
                "--bbox and --area say what to fetch from an address, and none is given.\n"
                "Of local imagery, --near LAT,LON --within KM chooses a part."
            )
        return [Path(source) for source in sources]
    from crossview.geo.perimeters import read_area

    return resolve_sources(sources, read_area(bbox, file, near, within_km), choose, options)


def resolve_sources(
    sources: Sequence[str | Path],
    area: Perimeter | None,
    choose: Callable[[], Demand],
    options: FetchOptions,
) -> list[Path] | None:
    """Local paths of all sources: what is named by address is fetched, or found in the cache.

    ``choose`` gives how fine it must be, and is called only if anything is to be fetched. Imagery
    coarser than it allows is refused before it is fetched. None after a dry run: the verb ends
    then. Without an address nothing is imported and nothing asked.
    """
    if not any(map(is_remote, sources)):
        return [Path(source) for source in sources]
    if area is None:
        raise UsageError(
            "Imagery by address needs an area: --bbox WEST,SOUTH,EAST,NORTH, --area FILE, or "
            "--near LAT,LON --within KM."
        )
    from crossview.downloads import Downloads, cache_folder
    from crossview.imagery.remote import fetch_imagery, plan_fetch, require_fine

    def show(done: int, total: int) -> None:
        bar.update(done, total)

    demand, paths = choose(), list[Path]()
    with Downloads() as downloads:
        plans: dict[str, FetchPlan] = {}
        for text in (str(source) for source in sources if is_remote(source)):
            address, rate = _open_address(text, downloads)
            asked = replace(demand, requests_per_s=rate)
            plans[text] = plan = plan_fetch(address, area, asked, downloads, cache_folder())
            if options.dry_run:
                console.print_result(describe_plan(plan))
            else:
                console.note(describe_plan(plan), quiet=options.quiet)
            require_fine(plan, demand)
        if options.dry_run:
            _warn_of_disk(list(plans.values()))
            return None
        for plan in plans.values():
            require_accepted(plan, options)
        for source in sources:
            if str(source) not in plans:
                paths.append(Path(source))
                continue
            plan = plans[str(source)]
            with console.show_progress(
                "Fetching", plan.pieces, unit="tiles", quiet=options.quiet
            ) as bar:
                paths += fetch_imagery(plan, downloads, show)
    return paths


def choose_demand(
    model: str | None,
    footprint_m: float | None = None,
    *,
    zoom: int | None = None,
    allow_coarse: bool = False,
) -> Demand:
    """As fine as a model can use, and no coarser than it may be; half a window around the area."""
    from crossview.imagery.remote import Demand
    from crossview.index.index_options import COARSEST, compute_finest_useful_m
    from crossview.model import OF_EARTH, read_info, resolve_model

    aerial = read_info(resolve_model(model or OF_EARTH)).aerial
    view = replace(aerial, footprint_m=footprint_m or aerial.required_footprint_m)
    return Demand(
        px_m=compute_finest_useful_m(view),
        coarsest_px_m=None if allow_coarse else COARSEST * view.metres_per_px,
        margin_m=view.required_footprint_m / 2.0,
        zoom=zoom,
    )


def choose_pairs_demand(footprint_m: float = 0.0, px_m: float | None = None) -> Demand:
    """As fine as worlds are drawn and windows of pairs are cut, and no coarser than both may be.

    ``footprint_m``: of windows around places in the area, which may be turned; ``px_m``: finer or
    coarser pixels that somebody asked for.
    """
    from crossview.imagery.remote import Demand
    from crossview.worlds.land_cover import COARSEST_M
    from crossview.worlds.town import CELL_M

    return Demand(px_m=px_m or CELL_M, coarsest_px_m=COARSEST_M, margin_m=0.75 * footprint_m)


def join_demands(one: Demand, other: Demand) -> Demand:
    """As fine, and as much ground around the area, as both need."""
    return replace(
        one,
        px_m=min(one.px_m, other.px_m),
        coarsest_px_m=min(d.coarsest_px_m or math.inf for d in (one, other)),
        margin_m=max(one.margin_m, other.margin_m),
    )


def describe_plan(plan: FetchPlan) -> str:
    """Tiles, bytes, minutes, and whose imagery it is, in two or three lines."""
    kept = plan.pieces - plan.missing
    needs = (
        f"{console.format_size(plan.missing_bytes)} to fetch, "
        f"about {console.format_duration(plan.seconds)}"
        if plan.missing
        else "all of them are here already"
    )
    lines = [
        f"{plan.host}: {plan.area_km2:.3g} km2, {plan.pieces} tiles of {plan.metres_per_px:.2g} m "
        f"per pixel{f' ({kept} here already)' if kept and plan.missing else ''}, {needs}.",
        f"Imagery: {_credit(plan)}",
    ]
    if plan.statement and not plan.terms.known:
        lines.append(f"The service says: {plan.statement}.")
    return "\n".join([*lines, *(f"{note}." for note in plan.notes)])


def require_accepted(plan: FetchPlan, options: FetchOptions) -> None:
    """Raise :class:`UsageError` for a licence that nobody has read."""
    if plan.terms.known or options.accept_licence:
        return
    read = plan.terms.licence_url or f"the terms of use of {plan.host}"
    stated = f" The service says: {plan.statement}." if plan.statement else ""
    raise UsageError(
        f"What may be done with the imagery of {plan.host} is not known here.{stated}\n"
        f"Read {read}: do they allow copies of it, and models and maps made from it? If so, add "
        "--accept-licence, and say whose it is with --attribution."
    )


def _credit(plan: FetchPlan) -> str:
    date = f", {plan.terms.date}" if plan.terms.date else ""
    unknown = "" if plan.terms.licence else ", licence unknown"
    return f"{plan.terms.credit}{date}{unknown}"


def _warn_of_disk(plans: Sequence[FetchPlan]) -> None:
    from crossview.errors import CannotWrite
    from crossview.imagery.remote import require_imagery_room

    console.print_result("Nothing but capabilities was fetched.")
    try:
        require_imagery_room(plans)
    except CannotWrite as problem:
        console.warn(str(problem))


def _open_address(text: str, downloads: Downloads) -> tuple[Address, float]:
    """The address that a text or a name of the table is, and how often its server may be asked."""
    from crossview.downloads import Politeness
    from crossview.imagery.addresses import is_address, parse_address

    usual = Politeness()
    if is_address(text):
        return parse_address(text), usual.requests_per_s
    source = _find_named(text)
    if source is None:
        raise InvalidValue(f"There is no {text}, and no open source of that name.")
    address, rate = source.address, min(source.requests_per_s, MOST_REQUESTS_PER_S)
    polite = replace(usual, requests_per_s=rate)
    downloads.set_politeness(urlsplit(address.url).hostname or "", polite)
    return address, rate


def _find_named(text: str) -> OpenSource | None:
    """The source of that name in the shipped table; None if it has none."""
    if not _NAME.fullmatch(text):  # most paths: the table need not be read
        return None
    from crossview.imagery.addresses import find_open_source, is_open_source

    return find_open_source(text) if is_open_source(text) else None
