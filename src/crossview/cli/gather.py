"""``crossview gather``: street photos of an area, with their authors and licences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossview.cli import console
from crossview.cli.imagery import AcceptLicence, FetchOptions, choose_pairs_demand, resolve_sources
from crossview.cli.index import Attribution, Bands, Crs, Stretch, read_source_options
from crossview.cli.pairs import print_pairs, show_pairing
from crossview.errors import InvalidValue, UsageError

if TYPE_CHECKING:
    from crossview.geo.perimeters import Perimeter
    from crossview.imagery.provenance import SourceOptions
    from crossview.imagery.sources import Imagery
    from crossview.street.gathering import Gathering, GatherOptions, GatherPlan, ServiceAccess
    from crossview.street.street_photos import DroppedPhoto, SelectionOptions, StreetPhoto


def gather(  # noqa: PLR0913, PLR0917 - every parameter is an option of the verb
    street: Annotated[
        str,
        typer.Option(help="panoramax, panoramax:URL, mapillary, kartaview, or folder:PATH."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write to, or to go on with.")],
    bbox: Annotated[
        str | None, typer.Option(metavar="W,S,E,N", help="The area: a box in degrees.")
    ] = None,
    area: Annotated[
        Path | None, typer.Option(help="The area: GeoJSON of a polygon or several.")
    ] = None,
    imagery: Annotated[
        list[str] | None,  # a Path would eat a slash of an address
        typer.Option(
            help="Pair the photos with it: as crossview index takes it, or an address; repeatable.",
            metavar="SOURCE",
        ),
    ] = None,
    footprint: Annotated[
        float, typer.Option(help="Side of a window of the imagery in metres.")
    ] = 104.0,
    most: Annotated[
        int, typer.Option(min=1, help="Photos at most, spread over area and direction.")
    ] = 500,
    max_position_error: Annotated[
        float, typer.Option(help="Leave out photos whose place is known worse, in metres.")
    ] = 15.0,
    max_age: Annotated[
        float | None, typer.Option(help="Years at most between a photo and --date.")
    ] = None,
    date: Annotated[str, typer.Option(help="When the imagery was taken, if it does not say.")] = "",
    keep_night: Annotated[
        bool, typer.Option("--keep-night", help="Also photos that were taken by night.")
    ] = False,
    accept_photo_licence: Annotated[
        list[str] | None,
        typer.Option(help="Use photos of this licence, too, as the service names it; repeatable."),
    ] = None,
    accept_licence: AcceptLicence = False,
    bands: Bands = None,
    stretch: Stretch = None,
    crs: Crs = None,
    attribution: Attribution = None,
    workers: Annotated[int, typer.Option(help="Processes that read photos; 0: none.")] = 2,
    token_file: Annotated[
        Path | None, typer.Option(help="File that holds the service's token.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List and choose; fetch and write nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Only errors and results.")] = False,
) -> None:
    """Fetch street photos of an area from an open service, and pair them with imagery.

    What is fetched stays: the same command goes on after a stop, and takes more with a higher
    --most. No picture is fetched twice. With --imagery, pairs.csv is made of them, too.
    """
    from crossview.geo.perimeters import read_area
    from crossview.street import gathering

    where = read_area(bbox, area)
    kind, _, folder = street.partition(":")
    is_own = kind == gathering.FOLDER_KIND
    service, token = None, None
    if is_own and not imagery:
        raise UsageError(
            "Photos of one's own are here already. Add --imagery SOURCE to pair them with it."
        )
    if not is_own:
        if where is None:
            raise InvalidValue(
                "Give the area: either --bbox W,S,E,N in degrees, such as --bbox "
                "13.37,52.50,13.40,52.52, or --area FILE of GeoJSON."
            )
        service = gathering.parse_street(street)
        gathering.require_gatherable(where)
        token = gathering.read_token(service, token_file)
    how = read_source_options(
        bands=bands, stretch=stretch, crs=crs, attribution=attribution, date=date or None
    )
    ground = _Ground(
        sources=tuple(imagery or ()), options=how, footprint_m=footprint, workers=workers,
        fetching=FetchOptions(
            accept_licence=accept_licence,
            dry_run=dry_run, quiet=quiet,
        ),
    )  # fmt: skip
    with _open_ground(ground, where) as opened:
        options = gathering.GatherOptions(
            selection=_choose_photos(
                ground, opened, date, max_age_years=max_age, most=most,
                max_sigma_m=max_position_error, keep_night=keep_night, seed=seed,
            ),
            accepted_licences=tuple(accept_photo_licence or ()),
        )  # fmt: skip
        if service is None or where is None:
            _pair_own(Path(folder), where, opened, ground, out, options)
            return
        with gathering.open_service(service, token) as access:
            if dry_run:
                title = f"Listing {service.title}"
                with console.show_progress(title, unit="photos", quiet=quiet) as bar:
                    plan = gathering.plan_area(where, access, out, options, progress=bar.update)
                console.print_result(f"{describe_plan(plan, access)}\nNothing was written.")
                return
            done = _gather(where, access, out, options, quiet=quiet)
        console.print_result(_describe(done, access, out))
        if opened is not None:
            _pair(done.photos, opened, ground, out, options)


@dataclass(frozen=True, kw_only=True)
class _Ground:
    """The imagery that photos are paired with, and how."""

    sources: tuple[str, ...]
    options: SourceOptions
    footprint_m: float
    workers: int
    fetching: FetchOptions


@contextmanager
def _open_ground(ground: _Ground, where: Perimeter | None) -> Iterator[Imagery | None]:
    """The imagery, fetched if it is far away; None without any, and in a dry run that needs it."""
    from crossview.imagery.sources import open_sources
    from crossview.worlds.town import CELL_M

    paths = resolve_sources(
        ground.sources, where, lambda: choose_pairs_demand(ground.footprint_m), ground.fetching
    )
    if not paths:
        yield None
        return
    with open_sources(paths, replace(ground.options, finest_useful_m=CELL_M)) as opened:
        for note in opened.notes:
            console.note(f"{note.removesuffix('.')}.", quiet=ground.fetching.quiet)
        if ground.fetching.dry_run:
            credit = " ".join(t for t in (opened.info.attribution, opened.info.date) if t)
            console.print_result(f"Imagery: {credit or 'nobody is named'}.")
        yield opened


def _choose_photos(
    ground: _Ground,
    opened: Imagery | None,
    date: str,
    *,
    max_age_years: float | None,
    **rules: Any,
) -> SelectionOptions:
    """The rules of photos; their age is held against the imagery's date where that is known."""
    from crossview.street.street_photos import SelectionOptions

    date = date or ("" if opened is None else opened.info.date)
    if max_age_years is not None and not date and ground.sources and opened is None:
        console.note("Ages count once the imagery is here, which tells its date; or give --date.")
        max_age_years = None
    return SelectionOptions(imagery_date=date, max_age_years=max_age_years, **rules)


def _pair(  # noqa: PLR0913, PLR0917 - what was known before comes along
    photos: Sequence[StreetPhoto],
    opened: Imagery,
    ground: _Ground,
    out: Path,
    options: GatherOptions,
    left_out: Sequence[DroppedPhoto] = (),
    notes: Sequence[str] = (),
) -> None:
    """Make the pairs, and say how many they are."""
    from crossview.street.pairing import PairingOptions, make_pairs

    how = PairingOptions(
        selection=options.selection,
        footprint_m=ground.footprint_m,
        workers=ground.workers,
        overwrite=True,
    )
    with show_pairing(len(photos), quiet=ground.fetching.quiet) as show:
        report = make_pairs(photos, opened, out, how, left_out=left_out, notes=notes, progress=show)
    print_pairs(report, out)


def _pair_own(
    folder: Path,
    where: Perimeter | None,
    opened: Imagery | None,
    ground: _Ground,
    out: Path,
    options: GatherOptions,
) -> None:
    """Pair photos of one's own, of the area if one is given."""
    import numpy as np

    from crossview.street.own_photos import OwnPhotoOptions, read_own_photos

    own = read_own_photos([folder], OwnPhotoOptions())
    photos = own.photos
    if where is not None and photos:
        lat = np.array([photo.place.lat for photo in photos])
        lon = np.array([photo.place.lon for photo in photos])
        inside = where.contains(lat, lon)
        photos = tuple(photo for photo, is_in in zip(photos, inside, strict=True) if is_in)
    for note in own.notes:
        console.note(f"{note.removesuffix('.')}.", quiet=ground.fetching.quiet)
    if ground.fetching.dry_run or opened is None:
        total = len(own.photos) + len(own.left_out)
        console.print_result(
            f"{len(photos)} of {total} photos in {folder} tell a place that is asked for.\n"
            "Nothing was written."
        )
        return
    _pair(photos, opened, ground, out, options, own.left_out, own.notes)


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
