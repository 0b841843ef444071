"""Building an index: permissions, going on, adding, and what is left behind when it fails."""

import errno
import threading
import time

import numpy as np
import pytest
from rasterio.transform import Affine
from tests.imagery.georeferenced import geotiff
from tests.index.regions import TOY, added, indexed, meadow, region, town_model, vectors_of
from tests.toy_embedder import ToyEmbedder, toy_info

from crossview.errors import (
    BadImagery,
    BadModel,
    CannotWrite,
    EmptyRegion,
    InvalidValue,
    ModelMismatch,
    SyntheticModel,
    TooCoarse,
    UsageError,
)
from crossview.geo.points import LatLon
from crossview.imagery.sources import open_sources
from crossview.index.build import Estimate, _refuse_collapsed, build_index, prefetch
from crossview.index.index_options import IndexOptions, choose_tiling, compute_finest_useful_m
from crossview.index.store import Index


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_only_the_finished_index_remains(tmp_path):
    indexed(tmp_path)
    assert left_in(tmp_path) == ["aerial.tif", "region.cvx"]
    assert "progress.json" not in left_in(tmp_path / "region.cvx")


def test_a_model_of_the_town_is_refused_for_the_real_world(tmp_path):
    with pytest.raises(SyntheticModel, match="--demo-only"):
        indexed(tmp_path, embedder=town_model())
    assert left_in(tmp_path) == ["aerial.tif"]


def test_demo_only_marks_the_index(tmp_path):
    index = indexed(tmp_path, embedder=town_model(), demo_only=True)
    assert index.manifest.demo_only
    assert "its places are not evidence" in index.manifest.warnings[0]


def test_a_model_of_the_town_may_index_the_town(tmp_path):
    paths = [region(tmp_path, synthetic=True)]
    manifest = indexed(tmp_path, embedder=town_model(), paths=paths).manifest
    assert (manifest.model_synthetic, manifest.demo_only, manifest.warnings) == (True, False, ())
    assert manifest.imagery.synthetic == "town 1a2b3c4d"


def test_one_real_source_makes_the_imagery_real(tmp_path):
    paths = [region(tmp_path, synthetic=True), region(tmp_path, "b.tif", seed=1)]
    with pytest.raises(SyntheticModel):
        indexed(tmp_path, embedder=town_model(), paths=paths)


def test_imagery_coarser_than_twice_the_models_is_refused_or_marked(tmp_path):
    fine = ToyEmbedder(toy_info(aerial=TOY.info.aerial.__class__(
        side="aerial", height_px=200, width_px=200, footprint_m=40.0
    )))  # fmt: skip
    with pytest.raises(TooCoarse, match=r"0\.5 m per pixel; the model needs 0\.4 m"):
        indexed(tmp_path, embedder=fine)
    manifest = indexed(tmp_path, embedder=fine, allow_coarse=True).manifest
    assert manifest.coarse
    assert "coarser than the model" in manifest.warnings[0]


def test_imagery_coarser_than_all_of_the_training_is_indexed_with_a_warning(tmp_path):
    for seen_m, told in ((0.0, False), (0.5, False), (0.4, True)):
        model = ToyEmbedder(toy_info(coarsest_imagery_m=seen_m))
        warnings = indexed(tmp_path, embedder=model, overwrite=True).manifest.warnings
        assert bool(warnings) == told
    assert warnings == (
        "the imagery (0.5 m per pixel) is coarser than all that the model was trained on (0.4 m)",
    )


def test_grey_imagery_is_indexed_with_a_warning_that_every_answer_carries(tmp_path):
    index = indexed(tmp_path, paths=[geotiff(tmp_path / "grey.tif", meadow()[..., 0])])
    assert "the imagery has no colour" in index.manifest.warnings[0]
    region(tmp_path, "b.tif", transform=Affine(0.5, 0, 391_250.0, 0, -0.5, 5_820_000.0))
    both = added(tmp_path, [tmp_path / "b.tif"])
    assert both.manifest.warnings == index.manifest.warnings  # a part of it is still grey


def test_footprint_and_stride_can_be_chosen(tmp_path):
    index = indexed(tmp_path, footprint_m=60.0, stride_m=35.0)
    assert (index.manifest.footprint_m, index.manifest.stride_m) == (60.0, 35.0)
    assert index.count == 5 * 7


def test_an_index_is_not_written_over_unless_told(tmp_path):
    indexed(tmp_path)
    with pytest.raises(UsageError, match=r"already.\n.*--add.*--overwrite"):
        indexed(tmp_path)
    index = indexed(tmp_path, overwrite=True, stride_m=20.0)
    assert index.manifest.stride_m == 20.0
    assert left_in(tmp_path) == ["aerial.tif", "region.cvx"]


def test_something_else_of_that_name_is_never_replaced(tmp_path):
    (tmp_path / "region.cvx").mkdir()
    (tmp_path / "region.cvx" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="is not an index"):
        indexed(tmp_path, overwrite=True)


@pytest.mark.parametrize("out", ["", ".", ".."])
def test_an_out_without_a_name_is_refused(tmp_path, out):
    with open_sources([region(tmp_path)]) as imagery, pytest.raises(UsageError, match="--out"):
        build_index(imagery, TOY, out)


def test_a_missing_parent_folder_is_named(tmp_path):
    with pytest.raises(CannotWrite, match="there is no folder .*nowhere"):
        indexed(tmp_path, name="nowhere/region.cvx")


def test_other_settings_than_those_begun_with_are_named(tmp_path):
    stop_after(tmp_path, windows=150)
    with pytest.raises(UsageError, match=r"stride_m 10\.0 -> 20\.0"):
        indexed(tmp_path, stride_m=20.0)


def test_restart_begins_anew_with_other_settings(tmp_path):
    stop_after(tmp_path, windows=150)
    assert indexed(tmp_path, stride_m=20.0, restart=True).manifest.stride_m == 20.0


def test_changed_imagery_is_noticed_when_going_on(tmp_path):
    stop_after(tmp_path, windows=150)
    with pytest.raises(UsageError, match="imagery"):
        indexed(tmp_path, paths=[region(tmp_path, seed=5, compress="deflate")])


def stop_after(folder, windows):
    """Begin to index and stop, as Ctrl-C does."""

    def stop(done, total):
        if done >= windows:
            raise KeyboardInterrupt

    options = IndexOptions(batch=8, segment_windows=64)
    path = folder / "aerial.tif"
    with (
        open_sources([path if path.exists() else region(folder)]) as imagery,
        pytest.raises(KeyboardInterrupt),
    ):
        build_index(imagery, TOY, folder / "region.cvx", options=options, progress=stop)


def test_going_on_tells_how_far_it_was(tmp_path):
    stop_after(tmp_path, windows=150)
    seen = []
    with open_sources([tmp_path / "aerial.tif"]) as imagery:
        options = IndexOptions(batch=8, segment_windows=64)
        build_index(
            imagery,
            TOY,
            tmp_path / "region.cvx",
            options=options,
            progress=lambda *p: seen.append(p),
        )
    assert seen[0] == (128, 374)
    assert seen[-1] == (374, 374)


def test_segments_grow_so_that_early_work_is_soon_safe(tmp_path):
    index = indexed(tmp_path, batch=2, segment_windows=128)
    assert [segment.windows for segment in index.manifest.segments] == [16, 32, 64, 128, 128, 6]


def test_stopped_before_the_first_segment_nothing_remains(tmp_path):
    stop_after(tmp_path, windows=8)
    assert left_in(tmp_path) == ["aerial.tif"]


def test_a_full_disk_is_told_and_the_work_done_is_kept(tmp_path, monkeypatch):
    from crossview.index import store

    write, written = store.atomic_write, []

    def full(path, data):
        written.append(path)
        if len(written) > 10:
            raise CannotWrite("the disk is full") from OSError(errno.ENOSPC, "full")
        write(path, data)

    monkeypatch.setattr(store, "atomic_write", full)
    with pytest.raises(CannotWrite):
        indexed(tmp_path)
    assert left_in(tmp_path) == ["aerial.tif", "region.cvx.partial"]
    monkeypatch.undo()
    with open_sources([tmp_path / "aerial.tif"]) as imagery:
        options = IndexOptions(batch=8, segment_windows=64)
        assert build_index(imagery, TOY, tmp_path / "region.cvx", options=options).verify() == 4 * 6


@pytest.mark.parametrize(
    ("tiling", "said"),
    [
        ({"footprint_m": 300.0}, "smaller than one window"),
        ({"near": LatLon(10.0, 10.0), "within_m": 500.0}, "--near and --within"),
    ],
)
def test_an_empty_region_is_told(tmp_path, tiling, said):
    with pytest.raises(EmptyRegion, match=said):
        indexed(tmp_path, **tiling)
    assert left_in(tmp_path) == ["aerial.tif"]


def test_imagery_of_one_colour_is_an_empty_region(tmp_path):
    path = geotiff(tmp_path / "aerial.tif", np.full((300, 300, 3), 9, np.uint8))
    with pytest.raises(EmptyRegion, match="one single colour"):
        indexed(tmp_path, paths=[path])


def test_a_raster_truncated_in_the_middle_is_told(tmp_path):
    path = region(tmp_path, compress="deflate")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadImagery, match=r"aerial\.tif cannot be read"):
        indexed(tmp_path, paths=[path])
    assert not (tmp_path / "region.cvx").exists()


def test_an_area_needs_both_a_centre_and_a_radius():
    with pytest.raises(InvalidValue, match="--near LAT,LON --within KM"):
        IndexOptions(near=LatLon(1.0, 2.0))


def test_a_model_whose_vectors_hardly_differ_is_no_collapsed_one():
    few = np.random.default_rng(0).normal(size=(20, 64))
    nearly = np.ones((20, 64)) + 0.005 * few
    same = np.ones((20, 64)) + 0.0005 * few
    _refuse_collapsed(nearly / np.linalg.norm(nearly, axis=1, keepdims=True))
    with pytest.raises(BadModel, match="collapsed"):
        _refuse_collapsed(same / np.linalg.norm(same, axis=1, keepdims=True))


def test_a_collapsed_model_is_refused(tmp_path):
    class Constant(ToyEmbedder):
        def aerial(self, images):
            return np.tile(np.eye(1, 64, dtype=np.float32), (len(images), 1))

    with pytest.raises(BadModel, match="collapsed"):
        indexed(tmp_path, embedder=Constant())


def test_a_model_whose_vectors_are_not_what_it_says_is_refused(tmp_path):
    class Short(ToyEmbedder):
        def aerial(self, images):
            return super().aerial(images)[:, :32]

    with pytest.raises(BadModel, match="export it again"):
        indexed(tmp_path, embedder=Short())


def test_added_imagery_comes_after_what_was_there(tmp_path):
    index = indexed(tmp_path)
    before = vectors_of(index)
    other = geotiff(tmp_path / "b.tif", meadow(seed=3), tags={"TIFFTAG_COPYRIGHT": "(c) Other"})
    both = added(tmp_path, [other])
    assert both.count == 2 * 374
    assert np.array_equal(vectors_of(both)[:374], before)
    assert both.manifest.imagery.attribution == "(c) Meadow; (c) Other"
    assert len(both.manifest.imagery.sources) == 2
    assert both.manifest.area_km2 == pytest.approx(index.manifest.area_km2)  # the same ground
    assert both.verify() == 4 * 12
    assert left_in(tmp_path) == ["aerial.tif", "b.tif", "region.cvx"]


def test_the_same_imagery_is_not_added_twice(tmp_path):
    indexed(tmp_path)
    with pytest.raises(UsageError, match="already; nothing was added"):
        added(tmp_path, [tmp_path / "aerial.tif"])


def test_only_the_model_that_made_an_index_may_add_to_it(tmp_path):
    indexed(tmp_path)
    with pytest.raises(ModelMismatch):
        added(tmp_path, [region(tmp_path, "b.tif")], embedder=ToyEmbedder(seed=1))


def test_added_windows_have_the_size_of_those_there(tmp_path):
    indexed(tmp_path, footprint_m=60.0, stride_m=35.0)
    assert added(tmp_path, [region(tmp_path, "b.tif")]).count == 2 * 35
    with pytest.raises(UsageError, match="--stride 20: the windows of .* have 35 m"):
        added(tmp_path, [region(tmp_path, "c.tif")], stride_m=20.0)


def test_adding_that_is_stopped_leaves_the_index_as_it_was_and_goes_on(tmp_path, monkeypatch):
    indexed(tmp_path)
    other = region(tmp_path, "b.tif", seed=3)
    with monkeypatch.context() as patch:
        patch.setattr("crossview.index.build.write_manifest", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            added(tmp_path, [other])
    assert Index.open(tmp_path / "region.cvx").count == 374
    assert added(tmp_path, [other]).verify() == 4 * 12


def test_windows_lie_a_quarter_of_the_models_footprint_apart():
    tiling = choose_tiling(TOY.info, IndexOptions())
    assert (tiling.footprint_m, tiling.stride_m) == (40.0, 10.0)
    assert choose_tiling(TOY.info, IndexOptions(footprint_m=100.0)).stride_m == 25.0


def test_imagery_is_read_half_as_fine_again_as_the_model_sees_it():
    assert compute_finest_useful_m(TOY.info.aerial) == pytest.approx(
        TOY.info.aerial.metres_per_px / 1.5
    )


@pytest.mark.parametrize(("hours", "is_long", "stride_m"), [(0.99, False, 20), (4.0, True, 40)])
def test_more_than_an_hour_is_long_and_the_stride_of_an_hour_is_told(hours, is_long, stride_m):
    needs = Estimate(windows=1000, bytes=1, seconds=3600.0 * hours, stride_m=20.0)
    assert needs.is_long is is_long
    assert needs.stride_for_an_hour_m == stride_m


def test_prefetched_items_come_in_order():
    assert list(prefetch(iter(range(100)))) == list(range(100))


def test_items_are_made_in_another_thread_before_they_are_needed():
    made = threading.Semaphore(0)

    def items():
        for _ in range(3):
            made.release()
            yield threading.current_thread()

    items_ahead = prefetch(items(), depth=2)
    assert next(items_ahead) is not threading.current_thread()
    assert all(made.acquire(timeout=5.0) for _ in range(3))
    items_ahead.close()


def test_an_error_of_the_thread_arrives_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("torn")

    items_ahead = prefetch(items())
    assert next(items_ahead) == 1
    with pytest.raises(ValueError, match="torn"):
        next(items_ahead)


def test_closing_ends_the_thread_that_prefetches():
    before = threading.active_count()
    items_ahead = prefetch(iter(lambda: time.sleep(0.001), "never"))
    next(items_ahead)
    items_ahead.close()
    assert threading.active_count() == before
