import shutil
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tests.datasets import twins
from tests.shared_data import shared

from crossview.catalogue import benchmark
from crossview.errors import BadData
from crossview.geo.points import LatLon, measure_distance_m, move_point

TRAIN = "splits/Chicago/same_area_balanced_train.txt"


def load(root, name="vigor-same", **settings):
    return benchmark(name).load(root, **settings)


def refusal(root, name="vigor-same"):
    with pytest.raises(BadData) as caught:
        load(root, name)
    return str(caught.value)


def changed(root, old, new, name=TRAIN):
    path = root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def test_same_area_has_every_city_in_both_splits_and_all_tiles_as_gallery(tmp_path):
    for table in load(twins.vigor(tmp_path)).values():
        assert (len(table.ground), len(table.aerial), len(table)) == (8, 24, 8)
        assert len(table.ignored) == 24


def test_cross_area_trains_in_two_cities_and_tests_in_the_others(tmp_path):
    tables = load(twins.vigor(tmp_path), "vigor-cross")
    seen = {split: {i.split("/")[0] for i in t.ground_ids()} for split, t in tables.items()}
    assert seen == {"train": {"NewYork", "Seattle"}, "test": {"Chicago", "SanFrancisco"}}
    assert len(tables["test"].ground) == 8
    assert len(tables["test"].aerial) == 12


def test_the_first_tile_is_the_match_and_three_are_semi_positives(tmp_path):
    train = load(twins.vigor(tmp_path))["train"]
    names = {
        kind: [train.aerial[a].name for g, a in relation if g == 1]
        for kind, relation in (("match", train.pairs), ("ignore", train.ignored))
    }
    lat = [f"satellite_{41.85 + 1e-4 * n:.6f}_-87.690000.png" for n in range(6)]
    assert names == {"match": [lat[1]], "ignore": lat[2:5]}


def test_places_come_from_the_names_and_offsets_from_the_labels(tmp_path):
    train = load(twins.vigor(tmp_path))["train"]
    assert train.ground_latlon[1].tolist() == [41.8501, -87.69]
    assert train.aerial_latlon[0].tolist() == [41.85, -87.69]
    assert train.offset_px[1].tolist() == [1.0, -5.0]  # one row down, five columns to the left
    assert train.metres_per_px[0] == pytest.approx(0.1112, abs=1e-4)


@pytest.mark.parametrize("corrected", [False, True])
def test_both_published_layouts_give_the_same_table(tmp_path, corrected):
    name = f"vigor-same{'-corrected' if corrected else ''}"
    one = load(twins.vigor(tmp_path / "one", corrected=corrected), name)["test"]
    two = load(twins.vigor(tmp_path / "two", swapped=True, corrected=corrected), name)["test"]
    assert [p.name for p in one.ground] == [p.name for p in two.ground]
    assert two.ground_ids()[0].startswith("ground/Chicago/")
    assert (one.pairs == two.pairs).all()


def real(tmp_path, *cities):
    """The published lists of some cities as a root of their own."""
    for city in cities:
        folder = shared("data", "splits", "vigor", "splits__corrected", city)
        shutil.copytree(folder, tmp_path / "splits__corrected" / city)
    return tmp_path


CITY = {"Chicago": (12_740, 12_739, 22_308), "NewYork": (13_885, 13_884, 23_279)}
CITY |= {"Seattle": (11_876, 11_875, 20_776)}


@pytest.mark.parametrize("city", CITY)
def test_the_published_lists_of_a_city_have_the_official_numbers(tmp_path, monkeypatch, city):
    monkeypatch.setattr(benchmark("vigor-same").page, "SAME", {"train": (city,), "test": (city,)})
    tables = load(real(tmp_path, city), "vigor-same-corrected", check_files=False)
    train, test = tables["train"], tables["test"]
    assert (len(train), len(test), len(test.aerial)) == CITY[city]
    assert not set(train.ground) & set(test.ground)
    for table in tables.values():
        assert set(Counter(table.ignored[:, 0].tolist()).values()) == {3}
        assert not {*map(tuple, table.ignored.tolist())} & {*map(tuple, table.pairs.tolist())}


def test_the_tiles_of_all_cities_are_90618(tmp_path):
    cities = twins.CITIES
    tiles = [
        set(shared("data", "splits", "vigor", "splits__corrected", c, "satellite_list.txt")
            .read_text().split())
        for c in cities
    ]  # fmt: skip
    page = benchmark("vigor-same").page
    assert [len(t) for t in tiles] == [page.TILES[c] for c in cities]
    assert len(set.union(*tiles)) == 90_618
    assert sum(page.PANORAMAS.values()) == 105_214


def test_corrected_offsets_lead_from_the_tile_to_the_camera(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark("vigor-same").page, "SAME", {"test": ("Seattle",)})
    table = load(real(tmp_path, "Seattle"), "vigor-same-corrected", check_files=False)["test"]
    errors = []
    for (g, a), (down, right) in list(zip(table.pairs, table.offset_px, strict=True))[::40]:
        scale = float(table.metres_per_px[a])
        centre = LatLon(*table.aerial_latlon[a])
        camera = move_point(centre, east_m=right * scale, north_m=-down * scale)
        errors.append(measure_distance_m(camera, LatLon(*table.ground_latlon[g])))
    assert np.median(errors) < 0.2  # two pixels of 0.1 m
    assert max(errors) < 0.6
    assert np.abs(table.offset_px).max() > 150


def test_a_camera_is_found_alike_by_offsets_and_by_places_in_tiles_and_near_misses(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(benchmark("vigor-same").page, "SAME", {"test": ("Seattle",)})
    table = load(real(tmp_path, "Seattle"), "vigor-same-corrected", check_files=False)["test"]
    none = np.zeros((0, 2))
    by_places = replace(table, offset_px=none, ignored_offset_px=none)
    for near, relation in ((False, table.pairs), (True, table.ignored)):
        rows = range(0, len(relation), 97)
        told = np.array([table.find_camera_m(row, near=near) for row in rows])
        placed = np.array([by_places.find_camera_m(row, near=near) for row in rows])
        apart = np.hypot(*(told - placed).T)
        assert np.median(apart) < (0.35 if near else 0.2)  # near-misses lie farther off
        assert apart.max() < 0.8
    away = np.abs(table.ignored_offset_px)
    assert 320 < away.max() < 400  # beyond the tile's edge


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (" 5.0 ", " ", "line 1: 12 columns; expected 13"),
        ("satellite_41.850000", "satellite_0.0", "satellite_0.0_-87.690000.png has no partner"),
        (" 0.0 5.0 ", " 0.0 500 ", "line 1: pixel offset is '500'; expected a number from -320"),
        (" 0.0 5.0 ", " 0.0 ? ", "line 1: pixel offset is '?'"),
        ("Chicago-0,41.850000", "Chicago-0,95", "line 1: latitude is '95'"),
        ("Chicago-0,41.850000,-87.690000,", "Chicago-0", "does not name a latitude and longitude"),
        ("Chicago-0,41.850000", "Chicago-1,41.850100", "line 2: panorama Chicago-1,"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, old, new, said):
    path = changed(twins.vigor(tmp_path), old, new)
    if "Chicago" in new:
        twins.picture(tmp_path / "Chicago/panorama" / path.read_text().split()[0])
    message = refusal(tmp_path)
    assert str(path) in message
    assert said in message


def test_a_tile_listed_twice_and_an_absent_picture_are_refused(tmp_path):
    path = twins.vigor(tmp_path) / "splits/Seattle/satellite_list.txt"
    (tmp_path / "Seattle/satellite/satellite_47.600500_-122.300000.png").unlink()
    assert f"{path}, line 6: " in refusal(tmp_path)
    path.write_text(path.read_text() + path.read_text().splitlines()[0])
    assert f"is there twice, first at {path}, line 1" in refusal(tmp_path)


def test_missing_labels_of_the_other_kind_are_named(tmp_path):
    twins.vigor(tmp_path)
    assert "splits__corrected" in refusal(tmp_path, "vigor-same-corrected")
