"""What a STAC catalogue knows of an area: found page by page, chosen, and believed only so far."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.transform import from_origin
from rasterio.warp import transform as transform_points
from tests.web_server import Answer, Asked, WebServer, serving

from crossview.cli import imagery as online
from crossview.downloads import Downloads, Politeness
from crossview.errors import BadAnswer, EmptyRegion, InvalidValue
from crossview.geo.perimeters import Perimeter, parse_perimeter
from crossview.imagery import stac
from crossview.imagery.addresses import CogAddress, StacAddress, Terms
from crossview.imagery.remote import Demand, fetch_imagery, plan_fetch
from crossview.imagery.sources import open_sources
from crossview.imagery.stac import CatalogueFind, find_pictures, plan_pictures

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
Pages = dict[str, Any]


def make_box(west: float, south: float, east: float, north: float) -> Perimeter:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return parse_perimeter({"type": "Polygon", "coordinates": [ring]})


def make_item(name: str, box: tuple[float, ...], day: str, **more: Any) -> dict[str, Any]:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    item = {
        "type": "Feature",
        "id": name,
        "bbox": list(box),
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "properties": {"datetime": f"{day}T10:00:00Z"} | more.pop("properties", {}),
        "assets": {"image": {"href": f"pictures/{name}.tif", "type": COG, "roles": ["data"]}},
        "links": [{"rel": "collection", "href": "/collections/ortho"}],
    }
    return item | more


COLLECTION = {
    "type": "Collection",
    "id": "ortho",
    "license": "CC-BY-4.0",
    "providers": [
        {"name": "Some Survey", "roles": ["producer", "licensor"]},
        {"name": "Some Cloud", "roles": ["host"]},
    ],
    "links": [{"rel": "items", "href": "/collections/ortho/items"}],
}
AREA = make_box(10.0, 50.0, 10.1, 50.1)
WHOLE = (9.9, 49.9, 10.2, 50.2)


class Catalogue:
    """Answers of paths: JSON values, or functions of what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {"/collections/ortho": COLLECTION}
        self.server: WebServer

    def answer(self, asked: Asked) -> Answer:
        found = self.answers.get(asked.path)
        if callable(found):
            found = found(asked)
        if found is None:
            return Answer(b"{}", 404)
        if isinstance(found, Answer):
            return found
        return Answer(json.dumps(found).encode(), 200, {"Content-Type": "application/geo+json"})

    def find(self, path: str, area: Perimeter = AREA, **fields: Any) -> CatalogueFind:
        usual = Politeness(requests_per_s=1000.0, burst=1000, tries=1, timeout_s=5.0)
        with Downloads(politeness={"": usual}) as downloads:
            address = StacAddress(url=self.server.address + path, **fields)
            return find_pictures(address, area, downloads)


@pytest.fixture
def catalogue() -> Iterator[Catalogue]:
    made = Catalogue()
    with serving(made.answer) as made.server:
        yield made


def serve_pages(items: list[dict[str, Any]], size: int) -> Callable[[Asked], Pages]:
    """A search of pages that are linked by relative addresses, as many servers do."""

    def answer(asked: Asked) -> Pages:
        start = int(asked.query.get("token", "0"))
        page: Pages = {"type": "FeatureCollection", "features": items[start : start + size]}
        if start + size < len(items):
            page["links"] = [{"rel": "next", "href": f"?token={start + size}"}]
        return page

    return answer


def test_an_item_by_its_address_gives_its_picture_beside_it_with_the_terms_of_its_collection(
    catalogue: Catalogue,
) -> None:
    catalogue.answers["/items/a.json"] = make_item("a", WHOLE, "2023-05-06")
    found = catalogue.find("/items/a.json")
    (picture,) = found.pictures
    assert picture.url == f"{catalogue.server.address}/items/pictures/a.tif"
    assert picture.captured == "2023-05-06"
    assert picture.terms == Terms(
        licence="CC-BY-4.0",
        licence_url="https://creativecommons.org/licenses/by/4.0/",
        attribution="Some Survey",
        date="2023-05-06",
    )
    assert found.covered == 1.0


def test_a_search_is_asked_by_get_with_the_box_and_all_its_pages_are_turned(
    catalogue: Catalogue,
) -> None:
    strips = [
        make_item(f"s{i}", (10.0 + i * 0.01, 49.9, 10.01 + i * 0.01, 50.2), "2023-05-06")
        for i in range(10)
    ]
    catalogue.answers["/search"] = serve_pages(strips, 3)
    found = catalogue.find("/search", collections=("ortho", "b"), datetime="2022-01-01/..")
    assert {one.id for one in found.pictures} == {f"s{i}" for i in range(10)}
    assert found.items == 10
    searches = [one for one in catalogue.server.asked if one.path == "/search"]
    assert len(searches) == 4
    first = searches[0].query
    assert [float(v) for v in first["bbox"].split(",")] == pytest.approx([10.0, 50.0, 10.1, 50.1])
    assert first["collections"] == "ortho,b"
    assert first["datetime"] == "2022-01-01/.."
    assert catalogue.server.paths().count("/collections/ortho") == 1  # asked for once


def test_a_collection_is_asked_for_its_items(catalogue: Catalogue) -> None:
    catalogue.answers["/collections/ortho/items"] = serve_pages(
        [make_item("a", WHOLE, "2023-05-06"), make_item("b", WHOLE, "2021-05-06")], 1
    )
    found = catalogue.find("/collections/ortho")
    assert [one.id for one in found.pictures] == ["a"]
    assert found.items == 2


def test_a_catalogue_of_plain_files_is_read_file_by_file(catalogue: Catalogue) -> None:
    links = [{"rel": "item", "href": f"./{name}.json"} for name in "ab"]
    catalogue.answers["/plain/collection.json"] = COLLECTION | {"links": links}
    catalogue.answers["/plain/a.json"] = make_item("a", (10.0, 50.0, 10.05, 50.1), "2023-05-06")
    catalogue.answers["/plain/b.json"] = make_item("b", (40.0, 50.0, 40.1, 50.1), "2023-05-06")
    found = catalogue.find("/plain/collection.json")
    assert [one.id for one in found.pictures] == ["a"]
    assert found.covered == pytest.approx(0.5, abs=0.02)
    many = COLLECTION | {"links": links * 600}
    catalogue.answers["/plain/collection.json"] = many
    with pytest.raises(BadAnswer, match="a list of 1,200 files"):
        catalogue.find("/plain/collection.json")


def test_the_newest_clear_pictures_cover_the_area_and_the_best_is_on_top(
    catalogue: Catalogue,
) -> None:
    left, right = (9.9, 49.9, 10.05, 50.2), (10.05, 49.9, 10.2, 50.2)
    items = [
        make_item("old", WHOLE, "2015-01-01"),
        make_item("new-left", left, "2024-06-01"),
        make_item("cloudy", WHOLE, "2025-06-01", properties={"eo:cloud_cover": 80.0}),
        make_item("new-right", right, "2023-06-01", properties={"eo:cloud_cover": 3.0}),
        make_item("elsewhere", (20.0, 20.0, 20.1, 20.1), "2025-06-01"),
    ]
    catalogue.answers["/search"] = serve_pages(items, 100)
    found = catalogue.find("/search")
    assert [one.id for one in found.pictures] == ["new-right", "new-left"]
    catalogue.answers["/search"] = serve_pages([items[1], items[2]], 100)
    assert [one.id for one in catalogue.find("/search").pictures] == ["cloudy", "new-left"]


def test_an_area_across_longitude_180_is_asked_for_in_two_boxes(catalogue: Catalogue) -> None:
    area = make_box(179.9, -17.0, 180.1, -16.9)

    def answer(asked: Asked) -> Pages:
        west = float(asked.query["bbox"].split(",")[0])
        box = (179.8, -17.1, 180.0, -16.8) if west > 0 else (-180.0, -17.1, -179.8, -16.8)
        return {"type": "FeatureCollection",
                "features": [make_item("e" if west > 0 else "w", box, "2023-05-06")]}  # fmt: skip

    catalogue.answers["/search"] = answer
    boxes_before = len(catalogue.server.asked)
    found = catalogue.find("/search", area)
    assert {one.id for one in found.pictures} == {"e", "w"}
    asked = [one for one in catalogue.server.asked[boxes_before:] if one.path == "/search"]
    boxes = [[float(v) for v in one.query["bbox"].split(",")] for one in asked]
    assert all(-180.0 <= box[0] < box[2] <= 180.0 for box in boxes)


@pytest.mark.parametrize(
    ("assets", "taken"),
    [
        ({"thumb": {"href": "t.tif", "type": COG, "roles": ["thumbnail"]},
          "visual": {"href": "v.tif", "type": COG, "roles": ["visual"]},
          "data": {"href": "d.tif", "type": COG, "roles": ["data"]}}, "v.tif"),
        ({"B04": {"href": "b4.tif", "type": COG, "eo:bands": [{"common_name": "red"}]},
          "ortho": {"href": "o.tif", "type": COG, "eo:bands": [
              {"common_name": "red"}, {"common_name": "green"}, {"common_name": "blue"},
              {"common_name": "nir"}]}}, "o.tif"),
        ({"preview": {"href": "p.png", "type": "image/png", "roles": ["visual"]},
          "x": {"href": "x.tiff"}}, "x.tiff"),
        ({"a": {"href": "s3://bucket/a.tif", "type": COG,
                "alternate": {"https": {"href": "a.tif"}}}}, "a.tif"),
    ],
)  # fmt: skip
def test_the_file_is_chosen_by_role_kind_and_bands(
    catalogue: Catalogue, assets: dict[str, Any], taken: str
) -> None:
    catalogue.answers["/i/a.json"] = make_item("a", WHOLE, "2023-05-06", assets=assets)
    (picture,) = catalogue.find("/i/a.json").pictures
    assert picture.url == f"{catalogue.server.address}/i/{taken}"


def test_the_file_that_is_named_is_taken_and_a_wrong_name_lists_those_there(
    catalogue: Catalogue,
) -> None:
    assets = {"winter": {"href": "w.tif", "type": COG}, "summer": {"href": "s.tif", "type": COG}}
    catalogue.answers["/i/a.json"] = make_item("a", WHOLE, "2023-05-06", assets=assets)
    (picture,) = catalogue.find("/i/a.json", asset="winter").pictures
    assert picture.url.endswith("/i/w.tif")
    with pytest.raises(InvalidValue, match="It has summer, winter"):
        catalogue.find("/i/a.json", asset="spring")


def test_terms_of_the_item_come_before_those_of_its_collection_and_given_ones_first(
    catalogue: Catalogue,
) -> None:
    own = {"license": "other", "providers": [{"name": "A Town", "roles": ["licensor"]}]}
    links = [
        {"rel": "license", "href": "https://town.example/terms", "title": "Open terms of A Town"},
        {"rel": "collection", "href": "/collections/ortho"},
    ]
    catalogue.answers["/i/a.json"] = make_item(
        "a", WHOLE, "2023-05-06", properties=own, links=links
    )
    (picture,) = catalogue.find("/i/a.json").pictures
    assert picture.terms.licence == "Open terms of A Town"
    assert picture.terms.licence_url == "https://town.example/terms"
    assert picture.terms.attribution == "A Town"
    given = Terms(licence="public domain", attribution="USDA", known=True)
    (picture,) = catalogue.find("/i/a.json", terms=given).pictures
    assert (picture.terms.licence, picture.terms.attribution) == ("public domain", "USDA")
    assert picture.terms.known


def test_nothing_is_inferred_where_no_licence_is_said(catalogue: Catalogue) -> None:
    catalogue.answers["/collections/ortho"] = {"type": "Collection", "license": "proprietary"}
    catalogue.answers["/i/a.json"] = make_item("a", WHOLE, "2023-05-06")
    (picture,) = catalogue.find("/i/a.json").pictures
    assert (picture.terms.licence, picture.terms.licence_url) == ("", "")
    assert not picture.terms.known


@pytest.mark.parametrize(
    "href",
    [
        "file:///etc/passwd", "/vsicurl/http://x/a.tif", "/vsizip//a.zip/a.tif", "s3://bucket/a.tif",
        "ftp://host/a.tif", "", 7, None, "https://user:password@host/a.tif", "http://[::1",
        "https://host:port/a.tif", "x" * 5000,
    ],
    ids=lambda value: str(value)[:20],
)  # fmt: skip
def test_hostile_addresses_of_pictures_are_left_out(catalogue: Catalogue, href: Any) -> None:
    bad = make_item("bad", WHOLE, "2024-05-06", assets={"a": {"href": href, "type": COG}})
    good = make_item("good", WHOLE, "2023-05-06")
    catalogue.answers["/search"] = serve_pages([bad, good], 100)
    found = catalogue.find("/search")
    assert [one.id for one in found.pictures] == ["good"]
    assert len(found.notes) == 1
    assert found.notes[0].startswith("1 item left out")
    catalogue.answers["/search"] = serve_pages([bad], 100)
    with pytest.raises(EmptyRegion, match="1 item left out"):
        catalogue.find("/search")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "169.254.169.254", "10.1.2.3", "[::1]", "[fd00::1]",
             "2130706433", "0x7f000001", "printer.local"],
)  # fmt: skip
def test_a_public_catalogue_cannot_lead_into_ones_own_network(host: str) -> None:
    with Downloads() as downloads:
        public = stac._Catalogue(StacAddress(url="https://stac.example.org/search"), downloads)
        with pytest.raises(BadAnswer, match="your own network"):
            public._resolve("https://stac.example.org/search", f"https://{host}/a.tif")
        shown = public._resolve("https://stac.example.org/search", "https://cdn.example.net/a.tif")
    assert shown == "https://cdn.example.net/a.tif"


def test_pages_that_never_end_turn_back_or_lead_elsewhere_are_refused(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = make_item("a", WHOLE, "2023-05-06")

    def page(href: str, **link: str) -> Pages:
        links = [{"rel": "next", "href": href, **link}]
        return {"type": "FeatureCollection", "features": [item], "links": links}

    catalogue.answers["/search"] = lambda asked: page("/search?token=1")
    with pytest.raises(BadAnswer, match="has no end"):
        catalogue.find("/search")
    monkeypatch.setattr(stac, "MOST_PAGES", 5)
    catalogue.answers["/search"] = lambda asked: page(
        f"/search?token={int(asked.query.get('token', 0)) + 1}"
    )
    with pytest.raises(BadAnswer, match="5 pages"):
        catalogue.find("/search")
    catalogue.answers["/search"] = lambda asked: page("http://127.0.0.1:1/search")
    with pytest.raises(BadAnswer, match="continues on another server"):
        catalogue.find("/search")
    catalogue.answers["/search"] = lambda asked: page("/search", method="POST")
    with pytest.raises(BadAnswer, match="by POST"):
        catalogue.find("/search")


@pytest.mark.parametrize(
    "answer",
    [
        b"not json", b"[]", b'{"type": "FeatureCollection"}', b'{"features": {"a": 1}}',
        b"[" * 100_000, b'{"features": [' + b"[" * 50_000 + b"]" * 50_000 + b"]}",
    ],
    ids=["text", "list", "none", "object", "deep", "deep inside"],
)  # fmt: skip
def test_nonsense_for_a_search_is_refused(catalogue: Catalogue, answer: bytes) -> None:
    catalogue.answers["/search"] = lambda asked: Answer(answer)
    with pytest.raises((BadAnswer, EmptyRegion)):
        catalogue.find("/search")


def test_what_is_too_large_is_not_read(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stac, "_MOST_BYTES", 1000)
    catalogue.answers["/search"] = lambda asked: Answer(b'{"x": "' + b"y" * 5000 + b'"}')
    with pytest.raises(BadAnswer, match="more than 1,000 bytes"):
        catalogue.find("/search")
    monkeypatch.setattr(stac, "_MOST_BYTES", 10_000_000)
    monkeypatch.setattr(stac, "MOST_ITEMS", 5)
    items = [make_item(str(number), WHOLE, "2023-05-06") for number in range(9)]
    catalogue.answers["/search"] = serve_pages(items, 4)
    with pytest.raises(BadAnswer, match="more than 5 items"):
        catalogue.find("/search")


@pytest.mark.parametrize(
    "wrong",
    [
        {"bbox": [1, 2]}, {"bbox": "x"}, {"bbox": [None] * 4}, {"properties": []},
        {"properties": {"datetime": 7, "eo:cloud_cover": "x", "providers": [3]}}, {"links": 3},
        {"links": [3, {"rel": "collection"}]}, {"geometry": {"type": "Point", "coordinates": [0]}},
        {"geometry": None, "bbox": None}, {"assets": [1]}, {"assets": {"a": 3}},
        {"assets": {"a": {"href": [], "type": 4, "roles": 3, "eo:bands": [None]}}},
        {"id": {"a": 1}},
    ],
    ids=str,
)  # fmt: skip
def test_an_item_of_any_form_is_taken_or_left_out_and_nothing_breaks(
    catalogue: Catalogue, wrong: dict[str, Any]
) -> None:
    items = [make_item("odd", WHOLE, "2024-05-06") | wrong, make_item("good", WHOLE, "2023-05-06")]
    catalogue.answers["/search"] = serve_pages(items, 100)
    assert {one.id for one in catalogue.find("/search").pictures} & {"good", "odd", "{'a': 1}"}


def test_a_signature_is_asked_for_where_the_catalogue_wants_one_and_is_for_that_picture_only(
    catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = f"{catalogue.server.address}/sign"
    monkeypatch.setitem(stac._SIGNERS, "127.0.0.1", ("127.0.0.1", signer))
    catalogue.answers["/i/a.json"] = make_item("a", WHOLE, "2023-05-06")
    catalogue.answers["/sign"] = lambda asked: {"href": asked.query["href"] + "?sig=abc"}
    (picture,) = catalogue.find("/i/a.json").pictures
    assert picture.url == f"{catalogue.server.address}/i/pictures/a.tif?sig=abc"
    catalogue.answers["/sign"] = {"href": "http://127.0.0.1/other.tif?sig=abc"}
    with pytest.raises(BadAnswer, match="for another one"):
        catalogue.find("/i/a.json")


def test_pictures_of_a_search_become_local_blocks_with_their_terms_and_nothing_is_asked_twice(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    """Two pictures in two zones of UTM: the newer one on top, each with its own attribution."""
    files = {name: write_picture(tmp_path, name, crs) for name, crs in
             (("old", "EPSG:25832"), ("new", "EPSG:25833"))}  # fmt: skip

    area = make_box(12.0, 52.3, 12.004, 52.302)
    items = [
        make_item("old", (11.9, 52.2, 12.1, 52.4), "2019-05-06"),
        make_item("new", (12.002, 52.2, 12.1, 52.4), "2023-05-06"),
    ]
    catalogue.answers |= {"/search": serve_pages(items, 1)}
    catalogue.answers |= {
        f"/pictures/{name}.tif": partial(answer_range, data=path.read_bytes())
        for name, path in files.items()
    }
    with Downloads() as downloads:
        address = StacAddress(url=f"{catalogue.server.address}/search")
        job, terms, notes = plan_pictures(address, area, 1.0, downloads, tmp_path / "cache")
        assert job.measure_missing()[0] == job.pieces == 2
        paths = job.fetch(downloads, lambda done, total: None)
        assert job.measure_missing() == (0, 0.0)
        asked = downloads.requests
        assert job.fetch(downloads, lambda done, total: None) == paths
        assert downloads.requests == asked
    assert terms.attribution == "Some Survey"
    assert terms.date == "2019-05-06 to 2023-05-06"
    assert notes == ()
    with open_sources(paths) as imagery:
        assert imagery.info.attribution == "Some Survey (CC-BY-4.0)"
        assert imagery.info.date in ("2019-05-06, 2023-05-06", "2019-05-06; 2023-05-06")
    ranges = [(one.path, one.headers["range"]) for one in catalogue.server.asked
              if "range" in one.headers]  # fmt: skip
    assert len(ranges) == len(set(ranges))


def write_picture(folder: Path, name: str, crs: str) -> Path:
    """1,200 x 1,200 pixels of half a metre around 52.301 N, 12.002 E."""
    x, y = transform_points("EPSG:4326", crs, [12.002], [52.301])
    path = folder / f"{name}.tif"
    with rasterio.open(
        path, "w", driver="COG", width=1200, height=1200, count=3, dtype="uint8", crs=crs,
        transform=from_origin(x[0] - 300.0, y[0] + 300.0, 0.5, 0.5), compress="deflate",
    ) as file:  # fmt: skip
        file.write(np.random.default_rng(3).integers(0, 255, (3, 1200, 1200), np.uint8))
    return path


def test_a_cog_and_a_search_are_planned_and_fetched_as_every_other_address(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    """The dry run tells blocks and terms; the margin is read, too; nothing is fetched again."""
    path = write_picture(tmp_path, "one", "EPSG:25833")
    catalogue.answers["/pictures/one.tif"] = lambda asked: answer_range(asked, path.read_bytes())
    catalogue.answers["/search"] = serve_pages(
        [make_item("one", (11.9, 52.2, 12.1, 52.4), "2023-05-06")], 1
    )
    area = make_box(12.001, 52.3005, 12.003, 52.3015)
    for address, licence in (
        (CogAddress(url=f"{catalogue.server.address}/pictures/one.tif"), ""),
        (StacAddress(url=f"{catalogue.server.address}/search"), "CC-BY-4.0"),
    ):
        with Downloads() as downloads:
            plan = plan_fetch(address, area, Demand(px_m=0.6, margin_m=20.0), downloads, tmp_path)
            assert plan.pieces >= 1
            assert plan.terms.licence == licence
            assert plan.metres_per_px == pytest.approx(0.5, rel=0.01)
            paths = fetch_imagery(plan, downloads)
            again = plan_fetch(address, area, Demand(px_m=0.6, margin_m=20.0), downloads, tmp_path)
            assert (again.missing, again.missing_bytes) == (0, 0.0)
        with open_sources(paths) as imagery:
            south, west, north, east = imagery.info.bounds
        assert west < 12.001 - 0.00025
        assert east > 12.003 + 0.00025
        assert south < 52.3005 - 0.00015
        assert north > 52.3015 + 0.00015


def answer_range(asked: Asked, data: bytes) -> Answer:
    first, last = map(int, asked.headers["range"].removeprefix("bytes=").split("-"))
    part = data[first : last + 1]
    said = f"bytes {first}-{first + len(part) - 1}/{len(data)}"
    return Answer(part, 206, {"Content-Range": said})


def test_a_name_of_the_table_counts_as_an_address_with_known_terms_and_its_own_pace() -> None:
    assert online.is_remote("ch-swissimage")
    assert not online.is_remote("ch-nowhere")
    assert not online.is_remote("city.tif")
    with Downloads() as downloads:
        address, rate = online._open_address("fr-bdortho", downloads)
        assert (address.terms.known, rate) == (True, 20.0)
        bucket = downloads._find_bucket(address.url)
        assert bucket.politeness.requests_per_s == 20.0
