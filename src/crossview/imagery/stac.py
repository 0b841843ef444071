"""Pictures that a STAC catalogue knows of: an item, a collection, a search; GET only, page by page.

What a catalogue answers is hostile: pages, items and addresses are bounded, addresses of pictures
must be of the web (no ``file://``, no path of GDAL, no ``s3://``), and a public catalogue cannot
lead to addresses of one's own network. Licence, providers and date come from the item, else from
its collection.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import numpy as np

from crossview.arrays import F64, Bool
from crossview.downloads import Downloads
from crossview.errors import BadAnswer, CrossviewError, EmptyRegion, InvalidValue
from crossview.geo.perimeters import Perimeter, parse_perimeter
from crossview.imagery.addresses import StacAddress, Terms
from crossview.imagery.cogs import Credit, CutJob, place_cut
from crossview.schema import parse_object

LOG = logging.getLogger("crossview.imagery")
PAGE_ITEMS = 100
MOST_PAGES, MOST_ITEMS = 200, 10_000
MOST_LINKED = 1000  # items of a catalogue of plain files, which are asked for one by one
MOST_PICTURES = 500
MOST_CLOUD_PERCENT = 20.0
_MOST_BYTES = 1 << 25  # of one answer
_MOST_URL = 4000
_SAMPLES = 64  # along each side of the area, to see what is covered
_SIGNERS = {  # whose pictures open only with a signature that anybody gets
    "planetarycomputer.microsoft.com": (
        ".blob.core.windows.net",
        "https://planetarycomputer.microsoft.com/api/sas/v1/sign",
    ),
}
_COG = "profile=cloud-optimized"
_NO_PICTURES = {"thumbnail", "overview", "metadata", "preview", "data-mask", "cloud", "snow-ice"}
# Licences that say nothing by themselves: what they mean stands behind a link.
_UNNAMED = {"", "other", "proprietary", "various"}
_LICENCE_LINKS = {
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "CC-BY-SA-4.0": "https://creativecommons.org/licenses/by-sa/4.0/",
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "PDDL-1.0": "https://opendatacommons.org/licenses/pddl/1-0/",
    "ODbL-1.0": "https://opendatacommons.org/licenses/odbl/1-0/",
    "etalab-2.0": "https://www.etalab.gouv.fr/licence-ouverte-open-licence/",
}


@dataclass(frozen=True, kw_only=True)
class CataloguedPicture:
    """A picture of an item: a GeoTIFF by address, what it shows, when, and its terms."""

    id: str
    url: str
    outline: Perimeter
    captured: str  # ISO date, "" if not said
    cloud_percent: float | None
    terms: Terms


@dataclass(frozen=True, kw_only=True)
class CatalogueFind:
    """Pictures that cover an area together, the best last (on top); what was left out and why."""

    pictures: tuple[CataloguedPicture, ...]
    items: int  # that the catalogue named over the area
    covered: float  # share of the area that lies below a picture
    notes: tuple[str, ...]


def find_pictures(address: StacAddress, area: Perimeter, downloads: Downloads) -> CatalogueFind:
    """The newest pictures that cover ``area``, as few as needed, those with few clouds first.

    Raises :class:`EmptyRegion` where the catalogue has none there, :class:`BadAnswer` for what is
    no STAC, and what :class:`Downloads` raises.
    """
    catalogue = _Catalogue(address, downloads)
    notes: dict[str, int] = {}
    pictures: dict[tuple[str, str], CataloguedPicture] = {}
    items = 0
    for item in catalogue.list_items(area):
        items += 1
        try:
            picture = catalogue.read_picture(item)
        except _LeftOut as why:
            notes[str(why)] = notes.get(str(why), 0) + 1
            continue
        pictures.setdefault((str(item.get("collection", "")), picture.id), picture)
    said = [
        f"{count} {'item' if count == 1 else 'items'} left out: {why}"
        for why, count in notes.items()
    ]
    chosen, covered = _cover(list(pictures.values()), area)
    if not chosen:
        reason = f"\n{'; '.join(said)}." if said else ""
        raise EmptyRegion(
            f"{downloads.conceal(address.url)[:200]} has no picture of this area ({items} items "
            f"there).{reason}"
        )
    return CatalogueFind(
        pictures=tuple(catalogue.sign(picture) for picture in chosen),
        items=items,
        covered=covered,
        notes=tuple(said),
    )


def plan_pictures(
    address: StacAddress,
    area: Perimeter,
    wanted_px_m: float,
    downloads: Downloads,
    folder: Path,
) -> tuple[CutJob, Terms, tuple[str, ...]]:
    """What to read of the pictures of an area, the terms of all of them, and notes.

    Reads the catalogue and the header of each picture. Raises as :func:`find_pictures`, and
    :class:`BadAnswer` for more than :data:`MOST_PICTURES`.
    """
    found = find_pictures(address, area, downloads)
    if len(found.pictures) > MOST_PICTURES:
        raise BadAnswer(
            f"{len(found.pictures)} pictures are needed for that area, more than are read "
            f"({MOST_PICTURES}).\nTake a smaller area."
        )
    cuts = [
        place_cut(
            picture.url,
            area,
            wanted_px_m,
            Credit(attribution=picture.terms.credit, date=picture.captured),
            downloads=downloads,
            folder=folder,
        )
        for picture in found.pictures
    ]
    job = CutJob(tuple(cut for cut in cuts if cut is not None))
    if not job.cuts:
        raise EmptyRegion(
            f"{downloads.conceal(address.url)[:200]}: no picture that it names for this area shows "
            "any of it."
        )
    notes = list(found.notes)
    if found.covered < 0.995:
        notes.append(f"the pictures cover {found.covered:.0%} of the area")
    return job, _join_terms([one.terms for one in found.pictures]), tuple(notes)


def _join_terms(terms: Sequence[Terms]) -> Terms:
    """One statement for all pictures: each text once; known only if all are."""

    def join(texts: Iterable[str]) -> str:
        return "; ".join(dict.fromkeys(text for text in texts if text))

    days = sorted(one.date for one in terms if one.date)
    return Terms(
        licence=join(one.licence for one in terms),
        licence_url=join(one.licence_url for one in terms),
        attribution=join(one.attribution for one in terms),
        date="" if not days else days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}",
        known=all(one.known for one in terms),
    )


class _LeftOut(Exception):
    """Why an item has no picture; never leaves this file."""


class _Catalogue:
    """One catalogue: its items over an area, and what they say."""

    def __init__(self, address: StacAddress, downloads: Downloads) -> None:
        self._address, self._downloads = address, downloads
        self._collections: dict[str, Mapping[str, Any]] = {}
        self._shown = downloads.conceal(address.url)[:200]

    def list_items(self, area: Perimeter) -> Iterator[Mapping[str, Any]]:
        """Items whose outline meets the area's bounds, with ``_url``: where each was found."""
        boxes = list(_list_boxes(area))
        seen: set[tuple[str, str]] = set()
        for item in self._list_named(boxes):
            key = (str(item.get("collection", "")), str(item.get("id", "")))
            if key in seen or not _meets(item, boxes):
                continue
            seen.add(key)
            if len(seen) > MOST_ITEMS:
                raise BadAnswer(
                    f"{self._shown} has more than {MOST_ITEMS:,} items there.\nTake a smaller area,"
                    " or name a span of time: #datetime=2022-01-01/.."
                )
            yield item

    def read_picture(self, item: Mapping[str, Any]) -> CataloguedPicture:
        """The picture of an item; :class:`_LeftOut` says why it has none."""
        properties = _mapping(item.get("properties"))
        clouds = properties.get("eo:cloud_cover")
        return CataloguedPicture(
            id=str(item.get("id", ""))[:200],
            url=self._choose_asset(item),
            outline=_read_outline(item),
            captured=_read_date(properties),
            cloud_percent=float(clouds) if isinstance(clouds, int | float) else None,
            terms=self._read_terms(item, properties),
        )

    def sign(self, picture: CataloguedPicture) -> CataloguedPicture:
        """The picture with a signed address where its catalogue wants one."""
        ending, signer = _SIGNERS.get(urlsplit(self._address.url).hostname or "", ("", ""))
        if not signer or not (urlsplit(picture.url).hostname or "").endswith(ending):
            return picture
        answer = self._read(signer, {"href": picture.url})
        signed = str(answer.get("href", ""))
        if signed.partition("?")[0] != picture.url.partition("?")[0]:
            raise BadAnswer(f"{self._shown}: the signature of a picture is for another one.")
        for value in re.findall(r"[?&]sig=([^&]+)", signed):
            self._downloads.keep_secret(value)
        return replace(picture, url=signed)

    def _list_named(self, boxes: Sequence[tuple[float, ...]]) -> Iterator[Mapping[str, Any]]:
        """Items of whatever the address is: an item, a list of items, a collection, a search."""
        url = self._address.url
        if urlsplit(url).path.rstrip("/").endswith("/search"):
            yield from self._search(url, boxes)
            return
        if urlsplit(url).path.rstrip("/").endswith("/items"):
            yield from self._search(url, boxes, by_collection=False)
            return
        answer = self._read(url)
        kind = answer.get("type")
        if kind == "Feature":
            yield {**answer, "_url": url}
        elif kind == "FeatureCollection":
            yield from self._list_features(answer, url)
        elif kind in ("Collection", "Catalog"):
            if kind == "Collection":
                self._collections[url] = answer
            yield from self._list_behind(answer, url, boxes)
        else:
            raise BadAnswer(
                f"{self._shown} is no STAC item, collection, catalogue or search: its type is "
                f"{str(kind)[:40]!r}."
            )

    def _list_behind(
        self, answer: Mapping[str, Any], url: str, boxes: Sequence[tuple[float, ...]]
    ) -> Iterator[Mapping[str, Any]]:
        """Items of a collection or catalogue: by its search, else its linked files."""
        wanted = "items" if answer["type"] == "Collection" else "search"
        for link in _list_links(answer, wanted):
            if str(link.get("method", "GET")).upper() == "GET":
                where = self._resolve(url, link.get("href"))
                yield from self._search(where, boxes, by_collection=wanted == "search")
                return
        linked = [self._resolve(url, link.get("href")) for link in _list_links(answer, "item")]
        if not linked:
            raise BadAnswer(
                f"{self._shown} names no items and no search. Give the address of a collection or "
                "of /search."
            )
        if len(linked) > MOST_LINKED:
            raise BadAnswer(
                f"{self._shown} is a list of {len(linked):,} files, more than are asked for one by "
                f"one ({MOST_LINKED:,}).\nGive the address of the item, or of a search."
            )
        for where in linked:
            yield {**self._read(where), "_url": where}

    def _search(
        self, url: str, boxes: Sequence[tuple[float, ...]], *, by_collection: bool = True
    ) -> Iterator[Mapping[str, Any]]:
        """All pages of a search, a box at a time: few servers know boxes across longitude 180."""
        for box in boxes:
            params = {"bbox": ",".join(f"{v:.7g}" for v in box), "limit": str(PAGE_ITEMS)}
            if by_collection and self._address.collections:
                params["collections"] = ",".join(self._address.collections)
            if self._address.datetime:
                params["datetime"] = self._address.datetime
            where: str | None = url
            asked: set[str] = set()
            while where is not None:
                if where in asked or len(asked) >= MOST_PAGES:
                    raise BadAnswer(
                        f"{self._shown} has no end: {len(asked)} pages, and the next one "
                        f"{'is one of them' if where in asked else 'is one more'}.\nTake a smaller "
                        "area, or name a span of time: #datetime=2022-01-01/.."
                    )
                asked.add(where)
                page = self._read(where, {} if len(asked) > 1 else params)
                yield from self._list_features(page, where)
                where = self._find_next(page, where)

    def _find_next(self, page: Mapping[str, Any], where: str) -> str | None:
        """The next page; it lies on the same server, since a token may go with it."""
        for link in _list_links(page, "next"):
            if str(link.get("method", "GET")).upper() != "GET":
                raise BadAnswer(
                    f"{self._shown} turns pages by POST, which is not used.\nTake an area of at "
                    f"most {PAGE_ITEMS} items, or the address of a collection."
                )
            found = self._resolve(where, link.get("href"))
            if urlsplit(found).netloc != urlsplit(where).netloc:
                raise BadAnswer(
                    f"{self._shown} continues on another server, "
                    f"{urlsplit(found).netloc[:100]}, which is not followed."
                )
            return found
        return None

    def _list_features(self, page: Mapping[str, Any], where: str) -> Iterator[Mapping[str, Any]]:
        features = page.get("features")
        if not isinstance(features, list):
            raise BadAnswer(f"{self._shown} answers a search with something that holds no items.")
        for feature in features:
            if isinstance(feature, dict):
                base = next((link.get("href") for link in _list_links(feature, "self")), None)
                yield {**feature, "_url": self._resolve(where, base) if base else where}

    def _choose_asset(self, item: Mapping[str, Any]) -> str:
        """The address of the picture: by name, else by role, kind of file and bands."""
        assets = {
            str(name): asset
            for name, asset in _mapping(item.get("assets")).items()
            if isinstance(asset, dict)
        }
        if self._address.asset:
            if self._address.asset not in assets:
                known = ", ".join(sorted(assets))[:200]
                raise InvalidValue(
                    f"{self._shown}: an item has no asset {self._address.asset!r}. It has {known}."
                )
            return self._find_href(item, assets[self._address.asset])
        ranked = sorted(
            ((_rate_asset(name, asset), name) for name, asset in assets.items()), reverse=True
        )
        fitting = [name for rate, name in ranked if rate > 0]
        if not fitting:
            raise _LeftOut("no GeoTIFF in colour is among its files")
        problem: _LeftOut | None = None
        for name in fitting:
            try:
                return self._find_href(item, assets[name])
            except _LeftOut as why:
                problem = problem or why
        raise problem or _LeftOut("no address of a picture")

    def _find_href(self, item: Mapping[str, Any], asset: Mapping[str, Any]) -> str:
        """The first address of an asset that may be asked: its own, or an alternate one."""
        others = _mapping(asset.get("alternate")).values()
        problem = _LeftOut("a picture has no address")
        for href in (asset.get("href"), *(_mapping(other).get("href") for other in others)):
            try:
                return self._resolve(str(item["_url"]), href)
            except BadAnswer as why:
                problem = _LeftOut(str(why).partition("\n")[0].rstrip("."))
        raise problem

    def _read_terms(self, item: Mapping[str, Any], properties: Mapping[str, Any]) -> Terms:
        """Licence and providers of the item, else of its collection; the address's own first."""
        given = self._address.terms
        parent = self._find_collection(item)
        licence, link = "", ""
        for holder, facts in ((item, properties), (parent, parent)):
            name = str(facts.get("license") or "")[:100]
            found = next(iter(_list_links(holder, "license")), None)
            if name.lower() in _UNNAMED and found is None:
                continue
            href = str((found or {}).get("href") or "")
            link = href if href.startswith(("https://", "http://")) else ""
            link = link or _LICENCE_LINKS.get(name, "")
            licence = name
            if name.lower() in _UNNAMED:
                licence = str((found or {}).get("title") or "see its link")[:200]
            break
        providers = properties.get("providers") or parent.get("providers") or []
        names = [
            str(one.get("name", ""))[:200]
            for one in _listed(providers)
            if isinstance(one, dict)
            and {"producer", "licensor"} & {str(role) for role in _listed(one.get("roles"))}
        ]
        return Terms(
            licence=given.licence or licence,
            licence_url=given.licence_url or link,
            attribution=given.attribution or ", ".join(dict.fromkeys(filter(None, names))),
            date=given.date or _read_date(properties),
            known=given.known,
        )

    def _find_collection(self, item: Mapping[str, Any]) -> Mapping[str, Any]:
        """The collection of an item, asked for once; {} where it has none that can be read."""
        link = next(iter(_list_links(item, "collection")), None)
        if link is None:
            return next(iter(self._collections.values()), {})
        try:
            where = self._resolve(str(item["_url"]), link.get("href"))
        except BadAnswer:
            return {}
        if where not in self._collections:
            try:
                self._collections[where] = self._read(where)
            except CrossviewError as problem:
                LOG.warning("%s: its collection cannot be read: %s", self._shown, problem)
                self._collections[where] = {}
        return self._collections[where]

    def _read(self, url: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        reply = self._downloads.read(
            url,
            params=params,
            headers={"Accept": "application/geo+json, application/json"},
            most_bytes=_MOST_BYTES,
        )
        try:
            return parse_object(reply.content)
        except ValueError as problem:
            raise BadAnswer(
                f"{self._downloads.conceal(url)[:200]} answers with something that is no JSON "
                f"object ({problem})."
            ) from problem

    def _resolve(self, base: str, href: object) -> str:
        """An address beside ``base``; :class:`BadAnswer` unless it is of the web and may be."""
        if not isinstance(href, str) or not href.strip() or len(href) > _MOST_URL:
            raise BadAnswer(f"{self._shown} names no address where one is needed.")
        try:
            found = urlsplit(urljoin(base, href.strip()))
            host = found.hostname or ""
            _ = found.port
        except ValueError as problem:
            raise BadAnswer(f"{self._shown} names an address that is none.") from problem
        safe = found.scheme == "https" or found.scheme == urlsplit(base).scheme == "http"
        if not safe or not host or "/vsi" in found.path.lower() or found.username:
            shown = self._downloads.conceal(href)[:100]
            raise BadAnswer(f"{self._shown} names {shown}, which is no address that is read.")
        if _is_own_network(host) and not _is_own_network(
            urlsplit(self._address.url).hostname or ""
        ):
            raise BadAnswer(f"{self._shown} names an address of your own network, {host[:100]}.")
        return found.geturl()


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _list_links(holder: Mapping[str, Any], rel: str) -> list[Mapping[str, Any]]:
    links = _listed(holder.get("links"))
    return [link for link in links if isinstance(link, dict) and link.get("rel") == rel]


def _is_own_network(host: str) -> bool:
    """Whether a name or number is of this machine or a network that only insiders reach."""
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return True
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:  # a name
        return bool(re.fullmatch(r"[0-9a-fx.]+", host.lower())) and "." not in host.strip("0x.")


def _rate_asset(name: str, asset: Mapping[str, Any]) -> int:
    """How well a file suits as the picture; 0 or less: not at all."""
    roles = {str(role).lower() for role in _listed(asset.get("roles"))}
    kind = str(asset.get("type") or "").lower()
    path = str(asset.get("href") or "").lower().partition("?")[0]
    is_tiff = "tiff" in kind or (not kind and path.endswith((".tif", ".tiff")))
    if not is_tiff or roles & _NO_PICTURES:
        return 0
    bands = asset.get("eo:bands") or asset.get("bands")
    names = [
        str(_mapping(band).get("common_name") or _mapping(band).get("eo:common_name") or "").lower()
        for band in _listed(bands)
    ]
    if names and not {"red", "green", "blue"} <= set(names) and names != ["pan"] and any(names):
        return 0  # one colour of several files, or no colour
    rate = 1
    rate += 8 if "visual" in roles or name.lower() in ("visual", "tci", "rgb") else 0
    rate += 4 if {"red", "green", "blue"} <= set(names) else 0
    rate += 2 if "data" in roles or name.lower() in ("image", "data", "ortho", "cog") else 0
    rate += 1 if _COG in kind else 0
    return rate


def _read_date(properties: Mapping[str, Any]) -> str:
    """The day of a picture, or of the end of its span."""
    for key in ("datetime", "end_datetime", "start_datetime"):
        text = properties.get(key)
        if isinstance(text, str):
            try:
                moment = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
            except ValueError:
                continue
            aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            return aware.astimezone(UTC).date().isoformat()
    return ""


def _read_outline(item: Mapping[str, Any]) -> Perimeter:
    """The ground that an item says it shows."""
    geometry = item.get("geometry")
    try:
        if isinstance(geometry, dict):
            return parse_perimeter(geometry)
    except CrossviewError:  # a line, or a ring that crosses itself: its box is good enough
        pass
    box = _read_box(item)
    if box is None:
        raise _LeftOut("its outline cannot be read")
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    try:
        return parse_perimeter({"type": "Polygon", "coordinates": [ring]})
    except CrossviewError as problem:
        raise _LeftOut("its outline cannot be read") from problem


def _read_box(item: Mapping[str, Any]) -> tuple[float, float, float, float] | None:
    """West, south, east, north of an item, east beyond 180 where it crosses; None: not said."""
    box = item.get("bbox")
    if not isinstance(box, list) or len(box) not in (4, 6):
        return None
    values = [float(v) if isinstance(v, int | float) else math.nan for v in box]
    west, south, east, north = values if len(values) == 4 else [values[i] for i in (0, 1, 3, 4)]
    east += 360.0 if east < west else 0.0
    on_earth = -360.0 <= west < east <= 540.0 and -90.0 <= south < north <= 90.0
    return (west, south, east, north) if on_earth else None


def _list_boxes(area: Perimeter) -> Iterator[tuple[float, float, float, float]]:
    """Boxes west, south, east, north of the area in [-180, 180], cut at longitude 180."""
    for outer, *_ in area.polygons:
        ring = np.asarray(outer, np.float64)
        (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
        turn = 360.0 * math.floor((west + 180.0) / 360.0)
        west, east = float(west - turn), float(east - turn)
        yield west, float(south), min(east, 180.0), float(north)
        if east > 180.0:
            yield -180.0, float(south), east - 360.0, float(north)


def _meets(item: Mapping[str, Any], boxes: Sequence[tuple[float, ...]]) -> bool:
    """Whether the box of an item meets any of the area's; servers are not believed to filter."""
    box = _read_box(item)
    if box is None:
        return True
    for turn in (-360.0, 0.0, 360.0):
        for west, south, east, north in boxes:
            apart = box[2] + turn < west or box[0] + turn > east
            if not apart and box[3] >= south and box[1] <= north:
                return True
    return False


def _cover(
    pictures: Sequence[CataloguedPicture], area: Perimeter
) -> tuple[list[CataloguedPicture], float]:
    """As few pictures as cover what can be, the best taken first and given last; the share."""
    lat, lon = _sample(area)
    bare: Bool = np.ones(len(lat), np.bool_)
    chosen: list[CataloguedPicture] = []
    by_date = sorted(pictures, key=lambda one: (one.captured, one.id), reverse=True)
    clear = [one for one in by_date if (one.cloud_percent or 0.0) <= MOST_CLOUD_PERCENT]
    cloudy = [one for one in by_date if (one.cloud_percent or 0.0) > MOST_CLOUD_PERCENT]
    cloudy.sort(key=lambda one: one.cloud_percent or 0.0)
    for picture in [*clear, *cloudy]:
        shown = picture.outline.contains(lat, lon)
        if (shown & bare).any():
            chosen.append(picture)
            bare &= ~shown
        if not bare.any():
            break
    return chosen[::-1], float(1.0 - bare.mean())


def _sample(area: Perimeter) -> tuple[F64, F64]:
    """Latitudes and longitudes of points of the area, its corners among them."""
    lats, lons = [], []
    for polygon in area.polygons:
        ring = np.asarray(polygon[0], np.float64)
        (west, south), (east, north) = ring.min(axis=0), ring.max(axis=0)
        steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
        x, y = np.meshgrid(west + steps * (east - west), south + steps * (north - south))
        lats.append(y.ravel())
        lons.append(x.ravel())
    lat, lon = np.concatenate(lats), np.concatenate(lons)
    inside = area.contains(lat, lon)
    if not inside.any():  # thinner than the raster
        corners = np.asarray([corner for polygon in area.polygons for corner in polygon[0]])
        return corners[:, 1], corners[:, 0]
    return lat[inside], lon[inside]
