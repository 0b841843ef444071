"""Photos in, places out: one or many, with hints, in every format."""

import json

import pytest
from PIL import Image
from tests.index.regions import TOY, indexed
from tests.service.conftest import jpeg, photos
from tests.toy_embedder import ToyEmbedder, toy_info

from crossview.index.store import Index
from crossview.localization.locate import locate
from crossview.service.regions import Regions
from crossview.service.schemas import LocateAnswers
from crossview.views.decode import load_photo


def test_a_photo_gets_the_places_that_locate_gives(client, folder):
    answer = client.post("/v1/locate?places=3", files=photos(jpeg())).json()["answers"][0]
    expected = locate(Index.open(folder), load_photo(jpeg(), name="0.jpg"), embedder=TOY)
    assert [p["window"] for p in answer["places"]] == [p.window for p in expected.places[:3]]
    assert answer["places"][0]["score"] == pytest.approx(expected.places[0].score, abs=1e-5)
    assert answer["sha256"] == expected.sha256


def test_an_answer_is_what_the_document_says(client):
    found = client.post("/v1/locate?heat=true&view=true", files=photos(jpeg())).json()
    told = LocateAnswers.model_validate(found)
    assert told.answers[0].heat
    assert told.answers[0].view.startswith("data:image/jpeg;base64,")


def test_a_picture_may_be_the_whole_body(client):
    found = client.post("/v1/locate", content=jpeg(), headers={"Content-Type": "image/jpeg"})
    assert found.json()["answers"][0]["photo"] == "photo"


def test_of_several_photos_the_unreadable_ones_are_listed_apart(client):
    found = client.post("/v1/locate", files=photos(jpeg(1), b"nothing", jpeg(2))).json()
    assert [a["photo"] for a in found["answers"]] == ["0.jpg", "2.jpg"]
    assert [p["photo"] for p in found["problems"]] == ["1.jpg"]
    assert found["problems"][0]["code"] == "bad-image"


def test_if_no_photo_can_be_read_the_request_is_refused(client):
    found = client.post("/v1/locate", files=photos(b"nothing"))
    assert found.status_code == 422
    assert found.headers["content-type"] == "application/problem+json"
    assert "0.jpg" in found.json()["detail"]


def test_an_area_restricts_the_places(client):
    everywhere = client.post("/v1/locate?places=50", files=photos(jpeg())).json()["answers"][0]
    last = everywhere["places"][-1]
    near = {"near": f"{last['lat']},{last['lon']}", "within": 0.01}
    found = client.post("/v1/locate", params=near, files=photos(jpeg())).json()["answers"][0]
    assert [p["window"] for p in found["places"]] == [last["window"]]


@pytest.mark.parametrize(
    "query",
    [
        "fov=0", "fov=nan", "fov=inf", "heading=361", "near=1", "near=1,2", "within=3", "places=0",
        "near=95,2&within=1", "format=pdf", "nonsense=1", "heading=10", "near=60,60&within=1",
    ],
)  # fmt: skip
def test_hints_that_cannot_be_used_are_refused_in_words(client, query):
    found = client.post(f"/v1/locate?{query}", files=photos(jpeg()))
    assert found.status_code == 422
    assert len(found.json()["detail"]) > 10


def test_an_unknown_region_is_named_with_those_that_exist(client):
    found = client.post("/v1/locate?region=atlantis", files=photos(jpeg()))
    assert found.status_code == 404
    assert "region" in found.json()["detail"]


def test_geojson_kml_and_csv_hold_the_same_places(client):
    def told(kind):
        return client.post(f"/v1/locate?places=2&format={kind}", files=photos(jpeg()))

    places = told("json").json()["answers"][0]["places"]
    points = json.loads(told("geojson").text)["features"]
    assert [f["geometry"]["coordinates"] for f in points] == [[p["lon"], p["lat"]] for p in places]
    assert told("kml").text.count("<Placemark>") == 2
    rows = told("csv").text.splitlines()
    assert [row.split(",")[2] for row in rows[1:]] == [str(p["lat"]) for p in places]


def test_a_name_that_a_spreadsheet_would_run_is_defused(client):
    found = client.post("/v1/locate?format=csv&places=1", files=photos(("=1+1.jpg", jpeg())))
    assert found.text.splitlines()[1].startswith("'=1+1.jpg,")


def test_the_heat_layer_holds_the_best_windows(client):
    found = client.post("/v1/heat?most=5", files=photos(jpeg())).json()
    scores = [f["properties"]["score"] for f in found["features"]]
    best = client.post("/v1/locate?places=1", files=photos(jpeg())).json()["answers"][0]["places"]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 5
    assert scores[0] == best[0]["score"]


def test_a_heat_layer_is_of_one_photo(client):
    assert client.post("/v1/heat", files=photos(jpeg(), jpeg(1))).status_code == 422


def test_the_direction_in_a_photo_is_used_told_and_ignored_when_asked(served, tmp_path):
    toy = ToyEmbedder(toy_info(azimuth_bins=8))
    indexed(tmp_path, embedder=toy, stride_m=40.0)
    client = served(regions=Regions([tmp_path / "region.cvx"], lambda _index: toy))
    exif = Image.Exif()
    exif[0x8825] = {16: "M", 17: 90.0}
    told = {}
    for query in ("", "?ignore_direction=true", "?heading=270"):
        found = client.post(f"/v1/locate{query}", files=photos(jpeg(exif=exif)))
        told[query] = LocateAnswers.model_validate(found.json()).answers[0]
    used, ignored, given = told.values()
    assert used.heading_source == "GPSImgDirection"
    assert any("90 degrees from magnetic north) used" in text for text in used.assumptions)
    assert {round(place.heading_deg / 45) % 8 for place in used.places} <= {1, 2, 3}
    assert ignored.heading_source is None
    assert any("ignored, as asked" in text for text in ignored.assumptions)
    assert given.heading_source == "given"
    assert any("tells another direction" in text for text in given.assumptions)
    assert client.post("/v1/locate?ignore_direction=7", files=photos(jpeg())).status_code == 422
