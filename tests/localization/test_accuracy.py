import math
import unicodedata

import pytest
from tests.outputs.fakes import ORIGIN, answer, place

from crossview.errors import BadData, InvalidValue
from crossview.geo.points import LatLon, move_point
from crossview.localization.accuracy import Truths, add_truth, rank_truth, summarise


def at(*metres_east):
    """An answer whose places lie so many metres east of the origin."""
    pins = [move_point(ORIGIN, east_m=m, north_m=0.0) for m in metres_east]
    return answer(places=tuple(place(n, at=pin) for n, pin in enumerate(pins, 1)))


def test_the_summary_counts_places_within_25_metres():
    answers = [at(0.0), at(24.9, 500.0), at(25.2, 100.0, 3.0), at(900.0, 800.0)]
    told = summarise(answers, [ORIGIN] * 4, 10)
    assert told["n"] == 4
    assert told["within_25m"] == 0.5
    assert told["median_error_m"] == pytest.approx((24.9 + 25.2) / 2, abs=0.01)
    assert (told["recall_at_1"], told["recall_at_5"], told["recall_at_10"]) == (0.5, 0.75, 0.75)


def test_recall_beyond_the_places_that_were_asked_for_is_left_out():
    assert "recall_at_10" not in summarise([at(0.0)], [ORIGIN], 5)
    assert "recall_at_5" in summarise([at(0.0)], [ORIGIN], 5)


def test_an_answer_without_a_place_is_wrong_not_absent():
    told = summarise([answer(places=()), at(3.0), answer(places=())], [ORIGIN] * 3, 10)
    assert told["n"] == 3
    assert told["recall_at_10"] == pytest.approx(1 / 3)
    assert told["median_error_m"] == math.inf


def test_nothing_known_is_nothing_measured():
    with pytest.raises(InvalidValue, match="nothing to measure"):
        summarise([], [], 10)


def test_the_error_is_that_of_the_first_place():
    known = add_truth(at(40.0, 1.0), ORIGIN)
    assert known.error_m == pytest.approx(40.0, abs=0.01)
    assert known.truth == ORIGIN
    assert add_truth(at(40.0), None).error_m is None
    assert add_truth(answer(places=()), ORIGIN).error_m is None
    assert rank_truth(known, ORIGIN) == 2


def listed(tmp_path, text):
    path = tmp_path / "places.csv"
    path.write_text(text, encoding="utf-8")
    return Truths.read(path)


def test_photos_are_found_by_path_and_by_name(tmp_path):
    truths = listed(tmp_path, "file,lat,lon,kind\nground/a.jpg,1,2,photo\nb.jpg,3,4,photo\n")
    assert truths.find(str(tmp_path / "ground" / "a.jpg")) == LatLon(1, 2)
    assert truths.find("elsewhere/b.jpg") == LatLon(3, 4)
    assert truths.find("c.jpg") is None


def test_of_two_photos_of_one_name_the_path_decides(tmp_path):
    truths = listed(tmp_path, "file,lat,lon\nx/a.jpg,1,2\ny/a.jpg,3,4\n")
    assert truths.find(str(tmp_path / "y" / "a.jpg")) == LatLon(3, 4)
    assert truths.find("elsewhere/x/a.jpg") == LatLon(1, 2)
    assert truths.find("z/a.jpg") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,lat,lon\na,1,2\n", "file"),
        ("", "file, lat, lon"),
        ("file,lat,lon\na,north,2\n", "line 2"),
        ("file,lat,lon\na,1,2\nb,91,0\n", "line 3"),
        ("file,lat,lon\na,1\n", "line 2"),
    ],
)
def test_lists_that_cannot_be_used_are_named(tmp_path, text, said):
    with pytest.raises(BadData, match=said):
        listed(tmp_path, text)


def test_a_list_that_is_not_there_is_named(tmp_path):
    with pytest.raises(BadData, match=r"absent\.csv"):
        Truths.read(tmp_path / "absent.csv")


@pytest.mark.parametrize("again", ["a.jpg", "./a.jpg", ".//a.jpg", "x/../a.jpg", "{folder}/a.jpg"])
def test_a_photo_listed_at_two_places_is_refused_with_both_lines(tmp_path, again):
    again = again.format(folder=tmp_path)
    text = f"file,lat,lon\na.jpg,52.1,13.1\nb.jpg,52.2,13.2\n{again},48.0,11.0\n"
    said = r"line 4: .*a\.jpg was taken at 48.*, but at 52.*13\.1.* in line 2"
    with pytest.raises(BadData, match=said):
        listed(tmp_path, text)
    twice = listed(tmp_path, text.replace("48.0,11.0", "52.10,13.1000"))  # the same place
    assert twice.find(str(tmp_path / "a.jpg")) == LatLon(52.1, 13.1)
    assert twice.photos() == [tmp_path / "a.jpg", tmp_path / "b.jpg"]


def test_two_places_of_one_photo_are_the_same_to_the_centimetre(tmp_path):
    line = "file,lat,lon\na.jpg,52.1,13.1\na.jpg,{},13.1\n"
    listed(tmp_path, line.format(52.10000004))  # 4 mm north
    with pytest.raises(BadData, match="line 3"):
        listed(tmp_path, line.format(52.1000003))  # 3 cm


def test_photos_of_one_name_in_two_folders_are_two_photos(tmp_path):
    truths = listed(tmp_path, "file,lat,lon\nx/a.jpg,52,13\ny/a.jpg,48,11\n")
    assert truths.photos() == [tmp_path / "x" / "a.jpg", tmp_path / "y" / "a.jpg"]


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
@pytest.mark.parametrize("name", ["müller.jpg", "straße é/ñ.jpg", "./한국//가.jpg", "ü\\ö.jpg"])
def test_a_list_and_the_disk_may_spell_a_name_in_different_forms(tmp_path, name, forms):
    on_list, on_disk = (unicodedata.normalize(form, name) for form in forms)
    photo = tmp_path / on_disk.replace("\\", "/")
    photo.parent.mkdir(exist_ok=True)
    photo.write_bytes(b"x")
    truths = listed(tmp_path, f"file,lat,lon\n{on_list},52,13\n")
    assert [path.is_file() for path in truths.photos()] == [True]
    asked = (str(photo), unicodedata.normalize(forms[0], str(photo)), f"elsewhere/{photo.name}")
    assert {truths.find(one) for one in (*asked, *map(str, truths.photos()))} == {LatLon(52, 13)}
    assert truths.find(str(tmp_path / "u.jpg")) is None


@pytest.mark.parametrize(
    "text",
    [
        "file;lat;lon\na.jpg;52,5;13,4\n",
        'file,lat,lon\na.jpg,"52,5","13,4"\n',
        "File\tLat\tLon\r\na.jpg\t52.5\t13.4\r\n",
    ],
)
def test_places_as_spreadsheets_write_them(tmp_path, text):
    assert listed(tmp_path, text).find("a.jpg") == LatLon(52.5, 13.4)
    path = tmp_path / "places.csv"
    path.write_bytes(text.encode("utf-16"))
    assert Truths.read(path).find("a.jpg") == LatLon(52.5, 13.4)


@pytest.mark.parametrize(
    "row",
    ["a.jpg,52,5,13,4", "a.jpg,52,52,13,4", "a.jpg,nan,13", "a.jpg,52,", ",52,13", "a.jpg,52,181"],
)
def test_rows_that_cannot_be_a_place_are_refused(tmp_path, row):
    with pytest.raises(BadData, match=r"places\.csv, line 2: "):
        listed(tmp_path, f"file,lat,lon\n{row}\n")
