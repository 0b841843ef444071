"""Small servers that answer as the documents of street photo services say; none is the real one.

Panoramax is as its real server (geovisio 2.15) was seen to answer; ``make test-services`` runs that
one. Mapillary and KartaView are as documented: https://www.mapillary.com/developer/api-documentation
and https://kartaview.org/doc/photos; the real ones were never asked.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image
from tests.web_server import Answer, Asked

TOKEN = "MLY|1234567890|0123456789abcdef"


def picture(seed: int = 0, size: tuple[int, int] = (96, 128)) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(60, 255, (*size, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=50)
    return stream.getvalue()


def answer_json(values: Any, status: int = 200, **headers: str) -> Answer:
    return Answer(
        json.dumps(values).encode(), status, {"Content-Type": "application/json", **headers}
    )


@dataclass
class Twin:
    """A service with photos at places; ``pictures`` counts how often each was given."""

    photos: list[dict[str, Any]]
    pictures: dict[str, int] = field(default_factory=dict)
    listings: int = 0
    before: Callable[[Asked], Answer | None] = lambda asked: None
    address: str = ""

    def __call__(self, asked: Asked) -> Answer:
        return self.before(asked) or self.answer(asked)

    def answer(self, asked: Asked) -> Answer:
        raise NotImplementedError

    def give_picture(self, name: str) -> Answer:
        self.pictures[name] = self.pictures.get(name, 0) + 1
        return Answer(picture(sum(name.encode())), headers={"Content-Type": "image/jpeg"})


def photo(name: str, lon: float, lat: float, **values: Any) -> dict[str, Any]:
    return {"name": name, "lon": lon, "lat": lat, **values}


def in_box(one: dict[str, Any], west: float, south: float, east: float, north: float) -> bool:
    return west <= one["lon"] <= east and south <= one["lat"] <= north


class PanoramaxTwin(Twin):
    """``/api/search`` has no next page and refuses limits over 10,000; azimuths are invented.

    ``most``: where it cuts off in silence, whatever limit is asked for.
    """

    most = 10_000

    def answer(self, asked: Asked) -> Answer:
        if asked.path.startswith("/pictures/"):
            return self.give_picture(asked.path.removeprefix("/pictures/").removesuffix("/sd.jpg"))
        if asked.path != "/api/search":
            return answer_json({"message": "not found"}, 404)
        self.listings += 1
        if "filter" in asked.query or not 1 <= int(asked.query.get("limit", 10)) <= 10_000:
            return answer_json({"message": "limit parameter should be between 1 and 10000"}, 400)
        box = [float(edge) for edge in asked.query["bbox"].split(",")]
        found = [one for one in self.photos if in_box(one, *box)]
        most = min(int(asked.query["limit"]), self.most)
        return answer_json(
            {
                "type": "FeatureCollection",
                "features": [self.item(one) for one in found[:most]],
                "links": [{"rel": "root", "href": f"{self.address}/api/"}],
            }
        )

    def item(self, one: dict[str, Any]) -> dict[str, Any]:
        name = one["name"]
        properties = {
            "datetime": one.get("datetime", "2023-06-01T10:00:00+00:00"),
            "license": one.get("license", "CC-BY-SA-4.0"),
            "geovisio:status": one.get("status", "ready"),
            "geovisio:producer": "walker",
            "view:azimuth": one.get("azimuth", 236),
            "exif": one.get("exif", {}),
            "pers:interior_orientation": one.get("camera", {"field_of_view": 360}),
        }
        if "accuracy" in one:
            properties["quality:horizontal_accuracy"] = one["accuracy"]
        links = [{"rel": "self", "href": f"{self.address}/api/collections/c/items/{name}"}]
        if "licence_url" in one:
            links.append({"rel": "license", "href": one["licence_url"]})
        return {
            "type": "Feature",
            "id": name,
            "collection": one.get("sequence", f"of-{name}"),
            "geometry": {"type": "Point", "coordinates": [one["lon"], one["lat"]]},
            "properties": properties,
            "providers": one.get("providers", [{"name": "walker", "roles": ["producer"]}]),
            "links": links,
            "assets": {"sd": {"href": f"{self.address}/pictures/{name}/sd.jpg"}},
        }


@dataclass
class MapillaryTwin(Twin):
    """Boxes below 0.01 degrees, a token, addresses that expire after ``lives`` requests."""

    most = 2000
    dense = 10**9  # a box with more is refused
    lives = 10**9
    deleted: frozenset[str] = frozenset()
    tokens: tuple[str, ...] = (TOKEN,)

    def error(self, status: int, code: int, message: str, **more: Any) -> Answer:
        values = {"message": message, "type": "MLYApiException", "code": code, "fbtrace_id": "A"}
        return answer_json({"error": values | more}, status)

    def answer(self, asked: Asked) -> Answer:
        if asked.path.startswith("/thumb/"):
            assert "authorization" not in asked.headers
            name, _, number = asked.path.removeprefix("/thumb/").partition("/")
            if int(number) < self.listings - self.lives:
                return Answer(b"URL signature expired", 403)
            return self.give_picture(name)
        if asked.headers.get("authorization", "").removeprefix("OAuth ") not in self.tokens:
            return self.error(400, 190, "Invalid OAuth 2.0 Access Token", type="OAuthException")
        self.listings += 1
        if asked.path == "/images":
            return self.list_box(asked)
        name = asked.path.removeprefix("/")
        if name in self.deleted or not any(one["name"] == name for one in self.photos):
            return self.error(
                400, 100, f"Unsupported get request. Object with ID '{name}' does not exist",
                error_subcode=33,
            )  # fmt: skip
        return answer_json(
            {"id": name, "thumb_2048_url": f"{self.address}/thumb/{name}/{self.listings}"}
        )

    def list_box(self, asked: Asked) -> Answer:
        west, south, east, north = (float(edge) for edge in asked.query["bbox"].split(","))
        if east - west >= 0.01 or north - south >= 0.01:
            return self.error(400, 100, "bbox must be smaller than 0.01 degrees square")
        found = [one for one in self.photos if in_box(one, west, south, east, north)]
        if len(found) > self.dense:
            message = "Please reduce the amount of data you're asking for, then retry your request"
            return self.error(500, 1, message)
        some = found[: min(int(asked.query["limit"]), self.most)]
        fields = asked.query["fields"].split(",")
        items = [self.item(one) for one in some if one["name"] not in self.deleted]
        return answer_json({"data": [{k: v for k, v in i.items() if k in fields} for i in items]})

    def item(self, one: dict[str, Any]) -> dict[str, Any]:
        place = {"type": "Point", "coordinates": [one["lon"], one["lat"]]}
        return {
            "id": one["name"],
            "geometry": {"type": "Point", "coordinates": [one["lon"] + 1e-4, one["lat"]]},
            "computed_geometry": place,
            "compass_angle": 12.0,
            "computed_compass_angle": one.get("heading", 200.5),
            "camera_type": one.get("camera", "spherical"),
            "camera_parameters": one.get("parameters", []),
            "captured_at": 1_685_613_600_000,
            "creator": {"username": "walker", "id": "7"},
            "width": one.get("width", 4000),
            "height": one.get("height", 3000),
            "sequence": one.get("sequence", f"of-{one['name']}"),
        } | one.get("item", {})


class KartaViewTwin(Twin):
    """Pages of 150 within a box; every number is a text; errors may come with status 200."""

    def answer(self, asked: Asked) -> Answer:
        if asked.path.startswith("/proc/"):
            return self.give_picture(asked.path.removeprefix("/proc/").removesuffix(".jpg"))
        self.listings += 1
        north, west = float(asked.query["nwlat"]), float(asked.query["nwlng"])
        south, east = float(asked.query["selat"]), float(asked.query["selng"])
        found = [one for one in self.photos if in_box(one, west, south, east, north)]
        each, page = int(asked.query["itemsperpage"]), int(asked.query["page"])
        assert each <= 150
        some = found[each * (page - 1) : each * page]
        return answer_json(
            {
                "status": {
                    "apiCode": 600, "httpCode": 200, "httpMessage": "Success",
                    "apiMessage": "The request has been processed without incidents",
                },
                "result": {
                    "data": [self.item(one) for one in some],
                    "hasMoreData": each * page < len(found),
                },
            }
        )  # fmt: skip

    def item(self, one: dict[str, Any]) -> dict[str, Any]:
        name = one["name"]
        return {
            "id": name, "sequenceId": "500", "sequenceIndex": "3", "status": "active",
            "visibility": "public", "autoImgProcessingStatus": "FINISHED",
            "lat": f"{one['lat']:.6f}", "lng": f"{one['lon']:.6f}", "heading": "161.082520",
            "gpsAccuracy": "4.500", "projection": "PLANE", "fieldOfView": "0",
            "shotDate": "2016-04-16 09:00:45", "width": "2592", "height": "1944",
            "username": "walker", "fileurlProc": f"{self.address}/proc/{name}.jpg",
            "fileurl": f"{self.address}/files/{{{{sizeprefix}}}}/{name}.jpg",
        } | one.get("item", {})  # fmt: skip
