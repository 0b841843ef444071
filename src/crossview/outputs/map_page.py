"""The map page: one HTML file that shows where the photos may have been taken, offline.

``crossview serve`` shows the same page with answers of its own (:func:`render_live_page`). The file
holds the region's own imagery, a heat layer of all scores, ranked pins, and the photos beside
their best windows. Nothing is fetched when it is opened: a content security policy forbids every
request and every script but those that it names by their hash. Text from outside enters only as
JSON that cannot end its element, or escaped by the template. The scripts, styles and the template
are those of ``crossview.web``.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps

from crossview.errors import CrossviewError, require
from crossview.files import printable
from crossview.geo.mercator import enclose_points
from crossview.geo.points import LatLon, outline_sector
from crossview.hub import drop_folders
from crossview.localization.accuracy import summarise
from crossview.localization.answer import Answer, Place
from crossview.locks import write_alone
from crossview.outputs import map_layers, records
from crossview.outputs.geojson import outline_area
from crossview.outputs.page_images import Budget, shrink_photos, shrink_thumbnail
from crossview.texts import get_language, get_table, phrase, read_language_names
from crossview.views.decode import SUFFIXES, PictureSource

if TYPE_CHECKING:
    from crossview.index.store import Index
    from crossview.localization.track import Track, TrackPoint


MAX_BYTES = 50_000_000
LEAST_BYTES = 1_000_000
ASSETS_BYTES = 275_000  # scripts, styles and template; a test keeps them below
_HEAT_SHARE, _FACTS_SHARE, _IMAGERY_SHARE, _PHOTO_SHARE = 0.2, 0.5, 0.45, 0.75
_DEGREE_DIGITS = 7  # about 1 cm
_MOST_CORNERS = 3000  # of an outline: 100 kB
SCRIPTS = tuple(
    f"page/{name}.js"
    for name in (
        "dom", "angles", "state", "heat", "atlas", "imagery", "disc", "claim", "files", "sheet",
        "list", "main", "embedded",
    )
)  # fmt: skip
"""The page's own scripts in a file, each after those that it imports from."""
STYLES = ("page/theme.css", "page/page.css", "page/sheet.css", "page/claim.css")
TEMPLATE = "page/page.html"


class PageParts(NamedTuple):
    """What of ``crossview.web`` a page in a file is made of."""

    template: str
    scripts: Sequence[str]
    styles: Sequence[str]


PARTS = PageParts(TEMPLATE, SCRIPTS, STYLES)


def write_map(
    out: str | Path,
    index: Index,
    answers: Sequence[Answer],
    *,
    photos: Mapping[str, PictureSource] | None = None,
    max_bytes: int = MAX_BYTES,
) -> list[str]:
    """Write the page to ``out`` and return its notes: what was left out, and why.

    ``photos`` gives pictures by ``answer.photo``: bytes, pixels [H, W, 3], Pillow images or paths.
    A name that is missing there is read as a path. What does not fit into ``max_bytes`` is left out
    in this order: size of photos, thumbnails of lower ranks, pixels of the imagery, last photos.
    """
    require(
        max_bytes >= LEAST_BYTES,
        f"a map page needs at least {LEAST_BYTES} bytes, got {max_bytes}.",
    )
    content = _PageContent(index, answers, max_bytes)
    content.add_imagery()
    content.add_pictures(photos)
    write_alone(out, content.render(), "crossview locate --map")
    return content.notes


class _PageContent:
    """What the page will hold, and the bytes that are left for the rest of it."""

    def __init__(self, index: Index, answers: Sequence[Answer], max_bytes: int) -> None:
        self.index, self.notes = index, list[str]()
        self.thumbnails_wanted, self.thumbnails = True, dict[int, int | None]()
        self.budget = Budget(max_bytes - ASSETS_BYTES)
        self.pictures: dict[str, list[str]] = {"imagery": [], "photos": [], "tiles": []}
        limit = map_layers.count_affordable_cells(answers, int(_HEAT_SHARE * max_bytes))
        grid = map_layers.build_heat_grid(index.lat, index.lon, index.manifest.stride_m, limit)
        self.facts: dict[str, Any] = {
            "region": describe_region(index),
            "summary": summarize_answers(answers),
            "heat": map_layers.describe_heat_grid(grid),
            "imagery": [],
            "photos": [],
            "notes": self.notes,
        }
        self.budget.take(len(embed_json(self.facts)))
        self.answers = self._add_answers(answers, grid)

    def _add_answers(
        self, answers: Sequence[Answer], grid: map_layers.HeatGrid
    ) -> Sequence[Answer]:
        """Add records until half of the page is used; return the answers that were added."""
        names = records.shorten_names([answer.photo for answer in answers])
        reserve = self.budget.left * (1.0 - _FACTS_SHARE)
        for answer, name in zip(answers, names, strict=True):
            record = {
                **describe_photo(answer, name),
                "heat": map_layers.describe_scores(answer, grid),
            }
            length = len(embed_json(record)) + 40  # picture numbers are added later
            if self.budget.left - length < reserve:
                break
            self.budget.take(length)
            self.facts["photos"].append(record)
        kept = len(self.facts["photos"])
        if kept < len(answers):
            self.notes.append(phrase("map_page.photos_left_out", kept=kept, total=len(answers)))
        return answers[:kept]

    def add_imagery(self) -> None:
        """Add the base map. Where it is fine enough, the page cuts pictures of places from it."""
        base = embed_imagery(self.index, self.budget, self.facts, self.pictures)
        self.thumbnails_wanted = not base.finer_than(self.index.footprint(0).metres_per_px)
        self.notes += base.notes

    def add_pictures(self, photos: Mapping[str, PictureSource] | None) -> None:
        """Add the thumbnail of each first place, then the photos, then the other thumbnails."""
        self._add_thumbnails(rank=1)
        self._add_claims()
        budget = Budget(int(_PHOTO_SHARE * self.budget.left))
        before = budget.left
        shrunk = shrink_photos([answer.photo for answer in self.answers], photos, budget)
        self.budget.take(before - budget.left)
        self.notes += shrunk.notes
        for record, picture in zip(self.facts["photos"], shrunk.pictures, strict=True):
            record["picture"] = None if picture is None else len(self.pictures["photos"])
            self.pictures["photos"] += [] if picture is None else [picture]
        for rank in range(2, 1 + max((len(a.places) for a in self.answers), default=0)):
            self._add_thumbnails(rank)

    def _add_thumbnails(self, rank: int) -> None:
        if not self.thumbnails_wanted:
            return
        for record in self.facts["photos"]:
            for place in record["places"][rank - 1 : rank]:
                window = place["window"]
                if window not in self.thumbnails:
                    self.thumbnails[window] = self._add_thumbnail(window)
                place["tile"] = self.thumbnails[window]

    def _add_claims(self) -> None:
        """Add the thumbnail of the window that speaks for each claimed place."""
        claims = (record.get("claim", {}) for record in self.facts["photos"])
        for claim in claims if self.thumbnails_wanted else ():
            if (window := claim.get("window")) is not None:
                if window not in self.thumbnails:
                    self.thumbnails[window] = self._add_thumbnail(window)
                claim["tile"] = self.thumbnails[window]

    def _add_thumbnail(self, window: int) -> int | None:
        try:
            picture = self.budget.encode(shrink_thumbnail(self.index.thumbnail(window)))
        except CrossviewError:  # an index whose imagery is gone may have no thumbnails
            return None
        if picture is None:
            return None
        self.pictures["tiles"].append(picture)
        return len(self.pictures["tiles"]) - 1

    def render(self) -> str:
        """The finished page."""
        title = f"{self.facts['region']['name']} - crossview"
        data = {"facts": self.facts, "pictures": self.pictures}
        return render_page(title, list_banners(self.index), data)


def embed_imagery(
    index: Index, budget: Budget, facts: dict[str, Any], pictures: dict[str, list[str]]
) -> map_layers.BaseMap:
    """Add the region's imagery to a page's ``facts`` (where it lies) and ``pictures``.

    It takes at most a share of what is left in ``budget``.
    """
    base = map_layers.draw_base_map(index, int(_IMAGERY_SHARE * budget.left))
    for overlay in base.overlays:
        if (picture := budget.encode(overlay.webp)) is not None:
            box = overlay.extent
            facts["imagery"].append([[box.south, box.west], [box.north, box.east]])
            pictures["imagery"].append(picture)
    return base


def list_banners(index: Index) -> list[tuple[str, str]]:
    """Warnings that must be seen even if no script runs, with their kind."""
    banners = [("warning", f"{text[:1].upper()}{text[1:]}.") for text in index.manifest.warnings]
    if index.manifest.imagery.synthetic:
        banners.append(("note", phrase("map_page.synthetic")))
    return banners


def describe_photo(answer: Answer, name: str) -> dict[str, Any]:
    """One photo: its facts and its places with the corners of their windows; no path, no hash."""
    record = {k: v for k, v in records.describe_answer(answer).items() if k != "sha256"}
    places = [_describe_pin(place, answer) for place in answer.places]
    short = records.shorten_names([each.photo for each in answer.together])
    for told, photo in zip(record.get("together", ()), short, strict=True):
        del told["sha256"]
        told["photo"] = photo
    record |= {"photo": name, "stands_out": records.stands_out(answer), "places": places}
    return {**record, "outline": outline_smallest_area(answer)} if answer.confidence else record


def outline_smallest_area(answer: Answer) -> list[list[list[tuple[float, float]]]]:
    """The smallest area as polygons of rings of (latitude, longitude), in degrees.

    None without a calibration, or if the area is too ragged to draw.
    """
    areas = answer.confidence.areas if answer.confidence else ()
    polygons = outline_area(areas[0]) if areas else []
    if sum(len(ring) for polygon in polygons for ring in polygon) > _MOST_CORNERS:
        return []
    return [[[(lat, lon) for lon, lat in ring] for ring in polygon] for polygon in polygons]


def _describe_pin(place: Place, answer: Answer) -> dict[str, Any]:
    record = records.describe_place(place, answer.truth)
    del record["openstreetmap"]  # 80 bytes; the page's script makes it from lat and lon
    if (view := records.describe_view(place, answer.fov_deg)) is not None:
        record["view"] = view
    return {**record, "footprint": records.describe_footprint(place.footprint)}


def describe_region(index: Index) -> dict[str, Any]:
    """The index in figures, with attribution and date of its imagery."""
    manifest = index.manifest
    around = enclose_points(index.lat, index.lon, manifest.footprint_m / 2.0)
    return {
        "name": printable(index.path.name),
        "tiles": index.count,
        "area_km2": manifest.area_km2,
        "footprint_m": manifest.footprint_m,
        "bounds": [round(degrees, _DEGREE_DIGITS) for degrees in around.bounds],
        "model": printable(drop_folders(manifest.model.name_or_path)),
        "attribution": printable(manifest.imagery.attribution or ""),
        "date": printable(manifest.imagery.date or ""),
    }


def summarize_answers(answers: Sequence[Answer]) -> dict[str, Any]:
    """How many photos, and for each kind with known truth how accurately they were located."""
    kinds = dict.fromkeys(answer.kind for answer in answers)
    measured = (_summarize_kind([a for a in answers if a.kind == kind], kind) for kind in kinds)
    return {"photos": len(answers), "kinds": [record for record in measured if record]}


def _summarize_kind(answers: Sequence[Answer], kind: str) -> dict[str, Any] | None:
    """Figures of one kind of photo; an infinite median (no places) is left out."""
    located = [answer for answer in answers if answer.truth is not None]
    if not located:
        return None
    most = max(len(answer.places) for answer in located)
    truths = [answer.truth for answer in located if answer.truth is not None]
    figures = summarise(located, truths, most)
    del figures["within_25m_interval"]
    finite = {name: value for name, value in figures.items() if np.isfinite(value)}
    widths = [answer.fov_deg for answer in located]
    return {"kind": kind, "fov_deg": [round(min(widths)), round(max(widths))], **finite}


def render_page(title: str, banners: Sequence[tuple[str, str]], data: Mapping[str, object]) -> str:
    """The whole page. ``banners`` are pairs of a kind ("warning", "note") and a text.

    Each entry of ``data`` becomes a JSON block whose element has the entry's name as its id.
    """
    return fill_page(PARTS, title, banners, data)


def fill_page(
    parts: PageParts,
    title: str,
    banners: Sequence[tuple[str, str]],
    data: Mapping[str, object],
) -> str:
    """As :func:`render_page`, of other parts: a page in one file."""
    texts = [_read_leaflet(), _read_own_script(parts.scripts)]
    return _fill_template(
        parts.template,
        live=False,
        title=title,
        banners=banners,
        data=data,
        policy=_build_policy(texts),
        styles=_read_styles(parts.styles),
        scripts=texts,
    )


def render_live_page() -> str:
    """The page of a server: it loads its files from ``/assets/NAME``, and asks for answers."""
    own = [name.rpartition("/")[2] for name in STYLES]
    return _fill_template(
        TEMPLATE,
        live=True,
        title="crossview",
        banners=[],
        data={},
        policy="",  # a header says it
        styles=["leaflet.css", *own],
        scripts=["leaflet.js", "service.js"],
        accept=",".join(["image/*", *SUFFIXES]),
        languages=read_language_names(),
    )


def _fill_template(template: str, *, data: Mapping[str, object], **values: object) -> str:
    pages = Environment(
        loader=PackageLoader("crossview", "web"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    blocks = {"texts": {"map": get_table("map")}, **data}
    return pages.get_template(template).render(
        language=get_language(),
        phrase=phrase,
        data={name: embed_json(value) for name, value in blocks.items()},
        **values,
    )


def embed_json(value: object) -> str:
    """Strict ASCII JSON that can stand inside a script element: no ``<``, ``>`` or ``&``."""
    return htmlsafe_json_dumps(value, allow_nan=False, separators=(",", ":"))


def _build_policy(scripts: list[str]) -> str:
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    hashes = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    return (
        "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {hashes}; base-uri 'none'; form-action 'none'"
    )


def _read_leaflet() -> str:
    """Leaflet as minified by its authors, with its licence, without the link to a source map."""
    script = re.sub(r"//# sourceMappingURL=\S+", "", _read_text("vendor/leaflet.js"))
    return f"/*\n{_read_text('vendor/leaflet.LICENSE')}*/\n{script}"


def _read_own_script(names: Sequence[str]) -> str:
    modules = "\n".join(_read_text(name) for name in names)
    body = re.sub(r"(?ms)^import .*?;\n|^export ", "", modules)  # here they share one scope
    return f'"use strict";\n(() => {{\n{body}\n}})();\n'


def _read_styles(names: Sequence[str]) -> list[str]:
    """Leaflet's style first, without its pictures, which are not used and would be requests."""
    leaflet = re.sub(r"url\([^)]*\)", "none", _read_text("vendor/leaflet.css"))
    leaflet = re.sub(r"(?s)/\*.*?\*/", "", leaflet)
    return [leaflet, *(_read_text(name) for name in names)]


def _read_text(name: str) -> str:
    return (files("crossview.web") / name).read_text(encoding="utf-8")


# The page of a track, which plays it on the region's imagery beside its pictures. It is of the same
# scripts and under the same policy. What is drawn of a track (its pieces, the gaps between them,
# which way each picture looked) is computed here once; the page draws it.

_SCRIPTS = ("dom", "angles", "state", "heat", "atlas", "imagery", "track")
_STYLES = ("theme", "page", "sheet", "track")
TRACK_PARTS = PageParts(
    "page/track.html",
    tuple(f"page/{name}.js" for name in _SCRIPTS),  # each after those that it imports from
    tuple(f"page/{name}.css" for name in _STYLES),
)
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
    page = fill_page(TRACK_PARTS, title, list_banners(index), data)
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
