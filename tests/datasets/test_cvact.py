import numpy as np
import pytest
from tests.datasets import twins

from crossview.catalogue import benchmark
from crossview.errors import BadData
from crossview.geo.points import LatLon, measure_distance_m


def load(root, **settings):
    return benchmark("cvact").load(root, **settings)


def refusal(root):
    with pytest.raises(BadData) as caught:
        load(root)
    return str(caught.value)


def test_train_and_val_come_from_one_folder_and_test_from_the_other(tmp_path):
    tables = load(twins.cvact(tmp_path))
    assert {name: len(t) for name, t in tables.items()} == {"train": 5, "val": 3, "test": 4}
    assert tables["val"].ground_ids()[0] == "ANU_data_small/streetview/panof_-5_grdView.jpg"
    expected = "ANU_data_test/satview_polish/panoi_-8_satView_polish.jpg"
    assert tables["test"].aerial_ids()[0] == expected


def test_places_are_utm_of_zone_55_south_in_either_column_order(tmp_path):
    train = load(twins.cvact(tmp_path / "one"))["train"]
    assert train.ground_latlon[0] == pytest.approx([-35.30, 149.12], abs=0.01)
    step = measure_distance_m(LatLon(*train.ground_latlon[0]), LatLon(*train.ground_latlon[1]))
    assert step == pytest.approx(5.0, abs=0.02)
    utm = np.array([[6_092_000.0 + 3 * n, 693_000.0 + 4 * n] for n in range(12)])
    swapped = load(twins.cvact(tmp_path / "two", utm=utm))["train"]
    assert (swapped.ground_latlon == train.ground_latlon).all()
    assert train.metres_per_px[0] == pytest.approx(0.1218, abs=1e-3)


def test_the_test_split_is_every_id_with_both_pictures_in_order(tmp_path):
    twins.cvact(tmp_path)
    (tmp_path / "ANU_data_test/streetview/panoj_-9_grdView.jpg").unlink()
    names = [path.name for path in load(tmp_path)["test"].ground]
    assert names == [f"pano{c}_grdView.jpg" for c in ("i_-8", "k_-10", "l_-11")]


def test_without_the_test_folder_there_is_no_test_split(tmp_path):
    twins.cvact(tmp_path)
    (tmp_path / "ANU_data_test").rename(tmp_path / "elsewhere")
    assert set(load(tmp_path)) == {"train", "val"}


def test_one_training_picture_was_never_published_and_more_are_an_error(tmp_path):
    twins.cvact(tmp_path)
    (tmp_path / "ANU_data_small/streetview/panob_-1_grdView.jpg").unlink()
    assert len(load(tmp_path)["train"]) == 4
    (tmp_path / "ANU_data_small/satview_polish/panoc_-2_satView_polish.jpg").unlink()
    said = refusal(tmp_path)
    assert f"{tmp_path / 'ACT_data.mat'}, trainSet.trainInd, row 2: " in said
    assert "panob_-1_grdView.jpg is named but is not there, and 1 more" in said
    assert len(load(tmp_path, check_files=False)["train"]) == 5


def test_a_file_of_another_kind_is_refused(tmp_path):
    from scipy.io import savemat

    path = tmp_path / "ACT_data.mat"
    assert f"No list at {path}" in refusal(tmp_path)
    path.write_bytes(b"no matlab file, but long enough to look like one" * 9)
    assert "is not a MATLAB file, or a damaged one" in refusal(tmp_path)
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n")
    assert "version 7.3" in refusal(tmp_path)
    savemat(path, {"orient_mat": np.zeros(3)})
    assert "another kind: panoIds, utm, trainSet, valSet missing; it has orient_mat" in refusal(
        tmp_path
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"utm": np.zeros((12, 3))}, r"utm has shape [12, 3]; expected [12, 2]"),
        (
            {"utm": np.full((12, 2), 149.1)},
            "utm, row 1 (panoa_-0): [149.1, 149.1] is not an easting",
        ),
        ({"trainSet": np.zeros(2)}, "it has no trainSet.trainInd"),
        ({"trainSet": {"n": 0, "trainInd": np.zeros((0, 1))}}, "trainSet.trainInd is empty"),
        ({"valSet": {"n": 1, "valInd": np.array([[13]])}}, "row 1: 13 is not a row from 1 to 12"),
        ({"valSet": {"n": 1, "valInd": np.array([[7], [0]])}}, "row 2: 0 is not a row"),
        ({"valSet": {"n": 1, "valInd": np.array([[7], [7]])}}, "id panog_-6 is there twice"),
        ({"panoIds": np.array(["a", ""])}, "panoIds should hold a text in every row"),
    ],
)
def test_lists_that_make_no_sense_are_refused_with_the_row(tmp_path, changes, said):
    assert said in refusal(twins.cvact(tmp_path, **changes))


def test_ids_may_be_a_cell_array(tmp_path):
    names = np.array([f"pano{'abcdefghijkl'[n]}_-{n}" for n in range(12)], dtype=object)
    assert len(load(twins.cvact(tmp_path, panoIds=names[:, None]))["train"]) == 5


def test_a_test_picture_of_an_unknown_id_and_an_empty_folder_are_refused(tmp_path):
    twins.cvact(tmp_path)
    test = tmp_path / "ANU_data_test"
    for folder, end in (("streetview", "grdView"), ("satview_polish", "satView_polish")):
        (test / folder / f"stray_{end}.jpg").touch()
    assert "stray is not an id of" in refusal(tmp_path)
    for path in test.rglob("*.jpg"):
        path.unlink()
    assert "no id has both of its pictures; the split is empty" in refusal(tmp_path)
