import sys
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.localization.fake_index import ORIGIN, index_of_panoramas, spheres, toy, turned
from tests.views.hard_photos import scan_bomb
from tests.views.scenes import draw_street

from crossview.errors import BadImage, InvalidValue, ModelMismatch
from crossview.geo.points import LatLon, measure_distance_m, move_point
from crossview.localization import queries
from crossview.localization.hints import Hints
from crossview.localization.locate import locate, locate_files, locate_many
from crossview.localization.queries import TRIED_FOV_DEG, Reading, choose_readings, prepare_query
from crossview.localization.refinement import OFFSET_REGRESSED
from crossview.localization.search import _choose_reading
from crossview.localization.skyline import SKYLINE_COMPARED
from crossview.views.decode import Photo, make_photo
from crossview.views.decoders import DecodingBudget
from crossview.views.horizon import Lines, Tilt
from crossview.views.lens import find_horizon_px, turn_lens

EMBEDDER = toy(ground=replace(toy().info.ground, elevation_deg=(-45.0, 45.0)))
PANORAMAS = spheres(20)
INDEX = index_of_panoramas(PANORAMAS, EMBEDDER)


def find(picture, index=INDEX, embedder=EMBEDDER, **hints):
    return locate(index, picture, hints=Hints(**hints), embedder=embedder)


def photo_out_of(panorama, fov_deg):
    """A picture [H, W, 3] of the panorama's middle, pinhole, 4:3."""
    width, height = 160, 120
    focal = width / 2 / np.tan(np.radians(fov_deg / 2))
    right = (np.arange(width) + 0.5 - width / 2)[None, :] / focal
    up = -(np.arange(height) + 0.5 - height / 2)[:, None] / focal
    azimuth, elevation = np.arctan2(right, 1.0), np.arctan2(up, np.hypot(1.0, right))
    rows, columns = panorama.shape[:2]
    column = ((azimuth / (2 * np.pi) + 0.5) * columns).astype(int) + 0 * elevation.astype(int)
    row = ((0.5 - elevation / np.pi) * rows).astype(int)
    return panorama[row, column]


@pytest.mark.parametrize("window", [0, 7, 19])
@pytest.mark.parametrize("turn", [0.0, 45.0, 270.0])
def test_a_turned_panorama_is_found_with_its_heading(window, turn):
    answer = find(turned(PANORAMAS[window], turn))
    first = answer.places[0]
    assert (first.window, first.rank, first.heading_deg) == (window, 1, turn)
    assert first.score == pytest.approx(1.0, abs=1e-5)
    assert measure_distance_m(first.latlon, INDEX.latlon(window)) < 1.0
    assert (answer.kind, answer.fov_source, answer.fov_deg) == ("panorama", "panorama", 360.0)
    assert answer.scores.shape == (20,)


def test_a_model_that_regresses_offsets_places_photos_within_their_windows():
    """A quarter of the window's 40 m up, an eighth to the right; and never beyond its rim."""
    regressing = copy(EMBEDDER)
    regressing.offset = lambda ground, aerial: np.tile(np.float32([-0.5, 0.25]), (len(ground), 1))
    answer = find(PANORAMAS[7], embedder=regressing)
    first = answer.places[0]
    assert first.window == 7
    assert OFFSET_REGRESSED in answer.assumptions
    expected = move_point(INDEX.latlon(7), east_m=5.0, north_m=10.0)
    assert measure_distance_m(first.latlon, expected) < 0.01
    regressing.offset = lambda ground, aerial: np.tile(np.float32([9.0, 0.0]), (len(ground), 1))
    rim = find(PANORAMAS[7], embedder=regressing).places[0].latlon
    assert measure_distance_m(rim, INDEX.latlon(7)) == pytest.approx(20.0, abs=0.01)
    assert OFFSET_REGRESSED not in find(PANORAMAS[7]).assumptions


@pytest.mark.parametrize("fov", [90.0, 135.0])
def test_a_photo_is_found_with_its_heading(fov):
    answer = find(photo_out_of(turned(PANORAMAS[4], 90.0), fov), fov_deg=fov)
    assert (answer.places[0].window, answer.places[0].heading_deg) == (4, 90.0)
    assert (answer.kind, answer.fov_source, answer.fov_deg) == ("perspective", "given", fov)


def test_with_no_field_of_view_known_the_best_of_several_is_kept_and_said():
    answer = find(photo_out_of(PANORAMAS[6], 80.0))
    assert answer.fov_source == "assumed"
    assert answer.fov_deg in (50.0, 65.0, 80.0, 100.0)
    assert any("field of view assumed" in text for text in answer.assumptions)
    assert answer.places[0].window == 6


def test_a_level_camera_is_an_assumption_until_the_horizon_is_given(monkeypatch):
    picture = photo_out_of(PANORAMAS[6], 80.0)
    assert find(picture, fov_deg=80.0, horizon_px=60.0).assumptions == ()
    hide_lines(monkeypatch)
    assert "level camera assumed" in find(picture, fov_deg=80.0).assumptions
    assert find(picture, fov_deg=80.0, horizon_px=60.0).assumptions == ()
    with pytest.raises(InvalidValue, match="horizon"):
        find(picture, fov_deg=80.0, horizon_px=4000.0)


def test_an_answer_says_when_skylines_were_compared(monkeypatch):
    assert SKYLINE_COMPARED not in find(PANORAMAS[3]).assumptions, "the index has no heights"

    def demote(index, embedder, query, result):
        return replace(result, scores=result.scores - 0.1)

    monkeypatch.setattr("crossview.localization.locate.check_skyline", demote)
    assert SKYLINE_COMPARED in find(PANORAMAS[3]).assumptions


def test_headings_count_from_true_north_where_up_is_not_north():
    index = index_of_panoramas(PANORAMAS, EMBEDDER, up_bearing_deg=3.5)
    assert find(turned(PANORAMAS[3], 90.0), index).places[0].heading_deg == pytest.approx(93.5)


def test_a_known_heading_excludes_other_turns():
    picture = turned(PANORAMAS[3], 90.0)
    right = find(picture, heading_deg=92.0)
    assert (right.places[0].window, right.places[0].heading_deg) == (3, 90.0)
    wrong = find(picture, heading_deg=-90.0)
    assert {place.heading_deg for place in wrong.places} == {270.0}
    assert wrong.places[0].score < 0.9


def test_a_heading_that_falls_between_two_turns_is_a_turn_of_its_own():
    """Of turns 45 degrees apart and columns of 5.6."""
    first = find(turned(PANORAMAS[3], 67.5), heading_deg=68.0).places[0]
    assert (first.window, first.heading_deg) == (3, 67.5)
    assert first.score > 0.99


def test_a_model_that_cannot_use_a_heading_says_why():
    embedder = toy(bins=1)
    index = index_of_panoramas(PANORAMAS, embedder)
    with pytest.raises(InvalidValue, match="cannot use a heading"):
        find(PANORAMAS[0], index, embedder, heading_deg=10.0)


def test_an_aligned_model_is_shown_north_in_the_middle():
    embedder = toy(bins=1, headings_seen="aligned")
    index = index_of_panoramas(PANORAMAS, embedder)
    answer = find(turned(PANORAMAS[5], 90.0), index, embedder, heading_deg=90.0)
    assert answer.places[0].window == 5
    assert answer.places[0].score == pytest.approx(1.0, abs=1e-4)
    assert answer.places[0].heading_deg is None
    assumed = find(PANORAMAS[5], index, embedder)
    assert "north assumed in the middle of the picture" in assumed.assumptions


def test_an_aligned_model_of_narrow_strips_refuses_the_heading_of_a_photo():
    embedder = toy(bins=1, headings_seen="aligned")
    narrow = replace(embedder.info.ground, representation="narrow")
    embedder = toy(bins=1, headings_seen="aligned", ground=narrow)
    index = index_of_panoramas(PANORAMAS, embedder)
    with pytest.raises(InvalidValue, match="only of a panorama"):
        find(photo_out_of(PANORAMAS[0], 90.0), index, embedder, fov_deg=90.0, heading_deg=5.0)
    assert find(PANORAMAS[2], index, embedder, heading_deg=0.0).places[0].window == 2


def test_an_area_leaves_the_windows_outside_without_a_score():
    near = INDEX.latlon(0)
    answer = find(PANORAMAS[19], near=near, within_m=60.0)
    assert {place.window for place in answer.places} <= {0, 1, 5}
    assert np.isfinite(answer.scores).sum() == 3


def test_an_area_outside_of_the_index_says_how_far_away_it_is():
    with pytest.raises(InvalidValue, match=r"nearest is 5\.\d km away"):
        find(PANORAMAS[0], near=move_point(ORIGIN, east_m=0, north_m=-5500), within_m=100.0)


def ground(east_m, north_m, side_m):
    """A square area whose south-western corner lies so far from the index's first window."""
    corners = [(0, 0), (side_m, 0), (side_m, side_m), (0, side_m), (0, 0)]
    places = [move_point(ORIGIN, east_m=east_m + x, north_m=north_m + y) for x, y in corners]
    ring = [[place.lon, place.lat] for place in places]
    return {"type": "Polygon", "coordinates": [ring]}


def test_polygons_leave_the_windows_outside_without_a_score_as_a_circle_does():
    answer = find(PANORAMAS[19], area=ground(-20, -20, 100))
    assert {place.window for place in answer.places} <= {0, 1, 5, 6}
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(answer.scores)), [0, 1, 5, 6])
    everywhere = find(PANORAMAS[19])
    searched = np.isfinite(answer.scores)
    np.testing.assert_array_equal(answer.scores[searched], everywhere.scores[searched])


def test_of_a_circle_and_polygons_only_what_lies_in_both_is_searched():
    answer = find(PANORAMAS[19], area=ground(-20, -20, 100), near=INDEX.latlon(0), within_m=60.0)
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(answer.scores)), [0, 1, 5])
    with pytest.raises(InvalidValue, match="both in the area and in the circle"):
        find(PANORAMAS[0], area=ground(-20, -20, 30), near=INDEX.latlon(19), within_m=30.0)


@pytest.mark.parametrize(
    ("area", "said"),
    [
        (ground(-20, -5500, 100), r"nearest is about 5\.4 km from it"),
        (ground(5, 5, 10), "middle of no window.*50 m apart"),
        (
            {
                "type": "Polygon",
                "coordinates": [
                    [[lat, lon] for lon, lat in ground(-20, -20, 100)["coordinates"][0]]
                ],
            },
            "with latitude and longitude exchanged some would",
        ),
    ],
)
def test_an_area_without_windows_says_why(area, said):
    with pytest.raises(InvalidValue, match=f"(?s){said}"):
        find(PANORAMAS[0], area=area)


def test_fields_of_view_outside_of_training_bring_a_warning():
    embedder = toy(fov_seen_deg=(360.0, 360.0))
    index = index_of_panoramas(PANORAMAS, embedder)
    warned = find(photo_out_of(PANORAMAS[0], 90.0), index, embedder, fov_deg=90.0).warnings
    assert "fields of view of 360 degrees" in warned[0]
    assert find(PANORAMAS[0], index, embedder).warnings == ()


def test_warnings_of_the_index_are_in_every_answer(monkeypatch):
    monkeypatch.setattr(INDEX.manifest, "warnings", ("its places are not evidence",))
    assert find(PANORAMAS[0]).warnings == ("its places are not evidence",)


def test_gps_in_a_file_is_told_and_not_used():
    gps = LatLon(48.0, 11.0)
    photo = replace(make_photo(PANORAMAS[2]), gps=gps)
    told = find(photo)
    assert told.places == find(PANORAMAS[2]).places
    assert any("48.000000,11.000000" in text and "not used" in text for text in told.assumptions)
    near = replace(photo, gps=INDEX.latlon(2))
    used = find(near, near=near.gps, within_m=10.0)
    assert any("used as a hint" in text for text in used.assumptions)


def test_many_pictures_are_located_as_each_alone():
    pictures = [turned(PANORAMAS[n], 45.0 * n) for n in range(6)]
    pictures += [photo_out_of(PANORAMAS[8], 90.0)]
    hints = [Hints()] * 6 + [Hints(fov_deg=90.0, places=3)]
    together = locate_many(INDEX, EMBEDDER, pictures, hints)
    for answer, picture, hint in zip(together, pictures, hints, strict=True):
        alone = locate(INDEX, picture, hints=hint, embedder=EMBEDDER)
        assert [p.window for p in answer.places] == [p.window for p in alone.places]
        np.testing.assert_allclose(answer.scores, alone.scores, atol=1e-6)
    assert len(together[-1].places) == 3


def test_another_model_than_that_of_the_index_is_refused():
    with pytest.raises(ModelMismatch, match="again"):
        find(PANORAMAS[0], embedder=toy(bins=4))


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"fov_deg": 400.0}, r"\(0, 360\]"),
        ({"fov_deg": 0.0}, r"\(0, 360\]"),
        ({"heading_deg": 900.0}, "heading"),
        ({"near": ORIGIN}, "radius"),
        ({"within_m": 5.0}, "centre"),
        ({"near": ORIGIN, "within_m": 0.0}, "radius"),
        ({"places": 0}, "place"),
        ({"horizon_px": float("nan")}, "horizon"),
    ],
)
def test_impossible_hints_are_refused(bad, said):
    with pytest.raises(InvalidValue, match=said):
        Hints(**bad)


def test_a_photo_of_a_phone_panorama_wider_than_any_lens_is_a_band():
    band = PANORAMAS[9][96:160, 64:448]  # 270 x 45 degrees
    answer = find(band, fov_deg=270.0)
    assert (answer.kind, answer.places[0].window) == ("panorama", 9)


def test_pixels_paths_and_photos_are_all_taken(tmp_path):
    from PIL import Image

    path = tmp_path / "p.png"
    Image.fromarray(PANORAMAS[1]).save(path)
    answers = [find(given) for given in (PANORAMAS[1], path, str(path))]
    assert {answer.places[0].window for answer in answers} == {1}
    assert isinstance(make_photo(PANORAMAS[1]), Photo)
    assert answers[1].photo == str(path)


def test_an_aligned_model_without_a_heading_is_warned_of():
    embedder = toy(bins=1, headings_seen="aligned")
    index = index_of_panoramas(PANORAMAS, embedder)
    (said,) = find(PANORAMAS[0], index, embedder).warnings
    assert "north in the middle" in said
    assert find(PANORAMAS[0], index, embedder, heading_deg=20.0).warnings == ()


def saved(pixels, path, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


def test_what_a_files_shape_suggests_is_an_assumption_unless_the_field_of_view_is_given(tmp_path):
    picture = saved(PANORAMAS[5], tmp_path / "p.png")
    guess = "twice as wide as high and nothing tells of a lens: taken for a panorama of 360 degrees"
    assert guess in find(picture).assumptions
    assert guess not in find(picture, fov_deg=360.0).assumptions


def test_a_photo_of_two_to_one_with_a_focal_length_is_a_photo(tmp_path):
    exif = Image.Exif()
    exif[0x8769] = {0xA405: 26}
    answer = find(saved(PANORAMAS[5], tmp_path / "p.png", exif=exif))
    assert (answer.kind, answer.fov_source) == ("perspective", "exif")
    assert answer.fov_deg == pytest.approx(69.39, abs=0.01)


def test_of_a_picture_wider_than_a_lens_takes_it_360_degrees_are_tried_too():
    band = np.ascontiguousarray(PANORAMAS[5][len(PANORAMAS[5]) // 4 : -len(PANORAMAS[5]) // 4])
    answer = find(band)
    assert (answer.kind, answer.fov_deg, answer.fov_source) == ("panorama", 360.0, "assumed")
    assert answer.places[0].window == 5
    assert "(best of 180, 360)" in answer.assumptions[0]
    assert any("4.0 times as wide as high" in text for text in answer.assumptions)


def test_a_place_that_cannot_be_trusted_is_told(tmp_path):
    exif = Image.Exif()
    exif[0x8825] = {1: "S", 2: (33.0, 52.0, 10.0), 4: (70.0, 30.0, 0.0)}
    answer = find(saved(PANORAMAS[5], tmp_path / "p.png", exif=exif))
    assert any("longitude has no readable reference" in text for text in answer.assumptions)


def test_bytes_and_pillow_images_are_taken_with_their_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x8769] = {0xA405: 18}
    path = saved(photo_out_of(PANORAMAS[4], 90.0), tmp_path / "p.png", exif=exif)
    expected = find(path)
    assert expected.fov_deg == pytest.approx(90.0)
    for picture in (path.read_bytes(), Image.open(path)):
        answer = find(picture)
        assert (answer.fov_deg, answer.places[0].window) == (expected.fov_deg, 4)


def test_the_row_of_a_horizon_counts_in_the_file_however_it_was_decoded():
    picture = make_photo(photo_out_of(PANORAMAS[6], 80.0))
    half = replace(picture, pixels=np.ascontiguousarray(picture.pixels[::2, ::2]), shrunk=0.5)
    assert (
        choose_readings(half, Hints(fov_deg=80.0, horizon_px=50.0), EMBEDDER.info)[0].horizon_px
        == 25.0
    )
    with pytest.raises(InvalidValue, match="of 120 rows"):
        find(half, fov_deg=80.0, horizon_px=4000.0)


def test_photos_are_read_a_few_at_a_time_and_large_ones_alone(tmp_path, monkeypatch):
    assert (queries.PHOTOS_TOGETHER, queries.MOST_HELD_BYTES) == (32, 500_000_000)
    paths = [saved(PANORAMAS[n % 20], tmp_path / f"{n}.png") for n in range(5)]
    paths.insert(2, tmp_path / "absent.png")
    lost = []

    def batches():
        found = queries.read_batches(paths, lost.append)
        return [([photo.path for photo in photos], taken) for photos, taken in found]

    monkeypatch.setattr(queries, "PHOTOS_TOGETHER", 4)
    names = [str(path) for path in paths]
    assert batches() == [([names[0], names[1], names[3]], 4), ([names[4], names[5]], 2)]
    assert ["absent.png" in str(problem) for problem in lost] == [True]
    monkeypatch.setattr(queries, "MOST_HELD_BYTES", PANORAMAS[0].nbytes)
    assert [taken for _, taken in batches()] == [1, 1, 2, 1, 1]


def test_ten_places_are_told_unless_another_number_is_asked_for():
    assert [place.rank for place in find(PANORAMAS[3]).places] == list(range(1, 11))
    assert len(find(PANORAMAS[3], places=3).places) == 3


def test_the_fields_of_view_that_are_tried_where_nothing_tells():
    assert TRIED_FOV_DEG == (50.0, 65.0, 80.0, 100.0)
    assert "(best of 50, 65, 80, 100)" in find(photo_out_of(PANORAMAS[6], 80.0)).assumptions[0]


def hide_lines(monkeypatch):
    none = Lines(np.empty((0, 4), np.float32), 1.0)
    monkeypatch.setattr(queries, "find_lines", lambda pixels: none)


def test_the_tilt_of_a_photo_is_read_from_its_lines_unless_the_horizon_is_known():
    street = draw_street(80.0, 8.0)
    info = EMBEDDER.info
    (read,) = choose_readings(make_photo(street), Hints(fov_deg=80.0), info)
    assert read.tilt.pitch_deg == pytest.approx(8.0, abs=1.0)
    true = find_horizon_px((640, 480), 80.0, 8.0)
    assert read.horizon_px == pytest.approx(true, abs=8.0)
    answer = find(street, fov_deg=80.0)
    assert answer.assumptions == (
        "tilt estimated: 8 degrees up, give or take 1, from the lines of the photo",
    )
    (given,) = choose_readings(make_photo(street), Hints(fov_deg=80.0, horizon_px=240.0), info)
    assert (given.tilt, given.horizon_px) == (None, 240.0)
    known = replace(make_photo(street), horizon_px=200.0)
    assert choose_readings(known, Hints(fov_deg=80.0), info)[0].tilt is None
    panorama = find(PANORAMAS[3])
    assert not any("tilt" in text or "level" in text for text in panorama.assumptions)


def test_a_tilt_of_less_than_a_degree_changes_nothing():
    level = draw_street(80.0, 0.4)
    (read,) = choose_readings(make_photo(level), Hints(fov_deg=80.0), EMBEDDER.info)
    assert read.tilt.is_told
    assert abs(read.tilt.pitch_deg) < 1.0
    assert read.horizon_px is None
    told = "tilt estimated: level, give or take 1, from the lines of the photo"
    assert find(level, fov_deg=80.0).assumptions == (told,)


def test_a_tilt_that_was_read_lays_the_photo_out_as_the_same_horizon_given_by_hand():
    street = draw_street(80.0, 8.0)
    (read,) = choose_readings(make_photo(street), Hints(fov_deg=80.0), EMBEDDER.info)
    own = prepare_query(make_photo(street), Hints(fov_deg=80.0), EMBEDDER.info)
    hinted = Hints(fov_deg=80.0, horizon_px=read.horizon_px)
    given = prepare_query(make_photo(street), hinted, EMBEDDER.info)
    np.testing.assert_array_equal(own.strips[0], given.strips[0])


def test_photos_held_upright_are_tried_with_the_same_lenses_turned():
    upright = np.ascontiguousarray(photo_out_of(PANORAMAS[6], 80.0).transpose(1, 0, 2))
    tried = [reading.fov_deg for reading in choose_readings(make_photo(upright), Hints(),
                                                            EMBEDDER.info)]  # fmt: skip
    assert tried == [round(turn_lens(fov, 0.75), 1) for fov in TRIED_FOV_DEG]


@pytest.mark.parametrize(("evidence", "pitch_deg", "chosen"), [
    ((0.0, 0.0, 0.0), 5.0, 1),  # the score decides
    ((1.0, 0.0, 0.0), 5.0, 0),  # the lines do: 3 units against 0.03 of a cosine
    ((0.4, 0.0, 0.0), 5.0, 1),
    ((99.0, 0.0, 0.0), -5.0, 0),
    ((99.0, 0.0, 0.0), 0.0, 1),  # of a level photo lines tell no lens
    ((99.0, 0.0, 0.0), 0.5, 1),  # of a quarter of the tilt a quarter: one unit
    ((0.0, 0.0, 99.0), 5.0, 1),  # however clear they are, they count at most 4 units, 0.08
    ((9.0, None, 0.0), 5.0, 1),  # one reading is no pinhole's: the score decides
])  # fmt: skip
def test_scores_and_lines_choose_the_field_of_view_together(evidence, pitch_deg, chosen):
    scores = np.array([[0.55, 0.1], [0.2, 0.58], [0.49, 0.2]], np.float32)
    readings = [
        Reading(kind="perspective", fov_deg=fov, source="assumed", horizon_px=None,
                tilt=None if told is None else Tilt(pitch_deg, 1.0, 0.0, told))
        for fov, told in zip((60.0, 80.0, 100.0), evidence, strict=True)
    ]  # fmt: skip
    result = _choose_reading(readings, scores, np.zeros_like(scores), None)
    assert result.reading == chosen
    np.testing.assert_array_equal(result.scores, scores[chosen])


@pytest.mark.parametrize("hints", [{}, {"near": INDEX.latlon(6), "within_m": 120.0}])
def test_of_the_fields_of_view_tried_the_one_with_the_highest_score_is_chosen(hints, monkeypatch):
    hide_lines(monkeypatch)
    picture = photo_out_of(PANORAMAS[6], 80.0)
    best = {fov: np.nanmax(find(picture, fov_deg=fov, **hints).scores) for fov in TRIED_FOV_DEG}
    answer = find(picture, **hints)
    assert answer.fov_deg == max(best, key=best.get)
    assert answer.places[0].score == pytest.approx(max(best.values()), abs=1e-6)


@pytest.mark.parametrize(("rows", "tried"), [(129, "50, 65, 80, 100, 180, 360"), (128, "180, 360")])
def test_a_strip_four_times_as_wide_as_high_is_of_no_single_lens(rows, tried):
    picture = np.ascontiguousarray(PANORAMAS[6][64 : 64 + rows])
    answer = find(picture)
    assert f"(best of {tried})" in answer.assumptions[0]
    assert any(text.endswith("are tried too") for text in answer.assumptions) == (rows > 128)


def test_a_field_of_view_that_the_model_was_not_trained_on_is_not_tried():
    embedder = toy(fov_seen_deg=(60.0, 360.0))
    index = index_of_panoramas(PANORAMAS, embedder)
    answer = find(photo_out_of(PANORAMAS[6], 50.0), index, embedder)
    assert "(best of 65, 80, 100)" in answer.assumptions[0]
    assert any("of 50 degrees not tried" in text for text in answer.assumptions)
    assert answer.warnings == ()


def test_where_the_model_was_trained_on_none_of_them_all_are_tried_and_that_is_warned_of():
    embedder = toy(fov_seen_deg=(360.0, 360.0))
    index = index_of_panoramas(PANORAMAS, embedder)
    answer = find(photo_out_of(PANORAMAS[6], 80.0), index, embedder)
    assert "(best of 50, 65, 80, 100)" in answer.assumptions[0]
    assert "this picture has fewer" in answer.warnings[0]
    band = np.ascontiguousarray(PANORAMAS[5][len(PANORAMAS[5]) // 4 : -len(PANORAMAS[5]) // 4])
    wide = find(band, index, embedder)
    assert (wide.fov_deg, wide.fov_source, wide.warnings) == (360.0, "assumed", ())


def test_a_photo_that_nothing_is_known_of_is_said_to_be_taken_for_one():
    said = "nothing in the file tells of a lens or a panorama: taken for a photo of one lens"
    assert said in find(photo_out_of(PANORAMAS[6], 80.0)).assumptions
    assert said not in find(photo_out_of(PANORAMAS[6], 80.0), fov_deg=80.0).assumptions
    assert said not in find(PANORAMAS[6]).assumptions


def test_a_photo_that_fails_leaves_the_others_of_its_batch(tmp_path):
    tall = saved(np.zeros((640, 64, 3), np.uint8), tmp_path / "tall.png")
    flat = saved(photo_out_of(PANORAMAS[6], 80.0), tmp_path / "flat.png")
    lost = []
    hints = {str(tall): Hints(horizon_px=300.0), str(flat): Hints(horizon_px=300.0)}
    batches = list(
        locate_files(INDEX, EMBEDDER, [tall, tmp_path / "no", flat],
                     lambda photo: hints[photo.path], lost.append)
    )  # fmt: skip
    ((located, taken),) = batches
    assert [one.photo.path for one in located] == [str(tall)]
    assert (located[0].answer.photo, located[0].hints, taken) == (str(tall), hints[str(tall)], 3)
    assert [str(problem).split(":")[0] for problem in lost] == [str(tmp_path / "no"), str(flat)]
    assert list(locate_files(INDEX, EMBEDDER, [flat], lambda _: None, lost.append)) == [([], 1)]


def test_a_place_stands_out_or_not_whether_one_place_is_told_or_ten():
    answers = [find(PANORAMAS[3], places=count) for count in (1, 2, 10)]
    assert [answer.second for answer in answers] == [answers[2].places[1].score] * 3
    assert [answer.searched_places for answer in answers] == [20.0] * 3


def test_many_photos_are_decoded_in_processes_of_their_own_in_order(tmp_path, monkeypatch):
    assert queries.MANY_PHOTOS == 8
    few = [saved(PANORAMAS[n % 20], tmp_path / f"{n}.png") for n in range(7)]
    few[3] = tmp_path / "absent.png"
    monkeypatch.chdir(tmp_path)
    many = [*few, Path("7.png")]  # seen from the folder of today
    saved(PANORAMAS[7], tmp_path / "7.png")
    for paths in (few, many):
        outcomes = list(queries.read_photos(paths))
        assert isinstance(outcomes.pop(3), BadImage)
        assert [photo.path for photo in outcomes] == [str(p) for p in paths if p != few[3]]
        for number, photo in zip((0, 1, 2, 4, 5, 6, 7), outcomes, strict=False):
            assert (photo.pixels == PANORAMAS[number]).all()


@pytest.mark.skipif(sys.platform != "linux", reason="processor time of a process is read on Linux")
def test_of_many_photos_one_that_takes_too_long_is_reported_and_the_rest_are_located(
    tmp_path, monkeypatch
):
    paths = [saved(PANORAMAS[n % 20], tmp_path / f"{n}.png") for n in range(8)]
    paths[2].write_bytes(scan_bomb(6144, 8136, 18))
    monkeypatch.setattr(
        queries, "DecodingBudget", lambda **limits: DecodingBudget(**limits, deadline_s=0.3)
    )
    lost = []
    batches = list(locate_files(INDEX, EMBEDDER, paths, lambda _: Hints(), lost.append))
    assert sum(taken for _, taken in batches) == 8
    assert [one.photo.path for located, _ in batches for one in located] == [
        str(path) for path in paths if path != paths[2]
    ]
    assert [str(problem).partition("\n")[0] for problem in lost] == [
        f"{paths[2]}: takes longer than 0.3 s to decode."
    ]
