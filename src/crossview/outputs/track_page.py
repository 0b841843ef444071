"""The page of a track: one HTML file that plays it on the region's imagery beside its pictures.

It is built like the map page (``outputs/map_page.py``), of the same scripts and under the same
policy: nothing is fetched, and text from outside enters as JSON that cannot end its element. What
is drawn of a track (its pieces, the gaps between them, which way each picture looked) is computed
here once; the page draws it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossview.errors import require
from crossview.geo.points import LatLon, outline_sector
from crossview.locks import write_alone
from crossview.outputs import records
from crossview.outputs.map_page import (
    ASSETS_BYTES,
    LEAST_BYTES,
    MAX_BYTES,
    PageParts,
    describe_region,
    embed_imagery,
    embed_json,
    fill_page,
    list_banners,
)
from crossview.outputs.page_images import Budget, shrink_photos

if TYPE_CHECKING:
    from crossview.index.store import Index
    from crossview.localization.track import Track, TrackPoint

_SCRIPTS = ("dom", "angles", "state", "heat", "atlas", "imagery", "track")
_STYLES = ("theme", "page", "sheet", "track")
PARTS = PageParts(
    "page/track.html",
    tuple(f"page/{name}.js" for name in _SCRIPTS),  # each after those that it imports from
    tuple(f"page/{name}.css" for name in _STYLES),
)
_FACTS_SHARE = 0.5
_NARROWEST_DEG = 6.0  # so that a heading that is known well is still seen
_ENCODED = 4.0 / 3.0


def write_track_page(
    out: str | Path, index: Index, track: Track, *, max_bytes: int = MAX_BYTES
) -> list[str]:
    """Write the page to ``out`` and return its notes: what was left out, and why.

    Pictures are those that the points carry. Where not all fit into ``max_bytes``, they get
    smaller, and at last those of the end are left out; the points themselves all stay. Raises
    :class:`InvalidValue` for a track without points or one that does not fit.
    """
    require(
        max_bytes >= LEAST_BYTES,
        f"a page of a track needs at least {LEAST_BYTES} bytes, got {max_bytes}.",
    )
    require(len(track.points) > 0, "a page of a track needs a point at least, and there is none.")
    notes: list[str] = []
    budget = Budget(max_bytes - ASSETS_BYTES)
    facts: dict[str, Any] = {
        "region": describe_region(index),
        "track": _describe(track, index.manifest.footprint_m),
        "imagery": [],
        "notes": notes,
    }
    fits = budget.take(len(embed_json(facts)))
    require(
        fits and budget.left > (1.0 - _FACTS_SHARE) * max_bytes,
        f"{len(track.points)} points do not fit into a page of {max_bytes} bytes. "
        "Take fewer frames, or several tracks.",
    )
    pictures: dict[str, list[str]] = {"imagery": [], "photos": []}
    notes += embed_imagery(index, budget, facts, pictures).notes
    pictures["photos"] = _add_pictures(track, facts["track"]["points"], budget, notes)
    title = f"{facts['track']['told']['source']} - crossview"
    data = {"facts": facts, "pictures": pictures}
    page = fill_page(PARTS, title, list_banners(index), data)
    write_alone(out, page, "crossview track")
    return notes


def _describe(track: Track, footprint_m: float) -> dict[str, Any]:
    """What the page tells and draws of a track: lines of (latitude, longitude)."""
    pieces = [[point.latlon for point in piece] for piece in records.split_track(track)]
    names = records.shorten_names([point.photo for point in track.points])
    return {
        "told": records.describe_track(track),
        "lines": {
            "found": [_write_line(piece) for piece in pieces],
            "gaps": [_write_line(gap) for gap in records.list_gaps(track)],
            "truth": _write_line(records.trace_truth(track)),
        },
        "points": [
            _describe_point(point, name, records.measure_view_m(footprint_m))
            for point, name in zip(track.points, names, strict=True)
        ],
    }


def _describe_point(point: TrackPoint, name: str, length_m: float) -> dict[str, Any]:
    record = records.describe_track_point(point) | {"photo": name}
    del record["openstreetmap"]  # the page's script makes it from lat and lon
    if records.is_foreign(point):
        record["foreign"] = True
    if point.heading_deg is not None:
        width_deg = max(_NARROWEST_DEG, 2.0 * (point.heading_sigma_deg or 0.0))
        polygon = outline_sector(point.latlon, point.heading_deg, width_deg, length_m)
        record["view"] = {"length_m": length_m, "ring": [(lat, lon) for lon, lat in polygon[0]]}
    return record


def _write_line(points: Iterable[LatLon]) -> list[tuple[float, float]]:
    rounded = map(records.describe_point, points)
    return [(point["lat"], point["lon"]) for point in rounded]


def _add_pictures(
    track: Track, told: list[dict[str, Any]], budget: Budget, notes: list[str]
) -> list[str]:
    """Encode the points' pictures as they are if all fit, else smaller; number them in ``told``."""
    raw = [point.picture for point in track.points]
    if _ENCODED * sum(map(len, raw)) + 8 * len(raw) <= budget.left:
        encoded = [budget.encode(picture) if picture else None for picture in raw]
    else:
        by_name = {str(number): picture for number, picture in enumerate(raw)}
        shrunk = shrink_photos(list(by_name), by_name, budget)
        encoded = shrunk.pictures
        notes += shrunk.notes
    kept = [picture for picture in encoded if picture is not None]
    numbers = iter(range(len(kept)))
    for record, picture in zip(told, encoded, strict=True):
        record["picture"] = None if picture is None else next(numbers)
    return kept
