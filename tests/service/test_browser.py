"""The map page in a real browser, over a synthetic town and the packaged model."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.browser import MODES, WEBGL, needs_chromium, open_chromium, package

from crossview import cli
from crossview.geo.points import LatLon, measure_distance_m
from crossview.index.store import Index
from crossview.localization.locate import locate
from crossview.outputs.records import CLAIM_COLUMNS, COLUMNS, make_map_link

package("playwright.sync_api", "playwright")
pytestmark = needs_chromium
PATIENCE_MS = 120_000  # a busy machine
DESKTOP, PHONE = {"width": 1366, "height": 850}, {"width": 390, "height": 844}
SHOTS = os.environ.get("CROSSVIEW_SHOTS")  # a folder to keep screenshots in, to look at


@pytest.fixture(scope="module")
def town(tmp_path_factory):
    """A small town with its index, and where each picture was taken."""
    folder = tmp_path_factory.mktemp("town")
    make = [
        "world",
        "--style",
        "suburb",
        "--seed",
        "20001",
        "--side-m",
        "280",
        "--out",
        str(folder),
    ]
    assert cli.main([*make, "--panoramas", "4", "--photos", "2", "--quiet"]) == 0
    index = ["index", str(folder / "aerial.tif"), "--out", str(folder / "town.cvx"), "--quiet"]
    assert cli.main([*index, "--threads", "1"]) == 0
    return folder


@pytest.fixture(scope="module")
def findable(town):
    """A panorama that the model finds: what is tried here is the page, not the model."""
    index, known = Index.open(town / "town.cvx"), truths(town)
    for path in sorted((town / "ground").glob("panorama_*.jpg")):
        if measure_distance_m(locate(index, path).places[0].latlon, known[path.name]) <= 25:
            return path
    pytest.fail("the packaged model finds none of the panoramas")


@pytest.fixture(scope="module")
def address(town):
    with served(town / "town.cvx") as where:
        yield where


@contextmanager
def served(*indexes):
    explicit = [word for index in indexes for word in ("--index", str(index))]
    words = [sys.executable, "-m", "crossview", "serve", *explicit, "--port", "0"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        response = next(filter(None, (re.search(r"at (http://\S+)/ ", s) for s in process.stderr)))
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield response[1]
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module", params=MODES)
def browser(request):
    """Without WebGL: the page must do all that it does. ``WEBGL=both make test``: with it, too."""
    with open_chromium(WEBGL[request.param]) as chromium:
        yield chromium


in_both_modes = pytest.mark.parametrize("browser", WEBGL, indirect=True)


@in_both_modes
def test_the_browser_has_webgl_or_has_none_as_its_switches_say(browser, request):
    page = browser.new_page()
    has = page.evaluate("() => Boolean(document.createElement('canvas').getContext('webgl'))")
    page.close()
    assert has == ("with WebGL" in request.node.name)


@pytest.fixture
def opened(browser, address):
    """Opens the page; fails on whatever its console says, and on requests to anywhere else."""
    contexts, output = [], []

    def make(size=None, where="", **options):
        context = browser.new_context(viewport=size or DESKTOP, accept_downloads=True, **options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: m.type in ("error", "warning") and output.append(m.text))
        page.on("pageerror", lambda problem: output.append(str(problem)))
        page.on("request", lambda r: not own(r.url, address) and output.append(r.url))
        page.goto(f"{address}/{where}")
        page.wait_for_selector("body[data-ready]")
        return page

    yield make
    for context in contexts:
        context.close()
    # Browsers write every refused request to the console themselves.
    assert [text for text in output if not re.search("GPU stall|status of 422", text)] == []


def own(url, address):
    return url.startswith((address, "data:", "blob:"))


def drop(page, *files):
    """Let files fall onto the map, as a hand would."""
    contents = [[f.name, list(f.read_bytes())] for f in files]
    transfer = page.evaluate_handle(
        """(files) => { const t = new DataTransfer(); for (const [name, bytes] of files)
        t.items.add(new File([new Uint8Array(bytes)], name, {type: "image/jpeg"})); return t; }""",
        contents,
    )
    page.dispatch_event("#map", "drop", {"dataTransfer": transfer})


def located(page, name):
    page.locator("#sheet .name", has_text=name).wait_for()
    page.locator("#sheet:not(.busy) .places li").first.wait_for()


def saved(page, kind, tmp_path):
    with page.expect_download() as download:
        page.click(f"[data-save={kind}]")
    download.value.save_as(tmp_path / f"places.{kind}")
    return (tmp_path / f"places.{kind}").read_text(encoding="utf-8")


def truths(town):
    with (town / "places.csv").open(newline="") as table:
        return {
            Path(row["file"]).name: LatLon(float(row["lat"]), float(row["lon"]))
            for row in csv.DictReader(table)
        }


def shoot(page, name):
    if SHOTS:
        page.wait_for_timeout(1500)
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page="phone" in name)


def middle_of(page, selector):
    box = page.locator(selector).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@in_both_modes
def test_a_dropped_panorama_is_found_within_25_m_and_saved(opened, town, findable, tmp_path):
    page = opened()
    drop(page, findable)
    located(page, findable.name)
    saved_features = json.loads(saved(page, "geojson", tmp_path))["features"]
    roles = [feature["properties"]["role"] for feature in saved_features]
    features = saved_features[: roles.count("place")]
    assert roles == ["place"] * len(features) + ["view"] * len(features)
    lon, lat = features[0]["geometry"]["coordinates"]
    assert features[0]["properties"]["rank"] == 1
    assert measure_distance_m(LatLon(lat, lon), truths(town)[findable.name]) <= 25
    assert saved(page, "kml", tmp_path).count("<Placemark>") == len(saved_features)
    rows = list(csv.DictReader(saved(page, "csv", tmp_path).splitlines()))
    assert len(rows) == len(features)
    assert tuple(rows[0]) == COLUMNS
    shown = page.locator("#selected a").get_attribute("href")
    assert {shown, rows[0]["openstreetmap"]} == {make_map_link(LatLon(lat, lon))}
    assert page.locator(".pin").count() == len(features)
    assert "synthetic town" in page.locator(".banner").first.text_content()
    shoot(page, "desktop-panorama")


@in_both_modes
def test_the_view_is_dragged_and_the_area_is_drawn(opened, town):
    page = opened()
    drop(page, town / "ground" / "photo_90deg_0000.jpg")
    located(page, "photo_90deg_0000.jpg")
    assert "90" in page.locator("label[for=fov]").text_content()
    shoot(page, "desktop-photo")
    page.keyboard.press("z")
    page.wait_for_timeout(1500)
    drag(page, middle_of(page, ".handle.edge >> nth=1"), (0, 45))
    page.locator("label[for=fov]", has_text="as given").wait_for()
    assert "90" not in page.locator("label[for=fov]").text_content()
    assert page.locator(".lens label").first.get_attribute("for") == "heading"
    assert "nothing helps more" in page.locator("label[for=heading]").text_content()
    assert page.locator("#sigma").count() == 0
    page.locator("#heading").fill("120")
    page.locator("label[for=heading]", has_text="120").wait_for()
    with page.expect_request(lambda request: "heading_sigma=20" in request.url) as asked:
        page.locator("#sigma").fill("20")
    assert "heading=120.0" in asked.value.url
    page.locator("label[for=sigma]", has_text="searched within 60").wait_for()
    page.keyboard.press("r")
    page.wait_for_timeout(1500)
    page.click("#area-draw")
    x, y = middle_of(page, "#map")
    drag(page, (x - 120, y - 60), (70, 0))
    page.locator("label[for=radius]").wait_for()
    page.locator("#sheet:not(.busy) .places li").first.wait_for()
    shoot(page, "desktop-area")
    page.get_by_text("Search everywhere").click()
    page.locator("#sheet:not(.busy) .places li").first.wait_for()


def drag(page, start, by):
    page.mouse.move(*start)
    page.mouse.down()
    for step in range(1, 6):
        page.mouse.move(start[0] + by[0] * step / 5, start[1] + by[1] * step / 5)
    page.mouse.up()


def test_the_compass_ring_sets_the_heading_and_a_button_clears_it(opened, town):
    page = opened()
    page.set_input_files("#files", town / "ground" / "photo_90deg_0000.jpg")
    located(page, "photo_90deg_0000.jpg")
    assert page.locator("#ring .knob").count() == 0, "found, not set"
    page.locator("#ring").scroll_into_view_if_needed()
    x, y = middle_of(page, "#ring")
    with page.expect_request(lambda request: "heading=90.0" in request.url):
        drag(page, (x, y - 40), (40, 40))  # from north to east
    page.locator("#ring .knob").wait_for()
    assert "90" in page.locator("label[for=heading]").text_content()
    with page.expect_request(lambda request: "ignore_direction=true" in request.url) as asked:
        page.click("#clear-heading")
    assert "heading=" not in asked.value.url
    page.locator("#ring .knob").wait_for(state="detached")
    located(page, "photo_90deg_0000.jpg")


@in_both_modes
def test_a_polygon_is_drawn_corner_by_corner_and_searched(opened, town):
    page = opened()
    page.set_input_files("#files", town / "ground" / "panorama_0000.jpg")
    located(page, "panorama_0000.jpg")
    page.locator(".pin").first.wait_for()
    page.click("#area-draw")
    x, y = middle_of(page, "#map")
    corners = [(-130, -60), (40, -110), (130, 80), (-40, 120)]
    for across, down in corners:
        page.mouse.click(x + across, y + down)
    with page.expect_request(lambda request: "area=" in request.url) as asked:
        page.mouse.click(x - 128, y - 58)  # the first one again
    told = json.loads(parse_qs(urlsplit(asked.value.url).query)["area"][0])
    (ring,) = told["coordinates"]
    assert (told["type"], len(ring), ring[0]) == ("Polygon", 5, ring[-1])
    assert "4 corners" in page.locator("#polygon").text_content()
    page.locator("#sheet:not(.busy) .places li").first.wait_for()
    lat, lon = map(float, page.locator("#selected .mono").text_content().split(", "))
    lons, lats = zip(*ring, strict=True)
    assert min(lons) <= lon <= max(lons)
    assert min(lats) <= lat <= max(lats)
    page.click("#area-draw")
    page.mouse.click(x, y)
    page.keyboard.press("Escape")
    assert "4 corners" in page.locator("#polygon").text_content(), "what was begun is gone"
    page.click("#everywhere")
    page.locator("#polygon").wait_for(state="detached")


def test_several_photos_are_a_batch_and_the_keyboard_steps(opened, town):
    page = opened()
    names = ["panorama_0000.jpg", "panorama_0001.jpg", "photo_90deg_0000.jpg"]
    drop(page, *(town / "ground" / name for name in names))
    page.locator("#progress").wait_for(state="hidden")
    located(page, names[0])
    page.keyboard.press("j")
    located(page, names[1])
    page.keyboard.press("ArrowDown")
    assert page.locator("[data-place='1'][aria-pressed=true]").count() == 1
    page.keyboard.press("h")
    assert not page.locator("#heat").is_checked()


def test_a_result_is_shared_without_the_photo(opened, town):
    page = opened(permissions=["clipboard-read", "clipboard-write"])
    drop(page, town / "ground" / "panorama_0000.jpg")
    located(page, "panorama_0000.jpg")
    first = page.locator("#selected .mono").text_content()
    page.get_by_text("Copy link").click()
    page.get_by_text("Copied").wait_for()
    link = page.evaluate("() => navigator.clipboard.readText()")
    assert "panorama" not in link
    other = opened(where=link.partition("/#")[2] and "#" + link.partition("#")[2])
    located(other, "Shared result")
    assert other.locator("#selected .mono").text_content() == first
    assert other.locator("figure").count() == 0


def test_another_region_is_chosen_and_asked(browser, town, findable):
    other = town / "other.cvx"
    shutil.copytree(town / "town.cvx", other, dirs_exist_ok=True)
    with served(town / "town.cvx", other) as address:
        context = browser.new_context(viewport=DESKTOP)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        page.set_input_files("#files", findable)
        located(page, findable.name)
        first = page.locator("#selected .mono").text_content()
        with page.expect_request(lambda r: "region=other" in r.url):
            page.select_option("#region", "other")
        located(page, findable.name)
        assert page.locator("#selected .mono").text_content() == first
        assert "other" in page.locator("#title").text_content()
        context.close()


def test_a_file_that_is_no_picture_is_told_so(opened, tmp_path):
    page = opened()
    (tmp_path / "broken.jpg").write_bytes(b"nothing")
    page.set_input_files("#files", tmp_path / "broken.jpg")
    page.get_by_role("alert").wait_for()
    assert "broken.jpg" in page.get_by_role("alert").text_content()


def test_on_a_phone_in_the_dark_nothing_is_wider_than_the_screen(opened, town):
    page = opened(PHONE, color_scheme="dark", has_touch=True)
    shoot(page, "phone-welcome")
    page.set_input_files("#files", town / "ground" / "photo_90deg_0001.jpg")
    located(page, "photo_90deg_0001.jpg")
    shoot(page, "phone-photo")
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= PHONE["width"]


def asked_for(page, text):
    """The addresses of requests for places from now on, as they are made."""
    requested = []
    page.on("request", lambda request: text in request.url and requested.append(request.url))
    return requested


def test_the_search_area_holds_for_every_photo_that_is_shown_under_it(opened, town, tmp_path):
    page = opened()
    names = ["panorama_0000.jpg", "panorama_0001.jpg", "photo_90deg_0000.jpg"]
    page.set_input_files("#files", [town / "ground" / name for name in names])
    page.locator("#progress").wait_for(state="hidden")
    located(page, names[0])
    requested = asked_for(page, "/v1/locate")
    page.focus("#area-draw")
    page.keyboard.press("Enter")  # a circle in the middle of what is seen
    page.locator("label[for=radius]").wait_for()
    located(page, names[0])
    page.keyboard.press("j")
    located(page, names[1])
    page.wait_for_function("() => !document.querySelector('#sheet.busy')")
    assert [("near=" in url, "within=" in url) for url in requested] == [(True, True)] * 2
    saved(page, "csv", tmp_path)  # of all photos: the third is asked for before
    assert len(requested) == 3
    page.keyboard.press("k")
    located(page, names[0])
    assert len(requested) == 3, "what was searched there already is not asked again"
    page.get_by_text("Search everywhere").click()
    located(page, names[0])
    page.keyboard.press("j")
    located(page, names[1])
    page.wait_for_function("() => !document.querySelector('#sheet.busy')")
    assert ["near=" in url for url in requested[3:]] == [False, False]


@pytest.mark.parametrize("browser", ["without WebGL"], indirect=True)  # where things lie: once
@pytest.mark.parametrize("size", [(1280, 800), (390, 844), (844, 390), (667, 375)], ids=str)
def test_nothing_hides_the_pins_of_the_region(opened, town, size):
    page = opened(dict(zip(("width", "height"), size, strict=True)))
    page.set_input_files("#files", town / "ground" / "panorama_0000.jpg")
    located(page, "panorama_0000.jpg")
    page.locator(".pin").first.wait_for()
    page.wait_for_timeout(1000)
    pins, floating = boxes(page, ".pin svg"), boxes(page, ".tool, .legend, .leaflet-control-zoom")
    assert len(pins) == 10
    assert [(p, f) for p in pins for f in floating if overlap(p, f)] == []
    frame = page.locator("#map").bounding_box()
    assert all(frame["y"] <= pin["y"] for pin in pins)
    assert all(pin["y"] + pin["height"] <= size[1] for pin in pins)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= size[0]
    shoot(page, f"pins-{size[0]}x{size[1]}")


def boxes(page, selector):
    return [box for node in page.locator(selector).all() if (box := node.bounding_box())]


def overlap(a, b):
    return (
        a["x"] < b["x"] + b["width"] and b["x"] < a["x"] + a["width"]
        and a["y"] < b["y"] + b["height"] and b["y"] < a["y"] + a["height"]
    )  # fmt: skip


CALIBRATE = """() => { const ask = window.fetch; window.fetch = async (path, options) => {
    const response = await ask(path, options);
    if (!path.startsWith("/v1/locate")) return response;
    const told = await response.json();
    const [answer] = told.answers;
    const { lat, lon } = answer.places[0];
    const corners = [[-1, -1], [-1, 1], [1, 1], [1, -1], [-1, -1]];
    answer.outline = [[corners.map(([n, e]) => [lat + 4e-4 * n, lon + 4e-4 * e])]];
    answer.calibrated = { refused: false, areas: [{ coverage: 0.9, km2: 0.01, share: 0.1 }] };
    answer.heat.of = "posterior";
    return new Response(JSON.stringify(told)); }; }"""
"""Answers as those of an index that was calibrated."""


def test_a_calibrated_area_is_outlined_and_the_heat_is_of_its_probabilities(opened, town):
    page = opened()
    page.evaluate(CALIBRATE)
    page.set_input_files("#files", town / "ground" / "panorama_0000.jpg")
    located(page, "panorama_0000.jpg")
    area = page.locator("path[stroke='#8ef0a0']")
    area.wait_for()
    assert (area.get_attribute("fill"), area.get_attribute("fill-opacity")) == ("#8ef0a0", "0.25")
    legend = page.locator("#legend").inner_text()
    assert "improbable" in legend
    assert "holds the actual place of 90 % of photos" in legend


def test_photos_are_one_stop_of_the_tab_key_and_arrows_move_along_them(opened, town):
    page = opened()
    names = ["panorama_0000.jpg", "panorama_0001.jpg", "panorama_0002.jpg"]
    page.set_input_files("#files", [town / "ground" / name for name in names])
    page.locator("#progress").wait_for(state="hidden")
    assert page.locator("#photos [tabindex='0']").count() == 1
    page.locator("#photos [aria-current]").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    located(page, names[1])
    assert page.evaluate("() => document.activeElement.dataset.photo") == "1"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    located(page, names[0])


@pytest.mark.parametrize("browser", ["without WebGL"], indirect=True)  # where things lie: once
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(browser, address, town, size, scheme):
    axe = package("axe_core_python.sync_playwright", "axe-core-python").Axe()
    context = browser.new_context(viewport=size, color_scheme=scheme, bypass_csp=True)
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    response = axe.run(page)["violations"]
    page.set_input_files("#files", town / "ground" / "photo_90deg_0001.jpg")
    located(page, "photo_90deg_0001.jpg")
    page.click("#claim-open")
    claim(page, str(truths(town)["photo_90deg_0001.jpg"]))
    response += axe.run(page)["violations"]
    context.close()
    serious = [f for f in response if f["impact"] in ("serious", "critical")]
    assert [(f["id"], [n["html"][:160] for n in f["nodes"]]) for f in serious] == []


def claim(page, place):
    if not page.locator("#claim").is_visible():
        page.click("#claim-open")
    page.fill("#claim", place)
    page.click("#claim-check")
    page.locator("#sheet:not(.busy) .claim").wait_for()


def test_a_claimed_place_is_ranked_beside_the_best_others(opened, town, findable, tmp_path):
    """Entered, then clicked on the map, then taken away; a place outside is said to be outside."""
    page, true = opened(), truths(town)[findable.name]
    drop(page, findable)
    located(page, findable.name)
    places = page.locator(".places li").count()
    claim(page, f"{true.lat:.6f}, {true.lon:.6f}")
    shown = page.locator(".claim")
    assert re.search(r"\d+ of [\d,]+ windows", shown.locator(".claim-rank").inner_text())
    assert "does not prove a place" in shown.inner_text()
    assert shown.locator(".disc img").evaluate("(image) => image.decode().then(() => true)")
    assert page.locator(".places li").count() == places
    assert page.locator(".claim-mark").is_visible()
    assert "The claimed place" in page.locator("#live").inner_text()
    shoot(page, "claim")
    (row, *_) = csv.DictReader(saved(page, "csv", tmp_path).splitlines())
    assert tuple(row) == (*COLUMNS, *CLAIM_COLUMNS)
    assert float(row["claim_lat"]) == pytest.approx(true.lat, abs=1e-6)
    features = json.loads(saved(page, "geojson", tmp_path))["features"]
    (told,) = [f["properties"] for f in features if f["properties"]["role"] == "claim"]
    assert told["rank"] == int(row["claim_rank"])
    assert told["says"] in saved(page, "kml", tmp_path)
    page.click("#claim-pick")
    page.mouse.click(*middle_of(page, "#map"))
    page.locator("#sheet:not(.busy) .claim").wait_for()
    assert page.input_value("#claim") != f"{true.lat:.6f}, {true.lon:.6f}"
    claim(page, "10, 10")
    assert "outside of this region" in shown.inner_text()
    assert shown.locator(".claim-rank").count() == 0
    page.click("#claim-remove")
    page.locator("#sheet:not(.busy) .places li").first.wait_for()
    assert shown.count() == page.locator(".claim-mark").count() == 0


def test_what_is_no_place_is_no_claim_and_asks_nothing_of_the_server(opened, town, findable):
    page = opened()
    drop(page, findable)
    located(page, findable.name)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.click("#claim-open")
    for text in ("north", "52.5", "95, 0", "0, 181"):
        page.fill("#claim", text)
        page.press("#claim", "Enter")
        assert "latitude and longitude" in page.locator("#claim-problem").inner_text()
        assert page.locator("#claim").get_attribute("aria-invalid") == "true"
    assert [url for url in asked if "/v1/locate" in url] == []


def test_the_page_is_german_for_who_reads_german_and_says_everything_in_it(opened, town, findable):
    page, true = opened(locale="de-DE"), truths(town)[findable.name]
    assert page.locator("html").get_attribute("lang") == "de"
    drop(page, findable)
    located(page, findable.name)
    claim(page, f"{true.lat:.6f}, {true.lon:.6f}")
    told = page.locator("body").inner_text()
    for german in ("Beste Orte", "Suchfläche", "Der behauptete Ort", "beweist keinen Ort"):
        assert german in told
    for english in ("Best places", "Field of view", "Search area", "score", "The claimed place"):
        assert english not in told
    assert re.search(r"Ähnlichkeit 0,\d{3}", told)
    shoot(page, "german")


def test_another_language_is_a_link_and_the_address_decides(opened):
    page = opened(locale="de-DE", where="?language=en")
    assert page.locator("html").get_attribute("lang") == "en"
    page.click("#languages a[lang=de]")
    page.wait_for_selector("html[lang=de] body[data-ready]")
    assert page.locator("#languages a").all_inner_texts() == ["English"]
    assert "Fotos wählen" in page.locator("#drop").inner_text()
