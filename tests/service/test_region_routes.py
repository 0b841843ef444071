"""Regions' figures and pictures, and the files of the page."""

import base64
import io
import math
import re
from importlib.resources import files

import numpy as np
import pytest
from PIL import Image
from tests.index.regions import TOY, indexed

from crossview import __version__
from crossview.outputs.map_page import render_live_page
from crossview.service.regions import Regions
from crossview.service.responses import Cells, RegionList


def tile_of(lat, lon, zoom):
    share = 0.5 - math.asinh(math.tan(math.radians(lat))) / (2 * math.pi)
    return f"{zoom}/{int((lon + 180) / 360 * 2**zoom)}/{int(share * 2**zoom)}"


def test_a_region_is_described_in_figures_and_without_paths(client, folder):
    listed = client.get("/v1/regions")
    record = RegionList.model_validate(listed.json()).regions[0]
    assert record.name == "region"
    assert record.tiles > 50
    assert str(folder.parent) not in listed.text
    assert client.get("/v1/regions/region").json()["version"] == record.version


def test_coverage_is_a_box_around_all_windows(client):
    south, west, north, east = client.get("/v1/regions/region").json()["bounds"]
    (feature,) = client.get("/v1/regions/region/coverage").json()["features"]
    ring = np.array(feature["geometry"]["coordinates"][0])
    assert [*ring.min(0), *ring.max(0)] == pytest.approx([west, south, east, north], abs=1e-6)


def test_cells_are_as_many_as_windows(client):
    record = Cells.model_validate(client.get("/v1/regions/region/cells").json())
    lat = np.frombuffer(base64.b64decode(record.lat), "<f8")
    assert len(lat) == client.get("/v1/regions/region").json()["tiles"]


def test_a_window_s_picture_is_the_index_s(client, regions):
    response = client.get("/v1/regions/region/windows/3")
    assert response.content == regions.get(None).index.thumbnail(3)
    assert client.get("/v1/regions/region/windows/99999").status_code == 404
    assert client.get("/v1/regions/none/windows/1").status_code == 404


def test_a_map_tile_shows_the_imagery_and_other_tiles_are_empty(client, regions):
    index = regions.get(None).index
    where = tile_of(index.lat.mean(), index.lon.mean(), 19)
    response = client.get(f"/v1/regions/region/tiles/{where}")
    pixels = np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB"))
    assert pixels.shape == (512, 512, 3)
    assert pixels.std() > 20
    assert client.get("/v1/regions/region/tiles/19/0/0").status_code == 204
    assert client.get("/v1/regions/region/tiles/3/8/0").status_code == 422


def test_a_tile_the_browser_has_is_not_sent_again(client, regions):
    index = regions.get(None).index
    path = f"/v1/regions/region/tiles/{tile_of(index.lat.mean(), index.lon.mean(), 16)}"
    tag = client.get(path).headers["etag"]
    assert client.get(path, headers={"If-None-Match": tag}).status_code == 304


def test_tiles_show_thumbnails_where_the_imagery_is_gone(tmp_path):
    index = indexed(tmp_path, stride_m=20.0)
    with_imagery = Regions([tmp_path / "region.cvx"], lambda _: TOY).get(None).tiles
    where = tuple(map(int, tile_of(index.lat.mean(), index.lon.mean(), 19).split("/")))
    first = pixels_of(with_imagery.get(*where))
    (tmp_path / "aerial.tif").unlink()
    without = Regions([tmp_path / "region.cvx"], lambda _: TOY).get(None).tiles
    second = pixels_of(without.get(*where))
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.6


def pixels_of(tile):
    return np.asarray(Image.open(io.BytesIO(tile.data)).convert("L"), float)


WEB = files("crossview.web")


OWN = {file.name: file for file in (WEB / "page").iterdir()}


TEXTS = {name: file.read_text(encoding="utf-8") for name, file in OWN.items()}


SCRIPTS = sorted(name for name in OWN if name.endswith(".js"))


def test_no_file_hides_another_of_the_same_name():
    assert not set(OWN) & {file.name for file in (WEB / "vendor").iterdir()}


def test_every_file_of_the_page_is_used_by_another():
    text = "\n".join(TEXTS.values())
    text += render_live_page()
    unused = {name for name in OWN if not re.search(rf"[/\"]{re.escape(name)}\"", text)}
    track = {"track.html", "track.css", "track.js"}  # the page of a track is a file, never served
    assert unused == {"page.html", "embedded.js"} | track, "templates, and the source of a file"


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_import_only_names_that_exist(name):
    imports = re.findall(r"import \{([^}]*)\} from \"\./([\w.-]+)\"", TEXTS[name])
    assert TEXTS[name].count("\nimport ") + TEXTS[name].startswith("import ") == len(imports) + len(
        re.findall(r"import \* as", TEXTS[name])
    )
    for names, source in imports:
        for wanted in re.findall(r"\w+", names):
            exported = rf"export (async )?(function\*?|const|let|class) {wanted}\b"
            listed = rf"export let (\w+, )*{wanted}\b"
            assert re.search(rf"{exported}|{listed}", TEXTS[source]), (wanted, source)
            assert len(re.findall(rf"\b{wanted}\b", TEXTS[name])) > 1, (wanted, "is not used")


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_page_needs_nothing_that_its_policy_forbids(name):
    assert not re.search(r"innerHTML|\beval\(|new Function|\sstyle[=:]\s*[\"`]", TEXTS[name])
    assert not re.search(r"\sstyle=|\son\w+=|<script>|<style", render_live_page())


@pytest.mark.parametrize(
    ("address", "accepted", "language"),
    [
        ("/", "", "en"),
        ("/", "de-AT,de;q=0.9,en;q=0.5", "de"),
        ("/", "fr", "en"),
        ("/?language=de", "en", "de"),
        ("/?language=en", "de", "en"),
        ("/?language=klingon", "de", "de"),
        ("/?language=" + "x" * 5000, "", "en"),
    ],
)
def test_the_page_is_sent_in_the_language_of_the_address_or_of_the_browser(
    client, address, accepted, language
):
    page = client.get(address, headers={"Accept-Language": accepted})
    assert (page.status_code, page.headers["content-language"]) == (200, language)
    assert "accept-language" in page.headers["vary"].lower()
    assert f'<html lang="{language}">' in page.text


def test_a_file_is_sent_small_and_only_when_it_changed(client):
    address = "/assets/leaflet.js"
    packed = client.get(address, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert packed.num_bytes_downloaded < 50_000
    plain = client.get(address, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == packed.content == (WEB / "vendor/leaflet.js").read_bytes()
    assert __version__ in packed.headers["etag"], "an update must reach browsers"
    again = client.get(address, headers={"If-None-Match": packed.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["cache-control"] == packed.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(("name", "kind"), [
    ("main.js", "text/javascript; charset=utf-8"),
    ("leaflet.js", "text/javascript; charset=utf-8"),
    ("theme.css", "text/css; charset=utf-8"),
    ("icon.svg", "image/svg+xml"),
])  # fmt: skip
def test_files_have_the_types_that_browsers_require(client, name, kind):
    assert client.get(f"/assets/{name}").headers["content-type"] == kind


def test_there_is_no_way_out_of_the_page_s_files(client):
    for name in ("..%2fapp.py", "../app.py", "%2e%2e/settings.py", "vendor.json/..", "nothing"):
        assert client.get(f"/assets/{name}").status_code == 404
    for name in ("nothing", "%00", "a" * 5000, "..", ".", "%2e%2e", "..%5capp.py"):
        answer = client.get(f"/assets/{name}")
        assert answer.status_code in (200, 404)  # 200: the client itself went up to the page
        if answer.status_code == 404:
            assert answer.json()["code"] in ("unknown-file", "unknown-path")


def test_the_page_is_there(client):
    page = client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
