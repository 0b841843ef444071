import shutil

import numpy as np
import pytest
from tests.datasets import twins
from tests.shared_data import shared

from crossview.catalogue import benchmark, open_data
from crossview.errors import BadData

LIST = "splits/train-19zl.csv"


def load(root, **settings):
    return benchmark("cvusa").load(root, **settings)


def refusal(root):
    with pytest.raises(BadData) as caught:
        load(root)
    return str(caught.value)


def changed(root, old, new, name=LIST):
    path = root / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path


def test_a_pair_is_a_row_and_the_validation_list_is_the_test(tmp_path):
    tables = load(twins.cvusa(tmp_path))
    assert {name: len(table) for name, table in tables.items()} == {"train": 6, "test": 3}
    test = tables["test"]
    assert test.ground_ids()[0] == "streetview/panos/0000001.jpg"
    assert test.aerial_ids()[0] == "bingmap/19/0000001.jpg"
    assert test.pairs.tolist() == [[0, 0], [1, 1], [2, 2]]
    assert test.heading_deg.tolist() == [0.0] * 3


def test_the_row_of_a_place_is_the_id_less_one(tmp_path):
    train = load(twins.cvusa(tmp_path))["train"]
    assert train.aerial_latlon[0].tolist() == [33.0, -103.0]
    assert train.ground_latlon[0].tolist() == [33.0001, -103.0]
    expected = 156543.03392804097 / 2**19 * np.cos(np.radians(33.0))
    assert train.metres_per_px[0] == pytest.approx(expected)


def test_without_places_everything_else_is_known(tmp_path):
    train = load(twins.cvusa(tmp_path, locations=False))["train"]
    assert np.isnan(train.ground_latlon).all()
    assert np.isnan(train.metres_per_px).all()


def test_the_official_list_has_8884_different_rows(tmp_path):
    official = shared("data", "splits", "cvusa")
    (tmp_path / "splits").mkdir()
    shutil.copy(official / "val-19zl.csv", tmp_path / "splits")
    shutil.copy(official / "train-19zl.PARTIAL_1024.csv", tmp_path / LIST)
    tables = load(tmp_path, check_files=False)
    assert (len(tables["test"]), len(tables["train"])) == (8_884, 1_024)
    assert tables["test"].ground_ids()[0] == "streetview/panos/0001227.jpg"
    assert not set(tables["test"].aerial) & set(tables["train"].aerial)
    data = open_data(f"cvusa:{tmp_path}", check_files=False)
    assert all(said.startswith("split train has 1,024") for said in data.differs)


def test_a_missing_list_is_named(tmp_path):
    (twins.cvusa(tmp_path) / LIST).unlink()
    assert f"No list at {tmp_path / LIST}" in refusal(tmp_path)


def test_an_absent_picture_is_named_with_its_row_and_how_many_more(tmp_path):
    twins.cvusa(tmp_path)
    for name in ("0000005", "0000008"):
        (tmp_path / f"bingmap/19/{name}.jpg").unlink()
    said = refusal(tmp_path)
    assert f"{tmp_path / LIST}, line 2: {tmp_path / 'bingmap/19/0000005.jpg'} is named" in said
    assert "and 1 more (of 12 files)" in said
    assert len(load(tmp_path, check_files=False)["train"]) == 6


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("0000005", "0000004", "line 2: 0000004 has no partner; the panorama is 0000005"),
        (",streetview/annotations/0000005.png", "", "line 2: 2 columns; expected 3"),
        (
            "bingmap/19/0000005",
            "bingmap/19/five",
            "line 2: bingmap/19/five.jpg is not named by an id",
        ),
    ],
)
def test_a_wrong_row_is_named(tmp_path, old, new, said):
    path = changed(twins.cvusa(tmp_path), old, new)
    assert f"{path}, {said}" in refusal(tmp_path)


def test_an_id_that_comes_twice_is_named_with_both_rows(tmp_path):
    path = twins.cvusa(tmp_path) / LIST
    path.write_text(path.read_text() + path.read_text().splitlines()[1] + "\n")
    assert f"{path}, line 7: id 5 is there twice, first at {path}, line 2" in refusal(tmp_path)


def test_an_empty_list_is_refused(tmp_path):
    (twins.cvusa(tmp_path) / LIST).write_text("\n")
    assert "is empty" in refusal(tmp_path)


def test_places_out_of_range_or_too_few_are_named(tmp_path):
    path = changed(twins.cvusa(tmp_path), "31,-101", "131,-101", "split_locations/all.csv")
    assert f"{path}, line 2: latitude is '131'" in refusal(tmp_path)
    twins.lines(path, path.read_text().replace("131", "31").splitlines()[:4])
    assert "line 6: id 9, but" in refusal(tmp_path)


def test_an_id_of_more_digits_than_any_has_is_named(tmp_path):
    root = twins.cvusa(tmp_path)
    changed(root, "0000004", "9" * 5000)
    assert "is not named by an id" in refusal(root)
