"""Imagery on servers: what an area would cost, then its tiles as local files, each fetched once.

A source is one folder of the cache: ``tiles`` holds every tile that was ever fetched, ``areas`` the
tiles of an area under the same names (hard links), as a folder that any verb reads.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import numpy as np

from crossview.downloads import CACHE_VARIABLE, Downloads
from crossview.errors import (
    BadAnswer,
    BadImagery,
    CrossviewError,
    EmptyRegion,
    InvalidValue,
    NotOnServer,
    TooCoarse,
)
from crossview.files import atomic_write, explain_failure, make_folder, require_room, sweep
from crossview.geo.mercator import HALF_WORLD_M
from crossview.geo.perimeters import Perimeter, surround_points
from crossview.imagery.addresses import (
    Address,
    CogAddress,
    StacAddress,
    Terms,
    WmsAddress,
    WmtsAddress,
    XyzAddress,
    fill_environment,
    fill_template,
)
from crossview.imagery.cogs import Credit, CutJob, place_cut
from crossview.imagery.stac import plan_pictures
from crossview.imagery.tile_archives import MOST_TILE_BYTES, TileNumber, decode_tile
from crossview.imagery.tile_grids import GRID_FILE, GridFacts, TileGrid, make_mercator_grid
from crossview.locks import lock

MOST_PIECES = 500_000  # of an area: about 1,000 km2 at 0.2 m per pixel
MOST_KM2 = 5_000.0
WORKERS = 6
WMS_BLOCK_PX = 1024
_FRESH_S = 24 * 3600.0  # capabilities are asked for again after a day
_JPEG_BYTES_PER_PX, _PNG_BYTES_PER_PX = 0.35, 1.6  # of orthophotos, about
_BYTES_PER_S = 2e6  # of a connection, about
_OGC_PX_M = 0.00028
_DEGREE_M = 111_319.490_793
_MOST_CAPABILITIES_BYTES = 40_000_000
_FORMATS = ("image/jpeg", "image/jpgpng", "image/png", "image/webp")
_PROBES = 5

_ROOT = re.compile(  # the name of the first element of XML
    rb"(?:\xef\xbb\xbf|\s|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^>\[]*(?:\[.*?\])?[^>]*>)*<([\w:.-]+)",
    re.DOTALL,
)

Progress = Callable[[int, int], None]


class FetchJob(Protocol):
    """What fetches the pieces of a plan; one for each kind of address."""

    def fetch(self, downloads: Downloads, progress: Progress) -> tuple[Path, ...]:
        """Local files or folders that hold the area; what is there already is not fetched."""


@dataclass(frozen=True, kw_only=True)
class FetchPlan:
    """What an area of a source is, before it is fetched; pieces are tiles or blocks.

    ``statement``: what the service says of its terms. ``missing``: pieces that are not kept yet,
    ``missing_bytes`` and ``seconds`` are about what they take.
    """

    address: Address
    terms: Terms
    job: FetchJob
    folder: Path
    pieces: int
    missing: int
    missing_bytes: float
    seconds: float
    metres_per_px: float
    area_km2: float
    statement: str = ""
    notes: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The server's name."""
        return urlsplit(self.address.url).hostname or self.address.url


@dataclass(frozen=True, kw_only=True)
class Demand:
    """How much of a source is wanted: pixels of ``px_m`` ground metres or finer.

    Coarser than ``coarsest_px_m`` is of no use (None: anything is). ``margin_m`` around the area.
    ``zoom``: of Web Mercator, in place of the coarsest that is fine enough. ``requests_per_s`` is
    for the estimate of time.
    """

    px_m: float
    coarsest_px_m: float | None = None
    margin_m: float = 0.0
    zoom: int | None = None
    requests_per_s: float = 10.0


def plan_fetch(
    address: Address, area: Perimeter, demand: Demand, downloads: Downloads, cache: Path
) -> FetchPlan:
    """What fetching an area would take: tiles that are fine enough.

    Nothing is asked of a server but its capabilities, which are kept for a day below ``cache``.
    Raises :class:`InvalidValue` for an area of no size or of a country, :class:`EmptyRegion` for
    one outside of the service.
    """
    area_km2 = area.measure_km2()
    if area_km2 <= 0.0:
        raise InvalidValue("The area has no size: give a box of west, south, east and north.")
    if area_km2 > MOST_KM2:
        raise InvalidValue(
            f"The area has {area_km2:,.0f} km2; at most {MOST_KM2:,.0f} are fetched from a public "
            "service.\nTake a part of it, such as a town, or download the imagery as files."
        )
    url, secrets = fill_environment(address.url)
    downloads.keep_secret(*secrets)
    if isinstance(address, CogAddress | StacAddress):
        return _plan_cuts(replace(address, url=url), address, area, demand, downloads, cache)
    kept = _Capabilities(downloads, cache)
    if isinstance(address, XyzAddress):
        source = _plan_template(address, url, area, demand)
    elif isinstance(address, WmtsAddress):
        source = _read_wmts(address, url, area, demand.px_m, kept)
    else:
        source = _read_wms(address, url, area, demand.px_m, kept)
    return _plan_tiles(source, area, cache, demand)


def fetch_imagery(
    plan: FetchPlan, downloads: Downloads, progress: Progress = lambda _done, _total: None
) -> tuple[Path, ...]:
    """Fetch what is missing of a plan; local folders or files that ``open_sources`` reads.

    Killed at any instant, the next call fetches the rest. Raises :class:`CannotWrite` before
    anything is fetched where the disk is too small, and a kind of :class:`DownloadFailed`.
    """
    require_imagery_room([plan])
    return plan.job.fetch(downloads, progress)


def require_imagery_room(plans: Sequence[FetchPlan]) -> None:
    """Raise :class:`CannotWrite` where the cache's disk cannot hold what plans fetch."""
    needed = sum(1.1 * plan.missing_bytes for plan in plans)
    advice = f"Take a smaller area, or another disk: {CACHE_VARIABLE}=FOLDER."
    require_room(plans[0].folder, needed, "The imagery takes", advice)


def _plan_cuts(
    asked: CogAddress | StacAddress,
    address: CogAddress | StacAddress,
    area: Perimeter,
    demand: Demand,
    downloads: Downloads,
    cache: Path,
) -> FetchPlan:
    """Blocks of one file, or of those that a catalogue names; ``asked`` holds its secrets."""
    folder, notes = cache / "imagery", tuple[str, ...]()
    whole = _widen(area, demand.margin_m)
    if isinstance(asked, StacAddress):
        job, terms, notes = plan_pictures(asked, whole, demand.px_m, downloads, folder)
        if not terms.attribution:
            terms = replace(terms, attribution=_name_host(address).attribution)
    else:
        terms = _name_host(address)
        credit = Credit(attribution=terms.credit, date=terms.date)
        cut = place_cut(asked.url, whole, demand.px_m, credit, downloads=downloads, folder=folder)
        job = CutJob(() if cut is None else (cut,))
    if not job.cuts:
        raise EmptyRegion(f"{address.url[:200]} has no imagery in that area.")
    missing, size = job.measure_missing()
    requests = sum(one.cut.tiles for one in job.cuts) * missing / job.pieces
    return FetchPlan(
        address=address,
        terms=terms,
        job=job,
        folder=folder,
        pieces=job.pieces,
        missing=missing,
        missing_bytes=size,
        seconds=max(requests / demand.requests_per_s, size / _BYTES_PER_S),
        metres_per_px=max(one.cut.metres_per_px for one in job.cuts),
        area_km2=area.measure_km2(),
        notes=notes,
    )


@dataclass(frozen=True, kw_only=True)
class _TileSource:
    """One level of a source: its grid, and the address of each of its tiles."""

    address: Address
    terms: Terms
    level: int
    grid: TileGrid
    locate: Callable[[TileNumber], str]
    suffix: str
    metres_per_px: float
    is_mercator: bool
    exact_px: bool  # whether tiles must have the grid's number of pixels
    key: tuple[str, ...]  # what tells it from other sources and levels
    statement: str = ""
    notes: tuple[str, ...] = ()


def _plan_tiles(source: _TileSource, area: Perimeter, cache: Path, demand: Demand) -> FetchPlan:
    rate, area_km2 = demand.requests_per_s, area.measure_km2()
    tile_px = source.grid.tile_px
    per_tile = tile_px**2 * (_PNG_BYTES_PER_PX if source.suffix == ".png" else _JPEG_BYTES_PER_PX)
    count = math.ceil(area_km2 * 1e6 / (source.metres_per_px * tile_px) ** 2)  # at least
    if count > MOST_PIECES:
        raise InvalidValue(
            f"The area has {area_km2:,.0f} km2: {count:,} tiles, about "
            f"{count * per_tile / 1e9:.3g} GB and {count / rate / 3600.0:.0f} h; at most "
            f"{MOST_PIECES:,} tiles are fetched.\nTake a part of it, or download the files."
        )
    tiles = source.grid.find_tiles(area, demand.margin_m)
    host = urlsplit(source.address.url).hostname or "source"
    digest = hashlib.sha256("\n".join(source.key).encode()).hexdigest()[:12]
    folder = cache / "imagery" / f"{re.sub(r'[^a-z0-9.-]', '-', host.lower())}-{digest}"
    chosen = hashlib.sha256(repr((source.level, tiles)).encode()).hexdigest()[:12]
    job = _TileJob(source, tuple(tiles), folder, folder / "areas" / chosen)
    missing = sum(not job.place(tile).is_file() for tile in tiles)
    needed = missing * per_tile
    return FetchPlan(
        address=source.address,
        terms=source.terms,
        job=job,
        folder=folder,
        pieces=len(tiles),
        missing=missing,
        missing_bytes=needed,
        seconds=max(missing / rate, needed / _BYTES_PER_S),
        metres_per_px=source.metres_per_px,
        area_km2=area_km2,
        statement=source.statement,
        notes=source.notes,
    )


def _widen(area: Perimeter, margin_m: float) -> Perimeter:
    """Boxes around the polygons of an area, wider by a margin on all sides."""
    if margin_m <= 0.0:
        return area
    outlines = [np.array(outer, np.float64).T for outer, *_ in area.polygons]
    boxes = [surround_points(lat, lon, margin_m) for lon, lat in outlines]
    return Perimeter(tuple(polygon for box in boxes for polygon in box.polygons))


@dataclass(frozen=True)
class _TileJob:
    """Fetches tiles, then lays links of them into the folder of the area."""

    source: _TileSource
    tiles: tuple[TileNumber, ...]
    folder: Path
    area: Path

    def place(self, tile: TileNumber, folder: Path | None = None) -> Path:
        above = self.folder / "tiles" if folder is None else folder
        return above / str(self.source.level) / str(tile[0]) / f"{tile[1]}{self.source.suffix}"

    def fetch(self, downloads: Downloads, progress: Progress) -> tuple[Path, ...]:
        with lock(self.folder, "fetching imagery", wait=True, make_parents=True):
            self._fetch_missing(downloads, progress)
            self._lay_links()
        return (self.area,)

    def _fetch_missing(self, downloads: Downloads, progress: Progress) -> None:
        missing = [tile for tile in self.tiles if not self.place(tile).is_file()]
        for column in {self.place(tile).parent for tile in missing}:
            sweep(column)
        if missing:
            self._probe(downloads, missing)
        done = len(self.tiles) - len(missing)
        progress(done, len(self.tiles))
        fetch_pieces(missing, lambda tile: self._fetch_tile(downloads, tile),
                     lambda more: progress(done + more, len(self.tiles)), downloads)  # fmt: skip
        if not any(self.place(tile).stat().st_size for tile in self.tiles):
            raise EmptyRegion(f"{self._host} has no imagery in that area: all tiles are empty.")

    @property
    def _host(self) -> str:
        return urlsplit(self.source.address.url).hostname or self.source.address.url

    def _probe(self, downloads: Downloads, missing: Sequence[TileNumber]) -> None:
        """A few tiles first: none of them means the wrong zoom, or an area outside."""
        step = max(1, len(missing) // _PROBES)
        chosen = missing[step // 2 :: step][:_PROBES]
        for tile in chosen:
            if self._fetch_tile(downloads, tile):
                return
        for tile in chosen:  # nothing is known of them, if the zoom was wrong
            self.place(tile).unlink(missing_ok=True)
        advice = "Check the area."
        if isinstance(self.source.address, XyzAddress):
            advice += f" If its finest zoom is coarser than {self.source.level}, write it behind "
            advice += f"the address, such as #zooms=0-{max(0, self.source.level - 1)}."
        raise EmptyRegion(
            f"{self._host} has no imagery there: {len(chosen)} of {len(self.tiles)} tiles of "
            f"level {self.source.level} were asked for.\n{advice}"
        )

    def _fetch_tile(self, downloads: Downloads, tile: TileNumber) -> bool:
        """Whether the server has it; an empty file is kept where it has none."""
        place = self.place(tile)
        if place.is_file():
            return place.stat().st_size > 0
        try:
            downloads.fetch(
                self.source.locate(tile), place, most_bytes=MOST_TILE_BYTES,
                check=lambda data: self._check(data, tile),
            )  # fmt: skip
        except NotOnServer:
            make_folder(place.parent)
            atomic_write(place, b"")
        return place.stat().st_size > 0

    def _check(self, data: bytes, tile: TileNumber) -> None:
        """Raise :class:`BadAnswer` unless these bytes are a picture that a tile may be."""
        if not data:
            return
        name = f"tile {self.source.level}/{tile[0]}/{tile[1]} of {self._host}"
        if (said := _read_exception(data)) is not None:
            raise BadAnswer(f"{name}: the service answers {said!r} in place of a picture.")
        try:
            height, width = decode_tile(data, name).pixels.shape[:2]
        except BadImagery as problem:
            raise BadAnswer(f"{problem}\nThe service answers nonsense; try it later.") from problem
        side = self.source.grid.tile_px
        if height != width or (self.source.exact_px and width != side):
            raise BadAnswer(
                f"{name} has {width} x {height} pixels where {side} x {side} should be."
            )

    def _lay_links(self) -> None:
        """The area's own folder: the tiles under their names, and what they are."""
        sweep(self.area)
        for tile in self.tiles:
            link = self.place(tile, self.area)
            if not link.is_file():
                make_folder(link.parent)
                _link(self.place(tile), link)
        terms = self.source.terms
        facts = {
            "scheme": "xyz", "attribution": terms.credit, "date": terms.date,
            "licence": terms.licence, "licence_url": terms.licence_url,
            "source": self.source.address.url,
        }  # fmt: skip
        name, content = "metadata.json", json.dumps(facts, indent=1)
        if not self.source.is_mercator:
            name = GRID_FILE
            content = GridFacts(
                grid=self.source.grid, attribution=terms.credit[:1000], date=terms.date[:1000]
            ).to_json()
        place = self.area / name
        if not place.is_file() or place.read_bytes() != content.encode():
            atomic_write(place, content)


def fetch_pieces(
    pieces: Iterable[Any],
    fetch: Callable[[Any], object],
    progress: Callable[[int], None],
    downloads: Downloads,
) -> None:
    """Fetch pieces, some at a time; the first failure ends it, what was fetched stays."""
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="fetch")
    waiting: set[Future[object]] = set()
    done = 0
    try:
        for piece in pieces:
            waiting.add(pool.submit(fetch, piece))
            if len(waiting) >= 3 * WORKERS:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                done += len([one.result() for one in finished])
                progress(done)
        for one in waiting:
            one.result()
            done += 1
            progress(done)
    except Exception:
        for one in waiting:
            one.cancel()
        raise
    except BaseException:  # Ctrl-C: nobody waits for slow servers
        for one in waiting:
            one.cancel()
        downloads.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _link(kept: Path, link: Path) -> None:
    """The same file under a second name; a copy where the disk knows no links."""
    try:
        os.link(kept, link)
    except FileExistsError:  # another process was faster
        return
    except OSError:
        with explain_failure(link):
            atomic_write(link, kept.read_bytes())


def _plan_template(address: XyzAddress, url: str, area: Perimeter, demand: Demand) -> _TileSource:
    """The coarsest zoom that is fine enough, of those that the server is said to have."""
    zoom, (first, last) = demand.zoom, address.zooms
    if zoom is not None and not first <= zoom <= last:
        raise InvalidValue(f"--zoom {zoom}: the source has the zooms {first} to {last}.")
    level = zoom if zoom is not None else _choose_zoom(area, demand.px_m, first, last)
    grid = make_mercator_grid(level)
    suffix = Path(urlsplit(address.url).path).suffix.lower()
    return _TileSource(
        address=address,
        terms=_name_host(address),
        level=level,
        grid=grid,
        locate=lambda tile: fill_template(url, level, *tile),
        suffix=suffix if suffix in (".png", ".jpg", ".jpeg", ".webp") else ".jpg",
        metres_per_px=grid.measure_px_m(area),
        is_mercator=True,
        exact_px=False,
        key=("xyz", address.url),
    )


def _choose_zoom(area: Perimeter, wanted_px_m: float, first: int, last: int) -> int:
    """The coarsest zoom that is fine enough, else the finest."""
    for zoom in range(first, last):
        if make_mercator_grid(zoom).measure_px_m(area) <= wanted_px_m:
            return zoom
    return last


def _name_host(address: Address, attribution: str = "") -> Terms:
    """The terms of an address, with some attribution: the service's, else its name."""
    terms = address.terms
    if terms.attribution:
        return terms
    host = urlsplit(address.url).hostname or address.url
    return replace(terms, attribution=" ".join(attribution.split())[:300] or f"Imagery of {host}")


@dataclass(frozen=True)
class _Capabilities:
    """Capabilities as kept below the cache for a day, else as the service gives them."""

    downloads: Downloads
    cache: Path

    def read(self, url: str, public_url: str) -> bytes:
        """XML of capabilities; ``public_url`` names it without its secrets."""
        digest = hashlib.sha256(public_url.encode()).hexdigest()[:12]
        place = self.cache / "imagery" / "capabilities" / f"{digest}.xml"
        with suppress(OSError):
            if time.time() - place.stat().st_mtime > _FRESH_S:
                place.unlink()
        self.downloads.fetch(
            url, place, most_bytes=_MOST_CAPABILITIES_BYTES,
            check=lambda data: _check_capabilities(data, self.downloads.conceal(public_url)),
        )  # fmt: skip
        content = place.read_bytes()
        _check_capabilities(content, str(place))
        return content


def _check_capabilities(data: bytes, name: str) -> None:
    """Raise :class:`BadAnswer` for anything but capabilities, and for XML that defines entities."""
    if (said := _read_exception(data)) is not None:
        raise BadAnswer(f"{name}: the service answers {said!r} in place of its capabilities.")
    if b"<!ENTITY" in data.upper() or b"\x00" in data[:1000]:
        raise BadAnswer(f"{name}: its capabilities define entities; they are not read.")
    if b"Capabilities" not in data:
        raise BadAnswer(
            f"{name} answers no capabilities of a WMTS or WMS.\nCheck the address; it is the one "
            "that a GIS takes for this service."
        )


def _read_exception(data: bytes) -> str | None:
    """The words of an OGC exception; None where these bytes are none."""
    root = _ROOT.match(data[:20_000])
    if root is None or b"Exception" not in root[1]:
        return None
    text = re.sub(rb"<[^>]*>", b" ", data[:20_000]).decode("utf-8", "replace")
    return " ".join(text.split())[:200] or "an exception"


def _parse(kind: str, data: bytes, url: str) -> Any:
    """What owslib reads of capabilities; :class:`BadAnswer` where it fails."""
    import warnings

    try:
        with warnings.catch_warnings(action="ignore"):
            if kind == "wmts":
                from owslib.wmts import WebMapTileService

                return WebMapTileService(url, xml=data)
            from owslib.wms import WebMapService

            stated = re.search(rb"<(?:\w+:)?\w*Capabilities\b[^>]*\bversion\s*=\s*[\"']([\d.]+)",
                               data)  # fmt: skip
            version = "1.1.1" if stated and stated[1].startswith(b"1.1") else "1.3.0"
            return WebMapService(url, version=version, xml=data)
    except ModuleNotFoundError:
        raise
    except Exception as problem:  # owslib raises whatever odd capabilities lead to
        raise BadAnswer(
            f"The capabilities cannot be read as {kind.upper()}: {type(problem).__name__} "
            f"{str(problem)[:150]}.\nCheck the address, or say the kind: wmts: or wms: in front."
        ) from problem


def _choose_layer(service: Any, named: str, where: str) -> Any:
    """The named layer, else the only one; the message lists them."""
    layers = {name: layer for name, layer in service.contents.items() if name}
    if named in layers:
        return layers[named]
    if not named and len(layers) == 1:
        return next(iter(layers.values()))
    shown = ", ".join(f"{name} ({(layer.title or '')[:40]})" for name, layer in
                      list(layers.items())[:20])  # fmt: skip
    more = f" and {len(layers) - 20} more" if len(layers) > 20 else ""
    given = f"has no layer {named!r}" if named else "has several layers"
    raise InvalidValue(f"{where[:200]} {given}. Name one as ADDRESS#LAYER: {shown}{more}.")


def _choose_format(offered: Sequence[str], asked: str) -> str:
    """The format as the service spells it."""
    plain = {str(name).split(";")[0].strip().lower(): str(name) for name in reversed(offered)}
    for name in (asked.lower(),) if asked else _FORMATS:
        if name in plain:
            return plain[name]
    raise InvalidValue(
        f"The service offers {', '.join(sorted(plain))[:200]}; "
        f"{'not ' + asked if asked else 'none of them is JPEG, PNG or WebP'}."
    )


def _name_suffix(form: str) -> str:
    return ".png" if "png" in form and "jp" not in form else ".jpg"


def _normalise_crs(text: str) -> str:
    """A reference system as PROJ takes it; empty where it is none that PROJ knows."""
    import pyproj

    found = re.search(r"EPSG\W.*?(\d{4,6})$", text.strip(), re.IGNORECASE)
    name = f"EPSG:{found[1]}" if found else text.strip()
    if "CRS84" in text.upper() or text.upper() == "CRS:84":
        name = "OGC:CRS84"
    if name in ("EPSG:900913", "EPSG:3785", "EPSG:102100", "EPSG:102113"):
        name = "EPSG:3857"
    try:
        system = pyproj.CRS.from_user_input(name)
    except pyproj.exceptions.CRSError:
        return ""
    return name if system.is_geographic or system.is_projected else ""


def _counts_north_first(crs: str) -> bool:
    """Whether coordinates are written north (or latitude) before east in this system."""
    import pyproj

    axes = pyproj.CRS.from_user_input(crs).axis_info
    return bool(axes) and axes[0].direction.lower() in ("north", "south")


def _metres_per_unit(crs: str) -> float:
    import pyproj

    system = pyproj.CRS.from_user_input(crs)
    if system.is_geographic:
        return _DEGREE_M
    return float(system.axis_info[0].unit_conversion_factor or 1.0) if system.axis_info else 1.0


def _add_query(base: str, params: Mapping[str, str], own: str) -> str:
    """A request of a service: its base, what the given address adds, and what is asked."""
    parts = urlsplit(base)
    ours = {name.lower() for name in params} | {"service", "request", "version"}
    kept = [(k, v) for k, v in parse_qsl(parts.query) if k.lower() not in ours]
    there = ours | {k.lower() for k, _ in kept}
    if urlsplit(own).hostname == parts.hostname:
        kept += [(k, v) for k, v in parse_qsl(urlsplit(own).query) if k.lower() not in there]
    query = urlencode([*kept, *params.items()], safe="/:,", quote_via=quote)
    return parts._replace(query=query, fragment="").geturl()


def _ask_capabilities(url: str, service: str) -> str:
    """The address of capabilities, also where that of the service itself was given."""
    parts = urlsplit(url)
    names = {key.lower(): value for key, value in parse_qsl(parts.query)}
    if parts.path.lower().endswith(".xml") or "request" in names:
        return url
    asked = {"SERVICE": service, "REQUEST": "GetCapabilities"}
    if "version" in names:
        asked["VERSION"] = names["version"]
    return _add_query(url, asked, url)


def _state_terms(service: Any) -> str:
    """What a service says of fees and access, in its own words."""
    said = getattr(service, "identification", None)
    parts = []
    for name in ("fees", "access constraints"):
        text = getattr(said, name.replace(" ", ""), None)
        if text and str(text).strip():
            parts.append(f"{name}: {' '.join(str(text).split())[:300]}")
    return "; ".join(parts)


def _name_provider(service: Any, layer: Any) -> str:
    stated = getattr(layer, "attribution", None)
    if isinstance(stated, Mapping) and stated.get("title"):
        return str(stated["title"])
    return str(getattr(getattr(service, "provider", None), "name", None) or "")


def _read_wmts(
    address: WmtsAddress, url: str, area: Perimeter, wanted_px_m: float, kept: _Capabilities
) -> _TileSource:
    """The matrix of a layer that is coarsest and fine enough; of several sets Web Mercator first.

    :class:`EmptyRegion` where no matrix set of the layer holds the area.
    """
    asked = _ask_capabilities(url, "WMTS")
    service = _parse("wmts", kept.read(asked, address.url), url)
    layer = _choose_layer(service, address.layer, address.url)
    links = {
        name: link
        for name, link in layer.tilematrixsetlinks.items()
        if name in service.tilematrixsets and address.matrix_set in ("", name)
    }
    if not links:
        known = ", ".join(layer.tilematrixsetlinks)
        raise InvalidValue(f"{address.url[:200]}: the layer has the matrix sets {known[:300]}.")
    levels = [
        level
        for name, link in links.items()
        for level in _list_levels(service.tilematrixsets[name], link, area)
    ]
    if not levels:
        raise EmptyRegion(f"{address.url[:200]} has no imagery in that area.")
    chosen = _choose_level(levels, wanted_px_m)
    form = _choose_format(_list_wmts_formats(layer), address.format)
    style = address.style or next(
        (name for name, facts in layer.styles.items() if facts.get("isDefault")),
        next(iter(layer.styles), ""),
    )
    dimensions = {name.lower(): str(facts["default"]) for name, facts in layer.dimensions.items()}
    dimensions |= {name.lower(): value for name, value in address.dimensions}
    words = {
        "layer": layer.id, "style": style or "", "tilematrixset": chosen.set_name,
        "tilematrix": chosen.name, "format": form, **dimensions,
    }  # fmt: skip
    locate = _address_wmts(service, layer, words, url)
    return _TileSource(
        address=address,
        terms=_name_host(address, _name_provider(service, layer)),
        level=chosen.zoom,
        grid=chosen.grid,
        locate=locate,
        suffix=_name_suffix(form),
        metres_per_px=chosen.metres_per_px,
        is_mercator=chosen.is_mercator,
        exact_px=True,
        key=("wmts", address.url, *(f"{k}={v}" for k, v in sorted(words.items())
                                    if k != "tilematrix")),
        statement=_state_terms(service),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Level:
    """One tile matrix that holds the area."""

    set_name: str
    name: str
    grid: TileGrid
    zoom: int
    is_mercator: bool
    metres_per_px: float


def _choose_level(levels: Sequence[_Level], wanted_px_m: float) -> _Level:
    """The coarsest that is fine enough, of Web Mercator if it has one; else the finest of all."""
    fine = [level for level in levels if level.metres_per_px <= wanted_px_m]
    if not fine:
        return min(levels, key=lambda level: level.metres_per_px)
    usual = [level for level in fine if level.is_mercator]
    return max(usual or fine, key=lambda level: level.metres_per_px)


def _list_levels(matrix_set: Any, link: Any, area: Perimeter) -> list[_Level]:
    """The matrices of a set that hold the middle of an area."""
    crs = _normalise_crs(str(matrix_set.crs or ""))
    if not crs:
        return []
    levels: list[_Level] = []
    matrices = sorted(matrix_set.tilematrix.values(), key=lambda one: -one.scaledenominator)
    for number, matrix in enumerate(matrices):
        limits = link.tilematrixlimits.get(matrix.identifier) if link.tilematrixlimits else None
        if link.tilematrixlimits and limits is None:  # a layer has no tiles of such a level
            continue
        with suppress(CrossviewError, ValueError):
            if (grid := _place_matrix(matrix, crs, limits, area)) is not None:
                levels.append(_describe_level(matrix_set, matrix, grid, number, area))
    return levels


def _describe_level(
    matrix_set: Any, matrix: Any, grid: TileGrid, number: int, area: Perimeter
) -> _Level:
    zoom = _find_mercator_zoom(grid)
    if zoom is not None:
        grid = replace(grid, columns=2**zoom)
    return _Level(
        set_name=matrix_set.identifier,
        name=matrix.identifier,
        grid=grid,
        zoom=number if zoom is None else zoom,
        is_mercator=zoom is not None,
        metres_per_px=grid.measure_px_m(area),
    )


def _place_matrix(matrix: Any, crs: str, limits: Any, area: Perimeter) -> TileGrid | None:
    """The grid of a matrix; None if it does not hold the middle of the area.

    Its corner is written in the order of axes of its reference system, which some services do not
    know: where that puts the area outside, the other order is tried.
    """
    if matrix.tilewidth != matrix.tileheight:
        return None
    ends = (0, 0, matrix.matrixwidth - 1, matrix.matrixheight - 1)
    if limits is not None:
        ends = (limits.mintilecol, limits.mintilerow, limits.maxtilecol, limits.maxtilerow)
    corner = matrix.topleftcorner
    corners = [corner, corner[::-1]]
    for left, top in corners[::-1] if _counts_north_first(crs) else corners:
        grid = TileGrid(
            crs=crs, left=left, top=top,
            unit_per_px=matrix.scaledenominator * _OGC_PX_M / _metres_per_unit(crs),
            tile_px=matrix.tilewidth, ends=ends,
        )  # fmt: skip
        if grid.contains(area, matrix.matrixwidth, matrix.matrixheight):
            return grid
    return None


def _find_mercator_zoom(grid: TileGrid) -> int | None:
    """The zoom of the usual pyramid that a grid is; None for any other grid."""
    if grid.crs != "EPSG:3857":
        return None
    side = grid.unit_per_px * grid.tile_px
    usual = make_mercator_grid(0)
    zoom = round(math.log2(usual.unit_per_px * usual.tile_px / side))
    if not 0 <= zoom <= 24:
        return None
    exact = make_mercator_grid(zoom, grid.tile_px)
    off = max(abs(exact.left - grid.left), abs(exact.top - grid.top))
    same = abs(exact.unit_per_px / grid.unit_per_px - 1.0) < 1e-6
    return zoom if same and off < exact.unit_per_px * 2.0**-3 + 0.5 else None


def _list_wmts_formats(layer: Any) -> list[str]:
    named = [one["format"] for one in layer.resourceURLs if one.get("resourceType") == "tile"]
    return [*layer.formats, *named]


def _address_wmts(
    service: Any, layer: Any, words: Mapping[str, str], own: str
) -> Callable[[TileNumber], str]:
    """The address of a tile: by a template of the layer, else by a request with names."""
    templates = [
        one["template"]
        for one in layer.resourceURLs
        if one.get("resourceType") == "tile" and one.get("format") == words["format"]
    ]
    base = _find_get(service, "GetTile")
    if templates and not base:
        return lambda tile: _fill_wmts(templates[0], words, tile)
    if templates and not own.lower().partition("?")[2]:  # found by its XML, not by a request
        return lambda tile: _fill_wmts(templates[0], words, tile)
    names = {"layer": "LAYER", "style": "STYLE", "tilematrixset": "TILEMATRIXSET",
             "tilematrix": "TILEMATRIX", "format": "FORMAT"}  # fmt: skip
    fixed = {names.get(name, name.upper()): value for name, value in words.items()}

    def locate(tile: TileNumber) -> str:
        asked = {"SERVICE": "WMTS", "REQUEST": "GetTile", "VERSION": "1.0.0", **fixed}
        asked |= {"TILEROW": str(tile[1]), "TILECOL": str(tile[0])}
        return _add_query(base or own, asked, own)

    return locate


def _fill_wmts(template: str, words: Mapping[str, str], tile: TileNumber) -> str:
    values = {**words, "tilecol": str(tile[0]), "tilerow": str(tile[1])}

    def insert(match: re.Match[str]) -> str:
        name = match[1].lower()
        if name not in values:
            raise BadAnswer(f"The service's template names {match[0]}, which it does not explain.")
        return quote(values[name], safe=":,")

    return re.sub(r"\{([^{}]+)\}", insert, template)


def _find_get(service: Any, operation: str) -> str:
    """Where an operation is asked for by GET, with names; empty where it is not said."""
    for one in service.operations:
        if one.name == operation:
            methods = [m for m in one.methods if str(m.get("type", "")).lower() == "get"]
            for method in methods:
                encodings = [v for c in method.get("constraints") or [] for v in c.values]
                if not encodings or any(str(v).upper() == "KVP" for v in encodings):
                    return str(method.get("url") or "")
    return ""


def _read_wms(
    address: WmsAddress, url: str, area: Perimeter, wanted_px_m: float, kept: _Capabilities
) -> _TileSource:
    """Blocks of GetMap on a grid that is the same for every area, so that they are kept once."""
    asked = _ask_capabilities(url, "WMS")
    data = kept.read(asked, address.url)
    service = _parse("wms", data, url)
    layer = _choose_layer(service, address.layer, address.url)
    crs, spelled = _choose_crs(layer, address.crs)
    box = getattr(layer, "boundingBoxWGS84", None)
    if box is not None and not _meets(area, box):
        raise EmptyRegion(f"{address.url[:200]} has no imagery in that area: it covers {box}.")
    grid = TileGrid(
        crs=crs, left=0.0, top=0.0, unit_per_px=1.0 / _metres_per_unit(crs), tile_px=1
    )  # fmt: skip
    px_m = max(wanted_px_m, address.finest_px_m or 0.0, _read_finest_px_m(layer))
    unit = _round_down(px_m / grid.measure_px_m(area)) * grid.unit_per_px
    limit = _read_size_limit(data)
    side = min(WMS_BLOCK_PX, limit)
    corner = HALF_WORLD_M if crs == "EPSG:3857" else 4e7
    left, top = (-180.0, 90.0) if _metres_per_unit(crs) == _DEGREE_M else (-corner, corner)
    grid = TileGrid(crs=crs, left=left, top=top, unit_per_px=unit, tile_px=side)
    form = _choose_format(service.getOperationByName("GetMap").formatOptions, address.format)
    newer = str(service.version).startswith("1.3")
    turned = newer and crs != "OGC:CRS84" and _counts_north_first(crs)
    fixed = {
        "SERVICE": "WMS", "REQUEST": "GetMap", "VERSION": "1.3.0" if newer else "1.1.1",
        "LAYERS": layer.name, "STYLES": address.style, "CRS" if newer else "SRS": spelled,
        "FORMAT": form, "WIDTH": str(side), "HEIGHT": str(side),
        **({"TRANSPARENT": "TRUE"} if form.startswith("image/png") else {}),
        **{name.upper(): value for name, value in address.dimensions},
    }  # fmt: skip
    base = _find_get_map(service) or url

    def locate(tile: TileNumber) -> str:
        length = unit * side
        west, north = grid.left + tile[0] * length, grid.top - tile[1] * length
        x, y = (west, west + length), (north - length, north)
        ends = (y[0], x[0], y[1], x[1]) if turned else (x[0], y[0], x[1], y[1])
        return _add_query(base, {**fixed, "BBOX": ",".join(f"{v:.10g}" for v in ends)}, url)

    return _TileSource(
        address=address,
        terms=_name_host(address, _name_provider(service, layer)),
        level=0,
        grid=grid,
        locate=locate,
        suffix=_name_suffix(form),
        metres_per_px=grid.measure_px_m(area),
        is_mercator=False,
        exact_px=True,
        key=("wms", address.url, repr(unit), *(f"{k}={v}" for k, v in sorted(fixed.items()))),
        statement=_state_terms(service),
    )


def _choose_crs(layer: Any, asked: str) -> tuple[str, str]:
    """A reference system of a layer, as PROJ and as the service write it: metres first."""
    offered = {name: spelled for spelled in sorted(layer.crsOptions or [])
               if (name := _normalise_crs(spelled))}  # fmt: skip
    if asked:
        name = _normalise_crs(asked)
        if name not in offered:
            known = ", ".join(sorted(offered))
            raise InvalidValue(f"The layer is not offered in {asked}; it is in {known[:300]}.")
        return name, offered[name]
    if "EPSG:3857" in offered:
        return "EPSG:3857", offered["EPSG:3857"]
    if not offered:
        raise BadAnswer("The service names no reference system of that layer that PROJ knows.")
    name = min(offered, key=lambda one: (_metres_per_unit(one) == _DEGREE_M, one))
    return name, offered[name]


def _meets(area: Perimeter, box: Sequence[float]) -> bool:
    """Whether an area shares longitudes and latitudes with west, south, east, north."""
    corners = [corner for polygon in area.polygons for corner in polygon[0]]
    lons, lats = zip(*corners, strict=True)
    if max(lats) < box[1] or min(lats) > box[3]:
        return False
    return any(
        max(lons) + turn >= box[0] and min(lons) + turn <= box[2] for turn in (-360.0, 0.0, 360.0)
    )


def _round_down(value: float) -> float:
    """Two digits, so that areas of one latitude share their blocks."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return math.floor(value / unit + 1e-9) * unit


def _read_finest_px_m(layer: Any) -> float:
    """Metres per pixel below which the layer shows nothing; 0 where it does not say so."""
    stated = getattr(layer, "min_scale_denominator", None)
    try:
        return float(getattr(stated, "text", stated) or 0.0) * _OGC_PX_M
    except (TypeError, ValueError):
        return 0.0


def _read_size_limit(data: bytes) -> int:
    """Pixels a side that one picture may have."""
    stated = re.findall(rb"<(?:\w+:)?Max(?:Width|Height)>\s*(\d{1,9})\s*<", data)
    return max(16, min([WMS_BLOCK_PX, *(int(number) for number in stated if int(number) > 0)]))


def _find_get_map(service: Any) -> str:
    methods = service.getOperationByName("GetMap").methods
    return next((str(m["url"]) for m in methods if str(m["type"]).lower() == "get"), "")


def require_fine(plan: FetchPlan, demand: Demand) -> None:
    """Raise :class:`TooCoarse` before anything is fetched that is of no use."""
    if demand.coarsest_px_m is not None and plan.metres_per_px > demand.coarsest_px_m:
        raise TooCoarse(
            f"The imagery of {plan.host} has {plan.metres_per_px:.3g} m per pixel there; "
            f"{demand.coarsest_px_m:.3g} m or finer is needed. Nothing was fetched.\n"
            "Take finer imagery."
        )
