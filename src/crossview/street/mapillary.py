"""Mapillary: street photos by its API, version 4, with a token of one's own.

Written after its documentation (https://www.mapillary.com/developer/api-documentation) and what
its users have met; it was never asked from here, and its tests run against a server of their own.

* A box must have sides below 0.01 degrees, and 2,000 pictures at most are given. Pictures that
  were deleted count for that, so half as many already make an answer that may be cut off. A box
  with very many is refused: "reduce the amount of data". Either is quartered.
* ``computed_geometry`` and ``computed_compass_angle`` come from the reconstruction of the scene.
  ``geometry`` and ``compass_angle`` are what the phone said: the place is used if there is no
  better one, the angle is not.
* The address of a picture expires, so it is asked for anew for each picture, right before.
* Users delete pictures, and then their ids are unknown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from crossview.errors import AccessRefused, BadAnswer, NotOnServer, ServiceBusy, UsageError
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

ADDRESS = "https://graph.mapillary.com"
TOKEN_NAME = "MAPILLARY_TOKEN"  # noqa: S105 - the name of a variable of the environment
LICENCE, LICENCE_URL = "CC-BY-SA-4.0", "https://creativecommons.org/licenses/by-sa/4.0/"
MOST_ITEMS = 2000
WIDEST_DEG = 0.0099  # of a box: it must stay below 0.01
FIELDS = (
    "id", "geometry", "computed_geometry", "computed_compass_angle", "compass_angle",
    "camera_type", "camera_parameters", "captured_at", "creator", "height", "width", "sequence",
)  # fmt: skip

_SURELY_WHOLE = MOST_ITEMS // 2
_SPHERES = {"spherical", "equirectangular"}
_TOKEN_CODES = {102, 104, 190, 463, 467}  # of errors: no, an expired or a revoked token
_BUSY_CODES = {4, 17, 32, 613}
_GONE_CODE, _TOO_MUCH_CODE, _BLOCKED_CODE = 100, 1, 368


class _TooMuch(Exception):
    """The box holds more than the service wants to give at once."""


def list_photos(
    area: Perimeter, downloads: Downloads, token: str | None = None, *, address: str = ADDRESS
) -> Iterator[StreetPhoto]:
    """All photos in an area, each once. Raises :class:`crossview.errors.DownloadFailed`."""
    headers = _authorize(token)

    def read_box(box: SearchBox) -> BoxAnswer:
        params = {"bbox": str(box), "limit": str(MOST_ITEMS), "fields": ",".join(FIELDS)}
        url = f"{address}/images"
        try:
            answer = read_answer(downloads, url, params, headers=headers, judge=judge_failure)
        except _TooMuch:
            return BoxAnswer([], False)
        items = read_items(answer, "data", url)
        return BoxAnswer(items, len(items) < _SURELY_WHOLE)

    items = search_area(area, read_box, widest_deg=WIDEST_DEG)
    odd = "Mapillary are left out: not readable"
    yield from list_found(items, lambda item: read_photo(item, address), odd)


def locate_picture(
    photo: StreetPhoto, downloads: Downloads, token: str | None = None, *, address: str = ADDRESS
) -> tuple[str, dict[str, str]]:
    """Where the picture is for the next minutes; the token is not sent there.

    Raises :class:`NotOnServer` if it was deleted.
    """
    answer = read_answer(
        downloads,
        f"{address}/{photo.id}",
        {"fields": "thumb_2048_url"},
        headers=_authorize(token),
        judge=judge_failure,
    )
    url = parse_address(answer.get("thumb_2048_url"))
    if url is None:
        raise NotOnServer(f"Mapillary has no picture for {photo.id} any more.")
    return url, {}


def _authorize(token: str | None) -> dict[str, str]:
    if not token:
        raise UsageError(
            "Mapillary answers only with a token. Make one at "
            f"https://www.mapillary.com/dashboard/developers, and put it into the variable "
            f"{TOKEN_NAME} of the environment, or into a file that --token-file names."
        )
    return {"Authorization": f"OAuth {token}"}


def judge_failure(status: int, content: bytes) -> None:
    """Say what an answer that is no success means; nothing where only its number tells.

    Errors are JSON: ``{"error": {"message", "type", "code", "error_subcode"}}``, most of them with
    status 400 or 500 whatever they mean.
    """
    try:
        error = json.loads(content)["error"]
        code, message = error.get("code"), parse_text(error.get("message"), 200)
        message = message or parse_text(error.get("error_user_msg"), 200)
        wider = f"{message} {parse_text(error.get('error_user_title'))}".lower()
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return
    if code == _TOO_MUCH_CODE and "reduce the amount" in wider:
        raise _TooMuch
    if code in _TOKEN_CODES:
        raise AccessRefused(
            f"Mapillary refuses the token: it has expired or was revoked, or it is none. "
            f"Make a new one, and set {TOKEN_NAME} or the file of --token-file."
        )
    if code in _BUSY_CODES or code == _BLOCKED_CODE:
        raise ServiceBusy(
            f"Mapillary wants no more requests of this token now ({message}). Wait an hour, then "
            "run the same command again: it goes on where it stopped."
        )
    if code == _GONE_CODE and error.get("error_subcode") == 33:
        raise NotOnServer("Mapillary does not know this picture any more.")
    if status == 400:
        raise BadAnswer(f"Mapillary did not understand the request ({message}).")


def read_photo(item: Mapping[str, Any], address: str = ADDRESS) -> StreetPhoto | None:
    """What an item tells; None for one without an id or a place."""
    name, place = parse_id(item.get("id")), parse_point(item.get("computed_geometry"))
    notes = []
    if place is None:
        place = parse_point(item.get("geometry"))
        notes.append("its place is what its camera said: nothing was reconstructed of it")
    if name is None or place is None:
        return None
    heading = parse_heading(item.get("computed_compass_angle"))
    if heading is None and item.get("compass_angle") is not None:
        notes.append("its heading is what its camera said: not used")
    fov, why = read_fov(item)
    if why:
        notes.append(why)
    creator = item.get("creator")
    user = parse_text(creator.get("username"), 100) if isinstance(creator, Mapping) else ""
    return StreetPhoto(
        id=name,
        service="mapillary",
        place=place,
        captured=parse_time(item.get("captured_at")),
        heading_deg=heading,
        fov_deg=fov,
        position_sigma_m=None,
        sequence=parse_id(item.get("sequence")),
        file=None,
        url=f"{address}/{name}",
        licence=LICENCE,
        licence_url=LICENCE_URL,
        attribution=f"{user or 'a contributor'} (Mapillary)",
        page_url=f"https://www.mapillary.com/app/?pKey={name}",
        notes=tuple(notes),
    )


def read_fov(item: Mapping[str, Any]) -> tuple[float | None, str]:
    """Horizontal degrees, and what is odd about it.

    ``camera_parameters`` begins with the focal length, in units of the longer side (OpenSfM).
    """
    kind = parse_text(item.get("camera_type")).lower()
    if kind in _SPHERES:
        return 360.0, ""
    if kind == "fisheye":
        return None, "a fisheye took it"
    values = item.get("camera_parameters")
    focal = parse_number(values[0], 0.05, 20.0) if isinstance(values, list) and values else None
    width, height = (parse_number(item.get(side), 1.0, 1e6) for side in ("width", "height"))
    if kind != "perspective" or focal is None or width is None or height is None:
        return None, ""
    return 2.0 * math.degrees(math.atan(width / max(width, height) / 2.0 / focal)), ""
