"""Photos in, places out: one or many, with hints, in every format, calibrated or not."""

from __future__ import annotations

import base64
import json
import threading
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tests.index.regions import TOY, indexed
from tests.localization.test_calibration_record import KIND, calibration
from tests.service.conftest import jpeg, photos
from tests.toy_embedder import ToyEmbedder, toy_info

from crossview.index.store import Index, write_manifest
from crossview.localization.belief import locate_together
from crossview.localization.hints import Hints
from crossview.localization.locate import locate
from crossview.service.regions import Regions
from crossview.service.responses import LocateAnswers
from crossview.views.decode import load_photo


def test_a_photo_gets_the_places_that_locate_gives(client, folder):
    answer = client.post("/v1/locate?places=3", files=photos(jpeg())).json()["answers"][0]
    expected = locate(Index.open(folder), load_photo(jpeg(), name="0.jpg"), embedder=TOY)
    assert [p["window"] for p in answer["places"]] == [p.window for p in expected.places[:3]]
    assert answer["places"][0]["score"] == pytest.approx(expected.places[0].score, abs=1e-5)
    assert answer["sha256"] == expected.sha256


def test_an_answer_matches_the_openapi_document(client):
    response = client.post("/v1/locate?heat=true&view=true", files=photos(jpeg())).json()
    record = LocateAnswers.model_validate(response)
    assert record.answers[0].heat
    assert record.answers[0].view.startswith("data:image/jpeg;base64,")


def test_a_picture_may_be_the_whole_body(client):
    response = client.post("/v1/locate", content=jpeg(), headers={"Content-Type": "image/jpeg"})
    assert response.json()["answers"][0]["photo"] == "photo"


def test_of_several_photos_the_unreadable_ones_are_listed_apart(client):
    response = client.post("/v1/locate", files=photos(jpeg(1), b"nothing", jpeg(2))).json()
    assert [a["photo"] for a in response["answers"]] == ["0.jpg", "2.jpg"]
    assert [p["photo"] for p in response["problems"]] == ["1.jpg"]
    assert response["problems"][0]["code"] == "bad-image"


def test_if_no_photo_can_be_read_the_request_is_refused(client):
    response = client.post("/v1/locate", files=photos(b"nothing"))
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert "0.jpg" in response.json()["detail"]


def test_an_area_restricts_the_places(client):
    everywhere = client.post("/v1/locate?places=50", files=photos(jpeg())).json()["answers"][0]
    last = everywhere["places"][-1]
    near = {"near": f"{last['lat']},{last['lon']}", "within": 0.01}
    response = client.post("/v1/locate", params=near, files=photos(jpeg())).json()["answers"][0]
    assert [p["window"] for p in response["places"]] == [last["window"]]


def test_a_prior_weighs_and_the_answer_says_how_far_the_photo_moved_it(client):
    first = client.post("/v1/locate", files=photos(jpeg())).json()["answers"][0]["places"][0]
    near = {"near": f"{first['lat']},{first['lon']}", "sigma_m": 25}
    answer = client.post("/v1/locate", params=near, files=photos(jpeg())).json()["answers"][0]
    assert answer["prior"]["source"] == "given"
    assert answer["prior"]["sigma_m"] == 25.0
    assert answer["prior"]["first_moved_m"] < 5.0
    asked = client.post("/v1/locate", params={"prior": "gps"}, files=photos(jpeg())).json()
    assert any("no prior" in text for text in asked["answers"][0]["assumptions"])


def square(index, row, half_deg):
    """A GeoJSON Polygon about a window, as text."""
    lat, lon = float(index.lat[row]), float(index.lon[row])
    turns = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
    ring = [[lon + half_deg * x, lat + half_deg * y] for x, y in turns]
    return json.dumps({"type": "Polygon", "coordinates": [ring]})


def test_polygons_restrict_the_places(client, folder):
    index = Index.open(folder)
    query = {"area": square(index, 7, 0.00001)}
    response = client.post("/v1/locate", params=query, files=photos(jpeg())).json()["answers"][0]
    assert [p["window"] for p in response["places"]] == [7]


def test_a_claim_is_answered_with_where_it_stands(client, folder):
    index = Index.open(folder)
    query = {"claim": str(index.footprint(7).centre)}
    for path, ending in (("/v1/locate", ""), ("/v1/locate", "&format=geojson")):
        response = client.post(f"{path}?claim={query['claim']}{ending}", files=photos(jpeg()))
        expected = locate(
            index, load_photo(jpeg(), name="0.jpg"), hints=Hints(**query), embedder=TOY
        ).claim.standing
        if ending:
            (told,) = [
                f["properties"]
                for f in response.json()["features"]
                if f["properties"]["role"] == "claim"
            ]
        else:
            told = LocateAnswers.model_validate(response.json()).answers[0].claim.model_dump()
        assert (told["rank"], told["window"]) == (expected.rank, expected.window)
        assert told["windows"] == index.count


def test_a_claim_outside_of_the_region_is_an_answer(client):
    answer = client.post("/v1/locate?claim=10,10", files=photos(jpeg())).json()["answers"][0]
    assert answer["claim"]["inside"] is False
    assert "rank" not in answer["claim"]
    assert "outside of this region" in answer["claim"]["says"]
    assert len(answer["places"]) > 1


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"claim": "1"}, "latitude and longitude"),
        ({"claim": "95,1"}, "latitude must lie"),
        ({"area": "nonsense"}, "no GeoJSON"),
        ({"area": '{"type": "Point", "coordinates": [1, 2]}'}, "'Point', which is no area"),
        ({"area": '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}'},
         "crosses itself"),
        ({"area": '{"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 0]]]}'},
         "no window of the index lies in the area"),
        ({"area": "x" * 20_001}, "at most 20000"),
        ({"language": "xx"}, "Unknown language"),
    ],
)  # fmt: skip
def test_unusable_claims_and_areas_are_refused_with_a_reason(client, query, said):
    response = client.post("/v1/locate", params=query, files=photos(jpeg()))
    assert response.status_code == 422
    assert said in response.json()["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "fov=0", "fov=nan", "fov=inf", "heading=361", "near=1", "near=1,2", "within=3", "places=0",
        "near=95,2&within=1", "format=pdf", "nonsense=1", "heading=10", "heading_sigma=20",
        "heading=10&heading_sigma=61", "near=60,60&within=1", "near=60,60&sigma_m=30",
        "near=1,2&sigma_m=0", "sigma_m=30", "prior=exif", "near=1,2&sigma_m=30&prior=gps",
    ],
)  # fmt: skip
def test_unusable_hints_are_refused_with_a_reason(client, query):
    response = client.post(f"/v1/locate?{query}", files=photos(jpeg()))
    assert response.status_code == 422
    assert len(response.json()["detail"]) > 10


def test_an_unknown_region_is_named_with_those_that_exist(client):
    response = client.post("/v1/locate?region=atlantis", files=photos(jpeg()))
    assert response.status_code == 404
    assert "region" in response.json()["detail"]


def test_geojson_kml_and_csv_hold_the_same_places(client):
    def record(kind):
        return client.post(f"/v1/locate?places=2&format={kind}", files=photos(jpeg()))

    places = record("json").json()["answers"][0]["places"]
    points = json.loads(record("geojson").text)["features"]
    assert [f["geometry"]["coordinates"] for f in points] == [[p["lon"], p["lat"]] for p in places]
    assert record("kml").text.count("<Placemark>") == 2
    rows = record("csv").text.splitlines()
    assert [row.split(",")[2] for row in rows[1:]] == [str(p["lat"]) for p in places]


def test_a_name_that_a_spreadsheet_would_run_is_defused(client):
    response = client.post("/v1/locate?format=csv&places=1", files=photos(("=1+1.jpg", jpeg())))
    assert response.text.splitlines()[1].startswith("'=1+1.jpg,")


def test_the_heat_layer_holds_the_best_windows(client):
    response = client.post("/v1/heat?most=5", files=photos(jpeg())).json()
    scores = [f["properties"]["score"] for f in response["features"]]
    best = client.post("/v1/locate?places=1", files=photos(jpeg())).json()["answers"][0]["places"]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 5
    assert scores[0] == best[0]["score"]


def test_a_heat_layer_is_of_one_photo(client):
    assert client.post("/v1/heat", files=photos(jpeg(), jpeg(1))).status_code == 422


def test_the_direction_in_a_photo_is_used_reported_and_ignored_on_request(served, tmp_path):
    toy = ToyEmbedder(toy_info(azimuth_bins=8))
    indexed(tmp_path, embedder=toy, stride_m=40.0)
    client = served(regions=Regions([tmp_path / "region.cvx"], lambda _index: toy))
    exif = Image.Exif()
    exif[0x8825] = {16: "M", 17: 90.0}
    record = {}
    for query in ("", "?ignore_direction=true", "?heading=270&heading_sigma=15"):
        response = client.post(f"/v1/locate{query}", files=photos(jpeg(exif=exif)))
        record[query] = LocateAnswers.model_validate(response.json()).answers[0]
    used, ignored, explicit = record.values()
    assert used.heading_source == "GPSImgDirection"
    assert any("90 degrees from magnetic north) used" in text for text in used.assumptions)
    assert {round(place.heading_deg / 45) % 8 for place in used.places} <= {1, 2, 3}
    assert ignored.heading_source is None
    assert any("ignored, as asked" in text for text in ignored.assumptions)
    assert explicit.heading_source == "given"
    assert any("headings within 45 degrees" in text for text in explicit.assumptions)
    assert "which way" in ignored.advice
    assert (used.advice, explicit.advice) == (None, None)
    assert any("tells another direction" in text for text in explicit.assumptions)
    assert client.post("/v1/locate?ignore_direction=7", files=photos(jpeg())).status_code == 422


@pytest.mark.parametrize(
    "query", ["fov=5e-324&heading=-360", "fov=5e-324", "fov=1e-300", "fov=0", "fov=nan",
              "fov=inf", "fov=360.01", "heading=nan", "heading=361", "near=nan,nan&within=1",
              "near=1,2&within=nan", "near=1,2&within=0", "near=1,2&within=inf"],
)  # fmt: skip
def test_an_impossible_number_is_refused(client, query):
    answer = client.post(f"/v1/locate?{query}", files=photos(jpeg()))
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid-value"


def test_the_api_takes_the_fields_of_view_that_the_command_line_takes(client):
    schema = client.get("/v1/openapi.json").json()["paths"]["/v1/locate"]["post"]["parameters"]
    fov = next(one["schema"] for one in schema if one["name"] == "fov")
    limits = next(one for one in fov["anyOf"] if one["type"] == "number")
    for value in (limits["minimum"], limits["maximum"]):
        assert Hints(fov_deg=value).fov_deg == value


@pytest.fixture
def calibrated(tmp_path, served):
    """The answer of a region whose calibration refuses what is below some evidence."""

    def make(refused_below):
        index = indexed(tmp_path, stride_m=40.0)
        fit = replace(KIND.fit, refused_below=refused_below)
        known = calibration(replace(KIND, fov_deg=(360.0, 360.0), assumed=False, fit=fit))
        write_manifest(index.path, replace(index.manifest, calibration=known.to_json()))
        client = served(regions=Regions([index.path], lambda _: TOY))
        response = client.post("/v1/locate?heat=true", files=photos(jpeg())).json()
        heat = client.post("/v1/heat?most=1000", files=photos(jpeg())).json()
        return LocateAnswers.model_validate(response).answers[0], heat["features"]

    return make


def test_the_heat_is_the_posterior_and_sums_to_the_probability_of_the_region(calibrated):
    answer, points = calibrated(-1e9)
    assert answer.heat.of == "posterior"
    total = sum(point["properties"]["probability"] for point in points)
    assert total == pytest.approx(1.0 - answer.calibrated.elsewhere, abs=1e-3)
    assert answer.places[0].probability is not None


def test_the_area_lists_its_windows_and_holds_the_best(calibrated):
    answer, points = calibrated(-1e9)
    for area in answer.calibrated.areas:
        windows = np.frombuffer(base64.b64decode(area.windows), "<u4")
        assert points[0]["properties"]["window"] in windows


def test_probably_not_here_comes_with_its_rate_of_false_rejects(calibrated):
    answer, _ = calibrated(1e9)
    assert answer.calibrated.refused
    assert answer.calibrated.false_reject == 0.05
    assert "5 %" in answer.confidence


def test_without_a_calibration_there_is_no_probability(client):
    response = client.post("/v1/locate?heat=true", files=photos(jpeg())).json()["answers"][0]
    assert "calibrated" not in response
    assert response["heat"]["of"] == "scores"
    assert "probability" not in response["places"][0]


def code_of(answer):
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


class Stuck:
    """A network that waits until it is told to go on."""

    def __init__(self):
        self.info, self.fingerprint, self.aerial = TOY.info, TOY.fingerprint, TOY.aerial
        self.go, self.began = threading.Event(), threading.Event()

    def ground(self, images):
        self.began.set()
        self.go.wait(20)
        return TOY.ground(images)


def ask(client, count, response):
    response.append(client.post("/v1/locate", files=photos(*[jpeg()] * count)).status_code)


def test_beyond_the_queue_there_are_429s_and_nothing_else(served, folder):
    stuck = Stuck()
    client = served(
        regions=Regions([folder], lambda _: stuck), max_files=4, queue_photos=4, batch=1
    )
    response = []
    threads = [threading.Thread(target=ask, args=(client, 2, response)) for _ in range(12)]
    for thread in threads:
        thread.start()
    stuck.began.wait(20)
    refused = client.post("/v1/locate", files=photos(*[jpeg()] * 4))
    stuck.go.set()
    for thread in threads:
        thread.join()
    assert code_of(refused) == (429, "busy")
    assert int(refused.headers["Retry-After"]) >= 1
    assert set(response) <= {200, 429}
    assert 200 in response


def test_a_request_that_takes_too_long_is_ended(served, folder):
    stuck = Stuck()
    client = served(regions=Regions([folder], lambda _: stuck), timeout_s=0.2)
    response = client.post("/v1/locate", files=photos(jpeg()))
    stuck.go.set()
    assert code_of(response) == (503, "too-long")
    assert client.get("/v1/health").status_code == 200


# Photos of one spot.


def test_photos_of_one_spot_get_the_answer_that_locate_together_gives(client, folder):
    names, turns = ("0.jpg", "1.jpg"), [0.0, 90.0]
    taken = [load_photo(jpeg(n), name=name) for n, name in enumerate(names)]
    expected = locate_together(Index.open(folder), TOY, taken, Hints(places=3), turns)
    body = client.post("/v1/together?turns=0,90&places=3", files=photos(jpeg(0), jpeg(1))).json()
    (answer,) = LocateAnswers.model_validate(body).answers
    assert [p.window for p in answer.places] == [p.window for p in expected.places]
    assert [one.photo for one in answer.together] == list(names)
    assert [one.bits for one in answer.together] == pytest.approx(
        [one.bits for one in expected.together], abs=0.01
    )
    assert answer.spot.turns == expected.spot.turns
    assert not body["problems"]


def test_a_photo_of_a_spot_that_cannot_be_read_is_left_out_with_its_turn(client, folder):
    sent = photos(jpeg(0), b"nothing", jpeg(1))
    body = client.post("/v1/together?turns=0,45,90", files=sent).json()
    assert [p["photo"] for p in body["problems"]] == ["1.jpg"]
    alone = client.post("/v1/together?turns=0,90", files=photos(jpeg(0), jpeg(1))).json()
    pair = [each["answers"][0]["places"] for each in (body, alone)]
    assert pair[0] == pair[1]
    unreadable = client.post("/v1/together", files=photos(jpeg(0), b"nothing"))
    assert unreadable.status_code == 422
    assert "1.jpg" in unreadable.json()["detail"]


@pytest.mark.parametrize(
    ("query", "sent", "said"),
    [
        ("", 1, "2 to"),
        ("?turns=0,90,180", 2, "one for each"),
        ("?turns=left,right", 2, "0,90,180,270"),
        ("?heading=10", 2, "belongs to one photo"),
    ],
)
def test_what_cannot_be_a_spot_is_refused_and_nothing_is_held(client, query, sent, said):
    response = client.post(f"/v1/together{query}", files=photos(*map(jpeg, range(sent))))
    assert response.status_code == 422
    assert said in response.json()["detail"]
    assert client.app.state.service.memory.used_bytes == 0


def test_a_spot_is_written_as_a_file_too(client):
    response = client.post("/v1/together?format=geojson", files=photos(jpeg(0), jpeg(1)))
    assert response.headers["content-type"].startswith("application/geo+json")
    assert response.json()["features"]
