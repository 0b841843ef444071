"""Panoramax: street photos of many instances, by the STAC search of a server (or of them all).

What its items say is not all so. Each of these was seen on the real server (``geovisio`` 2.15):

* ``view:azimuth`` is invented from the neighbours in the sequence where a photo has no direction,
  and nothing marks it. A heading is taken only from what the file itself held, in ``exif``.
* ``/api/search`` has no next page and refuses limits over 10,000: a box is quartered until the
  answer stays below the limit. A server that cuts off earlier than asked is found out.
* ``filter=field_of_view=360`` is refused: what a picture shows is told by
  ``pers:interior_orientation``, and whoever wants panoramas picks them.
* The licence and those to be named stand at each item; "other" where an instance has set none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from crossview.errors import InvalidValue
from crossview.geo.perimeters import Perimeter
from crossview.street.box_search import (
    BoxAnswer,
    SearchBox,
    list_found,
    parse_address,
    parse_heading,
    parse_id,
    parse_number,
    parse_point,
    parse_text,
    parse_time,
    read_answer,
    read_items,
    search_area,
)
from crossview.street.street_photos import StreetPhoto

if TYPE_CHECKING:
    from crossview.downloads import Downloads

ADDRESS = "https://api.panoramax.xyz/api"  # the catalogue of all instances
MOST_ITEMS = 1000  # asked for of one box; the server refuses more than 10,000
WIDEST_DEG = 0.1  # of a box to begin with

_PROBED_ITEMS = 10  # a server that cuts off at fewer would be of no use
_ROUNDED_DEG = 1.5  # the server rounds directions to whole degrees
_ASSETS = ("sd", "hd")  # 2048 pixels wide, which is enough; the picture as it was sent
_POSE, _DIRECTION = "Xmp.GPano.PoseHeadingDegrees", "Exif.GPSInfo.GPSImgDirection"
_WIDTHS = ("Xmp.GPano.CroppedAreaImageWidthPixels", "Xmp.GPano.FullPanoWidthPixels")


def complete_address(address: str) -> str:
    """The root of the API of an instance, from whatever its people call its address."""
    text = address.strip().rstrip("/")
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username:
        raise InvalidValue(
            "The address of a Panoramax server is written panoramax:https://HOST, without a user "
            "and a password."
        )
    return text if parts.path.endswith("/api") else f"{text}/api"


def list_photos(
    area: Perimeter, downloads: Downloads, token: str | None = None, *, address: str = ADDRESS
) -> Iterator[StreetPhoto]:
    """All photos of an instance in an area, each once.

    ``token``: of an instance that answers its members only. Raises
    :class:`crossview.errors.DownloadFailed`.
    """
    search = _Search(downloads, address, token)
    items = search_area(area, search.read_box, widest_deg=WIDEST_DEG)
    odd = f"{address} are left out: not ready, or not readable"
    yield from list_found(items, lambda item: read_photo(item, address), odd)


def locate_picture(
    photo: StreetPhoto, downloads: Downloads, token: str | None = None, *, address: str = ADDRESS
) -> tuple[str, dict[str, str]]:
    """Where the picture is now, and the headers to send; the token goes to its own host only."""
    url = photo.url or ""
    own = token is not None and urlsplit(url).netloc == urlsplit(address).netloc
    return url, (_authorize(token) if own else {})


def _authorize(token: str | None) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}


class _Search:
    """A search that learns at how many items the server cuts off."""

    def __init__(self, downloads: Downloads, address: str, token: str | None) -> None:
        self._downloads, self._address, self._token = downloads, address, token
        self._most = MOST_ITEMS
        self._is_probed = False

    def read_box(self, box: SearchBox) -> BoxAnswer:
        items = self._ask(box)
        if not self._is_probed and _PROBED_ITEMS <= len(items) < self._most:
            self._is_probed = True
            self._probe(box, items)
        return BoxAnswer(items, len(items) < self._most)

    def _ask(self, box: SearchBox) -> list[dict[str, Any]]:
        params = {"bbox": str(box), "limit": str(MOST_ITEMS)}
        url = f"{self._address}/search"
        answer = read_answer(self._downloads, url, params, headers=_authorize(self._token))
        return read_items(answer, "features", url)

    def _probe(self, box: SearchBox, items: list[dict[str, Any]]) -> None:
        """Whether quarters of a box hold what the whole did not: then the server cuts off here."""
        known = {parse_id(item.get("id")) for item in items}
        if any(
            parse_id(item.get("id")) not in known
            for quarter in box.divide(2, 2)
            for item in self._ask(quarter)
        ):
            self._most = len(items)


def read_photo(item: Mapping[str, Any], address: str = ADDRESS) -> StreetPhoto | None:
    """What an item tells; None for one that is not ready or without place, id or picture."""
    values = _as_dict(item.get("properties"))
    name, place = parse_id(item.get("id")), parse_point(item.get("geometry"))
    picture = _find_picture(_as_dict(item.get("assets")), address)
    if name is None or place is None or picture is None:
        return None
    if values.get("geovisio:status", "ready") != "ready":
        return None
    fov, exif = _read_fov(values), _as_dict(values.get("exif"))
    heading, notes = _read_heading(values, exif, is_whole=fov == 360.0)
    licence_url = _find_link(item, "license", address)
    return StreetPhoto(
        id=name,
        service="panoramax",
        place=place,
        captured=parse_time(values.get("datetime")),
        heading_deg=heading,
        fov_deg=fov,
        position_sigma_m=parse_number(values.get("quality:horizontal_accuracy"), 0.0, 1e5),
        sequence=parse_id(item.get("collection")),
        file=None,
        url=picture,
        licence=parse_text(values.get("license"), 100),
        licence_url=licence_url or "",
        attribution=_read_attribution(item, values),
        page_url=f"{address.removesuffix('/api')}/#focus=pic&pic={name}",
        notes=notes,
    )


def _read_fov(values: Mapping[str, Any]) -> float | None:
    """Horizontal degrees; of a picture that calls itself a whole sphere 360."""
    camera = _as_dict(values.get("pers:interior_orientation"))
    fov = parse_number(camera.get("field_of_view"), 1.0, 360.0)
    if fov is not None:
        return fov
    exif = _as_dict(values.get("exif"))
    kind = parse_text(exif.get("Xmp.GPano.ProjectionType")).lower()
    across, full = (parse_number(exif.get(name), 1.0) for name in _WIDTHS)
    return 360.0 if kind == "equirectangular" and across is not None and across == full else None


def _read_heading(
    values: Mapping[str, Any], exif: Mapping[str, Any], *, is_whole: bool
) -> tuple[float | None, tuple[str, ...]]:
    """Degrees from true north, only if the photo's own file said so; and why not."""
    across, full = (parse_number(exif.get(name), 1.0) for name in _WIDTHS)
    pose = parse_heading(exif.get(_POSE)) if is_whole else None
    if pose is not None and across is not None and full is not None and across < full:
        return None, ("its panorama is a part of one: its heading is not known",)
    direction = parse_heading(exif.get(_DIRECTION))
    heading = direction if pose is None else pose
    if heading is None:
        if "view:azimuth" in values:
            return None, ("the server's heading is guessed from its sequence: not used",)
        return None, ()
    if pose is None and parse_text(exif.get(f"{_DIRECTION}Ref")).upper()[:1] == "M":
        return None, ("its heading is from magnetic north: not used",)
    # The server reads no pose: beside one alone, what it tells is guessed, and contradicts nothing.
    told = None if direction is None else parse_number(values.get("view:azimuth"))
    others = (other for other in (direction, told) if other is not None)
    if any(abs((other - heading + 180.0) % 360.0 - 180.0) > _ROUNDED_DEG for other in others):
        return None, ("its file and the server tell different headings: neither is used",)
    return heading, ()


def _read_attribution(item: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Those to be named: who took the photo, and the instance that keeps it."""
    providers = item.get("providers", values.get("providers"))
    names = [
        parse_text(one.get("name"), 100)
        for one in (providers if isinstance(providers, list) else ())[:8]
        if isinstance(one, Mapping)
    ] or [parse_text(values.get("geovisio:producer"), 100)]
    known = [name for name in dict.fromkeys(names) if name]
    return f"{', '.join(known)} (Panoramax)" if known else ""


def _find_picture(assets: Mapping[str, Any], address: str) -> str | None:
    for name in _ASSETS:
        if url := parse_address(_as_dict(assets.get(name)).get("href"), f"{address}/"):
            return url
    return None


def _find_link(item: Mapping[str, Any], relation: str, address: str) -> str | None:
    links = item.get("links")
    for link in (links if isinstance(links, list) else ())[:100]:
        if _as_dict(link).get("rel") == relation:
            return parse_address(link.get("href"), f"{address}/")
    return None


def _as_dict(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
