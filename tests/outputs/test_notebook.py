"""Answers in a notebook: a table, GeoJSON, rows of geopandas."""

import json
import sys
from dataclasses import replace

import pytest
from tests.outputs.fakes import HOSTILE, ORIGIN, answer, answers_of
from tests.outputs.pages import Page

from crossview.errors import UsageError
from crossview.localization.accuracy import add_truth
from crossview.outputs.geojson import to_geojson
from crossview.outputs.notebook import SHOWN_PLACES, NotebookAnswer, to_geodataframe


@pytest.fixture
def shown(index):
    (plain,) = answers_of(index, 1)
    return NotebookAnswer.of(plain, index)


def test_the_best_places_are_a_table_with_their_pictures(shown):
    page = Page(shown._repr_html_())
    pictures = page.values("src")
    assert len(pictures) == SHOWN_PLACES
    assert all(source.startswith("data:image/jpeg;base64,/9j/") for source in pictures)
    assert [tag for tag, _ in page.elements].count("tr") == 1 + SHOWN_PLACES
    assert f"{shown.places[0].latlon.lat:.6f}" in page.text
    assert "45°" in page.text
    assert "No place stands out" in page.text


def test_uncertainties_stand_beside_position_and_heading(index):
    (plain,) = answers_of(index, 1)
    places = (replace(p, position_sigma_m=1.5, heading_sigma_deg=0.75) for p in plain.places)
    text = NotebookAnswer.of(replace(plain, places=tuple(places)), index)._repr_html_()
    assert "<th>\u00b1 m</th>" in text
    assert "<td>1.5</td><td>45\u00b0</td><td>0.8</td>" in text
    assert "\u00b1" not in NotebookAnswer.of(plain, index)._repr_html_()


def test_nothing_but_links_that_are_yours_to_follow_leads_elsewhere(shown):
    links = Page(shown._repr_html_()).values("href")
    assert all(link.startswith("https://www.openstreetmap.org/") for link in links)


def test_hostile_names_stay_text(index):
    evil = answer(HOSTILE, assumptions=(HOSTILE,), warnings=("<script>alert(2)</script>",))
    text = NotebookAnswer.of(evil, index)._repr_html_()
    tags = {tag for tag, _ in Page(text).elements}
    assert tags <= {"p", "b", "small", "table", "thead", "tbody", "tr", "th", "td", "img", "a"}
    assert "onerror=alert(1)&gt;" in text
    assert "&lt;script&gt;alert(2)" in text


def test_without_pictures_or_places_there_is_a_table_all_the_same(index):
    far = answer(places=[replace(answer().places[0], window=10**6)])
    assert Page(NotebookAnswer.of(far, index)._repr_html_()).values("src") == []
    assert "No place was found" in NotebookAnswer.of(answer(places=()), index)._repr_html_()


def test_its_geojson_is_that_of_the_command_line(shown):
    assert shown.to_geojson(footprints=True) == to_geojson([shown], footprints=True)
    roles = [each["properties"]["role"] for each in json.loads(shown.to_geojson())["features"]]
    assert [roles.count(role) for role in ("place", "view", "truth")] == [10, 10, 1]


def test_a_truth_that_is_added_stays_in_the_same_kind_of_answer(shown):
    known = add_truth(shown, ORIGIN)
    assert isinstance(known, NotebookAnswer)
    assert known.error_m > 1000


def test_a_geodataframe_has_a_row_per_place_in_degrees(index):
    pytest.importorskip("geopandas", reason="needs the package geopandas")
    plain = answers_of(index, 2)
    frame = to_geodataframe([*plain, answer("none.jpg", places=())])
    assert len(frame) == 20
    assert frame.crs.to_epsg() == 4326
    first = plain[0].places[0].latlon
    assert (frame.geometry[0].y, frame.geometry[0].x) == pytest.approx((first.lat, first.lon))
    assert list(frame["rank"][:3]) == [1, 2, 3]
    assert {"photo", "score", "confidence", "window"} <= set(frame.columns)
    assert len(to_geodataframe([])) == 0


def test_without_geopandas_the_command_that_installs_it_is_named(shown, monkeypatch):
    monkeypatch.setitem(sys.modules, "geopandas", None)
    with pytest.raises(UsageError, match=r"pip install 'crossview\[geo\]'"):
        shown.to_geodataframe()
