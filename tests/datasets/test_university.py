import shutil

import pytest
from tests.datasets import twins

from crossview.catalogue import benchmark
from crossview.errors import BadData

NAME = "university-1652"


def load(root, direction=""):
    return benchmark(NAME + direction).load(root)


def sizes(table):
    return len(table.ground), len(table.aerial), len(table)


@pytest.mark.parametrize(
    ("direction", "queries", "train", "test"),
    [
        ("", "ground", (9, 3, 9), (6, 3, 6)),
        ("-satellite-to-drone", "aerial", (9, 3, 9), (9, 2, 6)),
        ("-street-to-satellite", "ground", (4, 2, 4), (2, 3, 2)),
        ("-satellite-to-street", "aerial", (4, 2, 4), (6, 2, 4)),
        ("-street-to-drone", "ground", (4, 6, 12), (2, 9, 6)),
        ("-drone-to-street", "aerial", (4, 6, 12), (6, 6, 12)),
    ],
)
def test_every_direction_asks_the_right_side(tmp_path, direction, queries, train, test):
    tables = load(twins.university(tmp_path), direction)
    assert {t.queries for t in tables.values()} == {queries}
    assert sizes(tables["train"]) == train
    assert sizes(tables["test"]) == test


def test_the_lower_view_is_the_ground_side_whoever_asks(tmp_path):
    twins.university(tmp_path)
    for direction in ("", "-satellite-to-drone"):
        test = load(tmp_path, direction)["test"]
        assert "drone" in test.ground_ids()[0]
        assert "satellite" in test.aerial_ids()[0]
        assert test.perspective.all()


def test_a_building_without_a_query_stays_in_the_gallery(tmp_path):
    test = load(twins.university(tmp_path))["test"]
    lure = [i for i, name in enumerate(test.aerial_ids()) if "/0006/" in name]
    assert len(lure) == 1
    assert lure[0] not in test.pairs[:, 1]


def test_pictures_match_exactly_those_of_their_building(tmp_path):
    test = load(twins.university(tmp_path), "-satellite-to-drone")["test"]
    slow = {
        (g, a)
        for g, ground in enumerate(test.ground)
        for a, aerial in enumerate(test.aerial)
        if ground.parent.name == aerial.parent.name
    }
    assert {*map(tuple, test.pairs.tolist())} == slow


def test_official_numbers_of_each_direction():
    test = benchmark(NAME).counts()["test"]
    assert (test.ground, test.aerial) == (37_855, 951)
    test = benchmark(f"{NAME}-satellite-to-drone").counts()["test"]
    assert (test.ground, test.aerial) == (51_355, 701)
    test = benchmark(f"{NAME}-satellite-to-street").counts()["test"]
    assert (test.ground, test.aerial) == (2_921, 701)
    train = benchmark(NAME).counts()["train"]
    assert (train.ground, train.aerial, train.pairs) == (37_854, 701, 37_854)


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("test/gallery_satellite/0005", r"0005 has no partner in gallery_satellite \(1 such"),
        ("test/query_drone", "No folder .*query_drone, where the official layout has it"),
        ("train/satellite", "No folder .*satellite"),
    ],
)
def test_what_is_missing_is_named(tmp_path, gone, said):
    shutil.rmtree(twins.university(tmp_path) / gone)
    with pytest.raises(BadData, match=said):
        load(tmp_path)


def test_empty_folders_are_refused(tmp_path):
    folder = twins.university(tmp_path) / "test/query_drone/0004"
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(BadData, match="0004 holds no pictures"):
        load(tmp_path)
