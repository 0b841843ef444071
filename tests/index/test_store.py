"""An index: what it holds, and how a damaged one is told."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from tests.index.regions import TOY, indexed, region, vectors_of

from crossview.errors import BadIndex, InvalidValue, ModelMismatch
from crossview.geo.points import LatLon, measure_distance_m
from crossview.imagery.sources import open_sources
from crossview.imagery.windows import Tiling, cut_windows
from crossview.index.store import Index
from crossview.views.aerial import make_aerial_view


@pytest.fixture
def index(tmp_path):
    return indexed(tmp_path)


def test_every_window_has_the_vector_that_its_pixels_give(tmp_path, index):
    tiling = Tiling(footprint_m=40.0, stride_m=10.0)
    with open_sources([tmp_path / "aerial.tif"]) as imagery:
        views = [
            make_aerial_view(window.pixels, window.metres_per_px, TOY.info.aerial)
            for window in cut_windows(imagery, tiling)
        ]
    assert np.array_equal(vectors_of(index), TOY.aerial(np.stack(views)))
    assert index.count == len(views) == 17 * 22


def test_blocks_tell_the_rows_they_hold(index):
    slices = [rows for rows, _ in index.blocks()]
    assert [rows.start for rows in slices] == list(range(0, index.count, 64))
    assert slices[-1].stop == index.count
    assert all(len(vectors) == rows.stop - rows.start for rows, vectors in index.blocks())


def test_vectors_are_mapped_into_memory_not_read(index):
    assert all(isinstance(vectors, np.memmap) for _, vectors in index.blocks())


def test_a_footprint_lies_about_its_window(index):
    footprint = index.footprint(70)
    assert footprint.width_m == pytest.approx(40.0)
    assert footprint.centre == LatLon(float(index.lat[70]), float(index.lon[70]))
    west_north = footprint.latlon(0.0, 0.0)
    assert measure_distance_m(west_north, footprint.centre) == pytest.approx(
        20.0 * 2**0.5, rel=1e-3
    )


def test_a_thumbnail_is_the_windows_picture(tmp_path, index):
    with open_sources([tmp_path / "aerial.tif"]) as imagery:
        window = next(cut_windows(imagery, Tiling(footprint_m=40.0, stride_m=10.0), start=100))
    jpeg = cv2.imdecode(np.frombuffer(index.thumbnail(100), np.uint8), cv2.IMREAD_COLOR_RGB)
    wanted = cv2.resize(window.pixels, (96, 96), interpolation=cv2.INTER_AREA)
    assert jpeg.shape == (96, 96, 3)
    assert np.abs(jpeg.astype(int) - wanted).mean() < 12


def test_a_thumbnail_of_a_window_that_is_not_there_is_refused(index):
    with pytest.raises(InvalidValue, match="windows 0 to 373"):
        index.thumbnail(374)


def test_the_manifest_tells_where_everything_came_from(tmp_path, index):
    manifest = Index.open(tmp_path / "region.cvx").manifest
    assert manifest == index.manifest
    assert manifest.model.fingerprint == TOY.fingerprint
    assert manifest.imagery.attribution == "(c) Meadow"
    assert manifest.imagery.sources == (str((tmp_path / "aerial.tif").resolve()),)
    assert (manifest.footprint_m, manifest.stride_m) == (40.0, 10.0)
    assert manifest.metres_per_px == pytest.approx(0.5, rel=1e-3)
    assert manifest.area_km2 == pytest.approx(0.25 * 0.2, rel=0.05)
    assert manifest.calibration is None
    assert manifest.warnings == ()


def test_verifying_reads_every_file(index):
    assert index.verify() == 4 * 6


def test_a_changed_byte_is_found_by_verifying(index):
    path = index.path / "segment-00002.vectors.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadIndex, match=r"segment-00002\.vectors\.npy has changed"):
        Index.open(index.path).verify()


def test_an_index_cut_in_the_middle_names_the_file(index):
    path = index.path / "segment-00003.vectors.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(BadIndex, match=r"segment-00003\.vectors\.npy holds 1000 of \d+ bytes"):
        Index.open(index.path)


def test_an_index_with_a_missing_file_names_it(index):
    (index.path / "segment-00001.thumbnails.bin").unlink()
    with pytest.raises(BadIndex, match=r"segment-00001\.thumbnails\.bin is missing"):
        Index.open(index.path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format_version": 1}'])
def test_a_damaged_manifest_is_told(index, content):
    (index.path / "manifest.json").write_text(content)
    with pytest.raises(BadIndex, match="damaged|format None"):
        Index.open(index.path)


def test_another_format_version_is_told(index):
    path = index.path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(BadIndex, match="format 99; this crossview reads formats 1 and 2"):
        Index.open(index.path)


def test_a_manifest_that_has_lost_its_checksum_is_refused(index):
    path = index.path / "manifest.json"
    values = json.loads(path.read_text())
    del values["checksum"]
    path.write_text(json.dumps(values))
    with pytest.raises(BadIndex, match="it has lost its checksum"):
        Index.open(index.path)


def test_a_manifest_that_points_outside_of_the_index_is_refused(index):
    path = index.path / "manifest.json"
    path.write_text(path.read_text().replace('"segment-00000.places.npy"', '"../places.npy"'))
    with pytest.raises(BadIndex, match="outside of the index"):
        Index.open(index.path)


def test_a_photo_given_as_index_is_told(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(BadIndex, match="is a file, not an index"):
        Index.open(tmp_path / "photo.jpg")


def test_a_folder_that_is_no_index_is_told(tmp_path):
    with pytest.raises(BadIndex, match=r"no manifest\.json"):
        Index.open(tmp_path)


def test_a_missing_index_is_told_and_how_to_make_it(tmp_path):
    with pytest.raises(BadIndex, match=r"There is no .*crossview index"):
        Index.open(tmp_path / "a.cvx")


def test_an_unfinished_index_is_told(tmp_path):
    (tmp_path / "a.cvx.partial").mkdir()
    with pytest.raises(BadIndex, match="begun but not finished"):
        Index.open(tmp_path / "a.cvx")
    with pytest.raises(BadIndex, match="not finished"):
        Index.open(tmp_path / "a.cvx.partial")


def test_another_model_than_the_one_that_made_it_is_refused(index):
    index.require_model(TOY.fingerprint)
    with pytest.raises(ModelMismatch, match="Use the model that made the index"):
        index.require_model("0" * 64)


def test_a_path_may_hold_any_characters(tmp_path):
    folder = tmp_path / "straße [東京] #1 100%"
    folder.mkdir()
    index = indexed(folder, paths=[region(folder, "a b.tif")], name="région é.cvx")
    assert Index.open(str(index.path)).verify() == 4 * 6
    assert Path(index.manifest.imagery.sources[0]).name == "a b.tif"
