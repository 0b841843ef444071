import numpy as np
import pytest
import torch
from tests.methods.checkpoints import ALIKE, BASE, SMALLEST, Published
from tests.methods.shared_settings import (
    NO_MINING,
    POOLED,
    SCRIPTS,
    TINY_CONTRASTIVE,
    VIGOR_PX,
    cut,
)
from tests.parity_weights import listed, seeded_input
from tests.shared_data import shared

from crossview.methods import sample4geo
from crossview.pairs.batch import PairPixels
from crossview.studies import sample4geo_variant as shifted
from crossview.training.contract import example_table
from crossview.views.symmetry import mirror_pair, turn_pair

# What the suites over all methods ask (tests/contract/settings.py).
TINY = TINY_CONTRASTIVE
LEARNING = POOLED
SAMPLE4GEO = SCRIPTS | {
    "batch": 128,
    "epochs": 40.0,
    "lr": 1e-3,
    "shifted": False,
    "turn_aerial": False,
}
RELEASES = {
    "cvusa": SAMPLE4GEO,
    "cvusa-shifted": SAMPLE4GEO | cut(360.0),
    "cvusa-shifted-cropped": SAMPLE4GEO
    | {"shifted": True, "course": "uniform", "theta_deg": (360.0, 70.0)},
    **{f"cvusa-{t}": SAMPLE4GEO | cut(float(t)) for t in (360, 180, 90, 70)},
    "cvact": SAMPLE4GEO | {"seed": 1},
    "cvact-random": SAMPLE4GEO | NO_MINING | {"seed": 1},
    **{f"cvact-{t}": SAMPLE4GEO | cut(float(t)) | {"seed": 1} for t in (90, 70)},
    "vigor": SAMPLE4GEO | VIGOR_PX,
    "university": SAMPLE4GEO
    | NO_MINING
    | {"ground_px": (384, 384), "epochs": 1.0, "warmup_epochs": 0.1, "seed": 1}
    | {"turn_aerial": True},
}
CHECKPOINTS = {
    "sample4geo_convnext_base": Published(shown=BASE, told=(ALIKE,)),
    "sample4geo_convnext_tiny": Published("vigor-same", shown=SMALLEST, told=(ALIKE,)),
}


@pytest.fixture(scope="module")
def authors_network():
    config = sample4geo.Config(backbone="convnext_tiny", weights="none")
    model = sample4geo.build(config).eval()
    model.load_state_dict(listed("sample4geo_convnext_tiny"))
    return model


@pytest.mark.parametrize(
    ("view", "feature"),
    [("ground", "feature_ground"), ("satellite", "feature_satellite")],
)
def test_vectors_are_those_of_the_authors_network(authors_network, view, feature):
    data = np.load(shared("parity", "sample4geo.npz"))
    images = seeded_input(data[f"sample4geo_convnext_tiny/input_{view}_seed_then_shape"])
    expected = torch.tensor(data[f"sample4geo_convnext_tiny/{feature}"])
    with torch.no_grad():
        ours = getattr(authors_network, "ground" if view == "ground" else "aerial")(images)
    torch.testing.assert_close(
        ours, torch.nn.functional.normalize(expected, dim=1), atol=1e-6, rtol=1e-5
    )


def marked_pair():
    """Column c of the panorama holds c; the aerial's quadrants hold 0, 1, 2, 3."""
    ground = np.tile(np.arange(64, dtype=np.uint8)[None, :, None], (4, 1, 3))
    aerial = np.kron([[0, 1], [2, 3]], np.ones((8, 8))).astype(np.uint8)
    aerial = np.repeat(aerial[..., None], 3, axis=2)
    return PairPixels(ground=ground, aerial=aerial, metres_per_px=1.0)


def test_both_views_are_turned_and_mirrored_alike():
    """Over many draws only the eight consistent layouts occur, each of them."""
    config = sample4geo.Config(colour=0.0)
    seen = set()
    for seed in range(200):
        pair = sample4geo.augment(marked_pair(), config, np.random.default_rng(seed))
        first, second = int(pair.ground[0, 0, 0]), int(pair.ground[0, 1, 0])
        corners = pair.aerial[[0, 0, -1, -1], [0, -1, 0, -1], 0]
        seen.add((first, second - first in (1, -63), tuple(corners.tolist())))
    assert len(seen) == 8


def test_a_quarter_turn_comes_three_times_in_four_and_a_mirror_every_other_time():
    config = sample4geo.Config(colour=0.0)
    pairs = [
        sample4geo.augment(marked_pair(), config, np.random.default_rng(seed))
        for seed in range(1000)
    ]
    mirrored = sum(int(p.ground[0, 1, 0]) - int(p.ground[0, 0, 0]) in (-1, 63) for p in pairs)
    turned = sum(int(p.ground[0, 0, 0]) not in (0, 63) for p in pairs)
    assert 440 < mirrored < 560
    assert 700 < turned < 800


def test_shifted_panoramas_are_cut_at_a_random_heading_to_the_width_of_their_batch():
    config = shifted.Config(shifted=True, ground_px=(4, 64), theta_deg=(90.0, 90.0))
    assert shifted.views(config).headings_seen == "unknown"
    widths = {
        shifted.augment(marked_pair(), config, np.random.default_rng(s)).ground.shape
        for s in range(20)
    }
    assert widths == {(4, 16, 3)}
    assert sample4geo.views(sample4geo.Config()).headings_seen == "aligned"


def test_a_photo_is_never_turned():
    from dataclasses import replace

    config = sample4geo.Config(colour=0.0, mirror=0.0)
    photo = replace(marked_pair(), fov_deg=90.0)
    for seed in range(20):
        after = sample4geo.augment(photo, config, np.random.default_rng(seed))
        assert np.array_equal(after.aerial, photo.aerial)


def test_the_satellite_picture_of_university_1652_turns_alone_by_any_quarter():
    from dataclasses import replace

    config = sample4geo.Config(colour=0.0, mirror=0.0, turn_aerial=True)
    photo = replace(marked_pair(), fov_deg=90.0, heading_deg=10.0)
    turns = [photo.aerial] + [np.rot90(photo.aerial, k) for k in (1, 2, 3)]
    counts = [0, 0, 0, 0]
    for seed in range(400):
        after = sample4geo.augment(photo, config, np.random.default_rng(seed))
        assert np.array_equal(after.ground, photo.ground)
        (quarters,) = [k for k, one in enumerate(turns) if np.array_equal(one, after.aerial)]
        assert after.heading_deg == 10.0 - 90.0 * quarters
        counts[quarters] += 1
    assert min(counts) > 70
    assert sample4geo.views(config).headings_seen == "unknown"


def test_batches_are_near_places_first_and_then_similar_ones():
    table = example_table(64)
    config = sample4geo.Config(batch=8, neighbour_range=16, neighbour_select=8)
    near = list(sample4geo.batches(table, config, torch.Generator().manual_seed(0), None))
    assert max(near[0]) - min(near[0]) <= 16
    similar = (np.arange(64)[:, None] + 32 + np.arange(16)[None, :] // 2) % 64
    mined = list(sample4geo.batches(table, config, torch.Generator().manual_seed(0), similar))
    assert {(row - mined[0][0]) % 64 for row in mined[0][1:5]} <= set(range(32, 40))


def test_one_encoder_serves_both_views():
    config = sample4geo.Config(backbone="test_convnext", weights="none")
    model = sample4geo.build(config).eval()
    images = torch.rand(2, 3, 64, 64)
    assert torch.equal(model.ground(images), model.aerial(images))


@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize("turn", [0, 1, 2, 3])
def test_layouts_are_those_of_the_authors_loader(flip, turn):
    data = np.load(shared("parity", "layout.npz"))
    pair = data["w48/pair_ground_rgb_uint8"], data["w48/pair_satellite_rgb_uint8"]
    if flip:
        pair = mirror_pair(*pair)
    ours = turn_pair(*pair, turn)
    for image, view in zip(ours, ("ground", "satellite"), strict=True):
        theirs = data[f"w48/sample4geo/flip{flip}_turn{turn}/{view}"]
        assert np.array_equal(image.transpose(2, 0, 1), theirs)
