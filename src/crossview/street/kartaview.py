"""KartaView (once OpenStreetCam): street photos by its API, version 2.0, without a token.

Written after its documentation (https://doc.kartaview.org, https://kartaview.org/doc/photos); it
was never asked from here, and its tests run against a server of their own.

* Pictures of a box (its north-west and south-east corners) come in pages of 150, and each page
  says whether more follow. The server is slow where it has many: boxes are small.
* Every number is a text. Status 200 may carry an error, which ``status`` inside tells.
* ``heading`` may be a compass, the course of a car or nothing, and which is not said: it is not
  used. ``fieldOfView`` is often 0.
* ``shotDate`` names no time zone: only its day is used, and of that day noon.
* ``fileurlProc`` is the picture after its faces and plates were blurred. Others are left alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from crossview.errors import AccessRefused, BadAnswer, ServiceBusy, ServiceDown
from crossview.geo.perimeters import Perimeter
from crossview.street.box_search import (
    BoxAnswer,
    SearchBox,
    list_found,
    parse_address,
    parse_id,
    parse_number,
    parse_place,
    parse_text,
    parse_time,
    read_answer,
    search_area,
)
from crossview.street.street_photos import StreetPhoto

if TYPE_CHECKING:
    from crossview.downloads import Downloads

ADDRESS = "https://api.openstreetcam.org"
LICENCE, LICENCE_URL = "CC-BY-SA-4.0", "https://creativecommons.org/licenses/by-sa/4.0/"
CREDIT = "Grab and KartaView contributors"
ITEMS_PER_PAGE = 150
MOST_PAGES = 40  # of a box; one with more is quartered
WIDEST_DEG = 0.005
TRIES = 3  # where status 200 carries the news that the server failed

_LENS_FOV_DEG = 150.0  # wider is no lens but a sphere, or nonsense
_SPHERE = {"SPHERE", "SPHERICAL", "EQUIRECTANGULAR", "CYLINDER"}


def list_photos(
    area: Perimeter, downloads: Downloads, token: str | None = None, *, address: str = ADDRESS
) -> Iterator[StreetPhoto]:
    """All public photos in an area, each once. Raises :class:`crossview.errors.DownloadFailed`."""

    def read_box(box: SearchBox) -> BoxAnswer:
        items: list[dict[str, Any]] = []
        for page in range(1, MOST_PAGES + 1):
            found, has_more = _read_page(downloads, address, box, page)
            items += found
            if not has_more or not found:
                return BoxAnswer(items, True)
        return BoxAnswer(items, False)

    items = search_area(area, read_box, widest_deg=WIDEST_DEG)
    odd = "KartaView are left out: not public, not blurred yet, or not readable"
    yield from list_found(items, lambda item: read_photo(item, address), odd)


def locate_picture(
    photo: StreetPhoto, downloads: Downloads, token: str | None = None, *, address: str = ADDRESS
) -> tuple[str, dict[str, str]]:
    """Where the picture is, and the headers to send."""
    return photo.url or "", {}


def _read_page(
    downloads: Downloads, address: str, box: SearchBox, page: int
) -> tuple[list[dict[str, Any]], bool]:
    """The items of a page, and whether more follow."""
    params = {
        "nwLat": f"{box.north:.7f}",
        "nwLng": f"{box.west:.7f}",
        "seLat": f"{box.south:.7f}",
        "seLng": f"{box.east:.7f}",
        "page": str(page),
        "itemsPerPage": str(ITEMS_PER_PAGE),
        "orderBy": "id",
        "orderDirection": "asc",
    }
    url = f"{address}/2.0/photo/"
    answer = _ask_again(partial(read_answer, downloads, url, params, judge=judge_failure))
    result = answer.get("result")
    found = result.get("data") if isinstance(result, Mapping) else None
    if not isinstance(found, list | None):
        raise BadAnswer(f"{url} answered without a list of photos. Try again later.")
    items = [item for item in found or () if isinstance(item, dict)]
    has_more = isinstance(result, Mapping) and result.get("hasMoreData") is True
    return items, has_more


def _ask_again(ask: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """An answer whose status says success; the server often fails at first, and then answers."""
    for left in range(TRIES - 1, -1, -1):
        answer = ask()
        try:
            judge_status(answer)
            return answer
        except ServiceDown:
            if not left:
                raise
    raise AssertionError("unreachable")


def judge_failure(status: int, content: bytes) -> None:
    """Say what an answer that is no success means, if it tells and is not for the moment only."""
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return
    if status < 500 and status != 429 and isinstance(answer, Mapping) and "status" in answer:
        judge_status(answer)


def judge_status(answer: Mapping[str, Any]) -> None:
    """Raise what ``status`` inside of an answer says went wrong; it may come with status 200."""
    status = answer.get("status")
    if not isinstance(status, Mapping):
        raise BadAnswer("KartaView answered without a status. Try again later.")
    code = parse_number(status.get("httpCode"))
    message = parse_text(status.get("apiMessage"), 200)
    if code is None or 200 <= code < 300 or code == 404:
        return  # 404: no photos there
    if code in {401, 403}:
        raise AccessRefused(f"KartaView refuses the request ({message}).")
    if code == 429:
        raise ServiceBusy(
            f"KartaView wants no more requests now ({message}). Wait an hour, then run the same "
            "command again: it goes on where it stopped."
        )
    if code >= 500:
        raise ServiceDown(f"KartaView cannot answer now ({message}). Try again later.")
    raise BadAnswer(f"KartaView did not understand the request ({message}).")


def read_photo(item: Mapping[str, Any], address: str = ADDRESS) -> StreetPhoto | None:
    """What an item tells; None for one that is not public, not blurred, or has no place."""
    name, place = parse_id(item.get("id")), parse_place(item.get("lng"), item.get("lat"))
    picture = parse_address(item.get("fileurlProc"), f"{address}/")
    if name is None or place is None or picture is None or not _is_public(item):
        return None
    sequence = parse_id(item.get("sequenceId"))
    notes = []
    if parse_number(item.get("heading")) is not None:
        notes.append("the service does not say what its heading is: not used")
    fov, why = read_fov(item)
    if why:
        notes.append(why)
    user = parse_text(item.get("username"), 100)
    index = parse_id(item.get("sequenceIndex")) or "0"
    sigma = parse_number(item.get("gpsAccuracy"), 0.0, 1e5)
    return StreetPhoto(
        id=name,
        service="kartaview",
        place=place,
        captured=read_day(item.get("shotDate"), place.lon),
        heading_deg=None,
        fov_deg=fov,
        position_sigma_m=sigma or None,  # 0: not filled in
        sequence=sequence,
        file=None,
        url=picture,
        licence=LICENCE,
        licence_url=LICENCE_URL,
        attribution=f"© {CREDIT}" + (f", {user}" if user else ""),
        page_url=f"https://kartaview.org/details/{sequence}/{index}" if sequence else "",
        notes=tuple(notes),
    )


def _is_public(item: Mapping[str, Any]) -> bool:
    """Whether everybody may see it, and its faces and plates were looked for."""
    return (
        parse_text(item.get("status") or "active").lower() == "active"
        and parse_text(item.get("visibility") or "public").lower() == "public"
        and parse_text(item.get("autoImgProcessingStatus") or "FINISHED").upper() == "FINISHED"
    )


def read_day(value: Any, lon: float) -> datetime | None:
    """Noon by the sun of the day that a time without a zone names."""
    moment = parse_time(value)
    if moment is None:
        return None
    return moment.replace(hour=12, minute=0, second=0, microsecond=0) - timedelta(hours=lon / 15.0)


def read_fov(item: Mapping[str, Any]) -> tuple[float | None, str]:
    """Horizontal degrees, and what is odd about it."""
    kind = parse_text(item.get("projection") or "PLANE").upper()
    fov = parse_number(item.get("fieldOfView"), 1.0, 360.0)
    if kind == "PLANE":
        return (fov if fov is not None and fov <= _LENS_FOV_DEG else None), ""
    if kind in _SPHERE:
        return (360.0 if fov in {None, 360.0} else fov), ""
    return None, "a fisheye took it" if "FISHEYE" in kind else f"its projection is {kind[:30]}"
