"""An index of imagery that has changed: only what the model sees differently is embedded anew."""

import os
from dataclasses import replace

import pytest
from tests.imagery.georeferenced import geotiff
from tests.index.regions import indexed, meadow, vectors_of
from tests.toy_embedder import ToyEmbedder, toy_info
from tests.toy_model import toy_model

from crossview import cli
from crossview.index.store import Index, write_manifest
from crossview.locks import lock


class Counting(ToyEmbedder):
    """Counts the windows that it embeds."""

    windows = 0

    def aerial(self, images):
        """As the toy does."""
        self.windows += len(images)
        return super().aerial(images)


@pytest.fixture
def place(tmp_path):
    """An index of imagery; what is changed of it lies in its lower half."""
    geotiff(tmp_path / "aerial.tif", meadow())
    index = indexed(tmp_path, paths=[tmp_path / "aerial.tif"])
    return tmp_path, index


def replaced(folder, embedder=None, **options):
    """The index that takes the place of the one there, and how many windows were embedded."""
    counting, paths = embedder or Counting(), [folder / "aerial.tif"]
    index = indexed(folder, embedder=counting, paths=paths, replace=True, **options)
    return index, counting.windows


def change_below(folder, row):
    pixels = meadow()
    pixels[row:] = meadow(seed=1)[row:]
    geotiff(folder / "aerial.tif", pixels)


def test_only_units_whose_imagery_has_changed_are_embedded(place):
    folder, _ = place
    change_below(folder, 300)
    index, embedded = replaced(folder)
    assert 0 < embedded < index.count / 2
    fresh = indexed(folder, paths=[folder / "aerial.tif"], name="fresh.cvx")
    assert vectors_of(index).tobytes() == vectors_of(fresh).tobytes()
    assert [index.thumbnail(i) for i in range(index.count)] == [
        fresh.thumbnail(i) for i in range(fresh.count)
    ]
    assert index.verify() == fresh.verify()
    assert sorted(path.name for path in folder.iterdir()) == [
        "aerial.tif", "fresh.cvx", "region.cvx",
    ]  # fmt: skip


def test_one_pixel_that_the_model_sees_counts(place):
    folder, _ = place
    pixels = meadow()
    pixels[380:400, 480:500] ^= 64
    geotiff(folder / "aerial.tif", pixels)
    index, embedded = replaced(folder)
    assert embedded == index.manifest.segments[-1].windows


def test_a_file_that_was_written_anew_with_the_same_pixels_changes_nothing(place):
    folder, index = place
    with lock(index.path, "test"):
        write_manifest(index.path, replace(index.manifest, calibration={"stands": "for one"}))
    geotiff(folder / "aerial.tif", meadow(), compress="deflate")
    os.utime(folder / "aerial.tif", (1e9, 1e9))
    again, embedded = replaced(folder)
    assert embedded == 0
    assert again.manifest.segments == index.manifest.segments
    assert again.manifest.calibration == {"stands": "for one"}  # for it is the same index


def test_a_calibration_does_not_outlive_a_change(place):
    folder, index = place
    with lock(index.path, "test"):
        write_manifest(index.path, replace(index.manifest, calibration={"stands": "for one"}))
    change_below(folder, 300)
    assert replaced(folder)[0].manifest.calibration is None


def test_the_index_of_another_model_is_made_beside_the_old_one_which_stays_open(place):
    folder, index = place
    before = vectors_of(index).copy()  # from here on it is mapped, as by a service
    new, embedded = replaced(folder, embedder=Counting(toy_info(azimuth_bins=8)))
    assert embedded == new.count
    assert new.manifest.model.fingerprint != index.manifest.model.fingerprint
    assert vectors_of(index).tobytes() == before.tobytes()
    assert Index.open(folder / "region.cvx").fingerprint == new.fingerprint


def test_of_an_index_that_does_not_say_what_it_was_made_from_nothing_is_kept(place):
    folder, index = place
    (index.path / "seen.json").unlink()
    new, embedded = replaced(folder)
    assert embedded == new.count


def test_what_is_said_of_other_vectors_is_not_believed(place):
    folder, index = place
    said = (index.path / "seen.json").read_text()
    vectors = index.manifest.segments[0].files["segment-00000.vectors.npy"].sha256
    (index.path / "seen.json").write_text(said.replace(vectors, "0" * 64))
    _, embedded = replaced(folder)
    assert embedded == index.manifest.segments[0].windows


def test_where_there_is_no_index_one_is_made(tmp_path):
    geotiff(tmp_path / "aerial.tif", meadow())
    index, embedded = replaced(tmp_path)
    assert embedded == index.count > 0


def test_the_command_keeps_model_footprint_and_stride(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    toy_model(tmp_path / "model")
    geotiff(tmp_path / "aerial.tif", meadow())
    words = ["index", "aerial.tif", "--out", "city.cvx", "--quiet"]
    assert cli.main([*words, "--model", "model", "--stride", "20"]) == 0
    before = Index.open("city.cvx")
    assert cli.main([*words, "--replace"]) == 0
    assert f"{before.count} of {before.count} windows are as they were; 0 are new." in (
        capsys.readouterr().out
    )
    after = Index.open("city.cvx")
    assert after.manifest.stride_m == 20.0
