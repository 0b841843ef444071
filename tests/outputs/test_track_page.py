"""The page of a track: self-contained, safe, bounded; played in a real browser by hand and keys."""

import base64
import hashlib
import json
import re
from dataclasses import replace

import pytest
from tests.browser import needs_chromium, open_chromium, package
from tests.outputs.fakes import HOSTILE, photo_pixels, track
from tests.outputs.pages import Page, read_page

from crossview.errors import CannotWrite, InvalidValue
from crossview.outputs.map_page import LEAST_BYTES, write_track_page
from crossview.outputs.page_images import JpegSize, shrink_picture
from crossview.outputs.records import make_map_link
from crossview.texts import speak

SCREENS = {"desk": (1280, 800), "phone upright": (390, 844), "phone across": (667, 375)}


def here(index, count=8, **changes):
    """A track in the middle of the region."""
    middle = index.footprint(index.count // 2).centre
    return track(count, at=middle, **changes)


@pytest.fixture
def write(index, tmp_path):
    def written(given, **options):
        write_track_page(tmp_path / "track.html", index, given, **options)
        return read_page(tmp_path / "track.html")

    return written


def test_the_page_asks_for_nothing_outside_of_itself(index, write):
    page = write(here(index))
    assert page.values("src", "srcset", "data", "action", "poster", "background") == []
    assert sorted(page.values("href")) == ["#map", "#panel", "data:,"]
    styles = "".join(re.findall(r"(?s)<style>(.*?)</style>", page.text))
    assert re.findall(r"url\(|@import", styles) == []


def test_the_policy_names_each_script_by_its_hash(index, write):
    page = write(here(index))
    policy = next(a["content"] for t, a in page.elements if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'; img-src data: blob:; ")
    scripts = re.findall(r"(?s)<script>(.*?)</script>", page.text)
    digests = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests


def hostile(index, name):
    given = here(index, assumptions=(name,), warnings=(name,), source=name)
    first, *rest = given.points
    return replace(given, points=(replace(first, photo=name), *rest))


@pytest.mark.parametrize("name", [HOSTILE, "--><!--x", "]]>", "\ud800"])
def test_hostile_names_stay_text(index, write, name):
    honest, evil = write(here(index)), write(hostile(index, name))
    assert [tag for tag, _ in evil.elements] == [tag for tag, _ in honest.elements]
    assert "<img src=x" not in evil.text


def test_what_is_drawn_is_written_pieces_gaps_and_which_way_each_picture_looked(index, write):
    told = write(here(index, 8, lost=(3, 4), truth=True)).facts["track"]
    assert [len(piece) for piece in told["lines"]["found"]] == [3, 3]
    (gap,) = told["lines"]["gaps"]
    assert gap == [told["lines"]["found"][0][-1], told["lines"]["found"][1][0]]
    assert len(told["lines"]["truth"]) == 8
    ring = told["points"][0]["view"]["ring"]
    assert ring[0] == ring[-1] == [told["points"][0]["lat"], told["points"][0]["lon"]]
    assert told["told"]["lost"] == 2


def test_without_heading_truth_or_times_nothing_is_invented(index, write):
    given = here(index, 3, lost=(), times=False)
    points = (replace(p, heading_deg=None, heading_sigma_deg=None) for p in given.points)
    told = write(replace(given, points=tuple(points))).facts["track"]
    unknown = {"heading_deg", "heading_sigma_deg", "time", "elapsed_s", "view", "truth", "error_m"}
    assert not unknown & set(told["points"][0])
    assert told["lines"] == {"found": told["lines"]["found"], "gaps": [], "truth": []}


def test_folders_of_photos_are_not_on_the_page(index, write):
    page = write(here(index))
    assert [p["photo"] for p in page.facts["track"]["points"]][:2] == ["000.jpg", "001.jpg"]
    assert "drive/" not in page.text


def test_pictures_are_those_of_the_points_and_a_point_without_one_says_so(index, write):
    given = here(index, 3, lost=())
    first, *rest = given.points
    page = write(replace(given, points=(replace(first, picture=b""), *rest)))
    assert [p["picture"] for p in page.facts["track"]["points"]] == [None, 0, 1]
    assert [base64.b64decode(one) for one in page.pictures["photos"]] == [p.picture for p in rest]


def test_the_page_keeps_to_its_limit_and_says_what_is_missing(index, tmp_path):
    large = shrink_picture(photo_pixels(height=480, width=640), JpegSize(640, 90))
    given = here(index, 60, step_m=1.0)
    given = replace(given, points=tuple(replace(p, picture=large) for p in given.points))
    out = tmp_path / "track.html"
    notes = write_track_page(out, index, given, max_bytes=LEAST_BYTES)
    assert out.stat().st_size <= LEAST_BYTES
    assert any("60 photos" in note for note in notes)
    facts = read_page(out).facts
    assert len(facts["track"]["points"]) == 60
    assert facts["notes"] == notes


def test_what_cannot_be_a_page_is_refused(index, tmp_path):
    out = tmp_path / "track.html"
    with pytest.raises(InvalidValue, match="at least"):
        write_track_page(out, index, here(index), max_bytes=1000)
    with pytest.raises(InvalidValue, match="there is none"):
        write_track_page(out, index, here(index, 0))
    with pytest.raises(InvalidValue, match="Take fewer frames"):
        write_track_page(out, index, here(index, 900, step_m=0.01), max_bytes=LEAST_BYTES)
    with pytest.raises(CannotWrite, match="there is no folder"):
        write_track_page(tmp_path / "no" / "track.html", index, here(index))
    assert not out.exists()


package("playwright.sync_api", "playwright")


@pytest.fixture(scope="module")
def browser():
    with open_chromium() as chromium:
        yield chromium


@pytest.fixture
def opened(browser, index, tmp_path):
    """Opens the page of a track; nothing may be said on its console, or asked of a network."""
    contexts, messages = [], []

    def open_page(given, screen="desk", fragment="", **options):
        out = tmp_path / "track #1 straße.html"
        write_track_page(out, index, given)
        width, height = SCREENS[screen]
        contexts.append(browser.new_context(viewport={"width": width, "height": height}, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on(
            "request",
            lambda r: (
                messages.append(r.url) if not r.url.startswith(("file", "data", "blob")) else 0
            ),
        )
        page.goto(out.as_uri() + fragment)
        page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert messages == []


def position(page):
    return page.locator("#position").inner_text()


@needs_chromium
def test_a_track_is_drawn_with_its_points_its_gap_and_the_point_that_is_shown(index, opened):
    page = opened(here(index, 8, lost=(3, 4), truth=True))
    assert page.locator("path.stop").count() == 8
    assert page.locator("path.stop.lost").count() == 2
    assert page.locator("path[stroke-dasharray='3 8']").count() == 1
    assert page.locator("path.here").count() == page.locator("path.looking").count() == 1
    assert page.locator("path.uncertainty").count() == 1
    assert page.locator("#sheet img").get_attribute("src").startswith("data:image/jpeg;base64,")
    shown = page.locator("body").inner_text()
    for told in ("000.jpg", "2026-05-01 10:00:00 UTC", "position \u00b1 2.5 m", "1 of 8",
                 "facing E, 90\u00b0 \u00b1 4.0\u00b0", "97 % that the picture fits here",
                 "3.0 m off", "camera held level", "lost between", "actual way"):  # fmt: skip
        assert told in shown, told


@needs_chromium
def test_the_whole_track_is_in_view_at_first_at_whichever_point_it_begins(index, opened):
    page = opened(here(index, 200, step_m=0.5, lost=()), fragment="#point=200")
    frame = page.locator("#map").bounding_box()
    for number in (0, 199):
        dot = page.locator("path.stop").nth(number).bounding_box()
        assert frame["x"] <= dot["x"] <= frame["x"] + frame["width"]
        assert frame["y"] <= dot["y"] <= frame["y"] + frame["height"]
    assert page.locator("path.stop[stroke]:not([stroke=none])").count() == 0, "no rims that hide it"


@needs_chromium
def test_a_lost_point_is_said_to_be_a_guess(index, opened):
    page = opened(here(index, 8, lost=(3, 4)), fragment="#point=4")
    assert position(page) == "4 of 8"
    assert "Lost here: the point is a guess" in page.locator("#standing").inner_text()
    assert page.locator("path.uncertainty").get_attribute("stroke-dasharray") == "6 6"


@needs_chromium
def test_a_picture_of_something_else_is_said_to_be_one_and_its_point_stays_in_the_way(
    index, opened
):
    given = here(index, 5, lost=())
    points = [replace(p, fits=0.03 if n == 2 else p.fits) for n, p in enumerate(given.points)]
    page = opened(replace(given, points=tuple(points)), fragment="#point=3")
    assert "this one probably shows something else" in page.locator("#standing").inner_text()
    assert page.locator("path.stop.foreign").count() == 1
    assert "picture of something else" in page.locator(".legend").inner_text()
    page.keyboard.press("ArrowRight")
    assert "something else" not in page.locator("#standing").inner_text()


@needs_chromium
def test_it_plays_to_its_end_and_again_and_pauses(index, opened):
    page = opened(here(index, 6, lost=()))
    page.select_option("#speed", "16")
    page.click("#play")
    assert page.locator("#play").inner_text() == "Pause"
    page.locator("#position", has_text="6 of 6").wait_for()
    page.locator("#play", has_text="Again").wait_for()
    page.select_option("#speed", "1")
    page.click("#play")
    assert position(page) == "1 of 6"
    page.click("#play")
    assert page.locator("#play").inner_text() == "Play"
    page.wait_for_timeout(1200)
    assert position(page) == "1 of 6"


@needs_chromium
def test_the_keyboard_steps_plays_and_leaves_map_and_slider_their_keys(index, opened):
    page = opened(here(index, 6, lost=()))
    for key, expected in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowLeft", 2), ("End", 6),
                          ("Home", 1)):  # fmt: skip
        page.keyboard.press(key)
        assert position(page) == f"{expected} of 6"
    assert "1 of 6" in page.locator("#live").inner_text()
    page.locator("#slider").focus()
    page.keyboard.press("ArrowRight")
    assert position(page) == "2 of 6"
    page.locator("#map").focus()
    page.keyboard.press("ArrowRight")
    assert position(page) == "2 of 6"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press(" ")
    assert page.locator("#play").inner_text() == "Pause"
    page.keyboard.press("k")
    assert page.locator("#play").inner_text() == "Play"
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()


@needs_chromium
def test_a_step_by_hand_ends_the_playing(index, opened):
    page = opened(here(index, 6, lost=()))
    page.click("#play")
    page.click("#ahead")
    assert page.locator("#play").inner_text() == "Play"


@needs_chromium
def test_the_slider_tells_where_it_stands_and_a_point_on_the_map_is_chosen(index, opened):
    page = opened(here(index, 6, lost=()))
    slider = page.locator("#slider")
    assert slider.get_attribute("max") == "5"
    slider.evaluate("(node) => { node.value = 4; node.dispatchEvent(new Event('input')); }")
    told = slider.get_attribute("aria-valuetext")
    assert told == "5 of 6, 2026-05-01 10:00:08 UTC, position \u00b1 2.5 m"
    page.locator("path.stop").nth(1).dispatch_event("click")
    assert position(page) == "2 of 6"
    assert page.url.endswith("#point=2")


@needs_chromium
def test_the_map_follows_the_point_and_comes_back_to_the_whole_track(index, opened):
    page = opened(here(index, 6, lost=()))
    whole = page.locator(".leaflet-control-scale-line").inner_text()
    page.keyboard.press("z")
    assert page.locator("#to-place").get_attribute("aria-pressed") == "true"
    page.keyboard.press("r")
    page.locator(".leaflet-control-scale-line", has_text=whole).wait_for()


@needs_chromium
def test_nothing_moves_by_itself_and_nothing_glides_where_motion_is_unwelcome(index, opened):
    page = opened(here(index, 6, lost=()), reduced_motion="reduce")
    assert page.locator("#speed").input_value() == "1"
    page.wait_for_timeout(700)
    assert position(page) == "1 of 6"
    page.keyboard.press("z")
    assert page.locator(".leaflet-zoom-anim, .leaflet-pan-anim").count() == 0


@needs_chromium
@pytest.mark.parametrize("times", [True, False])
def test_one_point_is_a_track_too(index, opened, times):
    page = opened(here(index, 1, lost=(), times=times))
    assert position(page) == "1 of 1"
    assert page.locator("#back").is_disabled()
    assert page.locator("#ahead").is_disabled()
    assert page.locator("path.stop").count() == 1


@needs_chromium
def test_a_place_links_to_openstreetmap(index, opened):
    given = here(index, 2, lost=())
    link = opened(given).locator("#selected a")
    assert link.get_attribute("href") == make_map_link(given.points[0].latlon)
    assert link.get_attribute("rel") == "noopener noreferrer"


@needs_chromium
@pytest.mark.parametrize("screen", SCREENS)
def test_controls_are_on_the_screen_and_nothing_is_too_wide(index, opened, screen):
    page = opened(here(index, 120, step_m=0.5), screen)
    width, height = SCREENS[screen]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("#play", "#back", "#ahead", "#slider", "#speed", "#position"):
        box = page.locator(name).bounding_box()
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= width, name
        assert box["y"] + box["height"] <= height, name
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    assert page.locator("#map").bounding_box()["height"] > 100
    mark = page.locator("path.here").bounding_box()
    assert 0 <= mark["x"] <= width


@needs_chromium
def test_a_german_page_says_nothing_in_english_but_what_came_from_elsewhere(index, opened):
    with speak("de"):
        page = opened(here(index, 8, assumptions=()))
    told = page.locator("body").inner_text()
    for german in ("Abspielen", "Blick nach", "Lage \u00b1", "gefundener Weg", "verloren"):
        assert german in told
    for english in ("Play", "lost", "position", "facing", "track", "Follow", "pictures"):
        assert not re.search(rf"\b{english}\b", told), english


@needs_chromium
def test_a_hostile_name_is_shown_as_text(index, opened):
    page = opened(hostile(index, HOSTILE))
    assert not [a for _, a in Page(page.content()).elements if "onerror" in a]
    assert "<img src=x onerror=alert(1)>" in page.locator("#sheet .name").inner_text()


@needs_chromium
@pytest.mark.parametrize(("screen", "scheme"), [("desk", "light"), ("phone upright", "dark")])
def test_axe_finds_no_serious_fault(index, opened, screen, scheme):
    axe = package("axe_core_python.sync_playwright", "axe-core-python").Axe()
    page = opened(here(index, truth=True), screen, color_scheme=scheme, bypass_csp=True)
    found = axe.run(page)["violations"]
    serious = [fault for fault in found if fault["impact"] in ("serious", "critical")]
    assert [(f["id"], [n["html"][:160] for n in f["nodes"]]) for f in serious] == []


def test_the_data_of_a_page_is_strict_json(index, write):
    page = write(here(index))
    for block in page.blocks.values():
        json.loads(block, parse_constant=pytest.fail)
