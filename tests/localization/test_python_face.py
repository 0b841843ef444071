"""``crossview.locate``: what a program may give, and what it gets."""

import numpy as np
import pytest
from PIL import Image
from tests.index.regions import indexed
from tests.localization.fake_index import spheres, toy

import crossview
from crossview.errors import BadImage, InvalidValue
from crossview.geo.points import LatLon
from crossview.localization import locate as finding
from crossview.localization.answer import Answer
from crossview.views.decode import load_photo

EMBEDDER = toy()
PIXELS = spheres(1)[0]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return indexed(tmp_path_factory.mktemp("region"), embedder=EMBEDDER, stride_m=40.0)


@pytest.fixture(autouse=True)
def _toy_model(monkeypatch):
    monkeypatch.setattr(finding, "model_of", lambda index: EMBEDDER)


@pytest.fixture
def path(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def test_paths_bytes_images_pixels_and_photos_are_taken_alone_and_in_lists(index, path):
    sources = [
        str(path), path, path.read_bytes(), Image.open(path), Image.fromarray(PIXELS), PIXELS,
        load_photo(path),
    ]  # fmt: skip
    expected = crossview.locate(index, path)
    assert isinstance(expected, Answer)
    for source in sources:
        np.testing.assert_array_equal(crossview.locate(index, source).scores, expected.scores)
    for several in (sources, tuple(sources)):
        answers = crossview.locate(index, several, places=3)
        assert isinstance(answers, list)
        assert [len(answer.places) for answer in answers] == [3] * len(sources)
        for answer in answers:
            np.testing.assert_allclose(answer.scores, expected.scores, atol=1e-6)
    assert crossview.locate(index, []) == []
    assert isinstance(crossview.locate(index, [path]), list)


@pytest.mark.parametrize("form", [tuple, list, np.array])
def test_an_area_may_be_a_pair_of_numbers(index, form):
    centre = LatLon(float(index.lat[4]), float(index.lon[4]))
    expected = crossview.locate(index, PIXELS, near=centre, within_m=60.0)
    assert 0 < np.isfinite(expected.scores).sum() < index.count
    near = form([centre.lat, centre.lon])
    answer = crossview.locate(index, PIXELS, near=near, within_m=60)
    np.testing.assert_array_equal(answer.scores, expected.scores)


@pytest.mark.parametrize(
    ("hints", "said"),
    [
        ({"near": (95.0, 0.0), "within_m": 10.0}, "latitude"),
        ({"near": (1.0, 2.0, 3.0), "within_m": 10.0}, "is not a place"),
        ({"near": 12.0, "within_m": 10.0}, "is not a place"),
        ({"near": (1.0, 2.0)}, "radius"),
        ({"within_m": 5.0}, "centre"),
        ({"near": (1.0, 2.0), "within_m": float("nan")}, "radius"),
        ({"fov_deg": 400}, "field of view"),
        ({"fov_deg": "70"}, "fov_deg must be a number"),
        ({"fov_deg": float("nan")}, "field of view"),
        ({"heading_deg": 361.0}, "heading"),
        ({"heading_deg": float("nan")}, "heading"),
        ({"heading_deg": True}, "heading_deg must be a number"),
        ({"horizon_px": float("inf")}, "horizon"),
        ({"places": 0}, "at least one place"),
        ({"places": 2.5}, "whole numbers"),
        ({"ignore_direction": "no"}, "True or False"),
    ],
)
def test_hints_are_checked_as_on_the_command_line(index, hints, said):
    with pytest.raises(InvalidValue, match=said):
        crossview.locate(index, PIXELS, **hints)


def test_numbers_of_numpy_are_numbers(index):
    answer = crossview.locate(
        index, PIXELS, fov_deg=np.float32(360.0), heading_deg=np.int64(0), places=np.int32(2)
    )
    assert (len(answer.places), answer.fov_source) == (2, "given")


@pytest.mark.parametrize("wrong", [PIXELS.astype(float), PIXELS[..., 0], b"no picture", "absent"])
def test_what_is_no_picture_is_refused_with_a_sentence(index, wrong):
    with pytest.raises(BadImage):
        crossview.locate(index, wrong)
    with pytest.raises(BadImage):
        crossview.locate(index, [PIXELS, wrong])


@pytest.mark.parametrize("wrong", [None, 7, {"photo": "a.jpg"}])
def test_what_is_no_source_of_a_picture_is_named(index, wrong):
    with pytest.raises(InvalidValue, match="a photo is a path, bytes, a Pillow image or pixels"):
        crossview.locate(index, wrong)
