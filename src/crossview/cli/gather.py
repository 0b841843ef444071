"""``crossview gather``: street photos of an area, with their authors and licences."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossview.cli import console
from crossview.errors import InvalidValue

if TYPE_CHECKING:
    from crossview.geo.perimeters import Perimeter
    from crossview.street.gathering import Gathering, GatherOptions, GatherPlan, ServiceAccess


def gather(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    street: Annotated[str, typer.Option(help="panoramax, panoramax:URL, mapillary or kartaview.")],
    out: Annotated[Path, typer.Option(help="Folder to write to, or to go on with.")],
    bbox: Annotated[
        str | None, typer.Option(metavar="W,S,E,N", help="The area: a box in degrees.")
    ] = None,
    area: Annotated[
        Path | None, typer.Option(help="The area: GeoJSON of a polygon or several.")
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, help="Photos at most, spread over area and direction.")
    ] = 500,
    max_position_error: Annotated[
        float, typer.Option(help="Leave out photos whose place is known worse, in metres.")
    ] = 15.0,
    max_age: Annotated[
        float | None, typer.Option(help="Years at most between a photo and --date.")
    ] = None,
    date: Annotated[str, typer.Option(help="When the imagery was taken, such as 2023.")] = "",
    keep_night: Annotated[
        bool, typer.Option("--keep-night", help="Also photos that were taken by night.")
    ] = False,
    accept_licence: Annotated[
        list[str] | None,
        typer.Option(help="Use photos of this licence, too, as the service names it; repeatable."),
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="File that holds the service's token.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List and choose; fetch and write nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Fetch street photos of an area from an open service.

    What is fetched stays: the same command goes on after a stop, and takes more with a higher
    --most. No picture is fetched twice.
    """
    from crossview.downloads import Downloads, Politeness
    from crossview.street import gathering
    from crossview.street.selection import SelectionOptions

    where = read_area(bbox, area)
    service = gathering.parse_street(street)
    gathering.require_gatherable(where)
    token = gathering.read_token(service, token_file)
    options = gathering.GatherOptions(
        selection=SelectionOptions(
            most=most,
            max_sigma_m=max_position_error,
            max_age_years=max_age,
            imagery_date=date,
            keep_night=keep_night,
            seed=seed,
        ),
        accepted_licences=tuple(accept_licence or ()),
    )
    pace = {"": Politeness(), service.host: Politeness(requests_per_s=service.requests_per_s)}
    with Downloads(politeness=pace, secrets=[token] if token else []) as downloads:
        access = gathering.ServiceAccess(service, downloads, token)
        if dry_run:
            title = f"Listing {service.title}"
            with console.show_progress(title, unit="photos", quiet=quiet) as bar:
                plan = gathering.plan_area(where, access, out, options, progress=bar.update)
            console.print_result(f"{describe_plan(plan, access)}\nNothing was written.")
            return
        done = _gather(where, access, out, options, quiet=quiet)
    console.print_result(_describe(done, access, out))


def read_area(bbox: str | None, area: Path | None) -> Perimeter:
    """The area of ``--bbox`` or ``--area``, of which exactly one must be given."""
    from crossview.geo.perimeters import parse_box, read_perimeter

    if (bbox is None) == (area is None):
        raise InvalidValue(
            "Give the area: either --bbox W,S,E,N in degrees, such as --bbox "
            "13.37,52.50,13.40,52.52, or --area FILE of GeoJSON."
        )
    return read_perimeter(area) if area is not None else parse_box(bbox or "")


def _gather(
    where: Perimeter, access: ServiceAccess, out: Path, options: GatherOptions, *, quiet: bool
) -> Gathering:
    from crossview.street import gathering

    title = f"Street photos of {access.service.title}"
    try:
        with console.show_progress(title, unit="photos", quiet=quiet) as bar:
            return gathering.gather_photos(
                where,
                access,
                out,
                options,
                progress=bar.update,
                note=lambda text: console.note(text, quiet=quiet),
            )
    except KeyboardInterrupt:
        console.note("Run the same command again to continue.", quiet=quiet)
        raise


def describe_plan(plan: GatherPlan, access: ServiceAccess) -> str:
    """What is there, what would be taken and why not the rest, what it costs, whose it is."""
    lines = [
        f"{plan.area_km2:.3g} km2, where {access.service.title} has {plan.found:,} photos; "
        f"{len(plan.chosen):,} are chosen, {plan.headings:,} of them with a heading that can be "
        "trusted."
    ]
    if plan.licences:
        lines.append(f"Licences: {_join(plan.licences)}.")
    if plan.reasons:
        lines.append(f"Left out: {_join(plan.reasons)}.")
    wanted = len(plan.chosen) - plan.fetched
    lines.append(
        f"{wanted:,} pictures are to be fetched: about {console.format_size(plan.bytes)}, "
        f"{console.format_duration(plan.seconds)}."
        if wanted
        else "All of them are there."
    )
    return "\n".join(lines)


def _join(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _describe(done: Gathering, access: ServiceAccess, out: Path) -> str:
    from crossview.street.gathering import ATTRIBUTION_NAME, LIST_NAME

    plan = done.plan
    lines = [
        f"{len(done.photos):,} of {plan.found:,} photos that {access.service.title} has in "
        f"{plan.area_km2:.3g} km2, {done.headings:,} with a heading that can be trusted.",
        f"Licences: {_join(plan.licences)}. Whoever passes them on names their authors: "
        f"{out / ATTRIBUTION_NAME}",
    ]
    if plan.reasons:
        lines.append(f"Left out: {_join(plan.reasons)}.")
    if done.later:
        lines.append(
            f"{done.later:,} could not be had now: their servers do not answer. Run the same "
            "command again later."
        )
    return "\n".join([*lines, f"{out / LIST_NAME}"])
