"""The map page in a real browser: what it draws, that nothing hides a pin, and the keyboard."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from tests.browser import needs_chromium, open_chromium, package
from tests.outputs.fakes import (
    HOSTILE,
    answer,
    answers_of,
    claim,
    contribution,
    photo_pixels,
    place,
    prior_shift,
)
from tests.outputs.pages import Page

from crossview.geo.points import move_point
from crossview.localization.answer import Area, Confidence, Place
from crossview.outputs import map_page
from crossview.outputs.map_page import write_map
from crossview.outputs.records import make_map_link
from crossview.texts import speak

package("playwright.sync_api", "playwright")
pytestmark = needs_chromium
SCREENS = {"desk": (1280, 800), "phone upright": (390, 844), "phone across": (844, 390),
           "small phone across": (667, 375)}  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    with open_chromium() as chromium:
        yield chromium


@pytest.fixture
def opened(browser, index, tmp_path):
    """Opens the page of some answers; nothing may be said on its console."""
    contexts, messages = [], []

    def open_page(answers, screen="desk", **options):
        out = tmp_path / "map #1 straße.html"
        write_map(out, index, answers, **options)
        width, height = SCREENS[screen]
        contexts.append(browser.new_context(viewport={"width": width, "height": height}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(out.as_uri())
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


def read(page):
    page.wait_for_timeout(300)
    return Page(page.content())


def classes(page, name):
    return [a for _, a in page.elements if name in (a.get("class") or "").split()]


def test_the_page_asks_for_a_heading_beside_the_photo_that_lacks_one(opened, index):
    first, second = answers_of(index, 2)
    page = opened([replace(first, heading_wanted=True), second])
    asked = page.locator("#sheet p", has_text="If you know which way the camera looked")
    assert asked.count() == 1
    page.keyboard.press("j")
    page.locator("#sheet", has_text=second.photo).wait_for()
    assert asked.count() == 0


def test_photos_pins_discs_and_heat_are_drawn(index, opened):
    given = answers_of(index, 3)
    page = read(opened(given, photos={a.photo: photo_pixels() for a in given}))
    assert len([a for _, a in page.elements if "data-photo" in a]) == 3
    assert len(classes(page, "pin")) == len(classes(page, "disc")) == 10
    assert len(classes(page, "truth")) >= 1
    assert classes(page, "heat")[0]["width"] != "1"
    sources = [a["src"] for tag, a in page.elements if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)


def with_claim(given, index, row, **changes):
    """The answer with a claim that the window ``row`` speaks for."""
    footprint = index.footprint(row)
    told = claim(footprint.centre, footprint=footprint, window=row, **changes)
    return replace(given, claim=told)


def test_a_claimed_place_stands_beside_the_best_ones_with_its_picture_and_its_mark(index, opened):
    first, second = answers_of(index, 2)
    page = opened([with_claim(first, index, 5, probability=0.12345, areas=(0.95,)), second])
    shown = page.locator("#sheet .claim")
    assert "3 of 8,464 windows" in shown.inner_text()
    assert "does not prove a place" in shown.inner_text()
    assert "12 % within 25 m" in shown.inner_text()
    assert shown.locator(".disc :is(img, canvas)").is_visible()
    assert page.locator(".claim-mark").count() == 1
    assert page.locator(".places li").count() == len(first.places)
    assert page.locator("#claim").count() == 0, "nothing can be asked of a file"
    page.keyboard.press("j")
    page.locator("#sheet", has_text=second.photo).wait_for()
    assert shown.count() == page.locator(".claim-mark").count() == 0


def test_a_claim_outside_of_the_region_is_said_and_shows_no_window(index, opened):
    (given,) = answers_of(index, 1)
    page = opened([replace(given, claim=claim(outside=True))])
    shown = page.locator("#sheet .claim")
    assert "outside of this region, 5.3 km from" in shown.inner_text()
    assert shown.locator(".disc").count() == 0


def test_a_german_page_says_nothing_in_english_but_what_came_from_elsewhere(index, opened):
    (given,) = answers_of(index, 1)
    with speak("de"):
        page = opened([with_claim(given, index, 5)])
    told = page.locator("body").inner_text()
    assert page.locator("html").get_attribute("lang") == "de"
    for german in ("Beste Orte", "Der behauptete Ort", "3 von 8.464 Fenstern", "Kein Ort"):
        assert german in told
    for english in ("place", "score", "Heat", "Photo ", "window", "Nothing", "claim"):
        assert not re.search(rf"\b{english}\b", told), english


def test_a_hostile_name_is_shown_as_text(opened):
    page = read(opened([answer(HOSTILE, places=[place()], assumptions=(HOSTILE,))]))
    assert not [a for _, a in page.elements if "onerror" in a]
    assert "&lt;/script&gt;&lt;img" in page.text


@pytest.mark.parametrize("given", [[], [answer("none.jpg", places=())]])
def test_a_page_without_places_opens_too(opened, given):
    page = read(opened(given))
    assert classes(page, "pin") == []
    assert ("No photo was located." if not given else "No place was found") in page.text


def at_corners(index):
    """One photo per corner of the region; its only place is there."""
    (given,) = answers_of(index, 1, truth=False)
    made = []
    for north in (-1, 1):
        for east in (-1, 1):
            row = int(np.argmax(north * index.lat + east * index.lon))
            there = Place(
                rank=1, latlon=index.footprint(row).centre, score=0.9, heading_deg=10.0,
                footprint=index.footprint(row), window=row,
            )  # fmt: skip
            made.append(replace(given, photo=f"{north} {east}.jpg", places=(there,)))
    return made


def boxes(page, selector):
    return [box for node in page.locator(selector).all() if (box := node.bounding_box())]


def overlap(a, b):
    return (
        a["x"] < b["x"] + b["width"] and b["x"] < a["x"] + a["width"]
        and a["y"] < b["y"] + b["height"] and b["y"] < a["y"] + a["height"]
    )  # fmt: skip


@pytest.mark.parametrize("screen", SCREENS)
def test_no_pin_hides_behind_what_floats_over_the_map(index, opened, screen):
    page = opened(at_corners(index), screen)
    floating = boxes(page, ".tool") + boxes(page, ".legend")
    frame = page.locator("#map").bounding_box()
    for _ in range(4):
        (pin,) = boxes(page, ".pin.first svg")
        assert not any(overlap(pin, box) for box in floating), (pin, floating)
        assert frame["y"] <= pin["y"]
        assert pin["y"] + pin["height"] <= min(frame["y"] + frame["height"], SCREENS[screen][1])
        page.keyboard.press("j")


@pytest.mark.parametrize("screen", SCREENS)
def test_what_floats_over_the_map_does_not_overlap_and_nothing_is_too_wide(index, opened, screen):
    page = opened(calibrated(index), screen)
    floating = [
        boxes(page, selector)
        for selector in (".tool", ".legend", ".leaflet-control-zoom", ".leaflet-control-scale")
    ]
    shown = [box for found in floating for box in found]
    pairs = [(a, b) for n, a in enumerate(shown) for b in shown[n + 1 :]]
    assert [pair for pair in pairs if overlap(*pair)] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= SCREENS[screen][0]


def calibrated(index):
    rows = np.arange(6)
    area = Area(
        coverage=0.9, rows=rows, km2=0.0024, share=0.1, lat=index.lat[rows], lon=index.lon[rows],
        cell_m=index.manifest.stride_m, up_bearing_deg=0.0,
    )  # fmt: skip
    known = Confidence(
        elsewhere=0.02, refused=False, false_reject=0.05, areas=(area,), kind="panoramas", n=99,
        date="2026-11-21",
    )  # fmt: skip
    return [replace(one, confidence=known) for one in answers_of(index, 2)]


def test_a_calibrated_area_is_outlined_filled_lightly_and_explained(index, opened):
    page = opened(calibrated(index)[:1])
    area = page.locator("path[stroke='#8ef0a0']")
    assert area.count() == 1
    assert float(area.get_attribute("fill-opacity")) == 0.25
    assert area.get_attribute("fill") == "#8ef0a0"
    assert "M" in area.get_attribute("d")
    text = page.locator("body").inner_text()
    assert "holds the actual place of 90 % of photos" in text
    assert "Calibrated on 99 panoramas of this region" in text


def posed(index, *, fov_deg=90.0, off_m=4.0):
    """An answer whose places lie beside the middles of their windows, and are known so well."""
    (given,) = answers_of(index, 1)
    places = [
        replace(
            one, latlon=move_point(one.latlon, east_m=off_m, north_m=0.0),
            position_sigma_m=3.2, heading_sigma_deg=1.25,
        )
        for one in given.places
    ]  # fmt: skip
    return replace(given, places=tuple(places), fov_deg=fov_deg)


def test_position_and_heading_are_shown_with_their_uncertainty(index, opened):
    page = opened([posed(index)])
    facts = page.locator("[data-place='0'] .facts").inner_text()
    assert "facing NE, 45\u00b0 \u00b1 1.3\u00b0" in facts
    assert "position \u00b1 3.2 m" in facts
    assert page.locator("path.uncertainty").count() == 1
    assert "right to this two times in three" in page.locator(".legend").inner_text()


def test_without_a_calibration_no_circle_is_drawn_and_none_is_explained(index, opened):
    page = opened(answers_of(index, 1))
    assert page.locator("path.uncertainty").count() == 0
    assert "two times in three" not in page.locator("body").inner_text()
    assert "\u00b1" not in page.locator("body").inner_text()


def test_the_map_draws_the_wedge_that_was_written_and_no_other(index, opened, monkeypatch):
    def write_triangle(place, fov_deg):
        ring = [(place.latlon.lat + n, place.latlon.lon + e) for n, e in ((0, 0), (0, 1), (1, 1))]
        return {"length_m": 31.0, "ring": [*ring, ring[0]]}

    monkeypatch.setattr(map_page.records, "describe_view", write_triangle)
    page = opened([posed(index)])
    wedge = page.locator("path[fill='#ff8a4c']")
    assert len(re.findall(r"[ML]-?\d+ -?\d+", wedge.get_attribute("d"))) <= 5
    page.keyboard.press("2")
    assert wedge.count() == 1


def test_a_place_lies_in_its_window_where_it_was_found_and_not_in_the_middle(index, opened):
    page = opened([posed(index, off_m=12.5)])
    mark = page.locator("[data-place='0'] .disc .eye").locator("..")
    x, y = map(float, re.findall(r"-?[\d.]+", mark.get_attribute("transform")))
    aside = 100 * 12.5 / index.footprint(0).width_m * 0.5**0.5
    assert (x, y) == pytest.approx((aside, -aside), abs=0.1), "east, where north-east is up"


def test_a_picture_all_around_has_a_front_instead_of_a_wedge(index, opened):
    page = opened([posed(index, fov_deg=360.0)])
    disc = page.locator("[data-place='0'] .disc")
    assert disc.locator(".front").count() == 1
    assert disc.locator(".view").count() == 0


def test_a_place_without_a_heading_has_neither(index, opened):
    page = opened(answers_of(index, 1, heading_deg=None))
    assert page.locator(".disc .front, .disc .view, path[fill='#ff8a4c']").count() == 0
    assert "facing" not in page.locator("#sheet").inner_text()


def test_a_prior_is_drawn_and_explained(index, opened):
    (given,) = answers_of(index, 1)
    page = opened([replace(given, prior=prior_shift(index.footprint(5).centre))])
    assert page.locator("path.prior").count() == 1
    assert "place that was given" in page.locator(".legend").inner_text()
    assert "The first place lies 12 m from there" in page.locator(".confidence").inner_text()


def test_photos_of_one_spot_are_listed_without_their_folders_and_foreign_ones_marked(index, opened):
    (given,) = answers_of(index, 1)
    photos = (contribution("secret/a.jpg"), contribution("secret/b.jpg", foreign=0.8))
    page = opened([replace(given, together=photos)])
    listed = page.locator(".together li")
    assert listed.count() == 2
    assert "a.jpg" in listed.nth(0).inner_text()
    assert "adds 3.2 bits \u00b7 facing SE, 123\u00b0 \u00b7 alone 40 m away" in (
        listed.nth(0).inner_text()
    )
    assert "probably taken elsewhere" in listed.nth(1).inner_text()
    assert "secret" not in page.content()


def test_a_filtered_list_begins_at_its_top(index, opened):
    given = answers_of(index, 80)
    page = opened(given)
    page.evaluate("document.getElementById('photos').scrollTop = 2000")
    page.fill("#search", "photo")
    assert page.evaluate("document.getElementById('photos').scrollTop") == 0
    page.evaluate("document.getElementById('photos').scrollTop = 2000")
    page.select_option("#order", "lead")
    assert page.evaluate("document.getElementById('photos').scrollTop") == 0


def focused(page):
    return page.evaluate("document.activeElement.id || document.activeElement.dataset.photo")


def test_the_map_is_two_keys_away_whatever_the_number_of_photos(index, opened):
    page = opened(answers_of(index, 300))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the map"
    page.keyboard.press("Enter")
    assert focused(page) == "map"


def test_the_list_is_one_stop_of_the_tab_key_and_arrows_move_along_it(index, opened):
    page = opened(answers_of(index, 300))
    stops = 0
    while focused(page) != "map" and stops < 30:
        page.keyboard.press("Tab")
        stops += 1
    assert stops < 10
    page.locator("[data-photo='0']").focus()
    for key, expected in (("ArrowDown", "1"), ("ArrowDown", "2"), ("ArrowUp", "1"), ("End", "299")):
        page.keyboard.press(key)
        assert focused(page) == expected
    page.fill("#search", "photo 7")
    assert page.locator("#photos [tabindex='0']").count() == 1


def test_a_place_links_to_openstreetmap_and_nothing_is_fetched(index, opened):
    (given,) = answers_of(index, 1)
    page = opened([given], photos={given.photo: photo_pixels()})
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    link = page.locator("#selected a")
    assert link.get_attribute("href") == make_map_link(given.places[0].latlon)
    assert link.get_attribute("rel") == "noopener noreferrer"
    page.keyboard.press("2")
    assert page.locator("#selected a").get_attribute("href") == make_map_link(
        given.places[1].latlon
    )
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] == []


@pytest.mark.parametrize(("screen", "scheme"), [("desk", "light"), ("phone upright", "dark")])
def test_axe_finds_no_serious_fault(browser, index, tmp_path, screen, scheme):
    axe = package("axe_core_python.sync_playwright", "axe-core-python").Axe()
    given = calibrated(index)
    write_map(tmp_path / "map.html", index, given, photos={a.photo: photo_pixels() for a in given})
    width, height = SCREENS[screen]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, bypass_csp=True
    )
    page = context.new_page()
    page.goto((tmp_path / "map.html").as_uri())
    page.wait_for_selector("body[data-ready]")
    found = axe.run(page)["violations"]
    context.close()
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert [(f["id"], [n["html"][:160] for n in f["nodes"]]) for f in serious] == []
