from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageOps

from crossview.errors import BadImage
from crossview.views.decode import find_largest_size, load_photo, read_rgb

NOISE = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
PICTURE = np.asarray(Image.fromarray(NOISE).resize((397, 203), Image.Resampling.BICUBIC))


def jpeg(picture=PICTURE, **settings):
    stream = BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", **settings)
    return stream.getvalue()


def pillows(data):
    return np.asarray(Image.open(BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_an_exact_picture_is_pillows_and_opencvs_to_the_bit(subsampling, progressive):
    import cv2

    data = jpeg(subsampling=subsampling, progressive=progressive)
    ours = read_rgb(data)
    assert (ours == pillows(data)).all()
    assert (ours == cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]).all()


def test_a_grey_picture_is_pillows_too():
    data = jpeg(PICTURE[..., 0])
    assert (read_rgb(data) == pillows(data)).all()


@pytest.mark.parametrize(
    ("at_least", "size"),
    [((60, 60), (77, 149)), ((203, 1), (203, 397)), ((999, 9), (203, 397)), ((1, 1), (26, 50))],
)
def test_a_small_one_has_the_fewest_eighths_that_are_enough(at_least, size):
    assert read_rgb(jpeg(), at_least=at_least).shape == (*size, 3)


def test_a_small_one_looks_like_the_large_one():
    large = np.asarray(Image.fromarray(NOISE).resize((800, 480), Image.Resampling.BICUBIC))
    small = read_rgb(jpeg(large, quality=95, subsampling=0), at_least=(240, 400))
    expected = large.reshape(240, 2, 400, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - expected).mean() < 2


def test_what_is_no_plain_jpeg_is_decoded_in_full():
    stream = BytesIO()
    Image.fromarray(PICTURE).save(stream, "PNG")
    assert (read_rgb(stream.getvalue(), at_least=(10, 10)) == PICTURE).all()
    cmyk = BytesIO()
    Image.fromarray(PICTURE).convert("CMYK").save(cmyk, "JPEG")
    assert read_rgb(cmyk.getvalue(), at_least=(10, 10)).shape == (203, 397, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_decoded_small_too_and_stands_upright(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(exif=exif, quality=95)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))))
    assert (read_rgb(data) == upright).all()
    rows, columns = upright.shape[:2]
    small = read_rgb(data, at_least=(rows // 2, columns // 2))
    assert small.shape == (-(-rows // 2), -(-columns // 2), 3)
    coarse = np.asarray(Image.fromarray(upright).resize(small.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(small.astype(int) - coarse).mean() < 12


def test_pictures_of_phones_that_hold_a_second_one_are_decoded_small_too():
    stream = BytesIO()
    first = Image.fromarray(PICTURE)
    first.save(stream, "MPO", save_all=True, append_images=[first])
    assert read_rgb(stream.getvalue(), at_least=(10, 10)).shape == (26, 50, 3)


@pytest.mark.parametrize(
    ("most_px", "size"),
    [(10**9, (203, 397)), (203 * 397 - 1, (178, 348)), (26 * 50, (26, 50)), (26 * 50 - 1, None)],
)
def test_the_largest_eighth_that_fits(most_px, size):
    assert find_largest_size((397, 203), most_px) == size


@pytest.mark.parametrize("at_least", [None, (20, 20)])
def test_a_truncated_file_is_refused_in_either_mode(at_least):
    data = jpeg(quality=95)
    for kept in (200, len(data) // 2, len(data) - 200):
        with pytest.raises(BadImage, match="truncated or damaged|not a picture"):
            read_rgb(data[:kept], at_least=at_least)


def test_a_photo_decoded_small_knows_what_the_large_one_was(tmp_path):
    path = tmp_path / "panorama.jpg"
    path.write_bytes(jpeg(np.zeros((202, 404, 3), np.uint8)))
    photo = load_photo(path, at_least=(50, 100))
    assert photo.pixels.shape == (51, 101, 3)
    assert (photo.kind, photo.fov_deg) == ("panorama", 360.0)
    assert photo.horizon_px == pytest.approx(25.5, abs=0.5)
