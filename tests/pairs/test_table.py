import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from crossview.datasets.pair_lists import load
from crossview.errors import BadData
from crossview.geo.points import EARTH_RADIUS_M, turn_axes_m
from crossview.pairs.official_lists import make_table as build
from crossview.pairs.table import draw_held_out, join_tables

HEADER = "ground,aerial,split,relation,metres_per_px,ground_lat,ground_lon\n"


def table_of(tmp_path, *lines, header=HEADER, split="train"):
    path = tmp_path / "pairs.csv"
    path.write_text(header + "\n".join(lines) + "\n", encoding="utf-8")
    return load(path)[split]


def refusal(tmp_path, *lines, header=HEADER):
    with pytest.raises(BadData) as caught:
        table_of(tmp_path, *lines, header=header)
    return str(caught.value)


def test_a_row_is_one_match_and_files_are_relative_to_the_csv(tmp_path):
    table = table_of(tmp_path, "g.jpg,sub/a.png,train,match,0.5,60,10")
    assert len(table) == 1
    assert table.ground == (tmp_path / "g.jpg",)
    assert table.aerial == (tmp_path / "sub" / "a.png",)
    assert table.ground_latlon.tolist() == [[60.0, 10.0]]


def test_split_and_relation_default_to_train_and_match(tmp_path):
    table = table_of(tmp_path, "g.jpg,a.png,0.5", header="ground,aerial,metres_per_px\n")
    assert table.pairs.tolist() == [[0, 0]]


def test_a_near_miss_is_kept_apart_from_the_matches(tmp_path):
    table = table_of(tmp_path, "g,a,train,match,1,,", "g,b,train,ignore,1,,")
    assert table.pairs.tolist() == [[0, 0]]
    assert table.ignored.tolist() == [[0, 1]]


def test_unknown_places_and_angles_are_nan(tmp_path):
    table = table_of(tmp_path, "g,a,train,match,1,,")
    assert np.isnan(table.ground_latlon).all()
    assert np.isnan(table.heading_deg).all()
    assert table.up_bearing_deg.tolist() == [0.0]


def test_a_narrow_field_of_view_makes_a_photo_unless_the_kind_says_otherwise(tmp_path):
    header = "ground,aerial,metres_per_px,fov_deg,kind\n"
    lines = ("a,x,1,,", "b,x,1,90,", "c,x,1,360,", "d,x,1,,perspective", "e,x,1,180,panorama")
    table = table_of(tmp_path, *lines, header=header)
    assert table.perspective.tolist() == [False, True, False, True, False]


def test_rows_that_share_a_picture_show_one_place(tmp_path):
    lines = [f"{g},{a},train,match,1,," for g, a in ("gx", "hx", "hy", "iz")]
    assert table_of(tmp_path, *lines).places().tolist() == [0, 0, 0, 1]


def test_taking_rows_drops_the_pictures_of_the_others(tmp_path):
    lines = [f"{g},{a},train,match,1,," for g, a in ("gx", "hy", "iz")]
    taken = table_of(tmp_path, *lines, "i,y,train,ignore,1,,").take([1, 2])
    assert [p.name for p in taken.ground] == ["h", "i"]
    assert taken.pairs.tolist() == [[0, 0], [1, 1]]
    assert taken.ignored.tolist() == [[1, 0]]


def test_ids_are_short_names_below_the_root(tmp_path):
    table = table_of(
        tmp_path, "sub/g.jpg,a.png,train,match,1,,", "/far/h.jpg,a.png,train,match,1,,"
    )
    assert table.ground_ids() == ("sub/g.jpg", "/far/h.jpg")
    assert table.aerial_ids() == ("a.png",)


def gallery():
    """Two queries of two matches each, one reference that nobody asks for, one near-miss."""
    files = [Path(name) for name in "ghabcde"]
    pairs = [(0, 0), (0, 1), (1, 2), (1, 3)]
    offsets = np.arange(8.0).reshape(4, 2)
    return build(files[:2], files[2:], pairs, ignored=[(0, 2)], offset_px=offsets)


def test_a_reference_without_a_match_stays_unless_rows_are_taken():
    table = gallery()
    assert len(table.aerial) == 5
    taken = table.take([2, 3])
    assert [p.name for p in taken.aerial] == ["c", "d"]
    assert taken.offset_px.tolist() == [[4.0, 5.0], [6.0, 7.0]]


def test_without_a_reference_the_query_keeps_its_other_matches():
    left = gallery().without(aerial=[1])
    assert [p.name for p in left.aerial] == ["a", "c", "d", "e"]
    assert left.pairs.tolist() == [[0, 0], [1, 1], [1, 2]]
    assert left.ignored.tolist() == [[0, 1]]
    assert left.offset_px[:, 0].tolist() == [0.0, 4.0, 6.0]


def test_without_all_of_its_matches_a_query_goes_and_references_stay():
    left = gallery().without(aerial=[0, 1])
    assert [p.name for p in left.ground] == ["h"]
    assert [p.name for p in left.aerial] == ["c", "d", "e"]
    assert left.ignored.tolist() == []
    left = gallery().without(ground=[1])
    assert [p.name for p in left.ground] == ["g"]
    assert len(left.aerial) == 5


def test_the_side_that_asks_may_be_the_aerial_one():
    left = replace(gallery(), queries="aerial").without(ground=[0])
    assert [p.name for p in left.aerial] == ["c", "d"]
    with pytest.raises(BadData, match="queries is 'sky'"):
        replace(gallery(), queries="sky")


def test_arrays_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="read-only"):
        table_of(tmp_path, "g,a,train,match,1,,").pairs[0] = 0


def test_validation_is_a_seeded_share_of_places_never_of_rows(tmp_path):
    lines = [f"g{n},a{n // 2},train,match,1,," for n in range(40)]
    table = table_of(tmp_path, *lines)
    away = draw_held_out(table, 0.25, seed=3)
    assert away.sum() == 10
    assert not set(table.places()[away]) & set(table.places()[~away])
    assert (away == draw_held_out(table, 0.25, seed=3)).all()
    assert not draw_held_out(table, 0.0, seed=3).any()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("g,a,train,match,1,91,0", "ground_lat is '91'"),
        ("g,a,train,match,x,,", "metres_per_px is 'x'"),
        ("g,a,train,match,0,,", "metres_per_px is '0'"),
        ("g,a,train,match,,,", "metres_per_px is empty"),
        (",a,train,match,1,,", "ground is empty"),
        ("g,a,training,match,1,,", "split is 'training'; allowed: train, val, test"),
        ("g,a,train,maybe,1,,", "relation is 'maybe'; allowed: match, ignore"),
        ("g,a,train,match,1,nan,", "ground_lat is 'nan'"),
        ("g,a,train", "3 cells, but the header has 7"),
        ("g,a,train,match,1,,,more", "8 cells, but the header has 7"),
    ],
)
def test_an_error_names_the_file_and_the_line(tmp_path, line, said):
    message = refusal(tmp_path, "ok,ok,train,match,1,,", line)
    assert f"{tmp_path / 'pairs.csv'}, line 3" in message
    assert said in message


def test_one_picture_cannot_have_two_places(tmp_path):
    message = refusal(tmp_path, "g,a,train,match,1,60,10", "g,b,train,match,1,61,10")
    assert "ground_lat of g is 61.0, earlier it was 60.0" in message


def test_one_pair_cannot_be_a_match_and_ignored(tmp_path):
    message = refusal(tmp_path, "g,a,train,match,1,,", "g,a,train,ignore,1,,")
    assert "g and a are a match in one line, ignored in another" in message


def test_missing_and_misspelt_columns_are_named(tmp_path):
    assert "the header has no column metres_per_px; it has: ground, aerial" in refusal(
        tmp_path, header="ground,aerial\n"
    )
    header = "ground,aerial,metres_per_px,heading\n"
    assert "unknown columns heading" in refusal(tmp_path, header=header)


def test_an_empty_table_a_missing_one_and_a_binary_one_are_refused(tmp_path):
    assert "no row with relation match" in refusal(tmp_path)
    with pytest.raises(BadData, match="No table of pairs at"):
        load(tmp_path / "absent.csv")
    (tmp_path / "pairs.csv").write_bytes(b"\xff\xfe\x00ground")
    with pytest.raises(BadData, match="line 1: .* no text"):
        load(tmp_path / "pairs.csv")


@pytest.mark.parametrize("again", ["./g", "x/../g", ".//g", "{folder}/g"])
def test_one_picture_under_two_spellings_is_one_picture(tmp_path, again):
    again = again.format(folder=tmp_path)
    message = refusal(tmp_path, "g,a,train,match,1,60,10", f"{again},b,train,match,1,61,10")
    assert "ground_lat of" in message
    message = refusal(tmp_path, "g,a,train,match,1,,", f"{again},a,train,match,1,,")
    assert "are listed twice" in message
    message = refusal(tmp_path, "g,a,train,match,1,,", f"{again},b,test,match,1,,")
    assert "g is in split train and in split test" in message
    text = f"ground,aerial,metres_per_px\ng,a,1\n{again},b,1\n"
    (tmp_path / "pairs.csv").write_text(text)
    assert load(tmp_path / "pairs.csv")["train"].ground == (tmp_path / "g",)


def test_a_picture_is_found_in_whichever_unicode_form_it_is_stored(tmp_path):
    listed, stored = (unicodedata.normalize(form, "grün.jpg") for form in ("NFC", "NFD"))
    (tmp_path / stored).write_bytes(b"x")
    (tmp_path / "pairs.csv").write_text(f"ground,aerial,metres_per_px\n{listed},a.jpg,1\n", "utf-8")
    table = load(tmp_path / "pairs.csv")["train"]
    assert table.ground[0].is_file()
    assert table.aerial == (tmp_path / "a.jpg",)


def test_decimal_commas_of_a_spreadsheet_are_numbers(tmp_path):
    (tmp_path / "pairs.csv").write_text("ground;aerial;metres_per_px\ng;a;0,3\n")
    assert load(tmp_path / "pairs.csv")["train"].metres_per_px.tolist() == [0.3]
    (tmp_path / "pairs.csv").write_text("ground,aerial,metres_per_px\ng,a,0,3\n")
    with pytest.raises(BadData, match="line 2: 4 cells, but the header has 3"):
        load(tmp_path / "pairs.csv")


def test_a_camera_is_placed_in_its_picture_along_the_picture_s_own_axes():
    """30 m east and 40 m north of the middle; the picture's up points east."""
    turn_m = np.radians(1.0) * EARTH_RADIUS_M
    table = replace(
        build([Path("g")], [Path("a")], [(0, 0)], ignored=[(0, 0)]),
        ground_latlon=np.array([[40.0 / turn_m, 30.0 / turn_m]]),
        aerial_latlon=np.array([[0.0, 0.0]]),
        metres_per_px=np.array([0.5]),
    )
    assert table.find_camera_m(0) == pytest.approx((-40.0, 30.0))
    turned = replace(table, up_bearing_deg=np.array([90.0]))
    assert turned.find_camera_m(0, near=True) == pytest.approx((-30.0, -40.0))
    right, up = turn_axes_m(30.0, 40.0, -90.0)
    assert turn_axes_m(right, up, 90.0) == pytest.approx((30.0, 40.0))
    stated = replace(table, offset_px=np.array([[6.0, -8.0]]))
    assert stated.find_camera_m(0) == (3.0, -4.0)
    nowhere = replace(table, aerial_latlon=np.full((1, 2), np.nan))
    assert np.isnan(nowhere.find_camera_m(0)).all()


def test_offsets_of_near_misses_stay_with_them():
    table = replace(gallery(), ignored_offset_px=np.array([[1.0, 2.0]]))
    assert table.without(aerial=[0]).ignored_offset_px.tolist() == [[1.0, 2.0]]
    assert table.without(aerial=[2]).ignored_offset_px.shape == (0, 2)
    with pytest.raises(BadData, match="ignored_offset_px has shape"):
        replace(gallery(), ignored_offset_px=np.zeros((3, 2)))
    joined = join_tables([table, table])
    assert joined.ignored_offset_px.tolist() == [[1.0, 2.0]] * 2
