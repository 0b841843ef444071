"""The index in a folder answers what every engine does, and a part of it stands for the whole."""

import numpy as np
import pytest
from tests.index.windows_contract import CHECKS, TOWN, fill

from crossview.errors import BadIndex, InvalidValue
from crossview.geo.perimeters import parse_box
from crossview.geo.points import LatLon
from crossview.index.candidates import SearchArea, surround_place
from crossview.index.selection import hold_all, require_held
from crossview.index.store import FolderWriter, Index


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows") / "town.cvx"
    fill(FolderWriter(folder))
    return Index.open(folder)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_folder_keeps_the_contract(index, check):
    check(index)


def test_what_is_sealed_holds_no_notes_and_is_whole(index):
    assert sorted({path.suffix for path in index.path.iterdir()}) == [".bin", ".json", ".npy"]
    assert [path.name for path in index.path.glob("*.json")] == ["manifest.json"]
    assert index.verify() == 32


def test_an_index_that_is_not_sealed_is_none(tmp_path):
    FolderWriter(tmp_path / "a.cvx").put(*next(iter(TOWN.units())))
    with pytest.raises(BadIndex, match=r"has no manifest\.json"):
        Index.open(tmp_path / "a.cvx")


@pytest.mark.parametrize("lon", [8.7, 179.9995, -179.9995])
@pytest.mark.parametrize("lat", [0.0, 60.0, -89.9999])
def test_boxes_hold_the_circle_that_they_are_around(lat, lon):
    from crossview.geo.points import reach_points

    boxes = surround_place(LatLon(lat, lon), 100.0)
    rim = reach_points(LatLon(lat, lon), np.arange(0.0, 360.0, 5.0), 100.0)
    held = np.zeros(72, bool)
    for south, west, north, east in boxes:
        assert -180.0 <= west <= east <= 180.0
        held |= (rim[0] >= south) & (rim[0] <= north) & (rim[1] >= west) & (rim[1] <= east)
    assert held.all()


def test_an_area_across_180_is_two_boxes():
    boxes = SearchArea(area=parse_box("179.9,-1,-179.9,1")).list_boxes()
    assert [[round(side, 6) for side in box] for box in sorted(boxes)] == [
        [-1.0, -180.0, 1.0, -179.9], [-1.0, 179.9, 1.0, 180.0]
    ]  # fmt: skip


def test_all_of_an_index_in_memory_is_itself(index):
    assert hold_all(index, None, None) is index
    assert require_held(index, "calibrating") is index


def test_what_lies_in_a_database_is_not_calibrated_there():
    class Elsewhere:
        name = "postgresql://host/city#town"

    with pytest.raises(InvalidValue, match=r"postgresql://host/city#town: calibrating takes"):
        require_held(Elsewhere(), "calibrating")
