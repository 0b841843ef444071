"""The page in a real browser, opened from a file. Skipped where there is no Chromium."""

import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from tests.browser import CHROMIUM, QUIET, needs_chromium
from tests.outputs.fakes import HOSTILE, answer, answers_of, photo_pixels, place
from tests.outputs.pages import Page

from crossview.localization.answer import Area, Confidence
from crossview.outputs.page import write_map

pytestmark = needs_chromium


@pytest.fixture
def opened(index, tmp_path):
    """Opens the page of some answers; gives the DOM after its scripts ran, and the console."""

    def dom(answers, **options):
        out = tmp_path / "map #1 straße.html"
        write_map(out, index, answers, **options)
        show = ["--enable-logging=stderr", "--virtual-time-budget=3000", "--dump-dom"]
        scratch = f"--user-data-dir={tmp_path / 'profile'}"
        command = [CHROMIUM, *QUIET, *show, scratch, out.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
        said = re.findall(r".*CONSOLE.*", done.stderr)
        assert said == [], said
        return Page(done.stdout)

    return dom


def classes(page, name):
    return [a for _, a in page.elements if name in (a.get("class") or "").split()]


def test_photos_pins_discs_and_heat_are_drawn_without_a_word_on_the_console(index, opened):
    given = answers_of(index, 3)
    page = opened(given, photos={a.photo: photo_pixels() for a in given})
    assert len([a for _, a in page.elements if "data-photo" in a]) == 3
    assert len(classes(page, "pin")) == len(classes(page, "disc")) == 10
    assert len(classes(page, "truth")) >= 1
    assert classes(page, "heat")[0]["width"] != "1"
    sources = [a["src"] for tag, a in page.elements if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/") for source in sources)


def test_a_hostile_name_is_shown_as_text(opened):
    page = opened([answer(HOSTILE, places=[place()], assumptions=(HOSTILE,))])
    assert not [a for _, a in page.elements if "onerror" in a]
    assert "&lt;/script&gt;&lt;img" in page.text


@pytest.mark.parametrize("given", [[], [answer("none.jpg", places=())]])
def test_a_page_without_places_opens_too(opened, given):
    page = opened(given)
    assert classes(page, "pin") == []
    assert ("No photo was located." if not given else "No place was found") in page.text


def test_the_area_of_a_calibrated_answer_is_outlined_and_explained(index, opened):
    (given,) = answers_of(index, 1)
    rows = np.arange(3)
    area = Area(
        coverage=0.9, rows=rows, km2=0.0012, share=0.1, lat=index.lat[rows], lon=index.lon[rows],
        cell_m=index.manifest.stride_m, up_bearing_deg=0.0,
    )  # fmt: skip
    known = Confidence(
        elsewhere=0.02, refused=False, false_reject=0.05, areas=(area,), kind="panoramas", n=99,
        date="2026-11-21",
    )  # fmt: skip
    page = opened([replace(given, confidence=known)])
    drawn = [a for tag, a in page.elements if tag == "path" and a.get("stroke") == "#8ef0a0"]
    assert len(drawn) == 1
    assert "M" in drawn[0]["d"]
    assert "holds the actual place of 90 % of photos" in page.text
    assert "Calibrated on 99 panoramas of this region" in page.text
