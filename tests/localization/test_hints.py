"""Headings that files tell: used where the model can, how freely, and what is said of it."""

from dataclasses import replace

import numpy as np
import pytest
from tests.localization.fake_index import index_of_panoramas, spheres, toy, turned
from tests.localization.test_calibration_record import KIND, calibration

from crossview.errors import InvalidValue
from crossview.localization.hints import Hints, choose_heading
from crossview.localization.locate import locate
from crossview.localization.queries import find_common_bearing, prepare_query
from crossview.localization.search import price_turns
from crossview.views.decode import make_photo
from crossview.views.exif import COMPASS_SIGMA_DEG, POSE_SIGMA_DEG, Heading

EMBEDDER = toy(bins=32, dim=32 * 8)  # turns of 11.25 degrees
PANORAMAS = spheres(12)
INDEX = index_of_panoramas(PANORAMAS, EMBEDDER)


def compass(degrees, north="true"):
    return Heading(
        degrees=degrees, sigma_deg=COMPASS_SIGMA_DEG, north=north, source="GPSImgDirection"
    )


def pose(degrees):
    return Heading(
        degrees=degrees, sigma_deg=POSE_SIGMA_DEG, north="unknown", source="PoseHeadingDegrees"
    )


def photo(heading, pixels=PANORAMAS[3]):
    return replace(make_photo(pixels), heading=heading)


def find(picture, index=INDEX, embedder=EMBEDDER, **hints):
    return locate(index, picture, hints=Hints(**hints), embedder=embedder)


def headings(answer):
    return {place.heading_deg for place in answer.places}


def find_turn(place):
    """The turn of the model, 11.25 degrees apart, that a place's heading is nearest to."""
    return 11.25 * round(place.heading_deg / 11.25) % 360.0


@pytest.mark.parametrize(
    ("heading", "slack"), [(pose(0.0), 15.0), (compass(0.0), 60.0), (None, 15.0)]
)
def test_three_sigmas_are_looked_at_and_a_heading_given_by_hand_is_good_to_five_degrees(
    heading, slack
):
    hints = Hints(heading_deg=0.0) if heading is None else Hints()
    query = prepare_query(photo(heading), hints, EMBEDDER.info)
    assert query.heading.slack_deg == slack
    costs = price_turns(query, np.zeros(1), 360)[0]
    turns = (np.flatnonzero(np.isfinite(costs)) + 180) % 360 - 180
    assert (turns.min(), turns.max(), len(turns)) == (-slack, slack, 2 * slack + 1)


def test_a_person_may_say_how_good_a_heading_is():
    given = choose_heading(None, Hints(heading_deg=10.0, heading_sigma_deg=20.0), EMBEDDER.info, 90)
    assert (given.heading.sigma_deg, given.heading.slack_deg) == (20.0, 60.0)
    picture = turned(PANORAMAS[3], 90.0)
    near = find(picture, heading_deg=135.0, heading_sigma_deg=20.0)
    assert (near.places[0].window, near.places[0].heading_deg) == (3, 90.0)
    assert 90.0 not in headings(find(picture, heading_deg=135.0, heading_sigma_deg=10.0))
    everywhere = find(picture, heading_deg=270.0, heading_sigma_deg=60.0)
    lost = find(picture).scores - everywhere.scores
    assert lost.min() >= -1e-6
    assert lost.max() <= 0.02 * 3.0**2 / 2.0 + 1e-6  # half a turn is three deviations
    assert lost[3] == pytest.approx(0.02 * 3.0**2 / 2.0)


@pytest.mark.parametrize(
    ("hints", "told"),
    [
        ({"heading_sigma_deg": 20.0}, "needs the heading"),
        ({"heading_deg": 1.0, "heading_sigma_deg": 0.0}, r"\(0, 60\] degrees"),
        ({"heading_deg": 1.0, "heading_sigma_deg": 61.0}, "leave it out"),
        ({"heading_deg": 1.0, "heading_sigma_deg": float("nan")}, r"\(0, 60\] degrees"),
        ({"heading_deg": 1.0, "heading_sigma_deg": "20"}, "must be a number"),
    ],
)
def test_how_good_a_heading_is_must_be_possible_and_have_a_heading(hints, told):
    with pytest.raises(InvalidValue, match=told):
        Hints(**hints)


def test_a_heading_that_is_given_is_said_to_be_used():
    said = "heading given: 350 degrees, taken as good to {}; headings within {} degrees of it are "
    assert f"{said.format(5, 15)}looked at" in find(PANORAMAS[3], heading_deg=-10).assumptions
    rough = find(PANORAMAS[3], heading_deg=350.0, heading_sigma_deg=20.0)
    assert f"{said.format(20, 60)}looked at" in rough.assumptions


def test_a_heading_is_asked_for_only_where_none_is_known_and_one_would_help():
    assert find(PANORAMAS[3]).heading_wanted
    assert find(photo(compass(10.0)), ignore_direction=True).heading_wanted
    assert not find(PANORAMAS[3], heading_deg=0.0).heading_wanted
    assert not find(photo(compass(10.0))).heading_wanted
    blind = toy(bins=1)
    index = index_of_panoramas(PANORAMAS, blind)
    assert not find(PANORAMAS[3], index, blind).heading_wanted
    assert not find(photo(compass(10.0)), index, blind).heading_wanted


def test_where_no_turn_is_near_enough_the_nearest_is_looked_at():
    query = prepare_query(photo(pose(100.0)), Hints(), EMBEDDER.info)
    assert np.flatnonzero(np.isfinite(price_turns(query, np.zeros(1), 4)[0])).tolist() == [1]


@pytest.mark.parametrize("up", [0.0, -1.7, 5.0, 178.0])
@pytest.mark.parametrize("heading", [0.0, 3.0, 5.6, 90.0, 123.4, 359.0, -47.0])
def test_a_heading_that_is_given_is_one_of_the_turns_to_half_a_column(heading, up):
    """Turns are 11.25 degrees apart, columns 5.6: the strip is turned by what is between."""
    half_column = 180.0 / EMBEDDER.info.ground.width_px
    index = index_of_panoramas(PANORAMAS, EMBEDDER, up_bearing_deg=up)
    picture = turned(PANORAMAS[3], heading - up)
    first = find(picture, index, heading_deg=heading).places[0]
    assert first.window == 3
    assert abs((first.heading_deg - heading + 180.0) % 360.0 - 180.0) <= half_column + 0.01
    assert first.score > 0.94  # if no strip is turned, down to 0.71


def test_a_strip_is_turned_for_a_heading_that_is_given_only_and_its_sector_with_it():
    part = replace(make_photo(np.ascontiguousarray(PANORAMAS[3][:, 192:320])), fov_deg=90.0)
    query = prepare_query(part, Hints(heading_deg=5.0), EMBEDDER.info)
    still = prepare_query(part, Hints(), EMBEDDER.info)
    assert (query.turned_deg, still.turned_deg) == (5.625, 0.0)
    np.testing.assert_array_equal(query.strips[0], np.roll(still.strips[0], 1, axis=1))
    from_file = prepare_query(replace(part, heading=pose(5.0)), Hints(), EMBEDDER.info)
    assert from_file.turned_deg == 0.0
    first = find(turned(PANORAMAS[3], 5.0)[:, 192:320], fov_deg=90.0, heading_deg=5.0).places[0]
    assert (first.window, first.heading_deg) == (3, 5.625)


def test_turns_off_a_heading_that_is_given_cost_what_they_are_unlikely():
    """Half the square of how many standard deviations they are off, in fiftieths of a cosine."""
    query = prepare_query(photo(None), Hints(heading_deg=90.0), EMBEDDER.info)
    costs = price_turns(query, np.zeros(1), 360)[0]
    for off in (0, 5, 10, 15):
        assert costs[90 + off] == costs[90 - off] == pytest.approx(0.02 * (off / 5.0) ** 2 / 2.0)
    assert np.isinf(costs[90 + 16])
    rough = price_turns(query, np.array([0.0, 4.0]), 36)  # no turn of the other grid is nearer
    assert rough.min(axis=1).tolist() == [0.0, 0.0]
    assert rough[1, 8] == pytest.approx(0.02 * (6.0**2 - 4.0**2) / 5.0**2 / 2.0)
    told = prepare_query(photo(pose(90.0)), Hints(), EMBEDDER.info)
    within = price_turns(told, np.zeros(1), 360)[0][75:106]
    np.testing.assert_array_equal(within, 0.0)


def test_a_place_that_needs_another_turn_yields_to_one_at_the_heading():
    """Window 1 shows what the photo shows, turned by one turn; window 0 almost the same, as is."""
    faded = (PANORAMAS[3] * 0.97 + 255 * 0.03).astype(np.uint8)
    index = index_of_panoramas([faded, turned(PANORAMAS[3], -11.25)], EMBEDDER)
    free = find(PANORAMAS[3], index)
    assert (free.places[0].window, find_turn(free.places[0])) == (1, 11.25)
    known = find(PANORAMAS[3], index, heading_deg=0.0)
    assert (known.places[0].window, known.places[0].heading_deg) == (0, 0.0)


@pytest.mark.parametrize(
    ("bearings", "common"), [([2.0, 2.2], 2.1), ([-1.7, -1.3], -1.5), ([89.0, -1.0], -1.0)]
)
def test_where_up_points_is_averaged_from_turn_to_turn(bearings, common):
    index = index_of_panoramas(PANORAMAS[: len(bearings)], EMBEDDER)
    index.up_bearing_deg = np.array(bearings)
    assert find_common_bearing(index, 36) == pytest.approx(common, abs=1e-6)


def test_a_direction_in_the_file_excludes_turns_far_from_it():
    picture = turned(PANORAMAS[3], 90.0)
    right = find(photo(compass(130.0), picture))
    assert (right.places[0].window, find_turn(right.places[0])) == (3, 90.0)
    assert right.heading_source == "GPSImgDirection"
    wrong = find(photo(compass(270.0), picture))
    assert set(map(find_turn, wrong.places)) <= set(np.arange(213.75, 327.0, 11.25))
    narrow = find(photo(pose(270.0), picture))
    assert set(map(find_turn, narrow.places)) <= {258.75, 270.0, 281.25}
    assert all(255.0 <= place.heading_deg <= 285.0 for place in narrow.places)


@pytest.mark.parametrize(
    ("heading", "said"),
    [
        (
            compass(130.0),
            "direction in the file (GPSImgDirection, 130 degrees from true north) used as a hint: "
            "taken as good to 20 degrees; headings within 60 degrees of it are looked at",
        ),
        (
            compass(130.0, "magnetic"),
            "direction in the file (GPSImgDirection, 130 degrees from magnetic north) used as a "
            "hint: taken as good to 20 degrees, taken as if from true north; headings within 60 "
            "degrees of it are looked at",
        ),
        (
            pose(130.0),
            "direction in the file (PoseHeadingDegrees, 130 degrees) used as a hint: taken as good "
            "to 5 degrees, from true or magnetic north is not told; headings within 15 degrees of "
            "it are looked at",
        ),
    ],
)
def test_the_answer_says_whose_heading_how_good_and_from_which_north(heading, said):
    assert said in find(photo(heading)).assumptions


def test_a_direction_is_ignored_when_asked_and_that_is_said():
    picture = photo(compass(270.0), turned(PANORAMAS[3], 90.0))
    answer = find(picture, ignore_direction=True)
    assert (find_turn(answer.places[0]), answer.heading_source) == (90.0, None)
    (said,) = [text for text in answer.assumptions if "direction" in text]
    assert said == (
        "direction in the file (GPSImgDirection, 270 degrees from true north) ignored, as asked"
    )
    np.testing.assert_array_equal(answer.scores, find(picture.pixels).scores)


@pytest.mark.parametrize(("given", "told"), [(149.0, False), (151.0, True), (-140.0, True)])
def test_a_heading_that_is_given_wins_and_the_answer_says_what_the_file_said(given, told):
    answer = find(photo(compass(90.0)), heading_deg=given)
    assert answer.heading_source == "given"
    about = [text for text in answer.assumptions if "the file tells another direction" in text]
    assert len(about) == told
    assert all("GPSImgDirection, 90 degrees" in text for text in about)
    assert headings(answer) <= headings(find(PANORAMAS[3], heading_deg=given, places=12))


def test_a_model_that_cannot_use_the_direction_in_a_file_says_so_and_goes_on():
    embedder = toy(bins=1)
    index = index_of_panoramas(PANORAMAS, embedder)
    answer = find(photo(compass(40.0)), index, embedder)
    assert (answer.places[0].window, answer.heading_source) == (3, None)
    (said,) = [text for text in answer.assumptions if "direction" in text]
    assert "not used: the model 'toy' cannot use a heading" in said
    with pytest.raises(InvalidValue, match="cannot use a heading"):
        find(photo(compass(40.0)), index, embedder, heading_deg=40.0)


def test_an_aligned_model_is_shown_the_north_that_the_file_tells():
    embedder = toy(bins=1, headings_seen="aligned")
    index = index_of_panoramas(PANORAMAS, embedder)
    answer = find(photo(pose(90.0), turned(PANORAMAS[5], 90.0)), index, embedder)
    assert (answer.places[0].window, answer.heading_source) == (5, "PoseHeadingDegrees")
    assert answer.places[0].score == pytest.approx(1.0, abs=1e-4)
    assert answer.warnings == ()
    assert not any("north assumed" in text or "looked at" in text for text in answer.assumptions)
    narrow = toy(
        bins=1,
        headings_seen="aligned",
        ground=replace(embedder.info.ground, representation="narrow"),
    )
    part = replace(photo(pose(90.0)), fov_deg=90.0, kind="perspective")
    told = find(part, index_of_panoramas(PANORAMAS, narrow), narrow)
    assert any("not used: the model 'toy' cannot use the heading of a photo" in text
               for text in told.assumptions)  # fmt: skip
    assert "north assumed in the middle of the picture" in told.assumptions


def test_a_calibration_without_headings_says_nothing_of_a_photo_found_with_one(monkeypatch):
    monkeypatch.setattr(INDEX.manifest, "calibration", calibration().to_json())
    assert find(photo(None)).confidence is not None
    assert find(photo(compass(0.0)), ignore_direction=True).confidence is not None
    answer = find(photo(compass(0.0)))
    assert answer.confidence is None
    assert "--ignore-direction" in answer.unmeasured
    with_headings = calibration(replace(KIND, directed=True)).to_json()
    monkeypatch.setattr(INDEX.manifest, "calibration", with_headings)
    assert find(photo(compass(0.0))).confidence is not None
    assert find(photo(None)).confidence is None


def test_a_calibration_of_unknown_lenses_from_before_their_choice_changed_says_to_make_it_anew(
    monkeypatch,
):
    unknown = replace(KIND, name="photos of unknown lens", assumed=True)
    picture = np.ascontiguousarray(PANORAMAS[2][:, :340])
    now = calibration(unknown).to_json()
    monkeypatch.setattr(INDEX.manifest, "calibration", now)
    assert find(picture).confidence is not None
    for kind in now["kinds"]:
        del kind["fov_chosen_by"]
        del kind["directed"]
    answer = find(picture)
    assert answer.confidence is None
    assert "calibrate again" in answer.unmeasured


def test_a_calibration_of_photos_that_counted_as_level_says_to_make_it_anew(monkeypatch):
    lens = replace(KIND, name="photos of 85 degrees", fov_deg=(80.0, 90.0))
    picture = np.ascontiguousarray(PANORAMAS[2][:, :340])
    now = calibration(lens, KIND).to_json()
    monkeypatch.setattr(INDEX.manifest, "calibration", now)
    assert find(picture, fov_deg=85.0).confidence is not None
    for kind in now["kinds"]:
        del kind["tilted_by"]
    answer = find(picture, fov_deg=85.0)
    assert answer.confidence is None
    assert "counted as level; calibrate again" in answer.unmeasured
    assert find(photo(None)).confidence is not None  # nothing has changed for panoramas
