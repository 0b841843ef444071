"""The baselines that the demo compares the model with."""

import numpy as np
import pytest

from crossview.demo import HistogramEmbedder, randomize_weights
from crossview.model import open_model, resolve_model


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


def test_a_histogram_does_not_count_what_a_photo_does_not_cover(town_model):
    matcher = HistogramEmbedder(town_model.info)
    image = pictures(town_model.info, 1)
    part = image.copy()
    part[:, :, 40:] = town_model.info.ground.mean_colour
    assert np.allclose(matcher.ground(part), matcher.ground(image[:, :, :40]))


def test_the_random_network_has_the_shape_but_nothing_of_the_weights(town_model, tmp_path):
    random = open_model(randomize_weights(resolve_model("town"), tmp_path / "random"), threads=1)
    images = pictures(town_model.info)
    ours, other = town_model.ground(images), random.ground(images)
    assert other.shape == ours.shape
    assert np.allclose(np.linalg.norm(other, axis=1), 1.0, atol=1e-5)
    assert not np.allclose(other, ours, atol=0.05)
    assert random.fingerprint != town_model.fingerprint
