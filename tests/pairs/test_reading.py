from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from crossview.errors import BadImage
from crossview.pairs.batch import Views
from crossview.pairs.loading import (
    Picture,
    PictureReader,
    Reader,
    Unreadable,
    read_pictures,
    refuse_unreadable,
)
from crossview.pairs.official_lists import make_table
from crossview.pairs.reading import Files
from crossview.views.aerial import make_aerial_view, resize_view
from crossview.views.decode import read_picture_size, read_rgb
from crossview.views.spec import ViewSpec

METRIC = Views(
    ground=ViewSpec(side="ground", height_px=16, width_px=64),
    aerial=ViewSpec(side="aerial", height_px=20, width_px=20, footprint_m=40.0),
)
WHOLE = Views(
    ground=replace(METRIC.ground, whole=True, resize="linear-antialias"),
    aerial=replace(METRIC.aerial, whole=True, resize="linear-antialias"),
)


def smooth(width, height, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


@pytest.fixture
def table(tmp_path):
    """Three pairs: panoramas 400 x 200, aerial pictures 240 x 240 of 0.25 m."""
    ground = [tmp_path / f"g{n}.jpg" for n in range(3)]
    aerial = [tmp_path / f"a{n}.jpg" for n in range(3)]
    for n in range(3):
        smooth(400, 200, n).save(ground[n], quality=95)
        smooth(240, 240, 9 + n).save(aerial[n], quality=95)
    pairs = [(n, n) for n in range(3)]
    return make_table(ground, aerial, pairs, metres_per_px=0.25, fov_deg=360.0, root=tmp_path)


def test_exact_pictures_are_as_stored_and_fast_ones_no_smaller_than_needed(table):
    exact, metres = Files(table, METRIC).aerial(0)
    assert (exact.shape, metres) == ((240, 240, 3), 0.25)
    fast, metres = Files(table, METRIC, "fast").aerial(0)
    assert (fast.shape, metres) == ((30, 30, 3), 2.0)  # the view has 2 m per pixel
    one, two = (make_aerial_view(p, m, METRIC.aerial) for p, m in ((exact, 0.25), (fast, metres)))
    assert np.abs(one.astype(float) - two).mean() < 4.0


def test_a_fast_strip_looks_like_the_exact_one(table):
    one, two = (Files(table, METRIC, how).ground(1)[0] for how in ("exact", "fast"))
    assert one.shape == two.shape == (16, 64, 3)
    assert np.abs(one.astype(float) - two).mean() < 4.0


def test_a_whole_picture_is_resized_as_it_is(table):
    files = Files(table, WHOLE)
    canvas, fov = files.ground(2)
    assert fov == 360.0
    assert (canvas == resize_view(read_rgb(table.ground[2]), (16, 64), "linear-antialias")).all()
    picture, metres = files.aerial(2)
    assert (picture == resize_view(read_rgb(table.aerial[2]), (20, 20), "linear-antialias")).all()
    assert metres == pytest.approx(0.25 * 240 / 20)
    fast = Files(table, WHOLE, "fast").aerial(2)[0]
    assert np.abs(picture.astype(float) - fast).mean() < 4.0


def test_a_whole_photo_needs_no_field_of_view(table):
    photos = replace(table, perspective=np.ones(3, bool), fov_deg=np.full(3, np.nan))
    assert np.isnan(Files(photos, WHOLE).ground(0)[1])
    known = replace(photos, fov_deg=np.full(3, 70.0))
    assert Files(known, WHOLE).ground(0)[1] == 70.0


def test_whole_pictures_without_known_metres_make_batches(table):
    unknown = replace(table, metres_per_px=np.full(3, np.nan))
    reader = Reader(
        table=unknown, source=Files(unknown, WHOLE), views=WHOLE, places=unknown.places(),
        page=None, config={}, seed=0,
    )  # fmt: skip
    assert reader.batch(0, 0, [0, 1]).aerial.shape == (2, 20, 20, 3)


def test_the_size_of_a_picture_is_that_of_its_pixels(tmp_path, table):
    assert read_picture_size(table.ground[0]) == (200, 400)
    exif = Image.Exif()
    exif[0x0112] = 6
    smooth(40, 20, 0).save(tmp_path / "turned.jpg", exif=exif)
    assert read_picture_size(tmp_path / "turned.jpg") == (40, 20)
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    with pytest.raises(BadImage, match=r"bad\.jpg"):
        read_picture_size(tmp_path / "bad.jpg")


@pytest.mark.parametrize("workers", [0, 1])
def test_pictures_come_in_the_order_that_was_asked_for_and_broken_ones_in_their_place(
    table, workers
):
    table.aerial[1].write_bytes(b"nothing")
    pictures = PictureReader(table, Files(table, METRIC), METRIC)
    seen = list(read_pictures(pictures, "aerial", [2, 1, 0], workers))
    assert [one.index for one in seen] == [2, 1, 0]
    assert [type(one) for one in seen] == [Picture, Unreadable, Picture]
    assert seen[0].pixels.shape == (20, 20, 3)
    assert seen[0].number == 2.0
    assert seen[1].path == table.aerial[1]
    assert seen[1].reason.startswith("is not a picture")


def test_ground_pictures_come_with_their_field_of_view(table):
    pictures = PictureReader(table, Files(table, METRIC), METRIC)
    (one,) = read_pictures(pictures, "ground", [1], 0)
    assert (one.pixels.shape, one.number) == ((16, 64, 3), 360.0)


def test_unreadable_pictures_are_refused_together(table):
    refuse_unreadable([], 3)
    lost = [
        Unreadable(side="aerial", index=n, path=table.aerial[0], reason="is empty.")
        for n in range(7)
    ]
    with pytest.raises(Exception, match=r"7 of 90 pictures cannot be read:\n.*a0\.jpg: is empty"):
        refuse_unreadable(lost, 90)
    with pytest.raises(Exception, match=r"and 2 more\n.*--skip-unreadable"):
        refuse_unreadable(lost, 90)
