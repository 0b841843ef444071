import math

import numpy as np
import pytest
import torch

from crossview.methods.compass import Config, augment
from crossview.networks.losses import turning_info_nce
from crossview.pairs.batch import PairPixels

CONFIG = Config(width_px=64, height_px=16, colour=0.0, move_m=0.0)


def augmented(seed, *, fov_deg=360.0, heading_deg=0.0):
    """A pair whose ground is a ramp, so that every turn and cut of it shows."""
    ground = np.tile(np.arange(64, dtype=np.uint8)[None, :, None] * 4, (16, 1, 3))
    aerial = np.zeros((160, 160, 3), np.uint8)
    pair = PairPixels(
        ground=ground, aerial=aerial, metres_per_px=0.5, fov_deg=fov_deg, heading_deg=heading_deg
    )
    return ground, augment(pair, CONFIG, np.random.default_rng(seed))


def turned_columns(before, after):
    return np.abs(before[:, :, 0].astype(int) - after[:, :, 0]).max()


@pytest.mark.parametrize("seed", range(12))
def test_a_photo_is_mirrored_but_neither_turned_nor_cut(seed):
    before, pair = augmented(seed, fov_deg=65.0, heading_deg=30.0)
    assert pair.fov_deg == 65.0
    mirror = turned_columns(before, pair.ground) > 8
    assert turned_columns(before[:, ::-1] if mirror else before, pair.ground) <= 8
    quarters = (pair.heading_deg - (-30.0 if mirror else 30.0)) / 90.0
    assert quarters in {0.0, -1.0, -2.0, -3.0}


def test_panoramas_are_turned_and_cut_to_the_fields_of_view_of_the_config():
    pairs = [augmented(seed)[1] for seed in range(40)]
    cut = [pair.fov_deg for pair in pairs if pair.fov_deg < 360.0]
    assert 10 < len(cut) < 38
    assert min(cut) >= CONFIG.fov_deg[0]
    assert max(cut) <= CONFIG.fov_deg[1]
    assert all(math.isfinite(pair.heading_deg) for pair in pairs)


@pytest.mark.parametrize("fov_deg", [360.0, 65.0])
def test_an_unknown_heading_stays_unknown(fov_deg):
    assert math.isnan(augmented(0, fov_deg=fov_deg, heading_deg=math.nan)[1].heading_deg)


def test_an_unknown_heading_teaches_the_place_only():
    scores = torch.rand(4, 4, 8, generator=torch.Generator().manual_seed(0))
    heading, scale = torch.tensor([0.0, 45.0, 90.0, 180.0]), torch.tensor(1.0)
    some = heading.clone()
    some[1] = math.nan
    place, turn = turning_info_nce(scores, some, scale, 0.1)
    kept = [0, 2, 3]
    expected = [
        turning_info_nce(scores[n : n + 1, n : n + 1], heading[n : n + 1], scale, 0.1)[1]
        for n in kept
    ]
    assert place == turning_info_nce(scores, heading, scale, 0.1)[0]
    assert turn.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-6)
    assert turning_info_nce(scores, heading * math.nan, scale, 0.1)[1] == 0.0
