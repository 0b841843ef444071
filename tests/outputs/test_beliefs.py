"""What is said of a place that was roughly known, and of several photos of one spot."""

import csv
import io
import json
import math
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
import shapely.geometry
from tests.outputs.fakes import HOSTILE, ORIGIN, answer, contribution, prior_shift

from crossview.localization.answer import SharedSpot
from crossview.outputs.formats import FORMATS
from crossview.outputs.geojson import to_geojson
from crossview.outputs.gpx import to_gpx
from crossview.outputs.kml import to_kml
from crossview.outputs.records import explain_prior, explain_together
from crossview.outputs.text import to_csv, to_jsonl, to_table
from crossview.service.responses import ContributionFacts, PriorFacts, SpotFacts

GPX = "{http://www.topografix.com/GPX/1/1}"
KML = "{http://www.opengis.net/kml/2.2}"
SAYS = (
    "Given was -12.250000,60.500000, right to 30 m. The first place lies 12 m from there; with the "
    "picture, what is believed moved by 10 m, to a spread of 3 m."
)
TEXTS = sorted(set(FORMATS) - {"kmz"})


def known():
    return answer(prior=prior_shift())


def several():
    return answer(together=(contribution("x/a.jpg"), contribution("x/b.jpg", foreign=0.9)))


def features(text, role):
    found = json.loads(text)["features"]
    return [f for f in found if f["properties"]["role"] == role]


def test_json_says_how_far_the_picture_moved_the_prior():
    told = json.loads(to_jsonl([known()]))["prior"]
    assert told == {
        "lat": -12.25, "lon": 60.5, "sigma_m": 30.0, "source": "given", "first_moved_m": 12.35,
        "mean": {"lat": -12.25, "lon": pytest.approx(60.500092, abs=1e-6)}, "mean_moved_m": 10.0,
        "spread_m": 3.21, "bits": 6.543, "holds": 0.9877, "says": SAYS,
    }  # fmt: skip
    assert "prior" not in json.loads(to_jsonl([answer()]))


@pytest.mark.parametrize("name", TEXTS)
def test_every_format_says_the_prior_in_words(name):
    written = FORMATS[name].write([known()])
    assert "The first place lies 12 m from there" in written
    assert "The first place lies" not in FORMATS[name].write([answer()])


def test_a_picture_that_adds_little_or_contradicts_says_so():
    assert explain_prior(prior_shift()) == SAYS
    assert explain_prior(prior_shift(bits=0.9)).endswith("The picture adds little to it.")
    against = explain_prior(prior_shift(holds=0.02, bits=0.9))
    assert against.endswith("The picture speaks against that place.")
    assert "The photo's file says -12.250000,60.500000" in explain_prior(prior_shift(source="file"))
    assert "right to 2.0 km" in explain_prior(prior_shift(sigma_m=2000.0))


def test_maps_draw_the_circle_of_the_priors_sigma():
    (circle,) = features(to_geojson([known()]), "prior")
    shape = shapely.geometry.shape(circle["geometry"])
    metres = math.radians(1.0) * 6_371_008.8
    assert shape.bounds[3] - shape.bounds[1] == pytest.approx(60.0 / metres, rel=0.01)
    assert circle["properties"]["bits"] == 6.543
    assert "prior" not in features(to_geojson([known()]), "place")[0]["properties"]
    marks = ET.fromstring(to_kml([known()])).iter(f"{KML}Placemark")
    (mark,) = [m for m in marks if m.findtext(f"{KML}name") == "prior"]
    assert mark.find(f"{KML}Polygon") is not None
    points = ET.fromstring(to_gpx([known()])).iter(f"{GPX}wpt")
    (point,) = [p for p in points if p.findtext(f"{GPX}type") == "prior"]
    assert (point.get("lat"), point.get("lon")) == ("-12.2500000", "60.5000000")


def test_json_says_what_each_photo_of_a_spot_contributes():
    first, second = json.loads(to_jsonl([several()]))["together"]
    assert first == {
        "photo": "x/a.jpg", "sha256": "cd" * 32, "score": 0.543211, "bits": 3.211,
        "foreign": 0.0123, "heading_deg": 123.46, "alone_m": 40.0,
        "alone": {"lat": pytest.approx(-12.24964, abs=1e-5), "lon": 60.5},
    }  # fmt: skip
    assert second["foreign"] == 0.9
    unknown = contribution(heading_deg=None, alone=None, alone_m=None)
    told = json.loads(to_jsonl([answer(together=(unknown,))]))["together"][0]
    assert not {"heading_deg", "alone", "alone_m"} & set(told)


def test_json_says_how_far_what_they_say_together_spreads():
    spot = SharedSpot(turns="unknown", mean=ORIGIN, spread_m=3.456, first_share=0.9)
    given = replace(several(), spot=spot)
    told = json.loads(to_jsonl([given]))
    assert told["spot"] == {
        "turns": "unknown", "mean": {"lat": -12.25, "lon": 60.5}, "spread_m": 3.46
    }  # fmt: skip
    SpotFacts.model_validate(told["spot"])
    assert "spreads by 3 m about its middle" in to_table([given])
    assert "spreads" not in to_table([several()])


@pytest.mark.parametrize("name", TEXTS)
def test_every_format_says_that_several_photos_have_one_answer(name):
    written = FORMATS[name].write([several()])
    assert "2 photos of one spot have this one answer." in written
    assert "One of them was probably taken elsewhere: b.jpg." in written


def test_the_table_and_kml_have_a_line_for_each_photo():
    said = "a.jpg: adds 3.2 bits, looks at 123\u00b0, alone 40 m away"
    for written in (to_table([several()]), to_kml([several()])):
        assert said in written
        assert "b.jpg: adds 3.2 bits, looks at 123\u00b0, alone 40 m away, probably" in written


def test_geojson_has_a_point_for_each_photo_alone():
    first, second = features(to_geojson([several()]), "contribution")
    assert first["geometry"]["coordinates"][0] == ORIGIN.lon
    assert second["properties"]["photo"] == "x/b.jpg"
    lost = answer(together=(contribution(alone=None, alone_m=None),))
    (feature,) = features(to_geojson([lost]), "contribution")
    assert feature["geometry"] is None


def test_names_of_photos_of_a_spot_stay_text():
    written = to_kml([answer(together=(contribution(HOSTILE, foreign=0.9),))])
    assert ET.fromstring(written) is not None
    assert "<img src=x" not in written
    assert "\x07" not in explain_together([contribution(HOSTILE, foreign=0.9)])


def test_csv_stays_a_row_per_place():
    rows = list(csv.DictReader(io.StringIO(to_csv([known(), several()]))))
    assert len(rows) == 4


def test_the_service_says_the_same():
    told = json.loads(to_jsonl([answer(prior=prior_shift(), together=(contribution(),))]))
    PriorFacts.model_validate(told["prior"])
    ContributionFacts.model_validate(told["together"][0])
