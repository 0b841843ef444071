import numpy as np
import pytest

from crossview.errors import InvalidValue, UnknownName
from crossview.evaluation.conditions import CORRUPTIONS, corrupt


def picture(height=224, width=300):
    """Smooth, with edges, nowhere quite black or white."""
    rows, columns = np.mgrid[:height, :width]
    waves = 120 + 60 * np.sin(columns / 9.0) * np.cos(rows / 7.0)
    return np.stack([waves, waves + 20, 240 - waves], axis=2).astype(np.uint8)


def damage(name, severity, seed=0):
    clean = picture()
    broken = corrupt(clean, name, severity, np.random.default_rng(seed))
    assert broken.shape == clean.shape
    assert broken.dtype == np.uint8
    return np.abs(broken.astype(float) - clean).mean()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_highest_severity_does_more_harm_than_the_lowest(name):
    harm = {s: np.mean([damage(name, s, seed) for seed in range(2)]) for s in (1, 5)}
    assert harm[1] > 0.3
    assert harm[5] > 1.1 * harm[1]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_same_seed_gives_the_same_pixels(name):
    once, again = (corrupt(picture(), name, 3, np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def test_an_unknown_corruption_is_refused():
    with pytest.raises(UnknownName, match="snow"):
        corrupt(picture(), "snw", 1, np.random.default_rng(0))
    with pytest.raises(InvalidValue, match="severity must be 1 to 5"):
        corrupt(picture(), "fog", 6, np.random.default_rng(0))
