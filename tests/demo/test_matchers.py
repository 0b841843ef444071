"""What the demo compares the model with, and which pictures every matcher is asked."""

import json

import numpy as np
import pytest

from crossview.demo.baselines import HistogramEmbedder, randomize_weights
from crossview.demo.walkthrough import COMPARED, DemoSettings, run_demo
from crossview.errors import InvalidValue
from crossview.model.onnx import open_model, resolve_model


@pytest.fixture(scope="module")
def town_model():
    return open_model("town", threads=1)


def pictures(info, count=3):
    shape = (count, info.ground.height_px, info.ground.width_px, 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_a_histogram_does_not_change_when_pixels_are_shuffled(town_model):
    matcher = HistogramEmbedder(town_model.info)
    image = pictures(town_model.info, 1)
    shuffled = np.random.default_rng(1).permutation(image.reshape(-1, 3)).reshape(image.shape)
    assert np.allclose(matcher.aerial(image), matcher.aerial(shuffled))
    assert np.allclose(np.linalg.norm(matcher.aerial(image), axis=1), 1.0)


def test_a_histogram_does_not_count_what_a_photo_did_not_see(town_model):
    matcher = HistogramEmbedder(town_model.info)
    image = pictures(town_model.info, 1)
    part = image.copy()
    part[:, :, 40:] = town_model.info.ground.mean_colour
    assert np.allclose(matcher.ground(part), matcher.ground(image[:, :, :40]))


def test_the_redrawn_network_has_the_shape_but_nothing_of_the_weights(town_model, tmp_path):
    random = open_model(randomize_weights(resolve_model("town"), tmp_path / "random"), threads=1)
    images = pictures(town_model.info)
    ours, drawn = town_model.ground(images), random.ground(images)
    assert drawn.shape == ours.shape
    assert np.allclose(np.linalg.norm(drawn, axis=1), 1.0, atol=1e-5)
    assert not np.allclose(drawn, ours, atol=0.05)
    assert random.fingerprint != town_model.fingerprint


def test_the_tour_measures_every_matcher_on_both_kinds_and_writes_what_it_returns(tmp_path):
    trip = DemoSettings(side_m=240.0, stride_m=30.0, pictures=3, extras=1)
    result = run_demo(trip, tmp_path / "out")
    assert json.loads((tmp_path / "out/summary.json").read_text()) == result
    for kind in COMPARED:
        assert set(result[kind]) == {"model", "colour_histogram", "random_network"}
        assert all(row["n"] == 3 for row in result[kind].values())
    assert (tmp_path / "out/map.html").stat().st_size > 100_000


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(InvalidValue, match="holds other files"):
        run_demo(DemoSettings(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letter.txt"]
